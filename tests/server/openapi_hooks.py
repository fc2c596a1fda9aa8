"""For Schemathesis: half of what it asks is about things that are there, since 404 is all that can be said of others.

Owns: which names in a path are put in place of those it made up. What is there stands in OPENAPI_THERE, as JSON: by
path, values for its parameters; of what is under DELETE each is used once. What was answered is written to the file
OPENAPI_SEEN, a line each.
"""

from __future__ import annotations

import json
import os
from itertools import count
from pathlib import Path
from typing import Any

import schemathesis

THERE: dict[str, list[dict[str, str]]] = json.loads(os.environ["OPENAPI_THERE"])
SEEN = Path(os.environ["OPENAPI_SEEN"]).open("a", buffering=1)  # noqa: SIM115
_turn = count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Every other request goes to something that is there; a name that breaks the rules stays as it is."""
    path, method = case.operation.path, case.method.upper()
    known = THERE.get(f"DELETE {path}" if method == "DELETE" else path)
    if not known or next(_turn) % 2 or not _is_valid(case):
        return
    real = known.pop() if method == "DELETE" else known[next(_turn) // 2 % len(known)]
    case.path_parameters = {**case.path_parameters, **real}


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Which operation was answered with which status."""
    SEEN.write(f"{case.method.upper()} {case.operation.path} {response.status_code}\n")


def _is_valid(case: Any) -> bool:
    """Whether nothing in the path was made to be refused."""
    if case.meta is None:
        return True
    parts = {str(getattr(place, "value", place)): each for place, each in case.meta.components.items()}
    found = parts.get("path_parameters")
    return found is None or getattr(found.mode, "value", "") == "positive"

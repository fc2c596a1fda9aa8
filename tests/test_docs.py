"""What a person can set, type, receive or be refused with is documented, or this fails and says where it is missing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "catalyst_signals"
EXAMPLES = sorted((ROOT / "examples").rglob("*.md"))

SPEAKS_THE_PROTOCOL = "hub.py tape.py wire.py session.py server/stream.py server/node.py client/*.py"
MESSAGES = """
auth subscribe unsubscribe publish welcome subscribed live position accepted error goaway
signal.published signal.updated signal.cancelled signal.superseded signal.expired
"""


def missing(names: Iterable[str], *files: str, mark: str = r"[`\"]{}[`\"]") -> None:
    """Fail with every name that stands in none of the files in the way of `mark`."""
    text = "".join((ROOT / file).read_text() for file in files if (ROOT / file).exists())
    found = [name for name in names if not re.search(mark.format(re.escape(name)), text)]
    if found:
        pytest.fail(f"not in {' or '.join(files)}: {', '.join(found)}", pytrace=False)


def test_every_setting_is_in_settings_md() -> None:
    """Under the name people write: `CATALYST_STORE_URL`."""
    from catalyst_signals.server.settings import Settings

    missing([f"CATALYST_{name.upper()}" for name in Settings.model_fields], "docs/settings.md", mark=r"\b{}\b")


def test_settings_md_names_no_setting_that_is_gone() -> None:
    """`CATALYST_URL` and `CATALYST_KEY` are the client's."""
    from catalyst_signals.server.settings import Settings

    named = re.findall(r"\bCATALYST_([A-Z_]+[A-Z])\b", (ROOT / "docs" / "settings.md").read_text())
    unknown = {name.lower() for name in named} - set(Settings.model_fields) - {"url", "key"}
    assert not unknown, f"docs/settings.md names what is no setting: {sorted(unknown)}"


def test_every_error_is_in_protocol_md() -> None:
    """Clients match these names, so they have to find them."""
    from catalyst_signals.errors import every_error

    missing([error.name for error in every_error()], "docs/protocol.md")


def test_every_message_is_in_protocol_md() -> None:
    """A stranger writes a client from that page."""
    found = set(MESSAGES.split())
    for pattern in SPEAKS_THE_PROTOCOL.split():
        for path in SOURCE.glob(pattern):
            found |= set(message_types(ast.parse(path.read_text())))
    missing(sorted(found), "docs/protocol.md")


def message_types(tree: ast.AST) -> Iterator[str]:
    """Every `{"type": "..."}` that is written out in a source file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "type" and isinstance(value, ast.Constant):
                    yield str(value.value)


def test_every_metric_is_in_metrics_md() -> None:
    """An alert is written against a name."""
    from catalyst_signals.metrics import METRICS

    missing(METRICS, "docs/metrics.md", mark=r"\b{}\b")


def test_every_command_is_documented() -> None:
    """As it is typed: `catalyst keys add`."""
    from typer.main import get_command

    from catalyst_signals.cli import app

    missing(commands(get_command(app), "catalyst"), "README.md", "docs/cli.md", mark=r"\b{}\b")


def commands(command: Any, path: str) -> Iterator[str]:
    """Every command that does something, with the words that lead to it; hidden ones are nobody's business."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield path
    for name, each in inner.items():
        if not each.hidden:
            yield from commands(each, f"{path} {name}")


def test_every_route_is_in_protocol_md() -> None:
    """Under its path, with the names in braces as PROTOCOL has them."""
    from catalyst_signals.server import door
    from catalyst_signals.server.app import ROUTERS

    routers = [part.router for part in ROUTERS]
    paths = {re.sub(r":\w+}", "}", getattr(route, "path", "")) for router in routers for route in router.routes}
    paths.add(door.PATH)
    missing(sorted(paths), "docs/protocol.md", mark=r"{}(?![\w/{{])")


def test_links_between_pages_lead_somewhere() -> None:
    """A page that moved takes its links along."""
    for page in [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").rglob("*.md")), *EXAMPLES]:
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}, which is not there"

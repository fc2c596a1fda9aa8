"""The command `catalyst`, also where the extras are not installed: then it says what to install.

Owns: which command needs which extra. Law: exit code 3 means that an extra is missing, and nothing else.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

CLI = ("typer", "httpx2")
SERVER = (*CLI, "fastapi", "uvicorn", "httptools", "pydantic_settings", "prometheus_client")
NEED_THE_SERVER = ("serve", "demo", "bench")
MISSING_EXTRA = 3


def main() -> None:
    """Run the command line and exit with its code; or say on standard error which extra it needs, and exit 3."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    extra, needed = ("server", SERVER) if command in NEED_THE_SERVER else ("cli", CLI)
    if any(find_spec(name) is None for name in needed):
        sys.stderr.write(f"catalyst {command}".rstrip() + f" needs more: pip install 'catalyst-signals[{extra}]'\n")
        raise SystemExit(MISSING_EXTRA)
    from catalyst_signals.cli import run

    raise SystemExit(run())


if __name__ == "__main__":
    main()

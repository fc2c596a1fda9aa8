"""The house rules that a machine can check: which way imports point, what may be long, which words are banned.

A failure says what to do. To change a rule, change it here and say why in docs/decisions/.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "catalyst_signals"
FILE_LINES_MAX, FUNCTION_LINES_MAX = 500, 70
BANNED_NAMES = {"utils", "helpers", "common", "core", "base", "manager", "service"}

# A module may import from its own layer and from those before it, but for what `why_not` says besides.
LAYERS = {
    "pure": (
        "errors events kinds vocabulary signals filters filter_facts filter_fields filter_glance filter_match "
        "filter_plan filter_text filter_tree explain versions modifiers matching _burst outlet wire session survey "
        "tape pages pager places rings turns skew vital hub projections about histograms backoff breakers queueing "
        "deeds ledger words signatures stories watch"
    ),
    "ports": "stores brokers caches metrics auth ingest urls peers redis_urls",
    "flows": (
        "publish changes erasing expiry follow rehearse retention trust verify transfer client workers advisor "
        "calibrate deploy"
    ),
    "roots": "server cli __main__",
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names.split()}
RANK = {layer: rank for rank, layer in enumerate(LAYERS)}

# Where a driver may be imported. The standard library and msgspec may be imported everywhere.
DRIVERS = {
    "websockets": ("client.link", "server.inbound", "server.protocol", "workers.bots"),
    "sqlite3": ("stores.sqlite",),
    "prometheus_client": ("metrics.prometheus",),
    **dict.fromkeys(("sentry_sdk", "opentelemetry"), ("server.telemetry",)),
    "psycopg": ("stores.postgres",),
    "asyncmy": ("stores.mysql",),
    "redis": ("redis_urls", "caches.redis"),
    "apprise": ("workers.notifying",),
    "resvg_py": ("advisor.picture",),
    **dict.fromkeys(("typer", "rich", "httpx2"), ("cli",)),
    **dict.fromkeys(
        (
            "fastapi",
            "starlette",
            "uvicorn",
            "uvloop",
            "httptools",
            "pydantic",
            "pydantic_settings",
        ),
        ("server",),
    ),
}


@dataclass(frozen=True)
class Module:
    """A source file; `name` is its dotted name below the package ("" for the package itself)."""

    path: Path

    @property
    def name(self) -> str:
        parts = self.path.relative_to(ROOT / "src" / PACKAGE).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(), str(self.path))

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


# What `catalyst deploy` writes is text here, whatever it is where it runs.
PARTS = ROOT / "src" / PACKAGE / "deploy" / "parts"
MODULES = [Module(path) for path in sorted((ROOT / "src" / PACKAGE).rglob("*.py")) if PARTS not in path.parents]
NAMES = {module.name for module in MODULES}


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module a file imports, wherever in it; `from a import b` is `a.b` where that is a module of ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole.removeprefix(f"{PACKAGE}.") in NAMES else str(node.module)


def ours(module: Module) -> Iterator[str]:
    """The modules of ours that one imports, below the package."""
    for name in imported(module.tree):
        if name.partition(".")[0] == PACKAGE:
            yield name.removeprefix(PACKAGE).removeprefix(".")


def back_ends() -> set[str]:
    """What the ports' tables name as `module:Class`; every way to authenticate is one too."""
    found = {module.name for module in MODULES if module.name.startswith("auth.")}
    for module in MODULES:
        found |= set(re.findall(rf'"{PACKAGE}\.([a-z_.]+):[A-Za-z]+"', module.path.read_text()))
    return found


BACK_ENDS = back_ends()


def why_not(module: Module, target: str) -> str | None:
    """Why `module` may not import `target`, or None if it may."""
    top = target.partition(".")[0]
    mine, theirs = LAYER_OF.get(module.top, "roots"), LAYER_OF.get(top, "roots")
    if not module.name:
        shown = theirs == "pure" or top == "client"
        return None if shown else "the package itself shows pure files and the client only"
    if not target:
        return "name the module, not the package"
    if module.top == top and target not in BACK_ENDS:
        return None
    if RANK[theirs] > RANK[mine]:
        return f"{mine} may not know {theirs}; arrows point pure <- ports <- flows <- server, cli"
    if mine == theirs == "ports" and top not in ("urls", "peers", "redis_urls") and module.top != top:
        return "a port and its back-ends know no other port"
    if target in BACK_ENDS and mine != "roots" and not f"{module.name}.".startswith(f"{target}."):
        return "a back-end is known to server/ and cli/ only; others open it by its URL"
    if module.top == "client" and theirs != "pure":
        return "the client is the light install and knows pure files only"
    if module.top == "server" and top == "cli":
        return "the server does not know the command line"
    return None


def why_not_driver(module: Module, name: str) -> str | None:
    """Why `module` may not import what is not ours, or None if it may."""
    if name in (PACKAGE, "msgspec"):
        return None
    if name in DRIVERS:
        inside = any(f"{module.name}.".startswith(f"{where}.") for where in DRIVERS[name])
        return None if inside else f"it is for {', '.join(DRIVERS[name])} only"
    known = name in sys.stdlib_module_names
    return None if known else "it is new; say in DRIVERS of tests/test_tidy.py where it may be imported"


def test_every_module_has_a_layer() -> None:
    """So that a new file cannot escape the arrows."""
    for module in MODULES:
        assert not module.name or module.top in LAYER_OF, (
            f"{module} is new: add `{module.top}` to the layer it belongs to in LAYERS of tests/test_tidy.py"
        )


def test_imports_point_one_way() -> None:
    """pure <- ports <- flows <- server, cli."""
    none(
        f"{module} imports {target or PACKAGE}: {reason}"
        for module in MODULES
        for target in ours(module)
        if (reason := why_not(module, target)) is not None
    )


def test_imports_are_written_in_full() -> None:
    """So that the rule above sees all of them, and a reader knows what to open."""
    none(
        f"{module}:{node.lineno} has a relative import"
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    )


def test_drivers_stay_where_they_belong() -> None:
    """Changing one changes one place, and what does not use it does not need it."""
    none(
        f"{module} imports {name}: {where}"
        for module in MODULES
        for name in imported(module.tree)
        if (where := why_not_driver(module, name.partition(".")[0])) is not None
    )


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import catalyst_signals", "fastapi uvicorn typer rich pydantic httpx2 sqlite3 msgspec websockets"),
        ("from catalyst_signals import connect", "fastapi uvicorn typer rich pydantic httpx2 sqlite3"),
        ("import catalyst_signals.cli", "fastapi uvicorn pydantic prometheus_client"),
    ],
)
def test_an_import_brings_no_more_than_it_needs(statement: str, unwanted: str) -> None:
    """The library starts fast, and the extra `cli` works without the extra `server`."""
    code = f"{statement}\nimport sys\nprint(*sorted(set({unwanted.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], f"`{statement}` also imports {done.stdout}"


def test_files_are_named_for_what_is_in_them() -> None:
    """A name that fits everything collects everything."""
    none(str(module) for module in MODULES if set(module.name.split(".")) & BANNED_NAMES)


def test_every_module_says_what_it_owns() -> None:
    """Its docstring: what it owns, what it refuses to know, the law it keeps."""
    none(f"{module} has no docstring" for module in MODULES if not ast.get_docstring(module.tree))


def test_files_and_functions_can_be_held_in_the_head() -> None:
    """What is longer for a reason stands in docs/gotchas.md, with the reason."""
    excused = set(re.findall(r"`([^`\n]+)`", (ROOT / "docs" / "gotchas.md").read_text()))
    none(what for module in MODULES for name, what in too_long(module) if name not in excused)


def too_long(module: Module) -> Iterator[tuple[str, str]]:
    """What is too long in a module: its name in docs/gotchas.md, and how long it is. Docstrings do not count."""
    path = module.path.relative_to(ROOT / "src" / PACKAGE).as_posix()
    lines = len(module.path.read_text().splitlines())
    if lines > FILE_LINES_MAX:
        yield path, f"{module} has {lines} lines of {FILE_LINES_MAX}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            code = node.body[1:] if ast.get_docstring(node) is not None else node.body
            head = node.body[0].lineno - node.lineno
            count = head + ((node.end_lineno or 0) - code[0].lineno + 1 if code else 0)
            if count > FUNCTION_LINES_MAX:
                yield f"{path}: {node.name}", f"{module}: {node.name} has {count} lines of {FUNCTION_LINES_MAX}"


def test_no_fault_is_swallowed() -> None:
    """A fault is handled, or it is somebody else's."""
    none(f"{module}:{node.lineno} swallows every fault" for module in MODULES for node in swallowing(module.tree))


def swallowing(tree: ast.AST) -> Iterator[ast.ExceptHandler | ast.Call]:
    """`except Exception: pass`, and the same in the words of contextlib."""
    broad = ("Exception", "BaseException")
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) in broad):
            if all(ast.unparse(line) in ("pass", "...") for line in node.body):
                yield node
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            yield from (node for arg in node.args if ast.unparse(arg) in broad)


def test_only_the_command_line_prints() -> None:
    """Everything else logs, or answers."""
    none(
        f"{module}:{node.lineno} prints"
        for module in MODULES
        if module.top != "cli"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    )


def test_nothing_is_left_for_later() -> None:
    """A known wart stands in docs/gotchas.md, work to come in an issue."""
    later = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
    paths = [path for folder in ("src", "tests", "bench", "tools") for path in sorted((ROOT / folder).rglob("*"))]
    texts = {path: path.read_text() for path in paths if path.suffix in (".py", ".sql", ".c", "") and path.is_file()}
    none(f"{path.relative_to(ROOT)}: {found[0]}" for path, text in texts.items() if (found := later.search(text)))


def test_every_module_is_named_by_a_test() -> None:
    """A test imports it, or its docstring says that it covers `catalyst_signals.that.module` from outside."""
    tested: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text()
        tested |= {name.removeprefix(f"{PACKAGE}.") for name in imported(ast.parse(text))}
        tested |= set(re.findall(rf"\b{PACKAGE}\.([a-z_.]*[a-z_])", text))
    none(
        f"{PACKAGE}.{module.name} is named by no file in tests/"
        for module in MODULES
        if module.name and len(module.tree.body) > 1 and module.name not in tested
    )


def none(faults: Iterable[str]) -> None:
    """Pass if there are no faults; else fail with all of them."""
    found = sorted(set(faults))
    if found:
        pytest.fail("\n".join(found), pytrace=False)

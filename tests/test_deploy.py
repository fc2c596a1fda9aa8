"""What `catalyst deploy` writes and docs/operations.md name exists: settings, commands, flags, files.

All of it over every target at every scale. What is started for real stands in tests/services: test_compose.py,
test_proxies.py, test_image.py, test_shipping.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalyst_signals.advisor.built import missing_for
from catalyst_signals.advisor.tables import SCALES, bills, options
from catalyst_signals.deploy import Names, files_of_all, targets
from catalyst_signals.deploy.index import index_of
from catalyst_signals.metrics.grafana import dashboard
from tests.deployed import DEPLOY, ROOT, SETS, checked, commands_of, set_of, written

PAGES = [ROOT / "docs" / "operations.md", ROOT / "docs" / "alerts.md", ROOT / "docs" / "advice.md"]
TEXTS = [(path.name, path.read_text()) for path in PAGES if path.exists()] + [
    (f"{target} {scale} {path}", text) for target, scale in SETS for path, text in set_of(target, scale).items()
    if not path.endswith(".json")
]  # fmt: skip


def test_deploy_is_what_the_command_writes() -> None:
    """No file more, none less: `catalyst deploy all --out deploy --force` after a part was changed."""
    wanted = files_of_all(Names()) | {"README.md": index_of()}
    ignored = {"compose/.env"}
    there = {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*") if path.is_file()} - ignored
    assert there == set(wanted)
    for path, text in wanted.items():
        assert (DEPLOY / path).read_text() == text, f"deploy/{path} is not what its parts make it"
        assert bool((DEPLOY / path).stat().st_mode & 0o100) == text.startswith("#!"), f"the mode of deploy/{path}"


def test_the_dashboard_is_made_of_the_metrics() -> None:
    """`python -m catalyst_signals.metrics.grafana > src/catalyst_signals/deploy/parts/grafana/catalyst.json`."""
    for target, scale in SETS:
        text = set_of(target, scale).get("grafana/catalyst.json")
        assert text is None or json.loads(text) == dashboard()


def test_every_target_is_an_option_of_the_advisor_and_every_set_is_whole() -> None:
    """No gap is left, no scale is offered that cannot run, and the guide is short enough to be read."""
    for target in targets().values():
        assert target.platform in options("platform"), target.name
        assert any(bill.platform == target.platform for bill in bills()), f"{target.name} has no price"
        assert not set(target.never) & set(target.scales)
        assert set(target.never) <= set(SCALES)
        assert len(target.next) <= 3
        for scale in target.scales:
            assert not missing_for(scale), f"{target.name} offers {scale}"
            files = set_of(target.name, scale)
            assert files[f"{target.name}.md"].count("\n") < 120
            for path, text in files.items():
                assert not re.search(r"<<\w[^<>\n]*>>", text), f"{target.name} {path} has a gap"


def test_every_setting_that_is_named_exists() -> None:
    """A name with a typing mistake is silently not looked at in the environment."""
    from catalyst_signals.server.settings import Settings

    known = {f"CATALYST_{name.upper()}" for name in Settings.model_fields} | {"CATALYST_URL", "CATALYST_KEY"}
    for name, text in TEXTS:
        unknown = set(re.findall(r"\bCATALYST_[A-Z_]*[A-Z]", text)) - known
        assert not unknown, f"{name} names what is no setting: {sorted(unknown)}"


def test_every_command_that_is_named_exists_with_its_flags() -> None:
    """Somebody types them at three in the morning."""
    from typer.main import get_command

    from catalyst_signals.cli import app

    whole: Any = get_command(app)
    seen = 0
    for name, text in TEXTS:
        for words in commands_of(name, text):
            command = whole
            while words and words[0] in getattr(command, "commands", {}):
                command, words = command.commands[words[0]], words[1:]
            assert not getattr(command, "commands", {}), f"{name}: no command `catalyst {' '.join(words)}`"
            flags = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)} | {"--help"}
            unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - flags
            assert not unknown, f"{name}: `{command.name}` takes no {unknown}"
            seen += 1
    assert seen > 40


def test_every_file_that_is_named_exists() -> None:
    """`deploy/nginx/catalyst.conf` in our pages; in a set, where there is no `deploy/`, `nginx/catalyst.conf`."""
    for page in PAGES:
        for name in re.findall(r"\bdeploy/[\w./@-]*[\w*]", page.read_text() if page.exists() else ""):
            assert list(ROOT.glob(name)), f"{page.name} names {name}, which is not there"
    for target, scale in SETS:
        files = set_of(target, scale)
        parts = "|".join(sorted({path.split("/")[0] for path in files if "/" in path}))
        for path, text in files.items():
            assert "deploy/" not in text.replace("catalyst_signals/deploy/", ""), f"{target} {path} is not in deploy/"
            if path.endswith(".json"):  # A name with a stroke in it is another thing there, such as a buildpack.
                continue
            for name in re.findall(rf"(?<![\w/.@-])(?:\.\./)?((?:{parts})/[\w./@-]*\w)", text):
                known = name in files or any(each.startswith(f"{name}/") for each in files)
                assert known or name == "compose/.env", f"{target} {scale} {path} names {name}"


@pytest.mark.parametrize(("target", "scale"), SETS)
def test_shellcheck_finds_nothing_in_the_scripts(target: str, scale: str, tmp_path: Path) -> None:
    """They run as root."""
    folder = written(target, scale, tmp_path)
    scripts = [path for path in folder.rglob("*") if path.is_file() and re.match(r"#!.*\b(ba)?sh\b", path.read_text())]
    if scripts:
        checked("shellcheck", *scripts)


def test_every_alert_has_its_place_in_the_runbook() -> None:
    """At night somebody looks for the alert's name."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "alerts.md").read_text(), re.MULTILINE)
    assert alerts
    assert not set(alerts) - set(headings)


def test_every_heading_that_is_linked_exists() -> None:
    """A link that leads to the top of a long page is no help at night."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        for file, anchor in re.findall(r"\]\(([^):#\s]*)#([^)\s]+)\)", page.read_text()):
            target = page.parent / file if file else page
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            known = {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
            assert anchor in known, f"{page.name} links to {file}#{anchor}, which is no heading"

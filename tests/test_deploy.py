"""What deploy/ and docs/operations.md name exists: settings, commands, flags, files, ports; systemd reads its units.

What is started for real stands in tests/services: test_proxies.py, test_image.py, test_shipping.py.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.child import program

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
OPERATIONS = ROOT / "docs" / "operations.md"
TEXTS = [OPERATIONS, *(path for path in sorted(DEPLOY.rglob("*")) if path.is_file() and path.suffix != ".json")]

# What `systemd-analyze security` may say of a unit, of 10.0: "OK" ends at 5.0.
EXPOSURE_MAX = 1.5


def commands_of(text: str) -> Iterator[list[str]]:
    """Every `catalyst ...` of a page, in a block of shell or between backticks, as words."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for line in lines + re.findall(r"`([^`\n]+)`", text):
        for found in re.finditer(r"(?:^|bin/|&& )catalyst ([a-z][^|;&#>]*)", line):
            yield shlex.split(found[1].replace("'", '"').replace('"', ""))


def test_every_setting_that_is_named_exists() -> None:
    """A name with a typing mistake is silently not looked at in the environment."""
    from catalyst_signals.server.settings import Settings

    known = {f"CATALYST_{name.upper()}" for name in Settings.model_fields} | {"CATALYST_URL", "CATALYST_KEY"}
    for path in TEXTS:
        unknown = set(re.findall(r"\bCATALYST_[A-Z_]*[A-Z]", path.read_text())) - known
        assert not unknown, f"{path.relative_to(ROOT)} names what is no setting: {sorted(unknown)}"


def test_every_command_that_is_named_exists_with_its_flags() -> None:
    """Somebody types them at three in the morning."""
    from typer.main import get_command

    from catalyst_signals.cli import app

    seen = 0
    for path in TEXTS:
        for words in commands_of(path.read_text()):
            command: Any = get_command(app)
            while words and words[0] in getattr(command, "commands", {}):
                command, words = command.commands[words[0]], words[1:]
            assert not getattr(command, "commands", {}), f"{path.name}: no command `catalyst {' '.join(words)}`"
            flags = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)} | {"--help"}
            unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - flags
            assert not unknown, f"{path.name}: `{command.name}` takes no {unknown}"
            seen += 1
    assert seen > 15


def test_every_file_of_deploy_that_is_named_exists() -> None:
    """`deploy/nginx/catalyst.conf`, in the pages and in the files themselves."""
    for path in TEXTS:
        for name in re.findall(r"\bdeploy/[\w./@-]*[\w*]", path.read_text()):
            assert list(ROOT.glob(name)), f"{path.relative_to(ROOT)} names {name}, which is not there"


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


# -- systemd ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as shipped, with programs that are there: `verify` looks for them."""
    for path in sorted((DEPLOY / "systemd").iterdir()):
        text = path.read_text().replace("/opt/catalyst/bin/catalyst", sys.executable)
        (tmp_path / path.name.replace("@.", "@8080.")).write_text(text.replace("/usr/bin/curl", sys.executable))
    return tmp_path


def test_systemd_understands_every_line_of_the_units(units: Path) -> None:
    """A misspelt line is only warned about when the unit is loaded, and then nobody looks."""
    analyze = program("systemd-analyze")
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", *sorted(units.iterdir())],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if str(units) in line or "catalyst" in line]
    assert not ours, done.stderr


def test_the_units_may_do_little(units: Path) -> None:
    """No privilege, no other file, no other process: as systemd itself scores it."""
    for unit in sorted(units.glob("*.service")):
        done = subprocess.run(
            [program("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}",
             "--no-pager", unit],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{unit.name}\n{done.stdout}{done.stderr}"


# -- Docker Compose ---------------------------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    """The file, with its anchors followed."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def test_compose_speaks_the_compose_specification() -> None:
    """No misspelt word: Compose passes over some of them in silence."""
    from compose_spec import PyCompose

    read = PyCompose.from_json(json.dumps(compose()))
    read.validate()
    assert set(read.to_spec().services or ()) == set(compose()["services"])


def test_prometheus_reads_the_configuration_of_compose(tmp_path: Path) -> None:
    """With the rules where Compose mounts them."""
    rules = tmp_path / "rules.yml"
    rules.write_text((DEPLOY / "prometheus" / "rules.yml").read_text())
    text = (COMPOSE.parent / "prometheus.yml").read_text().replace("/etc/prometheus/rules.yml", str(rules))
    (tmp_path / "prometheus.yml").write_text(text)
    done = subprocess.run(
        [program("promtool"), "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_names_only_what_is_there() -> None:
    """Mounts, volumes, networks, what is waited for, and the two values of env.example."""
    whole = compose()
    services = whole["services"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            there = source in whole["volumes"] if not source.startswith(".") else (COMPOSE.parent / source).exists()
            assert there or source == "./tls", f"{name} mounts {source}"
        for other, condition in service.get("depends_on", {}).items():
            assert other in services
            assert condition["condition"] != "service_healthy" or "healthcheck" in services[other], f"{name}: {other}"
        assert set(service["networks"]) <= set(whole["networks"])
    asked = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    assert asked == set(re.findall(r"^(\w+)=", (COMPOSE.parent / "env.example").read_text(), re.MULTILINE))


def test_compose_pins_checks_and_restarts_every_service() -> None:
    """An image of today is the image of next year; a service that hangs is seen."""
    for name, service in compose()["services"].items():
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", service["image"]), f"{name}: {service['image']}"
        assert "healthcheck" in service or "build" in service, f"{name} has no health check"
        assert service["restart"] == "unless-stopped"
        assert "logging" in service, f"{name} fills the disk with its log"
        for port in service.get("ports", []):
            assert port in ("80:80", "443:443") or port.startswith("127.0.0.1:"), f"{name} is open to the world: {port}"


def test_compose_agrees_with_the_files_it_mounts() -> None:
    """nginx and Prometheus find the nodes where Compose puts them, and nodes trust the proxy where it is."""
    services = compose()["services"]
    address = {name: service["networks"]["inside"]["ipv4_address"] for name, service in services.items()}
    nodes = {f"{address[name]}:8080" for name in services if name.startswith("catalyst-")}
    assert set(re.findall(r"server ([\d.:]+)", (COMPOSE.parent / "catalyst-nodes.conf").read_text())) == nodes
    assert len(set(address.values())) == len(address)
    for name in ("catalyst-1", "catalyst-2"):
        environment = services[name]["environment"]
        assert environment["CATALYST_TRUSTED_PROXIES"] == address["nginx"]
        assert "@postgres:5432/" in environment["CATALYST_STORE_URL"]
    watched = yaml.safe_load((COMPOSE.parent / "prometheus.yml").read_text())
    targets = {t for job in watched["scrape_configs"] for c in job["static_configs"] for t in c["targets"]}
    assert {target for target in targets if target.startswith("catalyst-")} == {"catalyst-1:8080", "catalyst-2:8080"}


def test_the_settings_of_compose_are_taken() -> None:
    """Each value passes the checks of the server itself."""
    from catalyst_signals.brokers import BROKERS
    from catalyst_signals.caches import CACHES
    from catalyst_signals.server.settings import Settings
    from catalyst_signals.stores import STORES

    for service in compose()["services"].values():
        values = {
            name.removeprefix("CATALYST_").lower(): re.sub(r"\$\{[^}]*\}", "x", value)
            for name, value in service.get("environment", {}).items() if name.startswith("CATALYST_")
        }  # fmt: skip
        settings = Settings(**values)
        if values:
            assert settings.store_url.partition(":")[0] in STORES
            assert settings.broker_url.partition(":")[0] in BROKERS
            assert settings.cache_url.partition(":")[0] in CACHES


# -- the image --------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (word, rest), continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    """Docker's own linter, with what it knows of shells."""
    hadolint = program("hadolint", str(Path(sys.executable).parent))
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_is_of_two_stages_and_runs_as_nobody() -> None:
    """No compiler, no root, a health check, and a pinned base."""
    steps = instructions()
    bases = [rest.split()[0] for word, rest in steps if word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0])
    last = steps[max(at for at, (word, _) in enumerate(steps) if word == "FROM") :]
    words = [word for word, _ in last]
    assert not any("apt-get" in rest or "pip " in rest for _, rest in last)
    assert next(int(rest.split(":")[0]) for word, rest in last if word == "USER") >= 10_000
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert {"HEALTHCHECK", "STOPSIGNAL", "EXPOSE"} <= set(words)
    version = re.search(r"^UV=(\S+)", (ROOT / "tools" / "setup").read_text(), re.MULTILINE)
    assert version is not None
    assert any(f"uv=={version[1]}" in rest for _, rest in steps), "another uv than tools/setup has"


def test_the_image_takes_what_it_copies_and_nothing_else() -> None:
    """A log or a key that lies about in the folder does not end in an image."""
    copied = {
        source.removeprefix("./")
        for word, rest in instructions() if word == "COPY" and "--from" not in rest for source in rest.split()[:-1]
    }  # fmt: skip
    let_in = re.findall(r"^!(\S+)$", DOCKERFILE.with_suffix(".dockerignore").read_text(), re.MULTILINE)
    assert copied == set(let_in)
    assert all((ROOT / name).exists() for name in copied)

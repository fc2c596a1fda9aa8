"""The units, the proxies' files and the cloud-init of a machine of one's own, read by the programs they are for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deployed import ROOT, checked, set_of, written
from tests.services.child import program

# What `systemd-analyze security` may say of a unit, of 10.0: "OK" ends at 5.0.
EXPOSURE_MAX = 1.5
AS_ROOT = {"catalyst-certificate.service"}  # It writes the proxy's key and reloads it.
USER_DATA_BYTES_MAX = 64 << 10  # DigitalOcean's; others take more.
SCALES = ("small", "mvp")


def units_of(scale: str, folder: Path) -> Path:
    """As shipped, with programs that are there: `verify` looks for them."""
    ours = ("/opt/catalyst/bin/catalyst", "/usr/local/sbin/catalyst-certificate", "/usr/bin/curl", "/usr/bin/restic")
    for path, text in set_of("systemd", scale).items():
        if path.startswith("systemd/catalyst"):
            for each in ours:
                text = text.replace(each, sys.executable)
            (folder / path.removeprefix("systemd/").replace("@.", "@8080.")).write_text(text)
    return folder


@pytest.fixture(params=SCALES)
def units(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Those of a scale."""
    return units_of(request.param, tmp_path)


def verified(units: list[Path]) -> list[str]:
    """What systemd says about these units."""
    done = subprocess.run(
        [program("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", *units],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return [line for line in done.stderr.splitlines() if str(units[0].parent) in line or "catalyst" in line]


def test_systemd_understands_every_line_of_the_units(units: Path) -> None:
    """A misspelt line is only warned about when the unit is loaded, and then nobody looks."""
    assert verified(sorted(units.iterdir())) == []


def test_a_misspelt_line_is_noticed(units: Path) -> None:
    """So that the test above says something."""
    unit = units / "catalyst@8080.service"
    unit.write_text(unit.read_text().replace("TimeoutStopSec", "TimeoutStopSecs"))
    assert verified([unit])


def test_the_units_may_do_little(units: Path) -> None:
    """No privilege, no other file, no other process: as systemd itself scores it."""
    for unit in sorted(units.glob("*.service")):
        if unit.name not in AS_ROOT:
            checked(
                "systemd-analyze",
                "security",
                "--offline=true",
                f"--threshold={EXPOSURE_MAX * 10:.0f}",
                "--no-pager",
                unit,
            )


def test_the_unit_of_a_laptop_is_understood(tmp_path: Path) -> None:
    """`systemctl --user`, of a person without root."""
    unit = tmp_path / "catalyst.service"
    unit.write_text(
        set_of("local", "mvp")["local/catalyst.service"].replace("%h/catalyst/bin/catalyst", sys.executable)
    )
    assert verified([unit]) == []


def test_launchd_gets_a_property_list(tmp_path: Path) -> None:
    """The other half of laptops."""
    import plistlib

    found = plistlib.loads(set_of("local", "mvp")["local/org.catalyst.signals.plist"].encode())
    assert found["Label"] == "org.catalyst.signals"
    assert "exec bin/catalyst serve" in found["ProgramArguments"][-1]
    assert found["KeepAlive"] is True


@pytest.mark.parametrize("scale", SCALES)
def test_cloud_init_takes_the_user_data(scale: str, tmp_path: Path) -> None:
    """By its own schema (of Debian's cloud-init 22.4.2), and small enough for the smallest that takes one."""
    text = set_of("systemd", scale)["cloud-init/user-data.yaml"]
    assert text.startswith("#cloud-config\n")
    assert len(text.encode()) < USER_DATA_BYTES_MAX
    (tmp_path / "user-data.yaml").write_text(text)
    schema = ROOT / "tests" / "fixtures" / "cloud-init-22.4.2.schema.json"
    checked("check-jsonschema", "--schemafile", schema, tmp_path / "user-data.yaml")


@pytest.mark.parametrize("scale", SCALES)
def test_cloud_init_brings_every_file_that_the_set_up_takes(scale: str) -> None:
    """As they stand in the set: one that is missing is noticed when the machine is made, by nobody."""
    files = set_of("systemd", scale)
    brought = {
        each["path"].removeprefix("/root/catalyst/"): each["content"]
        for each in yaml.safe_load(files["cloud-init/user-data.yaml"])["write_files"]
    }  # fmt: skip
    assert {path: files[path] for path in brought} == brought
    units = {path for path in files if path.startswith("systemd/")}
    taken = set(re.findall(r"(?<![\w/])((?:nginx|certificate|haproxy|waf)/[\w.-]+)", files["systemd/setup.sh"]))
    assert units | taken <= set(brought)


@pytest.mark.parametrize("scale", SCALES)
def test_no_secret_is_in_what_makes_the_machine(scale: str) -> None:
    """User data can be read by every process of the machine, for ever: they are made there."""
    for path, text in set_of("systemd", scale).items():
        found = re.findall(r"(?i)(?:password|requirepass|secret|key)[=: ]+[A-Za-z0-9]{16,}|cat_live_\w+", text)
        assert not found, f"{path}: {found}"


def test_the_schema_is_the_one_it_says() -> None:
    """It refuses what cloud-init does not know."""
    schema = json.loads((ROOT / "tests" / "fixtures" / "cloud-init-22.4.2.schema.json").read_text())
    assert "cc_write_files" in schema["$defs"]


@pytest.mark.parametrize("scale", SCALES)
def test_the_set_up_is_a_script_that_its_shell_reads(scale: str, tmp_path: Path) -> None:
    """Debian's `sh` is dash."""
    folder = written("systemd", scale, tmp_path)
    checked("sh", "-n", folder / "systemd" / "setup.sh")

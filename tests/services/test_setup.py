"""setup.sh of a machine of one's own, run for real on this one; what it writes goes into a throw-away layer.

In a mount namespace, with a layer over /etc, /opt, /root, /usr/local and /var. Packages are here already, and nothing
is started but what it starts by itself; systemd, the firewall and certbot are told, and it is looked at what.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalyst_signals.auth.api_keys import take_apart
from catalyst_signals.deploy import Names
from tests.deployed import written
from tests.services.child import Folder, program
from tests.services.test_image import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

VERSION = Names().version
TOLD = ("apt-get", "systemctl", "ufw", "certbot")  # Stand-ins that write down what they are told.
LAYERS = ("etc", "opt", "root", "usr/local", "var")
RUN = """set -eu
mount -t tmpfs none "$T/layer"
for each in $LAYERS; do
    mkdir -p "$T/layer/$each/up" "$T/layer/$each/work"
    mount -t overlay overlay -o "lowerdir=/$each,upperdir=$T/layer/$each/up,workdir=$T/layer/$each/work" "/$each"
done
mkdir -p "/opt/catalyst-$VERSION/bin" /etc/nginx/modules-enabled
cp "$T/bin/catalyst" "$T/bin/pip" "/opt/catalyst-$VERSION/bin"
for each in 1 2; do PATH="$T/bin:$PATH" sh "$T/set/systemd/setup.sh"; cp /root/catalyst-admin-key "$T/key-$each"; done
stat -c '%a %U:%G %n' /etc/catalyst/* /root/catalyst-admin-key /etc/nginx/tls/* /var/lib/catalyst >"$T/modes"
for each in etc/catalyst etc/nginx etc/systemd/system etc/apt/apt.conf.d/52catalyst usr/local/sbin var/lib/catalyst; do
    mkdir -p "$T/made/${each%/*}" && cp -a "/$each" "$T/made/$each"
done
chmod -R a+rX "$T/made"
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Path]:
    """After two runs of it at `mvp`: `made` is what was written, `told` what the others were told."""
    for each in ("nginx", "unshare", "setpriv"):
        program(each)
    if os.getuid() != 0:
        pytest.skip("it needs root, as the script does")
    folder = Folder("setup")
    top = folder.path
    top.chmod(0o755)
    for name in ("bin", "layer", "made"):
        (top / name).mkdir()
    build(top / "image")
    _script(top / "bin" / "catalyst", f'exec {top}/image/opt/catalyst/bin/catalyst "$@"')
    _script(top / "bin" / "pip", f'echo "pip $*" >>{top}/told')
    for name in TOLD:
        _script(top / "bin" / name, f'echo "{name} $*" >>{top}/told\n[ {name} != certbot ]')
    written("systemd", "mvp", top / "set")
    environment = os.environ | {"T": str(top), "VERSION": VERSION, "LAYERS": " ".join(LAYERS)}
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", RUN], env=environment, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    try:
        if "overlay" in done.stderr and "mount" in done.stderr:
            pytest.skip(f"no layer can be put over this machine: {done.stderr}")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        (top / "said").write_text(done.stdout + done.stderr)
        yield top
    finally:
        folder.remove()


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_first_admin_key_is_kept_for_its_owner_alone(machine: Path) -> None:
    """Made by the first start, in no log and no output; a second run changes nothing."""
    key = (machine / "key-1").read_text().strip()
    assert take_apart(key) is not None
    assert (machine / "key-2").read_text().strip() == key
    assert key not in (machine / "said").read_text()
    modes = (machine / "modes").read_text()
    assert "600 root:root /root/catalyst-admin-key" in modes
    assert "600 root:root /etc/catalyst/offsite.key" in modes
    assert "600 root:root /etc/nginx/tls/catalyst.key" in modes
    assert re.search(r"^640 root:\w+ /etc/catalyst/catalyst.env$", modes, re.MULTILINE)
    assert "700 catalyst:catalyst /var/lib/catalyst" in modes


def test_the_settings_and_units_are_where_systemd_looks(machine: Path) -> None:
    """With the host's name, once, however often it is run."""
    settings = (machine / "made/etc/catalyst/catalyst.env").read_text()
    assert settings == f"CATALYST_PUBLIC_URL=https://{Names().domain}\nCATALYST_TRUSTED_PROXIES=127.0.0.1\n"
    units = machine / "made/etc/systemd/system"
    for path in (machine / "set" / "systemd").glob("catalyst*"):
        assert (units / path.name).read_text() == path.read_text()
    told = (machine / "told").read_text()
    assert "systemctl enable -q --now catalyst@8080\n" in told
    assert "catalyst@8081" not in told, "an SQLite file has one writer"
    assert "systemctl enable -q --now catalyst-backup.timer catalyst-certificate.timer\n" in told
    assert (machine / "made/var/lib/catalyst/catalyst.db").exists(), "the first start made a log"


def test_nginx_reads_all_of_it_as_it_lies_there(machine: Path) -> None:
    """The whole /etc/nginx, with a certificate that signs itself: setup.sh asks `nginx -t` before it restarts it."""
    site = machine / "made/etc/nginx"
    assert (site / "conf.d/catalyst.conf").exists() and (site / "conf.d/catalyst-nodes.conf").exists()
    assert not (site / "sites-enabled/default").exists()
    assert "worker_connections 20000;" in (site / "nginx.conf").read_text()
    told = (machine / "told").read_text().splitlines()
    assert told.index("systemctl restart nginx") < next(at for at, line in enumerate(told) if "certonly" in line)
    (asked, *_) = [line for line in told if "certonly" in line]
    assert f"--domain {Names().domain} --email {Names().email} --webroot" in asked
    assert "does signals.example.org lead here?" in (machine / "said").read_text()


def test_the_firewall_lets_in_the_web_and_never_locks_out_its_owner(machine: Path) -> None:
    """Port 22 always, and wherever else sshd says that it listens, before it is switched on."""
    told = [line for line in (machine / "told").read_text().splitlines() if line.startswith("ufw")]
    first = told[: told.index("ufw --force enable")]
    assert {"ufw allow 22/tcp", "ufw allow 80/tcp", "ufw allow 443/tcp"} <= set(first)
    assert 'Unattended-Upgrade "1"' in (machine / "made/etc/apt/apt.conf.d/52catalyst").read_text()

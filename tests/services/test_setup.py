"""setup.sh of a machine of one's own, and its guide's commands, run for real: what they write is thrown away.

In namespaces of its own (files, network, processes), with a layer over /etc, /opt, /root, /run, /usr/local and /var:
PostgreSQL, Redis, the nodes, both proxies and restic are the real ones, on their own ports. Packages are here already;
the firewall and certbot are told, and it is looked at what. systemd's part is played by a script that starts what a
unit names, in the unit's environment.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalyst_signals.auth.api_keys import take_apart
from catalyst_signals.deploy import Names
from tests.deployed import set_of, written
from tests.services.child import Folder, program
from tests.services.test_image import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FIRST, SECOND = Names().domain, "other.example.org"
TOLD = ("apt-get", "ufw", "certbot")  # Stand-ins that only write down what they are told.
LAYERS = ("etc", "opt", "root", "run", "usr/local", "var")
SYSTEMCTL = r"""
echo "systemctl $*" >>$T/told
units=/etc/systemd/system
in_unit() ( # UNIT PORT COMMAND...: in its environment, as its user.
    unit=$units/$1 port=$2 && shift 2
    set -a
    eval "$(sed -n 's/^Environment=//p' "$unit" | sed "s/%i/$port/g; s/%H/here/g" | grep -v '%d')"
    for each in $(sed -n 's/^EnvironmentFile=-*//p' "$unit"); do . "$each"; done
    cd /var/lib/catalyst
    exec setpriv --reuid catalyst --regid catalyst --clear-groups -- "$@"
)
commands_of() { sed -n 's/^ExecStart=//p' "$units/$1"; }
ended() { # PIDFILE...: who stands in it is told to stop, and has.
    for each; do
        [ -e "$each" ] || continue
        kill "$(cat "$each")"
        tail -s 0.1 --pid="$(cat "$each")" -f /dev/null
        rm "$each"
    done
}
node() { # PORT
    install -d -o catalyst -g catalyst /var/log/catalyst
    ended "/var/log/catalyst/pid-$1"
    # shellcheck disable=SC2046
    in_unit catalyst@.service "$1" sh -c "echo \$\$ >/var/log/catalyst/pid-$1; exec \"\$@\"" node \
        $(commands_of catalyst@.service) >>/var/log/catalyst/out 2>&1 &
    until curl --silent --output /dev/null --fail "http://127.0.0.1:$1/readyz"; do sleep 0.1; done
}
case "$*" in
"enable -q --now postgresql redis-server")
    [ -n "$(pg_lsclusters -h)" ] || pg_createcluster 15 main >/dev/null
    pg_lsclusters -h | while read -r version name _; do
        pg_ctlcluster "$version" "$name" start 2>/dev/null || true # It is there already.
    done ;;
"restart redis-server")
    install -d -o redis /run/redis
    runuser -u redis -- redis-server /etc/redis/redis.conf --daemonize yes >/dev/null ;;
"reload-or-restart nginx") nginx -s reload 2>/dev/null || nginx ;;
"reload-or-restart haproxy")
    [ ! -e /run/haproxy.cfg ] || exit 0
    install -d /run/haproxy # And no more connections than this machine lets a process open.
    sed 's/maxconn 20000/maxconn 2000/' /etc/haproxy/haproxy.cfg >/run/haproxy.cfg && haproxy -D -f /run/haproxy.cfg ;;
"disable -q --now nginx") nginx -s stop ;;
"stop catalyst@*"*) ended /var/log/catalyst/pid-* ;;
"restart catalyst@"* | "start "*catalyst@*) for word; do case $word in catalyst@*) node "${word#*@}" ;; esac; done ;;
"start catalyst-backup")
    commands_of catalyst-backup.service | while read -r line; do in_unit catalyst-backup.service 0 $line; done
    (set -a; . /etc/catalyst/offsite.env; RESTIC_PASSWORD_FILE=/etc/catalyst/offsite.key; set +a; restic init
    commands_of catalyst-offsite.service | while read -r line; do $line; done) ;;
esac
"""
RUN = """set -eu
ip link set lo up
mount -t tmpfs none "$T/layer"
for each in $LAYERS; do
    mkdir -p "$T/layer/$each/up" "$T/layer/$each/work"
    mount -t overlay overlay -o "lowerdir=/$each,upperdir=$T/layer/$each/up,workdir=$T/layer/$each/work" "/$each"
done
mkdir -p "/opt/catalyst-$VERSION/bin" /etc/nginx/modules-enabled /run/postgresql
export PATH="$T/bin:$PATH"
cp "$T/bin/catalyst" "$T/bin/pip" "/opt/catalyst-$VERSION/bin"
ask() { # PATH FILE MORE...: what the API answers through the proxy, to the key that was kept.
    path=$1 file=$2 && shift 2
    curl --silent --show-error --fail --insecure --header "Authorization: Bearer $(cat "$T/key")" \\
        --connect-to "::127.0.0.1:" "$@" "https://$SECOND/$path" >"$T/$file"
}

sh "$T/first/systemd/setup.sh" # As the guide says: the key is kept, and then that file is deleted.
stat -c '%a %U:%G %n' /etc/catalyst/* /root/catalyst-admin-key /etc/nginx/tls/* /var/lib/catalyst >"$T/modes"
mv /root/catalyst-admin-key "$T/key"
echo CATALYST_POLL_S=0.5 >>/etc/catalyst/catalyst.env
: >"$T/told"
[ "$SCALE" = mvp ] || export WAF=1
sh "$T/second/systemd/setup.sh" # Again, with another name, beside nodes that run.
[ ! -e /root/catalyst-admin-key ]
for each in etc/catalyst etc/nginx etc/systemd/system etc/apt/apt.conf.d/52catalyst; do
    mkdir -p "$T/made/${each%/*}" && cp -a "/$each" "$T/made/$each"
done
ask v1/keys keys
ask '?q=<script>alert(1)</script>' refused --no-fail --output /dev/null --write-out '%{http_code}'
ask v1/channels/main/signals stored --json '{"id": "kept", "symbol": "ACME", "action": "BUY"}'

echo RESTIC_REPOSITORY=/root/elsewhere >/etc/catalyst/offsite.env
systemctl start catalyst-backup
rm /var/lib/catalyst-backup/*
sh "$T/again.sh"
ask 'v1/channels/main/events?after=0' events
cp "$T/told" "$T/told-nginx"
if [ "$SCALE" = mvp ]; then # It is the same at both.
    PROXY=haproxy sh "$T/second/systemd/setup.sh"
    sh "$T/second/systemd/setup.sh"
    ! sh "$T/larger/systemd/setup.sh" # Two nodes on a file: it says so, and everything goes on.
fi
ask healthz haproxy --retry 5 --retry-all-errors # It looks once a second whether a node is back.
cp -a /var/log/catalyst "$T/logs"
chmod -R a+rX "$T/made" "$T/logs"
"""


@pytest.fixture(scope="module")
def image() -> Iterator[Folder]:
    """A venv that has what pip would bring."""
    for each in ("nginx", "haproxy", "unshare", "setpriv", "restic", "redis-server", "pg_ctlcluster"):
        program(each)
    if os.getuid() != 0:
        pytest.skip("it needs root, as the script does")
    folder = Folder("setup")
    folder.path.chmod(0o755)
    build(folder.path / "image")
    yield folder
    folder.remove()


@pytest.fixture(scope="module", params=["small", "mvp"])
def machine(request: pytest.FixtureRequest, image: Folder) -> Path:
    """After three runs, a copy and its way back: `made` is what was written, `told` what the others were told."""
    top = image.path / request.param
    for name in ("bin", "layer", "made"):
        (top / name).mkdir(parents=True)
    _script(top / "bin" / "catalyst", f'exec {image.path}/image/opt/catalyst/bin/catalyst "$@"')
    _script(top / "bin" / "pip", f'echo "pip $*" >>{top}/told')
    _script(top / "bin" / "systemctl", f"set -eu\nT={top}\n{SYSTEMCTL}")
    for name in TOLD:
        _script(top / "bin" / name, f'echo "{name} $*" >>{top}/told\n[ {name} != certbot ]')
    for name, domain in (("first", FIRST), ("second", SECOND)):
        written("systemd", request.param, top / name, domain)
    written("systemd", "small", top / "larger")
    (top / "again.sh").write_text(way_back(request.param))
    environment = os.environ | {
        "T": str(top), "VERSION": Names().version, "LAYERS": " ".join(LAYERS), "SECOND": SECOND, "SCALE": request.param,
    }  # fmt: skip
    spaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        ["unshare", *spaces, "sh", "-c", RUN], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    if re.search(r"^(unshare|mount): ", done.stderr, re.MULTILINE):
        pytest.skip(f"no layer can be put over this machine: {done.stderr}")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    (top / "said").write_text(done.stdout + done.stderr)
    return top


def way_back(scale: str) -> str:
    """The commands of the guide that bring a copy back; its comments say what is other at mvp."""
    _, _, after = set_of("systemd", scale)["systemd.md"].partition("Back again")
    block = after.split("```sh\n")[1].split("```")[0]
    assert "# mvp: rm " in block and "# mvp: without the last" in block
    if scale == "mvp":
        block = re.sub(r"^.*# mvp: (rm .*)$", r"\1", block, flags=re.MULTILINE).replace(" catalyst@8081 ", " ")
    return f"set -eu\n{block}"


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def read(path: Path) -> Any:
    """A file with an answer."""
    return json.loads(path.read_text())


def test_the_first_admin_key_is_kept_for_its_owner_alone(machine: Path) -> None:
    """Made by the first start, in no log and no output; it opens the API through TLS after the second run."""
    key = (machine / "key").read_text().strip()
    assert take_apart(key) is not None
    assert key not in (machine / "said").read_text()
    assert [each["id"] for each in read(machine / "keys")["keys"]] == [key.split("_")[2]]
    logs = "".join(path.read_text() for path in (machine / "logs").iterdir())
    assert "listening on" in logs
    assert key not in logs
    modes = (machine / "modes").read_text()
    assert "600 root:root /root/catalyst-admin-key" in modes
    assert "600 root:root /etc/catalyst/offsite.key" in modes
    assert "600 root:root /etc/nginx/tls/catalyst.key" in modes
    assert "600 root:root /etc/nginx/tls/catalyst.pem" in modes
    assert re.search(r"^640 root:\w+ /etc/catalyst/catalyst.env$", modes, re.MULTILINE)
    assert "700 catalyst:catalyst /var/lib/catalyst" in modes


def test_a_second_run_keeps_the_settings_and_takes_the_other_name(machine: Path) -> None:
    """Also what somebody added, and the secrets; the nodes are started anew, one after the other."""
    settings = (machine / "made/etc/catalyst/catalyst.env").read_text().splitlines()
    assert settings[:2] == [f"CATALYST_PUBLIC_URL=https://{SECOND}", "CATALYST_TRUSTED_PROXIES=127.0.0.1"]
    assert settings[-1] == "CATALYST_POLL_S=0.5"
    small = machine.name == "small"
    assert len(settings) == (6 if small else 3)
    told = (machine / "told").read_text()
    assert "systemctl enable -q catalyst@8080\nsystemctl restart catalyst@8080\n" in told
    assert ("systemctl restart catalyst@8081" in told) == small, "an SQLite file has one writer"


def test_a_larger_scale_is_refused_while_the_log_is_a_file(machine: Path) -> None:
    """The second node would find it taken."""
    assert ("the log of this machine is an SQLite file" in (machine / "said").read_text()) == (machine.name == "mvp")


def test_the_units_are_where_systemd_looks(machine: Path) -> None:
    """As they stand in the set; the versions that were tested are installed."""
    units = machine / "made/etc/systemd/system"
    for path in (machine / "second" / "systemd").glob("catalyst*"):
        assert (units / path.name).read_text() == path.read_text()
    told = (machine / "told").read_text()
    assert "systemctl enable -q --now catalyst-backup.timer catalyst-certificate.timer\n" in told
    assert "pip install -q -c systemd/constraints.txt catalyst-signals[server,postgresql,redis] == " in told


def test_the_copy_of_the_night_comes_back_as_the_guide_says(machine: Path) -> None:
    """From where restic brought it, into an empty log: every line of the guide, and the key of before opens it."""
    assert "kept" in [each.get("id") for each in read(machine / "events")["events"]]


def test_nginx_reads_all_of_it_as_it_lies_there(machine: Path) -> None:
    """The whole /etc/nginx, with a certificate that signs itself: setup.sh asks `nginx -t` before it restarts it."""
    site = machine / "made/etc/nginx"
    assert not (site / "sites-enabled/default").exists()
    assert "worker_connections 20000;" in (site / "nginx.conf").read_text()
    told = (machine / "told-nginx").read_text().splitlines()
    (asked, *_) = [line for line in told if "certonly" in line]
    assert told.index("systemctl reload-or-restart nginx") < told.index(asked)
    assert f"--domain {SECOND} --email {Names().email} --webroot" in asked
    assert f"does {SECOND} lead here?" in (machine / "said").read_text()


def test_a_waf_stands_before_it_when_it_is_asked_for(machine: Path) -> None:
    """An attack gets 403 of it, and without it what the server says to a page that is not there."""
    assert (machine / "refused").read_text() == ("403" if machine.name == "small" else "404")


def test_the_other_proxy_takes_its_place(machine: Path) -> None:
    """Both want the same ports; a request goes through. Who does not say it again keeps it."""
    assert (machine / "haproxy").read_text()
    if machine.name == "small":
        return
    told = (machine / "told").read_text()
    assert told.index("systemctl disable -q --now nginx") < told.index("systemctl reload-or-restart haproxy")
    assert told.count("systemctl reload-or-restart haproxy") == 2


def test_the_firewall_lets_in_the_web_and_never_locks_out_its_owner(machine: Path) -> None:
    """Port 22 always, and wherever else sshd says that it listens, before it is switched on."""
    told = [line for line in (machine / "told").read_text().splitlines() if line.startswith("ufw")]
    first = told[: told.index("ufw --force enable")]
    assert {"ufw allow 22/tcp", "ufw allow 80/tcp", "ufw allow 443/tcp"} <= set(first)
    assert 'Unattended-Upgrade "1"' in (machine / "made/etc/apt/apt.conf.d/52catalyst").read_text()

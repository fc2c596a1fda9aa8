#!/bin/sh
# Makes a Debian 12 or Ubuntu 24.04 machine run Catalyst at the scale <<scale>>, for <<domain>>.
# As root, `sh systemd/setup.sh` in the folder of this set; cloud-init/user-data.yaml brings the files and runs it by itself.
#
# It may be run again, also with the set of another release or for another name: the log, its keys, your settings and the
# secrets, which are made here and never leave, stay; the files of this set are put over those of before. PROXY=haproxy
# takes HAProxy for nginx, WAF=1 puts ModSecurity with OWASP's rules into nginx; either stays so.
set -eu
cd "$(dirname "$0")/.."
export DEBIAN_FRONTEND=noninteractive

domain=<<domain>> email=<<email>> scale=<<scale>> version=<<version>>
proxy=${PROXY:-$(sed -n 's/^RELOAD="systemctl reload \(.*\)"$/\1/p' /etc/catalyst/certificate.env 2>/dev/null || true)}
proxy=${proxy:-nginx}
settings=/etc/catalyst/catalyst.env
key=/root/catalyst-admin-key

say() { echo "catalyst: $*"; }
stop() { say "$*"; exit 1; }

case $proxy in
nginx) other=haproxy ;;
haproxy) other=nginx ;;
*) stop "PROXY is nginx or haproxy" ;;
esac

packages() {
    wanted="$proxy certbot openssl curl restic ufw unattended-upgrades python3-venv"
    [ "$scale" = mvp ] || wanted="$wanted postgresql redis-server"
    [ -z "${WAF:-}" ] || wanted="$wanted libnginx-mod-http-modsecurity modsecurity-crs"
    apt-get update -q
    # shellcheck disable=SC2086 # These are several words.
    apt-get install -y -q --no-install-recommends $wanted
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || stop "Python 3.11 or newer is needed"
}

program() { # From a package beside this set, else from PyPI; each version in a folder of its own.
    id catalyst >/dev/null 2>&1 || useradd --system --home-dir /var/lib/catalyst --shell /usr/sbin/nologin catalyst
    set -- "$PWD"/catalyst_signals-*
    [ $# = 1 ] || stop "which of these? leave one: $*"
    if [ -e "$1" ]; then from="@ file://$1"; else from="== $version"; fi
    [ -x "/opt/catalyst-$version/bin/catalyst" ] || python3 -m venv "/opt/catalyst-$version"
    "/opt/catalyst-$version/bin/pip" install -q -c systemd/constraints.txt "catalyst-signals[server,postgresql,redis] $from"
    ln -sfn "/opt/catalyst-$version" /opt/catalyst
    install -d -o catalyst -g catalyst -m 0700 /var/lib/catalyst /var/lib/catalyst-backup
}

database() ( # By the socket, as whoever the process is: there is no password.
    systemctl enable -q --now postgresql redis-server
    cd /
    as_postgres="runuser -u postgres -- psql --no-psqlrc -qtA"
    [ -n "$($as_postgres -c "SELECT 1 FROM pg_roles WHERE rolname = 'catalyst'")" ] || $as_postgres -c "CREATE ROLE catalyst LOGIN"
    [ -n "$($as_postgres -c "SELECT 1 FROM pg_database WHERE datname = 'catalyst'")" ] ||
        $as_postgres -c "CREATE DATABASE catalyst OWNER catalyst"
)

redis() { # Hints and counters: it may come back empty, so it writes nothing. `password` is what it asks for.
    password=$(sed -n 's/^requirepass //p' /etc/redis/catalyst.conf 2>/dev/null || true)
    [ -z "$password" ] || return 0
    password=$(openssl rand -hex 24)
    install -m 0640 -g redis /dev/null /etc/redis/catalyst.conf
    cat >/etc/redis/catalyst.conf <<CONF
requirepass $password
save ""
appendonly no
maxmemory 128mb
maxmemory-policy allkeys-lru
CONF
    grep -q catalyst.conf /etc/redis/redis.conf || echo "include /etc/redis/catalyst.conf" >>/etc/redis/redis.conf
    systemctl restart redis-server
}

configure() { # The settings of every node; once they are there only the host's name is of this script.
    install -d -g catalyst -m 0750 /etc/catalyst
    if [ -e "$settings" ]; then
        [ "$scale" = mvp ] || grep -q ^CATALYST_STORE_URL= "$settings" ||
            stop "the log of this machine is an SQLite file: bring it to PostgreSQL first, and say where in $settings"
        sed -i "s|^CATALYST_PUBLIC_URL=.*|CATALYST_PUBLIC_URL=https://$domain|" "$settings"
        return
    fi
    install -m 0640 -g catalyst /dev/null "$settings.new"
    printf '%s\n' "CATALYST_PUBLIC_URL=https://$domain" CATALYST_TRUSTED_PROXIES=127.0.0.1 >"$settings.new"
    if [ "$scale" != mvp ]; then
        redis
        printf '%s\n' "CATALYST_STORE_URL=postgresql://catalyst@/catalyst?host=/var/run/postgresql" \
            "CATALYST_BROKER_URL=redis+pubsub://:$password@127.0.0.1:6379" \
            "CATALYST_CACHE_URL=redis://:$password@127.0.0.1:6379" >>"$settings.new"
    fi
    mv "$settings.new" "$settings"
}

first_start() { # An empty log gives its admin key once, on standard output: here it is kept. Where units are, it was.
    [ ! -e "$key" ] && [ ! -e /etc/systemd/system/catalyst@.service ] || return 0
    said=$(mktemp)
    (
        set -a
        export CATALYST_STORE_URL=sqlite:////var/lib/catalyst/catalyst.db
        # shellcheck source=/dev/null
        . "$settings"
        export CATALYST_PORT=0
        cd /var/lib/catalyst
        exec setpriv --reuid catalyst --regid catalyst --clear-groups -- /opt/catalyst/bin/catalyst serve
    ) >"$said" &
    until grep -q '^listening on ' "$said"; do
        kill -0 $! || stop "the first start failed"
        sleep 0.2
    done
    kill $!
    wait $! || true
    install -m 0600 /dev/null "$key"
    sed -n 's/^admin key: //p' "$said" >"$key"
    rm "$said"
    [ -s "$key" ] || say "this log has users already: no admin key was made"
}

front() { # The proxy with its certificate, which is one that signs itself until the timer has Let's Encrypt's.
    install -m 0755 certificate/certificate.sh /usr/local/sbin/catalyst-certificate
    install -d /var/www/acme
    printf '%s\n' "DOMAIN=$domain" "EMAIL=$email" "RELOAD=\"systemctl reload $proxy\"" >/etc/catalyst/certificate.env
    systemctl disable -q --now "$other" 2>/dev/null || true # Both want the same ports.
    if [ "$proxy" = haproxy ]; then
        printf '%s\n' TLS_DIR=/etc/haproxy/tls 'CHALLENGE="--standalone --http-01-port 8888"' >>/etc/catalyst/certificate.env
        install -m 0644 haproxy/haproxy.cfg /etc/haproxy/haproxy.cfg
        [ "$scale" != mvp ] || sed -i '/^ *server two /d' /etc/haproxy/haproxy.cfg # An SQLite file has one node.
    else
        install -m 0644 nginx/catalyst.conf nginx/catalyst-nodes.conf /etc/nginx/conf.d/
        if [ -n "${WAF:-}" ]; then
            install -d /etc/nginx/waf
            install -m 0644 waf/nginx.conf waf/catalyst.rules /etc/nginx/waf/
        fi
        rm -f /etc/nginx/sites-enabled/default
        sed -i 's/worker_connections [0-9]*;/worker_connections 20000;/' /etc/nginx/nginx.conf
        printf '%s\n' "worker_rlimit_nofile 50000;" "worker_shutdown_timeout 60s;" >/etc/nginx/modules-enabled/90-catalyst.conf
    fi
    certificate self
    if [ "$proxy" = haproxy ]; then haproxy -c -q -f /etc/haproxy/haproxy.cfg; else nginx -q -t; fi
    systemctl enable -q "$proxy"
    systemctl reload-or-restart "$proxy"
    certificate || say "no certificate of Let's Encrypt yet: does $domain lead here? It is tried again by itself"
}

certificate() (
    set -a
    # shellcheck source=/dev/null
    . /etc/catalyst/certificate.env
    /usr/local/sbin/catalyst-certificate "$@"
)

services() { # Started, or one after the other started anew.
    install -m 0644 systemd/*.service systemd/*.timer /etc/systemd/system/
    systemctl daemon-reload
    for port in 8080 $([ "$scale" = mvp ] || echo 8081); do
        systemctl enable -q "catalyst@$port"
        systemctl restart "catalyst@$port"
    done
    systemctl enable -q --now catalyst-backup.timer catalyst-certificate.timer
}

machine() { # Closed but for SSH, wherever it listens, and the web; kept up to date.
    mkdir -p /run/sshd # Without it sshd says nothing, and on Ubuntu it is there only while somebody is.
    for port in 22 $(sshd -T 2>/dev/null | sed -n 's/^port //p') 80 443; do ufw allow "$port/tcp" >/dev/null; done
    ufw --force enable >/dev/null
    printf '%s\n' 'APT::Periodic::Update-Package-Lists "1";' 'APT::Periodic::Unattended-Upgrade "1";' \
        'Unattended-Upgrade::Automatic-Reboot "true";' 'Unattended-Upgrade::Automatic-Reboot-Time "04:30";' \
        >/etc/apt/apt.conf.d/52catalyst
    if [ ! -e /etc/catalyst/offsite.key ]; then
        install -m 0600 /dev/null /etc/catalyst/offsite.key
        openssl rand -hex 32 >/etc/catalyst/offsite.key
    fi
}

packages
program
[ "$scale" = mvp ] || database
configure
first_start
front
services
machine
say "https://$domain serves. Keep a copy of /etc/catalyst/offsite.key elsewhere"
[ ! -s "$key" ] || say "the first admin key is in $key: keep it, then delete that file"

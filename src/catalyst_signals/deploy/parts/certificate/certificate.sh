#!/bin/sh
# The certificate of the proxy for $DOMAIN: one that signs itself until there is another, then one of Let's Encrypt ($EMAIL is
# told before it ends), renewed when it is due. Where the proxy reads it is $TLS_DIR; $RELOAD is done when there is a new one.
#
# Ends with 0 once it is Let's Encrypt's. Until then whoever calls it waits half an hour: five failures an hour are allowed.
# With the argument `self` only the first is done, so that the proxy can start: it has to answer when Let's Encrypt asks.
set -eu
umask 077
tls=${TLS_DIR:-/etc/nginx/tls}
challenge=${CHALLENGE:---webroot --webroot-path /var/www/acme}
live=/etc/letsencrypt/live/catalyst

put() { # CHAIN KEY: they are there, each whole; the third has both, as HAProxy takes them.
    cp "$1" "$tls/catalyst.crt.new"
    cp "$2" "$tls/catalyst.key.new"
    cat "$1" "$2" >"$tls/catalyst.pem.new"
    for each in crt key pem; do mv "$tls/catalyst.$each.new" "$tls/catalyst.$each"; done
}

mkdir -p "$tls"
if [ ! -s "$tls/catalyst.pem" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=$DOMAIN" \
        -addext "subjectAltName=DNS:$DOMAIN" -keyout "$tls/self.key" -out "$tls/self.crt"
    put "$tls/self.crt" "$tls/self.key"
fi
[ "${1:-}" != self ] || exit 0

# shellcheck disable=SC2086 # These are several words.
certbot certonly --non-interactive --agree-tos --keep-until-expiring --cert-name catalyst \
    --domain "$DOMAIN" --email "$EMAIL" $challenge ${CERTBOT_MORE:-}
if ! cmp -s "$live/fullchain.pem" "$tls/catalyst.crt"; then
    put "$live/fullchain.pem" "$live/privkey.pem"
    ${RELOAD:-true}
fi

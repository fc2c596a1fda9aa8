#!/bin/sh
# nginx, which takes a new certificate within a minute. Without a new one nothing is reloaded: WebSockets stay with the
# workers of before for a minute, and then come back: each reload would be felt.
set -eu
seen=${SEEN:-/tmp/certificate}
touch "$seen"
while sleep "${LOOK_S:-60}"; do
    [ -n "$(find /etc/nginx/tls/catalyst.crt -newer "$seen")" ] || continue
    touch "$seen"
    nginx -s reload
done &
exec nginx -g 'daemon off;'

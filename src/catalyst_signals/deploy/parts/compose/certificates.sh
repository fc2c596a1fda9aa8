#!/bin/sh
# Keeps the certificate: at once one that signs itself, then Let's Encrypt's, as soon as nginx answers; looked at twice a day.
set -eu
script=/usr/local/bin/certificate.sh
sh "$script" self
sleep "${FIRST_S:-30}"
while :; do
    if sh "$script"; then sleep 43200; else sleep 1800; fi
done

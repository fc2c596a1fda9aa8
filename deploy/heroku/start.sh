#!/bin/sh
# What Heroku gives as what Catalyst takes. Read at each start: Heroku changes the passwords now and then, and restarts.
set -eu

export CATALYST_HOST=0.0.0.0 CATALYST_PORT="$PORT" CATALYST_NODE="${DYNO:-web.1}"
# postgres://... , with TLS and certificates that no authority has signed.
export CATALYST_STORE_URL="postgresql://${DATABASE_URL#*://}?sslmode=require"
# Absent without the add-on: one dyno does not need it, several find what is new by asking the database once a second.
if [ -n "${REDIS_URL:-}" ]; then
    place="${REDIS_URL#*://}?verify=no"
    case "$REDIS_URL" in rediss:*) scheme=rediss ;; *) scheme=redis place="${place%%\?*}" ;; esac
    export CATALYST_BROKER_URL="$scheme+pubsub://$place" CATALYST_CACHE_URL="$scheme://$place"
fi
exec catalyst serve

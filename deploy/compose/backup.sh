#!/bin/sh
# A copy of the log at once and then every night at 3:17 UTC, verified; the newest 14 stay. $CATALYST_STORE_URL is the log.
set -eu
folder=/var/lib/catalyst-backup
keep=14

copy() {
    new=$folder/catalyst-$(date -u +%Y-%m-%d).db
    catalyst backup "$new" --force
    catalyst verify --store-url "sqlite:///$new"
    find "$folder" -name 'catalyst-*.db' | sort -r | tail -n "+$((keep + 1))" | while read -r old; do
        rm -f "$old" "$old"-* "$old".*
    done
}

while :; do
    copy || echo "backup: it failed, the copies of before stay; tried again in an hour" >&2
    now=$(date +%s)
    [ -n "$(find "$folder" -name 'catalyst-*.db' -mmin -60)" ] || { sleep 3600; continue; }
    sleep $((86400 - (now - 11820) % 86400))
done

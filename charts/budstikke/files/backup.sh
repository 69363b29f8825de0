#!/bin/bash
# Takes the backups of an embedded instance, beside it: backup.sh. What it reads is told in environment.sh; besides, in seconds,
#   EVERY              between two base backups
#   KEEP               nothing in the repository may be older, whatever fails
#   TICK               how often it looks
# Each round: a base backup if one is due; what would be too old before the next round goes; the instance is told what there is.
set -euo pipefail
# shellcheck source=charts/budstikke/files/environment.sh
. "${0%/*}/environment.sh"
EVERY=${EVERY:-86400}
KEEP=${KEEP:-604800}
TICK=${TICK:-300}
configure_repository

# Waits for no standby, and not for long: old backups must go whatever happens.
ask() { PGOPTIONS="-c synchronous_commit=local -c statement_timeout=30s" PGCONNECT_TIMEOUT=10 psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$SOCKETS" -p "$PORT" -U postgres -d budstikke "$@"; }

# When each base backup began, oldest first.
begun() { rest info --output=json | jq -r '[.[].backup[]?.timestamp.start] | sort | .[]'; }

# When the oldest thing came that holds data: a base backup (also one that was cut short), or a segment of the log.
oldest() {
    { rest repo-ls --recurse --output=json "backup/$INSTANCE"; rest repo-ls --recurse --output=json "archive/$INSTANCE"; } |
        jq -s -r '[add // {} | to_entries[] | select(.value.type == "file") |
            select(.key | test("^[0-9]{8}-[0-9]{6}F|/[0-9A-F]{24}")) | .value.time] | min // empty'
}

expire() {
    local now young
    now=$(date +%s)
    # Of these nothing can be too old before the next look.
    young=$(begun | awk -v "since=$((now - KEEP + 2 * TICK))" '$1 > since' | wc -l)
    if [ "$young" -gt 0 ]; then
        rest expire "--repo1-retention-full=$young" || failed "old backups could not be removed"
    fi
    first=$(oldest)
    if [ -n "$first" ] && [ "$first" -le $((now - KEEP + 2 * TICK)) ]; then forget; fi
}

# No backup that is young enough: rather none at all than one that holds what must be gone.
forget() {
    say "NO BACKUP IS LEFT OF $INSTANCE: the oldest thing in the repository had to go, since no newer base backup could be taken"
    rest stop
    rest stanza-delete --force || failed "what is too old could not be removed"
    rest start 2>/dev/null || true
    rest stanza-create || failed "the repository could not be made anew"
}

failed() { say "$*"; failure=${failure:-$*}; }

report() {
    local report
    report=$(begun | jq -s -c --arg oldest "$(oldest)" --arg failure "$failure" --argjson keep "$KEEP" --argjson every "$EVERY" \
        '{oldest: ([.[0], ($oldest | tonumber? // null)] | map(values) | min), newest: .[-1], backups: length,
          keep: $keep, every: $every, failure: $failure}')
    if [ "$INSTANCE" = data ]; then schema=budstikke; else schema=$INSTANCE; fi
    ask -v "report=$report" <<<"select $schema.backup_reported(:'report')" >/dev/null
}

round() {
    local last
    failure=
    rest start 2>/dev/null || true
    if rest stanza-create; then
        last=$(begun | tail -n 1) || last=
        if [ -z "$last" ] || [ "$(date +%s)" -ge $((last + EVERY)) ]; then
            rest backup --type=full || failed "no base backup could be taken"
        fi
    else
        failed "the repository does not answer, or is of another cluster"
    fi
    expire || failed "the repository could not be looked through"
    report || say "the instance could not be told"
}

# The first process of a container hears no signal that it does not ask for, and its pod would wait for the whole grace period.
trap 'exit 0' INT TERM
# An instance that does not start must not keep old backups.
for ((patience = TICK; patience > 0; patience--)); do
    if ask -c "select 1" >/dev/null 2>&1; then break; fi
    sleep 1
done
while :; do
    # Again, since the store's keys may have been exchanged.
    configure_repository
    round
    # In the background, so that a signal is heard at once.
    sleep "$TICK" &
    wait $!
done

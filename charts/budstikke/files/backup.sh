#!/bin/bash
# Takes the backups of an embedded instance, beside it: backup.sh. What it reads is told in environment.sh; besides, in seconds,
#   EVERY              between two base backups
#   KEEP               nothing in the repository may be older, whatever fails
#   MOST               a base backup may take
#   TICK               how often it looks
# Each round: what would be too old before the next one goes, where a younger base backup stays; a base backup if one is due, and the same
# again; then what is too old goes whatever else there is; the instance is told what there is, and what failed.
set -euo pipefail
# shellcheck source=charts/budstikke/files/environment.sh
. "${0%/*}/environment.sh"
EVERY=${EVERY:-86400}
KEEP=${KEEP:-604800}
MOST=${MOST:-3600}
TICK=${TICK:-300}
configure_repository

# Waits for no standby, and not for long: old backups must go whatever happens.
ask() { PGOPTIONS="-c synchronous_commit=local -c statement_timeout=30s" PGCONNECT_TIMEOUT=10 psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$SOCKETS" -p "$PORT" -U postgres -d budstikke "$@"; }

# When each base backup began, oldest first.
begun() { known | jq -r '[.[].backup[]?.timestamp.start] | sort | .[]'; }

# When the oldest thing came that holds data: a base backup (also one that was cut short), or a segment of the log.
oldest() {
    rest repo-ls --recurse --output=json | jq -r --arg instance "$INSTANCE" '[to_entries[] | select(.value.type == "file") |
        select(.key | test("^backup/" + $instance + "/[0-9]{8}-[0-9]{6}F|^archive/" + $instance + "/.*/[0-9A-F]{24}")) | .value.time] |
        min // empty'
}

# What there is, as far as it can be read.
look() {
    readable=true
    all=$(begun) || { failed "the repository cannot be read"; readable=false all=; }
    first=$(oldest) || { failed "the repository cannot be looked through"; readable=false first=; }
}

# What came after this will not be too old before the next look.
since() { echo $(($(date +%s) - KEEP + 2 * TICK)); }

# By pgBackRest's own rule, and so never the last base backup: what is not younger than `since` goes where something younger stays.
expire() {
    local young
    young=$(awk -v "since=$(since)" '$1 > since' <<<"$all" | wc -l)
    if [ "$young" -gt 0 ]; then
        rest expire "--repo1-retention-full=$young" || failed "old backups could not be removed"
    fi
    look
}

# What is too old all the same, since no younger base backup could be taken, or it could not be removed: rather none at all than
# one that holds what must be gone. And one anew, if the server answers.
none_too_old() {
    if [ -n "$first" ] && [ "$first" -le "$(since)" ]; then
        forget
        if rest stanza-create; then base_backup; fi
        look
    fi
}

forget() {
    failed "NO BACKUP IS LEFT OF $INSTANCE: the oldest thing in the repository had to go, since no newer base backup could be taken"
    rest stop
    rest stanza-delete --force || failed "what is too old could not be removed"
    rest start 2>/dev/null || true
    first=
}

# For so long the next base backup may take: no longer than until the oldest thing must go, since nothing goes meanwhile. Where that is
# past already, as when all was off for days, it gets all its time: it is the one that will stay.
time_left() {
    local left=$((${first:-0} + KEEP - $(date +%s) - TICK / 2))
    if [ "$left" -le 0 ] || [ "$left" -gt "$MOST" ]; then left=$MOST; fi
    echo "$left"
}

base_backup() {
    local most code=0
    most=$(time_left)
    # In the background, so that a signal is heard at once.
    timeout --kill-after=30 "$most" pgbackrest "${of_instance[@]}" backup --type=full &
    child=$!
    wait "$child" || code=$?
    child=
    case $code in
        0) ;;
        124 | 137) failed "no base backup could be taken within $most s" ;;
        *) failed "no base backup could be taken" ;;
    esac
}

# Whether the log is archived: what was accepted since is on one volume alone.
archived() {
    local since
    since=$(ask <<'SQL'
select to_char(coalesce(last_archived_time, stats_reset, pg_postmaster_start_time()) at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
from pg_stat_archiver where last_failed_time > coalesce(last_archived_time, '-infinity')
SQL
    ) || return 0
    if [ -n "$since" ]; then failed "its log is not archived since $since"; fi
}

failed() { say "$*"; failure=${failure:-$*}; }

# Of a repository that could not be looked through, what was told before stays.
report() {
    local there='{}' report schema=$INSTANCE
    if "$readable"; then
        there=$(jq -s -c --arg oldest "$first" '{oldest: ([.[0], ($oldest | tonumber? // null)] | map(values) | min),
            newest: .[-1], backups: length}' <<<"$all")
    fi
    report=$(jq -n -c --argjson there "$there" --arg failure "$failure" --argjson keep "$KEEP" --argjson every "$EVERY" \
        '$there + {keep: $keep, every: $every, failure: $failure}')
    if [ "$INSTANCE" = data ]; then schema=budstikke; fi
    ask -v "report=$report" <<<"select $schema.backup_reported(:'report')" >/dev/null
}

round() {
    local last created=true
    failure=
    rest start 2>/dev/null || true
    rest stanza-create || { created=false; failed "the repository does not answer, or is of another cluster"; }
    look
    expire
    last=$(tail -n 1 <<<"$all")
    if "$created" && "$readable" && { [ -z "$last" ] || [ "$(date +%s)" -ge $((last + EVERY)) ]; }; then
        base_backup
        look
        expire
    fi
    none_too_old
    archived
    report || say "the instance could not be told"
}

# The first process of a container hears no signal that it does not ask for, and its pod would wait for the whole grace period.
stop() {
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null || true
        wait "$child" || true
    fi
    exit 0
}
child=
trap stop INT TERM
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

#!/bin/bash
# Runs the hot standby of an embedded instance: standby.sh [-c NAME=VALUE …]. What it reads is told in environment.sh; besides,
#   PRIMARY            the primary's name, as in its certificate; PRIMARY_PORT its port
#   PROMOTED           `true`: this is the primary now; it goes on where the old one ended, as a new timeline
#   AWAY               seconds without a stream, with a primary that answers, until a new copy is taken: there is no slot, so that
#                      a standby that is away keeps no destroyed key in the primary's log
set -euo pipefail
# shellcheck source=charts/budstikke/files/environment.sh
. "${0%/*}/environment.sh"
PRIMARY_PORT=${PRIMARY_PORT:-5432}
AWAY=${AWAY:-60}
mkdir -p "$RUN"
(umask 077; printf '*:*:*:budstikke_standby:%s\n' "$(cat "$SECRETS/standby-password")" >"$RUN/pgpass")
upstream="host=$PRIMARY port=$PRIMARY_PORT user=budstikke_standby passfile=$RUN/pgpass sslmode=verify-full sslrootcert=$TLS/ca.crt"
upstream+=" application_name=budstikke_standby connect_timeout=10"

# Beside the old copy, which stands until there is a new one.
copy() {
    say "taking a copy of the primary"
    rm -rf "$PGDATA.new"
    # In the background, so that a signal is heard at once.
    pg_basebackup --pgdata "$PGDATA.new" --wal-method=stream --checkpoint=fast --dbname "${upstream/=budstikke_standby connect/=budstikke_copy connect}" &
    child=$!
    wait "$child" || return 1
    rm -rf "$PGDATA"
    mv "$PGDATA.new" "$PGDATA"
    date -u +%FT%TZ >"$PGDATA.following"
    touch "$PGDATA/standby.signal"
}

# Until there is one, more and more seldom.
copied() {
    local pause=5
    until copy; do
        say "no copy could be taken: the next try is in $pause s"
        sleep "$pause" &
        wait $! || true
        pause=$((pause < 160 ? 2 * pause : 300))
    done
}

streams() {
    [ "$(psql -X -q -A -t -h "$SOCKETS" -p "$PORT" -U postgres -d postgres \
        -c "select count(*) from pg_stat_wal_receiver where status = 'streaming'" 2>/dev/null)" = 1 ]
}

# Until the server ends, or has been without a stream for too long.
watch() {
    local since=$SECONDS
    while kill -0 "$child" 2>/dev/null; do
        if streams || ! pg_isready -q -h "$PRIMARY" -p "$PRIMARY_PORT"; then since=$SECONDS; fi
        if [ $((SECONDS - since)) -ge "$AWAY" ]; then
            say "no stream for $AWAY s, though the primary answers"
            kill -INT "$child"
            wait "$child" || true
            return 1
        fi
        sleep 2 &
        wait $! || true
    done
    wait "$child"
}

if [ "${PROMOTED:-false}" = true ]; then
    [ -s "$PGDATA/PG_VERSION" ] || die "there is no copy to promote"
    configure_repository
    configure_server
    # To the end of what came, and of what the repository has beyond that.
    if [ -e "$PGDATA/standby.signal" ]; then
        say "becoming the primary"
        touch "$PGDATA/recovery.signal"
        rm "$PGDATA/standby.signal"
    fi
    if [ -e "$PGDATA/recovery.signal" ]; then
        get=false
        if [ -n "$REPOSITORY" ]; then get="timeout --kill-after=10 120 pgbackrest ${of_instance[*]} archive-get %f %p"; fi
        settings+=(-c "restore_command=$get")
        # It is started anew for this, but it is no copy that was restored: commits have waited for it since then.
        if [ -s "$PGDATA.following" ]; then settings+=(-c "budstikke.following_since=$(cat "$PGDATA.following")"); fi
    fi
    exec postgres -D "$PGDATA" "${settings[@]}" "$@"
fi

configure_server
stop() {
    kill -INT "$child" 2>/dev/null || true
    wait "$child" || true
    exit 0
}
child=
trap stop INT TERM
while :; do
    # Without the signal it has been the primary: what has become of its data is in the primary's hands now.
    if [ ! -e "$PGDATA/standby.signal" ]; then copied; fi
    postgres -D "$PGDATA" "${settings[@]}" "$@" -c "primary_conninfo=$upstream" &
    child=$!
    watch && exit 0
    copied
done

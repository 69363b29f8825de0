#!/bin/bash
# Starts an embedded PostgreSQL, the primary: postgres.sh [-c NAME=VALUE …]. What it reads is told in environment.sh; besides,
#   RESTORE_ID         restores before it starts, once for each id (restore.sh); RESTORE_TARGET says to when
# The first start makes the cluster aside and moves it into place, so that a start that was cut short leaves nothing half made.
set -euo pipefail
# shellcheck source=charts/budstikke/files/environment.sh
. "${0%/*}/environment.sh"
configure_repository
configure_server

if [ -n "${RESTORE_ID:-}" ]; then
    # shellcheck source=charts/budstikke/files/restore.sh
    . "${0%/*}/restore.sh"
    restore "$@"
fi

# A volume that was lost must not begin anew as if nothing had been.
if [ ! -s "$PGDATA/PG_VERSION" ] && [ -n "$REPOSITORY" ]; then
    kept=$(known | jq '[.[].backup[]?] | length') || die "the repository cannot be read: see above"
    [ "$kept" = 0 ] || die "the volume is empty, but the repository has $kept backups of it: set restore.id to bring them back," \
        "or delete the repository to begin anew"
fi

# A server whose place another one has taken must not go on beside it.
if [ -s "$PGDATA/PG_VERSION" ] && [ -n "$REPOSITORY" ]; then
    theirs=$(known | jq -r '[.[].archive[]?.max // empty] | max // "0" | .[0:8]') ||
        say "the repository cannot be read: it is not known whether another server was the primary since"
    ours=$(LC_ALL=C pg_controldata "$PGDATA" | sed -nE "s/^(Latest checkpoint's TimeLineID|Min recovery ending loc's timeline): +//p" | sort -n | tail -n 1)
    [ $((16#${theirs:-0})) -le "$ours" ] || die "the repository goes on after this volume ended: another server was the primary" \
        "since. Set restore.id to take up what it wrote."
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    say "making a new cluster"
    rm -rf "$PGDATA.new"
    # Little is written to the keyring: in small segments, which are soon full, and gone.
    segments=()
    if [ "$INSTANCE" = keyring ]; then segments=(--wal-segsize=1); fi
    initdb "${segments[@]}" --pgdata "$PGDATA.new" --username postgres --pwfile "$SECRETS/postgres-password" \
        --auth-host scram-sha-256 --auth-local reject --encoding UTF8 --locale C.UTF-8 --data-checksums >/dev/null
    PGDATA=$PGDATA.new alone <<SQL
create role budstikke_owner login createrole
create database budstikke owner budstikke_owner
revoke all on database budstikke from public
SQL
    mv "$PGDATA.new" "$PGDATA"
fi

# At every start: an older cluster lacks the standby's login, and a restored one may have passwords of its time. The owner of the
# schema makes the roles of tenants and routes; it is no superuser. It may see whether a standby has replayed.
alone <<SQL
do \$\$ begin if not exists (select from pg_roles where rolname = 'budstikke_standby') then create role budstikke_standby; end if; end \$\$
alter role budstikke_standby login replication connection limit 4 password '$(cat "$SECRETS/standby-password")'
alter role budstikke_owner password '$(cat "$SECRETS/owner-password")'
alter role postgres password '$(cat "$SECRETS/postgres-password")'
grant pg_read_all_stats to budstikke_owner
SQL
# So that the archive gets new keys at once.
alone budstikke <<SQL
grant execute on function pg_switch_wal() to budstikke_owner
SQL

exec postgres -D "$PGDATA" "${settings[@]}" "$@"

# shellcheck shell=bash disable=SC2154
# Brings a cluster back from the repository; sourced by postgres.sh. Beside what environment.sh tells it reads
#   RESTORE_ID         a name for this restore: what has been restored once is not restored again by a later start
#   RESTORE_TARGET     `latest` (the default), or a time by RFC 3339: to the last commit before it
# The cluster is brought back beside the old one, replayed and promoted there, and then takes its place: a restore that fails
# leaves the old one as it was. $PGDATA.restored keeps the id.
restore() { # SETTINGS…
    local target=${RESTORE_TARGET:-latest} options=(--type=default --target-timeline=latest) aside=$PGDATA.restoring
    [ -n "$REPOSITORY" ] || die "a restore needs a repository: set backups.enabled"
    if [ "$(cat "$PGDATA.restored" 2>/dev/null)" = "$RESTORE_ID" ]; then return 0; fi
    if [ "$target" != latest ]; then
        target=$(date -u -d "$target" '+%F %T.%6N+00') || die "restore.target is neither 'latest' nor a time such as 2026-01-31T12:00:00Z"
        options=(--type=time "--target=$target" --target-action=promote --target-timeline=latest)
    fi
    say "restoring $INSTANCE ($RESTORE_ID) to $target"
    # Tells the start-up probe that this may take its time.
    touch "$RUN/restoring"
    rm -rf "$aside"
    mkdir -m 0700 "$aside"
    LIMIT=604800 rest restore "--pg1-path=$aside" "--recovery-option=restore_command=$(archive_get "$aside")" "${options[@]}" ||
        die "the restore failed: the old cluster is as it was"
    # Nobody can connect, and nothing is pushed before it is the one that holds; what it would push waits.
    mkdir -p "$RUN/aside"
    pg_ctl start --silent --wait --timeout 604800 -D "$aside" -o "$(printf '%q ' "$@" "${settings[@]}" -c listen_addresses= \
        -c hot_standby=off -c "unix_socket_directories=$RUN/aside" -c archive_command=false -c synchronous_standby_names=)" ||
        die "the restored cluster did not reach $target: the old one is as it was"
    # It takes no connection before it is promoted, and ends when it cannot be.
    until pg_isready -q -h "$RUN/aside" -p "$PORT" -U postgres -d postgres; do
        pg_ctl status --silent -D "$aside" >/dev/null || die "the restored cluster did not reach $target: the old one is as it was"
        sleep 1
    done
    pg_ctl stop --silent --wait --timeout 3600 -D "$aside" --mode fast
    sed -i -E '/^(restore_command|recovery_target)/d' "$aside/postgresql.auto.conf"
    rm -rf "$PGDATA.old"
    if [ -e "$PGDATA" ]; then mv "$PGDATA" "$PGDATA.old"; fi
    mv "$aside" "$PGDATA"
    printf '%s\n' "$RESTORE_ID" >"$PGDATA.restored"
    # What is not needed any more is not kept: it may hold keys that are destroyed.
    rm -rf "$PGDATA.old"
    rm -f "$RUN/restoring"
    say "restored"
}

# shellcheck shell=bash disable=SC2034
# What the scripts of an embedded instance agree on; to be sourced, under `set -euo pipefail`. Everything can be set from outside:
#   INSTANCE           `data` or `keyring`: also the name (stanza) of what is in the repository
#   PGDATA             the cluster's directory; beside it are made $PGDATA.new, $PGDATA.restoring, $PGDATA.old, $PGDATA.restored and $PGDATA.following
#   SECRETS            holds postgres-password, owner-password, standby-password, backup-passphrase
#   TLS                holds tls.crt and tls.key of the server, and ca.crt for the standby
#   RUN                a directory in memory: configuration with secrets in it, locks; shared by the containers of a pod
#   SOCKETS            where the server's socket is, for whoever is of its own user (peer)
#   PORT, LISTEN       the server's port, and the addresses it listens on
#   REPOSITORY         `volume`, `s3`, or empty: no backups
#   REPOSITORY_PATH    the volume's directory, or the path in the bucket
#   S3_ENDPOINT S3_BUCKET S3_REGION S3_URI_STYLE (host or path); S3_SECRETS holds access-key and secret-key, and ca.crt if the
#                      store's certificate is of an authority of one's own
#   STANDBY            `true`: commits wait for the standby
set -a
INSTANCE=${INSTANCE:-data}
PGDATA=${PGDATA:-/var/lib/postgresql/data/pgdata}
SECRETS=${SECRETS:-/secrets}
TLS=${TLS:-/tls}
RUN=${RUN:-/run/budstikke}
SOCKETS=${SOCKETS:-/var/run/postgresql}
PORT=${PORT:-5432}
LISTEN=${LISTEN:-*}
REPOSITORY=${REPOSITORY:-}
REPOSITORY_PATH=${REPOSITORY_PATH:-/backups}
S3_SECRETS=${S3_SECRETS:-/s3}
STANDBY=${STANDBY:-false}
# Clients look for certificates of their own there.
HOME=$RUN
PATH=$PATH:/usr/lib/postgresql/15/bin
set +a

say() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >&2; }
die() { say "$*"; exit 1; }

# pgBackRest: the passphrase is in a file in memory, never on a command line. It ends after LIMIT seconds, whatever hangs.
of_instance=(--config="$RUN/pgbackrest.conf" --stanza="$INSTANCE")
rest() { timeout --kill-after=30 "${LIMIT:-600}" pgbackrest "${of_instance[@]}" "$@"; }

# What the repository has of the instance, as JSON. pgBackRest succeeds also where it cannot read it: that is no empty one.
known() {
    rest info --output=json | jq -c 'if length > 0 and all(.[]; .status.code as $code | any(0, 1, 2, 3; . == $code)) then .
        else error("the repository cannot be read: \([.[].repo[]?.status.message] | join("; "))") end'
}

# archive_get PGDATA: what a server that replays asks of the archive. pgBackRest says 1 where the archive has no more; anything else is not the end of
# the log, and ends the server, or what comes after it would be lost unseen.
archive_get() {
    echo "timeout --kill-after=10 300 pgbackrest ${of_instance[*]} --pg1-path=$1 archive-get %f \"%p\" || { [ \$? = 1 ] && exit 1; exit 126; }"
}

# Written aside and moved: the containers of a pod write it at once, and the same.
configure_repository() {
    [ -n "$REPOSITORY" ] || return 0
    local aside
    mkdir -p "$RUN/lock" "$RUN/spool"
    # Nobody else may read it.
    aside=$(mktemp "$RUN/pgbackrest.conf.XXXXXXXX")
    {
        printf '%s\n' "[global]" "repo1-path=$REPOSITORY_PATH" repo1-cipher-type=aes-256-cbc \
            "repo1-cipher-pass=$(cat "$SECRETS/backup-passphrase")" repo1-bundle=y repo1-retention-history=0 repo1-retention-full=9999999 compress-type=zst \
            start-fast=y resume=n log-level-file=off log-level-console=warn "lock-path=$RUN/lock" "spool-path=$RUN/spool" \
            io-timeout=60 db-timeout=600 protocol-timeout=630 \
            "[global:backup]" expire-auto=n \
            "[$INSTANCE]" "pg1-path=$PGDATA" "pg1-socket-path=$SOCKETS" "pg1-port=$PORT" pg1-user=postgres
        if [ "$REPOSITORY" = s3 ]; then
            printf '%s\n' "[global]" repo1-type=s3 "repo1-s3-endpoint=$S3_ENDPOINT" "repo1-s3-bucket=$S3_BUCKET" \
                "repo1-s3-region=$S3_REGION" "repo1-s3-uri-style=${S3_URI_STYLE:-host}" \
                "repo1-s3-key=$(cat "$S3_SECRETS/access-key")" "repo1-s3-key-secret=$(cat "$S3_SECRETS/secret-key")"
            if [ -s "$S3_SECRETS/ca.crt" ]; then printf '%s\n' "repo1-storage-ca-file=$S3_SECRETS/ca.crt"; fi
        fi
    } >"$aside"
    mv "$aside" "$RUN/pgbackrest.conf"
}

# How a server of this instance runs, wherever it is started: into `settings`. Who is of its user is postgres on its socket;
# everybody else needs TLS and a password, and a standby's login can do nothing else.
configure_server() {
    mkdir -p "$RUN" "$SOCKETS"
    printf '%s\n' "local all postgres peer map=own" "local all all reject" \
        "hostssl replication budstikke_standby all scram-sha-256" "hostssl all budstikke_standby all reject" \
        "hostssl all all all scram-sha-256" >"$RUN/pg_hba.conf"
    printf 'own %s postgres\n' "$(id -un)" >"$RUN/pg_ident.conf"
    settings=(-c "port=$PORT" -c "listen_addresses=$LISTEN" -c "unix_socket_directories=$SOCKETS" -c unix_socket_permissions=0700
        -c "hba_file=$RUN/pg_hba.conf" -c "ident_file=$RUN/pg_ident.conf"
        -c ssl=on -c "ssl_cert_file=$TLS/tls.crt" -c "ssl_key_file=$TLS/tls.key" -c ssl_min_protocol_version=TLSv1.3
        -c password_encryption=scram-sha-256 -c log_statement=none -c log_min_duration_statement=-1
        -c log_parameter_max_length_on_error=0 -c log_min_error_statement=panic -c log_error_verbosity=terse)
    if [ -n "$REPOSITORY" ]; then
        settings+=(-c archive_mode=on -c "archive_command=timeout --kill-after=10 300 pgbackrest ${of_instance[*]} archive-push %p")
    fi
    if [ "$STANDBY" = true ]; then settings+=(-c synchronous_standby_names=budstikke_standby); fi
}

# alone [DATABASE]: statements from standard input, one a line, into a cluster that does not run; fails with the first one that fails. Told
# that there is an archive, or its checkpoint would remove segments that the archive still waits for; and segments that go are not
# used again, with what was in them.
alone() {
    local archive_mode=on
    if [ -z "$REPOSITORY" ]; then archive_mode=off; fi
    postgres --single -D "$PGDATA" -c exit_on_error=on -c wal_recycle=off -c "archive_mode=$archive_mode" -c archive_command=false -c log_min_error_statement=panic -c log_statement=none "${1:-postgres}" >/dev/null
}

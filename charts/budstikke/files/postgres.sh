#!/bin/bash
# Starts an embedded PostgreSQL. The first start makes the cluster aside and moves it into place, so that a start
# that was cut short leaves nothing half made.
set -euo pipefail
PATH=$PATH:/usr/lib/postgresql/15/bin
data=/var/lib/postgresql/data/pgdata

if [ ! -s "$data/PG_VERSION" ]; then
    echo "making a new cluster"
    rm -rf "$data.new"
    initdb --pgdata "$data.new" --username postgres --pwfile /secrets/postgres-password \
        --auth-host scram-sha-256 --auth-local reject --encoding UTF8 --locale C.UTF-8 --data-checksums >/dev/null
    # The owner of the schema makes the roles of tenants and routes; it is no superuser.
    owner=$(cat /secrets/owner-password)
    postgres --single -D "$data.new" -c log_min_error_statement=panic postgres >/dev/null <<SQL
create role budstikke_owner login createrole password '$owner'
create database budstikke owner budstikke_owner
revoke all on database budstikke from public
SQL
    # So that the archive gets new keys at once.
    postgres --single -D "$data.new" -c log_min_error_statement=panic budstikke >/dev/null <<SQL
grant execute on function pg_switch_wal() to budstikke_owner
SQL
    printf '%s\n' "hostssl all all all scram-sha-256" "local all all reject" >"$data.new/pg_hba.conf"
    mv "$data.new" "$data"
fi

exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories='' \
    -c ssl=on -c ssl_cert_file=/tls/tls.crt -c ssl_key_file=/tls/tls.key -c ssl_min_protocol_version=TLSv1.3 \
    -c password_encryption=scram-sha-256 -c log_statement=none -c log_min_duration_statement=-1 \
    -c log_parameter_max_length_on_error=0 -c log_min_error_statement=panic -c log_error_verbosity=terse "$@"

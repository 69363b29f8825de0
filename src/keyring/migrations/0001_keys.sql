-- The keys of every tenant, wrapped. A PostgreSQL instance of its own: a key destroyed here is gone from every copy of
-- the data. Runs as budstikke_owner of the keyring instance.

-- One wrapping key per tenant, itself wrapped by the key-encryption key that lives outside the database.
create table wrapping_key (
    tenant_id   bigint primary key,
    wrapped     bytea not null,
    created_at  timestamptz not null default now()
);

create table key (
    tenant_id   bigint not null references wrapping_key,
    class       text not null check (class in ('queue', 'log', 'inbound')),
    name        text not null,                           -- names the day it must be gone, where it must: 'log/2026-03-01'
    usable_from date not null,                           -- the first day it is used on, in Copenhagen
    gone_on     date,                                    -- null: destroyed with the account
    wrapped     bytea not null,                          -- by the tenant's wrapping key
    public      bytea,                                   -- of a key pair
    created_at  timestamptz not null default now(),
    primary key (tenant_id, class, name),
    unique (tenant_id, class, usable_from)
);
create index key_gone on key (gone_on);

-- Who may do what: the operator makes and destroys keys, the API reads them; nobody changes one. Senders and connectors
-- have no login on this instance. Roles are shared by a whole server, so they may be there already.
create function ensure_role(role text) returns void language plpgsql as $$
begin
    execute format('create role %I login', role);
exception when duplicate_object or unique_violation then
    null;
end $$;
select ensure_role('budstikke_operator'), ensure_role('budstikke_api');

alter role budstikke_operator set statement_timeout = '60s';
alter role budstikke_operator set idle_in_transaction_session_timeout = '30s';
alter role budstikke_api set statement_timeout = '15s';
alter role budstikke_api set idle_in_transaction_session_timeout = '15s';

do $$ begin
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to budstikke_operator, budstikke_api', current_database());
end $$;
grant usage on schema keyring to budstikke_operator, budstikke_api;
grant select, insert, delete on wrapping_key, key to budstikke_operator;
grant select on wrapping_key, key to budstikke_api;

-- Sets a login's password from its SCRAM-SHA-256 verifier: the password itself never reaches the server or its log.
create function set_verifier(role name, verifier text) returns void
language plpgsql set search_path = keyring, pg_temp as $$
begin
    if verifier !~ '^SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+$' then
        raise exception 'not a SCRAM-SHA-256 verifier' using errcode = 'invalid_parameter_value';
    end if;
    execute format('alter role %I password %L', role, verifier);
end $$;

alter default privileges revoke execute on functions from public;
revoke execute on all functions in schema keyring from public;

-- How far the data has come, as the keyring was told: what shows that either instance was restored.

-- Which server this is, and on which timeline. Restoring to another point, promoting a standby and loading a dump change it.
create function server_history() returns text
language plpgsql stable set search_path = keyring, pg_temp as $$
begin
    return (select system_identifier from pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
end $$;

-- Since when this server has all that is committed: since it started; or where it was started anew to take over, as the pod of a
-- standby is, since it began to follow. The chart's script says so, on the command line of the server.
create function server_since() returns timestamptz
language sql stable set search_path = keyring, pg_temp as $$
    select least(pg_postmaster_start_time(), nullif(current_setting('budstikke.following_since', true), '')::timestamptz)
$$;

-- The newest mark, written after the data's own of the same number.
create table mark (
    only_one         boolean primary key default true check (only_one),
    n                bigint not null default 0,
    at               timestamptz not null default now(), -- by the data instance's clock
    accepted         bigint not null default 0,          -- messages, as the data has it
    entry            bigint not null default 0,          -- the journal's newest
    hash             bytea not null default '',
    data_synchronous boolean not null default false,     -- the data's commits wait for a standby
    synchronous      boolean not null default false,     -- and so do those here
    history          text not null,                      -- on which nobody doubts these keys
    restores         integer not null default 0          -- of this instance: part of the names of keys made since
);
insert into mark (history) values (server_history());

-- What was erased other than by its date: erased again after a restore of either instance, which both keep this list.
create table erasure (
    tenant_id   bigint not null,
    class       text not null check (class in ('log', 'inbound', 'queue', 'account')),
    before      date not null,                           -- keys of days before this one; of an account, the day it was erased
    at          timestamptz not null default now(),
    primary key (tenant_id, class, before)
);

grant select on mark to budstikke_operator;
grant select, insert on erasure to budstikke_operator;

-- Keeps the data's mark; an older one changes nothing.
create function keep_mark(newest bigint, of timestamptz, messages bigint, journal_entry bigint, journal_hash bytea,
    of_synchronous boolean) returns void
language plpgsql security definer set search_path = keyring, pg_temp as $$
begin
    update mark set n = newest, at = of, accepted = messages, entry = journal_entry, hash = journal_hash,
        data_synchronous = of_synchronous,
        synchronous = current_setting('synchronous_standby_names') <> ''
            and current_setting('synchronous_commit') not in ('off', 'local')
    where n < newest;
end $$;

-- What changed the history is known. `newest` is the data's mark; where keys may be missing, those that are made from here on
-- have names that none had before.
create function confirm_history(was_restored boolean, newest bigint) returns void
language sql security definer set search_path = keyring, pg_temp
begin atomic
    update mark set history = server_history(), restores = restores + was_restored::integer, n = greatest(n, newest);
end;

-- How often this instance was restored. Refuses while that is not known: a key that is made then might get the name of one
-- that something is sealed with.
create function restores() returns integer
language plpgsql security definer set search_path = keyring, pg_temp as $$
begin
    if not exists (select from mark where history = server_history()) then
        raise exception 'the keyring seems to be restored: keys are made when the leading operator has looked'
            using errcode = '55000';
    end if;
    return (select m.restores from mark m);
end $$;

-- The highest account id that is known here.
create function newest_account() returns bigint
language sql stable security definer set search_path = keyring, pg_temp
begin atomic
    select greatest((select max(tenant_id) from wrapping_key), (select max(tenant_id) from erasure), 0);
end;

grant execute on function server_history(), server_since(), keep_mark(bigint, timestamptz, bigint, bigint, bytea, boolean),
    confirm_history(boolean, bigint), restores(), newest_account() to budstikke_operator;

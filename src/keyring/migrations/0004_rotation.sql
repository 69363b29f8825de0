-- Other keys around the same keys: rotation of the key-encryption key and of tenants' wrapping keys; and which keys are
-- safe, on another machine, before they are used.

-- Which key-encryption key wraps it. Empty: one of before there were several.
alter table wrapping_key add column kek text not null default '';

-- The key of a route's checks of destinations: lasts as long as the route, whatever is rotated around it. One partition, so
-- that it can be written anew.
create table route_key (
    route_id    bigint primary key,
    wrapped     bytea not null,                          -- by the key-encryption key
    kek         text not null,
    created_at  timestamptz not null default now()
) partition by hash (route_id);
create table route_key_0 partition of route_key for values with (modulus 1, remainder 0);

-- The key-encryption key under which everything is, with nothing left of what was under others.
create table rotation (
    only_one    boolean primary key default true check (only_one),
    kek         text not null
);

-- A row under another key-encryption key, unless it is another row by now: whether it is.
create function rewrap(kind text, id bigint, was bytea, becomes bytea, under text) returns boolean
language plpgsql security definer set search_path = keyring, pg_temp as $$
begin
    if kind = 'tenant' then
        update wrapping_key set wrapped = becomes, kek = under where tenant_id = id and wrapped = was;
    else
        update route_key set wrapped = becomes, kek = under where route_id = id and wrapped = was;
    end if;
    return found;
end $$;

-- Once no row is under another key than `under`: writes the tables anew, so that what was under others is in no page. False
-- while a row is, or where it is done.
create function finish_rotation(under text) returns boolean
language plpgsql security definer set search_path = keyring, pg_temp as $$
declare
    partition regclass;
begin
    lock table wrapping_key, route_key in access exclusive mode;
    if exists (select from wrapping_key where kek <> under) or exists (select from route_key where kek <> under)
        or exists (select from rotation where kek = under) then
        return false;
    end if;
    for partition in
        select inhrelid::regclass from pg_inherits where inhparent in ('wrapping_key'::regclass, 'route_key'::regclass)
    loop
        perform write_anew(partition, 'false');
    end loop;
    insert into rotation (kek) values (under) on conflict (only_one) do update set kek = under;
    return true;
end $$;

-- Another wrapping key for a tenant, and all its keys under it; what is left of the old one goes with its table's file, and
-- the keys that were under it can be opened by nobody then. All or nothing: null where a key was left out, or where another
-- wrapping key is there by now.
create function rotate_wrapping(tenant bigint, was bytea, becomes bytea, under text, names text[], rewrapped bytea[])
returns bigint language plpgsql security definer set search_path = keyring, pg_temp as $$
declare
    changed bigint;
    partition regclass;
begin
    -- Whoever makes keys of this tenant waits.
    perform pg_advisory_xact_lock(tenant);
    lock table wrapping_key in access exclusive mode;
    update wrapping_key set wrapped = becomes, kek = under, created_at = clock_timestamp()
        where tenant_id = tenant and wrapped = was;
    if not found then
        return null;
    end if;
    with given as (select * from unnest(names, rewrapped) as given (name, wrapped)),
        dated as (update key k set wrapped = given.wrapped from given where k.tenant_id = tenant and k.name = given.name
            returning 1),
        hourly as (update hour_key k set wrapped = given.wrapped from given where k.tenant_id = tenant and k.name = given.name
            returning 1),
        lasting as (update lasting_key k set wrapped = given.wrapped from given
            where k.tenant_id = tenant and k.name = given.name returning 1)
    select (select count(*) from dated) + (select count(*) from hourly) + (select count(*) from lasting) into changed;
    if changed <> (select count(*) from key where tenant_id = tenant) + (select count(*) from hour_key where tenant_id = tenant)
        + (select count(*) from lasting_key where tenant_id = tenant) then
        raise exception 'a key was left out' using errcode = 'serialization_failure';
    end if;
    -- The row's hash decides which partition it is in.
    select tableoid::regclass into partition from wrapping_key where tenant_id = tenant;
    perform write_anew(partition, 'false');
    return changed;
end $$;

-- Where the write-ahead log was at a time: what was committed before is in this segment or in an earlier one.
create table wal_mark (
    at          timestamptz primary key,
    segment     text not null,
    safe        boolean not null default false           -- the archive was seen to have it
);

-- The newest segment that the archive has, as far as the server remembers: it forgets when it crashes. Of a backup's label the
-- segment that it began in, which went before it.
create function archived_segment() returns text
language sql stable set search_path = keyring, pg_temp
begin atomic
    select left(last_archived_wal, 24) from pg_stat_archiver where last_archived_wal ~ '^[0-9A-F]{24}';
end;

-- Keys made before this are on another machine: with a synchronous standby all that are committed; with an archive those
-- whose log it has; without either nothing is waited for, since there is no other machine.
create function safe_until() returns timestamptz
language sql stable security definer set search_path = keyring, pg_temp
begin atomic
    select case
        when current_setting('synchronous_standby_names') <> '' or current_setting('archive_mode') = 'off' then 'infinity'
        else coalesce((select max(at) from wal_mark where safe or segment <= archived_segment()), '-infinity')
    end;
end;

-- Marks where the log is. Asked every few minutes: by it what was made meanwhile is known to be safe, and that the archive is late.
-- On an instance to which nothing else is written there would be no checkpoint without it, nor another segment, and a segment that
-- holds a destroyed key would stay.
create function mark_log() returns void
language plpgsql security definer set search_path = keyring, pg_temp as $$
begin
    -- Whoever makes keys holds this lock until they are committed: what has an earlier time than the mark is in the log.
    perform pg_advisory_xact_lock(hashtext('keyring.make'));
    update wal_mark set safe = true where not safe and segment <= archived_segment();
    insert into wal_mark values (clock_timestamp(), pg_walfile_name(pg_current_wal_insert_lsn()))
        on conflict (at) do nothing;
    -- The newest that is safe says all of those before it.
    delete from wal_mark where at < (select max(m.at) from wal_mark m where m.safe) or at < now() - interval '40 days';
end $$;

-- Closes the segment that keys made until `made` are in, so that the archive gets it at once rather than after archive_timeout.
-- Once: a segment takes its whole size however little is in it, and an archive that is away would fill the disk.
create function close_segment(made timestamptz) returns void
language plpgsql security definer set search_path = keyring, pg_temp as $$
declare
    present text;
    marked text;
    place pg_lsn;
begin
    perform pg_advisory_xact_lock(hashtext('keyring.make'));
    present := pg_walfile_name(pg_current_wal_insert_lsn());
    select m.segment into marked from wal_mark m where m.at > made order by m.at limit 1;
    if marked is null then
        insert into wal_mark values (clock_timestamp(), present) on conflict (at) do nothing;
    elsif marked <> present then
        return;
    end if;
    begin
        place := pg_switch_wal();
    exception when insufficient_privilege then
        null;                                           -- archive_timeout closes it
    end;
end $$;

-- Whether what is marked should have been archived long since: the archive fails, or hangs, which the server counts as nothing. A
-- try that fails now and then is made again within the minute.
create function archive_is_late() returns boolean
language sql stable security definer set search_path = keyring, pg_temp
begin atomic
    select current_setting('archive_mode') <> 'off' and (
        exists (
            select from wal_mark where not safe and segment > coalesce(archived_segment(), '')
              and at < now() - interval '15 minutes'
                  - make_interval(secs => (select setting::integer from pg_settings where name = 'archive_timeout')))
        or exists (
            select from pg_stat_archiver
            where last_failed_time > coalesce(last_archived_time, '-infinity')
              and coalesce(last_archived_time, stats_reset, pg_postmaster_start_time()) < now() - interval '15 minutes'));
end;

grant select, insert on route_key to budstikke_operator;
grant select on rotation to budstikke_operator;
grant execute on function rewrap(text, bigint, bytea, bytea, text), finish_rotation(text),
    rotate_wrapping(bigint, bytea, bytea, text, text[], bytea[]), close_segment(timestamptz), mark_log(), archive_is_late()
    to budstikke_operator;
grant execute on function safe_until() to budstikke_operator, budstikke_api;
-- A wrapping key is made once, and changed by the functions above alone; it goes by forget_tenant.
revoke delete on wrapping_key, lasting_key from budstikke_operator;

-- Keys of the hour: copies of mail are gone three days after they were made, at most an hour early (D3). Hours are of absolute
-- time, so that a night on which clocks are set back has one more of them, and none twice.

-- A partition for each hour at whose beginning keys must be gone. A tenant has one key for an hour; that is held by the lock
-- under which keys are made.
create table hour_key (
    tenant_id   bigint not null,
    usable_from timestamptz not null,                    -- the beginning of the hour it is used in
    gone_at     timestamptz not null,                    -- the full hour at which it is destroyed
    name        text not null,                           -- 'mail/<gone_at>/<usable_from>'
    wrapped     bytea not null,                          -- by the tenant's wrapping key
    created_at  timestamptz not null default now(),
    primary key (tenant_id, usable_from, gone_at)
) partition by range (gone_at);

-- The name of a partition; they are all named here.
create function hour_partition(hour timestamptz) returns text
language sql immutable set search_path = keyring, pg_temp
begin atomic
    select to_char(hour at time zone 'UTC', '"hour_key_"YYYYMMDDHH24');
end;

-- Keys that must be gone at the beginning of `hour` can be stored from here on.
create function ensure_hour_partition(hour timestamptz) returns void
language plpgsql security definer set search_path = keyring, pg_temp set timezone = 'UTC' as $$
begin
    if to_regclass(hour_partition(hour)) is not null then
        return;
    end if;
    perform pg_advisory_xact_lock(hashtext('keyring.ensure_key_partition'));
    if to_regclass(hour_partition(hour)) is null then
        execute format('create table %I (like hour_key including defaults including constraints)', hour_partition(hour));
        execute format('alter table hour_key attach partition %I for values from (%L) to (%L)',
            hour_partition(hour), hour, hour + interval '1 hour');
    end if;
end $$;

-- Destroys every key that must be gone at `moment` or before, one hour after another. What went is in `destruction`.
create function destroy_hour_keys(moment timestamptz) returns void
language plpgsql security definer set search_path = keyring, pg_temp set timezone = 'UTC' as $$
declare
    due timestamptz;
begin
    for due in
        -- Guarded: the planner may look at the names of other tables first.
        select p.hour from (
            select case when c.relname ~ '^hour_key_[0-9]{10}$' then to_timestamp(right(c.relname, 10), 'YYYYMMDDHH24') end as hour
            from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = 'hour_key'::regclass) as p
        where p.hour <= moment
        order by p.hour
    loop
        execute format('insert into destruction
            select (%L::timestamptz at time zone ''Europe/Copenhagen'')::date, ''mail'', count(*), count(distinct tenant_id)
            from %I having count(*) > 0
            on conflict (gone_on, class) do update
            set keys = destruction.keys + excluded.keys, tenants = greatest(destruction.tenants, excluded.tenants)',
            due, hour_partition(due));
        execute format('drop table %I', hour_partition(due));
    end loop;
end $$;

-- Destroys a tenant's keys of the hours that began before `before`, ahead of their time: how many.
create function erase_hour_keys(tenant bigint, before timestamptz) returns bigint
language plpgsql security definer set search_path = keyring, pg_temp set timezone = 'UTC' as $$
declare
    partition text;
    went bigint := 0;
begin
    -- Whoever makes keys of this tenant waits; without any, nobody else does.
    perform pg_advisory_xact_lock(tenant);
    if not exists (select from hour_key k where k.tenant_id = tenant and k.usable_from < before) then
        return 0;
    end if;
    perform renew(tenant);
    lock table hour_key in access exclusive mode;
    -- Listed first: a table that is being read cannot be written anew.
    foreach partition in array array(
        select distinct hour_partition(k.gone_at) from hour_key k where k.tenant_id = tenant and k.usable_from < before)
    loop
        went := went + rewrite_without(partition::regclass, format('tenant_id = %s and usable_from < %L', tenant, before));
    end loop;
    return went;
end $$;

grant select, insert, delete on hour_key to budstikke_operator;
grant select on hour_key to budstikke_api;
grant execute on function ensure_hour_partition(timestamptz), destroy_hour_keys(timestamptz), erase_hour_keys(bigint, timestamptz)
    to budstikke_operator;

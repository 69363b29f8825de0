-- The keys of every tenant, wrapped. A PostgreSQL instance of its own: a key destroyed here is gone from every copy of
-- the data. Runs as budstikke_owner of the keyring instance.

-- A deleted row's bytes stay in its page, in later images of that page and in copies of the file. So every table of keys is
-- partitioned, and keys are destroyed by dropping a partition, or by writing it anew without them.

-- One wrapping key per tenant, itself wrapped by the key-encryption key that lives outside the database.
create table wrapping_key (
    tenant_id   bigint primary key,
    wrapped     bytea not null,
    created_at  timestamptz not null default now()
) partition by hash (tenant_id);

-- Keys that live as long as the account.
create table lasting_key (
    tenant_id   bigint not null,
    class       text not null check (class in ('repeat')),
    name        text not null,
    wrapped     bytea not null,                          -- by the tenant's wrapping key
    created_at  timestamptz not null default now(),
    primary key (tenant_id, class)
) partition by hash (tenant_id);

do $$ begin
    for remainder in 0..7 loop
        execute format('create table wrapping_key_%s partition of wrapping_key for values with (modulus 8, remainder %s)',
            remainder, remainder);
        execute format('create table lasting_key_%s partition of lasting_key for values with (modulus 8, remainder %s)',
            remainder, remainder);
    end loop;
end $$;

-- All others, a partition for each date on which keys must be gone. A tenant has one key of a class for a day; that is held by
-- the lock under which keys are made.
create table key (
    tenant_id   bigint not null,
    class       text not null check (class in ('queue', 'log', 'inbound')),
    usable_from date not null,                           -- the day it is used on, in Copenhagen
    gone_on     date not null,                           -- the day at whose start it is destroyed
    name        text not null,                           -- '<class>/<gone_on>/<usable_from>'
    wrapped     bytea not null,                          -- by the tenant's wrapping key
    public      bytea,                                   -- of a key pair
    created_at  timestamptz not null default now(),
    primary key (tenant_id, class, usable_from, gone_on)
) partition by range (gone_on);

-- The name of a partition; they are all named here.
create function key_partition(day date) returns text
language sql immutable set search_path = keyring, pg_temp
begin atomic
    select to_char(day, '"key_"YYYYMMDD');
end;

-- Keys that must be gone on `day` can be stored from here on.
create function ensure_key_partition(day date) returns void
language plpgsql security definer set search_path = keyring, pg_temp as $$
begin
    if to_regclass(key_partition(day)) is not null then
        return;
    end if;
    perform pg_advisory_xact_lock(hashtext('keyring.ensure_key_partition'));
    if to_regclass(key_partition(day)) is null then
        execute format('create table %I (like key including defaults including constraints)', key_partition(day));
        execute format('alter table key attach partition %I for values from (%L) to (%L)', key_partition(day), day, day + 1);
    end if;
end $$;

-- What was destroyed, until the erasure journal, which is in another database, has it.
create table destruction (
    gone_on     date not null,
    class       text not null,
    keys        bigint not null,
    tenants     bigint not null,
    primary key (gone_on, class)
);

-- Destroys every key that must be gone on `day` or before, one date after another.
create function destroy_keys(day date) returns void
language plpgsql security definer set search_path = keyring, pg_temp as $$
declare
    due date;
begin
    for due in
        -- Guarded: the planner may look at the names of other tables first.
        select case when c.relname ~ '^key_[0-9]{8}$' then to_date(right(c.relname, 8), 'YYYYMMDD') end as at
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'key'::regclass
          and case when c.relname ~ '^key_[0-9]{8}$' then to_date(right(c.relname, 8), 'YYYYMMDD') <= day end
        order by at
    loop
        execute format('insert into destruction select %L, class, count(*), count(distinct tenant_id) from %I group by class
            on conflict (gone_on, class) do update set keys = destruction.keys + excluded.keys', due, key_partition(due));
        execute format('drop table %I', key_partition(due));
    end loop;
end $$;

-- Writes a partition anew without the rows that a condition names: nothing else that its pages held is left.
create function write_anew(partition regclass, condition text) returns void
language plpgsql set search_path = keyring, pg_temp as $$
declare
    called constant name := (select relname from pg_class where oid = partition);
    bounds constant text := (select pg_get_expr(relpartbound, oid) from pg_class where oid = partition);
    parent constant regclass := (select inhparent::regclass from pg_inherits where inhrelid = partition);
begin
    execute format('alter table %s detach partition %I', parent, called);
    execute format('alter table %I rename to key_old', called);
    execute format('create table %I (like %s including defaults including constraints)', called, parent);
    execute format('insert into %I select * from key_old where not (%s)', called, condition);
    execute format('alter table %s attach partition %I %s', parent, called, bounds);
    drop table key_old;
end $$;

-- The same, only where there are such rows: how many went.
create function rewrite_without(partition regclass, condition text) returns bigint
language plpgsql set search_path = keyring, pg_temp as $$
declare
    went bigint;
begin
    execute format('select count(*) from %s where %s', partition, condition) into went;
    if went > 0 then
        perform write_anew(partition, condition);
    end if;
    return went;
end $$;

-- Destroys these keys of days gone by: what they were made for is kept no longer, `due` says since when. What went is in
-- `destruction`.
create function destroy_outlived(tenants bigint[], classes text[], names text[], dues date[]) returns void
language plpgsql security definer set search_path = keyring, pg_temp as $$
declare
    partition text;
begin
    lock table key in access exclusive mode;
    insert into destruction (gone_on, class, keys, tenants)
    select o.due, k.class, count(*), count(distinct k.tenant_id)
    from unnest(tenants, classes, names, dues) as o (tenant_id, class, name, due) join key k using (tenant_id, class, name)
    group by o.due, k.class
    on conflict (gone_on, class) do update
    set keys = destruction.keys + excluded.keys, tenants = greatest(destruction.tenants, excluded.tenants);
    -- Listed first: a table that is being read cannot be written anew.
    foreach partition in array array(
        select distinct key_partition(k.gone_on)
        from unnest(tenants, classes, names) as o (tenant_id, class, name) join key k using (tenant_id, class, name))
    loop
        perform rewrite_without(partition::regclass, format(
            '(tenant_id, class, name) in (select * from unnest(%L::bigint[], %L::text[], %L::text[]))', tenants, classes, names));
    end loop;
end $$;

-- How often keys of a tenant were erased ahead of their date: part of the names of those that are made since. One that is made anew
-- for the same day is never taken for the one that something was sealed with.
create table renewal (
    tenant_id   bigint primary key,
    times       integer not null
);

-- The keys of a tenant are erased once more. Whoever makes keys of it waits until that is done.
create function renew(tenant bigint) returns void
language sql set search_path = keyring, pg_temp
begin atomic
    insert into renewal (tenant_id, times) values (tenant, 1)
    on conflict (tenant_id) do update set times = renewal.times + 1;
end;

-- Destroys a tenant's keys of a class that were used before `before`.
create function erase_keys(tenant bigint, of_class text, before date) returns bigint
language plpgsql security definer set search_path = keyring, pg_temp as $$
declare
    partition text;
    went bigint := 0;
begin
    -- Whoever makes keys of this tenant waits.
    perform pg_advisory_xact_lock(tenant);
    perform renew(tenant);
    lock table key in access exclusive mode;
    -- With the keys, so that a copy has both or neither (0003).
    insert into erasure (tenant_id, class, before) values (tenant, of_class, erase_keys.before) on conflict do nothing;
    -- Listed first: a table that is being read cannot be written anew.
    foreach partition in array array(
        select distinct key_partition(k.gone_on) from key k
        where k.tenant_id = tenant and k.class = of_class and k.usable_from < before)
    loop
        went := went + rewrite_without(partition::regclass,
            format('tenant_id = %s and class = %L and usable_from < %L', tenant, of_class, before));
    end loop;
    return went;
end $$;

-- Destroys every key of a tenant whose account is erased, those of `hour_key` (0005) too: how many.
create function forget_tenant(tenant bigint) returns bigint
language plpgsql security definer set search_path = keyring, pg_temp as $$
declare
    partition regclass;
    went bigint := 0;
begin
    perform pg_advisory_xact_lock(tenant);
    -- In the order in which those who make keys and those who look them up come to them: whoever is the first in another one and
    -- waits here would be waited for.
    lock table wrapping_key, lasting_key, key, hour_key in access exclusive mode;
    insert into erasure (tenant_id, class, before)
    select tenant, 'account', (now() at time zone 'Europe/Copenhagen')::date
    where not exists (select from erasure e where e.tenant_id = tenant and e.class = 'account');
    for partition in
        select inhrelid::regclass from pg_inherits
        where inhparent in ('key'::regclass, 'hour_key'::regclass, 'lasting_key'::regclass, 'wrapping_key'::regclass)
    loop
        went := went + rewrite_without(partition, format('tenant_id = %s', tenant));
    end loop;
    delete from renewal r where r.tenant_id = tenant;
    return went;
end $$;

-- How long the write-ahead log may hold a key after its row is gone, seconds: a segment is closed at the latest by
-- archive_timeout, and removed by the second checkpoint after. Null: no bound, and which setting is to blame.
create function wal_window(out seconds bigint, out unbounded_by text)
language plpgsql stable set search_path = keyring, pg_temp as $$
begin
    unbounded_by := case
        when current_setting('archive_timeout') in ('0', '0s') then 'archive_timeout'
        when current_setting('wal_recycle')::boolean then 'wal_recycle'
        when current_setting('wal_keep_size') not in ('0', '0MB') then 'wal_keep_size'
    end;
    if unbounded_by is null then
        seconds := (select sum(setting::bigint * case name when 'checkpoint_timeout' then 2 else 1 end) from pg_settings
                    where name in ('archive_timeout', 'checkpoint_timeout'));
    end if;
end $$;

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
grant select, insert, delete on wrapping_key, lasting_key, key to budstikke_operator;
grant select, delete on destruction to budstikke_operator;
grant select on renewal to budstikke_operator;
grant select on wrapping_key, lasting_key, key to budstikke_api;

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
grant execute on function ensure_key_partition(date), destroy_keys(date), erase_keys(bigint, text, date),
    destroy_outlived(bigint[], text[], text[], date[]),
    forget_tenant(bigint), wal_window()
    to budstikke_operator;

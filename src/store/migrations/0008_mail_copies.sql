-- What is kept of SMS carried as e-mail, for debugging (D3); and the partitions of hours and months, which go as a whole.

-- Sealed under the tenant's key of the hour. In the partition of the hour at which that key is destroyed, so that one is dropped
-- when nothing in it can be read any more, whatever policies its tenants are under.
create table mail_copy (
    tenant_id   bigint not null,
    copy_id     uuid not null,                           -- version 7: sorts by time
    gone_at     timestamptz not null,                    -- the full hour at which its key is destroyed
    made_at     timestamptz not null,
    kind        text not null check (kind in ('raw', 'headers', 'attachment', 'list', 'spool', 'result')),
    direction   text not null check (direction in ('to_sms', 'to_mail')),
    key_name    text not null,
    sealed      bytea not null check (octet_length(sealed) <= 26214400 + 28),   -- 25 MiB of it
    primary key (tenant_id, copy_id, gone_at)
) partition by range (gone_at);
-- Ciphertext cannot be compressed.
alter table mail_copy alter sealed set storage external;

select isolate('mail_copy');
grant select, insert, delete on mail_copy to budstikke_api;
-- It counts what would go.
grant select (tenant_id, made_at, gone_at) on mail_copy to budstikke_operator;

-- For how many hours a tenant's copies that are there already are kept; since when a shorter time waits; and until when there
-- may be copies whose own time is longer.
alter table retention add column mail_hours integer, add column mail_shortened_at timestamptz,
    add column mail_shorter_until timestamptz;

-- Erases copies that were made before the moment that each of these tenants is given; their keys are destroyed. A bounded number
-- of rows at once; how many, and of how many tenants, so that who asks knows whether to ask again.
create function purge_mail(of_tenants bigint[], made_before timestamptz[], most integer, out removed bigint, out tenants bigint)
language plpgsql security definer set search_path = budstikke, pg_temp as $$
begin
    with due as materialized (
        select m.tenant_id, m.copy_id, m.gone_at
        from unnest(of_tenants, made_before) as kept (tenant_id, before) join mail_copy m using (tenant_id)
        where m.made_at < kept.before
        limit most
    ), gone as (
        delete from mail_copy m using due
        where m.tenant_id = due.tenant_id and m.copy_id = due.copy_id and m.gone_at = due.gone_at returning m.tenant_id
    )
    select count(*), count(distinct tenant_id) into removed, tenants from gone;
end $$;

-- Makes the partitions of the hours from `first` to `last`, both included; how many.
create function ensure_mail_partitions(first timestamptz, last timestamptz) returns bigint
language plpgsql security definer set search_path = budstikke, pg_temp set timezone = 'UTC' as $$
declare
    hour timestamptz;
    name text;
    made bigint := 0;
begin
    perform pg_advisory_xact_lock(hashtext('budstikke.ensure_partitions'));
    for hour in select generate_series(date_trunc('hour', first), last, interval '1 hour') loop
        name := to_char(hour, '"mail_copy_"YYYYMMDDHH24');
        continue when to_regclass(name) is not null;
        execute format('create table %I (like mail_copy including defaults including constraints including storage)', name);
        execute format('alter table %I enable row level security', name);
        execute format('alter table mail_copy attach partition %I for values from (%L) to (%L)', name, hour, hour + interval '1 hour');
        made := made + 1;
    end loop;
    return made;
end $$;

-- Partitions of copies whose keys are destroyed by `moment`, and the day of that. Those that were taken out and not dropped are
-- among them.
create function expirable_hours(moment timestamptz) returns table (name text, day date)
language plpgsql stable security definer set search_path = budstikke, pg_temp set timezone = 'UTC' as $$
begin
    return query
        select p.relname, (p.hour at time zone 'Europe/Copenhagen')::date
        -- Guarded: the planner may look at the names of other tables first.
        from (select c.relname::text, case when c.relname ~ '^mail_copy_[0-9]{10}$'
                                           then to_timestamp(right(c.relname, 10), 'YYYYMMDDHH24') end as hour
              from pg_class c where c.relnamespace = 'budstikke'::regnamespace and c.relkind = 'r') as p
        where p.hour <= moment
        order by p.hour;
end $$;

-- Months of usage that no invoice needs any more, and the day on which that is so: as many years after the end of the financial
-- year as the policies in force keep invoices, the longest of them (B9); five without any.
create function expirable_months(today date) returns table (name text, day date)
language plpgsql stable security definer set search_path = budstikke, pg_temp as $$
begin
    return query
        with kept as (
            select coalesce((spec -> 'invoices' ->> 'keepYears')::integer, 5) as years,
                   coalesce((spec -> 'invoices' ->> 'financialYearEndsMonth')::integer, 12) as ends
            from in_force where kind = 'policy'
        ), rule as (
            select years, ends from kept union select 5, 12 where not exists (select from kept)
        ), month as (
            select c.relname::text as called, case when c.relname ~ '^usage_[0-9]{6}$' then to_date(right(c.relname, 6), 'YYYYMM') end as first
            from pg_class c where c.relnamespace = 'budstikke'::regnamespace and c.relkind = 'r'
        ), due as (
            select m.called, max((make_date(extract(year from m.first)::integer
                                            + case when extract(month from m.first) > r.ends then 1 else 0 end, r.ends, 1)
                                  + interval '1 month' + make_interval(years => r.years))::date) as at
            from month m, rule r where m.first is not null group by m.called
        )
        select d.called, d.at from due d where d.at <= today order by d.at, d.called;
end $$;

grant execute on function ensure_mail_partitions(timestamptz, timestamptz), expirable_hours(timestamptz), expirable_months(date),
    purge_mail(bigint[], timestamptz[], integer)
    to budstikke_operator;

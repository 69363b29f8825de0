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

grant execute on function ensure_mail_partitions(timestamptz, timestamptz), expirable_hours(timestamptz), expirable_months(date)
    to budstikke_operator;

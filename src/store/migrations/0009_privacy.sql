-- What tenants, the owner and auditors get to see (D4, D6, D7).

-- Webhooks under an opt-out ------------------------------------------------------------------------------------------

-- From when on receipts go to a tenant's webhooks though nothing is logged for it: it has asked in writing, and its policy
-- allows it (D4). Null: never. Of no account to a tenant whose messages are logged.
alter table enforcement add column receipts_by_webhook_from date;

-- Whether a tenant's webhooks may be told of a receipt on `today`, whatever the message. To be asked in the transaction that writes
-- the receipt and the job that tells of it, so that an opt-out holds from the moment on at which it is enforced (D4).
create function receipt_may_be_told(tenant bigint, today date) returns boolean
language sql stable security definer set search_path = budstikke, pg_temp
begin atomic
    select coalesce((select log_days > 0 or coalesce(receipts_by_webhook_from <= today, false)
                     from enforcement where tenant_id = tenant), false);
end;
grant execute on function receipt_may_be_told(bigint, date) to budstikke_operator, budstikke_api;

-- Lawful disclosures -------------------------------------------------------------------------------------------------

-- What the owner has disclosed of a tenant (D6): to a register of abuse, or to an authority by law. No person's name, number or
-- text. Written once: a mistake is corrected by a further entry.
create table disclosure (
    tenant_id       bigint not null references tenant,
    disclosure_id   uuid not null,                       -- version 7: sorts by when it was recorded
    recipient_kind  text not null check (recipient_kind in ('abuseRegister', 'authority')),
    recipient       text not null,
    legal_basis     text not null,
    classes         text[] not null,                     -- of data, as the inventory names them
    period_from     date,                                -- of the data that was disclosed, both days included
    period_until    date,
    disclosed_at    timestamptz not null,
    secret_by       text,                                -- the law that forbids to tell the tenant
    secret_until    date,                                -- told from this day on; null with a law: not told
    corrects        uuid,
    primary key (tenant_id, disclosure_id)
);
create index disclosure_by_time on disclosure (disclosure_id);
select isolate('disclosure');
grant select, insert on disclosure to budstikke_api;

-- Figures over all tenants ---------------------------------------------------------------------------------------------

-- What was shown of a day over all tenants (D6): counted once, when the day had ended. A second count could be set against the first,
-- and the difference be one tenant's; so nobody may change or remove a row.
create table shown_day (
    day             date primary key,
    figures         jsonb not null,                      -- of at least so many tenants each; no tenant
    counted_at      timestamptz not null default now()
);
grant select, insert on shown_day to budstikke_api;

-- Search and copy ----------------------------------------------------------------------------------------------------

grant select on in_force, retention to budstikke_api;

-- What is logged of a tenant about one number, or under one of its own references, known by another hash each day (D7): of each
-- day, one probe of that day's index. `days` and `hashes` belong together. Planned once a session, whatever the planner believes of days without statistics.
create function search_log(tenant bigint, by_reference boolean, days date[], hashes bytea[], below uuid, most bigint)
returns setof message_log
language plpgsql stable set search_path = budstikke, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off set enable_bitmapscan = off as $$
begin
    if by_reference then
        return query
            with found as materialized (
                select l.* from unnest(days, hashes) as wanted (day, hash)
                join message_log l on l.tenant_id = tenant and l.reference_hash = wanted.hash and l.day = wanted.day
                where l.message_id < below
            )
            select * from found order by message_id desc limit most;
        return;
    end if;
    return query
        -- Materialized: for the sake of the order alone the planner would read all of a tenant's log backwards.
        with found as materialized (
            select l.* from unnest(days, hashes) as wanted (day, hash)
            join message_log l on l.tenant_id = tenant and l.number_hash = wanted.hash and l.day = wanted.day
            where l.message_id < below
        )
        select * from found order by message_id desc limit most;
end $$;
grant execute on function search_log(bigint, boolean, date[], bytea[], uuid, bigint) to budstikke_api;

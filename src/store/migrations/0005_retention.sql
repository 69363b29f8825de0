-- The end of what was kept (D1 to D4), and the proof of it.

-- For how long a tenant's entries that are logged already are kept, days. A longer policy counts for what is accepted from
-- then on, since keys keep their date; a shorter one also for what there is, a day later or as soon as it is confirmed.
create table retention (
    tenant_id    bigint primary key references tenant,
    kept_days    integer not null,
    shortened_at timestamptz                             -- since when a shorter policy waits
);

-- The day on which an account that has ended, or whose resource is gone, is erased (A6).
alter table tenant add column erase_on date;

-- What was erased, by whom it cannot be told any more: no number, no text, no tenant. Each entry's hash is over the one before,
-- so that none can be taken out or changed unseen.
create table erasure_journal (
    entry       bigint primary key,                      -- 1, 2, 3, …
    at          timestamptz not null,
    what        text not null,                           -- 'keys', 'partition', 'entries', 'messages', 'account', 'restore', 'release'
    class       text not null,
    due         date not null,                           -- the day whose start was the latest moment for it
    items       bigint not null,
    tenants     bigint not null,
    previous    bytea not null,                          -- the hash before; nothing, of the first entry
    hash        bytea not null
);

-- The one row of the last run.
create table retention_run (
    only_one    boolean primary key default true check (only_one),
    at          timestamptz not null,                    -- the last one that began
    done_at     timestamptz,                             -- the last one that did all it had to
    caught_up   integer not null default 0,              -- turns of the day that were caught up when some were missed last
    caught_up_at timestamptz                             --   and when that was
);

select isolate('retention');
grant select, insert, update on retention to budstikke_operator;
grant select on erasure_journal, retention_run to budstikke_operator, budstikke_api;

-- Adds an entry. Nobody but the owner can write the table, and nobody at all has a reason to change it.
create function journal_append(did text, of_class text, due_on date, how_many bigint, of_tenants bigint) returns void
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    last erasure_journal;
    made erasure_journal;
begin
    perform pg_advisory_xact_lock(hashtext('budstikke.erasure_journal'));
    select * into last from erasure_journal order by entry desc limit 1;
    made.entry := coalesce(last.entry, 0) + 1;
    made.at := date_trunc('milliseconds', clock_timestamp());
    made.what := did;
    made.class := of_class;
    made.due := due_on;
    made.items := how_many;
    made.tenants := of_tenants;
    made.previous := coalesce(last.hash, '');
    made.hash := sha256(made.previous || convert_to(concat_ws('|', made.entry, (extract(epoch from made.at) * 1000)::bigint,
        made.what, made.class, to_char(made.due, 'YYYY-MM-DD'), made.items, made.tenants), 'UTF8'));
    insert into erasure_journal values (made.*);
end $$;

-- A run begins. False: it is before the last one, so time has gone back. Clocks of two machines may differ a little.
create function retention_begins(moment timestamptz) returns boolean
language plpgsql security definer set search_path = budstikke, pg_temp as $$
begin
    insert into retention_run (at) values (moment)
    on conflict (only_one) do update set at = moment where retention_run.at <= moment + interval '2 minutes';
    return found;
end $$;

-- It has done all it had to. Turns of the day that came an hour late or more were missed: how many it has caught up.
create function retention_done(moment timestamptz) returns integer
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    missed integer;
begin
    select ((moment - interval '1 hour') at time zone 'Europe/Copenhagen')::date - (done_at at time zone 'Europe/Copenhagen')::date
    into missed from retention_run;
    missed := greatest(coalesce(missed, 0), 0);
    update retention_run set done_at = moment, caught_up = case when missed > 0 then missed else caught_up end,
        caught_up_at = case when missed > 0 then moment else caught_up_at end;
    return missed;
end $$;

-- The last day on which a receipt may come of a message that is not final: ten after it was submitted, however long it was scheduled
-- before; of one that never was, ten after it was accepted.
create function heard_of_until(submitted_at timestamptz, accepted date) returns date
language sql immutable
return greatest((submitted_at at time zone 'Europe/Copenhagen')::date, accepted) + 10;

-- Days of the log whose partitions can go: no key of them is left (`living` is the first day that has one), they are older
-- than any message may live, and nothing is under way in them: no message waits, and of none that was scheduled and sent of late a
-- receipt may come. Those that were taken out and not dropped are among them.
create function expirable_days(living date, today date) returns table (parent text, name text, day date)
language plpgsql stable security definer set search_path = budstikke, pg_temp as $$
begin
    return query
        select left(p.relname, -9), p.relname, p.at
        -- Guarded: the planner may look at the names of other tables first.
        from (select relname::text, case when relname ~ '^(message_log|message_part|inbound)_[0-9]{8}$'
                                         then to_date(right(relname, 8), 'YYYYMMDD') end as at
              from pg_class where relnamespace = 'budstikke'::regnamespace and relkind = 'r') as p
        where p.at < living and p.at < today - 10 and not exists (select from queue q where q.day = p.at)
          -- Nothing waits for longer than the 39 days of its key: older days are not read.
          and (p.at < today - 50 or p.relname like 'inbound%' or not exists (
              select from message_log l
              where l.day = p.at and l.state in (0, 1, 2) and heard_of_until(l.submitted_at, l.day) >= today))
        order by p.at, p.relname;
end $$;

-- Before a partition is taken out: no vacuum works on it from now on, and one that does gives way to this after a second. Nobody
-- else waits for it, so it is in a transaction of its own.
create function settle_day(partition text) returns void
language plpgsql security definer set search_path = budstikke, pg_temp set lock_timeout = '5s' as $$
begin
    perform from pg_inherits i join pg_class p on p.oid = i.inhparent
    where i.inhrelid = to_regclass(quote_ident(partition)) and p.relname in ('message_log', 'message_part', 'inbound', 'mail_copy', 'usage');
    if found then
        execute format('alter table %I set (autovacuum_enabled = false)', partition);
    end if;
end $$;

-- Takes the partition of a day, hour or month out of its table. The table as a whole is locked first and the old day after it, as
-- everybody does who reads: in the other order each would wait for the other. It waits for those who are at work in it for a moment
-- only, and who comes meanwhile waits no longer.
create function detach_day(partition text) returns void
language plpgsql security definer set search_path = budstikke, pg_temp set lock_timeout = '150ms' as $$
declare
    parent text;
begin
    select p.relname into parent from pg_inherits i join pg_class p on p.oid = i.inhparent
    where i.inhrelid = to_regclass(quote_ident(partition)) and p.relname in ('message_log', 'message_part', 'inbound', 'mail_copy', 'usage');
    if parent is not null then
        execute format('alter table %I detach partition %I', parent, partition);
    end if;
end $$;

-- Drops what was taken out: how many rows, as the planner believes. The files go after every lock is released.
create function drop_day(partition text) returns bigint
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    believed bigint;
begin
    select greatest(reltuples, 0)::bigint into believed from pg_class
    where oid = to_regclass(quote_ident(partition)) and not relispartition and relkind = 'r'
      and relname ~ '^(message_log|message_part|inbound|mail_copy|usage)_[0-9]+$';
    if believed is not null then
        execute format('drop table %I', partition);
    end if;
    return believed;
end $$;

-- Erases what is logged of tenants whose log is kept shorter than that of those they share a day with. What is not final stays
-- until it is, or until nothing can be heard of it any more. A bounded number of rows at once; how many, and of how many
-- tenants, so that who asks knows whether to ask again.
create function purge_kept(today date, most integer, out removed bigint, out tenants bigint)
language plpgsql security definer set search_path = budstikke, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
    -- One tenant after another, of each by the index of the days that it keeps no longer: nobody reads what others keep.
    with due as materialized (
        select l.* from retention r cross join lateral (
            select l.tenant_id, l.message_id, l.day from message_log l
            where l.tenant_id = r.tenant_id and l.day <= today - r.kept_days
              and (l.state not in (0, 1, 2) or heard_of_until(l.submitted_at, l.day) < today)
            limit most
        ) l
        limit most
    ), received as materialized (
        select i.* from retention r cross join lateral (
            select i.tenant_id, i.inbound_id, i.day from inbound i
            where i.tenant_id = r.tenant_id and i.day <= today - greatest(r.kept_days, 1)
            limit most
        ) i
        limit most
    ), parted as (
        delete from message_part p using due
        where p.tenant_id = due.tenant_id and p.message_id = due.message_id and p.day = due.day
    ), logged as (
        delete from message_log l using due
        where l.tenant_id = due.tenant_id and l.message_id = due.message_id and l.day = due.day returning l.tenant_id
    ), inbound_gone as (
        delete from inbound i using received r
        where i.tenant_id = r.tenant_id and i.inbound_id = r.inbound_id and i.day = r.day returning i.tenant_id
    )
    select count(*), count(distinct tenant_id) into removed, tenants
    from (select tenant_id from logged union all select tenant_id from inbound_gone) as gone;
end $$;

-- Forces an end on messages whose key must be gone tomorrow: scheduled or held for too long. Those in a flight are about to end
-- by themselves, unless nobody is there to do it: on the day of the key they end too, as of unknown fate, and are not billed,
-- unless their sender comes back and tells what was taken (`sender_settle`). A bounded number at once; how many, and of how many
-- tenants.
create function expire_queue(today date, most integer, out removed bigint, out tenants bigint)
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    whose bigint[];
    messages uuid[];
    states smallint[];
begin
    with waiting as materialized (
        select q.tenant_id, q.message_id, w.gone_on,
               exists (select from flight f where f.tenant_id = q.tenant_id and q.message_id = any (f.message_ids)) as flies
        from queue q, lateral (
            select case when q.queue_key ~ '^queue/[0-9]{4}-[0-9]{2}-[0-9]{2}/' then split_part(q.queue_key, '/', 2)::date end
        ) as w (gone_on)
        where w.gone_on <= today + 1
    ), due as materialized (
        select tenant_id, message_id, flies from waiting where not flies or gone_on <= today limit most
    ), gone as (
        delete from queue q using due where q.tenant_id = due.tenant_id and q.message_id = due.message_id returning q.*, due.flies
    ), logged as (
        insert into message_log (tenant_id, message_id, day, batch_id, state, error, parts, amount, final_at, log_key, entry,
                                 number_hash, reference_hash)
        select tenant_id, message_id, day, batch_id, case when flies then 8 else 5 end, -1, parts, amount, now(), log_key, entry,
               number_hash, reference_hash
        from gone
        returning tenant_id, message_id, state
    )
    select count(*), count(distinct tenant_id), array_agg(tenant_id), array_agg(message_id), array_agg(state)
    into removed, tenants, whose, messages, states from logged;
    if removed > 0 and webhook_listens(null) then
        perform webhook_tell_messages(whose, messages, states, array_fill(-1, array[removed::integer]),
            array_fill(null::timestamptz, array[removed::integer]), array_fill(now(), array[removed::integer]));
    end if;
end $$;

-- Gives up the receipts of messages of a day that were submitted so long ago as their route says: they are final as unknown. A receipt
-- that comes all the same still counts. A bounded number at once; how many, so that who asks knows whether to ask again.
create function give_up_unheard(of_day date, moment timestamptz, most integer) returns bigint
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    whose bigint[];
    messages uuid[];
begin
    with due as materialized (
        select l.tenant_id, l.message_id, l.day from message_log l join route r using (route_id)
        where l.day = of_day and l.state = 2 and l.final_at is null and l.submitted_at <= moment - make_interval(hours => r.give_up_hours)
        limit most for update of l
    ), given_up as (
        update message_log l set state = 8, final_at = moment from due
        where l.tenant_id = due.tenant_id and l.message_id = due.message_id and l.day = due.day and l.day = of_day
        returning l.tenant_id, l.message_id
    )
    select array_agg(tenant_id order by message_id), array_agg(message_id order by message_id) into whose, messages from given_up;
    if messages is null then
        return 0;
    end if;
    if webhook_listens(null) then
        perform webhook_tell_messages(whose, messages, array_fill(8::smallint, array[cardinality(messages)]),
            array_fill(null::integer, array[cardinality(messages)]), array_fill(null::timestamptz, array[cardinality(messages)]),
            array_fill(moment, array[cardinality(messages)]));
    end if;
    return cardinality(messages);
end $$;
grant execute on function give_up_unheard(date, timestamptz, integer) to budstikke_operator;

-- Erases an account: all that is stored of it but what was billed, and the row that says that it was. Its keys must be gone
-- before. How many rows; null: its day has not come, or it was done before.
create function erase_account(tenant bigint, today date) returns bigint
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    held text;
    removed bigint := 0;
    gone bigint;
begin
    update tenant t set erased_at = now() where t.tenant_id = tenant and t.erase_on <= today and t.erased_at is null;
    if not found then
        return null;
    end if;
    -- For the day on which this database is restored (0007).
    insert into erasure (tenant_id, class, before) values (tenant, 'account', today) on conflict do nothing;
    foreach held in array array['queue', 'flight', 'message_log', 'message_part', 'inbound', 'mail_copy', 'idempotency', 'duplicate_guard', 'quota', 'price', 'api_key',
        'route_share', 'inbound_number', 'public_key', 'enforcement', 'in_force', 'retention', 'disclosure', 'webhook', 'webhook_job',
        'opt_out', 'opt_out_request', 'opt_out_key',
        'sender_epoch', 'login'] loop
        execute format('delete from %I where tenant_id = $1', held) using tenant;
        get diagnostics gone = row_count;
        removed := removed + gone;
    end loop;
    if exists (select from pg_roles where rolname = 'bst_' || tenant) then
        perform evict_sender(tenant);
        execute format('drop role %I', 'bst_' || tenant);
    end if;
    return removed;
end $$;

grant execute on function erase_account(bigint, date) to budstikke_operator;
grant execute on function journal_append(text, text, date, bigint, bigint), retention_begins(timestamptz), retention_done(timestamptz), expirable_days(date, date),
    settle_day(text), detach_day(text), drop_day(text), purge_kept(date, integer), expire_queue(date, integer) to budstikke_operator;

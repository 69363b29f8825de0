-- What a sender changes. It has no right to write any table: a right to delete would let it lock a table against every
-- tenant, and one to insert would let it write what was never sent. Every function here is about the asking
-- tenant alone. Those that every message goes through look rows up by their keys, whatever the planner believes of tables that
-- it has no statistics of: a plan that was made while the queue was short would read all of it when it is long.
--
-- Flights are locked in the order of their ids, by who settles and by who takes over: one that is superseded still has its last
-- results stored, and its successor, which waits for that, does not send those messages again.

-- Takes over what older epochs left in flight: under `hold`, and for a flight begun more than `attempts` times (it seems to
-- crash its sender), the messages are held (`as_flight` is null); the other flights go on under this epoch. Asked again, because
-- its answer was lost, it gives those that go on again: what a sender does not know of it never clears.
create function sender_adopt(held bigint, holds boolean, attempts smallint) returns table (as_flight uuid, messages uuid[])
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    own constant bigint := current_tenant();
begin
    if not sending_open() then
        raise exception 'sending is closed' using errcode = '55000';
    end if;
    perform from sender_epoch where tenant_id = own and epoch = held for share;
    if not found then
        return;
    end if;
    perform from flight where tenant_id = own and epoch <= held order by flight_id for update;
    return query
        with old as (
            delete from flight where tenant_id = own and epoch < held and (holds or attempt > attempts)
            returning message_ids
        ), kept as (
            update queue set state = 1
            where tenant_id = own and state = 0 and message_id in (select unnest(message_ids) from old)
            returning message_id
        )
        select null::uuid, array_agg(message_id) from kept having count(*) > 0;
    return query
        with old as (
            delete from flight f where tenant_id = own and epoch <= held
            returning route_id, attempt + (epoch < held)::integer as attempt, array(
                select q.message_id from queue q
                where q.tenant_id = own and q.state = 0 and q.message_id = any (f.message_ids) order by q.message_id
            ) as still
        )
        insert into flight (tenant_id, flight_id, epoch, route_id, message_ids, attempt)
        select own, gen_random_uuid(), held, route_id, still, attempt from old where cardinality(still) > 0
        returning flight_id, message_ids;
end $$;

-- Puts messages in a flight, if this sender still may, by a route that its tenant shares. `flown` are those that are in it
-- now; those missing left the queue meanwhile, and without any there is no flight.
create function sender_launch(held bigint, as_flight uuid, route bigint, wanted uuid[],
    out may_send boolean, out crash_policy text, out newest boolean, out flown uuid[])
language plpgsql security definer set search_path = budstikke, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    own constant bigint := current_tenant();
begin
    flown := '{}';
    select g.may_send, g.crash_policy, g.newest into may_send, crash_policy, newest from sender_gate(held) g;
    if newest and may_send and exists (select from route_share s where s.route_id = route and s.tenant_id = own) then
        flown := array(
            select q.message_id from queue q
            where q.tenant_id = own and q.message_id = any (wanted) and q.state = 0 order by q.message_id
        );
        if cardinality(flown) > 0 then
            insert into flight (tenant_id, flight_id, epoch, route_id, message_ids)
            values (own, as_flight, held, route, flown);
        end if;
    end if;
end $$;

-- Moves a batch from the queue to the log, writes its usage, and clears the flights that it completes; a message of state
-- 1 stays in the queue, held. All of it is idempotent. What is billed is what was accepted, whatever the sender says (B10).
create function sender_settle(ids uuid[], states smallint[], errors integer[], routes bigint[], upstream_ids text[],
    tags integer[], submitted timestamptz[], finals timestamptz[], part_ids uuid[], part_numbers smallint[],
    part_states smallint[], part_errors integer[], part_upstream_ids text[], part_tags integer[],
    part_times timestamptz[], part_several boolean[], landed uuid[]) returns void
language plpgsql security definer set search_path = budstikke, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    own constant bigint := current_tenant();
    listens constant boolean := webhook_listens(own);
    in_queue bigint;
    -- Those that a result was written of: they are told of (0010).
    moved uuid[];
    late uuid[];
begin
    -- One that it neither shares nor was sending by is another tenant's: receipts are found by route.
    if exists (select from unnest(routes) as r (route_id) where r.route_id is not null
               and not exists (select from route_share s where s.tenant_id = own and s.route_id = r.route_id)
               and not exists (select from flight f where f.tenant_id = own and f.route_id = r.route_id)) then
        raise exception 'a route that is not the tenant''s' using errcode = 'insufficient_privilege';
    end if;
    perform from flight where tenant_id = own and flight_id = any (landed) order by flight_id for update;
    with result as materialized (
        select * from unnest(ids, states, errors, routes, upstream_ids, tags, submitted, finals)
            as r (message_id, state, error, route_id, upstream_id, tag, submitted_at, final_at)
    ), part as materialized (
        select * from unnest(part_ids, part_numbers, part_states, part_errors, part_upstream_ids, part_tags, part_times,
                             part_several)
            as p (message_id, part, state, error, upstream_id, tag, at, several)
    ), held as (
        update queue q set state = 1 from result r
        where r.state = 1 and q.tenant_id = own and q.message_id = r.message_id
        returning q.message_id, q.day, q.amount, q.parts
    ), gone as (
        delete from queue q using result r
        where r.state <> 1 and q.tenant_id = own and q.message_id = r.message_id
        returning q.*, r.state as became, r.error, r.route_id, r.upstream_id, r.tag, r.submitted_at, r.final_at
    ), logged as (
        insert into message_log (tenant_id, message_id, day, batch_id, state, error, parts, amount, route_id,
                                 upstream_id, tag, submitted_at, final_at, log_key, entry, number_hash, reference_hash)
        select tenant_id, message_id, day, batch_id, became, error, parts, amount, route_id,
               upstream_id, tag, submitted_at, final_at, log_key, entry, number_hash, reference_hash
        from gone
    ), parted as (
        insert into message_part (tenant_id, message_id, part, day, state, error, route_id, upstream_id, tag)
        select own, p.message_id, p.part, g.day, p.state, p.error, g.route_id, p.upstream_id, p.tag
        from gone g join part p using (message_id)
        where p.several
    ), used as (
        insert into usage (tenant_id, message_id, part, month, at, amount)
        select own, p.message_id, p.part, date_trunc('month', s.day)::date, p.at, s.amount
        from (
            select message_id, day, amount, parts from gone union all select message_id, day, amount, parts from held
        ) s
        join part p using (message_id)
        -- Never more than was accepted, whatever a route's style made of it.
        where p.part between 1 and s.parts
        on conflict do nothing
    ), cleared as (
        delete from flight where tenant_id = own and flight_id = any (landed)
    )
    select (select count(*) from gone) + (select count(*) from held), case when listens then array(select message_id from gone) end
    into in_queue, moved;
    -- Its sender has come back after it was ended as of unknown fate, by its key's day or by a release: what became of it is
    -- known now, and what was accepted is billed (B10). Looked for only where one is not in the queue, which is rare.
    if in_queue < cardinality(ids) then
        with known as (
            update message_log l set state = r.state, error = r.error, route_id = r.route_id, upstream_id = r.upstream_id,
                tag = r.tag, submitted_at = r.submitted_at, final_at = r.final_at
            from unnest(ids, states, errors, routes, upstream_ids, tags, submitted, finals)
                as r (message_id, state, error, route_id, upstream_id, tag, submitted_at, final_at)
            where l.tenant_id = own and l.message_id = r.message_id and l.state = 8 and l.route_id is null
              and r.route_id is not null
            returning l.message_id, l.day, l.parts, l.amount, l.route_id
        ), part as materialized (
            select p.*, k.day, k.parts, k.amount, k.route_id
            from unnest(part_ids, part_numbers, part_states, part_errors, part_upstream_ids, part_tags, part_times, part_several)
                as p (message_id, part, state, error, upstream_id, tag, at, several) join known k using (message_id)
        ), parted as (
            insert into message_part (tenant_id, message_id, part, day, state, error, route_id, upstream_id, tag)
            select own, message_id, part, day, state, error, route_id, upstream_id, tag from part where several
        ), used as (
            insert into usage (tenant_id, message_id, part, month, at, amount)
            select own, message_id, part, date_trunc('month', day)::date, at, amount from part where part between 1 and parts
            on conflict do nothing
        )
        select array(select message_id from known) into late;
        moved := moved || late;
    end if;
    if listens and cardinality(moved) > 0 then
        perform webhook_tell_messages(array_agg(own), array_agg(r.message_id), array_agg(r.state), array_agg(r.error),
            array_agg(r.submitted_at), array_agg(r.final_at))
        from (
            select * from unnest(ids, states, errors, submitted, finals) as r (message_id, state, error, submitted_at, final_at)
            where r.message_id = any (moved) order by r.message_id
        ) as r;
    end if;
end $$;

grant execute on function sender_adopt(bigint, boolean, smallint), sender_launch(bigint, uuid, bigint, uuid[]),
    sender_settle(uuid[], smallint[], integer[], bigint[], text[], integer[], timestamptz[], timestamptz[], uuid[], smallint[],
        smallint[], integer[], text[], integer[], timestamptz[], boolean[], uuid[]) to budstikke_sender;

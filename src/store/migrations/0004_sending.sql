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
-- A message that was taken as one is told by its own place in the arrays, with the upstream's id; of one in several parts each part that
-- was taken is told apart, with the message's place. Rows are looked up by their place, as in `enqueue`.
create function sender_settle(ids uuid[], states smallint[], errors integer[], routes bigint[], upstream_ids text[],
    tags integer[], submitted timestamptz[], finals timestamptz[], part_of integer[], part_numbers smallint[],
    part_states smallint[], part_errors integer[], part_upstream_ids text[], part_tags integer[],
    part_times timestamptz[], landed uuid[]) returns void
language plpgsql security definer set search_path = budstikke, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    own constant bigint := current_tenant();
    listens constant boolean := webhook_listens(own);
    several constant boolean := cardinality(part_of) > 0;
    stored bigint;
    -- Those that a result was written of: they are told of (0010).
    moved uuid[];
    late uuid[];
    -- Where parts are told apart: the messages' places, and what was accepted of them.
    places integer[];
    days date[];
    amounts bigint[];
    accepted smallint[];
begin
    -- One that it neither shares nor was sending by is another tenant's: receipts are found by route.
    if exists (select from unnest(routes) as r (route_id) where r.route_id is not null
               and not exists (select from route_share s where s.tenant_id = own and s.route_id = r.route_id)
               and not exists (select from flight f where f.tenant_id = own and f.route_id = r.route_id)) then
        raise exception 'a route that is not the tenant''s' using errcode = 'insufficient_privilege';
    end if;
    perform from flight where tenant_id = own and flight_id = any (landed) order by flight_id for update;
    with held as (
        update queue q set state = 1 from generate_series(1, cardinality(ids)) as r (n)
        where states[r.n] = 1 and q.tenant_id = own and q.message_id = ids[r.n]
        returning r.n, q.day, q.amount, q.parts
    ), gone as (
        delete from queue q using generate_series(1, cardinality(ids)) as r (n)
        where states[r.n] <> 1 and q.tenant_id = own and q.message_id = ids[r.n]
        returning r.n, q.*
    ), logged as (
        insert into message_log (tenant_id, message_id, day, batch_id, state, error, parts, amount, route_id,
                                 upstream_id, tag, submitted_at, final_at, log_key, entry, number_hash, reference_hash)
        select tenant_id, message_id, day, batch_id, states[n], errors[n], parts, amount, routes[n],
               upstream_ids[n], tags[n], submitted[n], finals[n], log_key, entry, number_hash, reference_hash
        from gone
    ), result as (
        select n, day, amount, parts, true as is_gone from gone union all select n, day, amount, parts, false from held
    ), used as (
        insert into usage (tenant_id, message_id, part, month, at, amount)
        select own, ids[n], 1, date_trunc('month', day)::date, submitted[n], amount from result where upstream_ids[n] is not null
        on conflict do nothing
    ), cleared as (
        delete from flight where tenant_id = own and flight_id = any (landed)
    )
    select count(*), array_agg(ids[n]) filter (where listens and is_gone), array_agg(n) filter (where several),
        array_agg(day) filter (where several), array_agg(amount) filter (where several), array_agg(parts) filter (where several)
    into stored, moved, places, days, amounts, accepted from result;
    -- Its sender has come back after it was ended as of unknown fate, by its key's day or by a release: what became of it is
    -- known now, and what was accepted is billed (B10). Looked for only where one is not in the queue, which is rare.
    if stored < cardinality(ids) then
        with known as (
            update message_log l set state = states[r.n], error = errors[r.n], route_id = routes[r.n],
                upstream_id = upstream_ids[r.n], tag = tags[r.n], submitted_at = submitted[r.n], final_at = finals[r.n]
            from generate_series(1, cardinality(ids)) as r (n)
            where l.tenant_id = own and l.message_id = ids[r.n] and l.state = 8 and l.route_id is null and routes[r.n] is not null
            returning r.n, l.day, l.parts, l.amount
        ), used as (
            insert into usage (tenant_id, message_id, part, month, at, amount)
            select own, ids[n], 1, date_trunc('month', day)::date, submitted[n], amount from known where upstream_ids[n] is not null
            on conflict do nothing
        )
        select array_agg(ids[n]), places || array_agg(n), days || array_agg(day), amounts || array_agg(amount),
            accepted || array_agg(parts)
        into late, places, days, amounts, accepted from known;
        moved := moved || late;
    end if;
    if several and cardinality(places) > 0 then
        perform settle_parts(own, ids, states, routes, part_of, part_numbers, part_states, part_errors, part_upstream_ids, part_tags,
            part_times, places, days, amounts, accepted);
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

-- Of messages in several parts, those at `places` of the batch: logs each part that was taken, and writes its usage. A held one is
-- billed and not logged yet.
create function settle_parts(own bigint, ids uuid[], states smallint[], routes bigint[], part_of integer[], part_numbers smallint[],
    part_states smallint[], part_errors integer[], part_upstream_ids text[], part_tags integer[], part_times timestamptz[],
    places integer[], days date[], amounts bigint[], accepted smallint[]) returns void
language plpgsql set search_path = budstikke, pg_temp as $$
declare
    -- Where a message's day, amount and parts are, by its place.
    known integer[];
begin
    for i in 1 .. cardinality(places) loop
        known[places[i]] := i;
    end loop;
    insert into message_part (tenant_id, message_id, part, day, state, error, route_id, upstream_id, tag)
    select own, ids[part_of[p.n]], part_numbers[p.n], days[known[part_of[p.n]]], part_states[p.n], part_errors[p.n],
        routes[part_of[p.n]], part_upstream_ids[p.n], part_tags[p.n]
    from generate_series(1, cardinality(part_of)) as p (n)
    where known[part_of[p.n]] is not null and states[part_of[p.n]] <> 1;
    insert into usage (tenant_id, message_id, part, month, at, amount)
    select own, ids[part_of[p.n]], part_numbers[p.n], date_trunc('month', days[known[part_of[p.n]]])::date, part_times[p.n],
        amounts[known[part_of[p.n]]]
    from generate_series(1, cardinality(part_of)) as p (n)
    -- Never more than was accepted, whatever a route's style made of it.
    where known[part_of[p.n]] is not null and part_numbers[p.n] between 1 and accepted[known[part_of[p.n]]]
    on conflict do nothing;
end $$;

grant execute on function sender_adopt(bigint, boolean, smallint), sender_launch(bigint, uuid, bigint, uuid[]),
    sender_settle(uuid[], smallint[], integer[], bigint[], text[], integer[], timestamptz[], timestamptz[], integer[], smallint[],
        smallint[], integer[], text[], integer[], timestamptz[], uuid[]) to budstikke_sender;

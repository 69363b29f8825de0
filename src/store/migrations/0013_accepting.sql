-- How calls get into the queue.

-- Queues the messages of calls, and gives the tenants whose calls it queued. `plain`: those of such tenants alone about whom nothing is
-- to be decided: they may send, have no quota, and no list of those who want nothing more, and what is logged of them is kept. What
-- an accepted call takes is then one question, and the most common call is of this kind.
create function enqueue(plain boolean,
    calls integer[], tenants bigint[], batches uuid[], days date[], not_befores timestamptz[], ends timestamptz[], queue_keys text[],
    log_keys text[], urgents boolean[],
    call_of integer[], ids uuid[], parts_of smallint[], amounts bigint[], bodies bytea[], entries bytea[], number_hashes bytea[],
    reference_hashes bytea[])
returns bigint[] language plpgsql set search_path = budstikke, pg_temp as $$
declare
    queued bigint[] := tenants;
begin
    if plain then
        select array_agg(e.tenant_id) into queued
        from enforcement e join opt_out_gates(tenants) g on g.of_tenant = e.tenant_id
        where e.tenant_id = any (tenants) and e.may_accept and g.gate = 0 and e.log_days > 0
          and e.messages_per_hour is null and e.messages_per_day is null;
    end if;
    insert into queue (tenant_id, message_id, batch_id, day, not_before, expires_at, urgent, parts, amount, queue_key, log_key, body,
        entry, number_hash, reference_hash)
    select c.tenant_id, m.message_id, c.batch_id, c.day, c.not_before, c.expires_at, c.urgent, m.parts, m.amount, c.queue_key,
           c.log_key, m.body, m.entry, m.number_hash, m.reference_hash
    from unnest(calls, tenants, batches, days, not_befores, ends, queue_keys, log_keys, urgents)
            as c (call, tenant_id, batch_id, day, not_before, expires_at, queue_key, log_key, urgent)
        join unnest(call_of, ids, parts_of, amounts, bodies, entries, number_hashes, reference_hashes)
            as m (call, message_id, parts, amount, body, entry, number_hash, reference_hash) using (call)
    where c.tenant_id = any (queued);
    return queued;
end $$;
grant execute on function enqueue(boolean, integer[], bigint[], uuid[], date[], timestamptz[], timestamptz[], text[], text[], boolean[],
    integer[], uuid[], smallint[], bigint[], bytea[], bytea[], bytea[], bytea[]) to budstikke_api;

-- How calls get into the queue.

-- Queues the messages of calls, and gives the tenants whose calls it queued. `plain`: those of such tenants alone about whom nothing is
-- to be decided: they may send, have no quota, and no list of those who want nothing more, and what is logged of them is kept. What
-- an accepted call takes is then one question, and the most common call is of this kind.
-- Rows are looked up in the arrays by their place: to have each array be a set of its own, and to join those, took more than all the rest.
create function enqueue(plain boolean,
    tenants bigint[], batches uuid[], days date[], not_befores timestamptz[], ends timestamptz[], queue_keys text[],
    log_keys text[], urgents boolean[],
    call_of integer[], ids uuid[], parts_of smallint[], amounts bigint[], bodies bytea[], entries bytea[], number_hashes bytea[],
    reference_hashes bytea[])
returns bigint[] language plpgsql set search_path = budstikke, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
    queued bigint[] := tenants;
begin
    if plain then
        -- As `opt_out_gates` does: nobody is entered in these tenants' lists until the transaction ends.
        perform pg_advisory_xact_lock_shared(hashtext('budstikke.opt_out'), l.place)
        from (select distinct (t.id % 128)::integer as place from unnest(tenants) as t (id) order by place) as l;
        select array_agg(e.tenant_id) into queued
        from enforcement e
        where e.tenant_id = any (tenants) and e.may_accept and e.log_days > 0
          and e.messages_per_hour is null and e.messages_per_day is null and opt_out_gate(e.tenant_id) = 0;
    end if;
    insert into queue (tenant_id, message_id, batch_id, day, not_before, expires_at, urgent, parts, amount, queue_key, log_key, body,
        entry, number_hash, reference_hash)
    select tenants[c], ids[n], batches[c], days[c], not_befores[c], ends[c], urgents[c], parts_of[n], amounts[n], queue_keys[c],
           log_keys[c], bodies[n], entries[n], number_hashes[n], reference_hashes[n]
    from (select m.n, call_of[m.n] as c from generate_series(1, cardinality(ids)) as m (n)) as m
    where tenants[c] = any (queued);
    return queued;
end $$;
grant execute on function enqueue(boolean, bigint[], uuid[], date[], timestamptz[], timestamptz[], text[], text[], boolean[],
    integer[], uuid[], smallint[], bigint[], bytea[], bytea[], bytea[], bytea[]) to budstikke_api;

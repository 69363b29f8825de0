-- What is decided of messages that wait: to cancel what was not sent, to release what is held or to give it up.

-- Those of `wanted`, or of a batch between two ids, for which it was done. 'cancel' ends what is queued and in no flight (7),
-- 'release' queues what is held, 'fail' ends it (8, -6): whether it was sent nobody knows. 'opt_out' ends both (7 and 8, -7): their
-- recipient wants nothing more (0012).
create function decide(tenant bigint, decision text, wanted uuid[], batch uuid, lowest uuid, below uuid) returns uuid[]
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    done uuid[];
    states smallint[];
    errors integer[];
begin
    if wanted is null then
        wanted := array(select q.message_id from queue q
                        where q.tenant_id = tenant and q.message_id >= lowest and q.message_id < below and q.batch_id = batch);
    end if;
    if decision = 'release' then
        with released as (
            update queue q set state = 0 where q.tenant_id = tenant and q.message_id = any (wanted) and q.state = 1
            returning q.message_id
        )
        select array_agg(message_id order by message_id) into done from released;
        return coalesce(done, '{}');
    end if;
    -- A flight that is being begun holds this row: it is waited for, and none is begun before this has ended.
    perform from sender_epoch e where e.tenant_id = tenant for update;
    with gone as (
        delete from queue q
        where q.tenant_id = tenant and q.message_id = any (wanted)
          and case decision when 'cancel' then q.state = 0 when 'fail' then q.state = 1 when 'opt_out' then true end
          and not exists (select from flight f where f.tenant_id = tenant and q.message_id = any (f.message_ids))
        returning q.*
    ), logged as (
        insert into message_log (tenant_id, message_id, day, batch_id, state, error, parts, amount, final_at, log_key, entry,
                                 number_hash, reference_hash)
        select tenant_id, message_id, day, batch_id, case state when 0 then 7 else 8 end,
               case decision when 'fail' then -6 when 'opt_out' then -7 end,
               parts, amount, now(), log_key, entry, number_hash, reference_hash
        from gone
        returning message_id, state, error
    )
    select array_agg(message_id order by message_id), array_agg(state order by message_id), array_agg(error order by message_id)
    into done, states, errors from logged;
    if done is null then
        return '{}';
    end if;
    if webhook_listens(tenant) then
        perform webhook_tell_messages(array_fill(tenant, array[cardinality(done)]), done, states, errors,
            array_fill(null::timestamptz, array[cardinality(done)]), array_fill(now(), array[cardinality(done)]));
    end if;
    return done;
end $$;
grant execute on function decide(bigint, text, uuid[], uuid, uuid, uuid) to budstikke_api;

-- What becomes of a database that was restored. It recognises itself: until the operator has compared it with the keyring, and
-- where something was lost until the owner releases it, nobody may send. What is accepted meanwhile waits.

-- Which server this is, and on which timeline. Restoring to another point, promoting a standby and loading a dump change it.
create function server_history() returns text
language plpgsql stable set search_path = budstikke, pg_temp as $$
begin
    return (select system_identifier from pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
end $$;

-- Since when this server has all that is committed: since it started; or where it was started anew to take over, as the pod of a
-- standby is, since it began to follow. The chart's script says so, on the command line of the server.
create function server_since() returns timestamptz
language sql stable set search_path = budstikke, pg_temp as $$
    select least(pg_postmaster_start_time(), nullif(current_setting('budstikke.following_since', true), '')::timestamptz)
$$;

-- The one row of what holds now.
create table installation (
    only_one     boolean primary key default true check (only_one),
    epoch        integer not null default 1,             -- a restore begins another
    history      text not null,                          -- on which nobody doubts this database
    closed_since timestamptz                             -- sending is closed, until it is released
);
insert into installation (history) values (server_history());

-- Whether anybody may send.
create function sending_open() returns boolean
language plpgsql stable security definer set search_path = budstikke, pg_temp as $$
begin
    return exists (select from installation where closed_since is null and history = server_history());
end $$;

-- How far the facts have come, written first here and then in the keyring: whichever has the older one was restored, or is a
-- moment behind.
create table mark (
    only_one    boolean primary key default true check (only_one),
    n           bigint not null default 0,
    at          timestamptz not null default now(),
    accepted    bigint not null default 0,               -- messages since the installation began; a little more may be counted
    counted     bigint not null default 0,               -- the server's own counter, when it was last looked at
    entry       bigint not null default 0,               -- the journal's newest
    hash        bytea not null default '',
    synchronous boolean not null default false           -- commits wait for a standby
);
insert into mark default values;

-- What was erased other than by its date: erased again after a restore of either instance, which both keep this list.
create table erasure (
    tenant_id   bigint not null,
    class       text not null check (class in ('log', 'inbound', 'queue', 'account')),
    before      date not null,                           -- what was accepted before this day; of an account, the day it was erased
    at          timestamptz not null default now(),
    primary key (tenant_id, class, before)
);
select isolate('erasure');

-- Every restore that was found.
create table restore (
    epoch           integer primary key,                 -- that it began
    found_at        timestamptz not null default now(),
    what            text not null check (what in ('data', 'keyring', 'both')),
    began_at        timestamptz not null,                -- where the data was restored: what was accepted before was so too
    known_at        timestamptz not null,                -- the newest mark that was restored
    lost_until      timestamptz not null,                -- the newest one that there was; the same where none is missing
    messages        bigint not null,                     -- accepted between the two
    entries         bigint not null,                     -- of the journal, between the two
    erased_again_at timestamptz,
    released_at     timestamptz,
    queued          text check (queued in ('send', 'fail')),
    ended           bigint                               -- messages, by the release
);
grant select on installation, mark, restore to budstikke_operator;
grant select, insert on erasure to budstikke_operator;

-- Closes what a restore has opened, as a connector is told; the rest is in `sender_gate`.
create or replace function connector_shares() returns table (tenant_id bigint, weight integer, may_send boolean, epoch bigint)
language sql stable security definer set search_path = budstikke, pg_temp
begin atomic
    select s.tenant_id, s.weight, coalesce(e.may_send, false) and o.open, coalesce(p.epoch, 0)
    from (select sending_open() as open) o cross join route_share s
    left join enforcement e using (tenant_id) left join sender_epoch p using (tenant_id)
    where s.route_id = current_route();
end;

-- The mark after `expected`; no row where there is one already.
create function mark_next(expected bigint) returns setof mark
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    inserted constant bigint := coalesce((select n_tup_ins from pg_stat_user_tables where relid = 'queue'::regclass), 0);
begin
    return query
        update mark m set n = m.n + 1, at = clock_timestamp(), counted = inserted,
            -- The counter begins anew after a crash.
            accepted = m.accepted + case when inserted >= m.counted then inserted - m.counted else inserted end,
            entry = coalesce(j.entry, 0), hash = coalesce(j.hash, ''),
            synchronous = current_setting('synchronous_standby_names') <> ''
                and current_setting('synchronous_commit') not in ('off', 'local')
        from (select 1) as one left join (select entry, hash from erasure_journal order by entry desc limit 1) j on true
        where m.n = expected
        returning m.*;
end $$;

-- Nothing was lost by what changed the history.
create function confirm_history() returns void
language sql security definer set search_path = budstikke, pg_temp
begin atomic
    update installation set history = server_history();
end;

-- A restore was found: a new epoch, in which nobody sends. `newest` is the highest mark that there is, `account` the highest
-- account id that was ever given. The epoch; null: another found it first.
create function close_sending(expected integer, restored text, known timestamptz, lost_until timestamptz, messages bigint,
    entries bigint, newest bigint, account bigint) returns integer
language plpgsql security definer set search_path = budstikke, pg_temp as $$
begin
    update installation set epoch = epoch + 1, history = server_history(), closed_since = coalesce(closed_since, now())
    where epoch = expected;
    if not found then
        return null;
    end if;
    insert into restore (epoch, what, began_at, known_at, lost_until, messages, entries)
    values (expected + 1, restored, case when restored = 'keyring' then now() else pg_postmaster_start_time() end,
            known, lost_until, messages, entries);
    update mark set n = greatest(n, newest), accepted = accepted + messages;
    -- Far beyond every epoch that was given after the backup: a sender of that time must not go on, and connectors remember.
    update sender_epoch set epoch = epoch + 1000000, alive_until = '-infinity', pod = null;
    -- An account id that was given after the backup is never another's: there may be keys of it, or the word that it was erased.
    perform setval(pg_get_serial_sequence('budstikke.tenant', 'tenant_id'),
        greatest(account + 1, nextval(pg_get_serial_sequence('budstikke.tenant', 'tenant_id'))));
    perform journal_append('restore', restored, (now() at time zone 'Europe/Copenhagen')::date, entries, 0);
    perform pg_notify('budstikke_change', 'restored');
    return expected + 1;
end $$;

-- Erases once more what is logged of a tenant, or an account. A bounded number of rows at once; how many.
create function erase_again(tenant bigint, of_class text, before date, most integer) returns bigint
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    today constant date := (now() at time zone 'Europe/Copenhagen')::date;
    removed bigint;
begin
    if of_class = 'account' then
        update tenant t set erase_on = erase_again.before where t.tenant_id = tenant and t.erased_at is null;
        return coalesce(erase_account(tenant, erase_again.before), 0);
    elsif of_class = 'inbound' then
        delete from inbound i where i.tenant_id = tenant and i.day < erase_again.before and i.inbound_id = any (array(
            select r.inbound_id from inbound r where r.tenant_id = tenant and r.day < erase_again.before limit most));
        get diagnostics removed = row_count;
        return removed;
    elsif of_class <> 'log' then
        return 0;                                       -- nothing but keys
    end if;
    with due as materialized (
        select l.message_id, l.day from message_log l
        -- What is not final stays as in `purge_kept`; its key is gone.
        where l.tenant_id = tenant and l.day < erase_again.before
          and (l.state not in (0, 1, 2) or heard_of_until(l.submitted_at, l.day) < today)
        limit most
    ), parted as (
        delete from message_part p using due where p.tenant_id = tenant and p.message_id = due.message_id and p.day = due.day
    ), logged as (
        delete from message_log l using due
        where l.tenant_id = tenant and l.message_id = due.message_id and l.day = due.day returning 1
    )
    select count(*) into removed from logged;
    return removed;
end $$;

-- The lists are in both instances, and what is on them is erased again.
create function erased_again() returns void
language sql security definer set search_path = budstikke, pg_temp
begin atomic
    update restore set erased_again_at = now() where erased_again_at is null;
end;

-- The lowest id of a message that was accepted at `at`.
create function first_id(at timestamptz) returns uuid
language sql immutable set search_path = budstikke, pg_temp
begin atomic
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;
end;

-- What has a lower id was restored with the queue. With the keyring alone no message was: what waits then was accepted as ever,
-- and nothing was sent that is not known.
create function restored_before() returns uuid
language sql stable set search_path = budstikke, pg_temp
begin atomic
    select first_id(coalesce(max(began_at), 'epoch')) from restore where released_at is null and what <> 'keyring';
end;

-- What waits: restored with the queue, of all in a flight, and accepted since or not restored at all.
create function queued_at_restore(out before bigint, out in_flight bigint, out since bigint)
language plpgsql stable security definer set search_path = budstikke, pg_temp as $$
declare
    border constant uuid := restored_before();
begin
    select count(*) filter (where message_id < border), count(*) filter (where message_id >= border) into before, since
    from queue;
    select count(*) into in_flight from flight f, unnest(f.message_ids) as id (message_id)
    join queue q using (message_id) where q.tenant_id = f.tenant_id;
end $$;

-- Which keys the queue needs.
create function queue_keys() returns table (tenant_id bigint, key_name text, messages bigint)
language sql stable security definer set search_path = budstikke, pg_temp
begin atomic
    select q.tenant_id, q.queue_key, count(*) from queue q group by q.tenant_id, q.queue_key;
end;

-- Ends what a release does not send: messages whose keys are lost, and under `fail` all that were restored, whatever became of
-- them after the backup. A bounded number at once; how many.
create function end_restored(queued text, lost_tenants bigint[], lost_keys text[], most integer) returns bigint
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    border constant uuid := case queued when 'fail' then restored_before() end;
    removed bigint;
    whose bigint[];
    messages uuid[];
    states smallint[];
    errors integer[];
begin
    if not exists (select from installation where closed_since is not null)
       or exists (select from restore where erased_again_at is null) then
        raise exception 'what was erased before the restore is not erased again yet' using errcode = '55000';
    end if;
    with lost as (
        select * from unnest(lost_tenants, lost_keys) as l (tenant_id, queue_key)
    ), due as materialized (
        select q.tenant_id, q.message_id, l.queue_key is not null as is_lost
        from queue q left join lost l using (tenant_id, queue_key)
        where l.queue_key is not null or q.message_id < border
        limit most
    ), gone as (
        delete from queue q using due where q.tenant_id = due.tenant_id and q.message_id = due.message_id
        returning q.*, due.is_lost
    ), logged as (
        insert into message_log (tenant_id, message_id, day, batch_id, state, error, parts, amount, final_at, log_key, entry,
                                 number_hash, reference_hash)
        select tenant_id, message_id, day, batch_id, case when is_lost then 4 else 8 end, case when is_lost then -5 else -4 end,
               parts, amount, now(), log_key, entry, number_hash, reference_hash from gone
        returning tenant_id, message_id, state, error
    )
    select count(*), array_agg(tenant_id), array_agg(message_id), array_agg(state), array_agg(error)
    into removed, whose, messages, states, errors from logged;
    if removed > 0 and webhook_listens(null) then
        perform webhook_tell_messages(whose, messages, states, errors, array_fill(null::timestamptz, array[removed::integer]),
            array_fill(now(), array[removed::integer]));
    end if;
    return removed;
end $$;

-- Opens sending. False: it was open.
create function release_sending(as_queued text, how_many bigint) returns boolean
language plpgsql security definer set search_path = budstikke, pg_temp as $$
begin
    if exists (select from restore where erased_again_at is null) then
        raise exception 'what was erased before the restore is not erased again yet' using errcode = '55000';
    end if;
    update installation set closed_since = null where closed_since is not null and history = server_history();
    if not found then
        return false;
    end if;
    update restore set released_at = now(), queued = as_queued, ended = how_many where released_at is null;
    delete from flight f
    where not exists (select from queue q where q.tenant_id = f.tenant_id and q.message_id = any (f.message_ids));
    perform journal_append('release', as_queued, (now() at time zone 'Europe/Copenhagen')::date, how_many, 0);
    perform pg_notify('budstikke_change', 'released');
    return true;
end $$;

grant execute on function server_history(), server_since(), sending_open(), mark_next(bigint), confirm_history(),
    close_sending(integer, text, timestamptz, timestamptz, bigint, bigint, bigint, bigint),
    erase_again(bigint, text, date, integer), erased_again(), queued_at_restore(), queue_keys(),
    end_restored(text, bigint[], text[], integer), release_sending(text, bigint) to budstikke_operator;

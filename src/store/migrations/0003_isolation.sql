-- Who may do what. Senders see their tenant's rows only, connectors no table at all; both are known by `session_user`,
-- which no statement of theirs can change. Every function here runs as the owner, who is no superuser, with a pinned
-- search path.

-- Roles are shared by a whole server, so they may be there already.
create function ensure_role(role text, attributes text) returns void language plpgsql as $$
begin
    execute format('create role %I %s', role, attributes);
exception when duplicate_object or unique_violation then
    null;
end $$;
select ensure_role('budstikke_operator', 'login'), ensure_role('budstikke_api', 'login'),
       ensure_role('budstikke_sender', 'nologin'), ensure_role('budstikke_connector', 'nologin');

-- Time-outs end what a peer's death leaves behind; limits keep one role from taking every connection.
alter role budstikke_operator set statement_timeout = '60s';
alter role budstikke_operator set lock_timeout = '10s';
alter role budstikke_operator set idle_in_transaction_session_timeout = '30s';
-- Two of them, a third while they are replaced, ten and a listener each.
alter role budstikke_operator connection limit 40;
alter role budstikke_api set statement_timeout = '15s';
alter role budstikke_api set lock_timeout = '5s';
alter role budstikke_api set idle_in_transaction_session_timeout = '15s';

do $$ begin
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to budstikke_operator, budstikke_api, budstikke_sender, budstikke_connector',
        current_database());
end $$;
grant usage on schema budstikke to budstikke_operator, budstikke_api, budstikke_sender, budstikke_connector;
alter default privileges revoke execute on functions from public;
revoke execute on all functions in schema budstikke from public;

-- Who is asking ------------------------------------------------------------------------------------------------------

-- In plpgsql, whose plans live as long as the session: an SQL function would be planned again by every statement.
create function current_tenant() returns bigint
language plpgsql stable parallel safe security definer set search_path = budstikke, pg_temp as $$
begin
    return (select tenant_id from login where role_name = session_user);
end $$;

create function current_route() returns bigint
language plpgsql stable parallel safe security definer set search_path = budstikke, pg_temp as $$
begin
    return (select route_id from login where role_name = session_user);
end $$;

-- Rows ---------------------------------------------------------------------------------------------------------------

-- Row-level security for one table; every table with a tenant_id has it (a test holds that). A policy opens rows, the
-- grants below decide what may be done with them. The sub-select is evaluated once a statement, not once a row.
create function isolate(protected regclass) returns void language plpgsql set search_path = budstikke, pg_temp as $$
begin
    execute format('alter table %s enable row level security', protected);
    execute format('alter table %s force row level security', protected);
    execute format('create policy whole on %s to %I, budstikke_operator, budstikke_api using (true) with check (true)',
        protected, current_user);
    execute format('create policy own on %s to budstikke_sender using (tenant_id = (select current_tenant()))
        with check (tenant_id = (select current_tenant()))', protected);
end $$;
revoke execute on function isolate(regclass) from public;

select isolate(oid::regclass) from pg_class
where relnamespace = 'budstikke'::regnamespace and relkind in ('r', 'p') and not relispartition
  and exists (select from pg_attribute where attrelid = pg_class.oid and attname = 'tenant_id' and not attisdropped);

-- Grants: none on partitions, to nobody ------------------------------------------------------------------------------

grant select, insert, update, delete on tenant, enforcement, in_force, price, api_key, route, route_share, inbound_number,
    public_key, sender_epoch to budstikke_operator;
grant select on login, queue, flight, message_log, message_part, usage, quota, parked_receipt, inbound to budstikke_operator;

grant select on tenant, enforcement, price, route, route_share, inbound_number, public_key, flight, message_part, usage,
    inbound to budstikke_api;
grant select, insert, update (revoked_at) on api_key to budstikke_api;
grant select, insert, delete, update (state) on queue to budstikke_api;
grant select, insert on message_log to budstikke_api;
grant select, insert, update, delete on quota, idempotency, duplicate_guard to budstikke_api;

-- A sender reads what it needs and writes nothing but by its functions (B10, A5; 0004).
grant select on enforcement, queue, flight to budstikke_sender;

-- Logins -------------------------------------------------------------------------------------------------------------

-- Sets a login's password from its SCRAM-SHA-256 verifier: the password itself never reaches the server or its log.
create function set_verifier(role name, verifier text) returns void
language plpgsql set search_path = budstikke, pg_temp as $$
begin
    if verifier !~ '^SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+$' then
        raise exception 'not a SCRAM-SHA-256 verifier' using errcode = 'invalid_parameter_value';
    end if;
    execute format('alter role %I password %L', role, verifier);
end $$;

create function ensure_login(role name, member_of name, connections integer, verifier text) returns void
language plpgsql set search_path = budstikke, pg_temp as $$
begin
    perform ensure_role(role, 'login');
    execute format('grant %I to %I', member_of, role);
    -- For evict_sender: only a member of a role may end its sessions.
    execute format('grant %I to %I', role, current_user);
    execute format('alter role %I connection limit %s', role, connections);
    execute format('alter role %I set statement_timeout = %L', role, '15s');
    execute format('alter role %I set lock_timeout = %L', role, '5s');
    execute format('alter role %I set idle_in_transaction_session_timeout = %L', role, '15s');
    perform set_verifier(role, verifier);
end $$;

-- Makes a tenant's login, or gives it another password.
create function tenant_login(tenant bigint, verifier text) returns name
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    role name := 'bst_' || tenant;
begin
    insert into login (role_name, tenant_id) values (role, tenant) on conflict do nothing;
    insert into sender_epoch (tenant_id) values (tenant) on conflict do nothing;
    perform ensure_login(role, 'budstikke_sender', 8, verifier);
    return role;
end $$;

-- Ends the sessions of a tenant's senders: one that keeps its row locked must not put off a suspension. How many.
create function evict_sender(tenant bigint) returns bigint
language sql security definer set search_path = budstikke, pg_temp
begin atomic
    select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
    where usename = ('bst_' || tenant)::name and datname = current_database();
end;

-- Makes a route's login, or gives it another password.
create function route_login(route bigint, verifier text) returns name
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    role name := 'bsr_' || route;
begin
    insert into login (role_name, route_id) values (role, route) on conflict do nothing;
    perform ensure_login(role, 'budstikke_connector', 16, verifier);
    return role;
end $$;

-- Senders ------------------------------------------------------------------------------------------------------------

-- The next epoch, for a sender that starts; every older sender of the tenant has lost its claim from here on. None starts
-- while one says that it is alive; one beside which others stand by is that from its start. One that runs alone says nothing
-- before it is told to stop, and that may not have come to it yet: a successor in another pod waits for it, until it insists.
-- Null: not now.
create function sender_begin(stands_by boolean, own_pod uuid, insists boolean) returns bigint
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    own constant bigint := current_tenant();
    begun bigint;
begin
    if own is null then
        raise exception 'no tenant''s login' using errcode = 'insufficient_privilege';
    end if;
    update sender_epoch set epoch = epoch + 1, pod = own_pod,
        alive_until = case when stands_by then now() + interval '15 seconds' else '-infinity' end
    where tenant_id = own and alive_until <= now() and (stands_by or insists or coalesce(pod, own_pod) = own_pod)
    returning epoch into begun;
    return begun;
end $$;

-- A sender is alive for so much longer, or no more: for those that stand by, and for the successor of one that stops.
create function sender_alive(held bigint, seconds integer) returns void
language sql security definer set search_path = budstikke, pg_temp
begin atomic
    update sender_epoch set alive_until = now() + least(seconds, 60) * interval '1 second',
        pod = case when seconds > 0 then pod end
    where tenant_id = current_tenant() and epoch = held;
end;

-- Whether it is one of the hours in which an account's messages go out.
create function within_window(account enforcement) returns boolean language sql stable set search_path = budstikke, pg_temp
begin atomic
    select account.window_from is null or (
        (account.window_days = '{}' or extract(isodow from l.at)::smallint = any (account.window_days))
        and extract(hour from l.at) * 60 + extract(minute from l.at) >= account.window_from
        and extract(hour from l.at) * 60 + extract(minute from l.at) < account.window_until
    ) from (select now() at time zone 'Europe/Copenhagen' as at) l;
end;

-- Whether a sender may claim: it is the newest of its tenant, the tenant may send, and so may the installation (0007). What this says stays so until the
-- transaction ends: a newer sender and a suspension wait for it. (A lock needs more than the sender's right to read.)
create function sender_gate(held bigint, out may_send boolean, out crash_policy text, out newest boolean)
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    own constant bigint := current_tenant();
begin
    select e.may_send and sending_open() and within_window(e), e.crash_policy into may_send, crash_policy
    from enforcement e where e.tenant_id = own for share;
    perform from sender_epoch p where p.tenant_id = own and p.epoch = held for share;
    newest := found;
end $$;

-- Receipts -----------------------------------------------------------------------------------------------------------

-- Applies receipts and says of each: 0 no message is known for it (or more than one), 1 applied, 2 was final already.
-- A message is found by route, upstream id and the check of its destination; recent days first. A receipt comes within a
-- week of the submit, and a scheduled message was accepted up to a month before that.
-- `tenant` null: of any tenant. Every look-up is one probe of a receipt index, and is planned once a session: the
-- settings keep the planner from reading a tenant's whole day where it has no statistics yet.
create function apply_receipts(tenant bigint, routes bigint[], upstream_ids text[], tags integer[], states smallint[],
    errors integer[], done_at timestamptz[]) returns smallint[]
language plpgsql set search_path = budstikke, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    sent constant smallint := 2;
    delivered constant smallint := 3;
    unknown constant smallint := 8;
    today constant date := (now() at time zone 'Europe/Copenhagen')::date;
    outcome smallint[] := array_fill(0::smallint, array[cardinality(upstream_ids)]);
    before smallint[];
    barred integer[] := '{}';
    first date;
    last date;
    hit integer;
    tenants bigint[];
    messages uuid[];
    days date[];
    -- What is to be told of (0010): collected only where somebody listens.
    listens constant boolean := webhook_listens(tenant);
    one record;
    told integer;
    told_tenants bigint[] := '{}';
    told_messages uuid[] := '{}';
    told_states smallint[] := '{}';
    told_errors integer[] := '{}';
    told_at timestamptz[] := '{}';
begin
    foreach first in array array[today - 1, today - 7, today - 40] loop
        last := case first when today - 1 then today when today - 7 then today - 2 else today - 8 end;
        before := outcome;
        told := cardinality(told_messages);

        -- Messages of one part: found and changed in one go. Should a receipt fit two open messages, all is taken back,
        -- and that receipt is left alone.
        loop
            begin
                for one in
                    update message_log l set state = r.state, error = r.error, final_at = r.done_at
                    from unnest(routes, upstream_ids, tags, states, errors, done_at) with ordinality
                        as r (route_id, upstream_id, tag, state, error, done_at, n)
                    where outcome[r.n] = 0 and r.n <> all (barred)
                      and l.upstream_id = r.upstream_id and l.route_id = r.route_id and l.tag = r.tag
                      and l.day between first and last
                      and (tenant is null or l.tenant_id = tenant) and l.state in (sent, unknown)
                    returning r.n, l.tenant_id, l.message_id
                loop
                    hit := one.n;
                    if outcome[hit] <> 0 then
                        raise cardinality_violation;
                    end if;
                    outcome[hit] := 1;
                    if listens then
                        told_tenants := told_tenants || one.tenant_id;
                        told_messages := told_messages || one.message_id;
                        told_states := told_states || states[hit];
                        told_errors := told_errors || errors[hit];
                        told_at := told_at || done_at[hit];
                    end if;
                end loop;
                exit;
            exception when cardinality_violation then
                outcome := before;
                barred := barred || hit;
                told_tenants := told_tenants[:told];
                told_messages := told_messages[:told];
                told_states := told_states[:told];
                told_errors := told_errors[:told];
                told_at := told_at[:told];
            end;
        end loop;
        exit when 0 <> all (outcome);

        for hit in
            select r.n from unnest(routes, upstream_ids, tags) with ordinality as r (route_id, upstream_id, tag, n)
            where outcome[r.n] = 0 and r.n <> all (barred)
              and exists (select from message_log l
                  where l.upstream_id = r.upstream_id and l.route_id = r.route_id and l.tag = r.tag
                    and l.day between first and last and (tenant is null or l.tenant_id = tenant)
                    -- One that is open here was stored since the statement above looked: it is tried again, not lost.
                    and l.state not in (sent, unknown))
        loop
            outcome[hit] := 2;
        end loop;
        exit when 0 <> all (outcome);

        -- Messages of several. The message's row is locked first: of two receipts at once the later sees the earlier.
        select array_agg(tenant_id), array_agg(message_id), array_agg(day) into tenants, messages, days
        from (
            select distinct p.tenant_id, p.message_id, p.day
            from unnest(routes, upstream_ids, tags) with ordinality as r (route_id, upstream_id, tag, n)
            join message_part p on p.upstream_id = r.upstream_id and p.route_id = r.route_id and p.tag = r.tag
            where outcome[r.n] = 0 and p.day between first and last and (tenant is null or p.tenant_id = tenant)
        ) as touched;
        continue when messages is null;
        perform from unnest(tenants, messages, days) as t (tenant_id, message_id, day)
        join message_log l on l.tenant_id = t.tenant_id and l.message_id = t.message_id and l.day = t.day
        where l.day between first and last
        order by l.message_id for update of l;

        for hit in
            with found as materialized (
                select r.n, r.state, r.error, p.tenant_id, p.message_id, p.part, p.day, count(*) over (partition by r.n) as owners,
                       row_number() over (partition by p.tenant_id, p.message_id, p.part order by r.n) as turn
                from unnest(routes, upstream_ids, tags, states, errors) with ordinality
                    as r (route_id, upstream_id, tag, state, error, n)
                join message_part p on p.upstream_id = r.upstream_id and p.route_id = r.route_id and p.tag = r.tag
                where outcome[r.n] = 0 and p.day between first and last and (tenant is null or p.tenant_id = tenant)
                  -- Not one that was stored since: its message is not locked, and would not be made final.
                  and p.message_id = any (messages)
            ), changed as (
                update message_part p set state = f.state, error = f.error from found f
                where p.tenant_id = f.tenant_id and p.message_id = f.message_id and p.part = f.part and p.day = f.day
                  and f.owners = 1 and f.turn = 1 and p.state in (sent, unknown) and p.day between first and last
                returning f.n
            )
            select case when c.n is null then -f.n else f.n end from found f left join changed c using (n) where f.owners = 1
        loop
            outcome[abs(hit)] := case when hit > 0 then 1 else 2 end;
        end loop;

        -- Final with its last part: delivered where every part was, else the worst that happened to one.
        for one in
        update message_log l set state = whole.state, error = whole.error, final_at = whole.done
        from (
            select p.tenant_id, p.message_id, p.day, max(p.state) as state, max(p.error) as error,
                   (select max(r.done_at) from unnest(routes, upstream_ids, tags, done_at) as r (route_id, upstream_id, tag, done_at)
                    where r.upstream_id = any (array_agg(p.upstream_id)) and r.route_id = any (array_agg(p.route_id))
                      and r.tag = any (array_agg(p.tag))) as done
            from unnest(tenants, messages, days) as t (tenant_id, message_id, day)
            join message_part p on p.tenant_id = t.tenant_id and p.message_id = t.message_id and p.day = t.day
            where p.day between first and last
            group by p.tenant_id, p.message_id, p.day
            having bool_and(p.state >= delivered)
        ) as whole
        where l.tenant_id = whole.tenant_id and l.message_id = whole.message_id and l.day = whole.day
          and l.day between first and last and l.state in (sent, unknown)
        returning l.tenant_id, l.message_id, l.state, l.error, l.final_at
        loop
            if listens then
                told_tenants := told_tenants || one.tenant_id;
                told_messages := told_messages || one.message_id;
                told_states := told_states || one.state;
                told_errors := told_errors || one.error;
                told_at := told_at || one.final_at;
            end if;
        end loop;
        exit when 0 <> all (outcome);
    end loop;
    if cardinality(told_messages) > 0 then
        perform webhook_tell_messages(told_tenants, told_messages, told_states, told_errors,
            array_fill(null::timestamptz, array[cardinality(told_messages)]), told_at);
    end if;
    return outcome;
end $$;

-- A sender's own receipts, of whichever route; outcomes as above.
create function sender_receipts(routes bigint[], upstream_ids text[], tags integer[], states smallint[], errors integer[],
    done_at timestamptz[]) returns smallint[]
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    tenant constant bigint := current_tenant();
begin
    if tenant is null then
        raise exception 'no tenant''s login' using errcode = 'insufficient_privilege';
    end if;
    return apply_receipts(tenant, routes, upstream_ids, tags, states, errors, done_at);
end $$;

-- Connectors ---------------------------------------------------------------------------------------------------------

create function connector_shares() returns table (tenant_id bigint, weight integer, may_send boolean, epoch bigint)
language sql stable security definer set search_path = budstikke, pg_temp
begin atomic
    select s.tenant_id, s.weight, coalesce(e.may_send, false), coalesce(p.epoch, 0)
    from route_share s left join enforcement e using (tenant_id) left join sender_epoch p using (tenant_id)
    where s.route_id = current_route();
end;

create function connector_numbers() returns table (number text, keyword text, tenant_id bigint)
language sql stable security definer set search_path = budstikke, pg_temp
begin atomic
    select n.number, n.keyword, n.tenant_id from inbound_number n where n.route_id = current_route();
end;

-- The tenant each receipt belongs to; null where none is known, or more than one.
create function receipt_owners(upstream_ids text[], tags integer[]) returns bigint[]
language plpgsql stable security definer set search_path = budstikke, pg_temp set plan_cache_mode = force_generic_plan
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    today constant date := (now() at time zone 'Europe/Copenhagen')::date;
    own constant bigint := current_route();
begin
    return array(
        select case when count(distinct found.tenant_id) = 1 then min(found.tenant_id) end
        from unnest(upstream_ids, tags) with ordinality as receipt (upstream_id, tag, n)
        left join lateral (
            select l.tenant_id from message_log l
            where l.upstream_id = receipt.upstream_id and l.route_id = own and l.tag = receipt.tag
              and l.day between today - 40 and today
            union all
            select p.tenant_id from message_part p
            where p.upstream_id = receipt.upstream_id and p.route_id = own and p.tag = receipt.tag
              and p.day between today - 40 and today
        ) as found on true
        group by n order by n
    );
end $$;

-- Applies receipts of tenants whose sender is away; outcomes as in apply_receipts.
create function receipts_apply(upstream_ids text[], tags integer[], states smallint[], errors integer[], at timestamptz[])
returns smallint[] language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    own constant bigint := current_route();
begin
    if own is null then
        raise exception 'no route''s login' using errcode = 'insufficient_privilege';
    end if;
    return apply_receipts(null, array_fill(own, array[cardinality(upstream_ids)]), upstream_ids, tags, states, errors, at);
end $$;

-- Keeps receipts whose message is not known yet: a receipt may overtake the submit's answer.
create function receipts_park(upstream_ids text[], tags integer[], states smallint[], errors integer[], at timestamptz[])
returns void language plpgsql security definer set search_path = budstikke, pg_temp as $$
begin
    insert into parked_receipt (route_id, upstream_id, tag, state, error, done_at, retry_at)
    select current_route(), r.*, now() + interval '5 seconds' from unnest(upstream_ids, tags, states, errors, at) as r;
end $$;

-- Tries at most `most` parked receipts that are due, ever more rarely; drops what is unknown after four days.
create function receipts_retry(most integer) returns table (applied bigint, kept bigint, dropped bigint)
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    due bigint[];
    results smallint[];
begin
    due := array(select parked_id from parked_receipt where route_id = current_route() and retry_at <= now()
                 order by retry_at limit least(most, 1000) for update skip locked);
    select receipts_apply(array_agg(upstream_id order by n), array_agg(tag order by n), array_agg(state order by n),
                          array_agg(error order by n), array_agg(done_at order by n))
    into results
    from unnest(due) with ordinality as d (parked_id, n) join parked_receipt using (parked_id)
    having count(*) > 0;
    return query
        with tried as (
            select * from unnest(due, results) as t (parked_id, outcome)
        ), gone as (
            delete from parked_receipt p using tried t
            where p.parked_id = t.parked_id and (t.outcome <> 0 or p.parked_at < now() - interval '4 days')
            returning t.outcome
        ), later as (
            update parked_receipt p set tries = p.tries + 1,
                retry_at = now() + least(interval '5 seconds' * 2 ^ least(p.tries + 1, 12), interval '1 hour')
            from tried t
            where p.parked_id = t.parked_id and t.outcome = 0 and p.parked_at >= now() - interval '4 days'
            returning 1
        )
        select (select count(*) from gone where gone.outcome <> 0), (select count(*) from later),
               (select count(*) from gone where gone.outcome = 0);
end $$;

-- Whether a tenant has a number on the asking connector's route.
create function serves_inbound(tenant bigint) returns boolean
language sql stable set search_path = budstikke, pg_temp
return exists (select from inbound_number where route_id = current_route() and tenant_id = tenant);

-- The public key that today's inbound of a tenant is sealed to; no row where it may not be asked, or is not made yet.
create function inbound_key(tenant bigint) returns table (key_name text, key bytea)
language sql stable security definer set search_path = budstikke, pg_temp
begin atomic
    select k.key_name, k.key from public_key k
    where k.tenant_id = tenant and serves_inbound(tenant) and k.day = (now() at time zone 'Europe/Copenhagen')::date;
end;

-- Stores a sealed inbound message; the same id again changes nothing. Where it asks that its sender be written to no more (`stops`), or
-- again, that is stored with it, and with it who that is, sealed (0012).
create function inbound_store(tenant bigint, id uuid, received_on date, at timestamptz, name text, content bytea,
    stops boolean default null, asker bytea default null)
returns void language plpgsql security definer set search_path = budstikke, pg_temp as $$
begin
    if not serves_inbound(tenant) then
        raise exception 'the tenant has no number on this route' using errcode = 'insufficient_privilege';
    end if;
    insert into inbound (tenant_id, inbound_id, day, route_id, received_at, key_name, sealed)
    values (tenant, id, received_on, current_route(), at, name, content)
    on conflict do nothing;
    -- Once: not where the same id came again.
    if not found then
        return;
    end if;
    if stops is not null and asker is not null then
        insert into opt_out_request (tenant_id, request_id, stops, sealed, asked_at) values (tenant, id, stops, asker, at);
    end if;
    if webhook_listens(tenant) then
        perform webhook_tell(array['message.received'], array[tenant], array[id], array[null::smallint], array[null::integer],
            array[at]);
    end if;
end $$;

-- Stores a sealed part of a longer message beside those that came before it; the same part again changes nothing. With the last one
-- the tenant is told. Parts are awaited for an hour after the first. `link` is the check of who wrote to whom under which reference,
-- `seen` that of the part. References come back after a while: a part whose place is taken by another begins a message of its own.
create function inbound_store_part(tenant bigint, id uuid, received_on date, at timestamptz, name text, content bytea, link bigint,
    nth smallint, of_parts smallint, seen integer)
returns void language plpgsql security definer set search_path = budstikke, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
    today constant date := (now() at time zone 'Europe/Copenhagen')::date;
    own constant bigint := current_route();
    begun record;
    first uuid := id;
    first_day date := received_on;
    awaited timestamptz := now() + interval '1 hour';
    there bigint := 0;
begin
    if not serves_inbound(tenant) then
        raise exception 'the tenant has no number on this route' using errcode = 'insufficient_privilege';
    end if;
    -- One part of a message at a time, whichever bind or pod it came by: each sees those before it.
    perform pg_advisory_xact_lock(hashtextextended('budstikke.inbound/' || own || '/' || link, 0));
    if exists (select from inbound i where i.route_id = own and i.thread = link and i.tenant_id = tenant and i.part = nth
               and i.digest = seen and i.open_until > now() and i.day between today - 3 and today + 1) then
        return;
    end if;
    -- The newest that lacks it: of an older one with the same reference the missing part will hardly come any more.
    select i.whole, i.day, i.open_until, count(*) as there into begun from inbound i
    where i.route_id = own and i.thread = link and i.tenant_id = tenant and not i.done and i.open_until > now()
      and i.day between today - 3 and today + 1
    group by i.whole, i.day, i.open_until having bool_and(i.part <> nth) order by i.whole desc limit 1;
    if found then
        first := begun.whole;
        first_day := begun.day;
        awaited := begun.open_until;
        there := begun.there;
    end if;
    insert into inbound (tenant_id, inbound_id, day, route_id, received_at, key_name, sealed, whole, part, parts, thread, digest,
                         open_until, done)
    values (tenant, id, first_day, own, at, name, content, first, nth, of_parts, link, seen, awaited, false)
    on conflict do nothing;
    if not found or there + 1 < of_parts then
        return;
    end if;
    update inbound i set whole = id, done = true where i.tenant_id = tenant and i.whole = first and i.day = first_day;
    if webhook_listens(tenant) then
        perform webhook_tell(array['message.received'], array[tenant], array[id], array[null::smallint], array[null::integer],
            array[at]);
    end if;
end $$;

-- Whose a part is that names no keyword itself: of whose message it is the same part once more, or one that is missing. Null: of
-- nobody's as yet.
create function inbound_part_owner(link bigint, nth smallint, seen integer) returns bigint
language sql stable security definer set search_path = budstikke, pg_temp
begin atomic
    select m.tenant_id
    from (
        select i.tenant_id, i.whole, bool_or(i.part = nth and i.digest = seen) as again,
               bool_and(not i.done and i.part <> nth) as lacks
        from inbound i
        where i.route_id = current_route() and i.thread = link and i.open_until > now()
          and i.day between (now() at time zone 'Europe/Copenhagen')::date - 3 and (now() at time zone 'Europe/Copenhagen')::date + 1
        group by i.tenant_id, i.whole
    ) as m
    where m.again or m.lacks
    order by m.again desc, m.whole desc limit 1;
end;

-- Tells tenants of what there is of at most `most` messages whose missing parts are awaited no longer; how many.
create function inbound_give_up(most integer) returns bigint
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    lapsed record;
    given_up bigint := 0;
begin
    for lapsed in
        select i.tenant_id, i.whole, i.day, i.received_at from inbound i
        where not i.done and i.open_until <= now() and i.inbound_id = i.whole
          and i.day > (now() at time zone 'Europe/Copenhagen')::date - 10
        order by i.open_until limit most for update skip locked
    loop
        update inbound i set done = true
        where i.tenant_id = lapsed.tenant_id and i.whole = lapsed.whole and i.day = lapsed.day;
        if webhook_listens(lapsed.tenant_id) then
            perform webhook_tell(array['message.received'], array[lapsed.tenant_id], array[lapsed.whole], array[null::smallint],
                array[null::integer], array[lapsed.received_at]);
        end if;
        given_up := given_up + 1;
    end loop;
    return given_up;
end $$;

-- How a route's connector pods stand with the upstream, one row a pod: read by the operator, for the route's status. Never
-- a word of the upstream's own.
create table upstream_report (
    route_id    bigint not null references route,
    pod         uuid not null,                           -- drawn by the pod when it starts
    binds       integer not null check (binds >= 0),     -- that stand
    failure     text check (failure in ('connect', 'tls', 'refused', 'lost')),   -- of the last attempt, where some are missing
    status      bigint check (status between 0 and 4294967295),   -- the SMPP status that the upstream refused the bind with
    id_format   text check (id_format in ('same', 'hex_then_decimal', 'decimal_then_hex')),   -- of receipts, as it seems to be
    circuit     text not null check (circuit in ('closed', 'halfOpen', 'open')),   -- whether the route takes messages,
    circuit_since timestamptz not null,                                             -- and since when that is so
    error       text check (error in ('connect', 'tls', 'refused', 'lost', 'throttled', 'fault', 'unanswered')),   -- the last one,
    error_status bigint check (error_status between 0 and 4294967295),              -- the status that it came with,
    error_at    timestamptz,                                                        -- and when
    check ((error is null) = (error_at is null)),
    reported_at timestamptz not null default now(),
    primary key (route_id, pod)
);
-- Removes what pods that died have left.
grant select, delete on upstream_report to budstikke_operator;

create function upstream_tell(pod uuid, binds integer, failure text, status bigint, id_format text, circuit text,
    circuit_since timestamptz, error text, error_status bigint, error_at timestamptz) returns void
language sql security definer set search_path = budstikke, pg_temp
begin atomic
    insert into upstream_report (route_id, pod, binds, failure, status, id_format, circuit, circuit_since, error, error_status,
        error_at)
    values (current_route(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    on conflict (route_id, pod) do update
    set binds = excluded.binds, failure = excluded.failure, status = excluded.status, id_format = excluded.id_format, circuit = excluded.circuit,
        circuit_since = excluded.circuit_since, error = excluded.error, error_status = excluded.error_status,
        error_at = excluded.error_at, reported_at = now();
end;

-- The pod stops, and holds no bind any more.
create function upstream_withdraw(pod uuid) returns void
language sql security definer set search_path = budstikke, pg_temp
begin atomic
    delete from upstream_report r where r.route_id = current_route() and r.pod = $1;
end;

-- The operator's housekeeping --------------------------------------------------------------------------------------

-- Removes what has done its work: answers to repeated calls after the hours of the account's policy, a day without it, what told duplicates after its interval, quotas of days
-- gone by, public keys of days gone by. A bounded number of rows at once; returns how many, so that who asks knows whether to ask again.
create function purge_working(most integer) returns bigint
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    today constant date := (now() at time zone 'Europe/Copenhagen')::date;
    -- What is younger than this is nobody's to remove: it is not read.
    shortest constant integer := (select least(min((spec -> 'working' ->> 'idempotencyHours')::integer), 24) from in_force where kind = 'policy');
    removed bigint;
    gone bigint;
begin
    delete from idempotency where ctid = any (array(
        select i.ctid from idempotency i left join in_force f on f.tenant_id = i.tenant_id and f.kind = 'policy'
        where i.created_at < now() - make_interval(hours => shortest)
          and i.created_at < now() - make_interval(hours => least(coalesce((f.spec -> 'working' ->> 'idempotencyHours')::integer, 24), 72))
        limit most));
    get diagnostics removed = row_count;
    delete from duplicate_guard where ctid = any (array(select ctid from duplicate_guard where until < now() limit most));
    get diagnostics gone = row_count;
    removed := removed + gone;
    delete from quota where ctid = any (array(select ctid from quota where day < today - 1 limit most));
    get diagnostics gone = row_count;
    removed := removed + gone;
    delete from public_key where ctid = any (array(select ctid from public_key where day < today - 1 limit most));
    get diagnostics gone = row_count;
    return removed + gone;
end $$;

-- Every role ----------------------------------------------------------------------------------------------------------

-- The newest migration that ran: a role is ready when it is at least the newest it knows.
create function schema_version() returns bigint
language plpgsql stable security definer set search_path = budstikke, pg_temp as $$
begin
    return (select max(version) from _sqlx_migrations where success);
end $$;

grant execute on function current_tenant() to budstikke_sender, budstikke_operator, budstikke_api;
grant execute on function tenant_login(bigint, text), route_login(bigint, text), evict_sender(bigint),
    ensure_partitions(date, date), purge_working(integer) to budstikke_operator;
grant execute on function sender_begin(boolean, uuid, boolean), sender_alive(bigint, integer), sender_gate(bigint),
    sender_receipts(bigint[], text[], integer[], smallint[], integer[], timestamptz[]) to budstikke_sender;
grant execute on function connector_shares(), connector_numbers(), receipt_owners(text[], integer[]),
    receipts_apply(text[], integer[], smallint[], integer[], timestamptz[]),
    receipts_park(text[], integer[], smallint[], integer[], timestamptz[]), receipts_retry(integer),
    inbound_key(bigint), inbound_store(bigint, uuid, date, timestamptz, text, bytea, boolean, bytea),
    inbound_store_part(bigint, uuid, date, timestamptz, text, bytea, bigint, smallint, smallint, integer),
    inbound_part_owner(bigint, smallint, integer),
    upstream_tell(uuid, integer, text, bigint, text, text, timestamptz, text, bigint, timestamptz),
    upstream_withdraw(uuid) to budstikke_connector;
grant execute on function schema_version() to budstikke_operator, budstikke_api, budstikke_sender, budstikke_connector;

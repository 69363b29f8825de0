-- Who wants nothing more from a tenant. A number is found by a keyed hash and shown from a ciphertext, both under the account's key:
-- the list is the account's, and goes with it.
create table opt_out (
    tenant_id   bigint not null references tenant,
    opt_out_id  uuid not null,                           -- version 7; of one that was asked for by SMS, that SMS's
    number_hash bytea not null,
    sealed      bytea not null,                          -- the number
    source      text not null check (source in ('api', 'keyword')),
    since       timestamptz not null,
    primary key (tenant_id, opt_out_id),
    unique (tenant_id, number_hash)
);

-- What handsets have asked for by SMS, until it is entered: written with the SMS by the connector, which has no key of the list and
-- so can neither look in it nor say whose number it was afterwards.
create table opt_out_request (
    tenant_id   bigint not null references tenant,
    request_id  uuid not null,                           -- the received SMS
    stops       boolean not null,                        -- false: it is to be written to again
    sealed      bytea not null,                          -- who asks, sealed to the key below
    asked_at    timestamptz not null,
    entered_at  timestamptz,                             -- the list has it; what waits for that number is being ended
    primary key (tenant_id, request_id)
);

-- Public keys that such requests are sealed to. As old as the account: unlike what was received, a request does not become unreadable
-- with its day.
create table opt_out_key (
    tenant_id   bigint primary key references tenant,
    key_name    text not null,
    key         bytea not null
);

select isolate('opt_out'), isolate('opt_out_request'), isolate('opt_out_key');
grant select, insert, delete on opt_out to budstikke_api;
grant select, delete, update (entered_at) on opt_out_request to budstikke_api;
grant select, insert, update on opt_out_key to budstikke_operator;

-- Whether a tenant's calls must be held against its list: 0 no, there is none; 1 yes; 2 not before what was asked for by SMS is entered.
-- In plpgsql, as `current_tenant`.
create function opt_out_gate(tenant bigint) returns smallint
language plpgsql stable set search_path = budstikke, pg_temp as $$
begin
    return case
        when exists (select from opt_out_request r where r.tenant_id = tenant and r.entered_at is null) then 2
        when exists (select from opt_out o where o.tenant_id = tenant) then 1
        else 0
    end;
end $$;

-- The same of several. Until the transaction ends nobody is entered in their lists (`opt_out_lock`): what is entered later finds its
-- messages in the queue. The locks are 128, taken in their order: a group of calls takes no more of them, whoever its tenants are.
create function opt_out_gates(tenants bigint[]) returns table (of_tenant bigint, gate smallint)
language plpgsql rows 10 set search_path = budstikke, pg_temp as $$
begin
    perform pg_advisory_xact_lock_shared(hashtext('budstikke.opt_out'), l.place)
    from (select distinct (t.id % 128)::integer as place from unnest(tenants) as t (id) order by place) as l;
    -- A statement of its own, and so with a snapshot of after the locks.
    return query select t.id, opt_out_gate(t.id) from (select distinct u.id from unnest(tenants) as u (id)) as t;
end $$;

-- Before the list of a tenant grows: calls that were held against it as it was have ended, and later ones see it as it will be.
create function opt_out_lock(tenant bigint) returns void
language sql volatile set search_path = budstikke, pg_temp
begin atomic
    select pg_advisory_xact_lock(hashtext('budstikke.opt_out'), (tenant % 128)::integer);
end;

-- The keys that the route's inbound is looked through with, and the words that are looked for.
create function connector_opt_outs() returns table (tenant_id bigint, stop_words text[], start_words text[], key_name text, key bytea)
language sql stable security definer set search_path = budstikke, pg_temp
begin atomic
    select k.tenant_id, e.stop_words, e.start_words, k.key_name, k.key
    from opt_out_key k join enforcement e using (tenant_id)
    where exists (select from inbound_number n where n.route_id = current_route() and n.tenant_id = k.tenant_id);
end;

grant execute on function opt_out_gate(bigint), opt_out_gates(bigint[]), opt_out_lock(bigint) to budstikke_api;
grant execute on function connector_opt_outs() to budstikke_connector;

-- The life of a message. Numbers and texts are ciphertext everywhere (D8); tenant_id leads every key.

-- Accepted and not yet final at submit. One row per message; read in order, deleted by the result.
create table queue (
    tenant_id   bigint not null,
    message_id  uuid not null,                           -- version 7: sorts by time of accept
    batch_id    uuid not null,
    state       smallint not null default 0 check (state in (0, 1)),   -- queued, held
    day         date not null,                           -- of accept, in Copenhagen: the partition it moves to
    not_before  timestamptz,                             -- sendAt
    expires_at  timestamptz not null,
    urgent      boolean not null default false,          -- goes before the tenant's others
    parts       smallint not null,
    amount      bigint not null check (amount >= 0),     -- thousandths of an øre, for one part
    queue_key   text not null,                           -- names of the keys that open body and entry
    log_key     text,
    body        bytea not null,                          -- recipient, sender id, full text
    entry       bytea,                                   -- recipient, sender id, at most 160 characters: moves to the log
    number_hash bytea,                                   --   as it is; with it, the keyed hash of the tenant's own reference,
    reference_hash bytea,                                --   where it gave one. All four are null where nothing is logged (D4)
    primary key (tenant_id, message_id)
) with (fillfactor = 100, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000);

-- Those that overtake the others, and nothing else: short, however long the queue is.
create index queue_urgent on queue (tenant_id, message_id) where urgent and not_before is null;

-- Messages of unknown fate should their sender die now: committed before the batch is submitted.
create table flight (
    tenant_id   bigint not null,
    flight_id   uuid not null,
    epoch       bigint not null,
    route_id    bigint not null,
    message_ids uuid[] not null,
    attempt     smallint not null default 1,             -- how many senders began it: one that keeps crashing them is held
    primary key (tenant_id, flight_id)
);

-- Every message after its submit, for history and delivery reports (D1, D2).
create table message_log (
    tenant_id    bigint not null,
    message_id   uuid not null,
    day          date not null,
    batch_id     uuid not null,
    state        smallint not null,
    error        integer,                                -- the upstream's status or the receipt's error
    parts        smallint not null,
    amount       bigint not null check (amount >= 0),
    route_id     bigint,                                 -- null: never submitted
    upstream_id  text,                                   -- the connector's keyed hash of it; null where there are several parts
    tag          integer,                                -- the connector's keyed check of the destination
    submitted_at timestamptz,
    final_at     timestamptz,
    log_key      text,                                   -- null, as entry and hashes, where nothing is logged (D4)
    entry        bytea,
    number_hash  bytea,
    reference_hash bytea,
    primary key (tenant_id, message_id, day)
) partition by range (day);
create index message_log_receipt on message_log (upstream_id, route_id) where upstream_id is not null;
create index message_log_number on message_log (tenant_id, number_hash) where number_hash is not null;
create index message_log_reference on message_log (tenant_id, reference_hash) where reference_hash is not null;

-- Each part of a message that has several, the first included; a message of one part has none. A part is final by its
-- receipt, the message by the last of them.
create table message_part (
    tenant_id   bigint not null,
    message_id  uuid not null,
    part        smallint not null,                       -- from 1
    day         date not null,
    state       smallint not null,
    error       integer,
    route_id    bigint not null,
    upstream_id text not null,
    tag         integer,
    primary key (tenant_id, message_id, part, day)
) partition by range (day);
create index message_part_receipt on message_part (upstream_id, route_id);

-- What is billed: a moment and an amount, never a number or text (D5). Unique by message and part (B10):
-- `month` follows from the message id, so a message cannot be billed in two partitions.
create table usage (
    tenant_id   bigint not null,
    message_id  uuid not null,
    part        smallint not null,
    month       date not null,
    at          timestamptz not null,
    amount      bigint not null check (amount >= 0),     -- thousandths of an øre
    primary key (tenant_id, message_id, part, month)
) partition by range (month);

-- Answers to repeated calls. Neither column can be read back to a number or text.
create table idempotency (
    tenant_id   bigint not null,
    key_hash    bytea not null,                          -- keyed hash of Idempotency-Key
    body_hash   bytea not null,
    batch_id    uuid not null,
    answer      jsonb not null,                          -- ids, states and refusals by index
    created_at  timestamptz not null default now(),
    primary key (tenant_id, key_hash)
);
create index idempotency_age on idempotency using brin (created_at);

-- What tells duplicates, of tenants with a guard against them: the same text to the same number within an interval.
create table duplicate_guard (
    tenant_id   bigint not null,
    hash        bytea not null,                          -- keyed hash of number and text
    since       timestamptz not null,
    until       timestamptz not null,
    primary key (tenant_id, hash)
);
create index duplicate_guard_age on duplicate_guard using brin (until);

-- Receipts whose message is not known yet: no number, only the connector's check of it.
create table parked_receipt (
    parked_id   bigint generated always as identity primary key,
    route_id    bigint not null,
    upstream_id text not null,
    tag         integer not null,
    state       smallint not null,
    error       integer,
    done_at     timestamptz not null,
    parked_at   timestamptz not null default now(),
    tries       smallint not null default 0,
    retry_at    timestamptz not null
);
create index parked_receipt_due on parked_receipt (route_id, retry_at);

-- SMS received for a tenant, sealed by the connector to the tenant's public key of the day. A longer message has a row for each of
-- its parts, put together by who opens them; which belong together is known here by checks alone. All are of the day of the part that
-- came first, so that they go together.
create table inbound (
    tenant_id   bigint not null,
    inbound_id  uuid not null,
    day         date not null,
    route_id    bigint not null,
    received_at timestamptz not null,
    key_name    text not null,
    sealed      bytea not null,                          -- sender, recipient, text
    whole       uuid,                                    -- the message that it is a part of: the id of the part that came first, and
                                                         --   once all are there of the one that came last; null: it is a whole
    part        smallint,                                -- from 1,
    parts       smallint,                                --   of so many
    thread      bigint,                                  -- the connector's keyed check of who wrote to whom under which reference
    digest      integer,                                 -- and of the part: the same one is taken once
    open_until  timestamptz,                             -- until then parts are awaited
    done        boolean not null default true,           -- all parts are there, or are awaited no longer; its tenant was told
    primary key (tenant_id, inbound_id, day)
) partition by range (day);
create index inbound_whole on inbound (tenant_id, whole) where whole is not null;
create index inbound_thread on inbound (route_id, thread) where thread is not null;
create index inbound_open on inbound (open_until) where not done;

-- Public keys that inbound is sealed to; the private halves are in the keyring.
create table public_key (
    tenant_id   bigint not null references tenant,
    day         date not null,                           -- the first day it is used on
    key_name    text not null,
    key         bytea not null,
    primary key (tenant_id, day)
);

-- Daily and monthly partitions from `first` to `last`, both included; those that exist are left alone. Returns those made.
-- Attached, not created in place: attaching leaves readers and writers of the parent in peace.
create function ensure_partitions(first date, last date) returns setof text
language plpgsql security definer set search_path = budstikke, pg_temp as $$
declare
    part record;
begin
    perform pg_advisory_xact_lock(hashtext('budstikke.ensure_partitions'));
    for part in
        -- Every row of the log is changed once, by its receipt: half a page stays free, so that the new version fits
        -- beside the old one and no index is written again.
        select parent, parent || to_char(day, '_YYYYMMDD') as name, day as low, day + 1 as high,
               case parent when 'inbound' then 100 else 48 end as fillfactor
        from unnest(array['message_log', 'message_part', 'inbound']) as parent,
             (select generate_series(first, last, interval '1 day')::date as day) as days
        union all
        select 'usage', 'usage' || to_char(month, '_YYYYMM'), month, (month + interval '1 month')::date, 100
        from (select generate_series(date_trunc('month', first), last, interval '1 month')::date as month) as months
    loop
        continue when to_regclass(part.name) is not null;
        execute format('create table %I (like %I including defaults including constraints) with (fillfactor = %s)',
            part.name, part.parent, part.fillfactor);
        execute format('alter table %I enable row level security', part.name);
        execute format('alter table %I attach partition %I for values from (%L) to (%L)',
            part.parent, part.name, part.low, part.high);
        return next part.name;
    end loop;
end $$;

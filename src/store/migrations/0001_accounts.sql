-- Accounts, what is enforced on them, and who may log in as whom.
-- Runs as budstikke_owner: owns every object, may create roles, is no superuser.

-- What a tenant is and was. Company data only (A1); no person.
create table tenant (
    tenant_id       bigint generated always as identity primary key,
    namespace       text not null,
    name            text not null,
    registration    text not null,                       -- 'DK12345678' (CVR) or an EU VAT number
    resource_uid    text not null default '',            -- of the resource that stands for it now or stood last,
    resource_since  timestamptz not null default '-infinity',   -- and when that one was made: generations begin anew with it
    created_at      timestamptz not null default now(),
    vanished_at     timestamptz,                         -- the resource is gone: the account-deletion clock (A6)
    erased_at       timestamptz
);
-- One living account per resource name; an erased one keeps its row, so that its name is recognised.
create unique index tenant_living on tenant (namespace, name) where erased_at is null;

-- What holds for a tenant now: read in the transaction that accepts, and by the claim. Only the operator writes it.
create table enforcement (
    tenant_id           bigint primary key references tenant,
    generation          bigint not null,                 -- of the resource that said so; an older one is refused
    may_accept          boolean not null,
    may_send            boolean not null,
    code                text,                            -- why not, as a stable word: 'suspended', 'unverified', …
    reason              text,                            -- why not, in the owner's words
    services            text[] not null default '{}',    -- what it may use, as its spec writes them: those that its brand offers (A9)
    sender_ids          text[] not null default '{}',    -- the first one that fits is the default
    sender_lacks        text[] not null default '{}',    -- of each, the service that it needs and the account lacks; '' is none
    sender_countries    text[] not null default '{}',    -- of each, where it may be used: 'DK,SE'; '' is everywhere
    allowed_prefixes    text[] not null default '{}',    -- that recipients' numbers begin with; none: any
    default_region      text not null default 'DK',      -- ISO 3166-1 alpha-2, for numbers without a country code
    max_parts           smallint not null,
    recipients_per_call integer not null,
    messages_per_hour   integer,                         -- null: no limit
    messages_per_day    integer,
    duplicate_seconds   integer check (duplicate_seconds > 0),   -- within which the same text to the same number is a duplicate; null: never
    log_days            integer not null,                -- D2
    log_characters      smallint not null check (log_characters between 0 and 160),   -- D1
    validity_seconds    integer not null,                -- at most, and by default
    window_days         smallint[] not null default '{}',-- when messages go out, in Copenhagen: ISO days of the week (none: all),
    window_from         smallint,                        -- and minutes of the day; null: always
    window_until        smallint,
    check ((window_from is null) = (window_until is null)),
    stop_words          text[] not null default '{}',    -- that a handset writes to get nothing more, in capitals; none: by no word
    start_words         text[] not null default '{}',    -- and to get something again
    crash_policy        text not null check (crash_policy in ('resend', 'hold'))
);

-- The last valid form of the plan and policy a tenant is under: it stays in force when the resource is deleted or made
-- invalid.
create table in_force (
    tenant_id   bigint not null references tenant,
    kind        text not null check (kind in ('plan', 'policy')),
    name        text not null,
    spec        jsonb not null,
    primary key (tenant_id, kind)
);

-- A tenant's use of the quotas of this hour and of today; a row only where there is a limit.
create table quota (
    tenant_id   bigint not null references tenant,
    day         date not null,
    hour        smallint not null,                       -- of the day, from 0; -1 is all of it
    used        integer not null,
    primary key (tenant_id, day, hour)
);

-- Prices in force, by longest prefix; in thousandths of an øre per part (B1, D5).
create table price (
    tenant_id   bigint not null references tenant,
    prefix      text not null,                           -- '' is the rest of the world
    amount      bigint not null check (amount >= 0),
    primary key (tenant_id, prefix)
);

create table api_key (
    tenant_id   bigint not null references tenant,
    key_id      uuid not null,
    prefix      text not null unique,                    -- the part before the secret: finds the row
    hash        bytea not null,                          -- SHA-256 of the whole key
    scopes      text[] not null,
    source      text not null check (source in ('secret', 'minted', 'tenant')),
    resource_uid text not null default '',               -- of the resource whose first key it is: another one replaces it there
    created_at  timestamptz not null default now(),
    expires_at  timestamptz,
    revoked_at  timestamptz,
    primary key (tenant_id, key_id)
);

create table route (
    route_id    bigint generated always as identity primary key,
    namespace   text not null,
    name        text not null,
    processor   jsonb,                                   -- the company behind it, as its resource names it (D6, D9)
    give_up_hours integer not null default 72,           -- so long after its submit a message without a receipt is given up
    unique (namespace, name)
);

-- Who shares a route, and by what weight.
create table route_share (
    route_id    bigint not null references route,
    tenant_id   bigint not null references tenant,
    weight      integer not null check (weight between 1 and 1000),
    primary key (tenant_id, route_id)
);

-- Numbers and keywords on which a route's inbound belongs to a tenant; '' takes what no keyword takes.
create table inbound_number (
    tenant_id   bigint not null references tenant,
    route_id    bigint not null references route,
    number      text not null,
    keyword     text not null default '',
    primary key (tenant_id, route_id, number, keyword)
);
create unique index inbound_number_owner on inbound_number (route_id, number, keyword);

-- Database logins of senders and connectors: row-level security and the functions decide by them.
create table login (
    role_name   name primary key,
    tenant_id   bigint references tenant,
    route_id    bigint references route,
    check (num_nonnulls(tenant_id, route_id) = 1)
);

-- Each sender that starts takes the next epoch; only the newest may claim. None starts while the newest says that it is
-- alive: where several pods run it does so all the time, alone only while it stops in good order. `pod` runs the newest, until
-- that has left in good order: a successor in the same pod knows that it is dead, one in another pod does not.
create table sender_epoch (
    tenant_id   bigint primary key references tenant,
    epoch       bigint not null default 0,
    alive_until timestamptz not null default '-infinity',
    pod         uuid
);

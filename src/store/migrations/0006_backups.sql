-- What the loop that takes backups says of them, and whether a standby is there. Embedded instances only: of others nothing is known
-- here, and what the owner declares counts.

create table backup_report (
    only_one        boolean primary key default true check (only_one),
    at              timestamptz not null,                -- when the repository was looked at
    oldest          timestamptz,                         -- of the oldest thing in it that holds data; null: nothing does
    newest          timestamptz,                         -- when the newest base backup began; null: there is none
    keep_seconds    bigint not null,                     -- nothing may be older
    every_seconds   bigint not null,                     -- between two base backups
    failure         text not null,                       -- what failed in the newest round; empty: nothing
    failing_since   timestamptz                          -- since when each round has failed; null: the newest has not
);
grant select on backup_report to budstikke_operator;

-- Told by the server's own superuser, on its socket. Where the repository could not be looked through, what was told of it stays.
create function backup_reported(report jsonb) returns void
language sql set search_path = budstikke, pg_temp
begin atomic
    insert into backup_report as told (at, oldest, newest, keep_seconds, every_seconds, failure, failing_since)
    values (now(), to_timestamp((report ->> 'oldest')::double precision), to_timestamp((report ->> 'newest')::double precision),
        (report ->> 'keep')::bigint, (report ->> 'every')::bigint, left(report ->> 'failure', 200),
        case when report ->> 'failure' <> '' then now() end)
    on conflict (only_one) do update set
        at = case when report ? 'backups' then excluded.at else told.at end,
        oldest = case when report ? 'backups' then excluded.oldest else told.oldest end,
        newest = case when report ? 'backups' then excluded.newest else told.newest end,
        keep_seconds = excluded.keep_seconds, every_seconds = excluded.every_seconds, failure = excluded.failure,
        failing_since = case when excluded.failure <> '' then coalesce(told.failing_since, excluded.failing_since) end;
end;

-- Whether commits wait for a standby, whether one streams, and whether it has replayed all up to a position: the present one,
-- which is told, when none is asked for. The owner may see this on embedded instances, where it is in pg_read_all_stats.
create function standby_state(asked text, out configured boolean, out streaming boolean, out replayed boolean, out upto text)
language plpgsql security definer set search_path = budstikke, pg_temp as $$
begin
    upto := coalesce(asked, pg_current_wal_insert_lsn()::text);
    configured := current_setting('synchronous_standby_names') <> '';
    select count(*) > 0, coalesce(bool_or(replay_lsn >= upto::pg_lsn), false) into streaming, replayed
    from pg_stat_replication where application_name = 'budstikke_standby' and state = 'streaming';
end $$;

revoke execute on function backup_reported(jsonb), standby_state(text) from public;
grant execute on function standby_state(text) to budstikke_operator;

-- The worker, which tells tenants' webhooks what happened. It opens the addresses and secrets of webhooks, what is logged and what was
-- received; what waits in a queue, and what recognises repeated calls, it does not even see wrapped.

-- One more key that lives as long as the account: seals what the tenant itself has set, such as addresses and secrets of webhooks.
alter table lasting_key drop constraint lasting_key_class_check;
do $$
declare
    partition regclass;
begin
    -- In a partition that was written anew the condition is its own.
    for partition in select inhrelid::regclass from pg_inherits where inhparent = 'lasting_key'::regclass loop
        execute format('alter table %s drop constraint if exists lasting_key_class_check', partition);
    end loop;
end $$;
alter table lasting_key add constraint lasting_key_class_check check (class in ('repeat', 'account'));

select ensure_role('budstikke_worker');
alter role budstikke_worker set statement_timeout = '15s';
alter role budstikke_worker set idle_in_transaction_session_timeout = '15s';
do $$ begin
    execute format('grant connect on database %I to budstikke_worker', current_database());
end $$;
grant usage on schema keyring to budstikke_worker;
grant select on wrapping_key, lasting_key, key to budstikke_worker;
grant execute on function safe_until() to budstikke_worker;

-- Its functions aside, the owner is not bound by these.
alter table key enable row level security;
create policy whole on key to budstikke_operator, budstikke_api using (true) with check (true);
create policy told on key for select to budstikke_worker using (class in ('log', 'inbound'));
alter table lasting_key enable row level security;
create policy whole on lasting_key to budstikke_operator, budstikke_api using (true) with check (true);
create policy told on lasting_key for select to budstikke_worker using (class = 'account');

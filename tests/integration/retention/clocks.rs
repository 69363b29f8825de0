//! Runs that were missed, that died half-way, and clocks that step; and the months of usage.
use super::*;

#[tokio::test]
async fn a_week_that_was_missed_is_caught_up_and_told() {
    let world = World::new().await;
    for days in 0..7 {
        world.log(world.tenant, DAY.saturating_add(days.days()), 28, 3).await;
    }
    assert_eq!(world.run(DAY.saturating_add(27.days())).await.expect("run").caught_up, 0);
    assert_eq!(store::caught_up(&world.pool).await.expect("asked"), None);
    let back = DAY.saturating_add(34.days());
    let run = world.run(back).await.expect("run");
    assert_eq!((run.caught_up, run.keys, world.logged().await), (7, 3 * 7, 0));
    let told = store::caught_up(&world.pool).await.expect("asked").expect("days were missed");
    assert_eq!((told.days, told.at), (7, noon(back)));
    // Each is in the journal by the day on which it was due.
    let dues = "select count(distinct due) from erasure_journal where what = 'keys' and due < (at + interval '100 years')::date";
    assert_eq!(world.count(dues).await, 7);

    // Runs of the days that follow are on time, also where a day has 23 hours.
    let midnight = budstikke::domain::copenhagen_midnight(back.saturating_add(1.day()));
    assert_eq!(world.run_at(midnight).await.expect("run").caught_up, 0);
    let next = budstikke::domain::copenhagen_midnight(back.saturating_add(2.days()));
    let late = next.saturating_add(SignedDuration::from_mins(61)).expect("near");
    assert_eq!(world.run_at(late).await.expect("run").caught_up, 1, "an hour late is missed");
    assert_eq!(store::caught_up(&world.pool).await.expect("asked").map(|told| told.days), Some(1));
}

#[tokio::test]
async fn a_run_that_died_after_the_keys_is_ended_by_the_next() {
    let world = World::new().await;
    world.log(world.tenant, DAY, 28, 3).await;
    let copied = mail::copy(&world, world.tenant, noon(DAY), 46, b"mail").await;
    let due = DAY.saturating_add(28.days());
    // It died as soon as the keys were gone, and before the journal had it; with one partition taken out and not dropped.
    world.keyring.destroy_hours(noon(due)).await.expect("destroyed");
    world.keyring.destroy(due).await.expect("destroyed");
    let day = format!("message_log_{}", DAY.strftime("%Y%m%d"));
    sqlx::query("select detach_day($1)").bind(&day).execute(&world.pool).await.expect("taken out");
    let there = "select count(*) from pg_class where relnamespace = 'budstikke'::regnamespace and relname in
                 ('message_log_20270110', 'inbound_20270110', 'mail_copy_2027011209')";
    assert_eq!(world.count(there).await, 3);

    let run = world.run(due).await.expect("run");
    assert_eq!(run.keys, 3 + 49, "the journal gets what the one before destroyed");
    assert_eq!(world.count(there).await, 0);
    assert_eq!(mail::read(&world, world.tenant, copied).await, None);
    let keys = "select sum(items)::bigint from erasure_journal where what = 'keys'";
    assert_eq!(world.count(keys).await, 3 + 49);
    world.run(due).await.expect("run");
    assert_eq!(world.count(keys).await, 3 + 49, "once");
}

#[tokio::test]
async fn a_clock_that_steps_back_stops_runs_until_time_has_come_again() {
    let world = World::new().await;
    world.log(world.tenant, DAY, 28, 3).await;
    let due = budstikke::domain::copenhagen_midnight(DAY.saturating_add(28.days()));
    let minutes = |count| due.saturating_add(SignedDuration::from_mins(count)).expect("near");
    // A leader whose clock is ahead hands over to one whose clock is behind: within what clocks may differ.
    world.run_at(minutes(-60)).await.expect("run");
    world.run_at(minutes(-61)).await.expect("run");
    assert!(matches!(world.run_at(minutes(-64)).await, Err(Error::Back)));
    assert_eq!(world.logged().await, 1);
    // Forward again, and a jump that people have seen to by a restart: what is due goes, and that it came late is told.
    let run = world.run_at(minutes(26 * 60)).await.expect("run");
    assert_eq!((run.keys, world.logged().await, run.caught_up), (3, 0, 2));
}

#[tokio::test]
async fn usage_goes_when_no_invoice_needs_it() {
    let world = World::new().await;
    let usage = async |tables: &[&str]| {
        let query = "select count(*) from pg_class where relname = any($1) and relkind = 'r'";
        sqlx::query_scalar::<_, i64>(query).bind(tables).fetch_one(&world.owner).await.expect("counted")
    };
    for month in [date(2026, 6, 1), date(2026, 7, 1), date(2027, 1, 1)] {
        sqlx::query("select ensure_partitions($1, $1)")
            .bind(month.to_sqlx() as SqlDate)
            .execute(&world.owner)
            .await
            .expect("made");
    }
    let last = date(2031, 12, 31);
    world.run(last).await.expect("run");
    assert_eq!(
        usage(&["usage_202606", "usage_202607", "usage_202701"]).await,
        3,
        "five years after the year has ended"
    );
    world.run(last.saturating_add(1.day())).await.expect("run");
    assert_eq!(usage(&["usage_202606", "usage_202607"]).await, 0);
    assert_eq!(usage(&["usage_202701"]).await, 1);
    let due =
        "select count(*) from erasure_journal where what = 'partition' and class = 'usage' and due = '2032-01-01'";
    assert!(world.count(due).await >= 2);

    // A financial year that ends in June, and another policy that keeps invoices for longer.
    let policy = async |tenant: TenantId, years: i32| {
        sqlx::query(
            "insert into in_force (tenant_id, kind, name, spec) values ($1, 'policy', 'policy',
             jsonb_build_object('invoices', jsonb_build_object('keepYears', $2::integer, 'financialYearEndsMonth', 6)))",
        )
        .bind(tenant.0)
        .bind(years)
        .execute(&world.owner)
        .await
        .expect("in force");
    };
    policy(world.tenant, 5).await;
    policy(world.databases.tenant("longer").await, 6).await;
    world.run(date(2033, 6, 30)).await.expect("run");
    assert_eq!(usage(&["usage_202701"]).await, 1, "one of them needs it");
    world.run(date(2033, 7, 1)).await.expect("run");
    assert_eq!(usage(&["usage_202701"]).await, 0);
}

//! The scripts that the chart ships, run as processes: backups are taken, go in time whatever fails, and bring an instance back
//! (D2, D8).
mod bucket;
mod image;
mod scene;

use std::time::Duration;

use self::scene::Scene;

/// Longer than anything here takes.
const LONG: &str = "86400";

#[test]
fn an_instance_whose_volume_is_lost_comes_back_from_its_backups_and_no_reader_without_the_passphrase_reads_them() {
    let scene = Scene::set();
    let (server, backups) = (scene.primary(&[]), scene.backups(LONG, LONG));
    scene.until_ready();
    scene.migrate();
    scene.until(
        "it is reported",
        "select count(*) from keyring.backup_report where newest is not null and failure = ''",
        "1",
    );
    scene.sql("create table told (what text); insert into told values ('In-plain-sight-1'), ('In-plain-sight-2')");
    scene.sql("checkpoint");
    assert!(scene.volume_holds("In-plain-sight-1"), "the search finds what is there");
    scene.sql("select pg_switch_wal()");
    scene.until(
        "its log is archived",
        "select count(*) from pg_stat_archiver where last_archived_time > now() - interval '5s'",
        "1",
    );
    assert!(!scene.repository_holds("In-plain-sight-1"), "what is in the repository is sealed");
    drop((server, backups));
    scene.lose_the_volume();

    let said = scene.refused(&[]);
    assert!(said.contains("the volume is empty, but the repository has 1 backups of it"), "{said}");

    let _server = scene.primary(&["RESTORE_ID=lost"]);
    scene.until_ready();
    assert_eq!(scene.sql("select count(*) from told"), "2");
    assert_eq!(scene.sql("select count(*) from keyring.backup_report"), "1");
}

#[test]
fn an_instance_is_restored_to_a_time_once_for_each_id_and_follows_its_newest_timeline() {
    let scene = Scene::set();
    let (server, backups) = (scene.primary(&[]), scene.backups(LONG, LONG));
    scene.until_ready();
    scene.migrate();
    scene.until("it is reported", "select count(*) from keyring.backup_report where newest is not null", "1");
    scene.sql("create table told (what text); insert into told values ('before')");
    let target = scene.sql("select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
    scene.sql("insert into told values ('after')");
    drop((server, backups));

    let said = scene.refused(&["RESTORE_ID=wrong", "RESTORE_TARGET=2001-01-01T00:00:00Z"]);
    assert!(said.contains("the restore failed: the old cluster is as it was"), "{said}");
    let server = scene.primary(&[]);
    scene.until_ready();
    assert_eq!(scene.told(), "before,after", "a restore that failed changed nothing");
    drop(server);

    let to_a_time = ["RESTORE_ID=time", &format!("RESTORE_TARGET={target}")];
    let server = scene.primary(&to_a_time);
    scene.until_ready();
    assert_eq!(scene.told(), "before");
    scene.sql("insert into told values ('since')");
    drop(server);
    let server = scene.primary(&to_a_time);
    scene.until_ready();
    assert_eq!(scene.told(), "before,since", "it is not restored again");
    drop(server);

    let _server = scene.primary(&["RESTORE_ID=newest"]);
    scene.until_ready();
    assert_eq!(scene.told(), "before,since", "the log is whole across the restore before");
}

#[test]
fn nothing_in_the_repository_is_older_than_it_may_be_also_when_backups_fail() {
    let scene = Scene::set();
    let server = scene.primary(&[]);
    let backups = scene.backups("4", "12");
    scene.until_ready();
    scene.migrate();
    // More base backups are taken than may be kept, and the oldest go.
    scene.wait_until("an old one has gone", Duration::from_secs(60), || scene.oldest_is_not_the_first());
    assert!(scene.oldest() <= Duration::from_secs(12), "{:?}", scene.oldest());
    // Without its server no backup can be taken: in the end there is none.
    drop(server);
    scene.wait_until("nothing is left", Duration::from_secs(60), || scene.data_files().is_empty());
    drop(backups);
}

#[test]
fn commits_wait_for_the_standby_which_takes_the_primarys_place_and_whose_place_cannot_be_taken_back_unseen() {
    let scene = Scene::set();
    let (server, backups) = (scene.primary(&["STANDBY=true"]), scene.backups(LONG, LONG));
    let standby = scene.standby(&[]);
    scene.until_ready();
    scene.migrate();
    scene.until("it streams", "select streaming and replayed from keyring.standby_state(null)", "t");
    scene.sql("create table told (what text); insert into told values ('on both')");
    scene.until("it is reported", "select count(*) from keyring.backup_report where newest is not null", "1");
    drop(standby);
    scene.until("it is seen", "select configured and not streaming from keyring.standby_state(null)", "t");
    assert!(scene.blocks("insert into told values ('not answered')"), "a commit waits for the standby");
    drop((server, backups));

    let promoted = scene.standby(&["PROMOTED=true"]);
    scene.until_promoted();
    let since = "current_setting('budstikke.following_since')::timestamptz < pg_postmaster_start_time()";
    assert_eq!(scene.sql_of_standby(&format!("select {since}")), "t", "it tells that it is no restored copy");
    scene.sql_of_standby("insert into told values ('by the standby')");
    drop(promoted);
    let said = scene.refused(&[]);
    assert!(said.contains("another server was the primary since. Set restore.id"), "{said}");
    let _server = scene.primary(&["RESTORE_ID=back"]);
    scene.until_ready();
    assert!(scene.told().starts_with("on both,") && scene.told().ends_with("by the standby"), "{}", scene.told());
}

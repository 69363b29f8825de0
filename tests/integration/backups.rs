//! The scripts that the chart ships, run as processes: backups are taken, go in time whatever fails, and bring an instance back
//! (D2, D8).
mod bucket;
mod image;
mod repository;
mod scene;

use std::time::Duration;

use self::scene::Scene;
use crate::support::faketime::Faketime;

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
    assert_eq!(scene.open_to_others("primary/run/pgbackrest"), Vec::<String>::new(), "it holds the passphrase");
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
    for plain in ["base", "pg_wal"] {
        assert!(!scene.in_plain(&format!("primary/pgdata/{plain}")).is_empty(), "what is plain is seen in {plain}");
    }
    assert!(scene.newest_segment().ends_with(".zst"), "it is compressed before it is encrypted");
    assert_eq!((scene.in_plain("repository"), scene.not_encrypted()), (Vec::new(), Vec::new()));
    drop((server, backups));
    scene.lose_the_volume();

    scene.set_readable(false);
    let said = scene.refused(&[]);
    assert!(said.contains("the repository cannot be read"), "it is not taken to be empty: {said}");
    scene.set_readable(true);

    let said = scene.refused(&[]);
    assert!(said.contains("the volume is empty, but the repository has 1 backups of it"), "{said}");

    let newest = scene.newest_segment();
    scene.set_mode(&newest, "a-r");
    let said = scene.refused(&["RESTORE_ID=lost"]);
    assert!(
        said.contains("the restored cluster did not reach latest"),
        "what cannot be read is no end of the log: {said}"
    );
    scene.set_mode(&newest, "u+r");

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
    // pgBackRest counts in whole seconds: a backup that ended within the target's second is not before it.
    let next_second = scene.sql("select date_trunc('second', clock_timestamp()) + interval '1 s'");
    scene.until("the backup's second is over", &format!("select clock_timestamp() >= '{next_second}'"), "t");
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
fn what_fails_is_told_and_what_was_known_of_the_repository_stays_so() {
    let scene = Scene::set();
    let (_server, _backups) = (scene.primary(&[]), scene.backups(LONG, LONG));
    scene.until_ready();
    scene.migrate();
    assert_eq!(scene.sql("show wal_segment_size"), "1MB");
    let told = |what: &str| format!("select count(*) from keyring.backup_report where {what}");
    let good = told("newest is not null and oldest is not null and failure = '' and failing_since is null");
    scene.until("it is reported", &good, "1");

    scene.set_mode("repository/archive", "a-w");
    scene.write();
    let failing = told("failure like 'its log is not archived since 2%' and failing_since is not null");
    scene.until("a log that is not archived is told", &failing, "1");
    scene.set_mode("repository/archive", "u+w");
    scene.write();
    scene.until("it is archived again", &good, "1");

    let known = "select newest, oldest from keyring.backup_report";
    let before = scene.sql(known);
    scene.set_readable(false);
    scene.until("a repository that cannot be read is told", &told("failure <> '' and failing_since < now()"), "1");
    assert_eq!(scene.sql(known), before);
    scene.set_readable(true);
    scene.until("it can be read again", &good, "1");
    assert_eq!(scene.base_backups().len(), 1, "and nothing of it went");
}

#[test]
fn a_base_backup_that_takes_too_long_is_ended_and_told() {
    let scene = Scene::set();
    let hangs = r#"case " $* " in *" backup "*) exec sleep 1000 ;; esac; exec /usr/bin/pgbackrest "$@""#;
    let programs = std::env::var("PATH").expect("programs");
    let path = format!("PATH={}:{programs}", scene.stand_in("pgbackrest", hangs));
    let (_server, _backups) = (scene.primary(&[]), scene.backups_told(LONG, LONG, &["MOST=2", &path]));
    scene.until_ready();
    scene.migrate();
    let told = "select failure from keyring.backup_report";
    scene.until("it is told", told, "no base backup could be taken within 2 s");
}

#[test]
fn after_days_without_anything_the_old_backups_go_when_there_is_a_new_one() {
    let scene = Scene::set();
    // Ten days ago, for what the scripts start too.
    scene.put("ago", Some("-10d\n"));
    let faketime = Faketime::of(&scene.path("ago"));
    let ago: Vec<_> = faketime.variables().iter().map(String::as_str).collect();
    let (server, backups) = (scene.primary(&ago), scene.backups_told(LONG, LONG, &ago));
    scene.until_ready();
    scene.migrate();
    scene.until("it is reported", "select count(*) from keyring.backup_report where newest < now()", "1");
    drop((server, backups));
    scene.age_the_repository(Duration::from_secs(864_000));
    assert!(!scene.oldest_is_not_the_first(), "it is noted");

    let (_server, _backups) = (scene.primary(&[]), scene.backups("3600", LONG));
    scene.wait_until("the old one has gone", Duration::from_secs(60), || scene.oldest_is_not_the_first());
    let fresh = "select count(*) from keyring.backup_report where oldest > now() - interval '1 day' and failure = ''";
    scene.until("nothing that is left is old", fresh, "1");
    assert!(!scene.log_of_backups().contains("NO BACKUP IS LEFT"), "{}", scene.log_of_backups());
}

#[test]
fn a_server_whose_passwords_cannot_be_set_does_not_start() {
    let scene = Scene::set();
    scene.set_secret("owner-password", "no'password");
    let said = scene.refused(&[]);
    assert!(said.contains("FATAL:"), "{said}");
}

#[test]
fn commits_wait_for_the_standby_which_takes_the_primarys_place_and_whose_place_cannot_be_taken_back_unseen() {
    let scene = Scene::set();
    let standby = scene.standby(&[]);
    scene.wait_until("it tries again, later", Duration::from_secs(60), || {
        scene.log_of_standby().contains("the next try is in 10 s")
    });
    let (server, backups) = (scene.primary(&["STANDBY=true"]), scene.backups(LONG, LONG));
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

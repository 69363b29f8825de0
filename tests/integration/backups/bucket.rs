//! The repository in a bucket of an S3 server that others wrote: over TLS by an authority of one's own, addressed by path. The
//! server keeps objects as files, so what is in the bucket is seen from behind as well.
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use super::LONG;
use super::scene::{Process, Scene, free_port, unprivileged};

const BUCKET: &str = "sms";
const SECRET_KEY: &str = "the-key-of-this-bucket";
const PATIENCE: Duration = Duration::from_secs(120);

impl Scene {
    /// With such a server, which ends with the second value.
    fn with_bucket() -> (Self, Process) {
        let (mut scene, port) = (Self::set(), free_port());
        for folder in ["s3", "beside", &format!("repository/{BUCKET}")] {
            scene.put(folder, None);
        }
        let ca = fs::read_to_string(scene.path("tls/ca.crt")).expect("the authority");
        for (name, content) in [("access-key", "a-user"), ("secret-key", SECRET_KEY), ("ca.crt", &ca)] {
            scene.put(&format!("s3/{name}"), Some(content));
        }
        scene.told = vec![
            ("REPOSITORY", "s3".to_owned()),
            ("REPOSITORY_PATH", "/budstikke/keyring".to_owned()),
            ("S3_ENDPOINT", format!("localhost:{port}")),
            ("S3_BUCKET", BUCKET.to_owned()),
            ("S3_REGION", "eu-north-1".to_owned()),
            ("S3_URI_STYLE", "path".to_owned()),
            ("S3_SECRETS", scene.path("s3").to_string_lossy().into_owned()),
        ];
        let program = std::env::var_os("BUDSTIKKE_S3").expect("an S3 server: source dev/test-env");
        let mut server = unprivileged(program);
        server.env("ROOT_ACCESS_KEY", "a-user").env("ROOT_SECRET_KEY", SECRET_KEY);
        server.args(["--port", &format!("localhost:{port}"), "--region", "eu-north-1", "--quiet"]);
        server.arg("--cert").arg(scene.path("tls/tls.crt")).arg("--key").arg(scene.path("tls/tls.key"));
        server.arg("posix").arg("--sidecar").arg(scene.path("beside")).arg(scene.path("repository"));
        let server = scene.start(server, "s3-log");
        scene.wait_until("the store listens", PATIENCE, || TcpStream::connect(("localhost", port)).is_ok());
        (scene, server)
    }

    /// Every object, as the store has it on its disk.
    fn objects(&self) -> Vec<PathBuf> {
        let mut objects = super::repository::files(&self.path(&format!("repository/{BUCKET}/budstikke/keyring")));
        objects.sort();
        objects
    }

    fn until_reported(&self, what: &str, holds: &str) {
        self.until(what, &format!("select count(*) from keyring.backup_report where {holds}"), "1");
    }
}

#[test]
fn an_instance_comes_back_from_a_bucket_in_which_everything_is_sealed() {
    let (scene, _store) = Scene::with_bucket();
    let (server, backups) = (scene.primary(&[]), scene.backups(LONG, LONG));
    scene.until_ready();
    scene.migrate();
    scene.until_reported("a base backup is reported", "newest is not null and failure = ''");
    scene.sql("create table told (what text); insert into told values ('In-plain-sight-1'), ('In-plain-sight-2')");
    scene.sql("checkpoint");
    assert!(scene.volume_holds("In-plain-sight-1"), "the search finds what is there");
    let segment = scene.sql("select pg_walfile_name(pg_switch_wal())");
    scene.until("its log is archived", &format!("select last_archived_wal >= '{segment}' from pg_stat_archiver"), "t");

    let objects = scene.objects();
    let names: Vec<_> = objects.iter().map(|object| object.to_string_lossy()).collect();
    assert!(names.iter().any(|name| name.contains(&format!("/{segment}-"))), "the segment is in the bucket: {names:?}");
    for object in &objects {
        // As OpenSSL begins what is encrypted under a passphrase: nothing of it is compressed alone.
        let content = fs::read(object).expect("an object");
        assert!(content.starts_with(b"Salted__"), "{} is not sealed", object.display());
    }
    assert!(!scene.repository_holds("In-plain-sight-1"), "what is in the bucket is sealed");
    drop((server, backups));
    scene.lose_the_volume();

    let said = scene.refused(&[]);
    assert!(said.contains("the volume is empty, but the repository has 1 backups of it"), "{said}");
    let _server = scene.primary(&["RESTORE_ID=lost"]);
    scene.until_ready();
    assert_eq!(scene.told(), "In-plain-sight-1,In-plain-sight-2");
}

#[test]
fn a_store_that_refuses_is_reported_until_it_is_put_right() {
    let (scene, _store) = Scene::with_bucket();
    let (_server, _backups) = (scene.primary(&[]), scene.backups(LONG, LONG));
    scene.until_ready();
    scene.migrate();
    let good = "newest is not null and failure = ''";
    let refused = "failure = 'the repository does not answer, or is of another cluster'";
    scene.until_reported("a base backup is reported", good);

    // Without a new start of either: the loop reads the keys anew.
    scene.put("s3/secret-key", Some("another-key"));
    scene.until_reported("the store refuses", refused);
    scene.put("s3/secret-key", Some(SECRET_KEY));
    scene.until_reported("the store takes it again", good);
}

#[test]
fn nothing_in_a_bucket_is_older_than_it_may_be_also_when_backups_fail() {
    let (scene, _store) = Scene::with_bucket();
    let server = scene.primary(&[]);
    let backups = scene.backups("6", "25");
    scene.until_ready();
    scene.migrate();
    scene.wait_until("an old one has gone", PATIENCE, || scene.oldest_is_not_the_first());
    assert!(scene.oldest() <= Duration::from_secs(25), "{:?}", scene.oldest());
    // Without its server no backup can be taken: in the end there is none.
    drop(server);
    scene.wait_until("nothing is left", PATIENCE, || scene.data_files().is_empty());
    drop(backups);
}

//! Where the parts of an installation are: their folders, their certificates, and both PostgreSQL instances over TLS.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use budstikke::config::names;
use budstikke::domain::{Clock as _, SystemClock};
use budstikke::pki::{Authority, Leaf};

use super::postgres::{Database, Databases, NOBODY, PASSWORD, directory, is_root};
use super::process::Process;

/// What the parts have in common. Its folder goes with it.
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    pub(crate) authority: Authority,
}

impl Drop for Place {
    fn drop(&mut self) {
        // To be read when something has gone wrong.
        if std::env::var_os("BUDSTIKKE_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }
}

impl Place {
    /// A folder, and an authority of its own.
    pub(crate) fn new(name: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let made = Authority::generate(SystemClock.now()).expect("an authority");
        let authority = Authority::load(&made.certificate, &made.key).expect("the authority");
        Self { root: directory(name), authority }
    }

    /// Writes files into a folder of this name.
    pub(crate) fn folder(&self, name: &str, files: &[(&str, String)]) -> PathBuf {
        let folder = self.root.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (name, content) in files {
            std::fs::write(folder.join(name), content).expect("a file");
        }
        folder
    }

    /// The files of a certificate.
    pub(crate) fn identity(&self, leaf: &Leaf) -> Vec<(&'static str, String)> {
        let issued = self.authority.issue(leaf, SystemClock.now(), 1).expect("a certificate");
        vec![
            (names::CERTIFICATE, issued.certificate),
            (names::KEY, issued.key.expose().to_owned()),
            (names::AUTHORITY, self.authority.certificate().to_owned()),
        ]
    }

    /// Has both instances serve over TLS, as the chart has them: each at an address of this process' own, so that several of
    /// these run beside each other.
    pub(crate) async fn serve(&self, databases: &mut Databases, settings: &[&str]) -> [SocketAddr; 2] {
        let [data, keyring] = [2, 3].map(|network| own(network, 5432));
        self.serve_one(&mut databases.data, data, settings).await;
        self.serve_one(&mut databases.keyring, keyring, settings).await;
        [data, keyring]
    }

    async fn serve_one(&self, instance: &mut Database, at: SocketAddr, settings: &[&str]) {
        let address = at.ip().to_string();
        let files = self.identity(&Leaf::Server(vec![address.clone()]));
        let folder = self.folder(&address, &files);
        for (name, _) in files {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(folder.join(name), mode).expect("close it");
            if is_root() {
                std::os::unix::fs::chown(folder.join(name), Some(NOBODY), Some(NOBODY)).expect("give it away");
            }
        }
        let file = |name: &str| folder.join(name).display().to_string();
        let tls = [
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file(names::CERTIFICATE)),
            format!("ssl_key_file={}", file(names::KEY)),
            format!("listen_addresses={address}"),
            format!("port={}", at.port()),
        ];
        let settings: Vec<&str> = settings.iter().copied().chain(tls.iter().map(String::as_str)).collect();
        instance.restart(&settings).await;
    }

    /// Starts a role; its log is beside the folders.
    pub(crate) fn start(&self, role: &'static str, at: SocketAddr, arguments: &[(&str, String)]) -> Process {
        let mut command = if role == "sender" {
            Command::new(env!("CARGO_BIN_EXE_budstikke-sender"))
        } else {
            let mut command = Command::new(env!("CARGO_BIN_EXE_budstikke"));
            command.arg(role);
            command
        };
        command.env("RUST_LOG", "warn");
        command.args(arguments.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]));
        Process::start(role, at, command, &self.log(role))
    }

    /// Where a role's log is.
    pub(crate) fn log(&self, role: &str) -> PathBuf {
        self.root.join(format!("{role}.log"))
    }
}

/// The URL of a login at an instance.
pub(crate) fn url(login: &str, at: SocketAddr) -> String {
    format!("postgres://{login}:{PASSWORD}@{at}/budstikke")
}

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// At an address of this machine that is this process' own.
pub(crate) fn own(network: u8, port: u16) -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, network, high, low], port))
}

pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

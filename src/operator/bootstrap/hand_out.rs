//! The files that the pod's other containers read: `ca/`, `kek/`, `database/` and `keyring/`, named after the Secrets'
//! keys.
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use k8s_openapi::ByteString;

use super::contents::{CA, CA_KEY, KEK, URLS};
use super::{Data, Error, Secrets};

pub(super) fn write(out: &Path, secrets: &Secrets) -> Result<(), Error> {
    pick(out, "ca", &secrets.authority, &[CA, CA_KEY])?;
    let keks: Vec<&str> = secrets.kek.keys().map(String::as_str).filter(|name| name.starts_with(KEK)).collect();
    pick(out, "kek", &secrets.kek, &keks)?;
    pick(out, "database", &secrets.database, URLS)?;
    file(&out.join("database").join(CA), &secrets.database_ca)?;
    pick(out, "keyring", &secrets.keyring, URLS)?;
    file(&out.join("keyring").join(CA), &secrets.keyring_ca)
}

fn pick(out: &Path, folder: &str, data: &Data, keys: &[&str]) -> Result<(), Error> {
    let folder = out.join(folder);
    fs::create_dir_all(&folder).map_err(|source| Error::Write { path: folder.clone(), source })?;
    keys.iter()
        .filter_map(|key| Some((key, data.get(*key)?)))
        .try_for_each(|(key, bytes)| file(&folder.join(key), bytes))
}

/// Readable by the pod's user alone.
fn file(path: &Path, ByteString(bytes): &ByteString) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
    };
    write().map_err(|source| Error::Write { path: path.to_owned(), source })
}

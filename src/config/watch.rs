//! Follows a pod's directory. The kubelet replaces a mounted Secret's files by swapping one symbolic link, which change
//! notification reports in ways that differ by version; reading a few kilobytes each second does not.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::{Receiver, channel};

use super::Error;

/// How often the directory is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a pod's directory holds.
pub trait Load: PartialEq + Send + Sync + Sized + 'static {
    /// Reads the directory.
    ///
    /// # Errors
    /// When a file is missing or does not hold what it should.
    fn load(dir: &Path) -> Result<Self, Error>;
}

/// Reads the directory now, and again each second until every receiver is dropped; a changed content is sent on. A
/// content that cannot be read later is logged once and the one before stays.
///
/// # Errors
/// When the first read fails.
pub fn watch<T: Load>(dir: PathBuf) -> Result<Receiver<Arc<T>>, Error> {
    let (sender, receiver) = channel(Arc::new(T::load(&dir)?));
    tokio::spawn(async move {
        let mut failing = false;
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            match T::load(&dir) {
                Ok(new) => {
                    failing = false;
                    sender.send_if_modified(|current| {
                        let changed = **current != new;
                        if changed {
                            *current = Arc::new(new);
                        }
                        changed
                    });
                }
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "the pod's files cannot be read; going on with those before");
                }
                Err(_) => {}
            }
        }
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Word(String);

    impl Load for Word {
        fn load(dir: &Path) -> Result<Self, Error> {
            let word = super::super::files::text(dir, "word")?;
            if word.is_empty() {
                return Err(Error::Parse { name: "word", line: 1, column: 1 });
            }
            Ok(Self(word))
        }
    }

    #[tokio::test]
    async fn a_new_content_arrives_and_a_broken_one_does_not() {
        let dir = std::env::temp_dir().join(format!("budstikke-watch-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let write = |text: &str| std::fs::write(dir.join("word"), text).expect("a file");
        assert!(watch::<Word>(dir.join("absent")).is_err());
        write("one");
        let mut words = watch::<Word>(dir.clone()).expect("a first content");
        assert_eq!(words.borrow_and_update().0, "one");
        write("");
        let looks = tokio::time::timeout(INTERVAL * 2, words.changed()).await;
        assert!(looks.is_err(), "a content that cannot be read was sent on");
        write("two");
        words.changed().await.expect("alive");
        assert_eq!(words.borrow_and_update().0, "two");
        std::fs::remove_dir_all(dir).expect("gone");
    }
}

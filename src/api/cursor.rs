//! Places between two pages: the last id of the page before, which is time and identity in one. Opaque to callers.
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::problem::Problem;

/// The place after an id.
#[must_use]
pub fn write(last: Uuid) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(last.as_bytes())
}

/// The id before a place.
///
/// # Errors
/// When it is none that we gave.
pub fn read(cursor: &str) -> Result<Uuid, Problem> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes.and_then(|bytes| Uuid::from_slice(&bytes).ok()).ok_or_else(|| Problem::Invalid {
        path: "cursor",
        code: "cursor_unknown",
        detail: "not a cursor; take it as it was given in `next`".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_and_others_do_not() {
        let id = Uuid::now_v7();
        assert_eq!(read(&write(id)).expect("ours"), id);
        for wrong in ["", "x", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAA=", "🦉"] {
            assert!(matches!(read(wrong), Err(Problem::Invalid { path: "cursor", .. })), "{wrong}");
        }
    }
}

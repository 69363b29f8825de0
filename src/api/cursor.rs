//! Pages: how many entries, and the place between two of them. A place is the last id of the page before, which is time and identity
//! in one; opaque to callers. Every list of the API goes by this, newest first.
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::problem::Problem;

/// The most entries on a page, and how many without a word.
const MOST: u16 = 200;
const USUAL: u16 = 50;

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Entries on a page, 50 without it.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl PageQuery {
    /// Where the page begins.
    ///
    /// # Errors
    /// As [`place`].
    pub fn place(&self) -> Result<Place, Problem> {
        place(self.limit, self.cursor.as_deref())
    }
}

/// Where a page begins, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Entries on the page.
    pub limit: usize,
    /// It begins below this id; without one, with the newest.
    pub below: Option<Uuid>,
}

impl Place {
    /// How many to ask for: one more than asked for tells whether there is a next page.
    #[must_use]
    pub fn rows(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1)
    }
}

/// The place that these parameters say.
///
/// # Errors
/// When the size is none of a page, or the cursor none that we gave.
pub fn place(limit: Option<u16>, cursor: Option<&str>) -> Result<Place, Problem> {
    let limit = match limit.unwrap_or(USUAL) {
        limit @ 1..=MOST => usize::from(limit),
        _ => {
            return Err(Problem::Invalid { path: "limit", code: "limit_out_of_range", detail: format!("1 to {MOST}") });
        }
    };
    Ok(Place { limit, below: cursor.map(read).transpose()? })
}

/// Cuts what was found for a place to the page, and says where the next one begins, if there is one.
#[must_use]
pub fn page<T>(mut found: Vec<T>, place: Place, id: impl Fn(&T) -> Uuid) -> (Vec<T>, Option<String>) {
    let more = found.len() > place.limit;
    found.truncate(place.limit);
    let next = found.last().filter(|_| more).map(|last| write(id(last)));
    (found, next)
}

/// The place after an id.
#[must_use]
pub fn write(last: Uuid) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(last.as_bytes())
}

/// The id before a place.
fn read(cursor: &str) -> Result<Uuid, Problem> {
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
        assert_eq!(place(Some(7), Some(&write(id))).expect("ours"), Place { limit: 7, below: Some(id) });
        assert_eq!(place(None, None).expect("the first"), Place { limit: 50, below: None });
        for wrong in ["", "x", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAA=", "🦉"] {
            assert!(matches!(place(None, Some(wrong)), Err(Problem::Invalid { path: "cursor", .. })), "{wrong}");
        }
        for wrong in [0, 201] {
            assert!(matches!(place(Some(wrong), None), Err(Problem::Invalid { path: "limit", .. })), "{wrong}");
        }
    }

    #[test]
    fn there_is_a_next_page_where_one_more_was_found() {
        let ids = || (1..=3).map(Uuid::from_u128).collect::<Vec<_>>();
        let cut = |limit| page(ids(), Place { limit, below: None }, |id| *id);
        assert_eq!(cut(2), (ids()[..2].to_vec(), Some(write(ids()[1]))));
        assert_eq!(cut(3), (ids(), None));
    }
}

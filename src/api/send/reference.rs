//! What a tenant calls a message, for finding it again. It may name a person, so it is kept as the number and the text are.
use crate::api::problem::Problem;
use crate::domain::Personal;

/// The most characters.
const LONGEST: usize = 64;

/// Whether it may be one: 1 to 64 characters, none of them a control character.
///
/// # Errors
/// When it is none.
pub fn check(path: &'static str, reference: &Personal<String>) -> Result<(), Problem> {
    refusal(reference).map_or(Ok(()), |(code, detail)| Err(Problem::Invalid { path, code, detail }))
}

pub(super) fn refusal(reference: &Personal<String>) -> Option<(&'static str, String)> {
    let text = reference.reveal();
    let fits = !text.is_empty() && text.chars().count() <= LONGEST && !text.chars().any(char::is_control);
    let detail = || format!("a reference has 1 to {LONGEST} characters, none of them a control character");
    (!fits).then(|| ("reference_malformed", detail()))
}

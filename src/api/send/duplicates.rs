//! The guard against duplicates, for tenants that have one: what a message is known again by, and the refusal of those that came
//! before. Which did is decided in the transaction that accepts (`store::accept`).
use jiff::{Timestamp, ToSpan as _};

use super::RefusedRecipient;
use super::plan::Plan;
use crate::api::Shared;
use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::seal;
use crate::domain::Body;
use crate::keyring::seal::RepeatKey;
use crate::store::accept::Guard;
use crate::store::credentials::Account;

/// What tells the duplicates of a call that is accepted at `now`; `None` where the account has no guard.
///
/// # Errors
/// When the keyring is away.
pub(super) async fn guard(
    shared: &Shared,
    caller: &Caller,
    account: &Account,
    plan: &Plan,
    now: Timestamp,
) -> Result<Option<Guard>, Problem> {
    let Some(seconds) = account.duplicate_seconds else { return Ok(None) };
    let key = shared.keyring.repeat_key(caller.tenant()).await.map_err(seal::away)?;
    let hashes = plan.accepted.iter().map(|recipient| known_by(&key, &recipient.body)).collect();
    let until = now.saturating_add(seconds.seconds()).unwrap_or(now);
    Ok(Some(Guard { hashes, at: now, until }))
}

/// A keyed hash of number and text: nothing can be read back from it. A number has no control character.
fn known_by(key: &RepeatKey, body: &Body) -> [u8; 32] {
    let mut content = zeroize::Zeroizing::new(body.to.digits().reveal().as_bytes().to_vec());
    content.push(0);
    content.extend_from_slice(body.text.reveal().as_bytes());
    key.digest("duplicate", &content)
}

impl Plan {
    /// Refuses these of the recipients that are sent to, by their place among them, in order.
    ///
    /// # Errors
    /// When none is left.
    pub(super) fn refuse_duplicates(&mut self, duplicates: &[usize]) -> Result<(), Problem> {
        let (mut nth, refused) = (0, &mut self.refused);
        self.accepted.retain(|recipient| {
            let duplicate = duplicates.binary_search(&nth).is_ok();
            nth += 1;
            if duplicate {
                refused.push(RefusedRecipient {
                    index: recipient.index,
                    code: "duplicate".to_owned(),
                    detail: "this number was sent the same text a moment ago; the account refuses that for a while"
                        .to_owned(),
                });
            }
            !duplicate
        });
        refused.sort_unstable_by_key(|refused| refused.index);
        if self.accepted.is_empty() {
            return Err(Problem::AllRefused(std::mem::take(&mut self.refused)));
        }
        Ok(())
    }
}

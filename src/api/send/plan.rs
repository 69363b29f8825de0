//! What a call comes to: who is sent to, in how many parts, at what price, until when. Pure: no database and no key.
use std::collections::HashSet;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};

use super::{AcceptedRecipient, EncodingChoice, RefusedRecipient, SendAnswer, SendRequest};
use crate::api::problem::Problem;
use crate::domain::content::Body;
use crate::domain::{
    BatchId, Encoding, MessageId, MessageState, MilliOre, Msisdn, Parts, SenderId, copenhagen_day, copenhagen_midnight,
    period, text,
};
use crate::store::credentials::Account;

#[cfg(test)]
mod tests;

/// The shortest validity, in seconds: an upstream needs some time.
const SHORTEST_VALIDITY: i64 = 60;
/// The most recipients of any call: what the ids of one call can count.
const MOST_RECIPIENTS: usize = 10_000;

/// What a call comes to.
#[derive(Debug)]
pub struct Plan {
    /// The recipients that are sent to, in order; at least one.
    pub accepted: Vec<Recipient>,
    /// The others.
    pub refused: Vec<RefusedRecipient>,
    /// How many parts each message takes.
    pub parts: Parts,
    /// How the text is written.
    pub encoding: Encoding,
    /// Not before.
    pub send_at: Option<Timestamp>,
    /// When it is too late.
    pub expires_at: Timestamp,
}

/// A recipient that is sent to.
#[derive(Debug)]
pub struct Recipient {
    /// Its place in the call.
    pub index: usize,
    /// Price of one part.
    pub price: MilliOre,
    /// What its sender needs.
    pub body: Body,
}

/// Works a call out.
///
/// # Errors
/// When something other than a single recipient is wrong, or all recipients are refused.
pub fn plan(request: &SendRequest, account: &Account, now: Timestamp) -> Result<Plan, Problem> {
    let from = sender_id(request, account)?;
    let (encoding, parts) = encode(request, account)?;
    let (send_at, expires_at) = schedule(request, account, now)?;
    let recipients = request.to.as_slice();
    if recipients.is_empty() {
        return Err(invalid("to", "to_empty", "name at least one recipient".into()));
    }
    let most = account.recipients_per_call.min(MOST_RECIPIENTS);
    if recipients.len() > most {
        return Err(invalid("to", "too_many_recipients", format!("a call of this account may have {most} recipients")));
    }
    let region = account
        .region
        .ok_or_else(|| Problem::internal("the account's default region is not a country the numbering plans know"))?;
    let (mut accepted, mut refused, mut seen) = (Vec::with_capacity(recipients.len()), Vec::new(), HashSet::new());
    for (index, number) in recipients.iter().enumerate() {
        let mut refuse = |code: &str, detail: &str| {
            refused.push(RefusedRecipient { index, code: code.to_owned(), detail: detail.to_owned() });
        };
        let to = match Msisdn::parse(number.reveal(), region) {
            Ok(to) => to,
            Err(refusal) => {
                refuse(refusal.code(), &refusal.to_string());
                continue;
            }
        };
        let Some(price) = account.prices.of(&to) else {
            refuse("destination_not_in_plan", "the account's plan has no price for this country or prefix");
            continue;
        };
        if !seen.insert(to.clone()) {
            refuse("number_repeated", "this number stands in the list before");
            continue;
        }
        let body = Body { to, from: from.clone(), text: request.text.clone(), encoding };
        accepted.push(Recipient { index, price, body });
    }
    if accepted.is_empty() {
        return Err(Problem::AllRefused(refused));
    }
    Ok(Plan { accepted, refused, parts, encoding, send_at, expires_at })
}

fn invalid(path: &'static str, code: &'static str, detail: String) -> Problem {
    Problem::Invalid { path, code, detail }
}

fn sender_id(request: &SendRequest, account: &Account) -> Result<SenderId, Problem> {
    let Some(wanted) = &request.from else {
        return account.sender_ids.first().cloned().ok_or_else(|| {
            invalid("from", "no_sender_id", "the account has no sender id yet; ask the provider for one".into())
        });
    };
    let wanted =
        SenderId::parse(wanted).map_err(|refusal| invalid("from", "sender_id_malformed", refusal.to_string()))?;
    if account.sender_ids.contains(&wanted) {
        return Ok(wanted);
    }
    let own: Vec<_> = account.sender_ids.iter().map(SenderId::as_str).collect();
    Err(invalid("from", "sender_id_not_owned", format!("the account may send from: {}", own.join(", "))))
}

fn encode(request: &SendRequest, account: &Account) -> Result<(Encoding, Parts), Problem> {
    let text = request.text.reveal();
    let encoding = match request.encoding {
        EncodingChoice::Auto => Encoding::of(text),
        EncodingChoice::Gsm => Encoding::Gsm,
        EncodingChoice::Ucs2 => Encoding::Ucs2,
    };
    let parts = text::parts(text, encoding).map_err(|refusal| invalid("text", refusal.code(), refusal.to_string()))?;
    if parts.get() > account.max_parts {
        let (takes, most) = (parts.get(), account.max_parts);
        return Err(invalid(
            "text",
            "too_many_parts",
            format!("the text takes {takes} parts, the account allows {most}"),
        ));
    }
    Ok((encoding, parts))
}

fn schedule(
    request: &SendRequest,
    account: &Account,
    now: Timestamp,
) -> Result<(Option<Timestamp>, Timestamp), Problem> {
    let longest = account.validity_seconds;
    let validity = request.validity.unwrap_or(longest);
    if validity < SHORTEST_VALIDITY.min(longest) || validity > longest {
        let range = format!("between {} and {longest} seconds", SHORTEST_VALIDITY.min(longest));
        return Err(invalid("validity", "validity_out_of_range", range));
    }
    let send_at = request.send_at.filter(|at| *at > now);
    let latest = now.saturating_add((period::MOST_AHEAD * 24).hours()).unwrap_or(now);
    if send_at.is_some_and(|at| at > latest) {
        return Err(too_far_ahead(latest, now, &format!("a message may be sent {} days ahead", period::MOST_AHEAD)));
    }
    let expires_at = send_at
        .unwrap_or(now)
        .saturating_add(validity.seconds())
        .map_err(|_| invalid("validity", "validity_out_of_range", "too long".into()))?;
    let (today, log_days) = (copenhagen_day(now), account.log_days.into());
    let logged_until = (log_days > 0).then(|| period::gone_on(today, log_days));
    let queued_until = period::gone_on(today, period::queue_days(log_days));
    Ok((send_at, bounded(send_at, expires_at, now, (queued_until, logged_until))?))
}

/// When a message ends whose keys go on these days, the queue's and the log's: no key may be needed after its date (D2). One that
/// is sent at once ends earlier, one that is scheduled is refused; the entry of that must be readable for as long as it lives.
fn bounded(
    send_at: Option<Timestamp>,
    expires_at: Timestamp,
    now: Timestamp,
    (queued_until, logged_until): (Date, Option<Date>),
) -> Result<Timestamp, Problem> {
    let ended_by = period::ended_by(queued_until);
    let Some(send_at) = send_at else { return Ok(expires_at.min(ended_by)) };
    let last = logged_until.map_or(ended_by, |day| ended_by.min(copenhagen_midnight(day)));
    if expires_at <= last {
        return Ok(expires_at);
    }
    let latest = last.saturating_sub(expires_at.duration_since(send_at)).unwrap_or(last);
    Err(too_far_ahead(latest, now, "with this validity a later message would outlive what the account keeps of it"))
}

fn too_far_ahead(latest: Timestamp, now: Timestamp, why: &str) -> Problem {
    let latest = Timestamp::from_second(latest.as_second()).unwrap_or(latest);
    let detail = if latest > now {
        format!("at the latest {latest}: {why}")
    } else {
        format!("{why}: write a shorter `validity`, or send it now")
    };
    invalid("sendAt", "too_far_ahead", detail)
}

impl Plan {
    /// Ends the messages before their keys go, by the names of these. On the day on which a policy changed they keep their date, so
    /// they may go earlier than the policy now says.
    ///
    /// # Errors
    /// When a message is scheduled too late for them.
    pub fn bound(&mut self, now: Timestamp, queue_key: &str, log_key: Option<&str>) -> Result<(), Problem> {
        if let Some(queued_until) = period::gone_by_name(queue_key) {
            let gone = (queued_until, log_key.and_then(period::gone_by_name));
            self.expires_at = bounded(self.send_at, self.expires_at, now, gone)?;
        }
        Ok(())
    }

    /// The answer to the call, without numbers: as it is stored for repetitions. A dry run has neither batch nor ids,
    /// and shows the numbers at once.
    #[must_use]
    pub fn answer(&self, batch: Option<BatchId>, ids: &[MessageId]) -> SendAnswer {
        let messages = self.accepted.iter().enumerate().map(|(nth, recipient)| AcceptedRecipient {
            index: recipient.index,
            id: ids.get(nth).map(|id| id.0),
            to: None,
            state: batch.map(|_| MessageState::Queued),
            parts: self.parts.get(),
            encoding: self.encoding,
        });
        let mut answer = SendAnswer {
            batch_id: batch.map(|batch| batch.0),
            messages: messages.collect(),
            refused: self.refused.clone(),
        };
        if batch.is_none() {
            self.show_numbers(&mut answer);
        }
        answer
    }

    /// Fills the numbers into an answer to the caller.
    pub fn show_numbers(&self, answer: &mut SendAnswer) {
        for (message, recipient) in answer.messages.iter_mut().zip(&self.accepted) {
            message.to = Some(recipient.body.to.international());
        }
    }
}

/// Until the quota begins anew: the next Copenhagen day, to the quarter of an hour.
#[must_use]
pub fn until_tomorrow(now: Timestamp) -> Duration {
    let today = copenhagen_day(now);
    let quarter = Duration::from_secs(15 * 60);
    let begun = |quarters: &u32| {
        let later = now.saturating_add(quarter * *quarters);
        later.is_ok_and(|later| copenhagen_day(later) > today)
    };
    // A day of 25 hours has a hundred of them.
    quarter * (1..=100).find(begun).unwrap_or(1)
}

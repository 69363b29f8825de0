//! What a call comes to: who is sent to, in how many parts, at what price, until when. Pure: no database and no key.
use std::collections::HashSet;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};

use super::reference;
use super::wording::{Worded, Wording};
use super::{AcceptedRecipient, RefusedRecipient, SendAnswer, SendRequest, Wanted};
use crate::api::problem::Problem;
use crate::domain::content::Body;
use crate::domain::{
    BatchId, MessageId, MessageState, MilliOre, Msisdn, Parts, Personal, Region, SenderId, copenhagen_day,
    copenhagen_midnight, period,
};
use crate::store::credentials::{Account, OwnSender};

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
    /// How many parts it takes.
    pub parts: Parts,
    /// Price of one part.
    pub price: MilliOre,
    /// What the tenant calls it.
    pub reference: Option<Personal<String>>,
    /// What its sender needs.
    pub body: Body,
}

/// Works a call out.
///
/// # Errors
/// When something other than a single recipient is wrong, or all recipients are refused.
pub fn plan(request: &SendRequest, account: &Account, now: Timestamp) -> Result<Plan, Problem> {
    let from = From::of(request, account)?;
    request.reference.as_ref().map_or(Ok(()), |own| reference::check("reference", own))?;
    let wording = Wording::of(request, account)?;
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
    let call = Common { account, region, from, wording, request };
    let (mut accepted, mut refused, mut seen) = (Vec::with_capacity(recipients.len()), Vec::new(), HashSet::new());
    for (index, wanted) in recipients.iter().enumerate() {
        match call.recipient(index, wanted, &mut seen) {
            Ok(recipient) => accepted.push(recipient),
            Err((code, detail)) => refused.push(RefusedRecipient { index, code: code.to_owned(), detail }),
        }
    }
    if accepted.is_empty() {
        return Err(Problem::AllRefused(refused));
    }
    Ok(Plan { accepted, refused, send_at, expires_at })
}

/// What all recipients of a call have in common.
struct Common<'a> {
    account: &'a Account,
    region: Region,
    from: From<'a>,
    wording: Wording<'a>,
    request: &'a SendRequest,
}

impl Common<'_> {
    fn recipient(
        &self,
        index: usize,
        wanted: &Wanted,
        seen: &mut HashSet<Msisdn>,
    ) -> Result<Recipient, (&'static str, String)> {
        let to = Msisdn::parse(wanted.number.reveal(), self.region)
            .map_err(|refusal| (refusal.code(), refusal.to_string()))?;
        if !self.account.reaches(&to) {
            return Err(("destination_not_allowed", "the account may not send to this country or prefix".into()));
        }
        let price = self.account.prices.of(&to).ok_or_else(|| {
            ("destination_not_in_plan", "the account's plan has no price for this country or prefix".to_owned())
        })?;
        if seen.contains(&to) {
            return Err(("number_repeated", "this number stands in the list before".into()));
        }
        let from = self.from.to(&to)?.clone();
        let worded = self.wording.to(wanted.parameters.as_ref()).map_err(|refusal| (refusal.code, refusal.detail))?;
        if let Some(refusal) = wanted.reference.as_ref().and_then(reference::refusal) {
            return Err(refusal);
        }
        let reference = wanted.reference.as_ref().or(self.request.reference.as_ref()).cloned();
        let Worded { text, encoding, parts } = worded;
        seen.insert(to.clone());
        let body = Body { to, from, text, encoding, flash: self.request.flash };
        Ok(Recipient { index, parts, price, reference, body })
    }
}

/// The sender ids that may be used: the one that was asked for, or all of the account's.
struct From<'a> {
    asked: bool,
    choice: Vec<&'a OwnSender>,
}

fn invalid(path: &'static str, code: &'static str, detail: String) -> Problem {
    Problem::Invalid { path, code, detail }
}

/// Why a sender id may not be used now at all, if so: it is premium-rated, and the account does not have that service (M5).
fn lacking(sender: &OwnSender) -> Option<Problem> {
    let by = || format!("the sender id {}", sender.id.as_str());
    sender.lacks.map(|service| Problem::MissingService { service, by: by() })
}

impl<'a> From<'a> {
    fn of(request: &SendRequest, account: &'a Account) -> Result<Self, Problem> {
        let own = &account.sender_ids;
        let Some(wanted) = &request.from else {
            if own.is_empty() {
                let detail = "the account has no sender id yet; ask the provider for one";
                return Err(invalid("from", "no_sender_id", detail.into()));
            }
            let choice: Vec<_> = own.iter().filter(|sender| sender.lacks.is_none()).collect();
            return match own.iter().find_map(lacking) {
                Some(problem) if choice.is_empty() => Err(problem),
                _ => Ok(Self { asked: false, choice }),
            };
        };
        let wanted =
            SenderId::parse(wanted).map_err(|refusal| invalid("from", "sender_id_malformed", refusal.to_string()))?;
        let Some(found) = own.iter().find(|sender| sender.id == wanted) else {
            let own: Vec<_> = own.iter().map(|sender| sender.id.as_str()).collect();
            let detail = format!("the account may send from: {}", own.join(", "));
            return Err(invalid("from", "sender_id_not_owned", detail));
        };
        lacking(found).map_or_else(|| Ok(Self { asked: true, choice: vec![found] }), Err)
    }

    /// The first that may be used in the recipient's country.
    fn to(&self, number: &Msisdn) -> Result<&SenderId, (&'static str, String)> {
        // Reading a number's country takes a while.
        let everywhere = self.choice.first().filter(|first| first.countries.is_empty());
        let found = everywhere.or_else(|| {
            let country = number.country();
            self.choice.iter().find(|sender| sender.may_be_used_in(country))
        });
        found.map(|sender| &sender.id).ok_or_else(|| {
            let detail = if self.asked {
                "this sender id may not be used in the recipient's country"
            } else {
                "the account has no sender id for the recipient's country; ask the provider for one"
            };
            ("sender_id_not_in_country", detail.to_owned())
        })
    }
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

    /// Refuses the recipients on the tenant's list of those who want nothing more; `is_listed` is asked of each one's place among the
    /// accepted.
    ///
    /// # Errors
    /// When no recipient is left.
    pub fn refuse_opted_out(&mut self, is_listed: impl Fn(usize) -> bool) -> Result<(), Problem> {
        let mut kept = Vec::with_capacity(self.accepted.len());
        for (nth, recipient) in std::mem::take(&mut self.accepted).into_iter().enumerate() {
            if is_listed(nth) {
                let detail = "this recipient opted out of what the account sends; see /v1/opt-outs".to_owned();
                self.refused.push(RefusedRecipient { index: recipient.index, code: "opted_out".to_owned(), detail });
            } else {
                kept.push(recipient);
            }
        }
        self.accepted = kept;
        self.refused.sort_by_key(|refused| refused.index);
        if self.accepted.is_empty() {
            return Err(Problem::AllRefused(std::mem::take(&mut self.refused)));
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
            parts: recipient.parts.get(),
            encoding: recipient.body.encoding,
            price: Some(recipient.price.times(recipient.parts).decimal()),
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

/// The how many-th hour of its Copenhagen day an instant is in, from 0: a day has 23 to 25.
#[must_use]
pub fn hour_of_day(now: Timestamp) -> i16 {
    let since = now.duration_since(copenhagen_midnight(copenhagen_day(now)));
    i16::try_from(since.as_hours()).unwrap_or(0)
}

/// Until the quota of the hour begins anew. All hours of Copenhagen begin with one of UTC.
#[must_use]
pub fn until_next_hour(now: Timestamp) -> Duration {
    Duration::from_secs(3600 - u64::try_from(now.as_second().rem_euclid(3600)).unwrap_or(0))
}

/// Until the quota of the day begins anew: the next Copenhagen day, to the quarter of an hour.
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

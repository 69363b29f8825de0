//! `GET /v1/data`: a copy of everything that is registered about the caller's account (D7), as lines of JSON, one for each row.
//!
//! It is written as it is read, page by page, so its length is bounded by nothing and its memory by a page. One at a time is made
//! for a tenant, and a few at once by a process ([`super::large`]). No connection to the database is held while the reader is waited
//! for, and who reads nothing for a while is cut off. The last line says whether it is whole.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Version, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use jiff::{Timestamp, ToSpan as _};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Shared;
use super::auth::Caller;
use super::disclosures::Disclosure;
use super::inbound::InboundMessage;
use super::opt_outs;
use super::problem::{Problem, ReadProblems};
use super::seal;
use super::server::Line;
use super::view::Message;
use super::webhooks::{self, deliveries::Delivery};
use crate::domain::{MessageId, Scope, copenhagen_day};
use crate::store::received::{self, Awaited};
use crate::store::webhooks::jobs;
use crate::store::{copy as store, disclosures, history, mail, opt_outs as opt_outs_store, statistics};

/// The longest that one may take; whoever reads more slowly begins anew.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Rows of a page.
const PAGE: i64 = 200;
/// Lines that wait for the reader.
const AHEAD: usize = 64;

/// Take a copy of everything registered about the account
///
/// Lines of JSON, each with its `section` and a `row`: settings, prices, API keys without their secrets, routes, numbers, usage by
/// day, disclosures, which copies of mail are kept, who opted out, webhooks without their secrets and what they were told, what waits to be sent (whole), the log (as much as is logged), and what was received. The last line's
/// section is `end`, and its row says whether the copy is whole. One copy at a time. Who reads nothing for a minute is cut off.
#[utoipa::path(
    get,
    path = "/v1/data",
    operation_id = "copyData",
    tag = "data",
    responses(
        (status = 200, description = "The copy.", content_type = "application/x-ndjson", body = String),
        ReadProblems,
    ),
    security(("apiKey" = ["data:read"])),
)]
pub async fn copy(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    version: Version,
    connection: Line,
) -> Result<Response, Problem> {
    caller.may(Scope::DataRead)?;
    let place = shared.large.begin_copy(caller.tenant())?;
    let (to, mut lines) = mpsc::channel::<Bytes>(AHEAD);
    let (now, written) = (shared.clock.now(), Arc::new(AtomicBool::new(false)));
    let is_written = Arc::clone(&written);
    tokio::spawn(async move {
        let _place = place;
        let writer = Writer { shared, caller, now, to, written };
        match tokio::time::timeout(LONGEST, writer.run()).await {
            Ok(Ended::Written | Ended::Gone) => {}
            // A connection of HTTP/2 may carry calls of others, through a gateway: there the stream ends alone.
            Ok(Ended::Unread) | Err(_) if version < Version::HTTP_2 => connection.cut(),
            Ok(Ended::Unread) | Err(_) => {}
        }
    });
    let lines = futures::stream::poll_fn(move |context| {
        lines.poll_recv(context).map(|line| match line {
            Some(line) => Some(Ok(line)),
            // What lacks its last line must not look like the end.
            None => (!is_written.swap(true, Ordering::AcqRel)).then_some(Err(Unfinished)),
        })
    });
    let mut response = Body::from_stream(lines).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"budstikke-data.ndjson\""),
    );
    Ok(response)
}

/// A copy ended before its last line.
#[derive(Debug, thiserror::Error)]
#[error("the copy was cut off: take it anew, and read it without a pause")]
struct Unfinished;

/// Why a copy is not whole.
enum Stop {
    /// The reader is gone.
    Gone,
    /// The reader has read nothing for too long.
    Unread,
    /// Something could not be read.
    Failed(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

/// How the writing of a copy ended.
enum Ended {
    /// The last line is on its way.
    Written,
    /// The reader is gone.
    Gone,
    /// The reader does not read.
    Unread,
}

struct Writer {
    shared: Arc<Shared>,
    caller: Caller,
    now: Timestamp,
    to: mpsc::Sender<Bytes>,
    /// The last line is on its way: said before the end of the lines.
    written: Arc<AtomicBool>,
}

impl Writer {
    async fn run(self) -> Ended {
        let whole = match self.sections().await {
            Ok(()) => true,
            Err(Stop::Gone) => return Ended::Gone,
            Err(Stop::Unread) => return Ended::Unread,
            Err(Stop::Failed(problem)) => {
                // Its words may hold what was read; its kind does not.
                let _ = problem.into_response();
                false
            }
        };
        match self.line("end", &json!({"whole": whole})).await {
            Ok(()) => {
                self.written.store(true, Ordering::Release);
                Ended::Written
            }
            Err(Stop::Unread) => Ended::Unread,
            Err(_) => Ended::Gone,
        }
    }

    async fn sections(&self) -> Result<(), Stop> {
        self.line("copy", &json!({"takenAt": self.now.to_string()})).await?;
        let (pool, tenant) = (&self.shared.pool, self.caller.tenant());
        for (section, rows) in store::settings(pool, tenant).await.map_err(Problem::database)? {
            for row in rows {
                self.line(section, &camel(row)).await?;
            }
        }
        self.usage().await?;
        self.repeated_calls().await?;
        self.disclosures().await?;
        self.mail_copies().await?;
        self.opt_outs().await?;
        self.webhooks().await?;
        self.waiting().await?;
        if self.caller.has_history() {
            self.messages().await?;
        }
        self.inbound().await
    }

    async fn line(&self, section: &str, row: &impl Serialize) -> Result<(), Stop> {
        #[derive(Serialize)]
        struct Line<'a, Row> {
            section: &'a str,
            row: &'a Row,
        }
        let mut line = serde_json::to_vec(&Line { section, row }).map_err(Problem::internal)?;
        line.push(b'\n');
        let sent = tokio::time::timeout(self.shared.settings.patience_with_readers, self.to.send(line.into()));
        sent.await.map_err(|_| Stop::Unread)?.map_err(|_| Stop::Gone)
    }

    async fn usage(&self) -> Result<(), Stop> {
        let (pool, tenant) = (&self.shared.pool, self.caller.tenant());
        let today = copenhagen_day(self.now);
        let mut month = store::first_month(pool, tenant).await.map_err(Problem::database)?;
        while month <= today {
            let days =
                statistics::usage(pool, tenant, month, month.last_of_month()).await.map_err(Problem::database)?;
            for (day, figures) in days {
                let row = json!({
                    "day": day, "messages": figures.messages, "parts": figures.parts, "amount": figures.amount,
                });
                self.line("usage", &row).await?;
            }
            month = month.saturating_add(1.month());
        }
        Ok(())
    }

    async fn repeated_calls(&self) -> Result<(), Stop> {
        let mut above = Uuid::nil();
        loop {
            let rows = store::repeated_calls(&self.shared.pool, self.caller.tenant(), above, PAGE).await;
            let rows = rows.map_err(Problem::database)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            above = *last;
            for (_, row) in rows {
                self.line("repeatedCalls", &camel(row)).await?;
            }
        }
    }

    /// But those that the law forbids to tell.
    async fn disclosures(&self) -> Result<(), Stop> {
        let (told_to, mut below) = ((self.caller.tenant(), copenhagen_day(self.now)), None);
        loop {
            let found =
                disclosures::list(&self.shared.pool, Some(told_to), below, PAGE).await.map_err(Problem::database)?;
            let Some(last) = found.last() else { return Ok(()) };
            below = Some(last.disclosure.id);
            for about in found {
                self.line("disclosures", &Disclosure::new(about.disclosure)).await?;
            }
        }
    }

    /// What is kept of mail; not its content, which is for debugging and gone in days (D3).
    async fn mail_copies(&self) -> Result<(), Stop> {
        let mut below = None;
        loop {
            let found = mail::list(&self.shared.pool, self.caller.tenant(), below, PAGE).await;
            let found = found.map_err(Problem::database)?;
            let Some(last) = found.last() else { return Ok(()) };
            below = Some(last.id);
            for copy in found {
                let row = json!({
                    "id": copy.id, "madeAt": copy.made_at, "goneAt": copy.gone_at, "kind": copy.kind.as_str(),
                    "direction": copy.direction.as_str(), "bytes": copy.bytes,
                });
                self.line("mailCopies", &row).await?;
            }
        }
    }

    /// Those who want nothing more.
    async fn opt_outs(&self) -> Result<(), Stop> {
        let (tenant, mut below) = (self.caller.tenant(), None);
        loop {
            let found = opt_outs_store::list(&self.shared.pool, tenant, below, PAGE).await;
            let found = found.map_err(Problem::database)?;
            let Some(last) = found.last() else { return Ok(()) };
            below = Some(last.id);
            for opt_out in opt_outs::opened(&self.shared, tenant, found).await? {
                self.line("optOuts", &opt_out).await?;
            }
        }
    }

    /// Endpoints with their addresses, without their secrets; and what each was told.
    async fn webhooks(&self) -> Result<(), Stop> {
        for webhook in webhooks::opened(&self.shared, self.caller.tenant()).await? {
            self.line("webhooks", &webhook).await?;
            let mut below = None;
            loop {
                let found = jobs::list(&self.shared.pool, self.caller.tenant(), webhook.id(), below, PAGE).await;
                let found = found.map_err(Problem::database)?;
                let Some(last) = found.last() else { break };
                below = Some(last.id);
                for delivery in found {
                    self.line("webhookDeliveries", &Delivery::from(delivery)).await?;
                }
            }
        }
        Ok(())
    }

    /// With their whole text, which goes when they are sent; also where nothing is logged.
    async fn waiting(&self) -> Result<(), Stop> {
        let (tenant, mut above) = (self.caller.tenant(), Uuid::nil());
        loop {
            let found = store::waiting(&self.shared.pool, tenant, above, PAGE).await.map_err(Problem::database)?;
            let Some(last) = found.last() else { return Ok(()) };
            above = last.id;
            for waiting in found {
                let Some(body) = seal::open_body(&self.shared.keyring, tenant, &waiting).await? else { continue };
                let row = json!({
                    "id": waiting.id, "batchId": waiting.batch, "state": waiting.state, "to": body.to.international(),
                    "from": body.from, "text": body.text, "sendAt": waiting.not_before, "expiresAt": waiting.expires_at,
                });
                self.line("waiting", &row).await?;
            }
        }
    }

    /// History, as it is looked up: what waits and what is logged.
    async fn messages(&self) -> Result<(), Stop> {
        let (pool, tenant) = (&self.shared.pool, self.caller.tenant());
        let mut filter = history::Filter::everything(self.now);
        loop {
            let found = history::list(pool, tenant, filter, PAGE).await.map_err(Problem::database)?;
            let (Some(first), Some(last)) = (found.last(), found.first()) else { return Ok(()) };
            filter.below = Some(first.id);
            let day = |id: MessageId| copenhagen_day(id.at().unwrap_or(self.now));
            let of_several: Vec<Uuid> =
                found.iter().filter(|record| record.parts > 1).map(|record| record.id.0).collect();
            let days = (day(first.id), day(last.id));
            for record in &found {
                if let Some(entry) = seal::open_entry(&self.shared.keyring, tenant, record).await? {
                    self.line("messages", &Message::new(record, entry)).await?;
                }
            }
            if !of_several.is_empty() {
                for row in store::parts(pool, tenant, &of_several, days).await.map_err(Problem::database)? {
                    self.line("parts", &camel(row)).await?;
                }
            }
        }
    }

    async fn inbound(&self) -> Result<(), Stop> {
        let (tenant, mut below) = (self.caller.tenant(), None);
        loop {
            let found = received::list(&self.shared.pool, tenant, self.now, below, PAGE, Awaited::Included).await;
            let found = found.map_err(Problem::database)?;
            let Some(last) = found.last() else { return Ok(()) };
            below = Some(last.id);
            for message in &found {
                if let Some(received) = seal::open_received(&self.shared.keyring, tenant, message).await? {
                    self.line("inbound", &InboundMessage::new(message, received)).await?;
                }
            }
        }
    }
}

/// Columns are written as fields are.
fn camel(row: Value) -> Value {
    let Value::Object(row) = row else { return row };
    let name = |column: String| {
        let mut words = column.split('_');
        let mut name = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (head, tail) = word.split_at(word.len().min(1));
            name.push_str(&head.to_ascii_uppercase());
            name.push_str(tail);
        }
        name
    };
    Value::Object(row.into_iter().map(|(column, value)| (name(column), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_read_as_fields() {
        assert_eq!(camel(json!({"created_at": 1, "name": {"x_y": 2}})), json!({"createdAt": 1, "name": {"x_y": 2}}));
    }
}

//! What became of each submit, told to its sender.
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rusmpp::CommandStatus;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::binds::Binds;
use super::brake::Brake;
use super::dispatch::PATIENCE;
use super::exchange::{Exchange, Job};
use super::message_id;
use super::metrics::Metrics;
use super::owners::{Departed, Memory};
use super::spelling::Spelling;
use super::standing::Standing;
use super::tag::TagKey;
use crate::config::connector::ConnectorConfig;
use crate::smpp::fault::Fault;
use crate::smpp::session::{Answer, Outcome, Pending, Silence};
use crate::smpp::vendor::{NOT_WRITTEN, WRITTEN_UNANSWERED};

/// A submit that was given to a bind.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) job: Job,
    pub(super) pending: Pending,
    pub(super) written: Instant,
    pub(super) departed: Departed,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) exchange: Arc<Exchange>,
    pub(super) binds: Arc<Binds>,
    pub(super) brake: Arc<Brake>,
    pub(super) standing: Arc<Standing>,
    pub(super) memory: Arc<Memory>,
    pub(super) spelling: Arc<Spelling>,
    pub(super) key: Arc<TagKey>,
    pub(super) config: watch::Receiver<Arc<ConnectorConfig>>,
    pub(super) metrics: Metrics,
}

impl Answers {
    /// Runs until the last flight has landed and none can come any more.
    pub(super) async fn run(self, mut flights: mpsc::Receiver<Flight>) {
        let mut under_way = FuturesUnordered::new();
        let mut more = true;
        while more || !under_way.is_empty() {
            tokio::select! {
                // Answers first: they make room, and end by themselves when no flight follows.
                biased;
                Some((job, outcome, written, departed)) = under_way.next() => {
                    self.settle(job, outcome, written);
                    drop(departed);
                }
                flight = flights.recv(), if more => match flight {
                    Some(Flight { job, pending, written, departed }) => {
                        under_way.push(async move { (job, pending.await, written, departed) });
                    }
                    None => more = false,
                },
            }
        }
    }

    fn settle(&self, job: Job, outcome: Outcome, written: Instant) {
        let status = match outcome {
            Outcome::Answered(answer) => {
                self.metrics.answered(written.elapsed());
                if answer.is_ok() {
                    self.brake.ease();
                    self.standing.took();
                    return self.accepted(job, &answer);
                }
                let fault = Fault::of(answer.status);
                match fault {
                    Some(fault) => self.standing.failed(fault, answer.status, job.part.map(|part| part.message)),
                    None => self.standing.took(),
                }
                if fault == Some(Fault::Throttled) {
                    self.brake.pull();
                    self.metrics.throttled();
                    // Not taken, so it may go again; its sender has it back when that takes too long.
                    if job.since.elapsed() < PATIENCE {
                        return self.exchange.put_back(job);
                    }
                }
                answer.status
            }
            Outcome::NotWritten(_) => {
                if self.binds.any_soon() && job.since.elapsed() < PATIENCE {
                    return self.exchange.put_back(job);
                }
                NOT_WRITTEN
            }
            Outcome::WrittenUnanswered(silence) => {
                // Where the connection ended, its bind is missed.
                if matches!(silence, Silence::TimedOut) {
                    self.standing.silent(job.part.map(|part| part.message));
                }
                WRITTEN_UNANSWERED
            }
        };
        self.metrics.submit(status);
        job.reply.refuse(status);
    }

    fn accepted(&self, job: Job, answer: &Answer) {
        let format = self.config.borrow().settings.id_format;
        let written = answer.message_id().unwrap_or_default();
        self.spelling.answered(written, job.tag);
        let id = message_id::from_answer(written, format);
        let id = self.key.id(&id);
        if !id.is_empty() {
            self.memory.put((id.clone(), job.tag), job.seat.tenant);
        }
        self.metrics.submit(CommandStatus::EsmeRok);
        job.reply.accept(&id, job.tag);
    }
}

//! Whether the upstream writes ids in receipts as the route's setting says. Receipts that find no message are held against what was
//! answered to submits meanwhile, spelled as the other settings say: what fits may be proposed to the route's owner. It decides
//! nothing: whose a receipt is, is never guessed.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::message_id;
use crate::config::connector::{ConnectorConfig, IdFormat};
use crate::smpp::vendor::DestinationTag;

/// Answers that are remembered while receipts find no message.
const ANSWERS: usize = 1_000;
/// Receipts that must fit by another setting, and none by the present one meanwhile.
const ENOUGH: usize = 3;
const ALL: [IdFormat; 3] = [IdFormat::Same, IdFormat::HexThenDecimal, IdFormat::DecimalThenHex];

/// See the module.
#[derive(Debug)]
pub(super) struct Spelling {
    config: watch::Receiver<Arc<ConnectorConfig>>,
    /// A receipt has found no message since the last one that did.
    watching: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Ids as the upstream wrote them: in memory alone.
    answers: VecDeque<(String, DestinationTag)>,
    /// How many receipts fit by each of [`ALL`].
    fitting: [usize; ALL.len()],
}

// No derived Debug: an upstream's ids lead to numbers there.
impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.fitting)
    }
}

impl Spelling {
    pub(super) fn new(config: watch::Receiver<Arc<ConnectorConfig>>) -> Self {
        Self { config, watching: AtomicBool::new(false), seen: Mutex::default() }
    }

    /// The upstream has taken a submit, and calls it so.
    pub(super) fn answered(&self, id: &str, tag: DestinationTag) {
        if self.watching.load(Ordering::Relaxed) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.answers.len() >= ANSWERS {
                seen.answers.pop_front();
            }
            seen.answers.push_back((id.to_owned(), tag));
        }
    }

    /// A receipt that calls a message so has found none.
    pub(super) fn strange(&self, id: &str, tag: DestinationTag) {
        self.watching.store(true, Ordering::Relaxed);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { answers, fitting } = &mut *seen;
        for (format, count) in ALL.into_iter().zip(fitting) {
            let one = message_id::from_receipt(id, format);
            let fits =
                |(answer, of): &(String, DestinationTag)| *of == tag && message_id::from_answer(answer, format) == one;
            if answers.iter().any(fits) {
                *count += 1;
            }
        }
    }

    /// A receipt has found its message: the setting is right.
    pub(super) fn familiar(&self) {
        if self.watching.swap(false, Ordering::Relaxed) {
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
        }
    }

    /// The one setting by which receipts would find their messages, where the present one is not that.
    pub(super) fn proposed(&self) -> Option<IdFormat> {
        let present = self.config.borrow().settings.id_format;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = ALL.into_iter().zip(seen.fitting).filter(|(_, count)| *count >= ENOUGH);
        let (format, _) = fitting.next()?;
        (fitting.next().is_none() && format != present).then_some(format)
    }
}

//! What happened in a run, in order: as a number to compare two runs by, and in words for the one who replays it.
use tokio::time::Instant;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    began: Instant,
    hash: u64,
    events: u64,
    /// Kept only where somebody will read it.
    words: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(in_words: bool) -> Self {
        Self { began: Instant::now(), hash: 0xCBF2_9CE4_8422_2325, events: 0, words: in_words.then(Vec::new) }
    }

    /// Notes what happens now.
    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        let line = format!("{:>9.3} s  {}", self.began.elapsed().as_secs_f64(), what());
        // FNV-1a: the same in every build and on every machine.
        for octet in line.bytes() {
            self.hash = (self.hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01B3);
        }
        self.events += 1;
        if let Some(words) = &mut self.words {
            words.push(line);
        }
    }

    /// The same for the same events at the same times, in the same order.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn words(&self) -> &[String] {
        self.words.as_deref().unwrap_or_default()
    }
}

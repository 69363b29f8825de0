//! What a sender takes: time to start, memory with nothing to do, and memory at the full rate, when a queue waits for it.
use std::time::{Duration, Instant};

use super::ours::{ROUTE, Stage};
use super::report::{Report, Run, rounded};
use super::{batch, centre};
use crate::support::installation::Crew;

const STARTS: usize = 7;
const PATIENCE: Duration = Duration::from_secs(30);

/// Enters all of it; the queue is of so many messages.
pub(crate) async fn measure(messages: usize, report: &mut Report) {
    let mut stage = Stage::set(&ROUTE, &Crew::one(), centre::start()).await;
    let mut took = Vec::new();
    for _ in 0..STARTS {
        stage.installation.process("sender", 0).kill();
        took.push(start(&mut stage).await.as_secs_f64() * 1000.0);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    took.sort_unstable_by(f64::total_cmp);
    report.set("sender_start_ms", rounded(took[STARTS / 2]));
    report.set("sender_start_worst_ms", rounded(took[STARTS - 1]));
    tokio::time::sleep(Duration::from_secs(3)).await;
    report.set("sender_idle_mib", rounded(stage.installation.process("sender", 0).memory()));

    stage.installation.process("sender", 0).kill();
    batch::fill(&stage, &stage.installation.api, 0..messages).await;
    start(&mut stage).await;
    let (began, watch) = (Instant::now(), stage.watch());
    stage.settled(messages).await;
    let seconds = began.elapsed().as_secs_f64();
    report.set("sender_full_mib", rounded(stage.installation.process("sender", 0).peak()));
    let run = Run { accepted: None, messages, seconds, spent: watch.stop(), memory: stage.memory() };
    report.run("Budstikke, what waits is sent", "drain_per_s", "drain_cpu_us_per_message", run);
}

/// From the process' start until its session with the connector stands.
async fn start(stage: &mut Stage) -> Duration {
    let began = Instant::now();
    let sender = stage.installation.process("sender", 0);
    sender.launch();
    assert!(sender.is_ready(PATIENCE).await, "it is not ready");
    began.elapsed()
}

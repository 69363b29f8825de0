//! Everything goes wrong at once, for half a minute: the fault harness of `benches/faults.rs` with one seed and fewer faults. It holds
//! the account alone, and nothing of how long anything took.
use std::time::Duration;

use crate::support::postgres;

#[path = "../../benches/faults/harness.rs"]
#[allow(clippy::print_stdout, reason = "what a test prints is read when it has failed")]
mod harness;
#[path = "../../benches/support/shared.rs"]
#[allow(dead_code, reason = "benches use the rest")]
mod support;

use self::harness::Scale;
use self::support::installation::Route;

const SEED: u64 = 9599;
/// An answer is waited for longer than any fault lasts, and the present machine may be busy: only what is lost is of unknown fate.
const SCALE: Scale = Scale {
    faults: 16,
    every: Duration::from_millis(1000),
    load: 20,
    rounds: 0,
    route: Route {
        binds: 2,
        rate: 200,
        window: 25,
        response: Duration::from_secs(20),
        enquire: Duration::from_secs(20),
    },
    settings: &["fsync=off", "full_page_writes=off"],
    hurry: true,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_whatever_goes_wrong() {
    let report = harness::run(&SCALE, SEED).await;
    assert!(report.holds(), "{}\n{:#}", report.tables(), report.json());
}

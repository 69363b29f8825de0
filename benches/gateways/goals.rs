//! The figures, what is wanted of them, and whether they reach it.
use super::report::Report;

/// What is wanted of a figure.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// No more than one over another figure.
    OneOver(&'static str),
    /// It is told, and nothing more.
    Nothing,
}

use Wanted::{AtLeast, AtMost, Nothing, OneOver};

const FIGURES: &[(&str, &str, Wanted)] = &[
    ("e2e_per_s", "receipts stored/s, one tenant", Nothing),
    ("e2e_200_per_s", "receipts stored/s, 200 tenants", Nothing),
    ("accept_per_s", "accepted/s while nobody sends", Nothing),
    ("kannel_accept_per_s", "Kannel: accepted/s without an upstream", Nothing),
    ("batch_per_s", "recipients accepted/s, 10,000 a call, while nobody sends", Nothing),
    ("drain_per_s", "receipts stored/s of a queue that waits", Nothing),
    ("kannel_mem_per_s", "Kannel: receipts/s, in memory", Nothing),
    ("kannel_pg_per_s", "Kannel: receipts/s, in PostgreSQL", Nothing),
    ("by_kannel_pg", "ours by Kannel's, receipts in PostgreSQL", AtLeast(12.0)),
    ("by_kannel_mem", "ours by Kannel's, receipts in memory", AtLeast(3.5)),
    ("accept_by_kannel", "our accepts by Kannel's, while nobody sends", AtLeast(2.0)),
    ("idle_e2e", "1,000 idle tenants beside a busy one: its rate of what it is without them", AtLeast(0.95)),
    ("idle_accept", "and its accepts while nobody sends", AtLeast(0.95)),
    ("log_e2e", "the rate with a long log of what it is with none", AtLeast(0.9)),
    ("sender_start_ms", "a sender's start until it is bound, ms, median", AtMost(200.0)),
    ("sender_idle_mib", "a sender's memory, idle, MiB", AtMost(15.0)),
    ("sender_full_mib", "a sender's memory, most at the full rate, MiB", AtMost(32.0)),
    ("pacing_worst_window", "most submits in any second, for certain", OneOver("pacing_rate")),
    ("pacing_used", "share of the rate that is used", AtLeast(0.98)),
    ("fairness_worst", "furthest of a tenant from its share by weight", AtMost(0.05)),
];

/// A row for each figure that was measured, and how many are not as wanted.
pub(crate) fn judge(report: &Report) -> (String, usize) {
    let mut rows = vec!["| figure | measured | wanted | |".to_owned(), "|---|---|---|---|".to_owned()];
    let mut missed = 0;
    for (key, what, wanted) in FIGURES {
        let Some(measured) = report.number(key) else { continue };
        let (wanted, reached) = match wanted {
            AtLeast(least) => (format!("at least {least}"), Some(measured >= *least)),
            AtMost(most) => (format!("at most {most}"), Some(measured <= *most)),
            OneOver(other) => {
                let most = report.number(other).expect("measured with it") + 1.0;
                (format!("at most {most}"), Some(measured <= most))
            }
            Nothing => (String::new(), None),
        };
        missed += usize::from(reached == Some(false));
        let said = reached.map_or("", |reached| if reached { "reached" } else { "**missed**" });
        rows.push(format!("| {what} (`{key}`) | {measured} | {wanted} | {said} |"));
    }
    (rows.join("\n"), missed)
}

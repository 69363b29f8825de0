//! What CPU each part of a gateway uses: watched over a run, told for a message.
use std::collections::BTreeMap;
use std::ops::Add as _;

use serde_json::{Map, Value, json};

use super::processes::{Cpu, Server, TICKS, machine, stat};

/// Whose CPU it is.
pub(crate) enum Who {
    Processes(Vec<u32>),
    /// A PostgreSQL server, by its first process.
    Server(u32),
}

/// Watches roles from when it is made.
pub(crate) struct Watch {
    roles: Vec<(&'static str, Who)>,
    began: Snapshot,
}

struct Snapshot {
    machine: Cpu,
    processes: Vec<Cpu>,
    servers: Vec<Server>,
}

impl Snapshot {
    fn take(roles: &[(&'static str, Who)]) -> Self {
        let (mut processes, mut servers) = (Vec::new(), Vec::new());
        for (_, who) in roles {
            let (cpu, server) = match who {
                Who::Processes(pids) => {
                    let stats = pids.iter().map(|pid| stat(*pid).expect("it runs").own);
                    (stats.fold(Cpu::default(), Cpu::add), Server::default())
                }
                Who::Server(pid) => {
                    let server = Server::look(*pid);
                    (server.all(), server)
                }
            };
            processes.push(cpu);
            servers.push(server);
        }
        Self { machine: machine(), processes, servers }
    }
}

impl Watch {
    /// Beside these roles, this process is the callers, and what is left of the machine the rest.
    pub(crate) fn start(mut roles: Vec<(&'static str, Who)>) -> Self {
        roles.push(("callers", Who::Processes(vec![std::process::id()])));
        let began = Snapshot::take(&roles);
        Self { roles, began }
    }

    pub(crate) fn stop(self) -> Spent {
        let now = Snapshot::take(&self.roles);
        let machine = now.machine - self.began.machine;
        let mut spent = Spent { machine, roles: Vec::new(), within: Vec::new() };
        let mut rest = machine;
        for (at, (role, who)) in self.roles.into_iter().enumerate() {
            let cpu = now.processes[at] - self.began.processes[at];
            rest = rest - cpu;
            spent.roles.push((role, cpu));
            if matches!(who, Who::Server(_)) {
                spent.within.push((role, now.servers[at].since(&self.began.servers[at])));
            }
        }
        spent.roles.push(("rest", rest));
        spent
    }
}

/// What a run took.
pub(crate) struct Spent {
    pub(crate) machine: Cpu,
    roles: Vec<(&'static str, Cpu)>,
    /// Of each server, by what its processes do.
    within: Vec<(&'static str, BTreeMap<String, Cpu>)>,
}

impl Spent {
    /// A row a role: seconds for a thousand messages.
    pub(crate) fn table(&self, name: &str, messages: usize) -> String {
        let row = |role: &str, cpu: Cpu| {
            let [user, system, all] = [cpu.user, cpu.system, cpu.user + cpu.system]
                .map(|ticks| ticks as f64 / TICKS / messages as f64 * 1000.0);
            format!("| {role} | {user:.3} | {system:.3} | {all:.3} |")
        };
        let mut rows = vec![
            format!("| {name}: CPU s per 1,000 messages | user | system | together |"),
            "|---|---|---|---|".to_owned(),
        ];
        for (role, cpu) in &self.roles {
            rows.push(row(role, *cpu));
            let within = self.within.iter().find(|(server, _)| server == role);
            for (what, cpu) in within.into_iter().flat_map(|(_, by)| by) {
                rows.push(row(&format!("– {what}"), *cpu));
            }
        }
        rows.push(row("**the machine**", self.machine));
        rows.join("\n")
    }

    /// Microseconds for a message.
    pub(crate) fn json(&self, messages: usize) -> Value {
        let micros = |ticks: i64| (ticks as f64 / TICKS * 1e7 / messages as f64).round() / 10.0;
        let one = |cpu: Cpu| json!({"user": micros(cpu.user), "system": micros(cpu.system)});
        let mut roles: Map<_, _> = self.roles.iter().map(|(role, cpu)| ((*role).to_owned(), one(*cpu))).collect();
        roles.insert("machine".to_owned(), one(self.machine));
        for (role, by) in &self.within {
            let by: Map<_, _> = by.iter().map(|(what, cpu)| (what.clone(), one(*cpu))).collect();
            roles.insert(format!("{role}_by"), Value::Object(by));
        }
        Value::Object(roles)
    }
}

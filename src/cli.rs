//! The command line: one subcommand per role, and the tools that print what is generated. Senders have a program of their own.
//! The only room that turns errors into exit codes and text for people.
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs a multi-tenant SMS service on Kubernetes.
#[derive(Parser)]
#[command(name = "budstikke", version)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Reconcile Tenants, SmsRoutes, RetentionPolicies and BillingPlans (leader-elected).
    Operator(crate::operator::Args),
    /// Serve the REST API.
    Api(crate::api::Args),
    /// Tell tenants' webhooks what happened.
    Worker(crate::worker::Args),
    /// Hold one route's upstream binds and serve its senders.
    Connector(crate::connector::Args),
    /// Bring both database schemas to this version; safe to run twice and by two at once.
    Migrate(crate::store::migrate::Args),
    /// Make passwords, certificates and the key-encryption key, once, where absent.
    Bootstrap(crate::operator::bootstrap::Args),
    /// Give tenants other wrapping keys, and destroy the old ones.
    Rotate(crate::operator::rotate::Args),
    /// Check that nothing was changed in the erasure journal or taken out of it.
    Journal(crate::retention::audit::Args),
    /// Tell what a restore has lost and what waits since, and release it.
    Restored(crate::retention::release::Args),
    /// Print the custom resource definitions as YAML.
    Crd,
    /// Print the OpenAPI document of the REST API as JSON.
    Openapi,
    /// Play an upstream, for demos and tests.
    #[cfg(feature = "simulate")]
    Simulate(crate::simulator::Args),
}

/// Submit one tenant's messages.
#[derive(Parser)]
#[command(name = "budstikke-sender", version)]
struct Sender {
    #[command(flatten)]
    args: crate::sender::Args,
}

/// Parses the arguments, runs the role, and reports a failure in one line (causes included) on standard error.
pub fn main() -> ExitCode {
    end(run(Cli::parse().role))
}

/// The same of the binary that is a sender and nothing else. It has little to do at once: one thread keeps it within 15 MiB.
pub fn sender() -> ExitCode {
    let Sender { args } = Sender::parse();
    choose_cryptography();
    end(serve(&mut tokio::runtime::Builder::new_current_thread(), async { Ok(crate::sender::run(args).await?) }))
}

fn end(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "stopped");
            #[expect(clippy::print_stderr, reason = "the last word of a command goes to its user")]
            {
                eprintln!("budstikke: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Two versions of one provider choice in the graph would panic at first use: say it once, here.
fn choose_cryptography() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn serve(runtime: &mut tokio::runtime::Builder, role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    crate::telemetry::init()?;
    runtime.enable_all().build()?.block_on(role)
}

fn run(role: Role) -> anyhow::Result<()> {
    choose_cryptography();
    let text = match role {
        Role::Crd => crate::crd::yaml()?,
        Role::Openapi => crate::api::openapi::json()?,
        role => return run_role(role),
    };
    #[expect(clippy::print_stdout, reason = "this command's result is its output")]
    {
        print!("{text}");
    }
    Ok(())
}

fn run_role(role: Role) -> anyhow::Result<()> {
    let mut runtime = match role {
        // Its clock relies on it: see `stay_awake`.
        #[cfg(feature = "simulate")]
        Role::Simulate(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    serve(&mut runtime, async {
        match role {
            Role::Operator(args) => crate::operator::run(args).await?,
            Role::Api(args) => crate::api::run(args).await?,
            Role::Worker(args) => crate::worker::run(args).await?,
            Role::Connector(args) => crate::connector::run(args).await?,
            Role::Migrate(args) => crate::store::migrate::run(args).await?,
            Role::Bootstrap(args) => crate::operator::bootstrap::run(args).await?,
            #[cfg(feature = "simulate")]
            Role::Simulate(args) => crate::simulator::run(args).await?,
            Role::Rotate(args) => crate::operator::rotate::run(args).await?,
            Role::Journal(args) => say(&crate::retention::audit::run(args).await?),
            Role::Restored(args) => say(&crate::retention::release::run(args).await?),
            Role::Crd | Role::Openapi => {}
        }
        Ok(())
    })
}

#[expect(clippy::print_stdout, reason = "this command's result is its output")]
fn say(found: &str) {
    println!("{found}");
}

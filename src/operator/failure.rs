//! Why a reconciliation failed. The variant is the metric's label; what is wrong with an object itself is no failure
//! but a condition.
use crate::crd::conditions::reasons;
use crate::store::{accounts, logins, partitions, routes, upstream_reports};

/// Why a reconciliation failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A child could not be written.
    #[error(transparent)]
    Apply(super::apply::Error),
    /// The status could not be written.
    #[error("write the status: {0}")]
    WriteStatus(#[source] kube::Error),
    /// A Secret that the object names could not be read.
    #[error("read the Secret {name}: {source}")]
    ReadSecret {
        /// Which one.
        name: String,
        /// What the API said.
        source: kube::Error,
    },
    /// The account could not be found or written.
    #[error(transparent)]
    Account(accounts::Error),
    /// The route's row could not be written.
    #[error(transparent)]
    Route(routes::Error),
    /// What its connector tells could not be read.
    #[error(transparent)]
    UpstreamReports(upstream_reports::Error),
    /// The database login could not be made.
    #[error(transparent)]
    Login(logins::Error),
    /// The keyring did not give the tenant's keys.
    #[error(transparent)]
    Keyring(crate::keyring::Error),
    /// What is logged could not be brought in line with the policy.
    #[error(transparent)]
    Retention(crate::retention::Error),
    /// There is no room for copies of mail.
    #[error(transparent)]
    Partitions(partitions::Error),
    /// A certificate could not be issued.
    #[error(transparent)]
    Certificate(crate::pki::Error),
    /// The machine gave no random bytes.
    #[error("draw random bytes")]
    Random,
    /// Something of ours cannot be written as JSON.
    #[error("write {what} as JSON: {source}")]
    Serialize {
        /// What.
        what: &'static str,
        /// What went wrong.
        source: serde_json::Error,
    },
    /// Something did not answer for too long.
    #[error("took too long")]
    TimedOut,
    /// What was read is older than what stands already; the watch brings the newer form.
    #[error("a newer form of the resource has been seen already")]
    Outdated,
    /// It has not brought it for long, though it is there.
    #[error("another form of the resource is in the cluster than the one that the watch has brought: waiting for it")]
    Behind,
    /// The object could not be read.
    #[error("read the object itself: {0}")]
    ReadObject(#[source] kube::Error),
}

impl Failure {
    /// The metric's label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Apply(_) => "apply",
            Self::WriteStatus(_) => "write_status",
            Self::ReadSecret { .. } => "read_secret",
            Self::Account(_) => "account",
            Self::Route(_) => "route",
            Self::UpstreamReports(_) => "upstream_reports",
            Self::Login(_) => "login",
            Self::Keyring(_) => "keyring",
            Self::Retention(_) => "retention",
            Self::Partitions(_) => "partitions",
            Self::Certificate(_) => "certificate",
            Self::Random => "random",
            Self::Serialize { .. } => "serialize",
            Self::TimedOut => "timed_out",
            Self::Outdated => "outdated",
            Self::Behind => "behind",
            Self::ReadObject(_) => "read_object",
        }
    }

    /// The reason that the object's status gives.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Keyring(crate::keyring::Error::Kek(_)) => reasons::KEY_ENCRYPTION_KEY_UNAVAILABLE,
            Self::Account(_) | Self::Route(_) | Self::UpstreamReports(_) | Self::Login(_) | Self::Keyring(_) => {
                reasons::DATABASE_UNAVAILABLE
            }
            _ => reasons::PROGRESSING,
        }
    }

    /// Nobody needs to hear of it: the namespace is going away, or the object is about to be seen anew.
    pub(super) fn is_quiet(&self) -> bool {
        match self {
            Self::Apply(error) => error.is_terminating(),
            // The object itself is gone, or another one has its name.
            Self::WriteStatus(kube::Error::Api(status)) => status.is_not_found() || status.is_conflict(),
            Self::Outdated => true,
            _ => false,
        }
    }
}

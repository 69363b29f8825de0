//! The words of status: condition types and reasons, one place for the operator that writes them and the tests and
//! health checks that read them. After kstatus: only `Stalled`=True is a failure, `Reconciling`=True is in progress,
//! and `Ready`=True means that everything the spec asks of the operator is done, also while people are awaited.

/// Condition types.
pub mod types {
    /// Everything the spec asks of the operator is done. Its message is the one line of the printer columns.
    pub const READY: &str = "Ready";
    /// The operator is at work on this generation.
    pub const RECONCILING: &str = "Reconciling";
    /// The operator cannot go on until somebody changes something.
    pub const STALLED: &str = "Stalled";
    /// The contact e-mail has proved itself, and the owner has confirmed the organisation (A1, A2).
    pub const VERIFIED: &str = "Verified";
    /// The terms in force are accepted in writing (A3, A7).
    pub const TERMS_ACCEPTED: &str = "TermsAccepted";
    /// Every route named exists and its connector is ready (M1).
    pub const ROUTES_READY: &str = "RoutesReady";
    /// The plan named exists and is valid (B1 to B9).
    pub const PLAN_READY: &str = "PlanReady";
    /// The tenant's brand offers all of its services, and the rest of its spec uses no other (A9).
    pub const SERVICES_READY: &str = "ServicesReady";
    /// The policy named exists and is valid (D1 to D4).
    pub const RETENTION_READY: &str = "RetentionReady";
    /// The sender's pods are as wanted; an idle or suspended sender at zero is.
    pub const SENDER_READY: &str = "SenderReady";
    /// The connector's pods are as wanted, bound to the upstream or not.
    pub const CONNECTOR_READY: &str = "ConnectorReady";
    /// All binds to the upstream stand. No part of Ready: an upstream that is away is not for the operator to mend (K3).
    pub const UPSTREAM_READY: &str = "UpstreamReady";
    /// The Secrets named exist and hold what they must.
    pub const CREDENTIALS_READY: &str = "CredentialsReady";
    /// Sending is closed by the owner, by billing or by the tenant's own wish (A5, B6).
    pub const SUSPENDED: &str = "Suspended";
    /// Notice was given; the account ends or has ended (A6).
    pub const TERMINATED: &str = "Terminated";
    /// The tenant may send now; if not, its reason says why.
    pub const ACTIVE: &str = "Active";
    /// Retention is kept as promised, proved by what is stored (D1 to D4, D8); of a route: numbers and texts leave over
    /// TLS only (D8).
    pub const COMPLIANT: &str = "Compliant";
    /// A shortened policy would erase what is logged already: it is shown for a day first (D2).
    pub const ERASURE_PENDING: &str = "ErasurePending";
    /// A new version of a route's connector waits for its `maintenance.rolloutWindow`; the message says until when. No part of Ready: the
    /// pods that run are as wanted.
    pub const ROLLOUT_PENDING: &str = "RolloutPending";
    /// What the tenant decided itself differs from the spec, and wins.
    pub const SPEC_DIVERGES: &str = "SpecDiverges";
}

/// Condition reasons.
pub mod reasons {
    /// All is done.
    pub const SUCCEEDED: &str = "Succeeded";
    /// The operator is at work.
    pub const PROGRESSING: &str = "Progressing";
    /// The object asks for something it cannot have; its message says what to write instead.
    pub const INVALID: &str = "Invalid";
    /// An object that is named does not exist.
    pub const NOT_FOUND: &str = "NotFound";
    /// A plan, policy or route that is in use was deleted or made invalid: its last valid form stays in force.
    pub const LAST_VALID_IN_FORCE: &str = "LastValidInForce";
    /// A Secret that is named does not exist.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// A Secret that is named lacks a key or holds something unusable.
    pub const SECRET_INVALID: &str = "SecretInvalid";
    /// The account id of this name belongs to another registration number.
    pub const NAME_IN_USE: &str = "NameInUse";
    /// The account of this name was erased (A6).
    pub const ACCOUNT_DELETED: &str = "AccountDeleted";
    /// More than a tenth of the Tenants vanished at once: nothing is closed until the owner says so.
    pub const HELD: &str = "Held";
    /// An annotation asks the operator to leave this object alone.
    pub const PAUSED: &str = "Paused";
    /// The organisation awaits the owner's word (A2).
    pub const ORGANISATION_UNCONFIRMED: &str = "OrganisationUnconfirmed";
    /// The contact e-mail has not proved itself (A2).
    pub const EMAIL_UNCONFIRMED: &str = "EmailUnconfirmed";
    /// The CVR number fails its check digit and awaits the owner's dated word (A1).
    pub const CVR_CHECK_DIGIT: &str = "CvrCheckDigit";
    /// The terms in force are not accepted (A3).
    pub const TERMS_NOT_ACCEPTED: &str = "TermsNotAccepted";
    /// Suspended; the message holds the spec's reason.
    pub const SUSPENDED: &str = "Suspended";
    /// Ended by notice (A6).
    pub const TERMINATED: &str = "Terminated";
    /// The tenant may send.
    pub const SENDING: &str = "Sending";
    /// No route is ready.
    pub const NO_ROUTE: &str = "NoRoute";
    /// Nothing to send: the sender is at zero until there is.
    pub const IDLE: &str = "Idle";
    /// Pods are not there yet.
    pub const PODS_NOT_READY: &str = "PodsNotReady";
    /// The connector's pods have not told how they stand with the upstream.
    pub const NOT_REPORTED: &str = "NotReported";
    /// Some binds to the upstream stand, but not all that are agreed.
    pub const BINDS_MISSING: &str = "BindsMissing";
    /// Numbers and texts go to the upstream over plain TCP (D8).
    pub const PLAIN_TCP: &str = "PlainTcp";
    /// No bind to the upstream stands: it refuses them or cannot be reached.
    pub const UPSTREAM_UNAVAILABLE: &str = "UpstreamUnavailable";
    /// All binds stand, but the upstream takes no messages: it throttles without end, or answers with faults of its own.
    pub const CIRCUIT_OPEN: &str = "CircuitOpen";
    /// The route is closed by its maintenance (its spec says so).
    pub const MAINTENANCE: &str = "Maintenance";
    /// It waits for the hours that its owner has set for it.
    pub const OUTSIDE_WINDOW: &str = "OutsideWindow";
    /// A database was restored: nothing is sent until its owner releases the queue.
    pub const RESTORED: &str = "Restored";
    /// The day's keys are not on another machine yet.
    pub const KEYS_NOT_SAFE: &str = "KeysNotSafe";
    /// The database cannot be reached.
    pub const DATABASE_UNAVAILABLE: &str = "DatabaseUnavailable";
    /// The key-encryption key does not wrap or unwrap.
    pub const KEY_ENCRYPTION_KEY_UNAVAILABLE: &str = "KeyEncryptionKeyUnavailable";
    /// What must be gone is not, or is not known to be.
    pub const OVERDUE: &str = "Overdue";
    /// Nothing of the kind holds.
    pub const NONE: &str = "None";
}

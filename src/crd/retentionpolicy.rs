//! RetentionPolicy: how long each class of data is kept, and where (D1 to D4, D8, A6, B9). The schema refuses what
//! would break a promise; that the policy is kept is proved by the status of those who enforce it.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    schema::{also, keyed, set},
    values::{Country, Day},
};

/// What the owner decides about keeping data.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "budstikke.dev",
    version = "v1alpha1",
    kind = "RetentionPolicy",
    plural = "retentionpolicies",
    namespaced,
    status = "RetentionPolicyStatus",
    derive = "PartialEq",
    shortname = "retp",
    category = "budstikke",
    doc = "How long each class of data is kept, and where it is.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Compliant",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Compliant\")].status"
    ),
    printcolumn(name = "Log", type_ = "string", json_path = ".status.log"),
    printcolumn(name = "Mail days", type_ = "integer", json_path = ".spec.mail.keepDays"),
    printcolumn(name = "Tenants", type_ = "integer", json_path = ".status.referencedBy"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = also(
        "self.mail.keepDays == 0 || self.backups.keyringKeepHours < 24 * self.mail.keepDays",
        "keys of mail copies must be gone from the keyring's backups too: write a `backups.keyringKeepHours` under 24 times `mail.keepDays`"
    ),
    transform = also(
        "!has(self.log.keep.days) || self.log.keep.days == 0 || self.backups.keyringKeepHours < 24 * self.log.keep.days",
        "keys of the log must be gone from the keyring's backups too: write a `backups.keyringKeepHours` under 24 times `log.keep.days`"
    ))]
pub struct RetentionPolicySpec {
    /// The message log: history look-up and delivery reports (D1, D2).
    pub log: LogRetention,
    /// SMS carried as e-mail, in both directions: raw mail, headers, attachments, lists, spools, result files (D3).
    pub mail: MailRetention,
    /// Opting out of logging (D4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_out: Option<OptOut>,
    /// What the API and the portal hold for a while: idempotency records, webhook and mail jobs, exports (D12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working: Option<WorkingRetention>,
    /// Accounts that have ended (A6).
    pub accounts: AccountRetention,
    /// Invoices (B9).
    pub invoices: InvoiceRetention,
    /// How long backups are kept, which bounds how late a key may be destroyed (D2, D3).
    pub backups: BackupRetention,
    /// Where personal data is, and what the owner declares of it (D8).
    pub hosting: Hosting,
    /// The owner's word that log entries and copies of mail from before this day may be erased now, given with a shortened policy.
    /// Without it the operator tells what would be erased and waits a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erase_confirmed_before: Option<Day>,
}

/// The message log (D1, D2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogRetention {
    /// How long an entry is kept after it was accepted: exactly one of `months` and `days` (D2).
    pub keep: Keep,
    /// Characters of the text that are logged, 0 to 160 (D1).
    #[schemars(range(max = 160))]
    pub text_characters: u16,
}

/// A length of time that is never more than three calendar months (D2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Keep {
    /// Calendar months, 1 to 3 (D2).
    Months(#[schemars(range(min = 1, max = 3))] u8),
    /// Days, 0 to 89: three calendar months have at least 89 (D2).
    Days(#[schemars(range(max = 89))] u8),
}

/// SMS carried as e-mail (D3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailRetention {
    /// Days that copies are kept for debugging, 0 to 3; 0 keeps none beyond delivery (D3).
    #[schemars(range(max = 3))]
    pub keep_days: u8,
}

/// Opting out of logging (D4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OptOut {
    /// Nothing is logged for any tenant under this policy, whether it asked or not. Default false (D4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always: Option<bool>,
    /// Whether a tenant may ask for receipts by webhook all the same. Default true (D4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_receipts: Option<bool>,
}

/// What is held for a while only (D12).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkingRetention {
    /// Answers to calls with an idempotency key, hours, 1 to 72. Default 24.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 72))]
    pub idempotency_hours: Option<u16>,
    /// Webhook and mail jobs after their last try, days, 0 to 3. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 3))]
    pub job_days: Option<u8>,
    /// Exports that a tenant ordered, days, 1 to 7. Default 7 (D7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 7))]
    pub export_days: Option<u8>,
    /// Enquiries and complaints after they were closed, months, 1 to 12. Default 12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 12))]
    pub enquiry_months: Option<u8>,
}

/// Accounts that have ended (A6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountRetention {
    /// Calendar months from the account's end to its permanent deletion, 0 to 3 (A6).
    #[schemars(range(max = 3))]
    pub delete_after_months: u8,
}

/// Invoices (B9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoiceRetention {
    /// Years from the end of the financial year, 5 to 10 (B9).
    #[schemars(range(min = 5, max = 10))]
    pub keep_years: u8,
    /// The last month of the owner's financial year, 1 to 12. Default 12 (B9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 12))]
    pub financial_year_ends_month: Option<u8>,
}

/// How long backups are kept (D2, D3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRetention {
    /// Backups of the keyring, WAL included, hours, 0 to 71: keys are destroyed that much before the promise ends (D2, D3).
    #[schemars(range(max = 71))]
    pub keyring_keep_hours: u16,
    /// Backups of the data instance, days, 0 to 3650: what they hold is unreadable once its keys are gone.
    #[schemars(range(max = 3650))]
    pub data_keep_days: u16,
}

/// Where personal data is, and what the owner declares of it (D8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hosting {
    /// The country, ISO 3166-1. Another than `DK` is allowed; status then says that D8 is not kept (D8).
    pub country: Country,
    /// The place, as the privacy page states it (D8, D9).
    #[schemars(length(min = 1, max = 200))]
    pub location: String,
    /// Who hosts, as the privacy page states it (D6, D9).
    #[schemars(length(min = 1, max = 100))]
    pub provider: String,
    /// What the owner declares to be so. What is left out is not kept, and status says so (D8).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), transform = set)]
    pub declared: Vec<Safeguard>,
}

/// A safeguard that software cannot see from within (D8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Safeguard {
    /// Volumes are encrypted.
    EncryptedVolumes,
    /// There is a hot standby, encrypted.
    EncryptedStandby,
    /// Backups are outside the cluster, encrypted.
    EncryptedExternalBackups,
}

/// What holds for a policy now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicyStatus {
    /// The generation of the spec that this status speaks of; -1 before the first.
    pub observed_generation: i64,
    /// Ready, Reconciling, Stalled, Compliant, ErasurePending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::crd::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Tenants that name this policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referenced_by: Option<i32>,
    /// How long the log is kept and what of the text, in one line: `3 months, 160 characters`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 60))]
    pub log: Option<String>,
    /// What is kept of the Tenants under this policy, by class, and until when (D2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), transform = keyed(&["class"]))]
    pub classes: Vec<ClassStatus>,
    /// When all that had to be gone was gone last, in the whole installation; told anew once an hour, or when something went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub last_run: Option<String>,
    /// When something falls due next: the beginning of the next day in Copenhagen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub next_run: Option<String>,
    /// What was ever erased in the whole installation, by the erasure journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<ErasedStatus>,
}

/// What is kept of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassStatus {
    /// `queue` (texts on their way), `log` (history), `inbound` (received) or `mail` (copies for debugging).
    #[schemars(length(max = 20))]
    pub class: String,
    /// The oldest day of which anything can still be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Day>,
    /// For how many days after the day itself it can be read, by this policy; of `mail`, after the hour itself.
    pub days: i32,
    /// And so many hours more; of `mail` only, whose keys are of the hour (D3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<i32>,
}

/// What was ever erased.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErasedStatus {
    /// Keys that were destroyed.
    pub keys: i64,
    /// Partitions of days that were dropped.
    pub partitions: i64,
    /// Log entries that were erased one by one.
    pub entries: i64,
    /// Messages that were ended since they had waited as long as they might.
    pub messages: i64,
    /// Accounts (A6).
    pub accounts: i64,
}

//! API keys, and what is to be known of the tenant behind one before a call is read.
use jiff::Timestamp;

use sqlx::PgPool;

use crate::domain::{ApiKey, MilliOre, Msisdn, PriceList, Region, Scope, SenderId, Service, TenantId};
use crate::store::asking::asking;

/// The question failed; the database is away.
#[derive(Debug, thiserror::Error)]
#[error("look up an API key: {0}")]
pub struct Error(#[source] sqlx::Error);

/// What a key opens.
#[derive(Debug)]
pub struct Access {
    /// Whose key it is.
    pub tenant: TenantId,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// The tenant's settings; `None` while the operator has written none.
    pub account: Option<Account>,
}

/// How the calls of a tenant are read. Whether it may send is not here: the accepting transaction asks that itself.
#[derive(Debug)]
pub struct Account {
    /// What it may use (A9).
    pub services: Vec<Service>,
    /// What it may send under; the first that fits is the default.
    pub sender_ids: Vec<OwnSender>,
    /// Numbers begin with one of these; empty: with anything.
    pub allowed_prefixes: Vec<String>,
    /// For numbers without a country code.
    pub region: Option<Region>,
    /// The most parts of one message.
    pub max_parts: u8,
    /// The most recipients of one call.
    pub recipients_per_call: usize,
    /// Days that the log is kept; 0: nothing is logged (D4).
    pub log_days: u16,
    /// The most characters of a text that are logged.
    pub log_characters: usize,
    /// Within so many seconds the same text to the same number is a duplicate; `None`: it never is.
    pub duplicate_seconds: Option<i32>,
    /// Seconds that a message is tried, by default and at most.
    pub validity_seconds: i64,
    /// What parts cost.
    pub prices: PriceList,
    /// There is a list of those who want nothing more. What is right is asked when a call is accepted.
    pub opt_outs: bool,
}

impl Account {
    /// Whether it may send to this number.
    #[must_use]
    pub fn reaches(&self, number: &Msisdn) -> bool {
        let digits = number.digits().reveal();
        self.allowed_prefixes.is_empty()
            || self.allowed_prefixes.iter().any(|prefix| digits.starts_with(prefix.as_str()))
    }
}

/// A sender id, and where it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSender {
    /// What recipients see.
    pub id: SenderId,
    /// In these countries; empty: in every one.
    pub countries: Vec<Region>,
    /// The service that it needs and the account lacks: it may not be used then.
    pub lacks: Option<Service>,
}

impl OwnSender {
    /// Whether it may be used in a country; in one that nobody knows only if it may be used in every one.
    #[must_use]
    pub fn may_be_used_in(&self, country: Option<Region>) -> bool {
        self.countries.is_empty() || country.is_some_and(|country| self.countries.contains(&country))
    }

    /// As stored: the sender id, its countries between commas, and the service that the account lacks for it.
    fn read(id: &str, countries: &str, lacks: &str) -> Option<Self> {
        let known: Vec<_> = countries.split(',').filter_map(Region::from_code).collect();
        // One that is bound to countries which nobody knows may be used in none.
        let lost = !countries.is_empty() && known.is_empty();
        let id = SenderId::parse(id).ok().filter(|_| !lost)?;
        Some(Self { id, countries: known, lacks: Service::from_word(lacks) })
    }
}

/// The access that a key gives: `None` when there is no such key, or its secret is another, or it is revoked or expired
/// at `now`.
///
/// # Errors
/// When the database does not answer.
pub async fn find(pool: &PgPool, key: &ApiKey, now: Timestamp) -> Result<Option<Access>, Error> {
    let Some(row) = sqlx::query!(
        r#"select k.tenant_id, k.hash, k.scopes, k.expires_at,
             e.services as "services?", e.sender_ids as "sender_ids?", e.sender_countries as "sender_countries?",
             e.sender_lacks as "sender_lacks?",
             e.allowed_prefixes as "allowed_prefixes?", e.default_region as "default_region?", e.max_parts as "max_parts?",
             e.recipients_per_call as "recipients_per_call?", e.log_days as "log_days?",
             e.log_characters as "log_characters?", e.duplicate_seconds as "duplicate_seconds?", e.validity_seconds as "validity_seconds?",
             array(select prefix from price p where p.tenant_id = k.tenant_id order by prefix) as "prefixes!",
             array(select amount from price p where p.tenant_id = k.tenant_id order by prefix) as "amounts!",
             exists (select from opt_out o where o.tenant_id = k.tenant_id) as "opt_outs!"
         from api_key k left join enforcement e using (tenant_id)
         where k.prefix = $1 and k.revoked_at is null"#,
        key.prefix()
    )
    .fetch_optional(asking(pool))
    .await
    .map_err(Error)?
    else {
        return Ok(None);
    };
    let expires_at = row.expires_at.map(jiff_sqlx::Timestamp::to_jiff);
    if !key.matches(&row.hash) || expires_at.is_some_and(|end| end <= now) {
        return Ok(None);
    }
    let (countries, lacks) = (row.sender_countries.unwrap_or_default(), row.sender_lacks.unwrap_or_default());
    let or_none = |words: &'_ [String], at: usize| words.get(at).cloned().unwrap_or_default();
    let account = row.sender_ids.map(|sender_ids| Account {
        services: row.services.unwrap_or_default().iter().filter_map(|word| Service::from_word(word)).collect(),
        sender_ids: sender_ids
            .iter()
            .enumerate()
            .filter_map(|(at, id)| OwnSender::read(id, &or_none(&countries, at), &or_none(&lacks, at)))
            .collect(),
        allowed_prefixes: row.allowed_prefixes.unwrap_or_default(),
        region: row.default_region.as_deref().and_then(Region::from_code),
        max_parts: row.max_parts.and_then(|parts| u8::try_from(parts).ok()).unwrap_or(u8::MAX),
        recipients_per_call: row.recipients_per_call.and_then(|count| usize::try_from(count).ok()).unwrap_or(0),
        log_days: row.log_days.and_then(|days| u16::try_from(days).ok()).unwrap_or(0),
        log_characters: row.log_characters.and_then(|count| usize::try_from(count).ok()).unwrap_or(0),
        duplicate_seconds: row.duplicate_seconds,
        validity_seconds: row.validity_seconds.map_or(0, i64::from),
        opt_outs: row.opt_outs,
        prices: row.prefixes.into_iter().zip(row.amounts.into_iter().map(MilliOre)).collect(),
    });
    Ok(Some(Access {
        tenant: TenantId(row.tenant_id),
        scopes: row.scopes.iter().filter_map(|word| Scope::from_word(word)).collect(),
        expires_at,
        account,
    }))
}

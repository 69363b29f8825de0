//! Database logins of senders and connectors. The server learns a verifier, never a password.
use sqlx::PgPool;

use super::scram;
use crate::domain::{RouteId, Secret, TenantId};

/// What the database would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Whether a login exists was not found out.
    #[error("look for the login: {0}")]
    Find(#[source] sqlx::Error),
    /// No verifier of the password was made.
    #[error(transparent)]
    MakeVerifier(scram::SaltError),
    /// The login was not made.
    #[error("make the login: {0}")]
    Make(#[source] sqlx::Error),
}

/// Whose login it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A tenant's senders.
    Tenant(TenantId),
    /// A route's connectors.
    Route(RouteId),
}

impl Holder {
    /// The login's name in the database.
    #[must_use]
    pub fn role_name(self) -> String {
        match self {
            Self::Tenant(tenant) => format!("bst_{tenant}"),
            Self::Route(route) => format!("bsr_{route}"),
        }
    }
}

/// Whether the login was made.
///
/// # Errors
/// When the database says no.
pub async fn exists(pool: &PgPool, holder: Holder) -> Result<bool, Error> {
    sqlx::query_scalar!(
        r#"select exists (select from login where role_name = $1::text::name) as "is!""#,
        holder.role_name()
    )
    .fetch_one(pool)
    .await
    .map_err(Error::Find)
}

/// Makes the login, or gives it another password.
///
/// # Errors
/// When the database says no.
pub async fn ensure(pool: &PgPool, holder: Holder, password: &Secret) -> Result<(), Error> {
    let verifier = scram::verifier(password.expose()).map_err(Error::MakeVerifier)?;
    let made = match holder {
        Holder::Tenant(TenantId(tenant)) => {
            sqlx::query_scalar!("select tenant_login($1, $2)", tenant, verifier).fetch_one(pool).await
        }
        Holder::Route(RouteId(route)) => {
            sqlx::query_scalar!("select route_login($1, $2)", route, verifier).fetch_one(pool).await
        }
    };
    made.map(|_| ()).map_err(Error::Make)
}

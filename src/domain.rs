//! What the service is about, without a database, a network or a clock of its own.
pub mod aggregate;
mod api_key;
mod clock;
pub mod content;
mod hour;
mod ids;
pub mod inbound;
mod message;
mod msisdn;
pub mod period;
mod personal;
mod price;
mod secret;
mod sender_id;
pub mod text;

pub use api_key::{ApiKey, KeyForm, NoRandomness, Scope};
pub use clock::{Clock, SystemClock, copenhagen_day, copenhagen_midnight};
pub use content::{Body, Entry};
pub use hour::{Hour, NotAnHour};
pub use ids::{BatchId, MessageId, RouteId, TenantId};
pub use message::{LocalError, MessageState};
pub use msisdn::{Msisdn, NumberRefusal, Region, load_numbering_plans};
pub use personal::Personal;
pub use price::{MilliOre, PriceList};
pub use secret::Secret;
pub use sender_id::{NotASenderId, SenderId};
pub use text::{Encoding, Parts, TextRefusal};

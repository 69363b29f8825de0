//! Ours: the API, a connector and a sender, as they are released.
use std::time::{Duration, Instant};

use serde_json::json;

use super::load::recipient;
use crate::support::installation::{Installation, Route};

/// More than a machine can do: the route's rate is not what is measured.
pub(crate) const ROUTE: Route = Route {
    binds: 1,
    rate: 100_000,
    window: 1000,
    response: Duration::from_secs(30),
    enquire: Duration::from_secs(30),
};
const TEXT: &str = "Hej! Din tid hos Værkstedet er i morgen kl. 9.30. Ring på 70 12 34 56 for at flytte den.";

/// One message to one recipient.
pub(crate) async fn call(ours: &Installation, number: usize) {
    let body = json!({"to": format!("+{}", recipient(number)), "text": TEXT});
    let (status, said) = ours.api.post("", &body, None, Duration::from_secs(60)).await.expect("an answer");
    assert_eq!(status, 202, "{said}\n{}", ours.log("api"));
}

/// Waits until so many messages have their receipt stored.
pub(crate) async fn settled(ours: &Installation, messages: usize, patience: Duration) {
    let wanted = i64::try_from(messages).expect("few");
    let deadline = Instant::now() + patience;
    loop {
        let delivered: i64 = sqlx::query_scalar("select count(*) from message_log where state = 3")
            .fetch_one(&ours.owner)
            .await
            .expect("a count");
        if delivered >= wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{delivered} of {wanted} have their receipt");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

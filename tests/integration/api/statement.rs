//! What everybody can read of what is kept (D9).
use budstikke::domain::TenantId;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::service::{Answer, Api, Service};

fn policy(months: u8, location: &str) -> Value {
    json!({
        "log": {"keep": {"months": months}, "textCharacters": 160}, "mail": {"keepDays": 3}, "accounts": {"deleteAfterMonths": 3},
        "invoices": {"keepYears": 5}, "backups": {"keyringKeepHours": 24, "dataKeepDays": 30},
        "hosting": {"country": "DK", "location": location, "provider": "Vert <& co>"},
    })
}

/// Puts a tenant under a policy, as the operator does.
async fn under(service: &Service, tenant: TenantId, name: &str, spec: &Value) {
    let operator = service.databases.data.pool("budstikke_operator");
    sqlx::query("insert into in_force (tenant_id, kind, name, spec) values ($1, 'policy', $2, $3)")
        .bind(tenant.0)
        .bind(name)
        .bind(spec)
        .execute(&operator)
        .await
        .expect("a policy");
    operator.close().await;
}

/// Asked of a process that has nothing in store: without a key, as anybody.
async fn public(service: &Service, path: &str, language: Option<&str>) -> (Answer, String) {
    let api = Api::start(&service.databases).await;
    let mut request = api.client.request(Method::GET, api.url(path));
    if let Some(language) = language {
        request = request.header(header::ACCEPT_LANGUAGE, language);
    }
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("a text");
    (Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default() }, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_privacy_page_states_what_is_in_force_and_nothing_of_one_account() {
    let service = Service::start().await;
    let (answer, _) = public(&service, "/v1/privacy", None).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.body, json!({"hosting": [], "processors": [], "cookies": [], "checkedRecently": false}));

    let (other, _) = service.other_tenant("kommune").await;
    under(&service, service.tenant, "standard", &policy(1, "Aarhus")).await;
    under(&service, other, "kommune-only", &policy(3, "Aarhus")).await;
    let route = service.databases.route("upstream", &[(service.tenant, 1)]).await;
    service.databases.route("unused", &[]).await;
    sqlx::query("update route set processor = '{\"name\": \"Sinch\", \"country\": \"SE\", \"agreementOn\": \"2026-01-31\"}' where route_id = $1")
        .bind(route.0)
        .execute(&service.owner())
        .await
        .expect("a processor");
    sqlx::query("update route set processor = '{\"name\": \"Nobody\", \"country\": \"DE\"}' where name = 'unused'")
        .execute(&service.owner())
        .await
        .expect("a processor");
    sqlx::query("insert into retention_run (at, done_at) values (now(), now())")
        .execute(&service.owner())
        .await
        .expect("a run");

    let (answer, text) = public(&service, "/v1/privacy", None).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.body["kept"]["log"], json!({"months": 3}), "the longest");
    assert_eq!(answer.body["kept"]["logDaysEnforced"], 90, "as it is written for accepting");
    assert_eq!(answer.body["checkedRecently"], true);
    assert_eq!(answer.body["processors"], json!([{"name": "Sinch", "country": "SE", "agreementOn": "2026-01-31"}]));
    assert_eq!(answer.body["hosting"].as_array().map(Vec::len), Some(1), "{text}");
    assert!(!text.contains("kommune") && !text.contains("standard"), "{text}");
    assert!(!answer.headers.contains_key(header::SET_COOKIE));

    let (answer, page) = public(&service, "/privacy", None).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    assert!(!answer.headers.contains_key(header::SET_COOKIE));
    assert!(
        answer.headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .expect("ASCII")
            .starts_with("default-src 'none'; style-src 'sha256-")
    );
    for part in [
        "lang=\"da\"",
        "Højst 3 måneder",
        "i 90 døgn",
        "Vert &#60;&#38; co&#62;",
        "Sinch (SE)",
        "alt, hvad der skulle være slettet",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<script") && !page.contains("kommune"), "{page}");
    let (_, page) = public(&service, "/privacy", Some("en-GB, da;q=0.5")).await;
    assert!(page.contains("lang=\"en\"") && page.contains("At most 3 months"), "{page}");
    let (_, page) = public(&service, "/privacy?lang=da", Some("en-GB")).await;
    assert!(page.contains("<html lang=\"da\">"), "{page}");
    let (answer, _) = public(&service, "/privacy?lang=sv", None).await;
    assert_eq!(answer.problem(400), "malformed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_old_is_not_called_one() {
    let service = Service::start().await;
    under(&service, service.tenant, "standard", &policy(3, "Aarhus")).await;
    sqlx::query("insert into retention_run (at, done_at) values (now(), now() - interval '61 minutes')")
        .execute(&service.owner())
        .await
        .expect("a run");
    let (answer, _) = public(&service, "/v1/privacy", None).await;
    assert_eq!(answer.body["checkedRecently"], false, "{answer:?}");
    let (_, page) = public(&service, "/privacy", None).await;
    assert!(page.contains("Siden da er det ikke påvist"), "{page}");
}

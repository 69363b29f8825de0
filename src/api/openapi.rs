//! The OpenAPI document, made from the handlers themselves. `docs/openapi.json` is its copy, held by a test.
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, openapi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Budstikke",
        description = "Send SMS, follow them to the handset, and read those received.\n\nEvery failure is told as problem \
            details (RFC 9457): `type` is stable, `detail` says what to write instead.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "messages", description = "Sending, history and delivery reports"),
        (name = "inbound", description = "Received messages"),
        (name = "opt-outs", description = "Those who want nothing more from the account"),
        (name = "webhooks", description = "Endpoints that are told what happened, by signed calls (Standard Webhooks)"),
        (name = "data", description = "What is registered about the account, and what it adds up to"),
        (name = "public", description = "For everybody, without a key"),
        (name = "owner", description = "For the owner of the installation alone"),
    ),
    modifiers(&ApiKeys),
)]
pub(super) struct Frame;

struct ApiKeys;

impl Modify for ApiKeys {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("bud_<prefix>_<secret>")
            .description(Some("An API key of the account, with the scopes it was given."));
        let owner = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("bud_<prefix>_<secret>")
            .description(Some("The owner's key, from the installation's Secret; no account's key is one."));
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("apiKey", SecurityScheme::Http(scheme.build()));
        components.add_security_scheme("ownerKey", SecurityScheme::Http(owner.build()));
    }
}

/// The document as JSON.
///
/// # Errors
/// None in practice: a document always serialises.
pub fn json() -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(&super::router::document())?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_holds_the_current_document() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let current = super::json().expect("a document");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &current).expect("write the document");
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(stored == current, "docs/openapi.json is out of date: `make generate` renews it");
    }

    #[test]
    fn it_says_openapi_3_1_and_documents_every_address() {
        let document: serde_json::Value = serde_json::from_str(&super::json().expect("a document")).expect("JSON");
        assert_eq!(document["openapi"].as_str().map(|version| &version[..4]), Some("3.1."));
        let paths: Vec<_> = document["paths"].as_object().expect("paths").keys().collect();
        assert_eq!(
            paths,
            [
                "/v1/batches/{id}",
                "/v1/data",
                "/v1/disclosures",
                "/v1/inbound",
                "/v1/inbound/search",
                "/v1/messages",
                "/v1/messages/cancel",
                "/v1/messages/fail",
                "/v1/messages/release",
                "/v1/messages/search",
                "/v1/messages/{id}",
                "/v1/opt-outs",
                "/v1/opt-outs/search",
                "/v1/opt-outs/{id}",
                "/v1/owner/disclosures",
                "/v1/owner/statistics",
                "/v1/privacy",
                "/v1/statistics",
                "/v1/webhooks",
                "/v1/webhooks/{id}",
                "/v1/webhooks/{id}/deliveries",
                "/v1/webhooks/{id}/deliveries/{deliveryId}/replay",
                "/v1/webhooks/{id}/rotate",
                "/v1/webhooks/{id}/test",
            ]
        );
    }
}

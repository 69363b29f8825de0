//! The addresses, and what every call goes through: counting, a limit on calls at once, a time-out, a limit on the
//! body, and our own words where nothing fits.
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::FutureExt as _;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::Frame;
use super::problem::Problem;
use super::webhooks::deliveries;
use super::{
    Shared, copy, decide, disclosures, inbound, messages, opt_outs, privacy, search, send, statistics, webhooks,
};

/// The most bytes of a body.
const BODY: usize = 1024 * 1024;
/// How long a call may take, its body's arrival included.
const PATIENCE: Duration = Duration::from_secs(30);

fn described() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::with_openapi(Frame::openapi())
        .routes(routes!(send::send, messages::list))
        .routes(routes!(messages::read))
        .routes(routes!(messages::batch))
        .routes(routes!(decide::cancel))
        .routes(routes!(decide::release))
        .routes(routes!(decide::fail))
        .routes(routes!(search::messages))
        .routes(routes!(inbound::list))
        .routes(routes!(search::inbound))
        .routes(routes!(opt_outs::add, opt_outs::list))
        .routes(routes!(opt_outs::search))
        .routes(routes!(opt_outs::remove))
        .routes(routes!(copy::copy))
        .routes(routes!(disclosures::list))
        .routes(routes!(webhooks::add, webhooks::list))
        .routes(routes!(webhooks::read, webhooks::change, webhooks::remove))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::replay))
        .routes(routes!(deliveries::test))
        .routes(routes!(statistics::own))
        .routes(routes!(disclosures::record, disclosures::list_all))
        .routes(routes!(statistics::all))
        .routes(routes!(privacy::statement))
}

/// The document of all addresses.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

/// All addresses, ready to serve.
pub fn router(shared: &Arc<Shared>) -> Router {
    let (router, document) = described().split_for_parts();
    router
        .route("/openapi.json", get(|| async move { axum::Json(document) }))
        .route("/privacy", get(privacy::page))
        .fallback(async || Problem::NoSuchAddress)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(Arc::clone(shared), bounded))
        .with_state(Arc::clone(shared))
}

/// Answers every call, once, within bounds.
async fn bounded(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let method = name(request.method());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let mut response = match Arc::clone(&shared.calls).try_acquire_owned() {
        Err(_) => Problem::Busy.into_response(),
        Ok(_place) => {
            let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
            match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(response)) => response,
                Ok(Err(_)) => Problem::internal("a handler panicked").into_response(),
                Err(_) => Problem::TimedOut.into_response(),
            }
        }
    };
    // Answers hold personal data, or say something about a key: nobody between us keeps them.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    shared.metrics.answered(method, route.as_deref().unwrap_or("none"), response.status().as_u16());
    response
}

/// A label of bounded variety: a caller may make methods up.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

//! CORS for the listed origins. Cookies are never used or allowed: a page sends its credentials in headers that it sets
//! itself.

use actix_cors::Cors;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::middleware::Condition;

/// The middleware, disabled if there are no origins.
pub(crate) fn cors(origins: &[String]) -> Condition<Cors> {
    let mut cors = Cors::default()
        .allowed_methods(["GET", "POST"])
        .allowed_headers([AUTHORIZATION, CONTENT_TYPE, super::credentials::API_KEY])
        .allowed_headers([
            "idempotency-key",
            "inference-header-content-length",
            "prefer",
            "x-forebay-callback",
            "x-forebay-key",
            "traceparent",
            "tracestate",
        ])
        .expose_headers([
            "inference-header-content-length",
            "location",
            "preference-applied",
            "retry-after",
            "www-authenticate",
            "traceparent",
        ])
        .max_age(3600);
    for origin in origins {
        cors = if origin == "*" { cors.allow_any_origin().send_wildcard() } else { cors.allowed_origin(origin) };
    }
    Condition::new(!origins.is_empty(), cors)
}

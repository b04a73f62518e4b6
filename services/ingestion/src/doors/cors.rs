//! Which pages may call from a browser: those of listed origins. Browsers send no cookies here and are told to send none:
//! credentials stand in headers that the page sets itself.

use actix_cors::Cors;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::middleware::Condition;

/// Nothing at all without origins.
pub(crate) fn cors(origins: &[String]) -> Condition<Cors> {
    let mut cors = Cors::default()
        .allowed_methods(["GET", "POST"])
        .allowed_headers([AUTHORIZATION, CONTENT_TYPE, super::credentials::API_KEY])
        .allowed_headers(["idempotency-key", "x-forebay-key", "traceparent", "tracestate"])
        .expose_headers(["retry-after", "www-authenticate", "traceparent"])
        .max_age(3600);
    for origin in origins {
        cors = if origin == "*" { cors.allow_any_origin().send_wildcard() } else { cors.allowed_origin(origin) };
    }
    Condition::new(!origins.is_empty(), cors)
}

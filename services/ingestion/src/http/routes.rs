//! Paths, and answers to unknown ones. Every answer is JSON, errors included.

use actix_web::http::header::ALLOW;
use actix_web::{Handler, HttpRequest, HttpResponse, Responder, web};
use forebay_contract::{ErrorCode, Problem};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::async_results;
use super::models::{PlainError, models};
use super::open_inference;
use super::openapi::openapi;
use super::predict::{ROUTE, predict};
use super::scoring;

#[derive(Serialize)]
struct Welcome {
    /// What clients of KServe's first protocol look for.
    status: &'static str,
    service: &'static str,
    version: &'static str,
    predict: &'static str,
    models: &'static str,
    open_inference: &'static str,
    documentation: &'static str,
}

/// Mounts the paths of the server.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource(ROUTE, "POST").route(web::post().to(predict)))
        .service(get_and_head("/v1/models", models))
        .service(get_and_head(async_results::ROUTE, async_results::result))
        .service(get_and_head("/openapi.json", openapi))
        .service(get_and_head("/", welcome))
        .configure(open_inference::routes)
        .configure(scoring::routes)
        .default_service(web::to(unknown_path));
}

/// A path that answers `GET`, and `HEAD` without the body.
pub(super) fn get_and_head<H, Args>(path: &str, handler: H) -> actix_web::Resource
where
    H: Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    H::Output: Responder + 'static,
{
    resource(path, "GET, HEAD").route(web::get().to(handler.clone())).route(web::head().to(handler))
}

/// A path that answers other methods with the ones that are `allowed`.
pub(super) fn resource(path: &str, allowed: &'static str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(move |request: HttpRequest| wrong_method(request, allowed)))
}

/// A part of the path as the client meant it. The router leaves `%2B`, `%2F` and `%25` as they are.
pub(super) fn path_part(request: &HttpRequest, name: &str) -> Option<String> {
    let part = request.match_info().get(name)?;
    Some(percent_decode_str(part).decode_utf8().map_or_else(|_| part.to_owned(), |text| text.into_owned()))
}

async fn welcome() -> HttpResponse {
    HttpResponse::Ok().json(Welcome {
        status: "alive",
        service: "forebay",
        version: env!("CARGO_PKG_VERSION"),
        predict: "POST /v1/predict",
        models: "GET /v1/models",
        open_inference: "GET /v2",
        documentation: "GET /openapi.json",
    })
}

async fn wrong_method(request: HttpRequest, allowed: &'static str) -> HttpResponse {
    let message = format!("{} does not support {}, only {allowed}", request.path(), request.method());
    let body = PlainError::from(Problem::new(ErrorCode::InvalidRequest, message));
    HttpResponse::MethodNotAllowed().insert_header((ALLOW, allowed)).json(body)
}

async fn unknown_path(request: HttpRequest) -> HttpResponse {
    let message = format!("unknown path {}; see /openapi.json", request.path());
    HttpResponse::NotFound().json(PlainError::from(Problem::new(ErrorCode::InvalidRequest, message)))
}

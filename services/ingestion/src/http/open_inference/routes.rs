//! The paths below `/v2`, and answers to unknown ones in the protocol's form.

use actix_web::dev::HttpServiceFactory;
use actix_web::http::header::ALLOW;
use actix_web::{Handler, HttpRequest, HttpResponse, Responder, web};
use forebay_contract::{ErrorCode, Problem};

use super::super::routes::path_part;
use super::{error_json, infer, metadata, rejected, repository, statistics};

/// The model that a path names.
#[derive(Debug)]
pub(super) struct Target {
    pub model: String,
    pub version: Option<String>,
}

impl Target {
    pub(super) fn of(request: &HttpRequest) -> Self {
        let part = |name| path_part(request, name);
        Self { model: part("model").unwrap_or_default(), version: part("version") }
    }
}

/// Mounts the paths.
pub(in crate::http) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(get(&["/v2", "/v2/"], metadata::server))
        .service(get(&["/v2/health/live"], metadata::live))
        .service(get(&["/v2/health/ready"], metadata::ready))
        .service(get(&["/v2/models/stats"], statistics::all))
        .service(post(&["/v2/repository/index"], repository::index))
        .service(post(&["/v2/repository/models/{model}/load"], repository::load))
        .service(post(&["/v2/repository/models/{model}/unload"], repository::unload))
        .service(post(&of_model("/infer"), infer::infer))
        .service(get(&of_model("/ready"), metadata::model_ready))
        .service(get(&of_model("/config"), metadata::config))
        .service(get(&of_model("/stats"), statistics::model))
        .service(get(&of_model(""), metadata::model))
        .service(web::scope("/v2").default_service(web::to(unknown_path)));
}

/// The paths of what a model has under this end, with and without a version.
fn of_model(end: &str) -> [String; 2] {
    [format!("/v2/models/{{model}}{end}"), format!("/v2/models/{{model}}/versions/{{version}}{end}")]
}

fn get<H, Args>(paths: &[impl AsRef<str>], handler: H) -> impl HttpServiceFactory + 'static
where
    H: Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    H::Output: Responder + 'static,
{
    let route = web::get().to(handler.clone());
    resource(paths, "GET, HEAD").route(route).route(web::head().to(handler))
}

fn post<H, Args>(paths: &[impl AsRef<str>], handler: H) -> impl HttpServiceFactory + 'static
where
    H: Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    H::Output: Responder + 'static,
{
    resource(paths, "POST").route(web::post().to(handler))
}

fn resource(paths: &[impl AsRef<str>], allowed: &'static str) -> actix_web::Resource {
    let paths: Vec<String> = paths.iter().map(|path| path.as_ref().to_owned()).collect();
    web::resource(paths).default_service(web::to(move |request: HttpRequest| wrong_method(request, allowed)))
}

async fn wrong_method(request: HttpRequest, allowed: &'static str) -> HttpResponse {
    let text = format!("{} does not support {}, only {allowed}", request.path(), request.method());
    let body = error_json(&Problem::new(ErrorCode::InvalidRequest, text));
    HttpResponse::MethodNotAllowed().insert_header((ALLOW, allowed)).content_type("application/json").body(body)
}

async fn unknown_path(request: HttpRequest) -> HttpResponse {
    let unsupported = ["sharedmemory", "trace/setting", "logging"].iter().any(|part| request.path().contains(part));
    if unsupported {
        let text = format!("{} is not supported: there are no shared memory, trace and log settings", request.path());
        let body = error_json(&Problem::new(ErrorCode::InvalidRequest, text));
        return HttpResponse::NotImplemented().content_type("application/json").body(body);
    }
    rejected(Problem::new(ErrorCode::UnknownModel, format!("unknown path {}", request.path())))
}

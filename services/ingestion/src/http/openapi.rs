//! `/openapi.json`, generated from the types that are served and from the descriptions in `schema`.

use std::sync::OnceLock;

use actix_web::http::header::{CONTENT_ENCODING, VARY};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use utoipa::OpenApi;
use utoipa::openapi::Required;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};

use super::content_coding;
use super::response::{ErrorAnswer, ManyAnswer};
use super::schema::OneAnswer;
use super::state::HttpState;

#[derive(OpenApi)]
#[openapi(
    info(title = "Forebay", description = "Predictions from the models behind the mesh."),
    paths(
        super::predict::predict,
        super::async_results::result,
        super::models::models,
        super::open_inference::infer::infer,
        super::open_inference::metadata::live,
        super::open_inference::metadata::ready,
        super::open_inference::metadata::server,
        super::open_inference::metadata::model,
        super::open_inference::metadata::model_ready,
        super::open_inference::metadata::config,
        super::open_inference::statistics::all,
        super::open_inference::statistics::model,
        super::open_inference::repository::index,
        super::open_inference::repository::load,
        super::open_inference::repository::unload,
        super::scoring::kserve::predict,
        super::scoring::kserve::model,
        super::scoring::seldon::predict,
        super::scoring::mlflow::invocations,
        super::scoring::mlflow::endpoint,
        super::scoring::mlflow::ping,
        super::scoring::mlflow::version,
    ),
    components(schemas(OneAnswer, ManyAnswer, ErrorAnswer)),
    tags((name = "predict", description = "Score one row or many"), (name = "models", description = "The models and who serves them"), (name = "open inference protocol", description = "Version 2, as clients of Triton, KServe, Seldon and MLServer speak it"), (name = "other protocols", description = "KServe's and Seldon's first protocols, MLflow's and SageMaker's")),
)]
struct ApiDocument;

/// Paths that need no credentials.
const PUBLIC: [&str; 5] = ["/v2/health/live", "/v2/health/ready", "/ping", "/health", "/version"];
/// Paths that answer like another one, with the end of the names of their operations.
const ALIASES: [(&str, &str, &str); 14] = [
    ("/v2/models/{model}", "/v2/models/{model}/versions/{version}", "of_version"),
    ("/v2/models/{model}/ready", "/v2/models/{model}/versions/{version}/ready", "of_version"),
    ("/v2/models/{model}/config", "/v2/models/{model}/versions/{version}/config", "of_version"),
    ("/v2/models/{model}/stats", "/v2/models/{model}/versions/{version}/stats", "of_version"),
    ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer", "of_version"),
    ("/v1/models/{model}", "/v1/models/{model}/versions/{version}", "of_version"),
    ("/v1/models/{model}:predict", "/v1/models/{model}/versions/{version}:predict", "of_version"),
    ("/invocations", "/models/{model}/invocations", "of_model"),
    ("/invocations", "/models/{model}/versions/{version}/invocations", "of_version"),
    ("/api/v1.0/predictions", "/api/v0.1/predictions", "v01"),
    ("/api/v1.0/predictions", "/seldon/{model}/api/v1.0/predictions", "of_model"),
    ("/api/v1.0/predictions", "/seldon/{namespace}/{model}/api/v1.0/predictions", "in_namespace"),
    ("/ping", "/health", "health"),
    ("/v2", "/v2/", "slash"),
];

/// Describes the paths that answer like others.
fn add_aliases(document: &mut utoipa::openapi::OpenApi) {
    for (known, path, end) in ALIASES {
        let Some(mut item) = document.paths.paths.get(known).cloned() else { continue };
        for operation in item.get.iter_mut().chain(item.post.iter_mut()) {
            operation.operation_id = operation.operation_id.take().map(|id| format!("{id}_{end}"));
            let parameters = operation.parameters.get_or_insert_default();
            let described = |name: &str| known.contains(&format!("{{{name}}}"));
            for name in ["namespace", "model", "version"] {
                if path.contains(&format!("{{{name}}}")) && !described(name) {
                    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
                    let schema = ObjectBuilder::new().schema_type(Type::String);
                    parameters.push(parameter.required(Required::True).schema(Some(schema)).build());
                }
            }
        }
        document.paths.paths.insert(path.to_owned(), item);
    }
}

/// The document of this build, for a server that accepts API keys (`keys`) and tokens.
pub fn document(keys: bool, tokens: bool) -> utoipa::openapi::OpenApi {
    let mut document = ApiDocument::openapi();
    add_aliases(&mut document);
    let header = |name, text: &str| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, text)));
    let bearer = |form: Option<&str>, text: &str| {
        let builder = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(text));
        SecurityScheme::Http(if let Some(form) = form { builder.bearer_format(form) } else { builder }.build())
    };
    let mut schemes = Vec::new();
    if keys {
        schemes.push(("api_key", header("X-API-Key", "As `forebay keys new` printed it")));
        schemes.push(("api_key_bearer", bearer(None, "An API key as Authorization: Bearer")));
    }
    if tokens {
        schemes.push(("token", bearer(Some("JWT"), "A token from the issuer that this mesh trusts")));
    }
    let any: Vec<_> = schemes.iter().map(|(name, _)| SecurityRequirement::new(*name, [""; 0])).collect();
    let components = document.components.get_or_insert_default();
    for (name, scheme) in schemes {
        components.add_security_scheme(name, scheme);
    }
    if !any.is_empty() {
        let paths = document.paths.paths.iter_mut().filter(|(path, _)| !PUBLIC.contains(&path.as_str()));
        for operation in paths.flat_map(|(_, path)| path.get.iter_mut().chain(path.post.iter_mut())) {
            operation.security = Some(any.clone());
        }
    }
    document
}

/// The handler. Needs no credentials: the document says how to send them, and nothing about the models.
pub(super) async fn openapi(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    let (keys, tokens) = state.authenticator.accepts();
    // made once, and compressed once: everybody may ask for it as often as they like
    static TEXTS: [OnceLock<Bytes>; 4] = [const { OnceLock::new() }; 4];
    static COMPRESSED: [[OnceLock<Bytes>; 3]; 4] = [const { [const { OnceLock::new() }; 3] }; 4];
    let made = || serde_json::to_vec(&document(keys, tokens)).unwrap_or_default().into();
    let kind = usize::from(keys) * 2 + usize::from(tokens);
    let text = TEXTS[kind].get_or_init(made);
    let mut response = HttpResponse::Ok();
    response.content_type("application/json");
    let Some(coding) = content_coding::of_answer(request.headers(), text.len()) else {
        return response.body(text.clone());
    };
    let compressed = || content_coding::compress(coding, text).unwrap_or_default().into();
    response.insert_header((CONTENT_ENCODING, coding.name())).insert_header((VARY, "accept-encoding"));
    response.body(COMPRESSED[kind][coding as usize].get_or_init(compressed).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_describes_what_the_parser_accepts() {
        let document = serde_json::to_value(document(false, false)).unwrap();
        assert!(document["paths"]["/v1/predict"]["post"].is_object());
        assert!(document["paths"]["/v1/models"]["get"].is_object());
        for (_, path, _) in ALIASES {
            assert!(document["paths"][path].is_object(), "{path}");
        }
        for (path, kinds) in [
            ("/v2/models/{model}/versions/{version}/infer", ["application/json", "application/octet-stream"]),
            ("/models/{model}/invocations", ["application/json", "text/csv"]),
        ] {
            let content = document["paths"][path]["post"]["requestBody"]["content"].as_object().unwrap();
            assert_eq!(content.keys().collect::<Vec<_>>(), kinds, "{path}");
            for status in ["409", "413", "415", "500"] {
                assert!(document["paths"][path]["post"]["responses"][status].is_object(), "{path} {status}");
            }
        }
        let parameters = document["paths"]["/seldon/{namespace}/{model}/api/v1.0/predictions"]["post"]["parameters"]
            .as_array()
            .unwrap();
        assert_eq!(
            parameters.iter().map(|it| it["name"].as_str().unwrap()).collect::<Vec<_>>(),
            ["namespace", "model"]
        );
        let operations =
            document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
        let mut ids: Vec<_> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        ids.sort_unstable();
        assert!(ids.len() > 12 && ids.windows(2).all(|pair| pair[0] != pair[1]), "names of generated clients: {ids:?}");
        let described = &document["components"]["schemas"]["PredictRequest"]["properties"];
        let mut described: Vec<_> = described.as_object().unwrap().keys().map(String::as_str).collect();
        let mut taken = crate::parse::FIELDS.to_vec();
        described.sort_unstable();
        taken.sort_unstable();
        assert_eq!(described, taken);
    }

    #[test]
    fn every_operation_needs_the_credentials_that_the_server_accepts() {
        let document = serde_json::to_value(document(true, true)).unwrap();
        let schemes = &document["components"]["securitySchemes"];
        assert_eq!((&schemes["api_key"]["name"], &schemes["api_key"]["in"]), (&"X-API-Key".into(), &"header".into()));
        assert_eq!(schemes["token"]["bearerFormat"], "JWT");
        let paths = document["paths"].as_object().unwrap().iter().filter(|(path, _)| !PUBLIC.contains(&path.as_str()));
        for operation in paths.flat_map(|(_, path)| path.as_object().unwrap().values()) {
            let names: Vec<_> = operation["security"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|it| it.as_object().unwrap().keys())
                .collect();
            assert_eq!(names, ["api_key", "api_key_bearer", "token"]);
            assert!(operation["responses"]["401"].is_object() && operation["responses"]["403"].is_object());
        }
        let open = serde_json::to_value(super::document(false, false)).unwrap();
        assert!(
            open["components"]["securitySchemes"].is_null() && open["paths"]["/v1/models"]["get"]["security"].is_null()
        );
    }

    #[test]
    fn the_document_lists_the_fields_that_are_served_in_their_order() {
        let document = serde_json::to_value(document(false, false)).unwrap();
        let schemas = &document["components"]["schemas"];
        for name in
            ["OneAnswer", "ManyAnswer", "ErrorAnswer", "ModelList", "ModelEntry", "VersionEntry", "ReplicaEntry"]
        {
            assert!(schemas[name]["properties"].is_object(), "{name}");
        }
        assert!(schemas["OneAnswer"]["properties"]["prediction"].is_object());
    }

    #[test]
    fn the_description_of_an_answer_has_the_fields_of_the_result_document() {
        let result = forebay_contract::ResultDocument {
            request_id: Some("r"),
            prediction: forebay_contract::PredictedValue::Number(1.0),
            model_version: "v1",
            timestamp: forebay_contract::Timestamp::Milliseconds(1),
            row: None,
            model: "m",
            cached: false,
            latency_ms: forebay_contract::LatencyMs::Shortest(1),
            trace_id: Some("t"),
            fallback_from: Some("v2"),
            probabilities: &[1.0],
            classes: vec![forebay_contract::ClassLabel::Integer(1)],
        };
        let (result, document) = (serde_json::to_value(result).unwrap(), document(false, false));
        let described = serde_json::to_value(document).unwrap()["components"]["schemas"]["OneAnswer"].take();
        let names = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&described["properties"]), names(&result));
    }
}

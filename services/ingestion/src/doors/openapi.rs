//! `/openapi.json`, generated from the types that are served. Requests have a parser of their own (`parse`); the types
//! here describe what it takes, and a test holds the two together.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Serialize;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::{OpenApi, ToSchema};

use super::answer::{ErrorAnswer, ManyAnswer, OneAnswer};
use super::predict::PredictDoor;

/// What is to be scored, and how.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the parser takes")]
pub(super) struct PredictRequest {
    /// One row (an array of numbers, or an object of named ones) or many rows (an array of such). `null` is a missing
    /// value.
    pub features: FeaturesBody,
    /// A label of the client's own, echoed in the answer.
    #[schema(max_length = 512, example = "req_1")]
    pub request_id: Option<String>,
    /// A registered model; without it the mesh's default model answers.
    #[schema(max_length = 512, example = "diabetes-rf-model")]
    pub model: Option<String>,
    /// A version ("v1" or 1), an alias or a stage; without it Production answers.
    #[schema(max_length = 512, example = "v1")]
    pub model_version: Option<String>,
    /// Lower numbers go first.
    #[schema(default = 1)]
    pub priority: Option<i32>,
    /// How long the client waits; the mesh caps it.
    #[schema(minimum = 1, example = 2000)]
    pub timeout_ms: Option<u64>,
    /// Where versions share a model's requests, equal keys (a user, a session) get the same version; without it equal
    /// request ids do.
    #[schema(max_length = 512, example = "user-17")]
    pub key: Option<String>,
}

/// One row or many.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what the parser takes")]
pub(super) enum FeaturesBody {
    /// One row in the model's order.
    #[schema(example = json!([0.0381, 0.0507, 0.0617, 0.0219, -0.0442, -0.0348, -0.0434, -0.0026, 0.0199, -0.0176]))]
    Values(Vec<Option<f64>>),
    /// One row by name.
    Named(BTreeMap<String, Option<f64>>),
    /// Many rows.
    Rows(Vec<RowBody>),
}

/// One of many rows.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what the parser takes")]
pub(super) enum RowBody {
    /// In the model's order.
    Values(Vec<Option<f64>>),
    /// By name.
    Named(BTreeMap<String, Option<f64>>),
}

/// One prediction, or one a row when `features` held many.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "names the two bodies of one status")]
pub(super) enum PredictAnswer {
    One(OneAnswer),
    Many(ManyAnswer),
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Forebay", description = "Predictions from the models behind the mesh."),
    paths(super::predict::predict, super::models::models),
    components(schemas(OneAnswer, ManyAnswer, ErrorAnswer)),
    tags((name = "predict", description = "Score one row or many"), (name = "models", description = "What can be asked")),
)]
struct Document;

/// The document of this build, for a door that takes API keys, and tokens.
pub fn document(keys: bool, tokens: bool) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
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
        schemes.push(("token", bearer(Some("JWT"), "A token of the issuer that this mesh trusts")));
    }
    let any: Vec<_> = schemes.iter().map(|(name, _)| SecurityRequirement::new(*name, [""; 0])).collect();
    let components = document.components.get_or_insert_default();
    for (name, scheme) in schemes {
        components.add_security_scheme(name, scheme);
    }
    if !any.is_empty() {
        let paths = document.paths.paths.values_mut();
        for operation in paths.flat_map(|path| path.get.iter_mut().chain(path.post.iter_mut())) {
            operation.security = Some(any.clone());
        }
    }
    document
}

/// The handler. Open to everybody: who has no credentials yet finds here how to show them, and nothing about models.
pub(super) async fn openapi(door: Data<PredictDoor>) -> HttpResponse {
    let (keys, tokens) = door.gate.kinds();
    HttpResponse::Ok().json(document(keys, tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_describes_what_the_parser_takes() {
        let document = serde_json::to_value(document(false, false)).unwrap();
        assert!(document["paths"]["/v1/predict"]["post"].is_object());
        assert!(document["paths"]["/v1/models"]["get"].is_object());
        let described = &document["components"]["schemas"]["PredictRequest"]["properties"];
        let mut described: Vec<_> = described.as_object().unwrap().keys().map(String::as_str).collect();
        let mut taken = crate::parse::FIELDS.to_vec();
        described.sort_unstable();
        taken.sort_unstable();
        assert_eq!(described, taken);
    }

    #[test]
    fn every_operation_needs_what_the_door_asks_for() {
        let document = serde_json::to_value(document(true, true)).unwrap();
        let schemes = &document["components"]["securitySchemes"];
        assert_eq!((&schemes["api_key"]["name"], &schemes["api_key"]["in"]), (&"X-API-Key".into(), &"header".into()));
        assert_eq!(schemes["token"]["bearerFormat"], "JWT");
        let operations =
            document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
        for operation in operations {
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
}

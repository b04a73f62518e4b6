//! Bodies that other modules parse or write, described for `/openapi.json`. Tests hold the descriptions and the code
//! together.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::response::ManyAnswer;

/// How a protocol that is not Forebay's own refuses a request, in a form of its own.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what the protocols write")]
pub(super) enum RefusalResponses {
    /// The request is wrong, or does not suit the model
    #[response(status = 400)]
    Unsuitable(serde_json::Value),
    /// Missing or invalid credentials; see WWW-Authenticate
    #[response(status = 401)]
    Unauthorized(serde_json::Value),
    /// The credentials do not allow this
    #[response(status = 403)]
    Forbidden(serde_json::Value),
    /// There is no such model or version
    #[response(status = 404)]
    UnknownModel(serde_json::Value),
    /// The Idempotency-Key belongs to another request
    #[response(status = 409)]
    Conflict(serde_json::Value),
    /// More bytes, rows or values than the limit
    #[response(status = 413)]
    TooLarge(serde_json::Value),
    /// A Content-Type or a Content-Encoding that is not read; see Accept-Encoding
    #[response(status = 415)]
    Unsupported(serde_json::Value),
    /// Overloaded; see Retry-After
    #[response(status = 429)]
    Overloaded(serde_json::Value),
    /// The model gave no answer, or one that is not finite
    #[response(status = 500)]
    Internal(serde_json::Value),
    /// Not available now; see Retry-After
    #[response(status = 503)]
    Unavailable(serde_json::Value),
    /// The deadline passed
    #[response(status = 504)]
    DeadlineExceeded(serde_json::Value),
}

/// A request for inference in JSON. Its fields are those of the Open Inference Protocol.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the parser accepts")]
pub(super) struct InferenceRequest {
    /// Tensors: name, shape, datatype, and data unless they follow as raw bytes.
    pub inputs: Vec<serde_json::Value>,
    /// The outputs that are wanted, each with its name; `predict` if absent.
    #[schema(value_type = Vec<serde_json::Value>, required = false)]
    pub outputs: Option<Vec<serde_json::Value>>,
    /// An id that the client chooses, echoed in the answer.
    #[schema(value_type = String, required = false)]
    pub id: Option<String>,
}

/// A request in JSON as MLflow's scoring server takes it: one of the first four fields.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the parser accepts")]
pub(super) struct InvocationsRequest {
    /// What `DataFrame.to_dict(orient="split")` makes.
    pub dataframe_split: Option<serde_json::Value>,
    /// What `DataFrame.to_dict(orient="records")` makes.
    pub dataframe_records: Option<serde_json::Value>,
    /// Rows, or an object of columns.
    pub instances: Option<serde_json::Value>,
    /// The same.
    pub inputs: Option<serde_json::Value>,
    /// Parameters of the model's signature.
    pub params: Option<serde_json::Value>,
}

/// JSON, and raw tensors behind it; `Inference-Header-Content-Length` is the length of the JSON.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "describes what the parser accepts")]
pub(super) struct RawTensors(Vec<u8>);

/// A header with the names of columns, and rows.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "describes what the parser accepts")]
pub(super) struct CsvTable(Vec<u8>);

/// A request for predictions.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the parser accepts")]
pub(super) struct PredictRequest {
    /// One row (an array of values, or an object of named values) or many rows (an array of rows). `null` is a missing
    /// value.
    pub features: FeaturesBody,
    /// An id that the client chooses, echoed in the answer.
    #[schema(max_length = 512, example = "req_1")]
    pub request_id: Option<String>,
    /// A registered model; the default model of the mesh if absent.
    #[schema(max_length = 512, example = "diabetes-rf-model")]
    pub model: Option<String>,
    /// A version ("v1" or 1), an alias or a stage; Production if absent.
    #[schema(max_length = 512, example = "v1")]
    pub model_version: Option<String>,
    /// Lower numbers go first; 1 if absent. It is not given as the default, with which generated types require the field.
    pub priority: Option<i32>,
    /// How long the client waits, up to a limit of the mesh.
    #[schema(minimum = 1, example = 2000)]
    pub timeout_ms: Option<u64>,
    /// If several versions share the requests of a model, equal keys (a user, a session) get the same version; equal request
    /// ids do if absent.
    #[schema(max_length = 512, example = "user-17")]
    pub key: Option<String>,
    /// What `prediction` holds: `predict`, `predict_proba`, `decision_function` or `score_samples`; what the version says
    /// if absent.
    #[schema(max_length = 512, example = "predict")]
    pub output: Option<String>,
    /// Parameters of the model's signature, by name.
    pub params: Option<BTreeMap<String, ValueBody>>,
    /// Where the answer is posted as well (Standard Webhooks), as by the header `X-Forebay-Callback`; the request is
    /// answered like one with `Prefer: respond-async`.
    #[schema(max_length = 512, example = "https://hooks.example.org/forebay/42")]
    pub callback_url: Option<String>,
}

/// A value of a row.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Value)]
#[expect(dead_code, reason = "describes what the parser accepts")]
pub(super) enum ValueBody {
    Number(Option<f64>),
    Text(String),
    Boolean(bool),
}

/// One row or many.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what the parser accepts")]
pub(super) enum FeaturesBody {
    /// One row in the order of the model.
    #[schema(example = json!([0.0381, 0.0507, 0.0617, 0.0219, -0.0442, -0.0348, -0.0434, -0.0026, 0.0199, -0.0176]))]
    Values(Vec<ValueBody>),
    /// One row by name.
    Named(BTreeMap<String, ValueBody>),
    /// Many rows.
    Rows(Vec<RowBody>),
}

/// One of many rows.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what the parser accepts")]
pub(super) enum RowBody {
    /// In the order of the model.
    Values(Vec<ValueBody>),
    /// By name.
    Named(BTreeMap<String, ValueBody>),
}

/// One prediction, or one for each row if `features` holds many.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "names the two bodies of one status")]
pub(super) enum PredictAnswer {
    One(OneAnswer),
    Many(ManyAnswer<'static>),
}

/// The answer to a request with one row: [`forebay_contract::ResultDocument`].
#[derive(Serialize, ToSchema)]
pub(super) struct OneAnswer {
    /// As sent by the client.
    pub request_id: Option<String>,
    /// A number, a class label, or several of them.
    pub prediction: PredictionBody,
    /// The version that answered.
    #[schema(example = "v3")]
    pub model_version: String,
    /// When the request arrived, Unix milliseconds.
    pub timestamp: u64,
    /// The model that answered.
    pub model: String,
    /// Whether the prediction came from the cache.
    pub cached: bool,
    /// Time from arrival to answer.
    pub latency_ms: f64,
    /// Present if the request was traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The version that was requested, if another one answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_from: Option<String>,
    /// Probability of each class, for a classification.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probabilities: Vec<f64>,
    /// The classes in the order of the probabilities, if the request asked for these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<LabelBody>,
}

/// The label of a class, of its own type.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Label)]
#[expect(dead_code, reason = "describes the result document")]
pub(super) enum LabelBody {
    Number(f64),
    Boolean(bool),
    Text(String),
}

/// A number, the label of a class, or several of them.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Prediction)]
#[expect(dead_code, reason = "describes the result document")]
pub(super) enum PredictionBody {
    /// The number of a regression, which reads back to the same bits, or the label of a class.
    Single(LabelBody),
    /// Several outputs, or an output with several numbers, in order.
    List(Vec<LabelBody>),
    /// Several outputs that the signature names.
    Named(BTreeMap<String, LabelBody>),
}

/// Why there is no prediction.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// One of the documented codes, such as `invalid_features`.
    #[schema(example = "invalid_features")]
    pub code: String,
    /// What is wrong and where.
    #[schema(example = "expected 10 features, got 9")]
    pub message: String,
}

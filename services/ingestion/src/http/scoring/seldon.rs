//! Seldon's first protocol: `POST /api/v1.0/predictions` with `data.ndarray` or `data.tensor`.

use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use forebay_contract::Problem;
use serde::Deserialize;
use serde_json::json;

use super::rows::TableJson;
use super::{PathTarget, finite_predictions, request_of, scores_of};
use crate::http::exchange::{self, AnswerBody, Protocol, Received};
use crate::http::json_tokens;
use crate::http::model_list::ModelListing;
use crate::http::schema::RefusalResponses;
use crate::http::state::HttpState;
use crate::open_inference::{Collected, Datatype, InputTensor, check_size, invalid, rows};
use crate::pending::RowOutcomes;
use crate::rejection::HttpRejection;
use crate::request::{ParsedRequest, Row};

#[derive(Deserialize)]
struct RequestJson {
    #[serde(default)]
    data: Option<DataJson>,
}

#[derive(Deserialize)]
struct DataJson {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    ndarray: Option<TableJson>,
    #[serde(default)]
    tensor: Option<TensorJson>,
}

#[derive(Deserialize)]
struct TensorJson {
    shape: Vec<i64>,
    values: Collected,
}

/// The handler.
#[utoipa::path(
    post,
    path = "/api/v1.0/predictions",
    operation_id = "seldon_predict",
    tag = "other protocols",
    request_body(content = serde_json::Value, description = "data.ndarray or data.tensor"),
    responses(
        (status = 200, description = "The predictions", body = serde_json::Value),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn predict(
    request: HttpRequest,
    payload: Payload,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    let protocol = Seldon { target: PathTarget::of(&request), models, tensor: false };
    exchange::serve(request, payload, &state, protocol).await
}

struct Seldon {
    target: PathTarget,
    models: Data<ModelListing>,
    /// Whether the request had a tensor; the answer has what the request had.
    tensor: bool,
}

impl Seldon {
    fn rows(&mut self, data: DataJson, columns: &[String], max_rows: usize) -> Result<Vec<Row>, Problem> {
        let mut made = match (data.ndarray, data.tensor) {
            (Some(table), None) => table.into_rows(&[], max_rows)?,
            (None, Some(TensorJson { shape, values })) => {
                self.tensor = true;
                let tensor = InputTensor::new("tensor".to_owned(), Datatype::Fp64, &shape, values)?.checked()?;
                rows(vec![tensor], columns, max_rows)?
            }
            _ => return Err(invalid("data: expected either ndarray or tensor")),
        };
        if !data.names.is_empty() {
            check_size(made.len(), data.names.iter().map(String::len).sum(), max_rows)?;
            for row in made.iter_mut().filter(|row| row.names.is_empty()) {
                row.names.clone_from(&data.names);
            }
        }
        Ok(made)
    }
}

impl Protocol for Seldon {
    fn route(&self) -> &'static str {
        "/api/v1.0/predictions"
    }

    fn read(&mut self, Received { caller, body, max_rows, .. }: Received<'_>) -> Result<ParsedRequest, HttpRejection> {
        let name = self.target.model.as_deref().unwrap_or_else(|| self.models.default_model());
        let model = self.models.served_to(caller, name, None)?;
        let request: RequestJson = json_tokens::parse(&body)?;
        let data = request.data.ok_or_else(|| invalid("expected data with ndarray or tensor"))?;
        let width = data.names.len();
        let rows = self.rows(data, model.columns(), max_rows)?;
        if let Some(at) = rows.iter().position(|row| width > 0 && row.len() != width) {
            return Err(invalid(format!("data: row {at} has {} values for {width} names", rows[at].len())).into());
        }
        Ok(request_of(&model, None, rows)?)
    }

    fn write(&mut self, rows: RowOutcomes, _: Duration) -> Result<AnswerBody, Problem> {
        let (scores, version) = scores_of(rows)?;
        let predictions = finite_predictions(&scores)?;
        let data = match self.tensor {
            true => json!({ "names": [], "tensor": { "shape": [predictions.len()], "values": predictions } }),
            false => json!({ "names": [], "ndarray": predictions }),
        };
        let tags = version.map(|version| json!({ "model_version": version.to_string() })).unwrap_or_else(|| json!({}));
        let answer = json!({ "data": data, "meta": { "tags": tags } });
        Ok(AnswerBody::json(answer.to_string().into_bytes()))
    }

    fn refuse(&mut self, problem: &Problem, _: Duration) -> Vec<u8> {
        let (code, reason) = (problem.code.status(), problem.code.as_str());
        let status = json!({ "code": code, "info": problem.message, "reason": reason, "status": "FAILURE" });
        json!({ "status": status }).to_string().into_bytes()
    }
}

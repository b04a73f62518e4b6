//! Seldon's first protocol: `POST /api/v1.0/predictions` with `data.ndarray` or `data.tensor`.

use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use forebay_contract::{PredictedValue, Problem, Score};
use serde::Deserialize;
use serde_json::json;

use super::rows::TableJson;
use super::{PathTarget, finite_predictions, request_of, scores_of, without_names};
use crate::http::exchange::{self, AnswerBody, Protocol, Received};
use crate::http::json_object::Object;
use crate::http::json_tokens;
use crate::http::model_list::ModelListing;
use crate::http::schema::RefusalResponses;
use crate::http::state::HttpState;
use crate::open_inference::{Collected, Datatype, InputTensor, check_size, invalid, name_bytes, rows};
use crate::pending::RowOutcomes;
use crate::rejection::HttpRejection;
use crate::request::{ParsedRequest, Row};

#[derive(Deserialize)]
struct RequestJson {
    #[serde(default)]
    data: Option<Object<DataJson>>,
}

#[derive(Deserialize)]
struct DataJson {
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    ndarray: Option<TableJson>,
    #[serde(default)]
    tensor: Option<Object<TensorJson>>,
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
            (None, Some(Object(TensorJson { shape, values }))) => {
                self.tensor = true;
                let tensor = InputTensor::new("tensor".to_owned(), Datatype::Fp64, &shape, values)?.checked()?;
                rows(vec![tensor], columns, max_rows)?
            }
            _ => return Err(invalid("data: expected either ndarray or tensor")),
        };
        let names = data.names.unwrap_or_default();
        if !names.is_empty() {
            check_size(made.len(), name_bytes(&names), max_rows)?;
            if let Some(at) = made.iter().position(|row| row.len() != names.len()) {
                let (values, names) = (made[at].len(), names.len());
                return Err(invalid(format!("data: row {at} has {values} values for {names} names")));
            }
            for row in made.iter_mut().filter(|row| row.names.is_empty()) {
                row.names.clone_from(&names);
            }
        }
        Ok(made)
    }
}

/// The predictions as the request had its rows; those that are no numbers are an `ndarray` in any case, as Seldon has it.
fn data_json(scores: &[Score], tensor: bool) -> Result<serde_json::Value, Problem> {
    let predictions = finite_predictions(scores)?;
    if let Some((shape, values)) = tensor.then(|| tensor_of(&predictions)).flatten() {
        return Ok(json!({ "names": [], "tensor": { "shape": shape, "values": values } }));
    }
    let names = scores.first().map_or(&[][..], |score| &score.names);
    let rows: Vec<_> = predictions.into_iter().map(without_names).collect();
    Ok(json!({ "names": names, "ndarray": rows }))
}

/// Shape and values of a tensor; `None` for predictions that are no numbers.
fn tensor_of(predictions: &[PredictedValue<'_>]) -> Option<(Vec<usize>, Vec<serde_json::Value>)> {
    let (mut values, mut widths) = (Vec::with_capacity(predictions.len()), Vec::new());
    for prediction in predictions {
        let row = match prediction {
            PredictedValue::List(row) => row.iter().collect(),
            PredictedValue::Named(row) => row.iter().map(|(_, value)| value).collect(),
            one => vec![one],
        };
        let several = matches!(prediction, PredictedValue::List(_) | PredictedValue::Named(_));
        widths.push(several.then_some(row.len()));
        for value in row {
            values.push(serde_json::to_value(value).ok().filter(serde_json::Value::is_number)?);
        }
    }
    let width = *widths.first()?;
    let shape = std::iter::once(predictions.len()).chain(width).collect();
    widths.iter().all(|it| *it == width).then_some((shape, values))
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
        let rows = self.rows(data.0, model.columns(), max_rows)?;
        Ok(request_of(&model, None, rows)?)
    }

    fn write(&mut self, rows: RowOutcomes, _: Duration) -> Result<AnswerBody, Problem> {
        let (scores, version) = scores_of(rows)?;
        let data = data_json(&scores, self.tensor)?;
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

#[cfg(test)]
mod tests {
    use forebay_contract::ClassLabel;

    use super::*;

    #[test]
    fn answers_have_the_form_of_their_requests() {
        let number = |value| Score { value, ..Score::default() };
        let several = |numbers: [f64; 2]| Score {
            value: numbers[0],
            numbers: numbers.to_vec(),
            names: vec!["x".into(), "y".into()],
            ..Score::default()
        };
        let label = |label: ClassLabel<'_>| Score {
            label: Some(label.to_string()),
            label_kind: label.kind().into(),
            ..Score::default()
        };
        for (scores, tensor, expected) in [
            (
                vec![number(1.5), number(2.0)],
                true,
                json!({"names": [], "tensor": {"shape": [2], "values": [1.5, 2.0]}}),
            ),
            (vec![number(1.5)], false, json!({"names": [], "ndarray": [1.5]})),
            (
                vec![several([1.0, 2.0]), several([3.0, 4.0])],
                true,
                json!({"names": [], "tensor": {"shape": [2, 2], "values": [1.0, 2.0, 3.0, 4.0]}}),
            ),
            (vec![several([1.0, 2.0])], false, json!({"names": ["x", "y"], "ndarray": [[1.0, 2.0]]})),
            (vec![label(ClassLabel::Integer(7))], true, json!({"names": [], "tensor": {"shape": [1], "values": [7]}})),
            (vec![label(ClassLabel::Text("a"))], true, json!({"names": [], "ndarray": ["a"]})),
            (vec![label(ClassLabel::Boolean(true))], true, json!({"names": [], "ndarray": [true]})),
        ] {
            assert_eq!(data_json(&scores, tensor).unwrap(), expected);
        }
        assert!(data_json(&[several([1.0, f64::NAN])], true).is_err());
    }

    #[test]
    fn names_may_be_null() {
        let request: RequestJson =
            json_tokens::parse(br#"{"data":{"names":null,"ndarray":[[1]],"tensor":null}}"#).unwrap();
        assert_eq!(request.data.unwrap().0.names, None);
    }
}

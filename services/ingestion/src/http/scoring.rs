//! Protocols whose requests are tables in JSON or CSV: KServe's first protocol, Seldon's first protocol, and MLflow's
//! scoring protocol, which SageMaker's runtime client uses as well.
//!
//! # Layout
//! - `rows`: rows and columns in JSON; `csv`: in CSV
//! - `kserve`, `seldon`, `mlflow`: one protocol each; `mlflow_tables`: the layouts of MLflow

mod csv;
pub(super) mod kserve;
pub(super) mod mlflow;
mod mlflow_tables;
mod rows;
pub(super) mod seldon;

#[cfg(fuzzing)]
pub(crate) use mlflow_tables::{csv_rows, json_rows};
pub(crate) use rows::MAX_ITEMS;

use actix_web::HttpRequest;
use actix_web::web::{self, ServiceConfig};
use forebay_contract::{ErrorCode, PredictedValue, Problem, Score};

use super::model_list::ServedModel;
use super::routes::{get_and_head, path_part, resource};
use crate::open_inference::unsuitable;
use crate::pending::RowOutcomes;
use crate::request::{ParsedRequest, Row};
use crate::row_result::row_result;

/// Mounts the paths.
pub(super) fn routes(config: &mut ServiceConfig) {
    for path in ["/v1/models/{model}:predict", "/v1/models/{model}/versions/{version}:predict"] {
        config.service(resource(path, "POST").route(web::post().to(kserve::predict)));
    }
    for path in ["/v1/models/{model}", "/v1/models/{model}/versions/{version}"] {
        config.service(get_and_head(path, kserve::model));
    }
    for path in [
        "/api/v1.0/predictions",
        "/api/v0.1/predictions",
        "/seldon/{model}/api/v1.0/predictions",
        "/seldon/{model}/api/v0.1/predictions",
        "/seldon/{namespace}/{model}/api/v1.0/predictions",
        "/seldon/{namespace}/{model}/api/v0.1/predictions",
    ] {
        config.service(resource(path, "POST").route(web::post().to(seldon::predict)));
    }
    for path in ["/invocations", "/models/{model}/invocations", "/models/{model}/versions/{version}/invocations"] {
        config.service(resource(path, "POST").route(web::post().to(mlflow::invocations)));
    }
    config.service(resource("/endpoints/{model}/invocations", "POST").route(web::post().to(mlflow::endpoint)));
    for path in ["/ping", "/health"] {
        config.service(get_and_head(path, mlflow::ping));
    }
    config.service(get_and_head("/version", mlflow::version));
}

/// The model and the version that the path names.
#[derive(Debug)]
struct PathTarget {
    model: Option<String>,
    version: Option<String>,
}

impl PathTarget {
    fn of(request: &HttpRequest) -> Self {
        let part = |name| path_part(request, name);
        Self { model: part("model"), version: part("version") }
    }
}

/// A request for rows of a model.
fn request_of(model: &ServedModel, version: Option<&str>, rows: Vec<Row>) -> Result<ParsedRequest, Problem> {
    if rows.is_empty() {
        return Err(unsuitable("the request has no rows"));
    }
    Ok(ParsedRequest::of_rows(model.name(), version, rows))
}

/// The scores of all rows, and the version that answered if it is one.
///
/// # Errors
/// That of the first row without a score, with its number if there are several.
fn scores_of(rows: RowOutcomes) -> Result<(Vec<Score>, Option<u32>), Problem> {
    scores_or_nan(rows, false)
}

/// As [`scores_of`]; `or_nan` makes NaN of the results that are not finite.
fn scores_or_nan(rows: RowOutcomes, or_nan: bool) -> Result<(Vec<Score>, Option<u32>), Problem> {
    let many = rows.len() > 1;
    let mut scores = Vec::with_capacity(rows.len());
    let mut versions = Vec::with_capacity(1);
    for (row, outcome) in rows.into_iter().enumerate() {
        let (answer, score) = match row_result(outcome) {
            Ok(found) => found,
            Err(problem) if or_nan && problem.is_not_finite() => {
                scores.push(Score { value: f64::NAN, ..Score::default() });
                continue;
            }
            Err(problem) if many => {
                return Err(Problem::new(problem.code, format!("row {row}: {}", problem.message)));
            }
            Err(problem) => return Err(problem),
        };
        if !versions.contains(&answer.version) {
            versions.push(answer.version);
        }
        scores.push(score);
    }
    Ok((scores, versions.pop().filter(|_| versions.is_empty())))
}

/// The predictions in JSON.
///
/// # Errors
/// `internal` for one that is not finite, which JSON cannot hold.
fn finite_predictions(scores: &[Score]) -> Result<Vec<PredictedValue<'_>>, Problem> {
    let check = |(row, score): (usize, &'_ Score)| {
        let labels = score.label.is_some() || !score.labels.is_empty();
        let numbers = std::iter::once(&score.value).chain(&score.numbers);
        match numbers.filter(|_| !labels).find(|number| !number.is_finite()) {
            Some(number) => Err(Problem::new(ErrorCode::Internal, format!("the prediction of row {row} is {number}"))),
            None => Ok(()),
        }
    };
    scores.iter().enumerate().try_for_each(check)?;
    Ok(scores.iter().map(PredictedValue::from).collect())
}

/// Several outputs that have names, as the list that a table needs.
fn without_names(prediction: PredictedValue<'_>) -> PredictedValue<'_> {
    match prediction {
        PredictedValue::Named(named) => PredictedValue::List(named.into_iter().map(|(_, value)| value).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use forebay_contract::ClassLabel;

    use super::*;

    #[test]
    fn every_number_of_a_prediction_has_to_be_finite() {
        let finite = |score: Score| finite_predictions(&[score]).map(drop).map_err(|problem| problem.message);
        let several = |numbers: &[f64]| Score { value: numbers[0], numbers: numbers.to_vec(), ..Score::default() };
        assert_eq!(finite(several(&[1.0, 2.0])), Ok(()));
        for (score, number) in [
            (Score { value: f64::INFINITY, ..Score::default() }, "inf"),
            (several(&[f64::NAN, 1.0]), "NaN"),
            (several(&[1.0, f64::NAN]), "NaN"),
        ] {
            assert_eq!(finite(score), Err(format!("the prediction of row 0 is {number}")));
        }
        let labels = vec![ClassLabel::Integer(1).to_wire(); 2];
        assert_eq!(finite(Score { value: f64::NAN, labels, ..Score::default() }), Ok(()), "labels say it all");
    }
}

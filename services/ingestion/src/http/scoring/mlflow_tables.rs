//! The rows and parameters in a body of MLflow's scoring protocol: tables in several layouts, in JSON or CSV.

use std::collections::BTreeMap;

use forebay_contract::{Problem, Value, list_names};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::csv;
use super::rows::{Counted, MAX_ITEMS, RowJson, TableJson};
use crate::http::json_object::Object;
use crate::http::json_tokens;
use crate::open_inference::{check_size, invalid, name_bytes, unsuitable};
use crate::parse::ParamsJson;
use crate::request::Row;

#[derive(Deserialize)]
struct RequestJson {
    #[serde(default)]
    dataframe_split: Option<Object<SplitJson>>,
    #[serde(default)]
    dataframe_records: Option<Counted<RowJson>>,
    #[serde(default)]
    instances: Option<TableJson>,
    #[serde(default)]
    inputs: Option<TableJson>,
    #[serde(default)]
    params: Option<Box<RawValue>>,
}

/// What `DataFrame.to_dict(orient="split")` makes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitJson {
    #[serde(default)]
    columns: Option<Counted<Box<RawValue>>>,
    data: Counted<RowJson>,
    /// The labels of the rows, of which only the number is read.
    #[serde(default)]
    index: Option<Counted<IgnoredAny>>,
}

/// The rows of a body in CSV.
pub(crate) fn csv_rows(body: &[u8], columns: &[String], max_rows: usize) -> Result<Vec<Row>, Problem> {
    csv::read(body, max_rows)?.into_rows(columns, max_rows)
}

/// The rows of a body in JSON, and those of its parameters that the signature has (`known`).
pub(crate) fn json_rows(
    body: &[u8],
    columns: &[String],
    known: &[String],
    max_rows: usize,
) -> Result<(Vec<Row>, BTreeMap<String, Value>), Problem> {
    let (table, params) = table(json_tokens::parse(body)?, columns, max_rows)?;
    let params = params.map_or_else(|| Ok(BTreeMap::new()), |params| known_params(&params, known))?;
    Ok((table.into_rows(columns, max_rows)?, params))
}

/// The parameters that the signature has. MLflow ignores others, and whatever comes for a model without any.
pub(super) fn known_params(params: &RawValue, known: &[String]) -> Result<BTreeMap<String, Value>, Problem> {
    if known.is_empty() || params.get() == "null" {
        return Ok(BTreeMap::new());
    }
    let wrong = |error: serde_json::Error| invalid(format!("failed to parse the request JSON: {error}"));
    let none = |error| invalid(format!("params: expected an object of values: {error}"));
    let mut given: BTreeMap<String, &RawValue> = serde_json::from_str(params.get()).map_err(none)?;
    given.retain(|name, _| known.contains(name));
    let given = serde_json::to_string(&given).map_err(wrong)?;
    serde_json::from_str::<ParamsJson>(&given).map(|params| params.0).map_err(wrong)
}

/// The table of a request, and its parameters.
fn table(
    request: RequestJson,
    columns: &[String],
    max_rows: usize,
) -> Result<(TableJson, Option<Box<RawValue>>), Problem> {
    let RequestJson { dataframe_split, dataframe_records, instances, inputs, params } = request;
    let split = dataframe_split.map(|split| split_table(split.0, columns, max_rows)).transpose()?;
    let given = [split, dataframe_records.map(TableJson::Rows), instances, inputs];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(table), None) => Ok((table, params)),
        _ => Err(invalid("expected exactly one of dataframe_split, dataframe_records, instances and inputs")),
    }
}

fn split_table(split: SplitJson, known: &[String], max_rows: usize) -> Result<TableJson, Problem> {
    let SplitJson { columns, data, index } = split;
    if let Some(index) = index.filter(|index| index.count != data.count) {
        let text = format!("dataframe_split.index has {} labels for {} rows of data", index.count, data.count);
        return Err(unsuitable(text));
    }
    let Some(columns) = columns else {
        if known.is_empty() {
            return Ok(TableJson::Rows(data));
        }
        return Err(unsuitable(format!(
            "dataframe_split has no columns; the model takes {}",
            list_names(known.iter(), 10)
        )));
    };
    if columns.count > MAX_ITEMS {
        return Err(unsuitable(format!("dataframe_split.columns: more than {MAX_ITEMS} columns")));
    }
    // names that are no texts are what they are as JSON
    let name = |column: Box<RawValue>| serde_json::from_str(column.get()).unwrap_or_else(|_| column.get().to_owned());
    let names: Vec<String> = columns.items.into_iter().map(name).collect();
    check_size(data.count, name_bytes(&names), max_rows)?;
    let named = |(at, row): (usize, RowJson)| {
        if !row.names.is_empty() || row.values.len() != names.len() {
            let (values, columns) = (row.values.len(), names.len());
            return Err(unsuitable(format!("dataframe_split.data[{at}] has {values} values for {columns} columns")));
        }
        Ok(RowJson { names: names.clone(), ..row })
    };
    let rows = data.items.into_iter().enumerate().map(named).collect::<Result<Vec<_>, _>>()?;
    Ok(TableJson::Rows(rows.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(json: &str, known: &[&str]) -> Result<Vec<String>, String> {
        let known: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
        let body = format!(r#"{{"inputs":[[1]],"params":{json}}}"#);
        let read = json_rows(body.as_bytes(), &[], &known, 10).map_err(|problem| problem.message);
        read.map(|(_, params)| params.into_keys().collect())
    }

    #[test]
    fn parameters_that_the_signature_does_not_have_are_ignored() {
        let given = r#"{"t":1.5,"other":[{"a":1}]}"#;
        assert_eq!(params(given, &["t"]), Ok(vec!["t".to_owned()]));
        for (json, known) in [(given, &[][..]), ("[1]", &[]), ("5", &[]), ("null", &["t"]), ("{}", &["t"])] {
            assert_eq!(params(json, known), Ok(vec![]), "{json} {known:?}");
        }
        assert!(params("[1]", &["t"]).unwrap_err().contains("params: expected an object"));
        assert!(params(r#"{"t":[1]}"#, &["t"]).unwrap_err().contains("params"));
    }
}

//! The categories of pandas that LightGBM writes after a model, one list per category column.

use forebay_artefact::Allowance;

use crate::booster::{Coder, Coding, NUMBER_BYTES, TEXT_BYTES, Unseen};
use crate::document::{self, Value};

/// Begins the line with the lists.
const LINE: &str = "\npandas_categorical:";
/// Begins the parameter with the numbers of the category columns.
const COLUMNS: &str = "\n[categorical_feature: ";

/// The coder of the columns; `None` if no column has categories. What training has not seen is missing.
pub(super) fn coder(text: &str, features: &[String], allowance: &Allowance) -> Result<Option<Coder>, String> {
    let Some((_, line)) = text.rsplit_once(LINE) else { return Ok(None) };
    let lists = match document::read(line.lines().next().unwrap_or("null").as_bytes(), allowance)? {
        Value::List(lists) if !lists.is_empty() => lists,
        _ => return Ok(None),
    };
    let places = text.rsplit_once(COLUMNS).map(|(_, rest)| rest.split(']').next().unwrap_or("")).unwrap_or("");
    let places: Vec<usize> = places.split(',').filter_map(|place| place.trim().parse().ok()).collect();
    if places.len() != lists.len() || places.iter().any(|place| *place >= features.len()) {
        return Err(format!("{} lists for {} category columns of the parameters", lists.len(), places.len()));
    }
    let mut columns: Vec<Coding> = features.iter().map(|_| Coding::Number).collect();
    for (place, list) in places.into_iter().zip(&lists) {
        columns[place] = coding(list, allowance)?;
    }
    Ok(Coder::of(columns))
}

fn coding(list: &Value<'_>, allowance: &Allowance) -> Result<Coding, String> {
    allowance.spend(list.len().saturating_mul(TEXT_BYTES.max(NUMBER_BYTES)))?;
    match list {
        Value::Numbers(text) if text.contains("true") || text.contains("false") => {
            let spelt = |word: &str| if word.trim() == "true" { "True" } else { "False" };
            let texts: Vec<&str> = text.split(',').map(spelt).collect();
            Ok(Coding::texts(&texts, Unseen::Missing))
        }
        Value::Numbers(_) => {
            let integers: Result<Vec<i64>, String> = list.numbers();
            match integers {
                Ok(integers) => Ok(Coding::integers(&integers, Unseen::Missing)),
                Err(_) => Ok(Coding::floats(&list.numbers()?)),
            }
        }
        Value::List(items) => {
            let texts: Vec<&str> = items.iter().map(Value::text).collect::<Result<_, _>>()?;
            Ok(Coding::texts(&texts, Unseen::Missing))
        }
        _ => Err("is not a list of lists".to_owned()),
    }
}

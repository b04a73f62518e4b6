//! Rows in CSV, with a line of names, as `pandas.DataFrame.to_csv` writes them.

use forebay_contract::Problem;

use super::rows::{RowJson, TableJson};
use crate::open_inference::{Collected, Value, check_size, invalid, name_bytes};

/// What pandas takes for a missing value.
const MISSING: [&str; 18] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan",
];

/// Reads the rows of a body.
///
/// # Errors
/// `invalid_request` for text that is not UTF-8 and for lines of different lengths; `payload_too_large` for more than
/// `max_rows` lines.
pub(super) fn read(body: &[u8], max_rows: usize) -> Result<TableJson, Problem> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut reader = csv::ReaderBuilder::new().has_headers(true).from_reader(body);
    let names: Vec<String> = reader.headers().map_err(|error| wrong(&error))?.iter().map(str::to_owned).collect();
    if names.is_empty() {
        return Err(invalid("the CSV has no line of names"));
    }
    let name_bytes = name_bytes(&names);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| wrong(&error))?;
        check_size(rows.len() + 1, name_bytes, max_rows)?;
        let mut values = Collected::default();
        for text in &record {
            push(&mut values, text);
        }
        rows.push(RowJson { names: names.clone(), values });
    }
    Ok(TableJson::Rows(rows.into()))
}

fn push(values: &mut Collected, text: &str) {
    if MISSING.contains(&text) || text == "null" {
        values.push_number(f64::NAN);
    } else if let Ok(integer) = text.parse() {
        values.push_integer(integer);
    } else if let Some(number) = text.trim().parse().ok().filter(|_| !text.is_empty()) {
        values.push_number(number);
    } else {
        match text {
            "True" | "TRUE" | "true" => values.push_value(Value::Boolean(true)),
            "False" | "FALSE" | "false" => values.push_value(Value::Boolean(false)),
            other => values.push_value(Value::Text(other.into())),
        }
    }
}

fn wrong(error: &csv::Error) -> Problem {
    invalid(format!("the CSV cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_pandas_is_read() {
        let rows = read(b"\xef\xbb\xbfa,b\r\n1,0.5\n,-2e3\n", 2).unwrap().into_rows(&[], 2).unwrap();
        assert_eq!((rows.len(), &rows[0].values[..], rows[0].names.len()), (2, &[1.0, 0.5][..], 2));
        assert!(rows[1].values[0].is_nan() && rows[1].values[1] == -2000.0);
        for wrong in [&b"a,b\n1\n"[..], b"a\n\xff\n"] {
            assert!(read(wrong, 2).is_err());
        }
        assert!(read(b"a\ninf\n", 2).unwrap().into_rows(&[], 2).is_err());
        let long = format!("{}\n{}", "n".repeat(40_000), "1\n".repeat(1_000));
        assert_eq!(read(long.as_bytes(), 1_024).unwrap_err().code, forebay_contract::ErrorCode::PayloadTooLarge);
        assert!(read(b"a\n1\n2\n3\n", 2).unwrap_err().message.contains("3 rows"));
    }
}

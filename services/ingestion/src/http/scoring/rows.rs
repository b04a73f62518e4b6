//! Rows in JSON: arrays and objects of values, one for each row, or an object with an array for each column.

use std::fmt;
use std::marker::PhantomData;

use forebay_contract::Problem;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::open_inference::{ArrayOf, Collected, ElementOf, check_size, name_bytes, row, unsuitable};
use crate::parse::repeated;
use crate::request::Row;

/// The most items of an array that are kept: rows that take far more memory than their JSON, and the columns of a table.
pub(crate) const MAX_ITEMS: usize = 1 << 16;

/// The first [`MAX_ITEMS`] items of an array, and how many there are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Counted<T> {
    pub items: Vec<T>,
    pub count: usize,
}

impl<T> From<Vec<T>> for Counted<T> {
    fn from(items: Vec<T>) -> Self {
        Self { count: items.len(), items }
    }
}

/// A table as a client sends it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TableJson {
    /// Values in the order of the model, or by name.
    Rows(Counted<RowJson>),
    /// Names and values of columns.
    Columns(Vec<(String, Collected)>),
}

/// One row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RowJson {
    /// Empty for values in the order of the model.
    pub names: Vec<String>,
    pub values: Collected,
}

impl TableJson {
    /// The rows. With `known` names of columns, others are left out, as MLflow does it.
    ///
    /// # Errors
    /// `invalid_features` for columns of different lengths and values that no row holds; `payload_too_large` for more than
    /// `max_rows` rows.
    pub(super) fn into_rows(self, known: &[String], max_rows: usize) -> Result<Vec<Row>, Problem> {
        let is_known = |name: &String| known.is_empty() || known.contains(name);
        match self {
            Self::Rows(Counted { items: rows, count }) => {
                check_size(count, 0, max_rows)?;
                let make = |(at, RowJson { names, values }): (usize, RowJson)| {
                    let (names, values) = match names.iter().all(is_known) {
                        true => (names, values),
                        false => known_values(&names, values, is_known),
                    };
                    row(values, names)
                        .map_err(|problem| Problem::new(problem.code, format!("row {at}: {}", problem.message)))
                };
                rows.into_iter().enumerate().map(make).collect()
            }
            Self::Columns(columns) => {
                let columns: Vec<_> = columns.into_iter().filter(|(name, _)| is_known(name)).collect();
                let count = columns.first().map_or(0, |(_, values)| values.len());
                if let Some((name, values)) = columns.iter().find(|(_, values)| values.len() != count) {
                    let text =
                        format!("column '{name}' has {} rows, but column '{}' has {count}", values.len(), columns[0].0);
                    return Err(unsuitable(text));
                }
                check_size(count, name_bytes(columns.iter().map(|(name, _)| name)), max_rows)?;
                let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
                let values = |at| columns.iter().map(|(_, column)| column.value(at)).collect();
                (0..count).map(|at| row(values(at), names.clone())).collect()
            }
        }
    }
}

fn known_values(names: &[String], values: Collected, is_known: impl Fn(&String) -> bool) -> (Vec<String>, Collected) {
    let kept: Vec<usize> = (0..names.len()).filter(|at| is_known(&names[*at])).collect();
    (kept.iter().map(|at| names[*at].clone()).collect(), kept.iter().map(|at| values.value(*at)).collect())
}

/// Reads all items and keeps the first of them: what is beyond takes no memory.
fn counted<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(mut array: A) -> Result<Counted<T>, A::Error> {
    let (mut items, mut count) = (Vec::new(), 0);
    while let Some(item) = array.next_element()? {
        count += 1;
        if count <= MAX_ITEMS {
            items.push(item);
        }
    }
    Ok(Counted { items, count })
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Counted<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_seq(CountedVisitor(PhantomData))
    }
}

struct CountedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for CountedVisitor<T> {
    type Value = Counted<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Counted<T>, A::Error> {
        counted(seq)
    }
}

impl<'de> Deserialize<'de> for TableJson {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(TableVisitor)
    }
}

struct TableVisitor;

impl<'de> Visitor<'de> for TableVisitor {
    type Value = TableJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of rows or an object of columns")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<TableJson, A::Error> {
        counted(seq).map(TableJson::Rows)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TableJson, A::Error> {
        let mut columns: Vec<(String, Collected)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if columns.len() == MAX_ITEMS {
                return Err(A::Error::custom(format_args!("more than {MAX_ITEMS} columns")));
            }
            let mut values = Collected::default();
            map.next_value_seed(ElementOf { collected: &mut values, depth: 1 })?;
            columns.push((name, values));
        }
        if let Some(name) = repeated(columns.iter().map(|(name, _)| name.as_str())) {
            return Err(A::Error::custom(format_args!("column '{name}' is given twice")));
        }
        Ok(TableJson::Columns(columns))
    }
}

impl<'de> Deserialize<'de> for RowJson {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(RowVisitor)
    }
}

struct RowVisitor;

impl RowVisitor {
    /// A row that is a single value.
    fn single<E: Error>(read: impl FnOnce(ElementOf<'_>) -> Result<(), E>) -> Result<RowJson, E> {
        let mut values = Collected::default();
        read(ElementOf { collected: &mut values, depth: 1 })?;
        Ok(RowJson { names: Vec::new(), values })
    }
}

impl<'de> Visitor<'de> for RowVisitor {
    type Value = RowJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array, an object or a value for each row")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<RowJson, A::Error> {
        let mut values = Collected::default();
        ArrayOf { collected: &mut values, depth: 1 }.visit_seq(seq)?;
        Ok(RowJson { names: Vec::new(), values })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RowJson, A::Error> {
        let mut row = RowJson::default();
        while let Some(name) = map.next_key::<String>()? {
            let before = row.values.len();
            map.next_value_seed(ElementOf { collected: &mut row.values, depth: 1 })?;
            if row.values.len() != before + 1 {
                return Err(A::Error::custom(format_args!("'{name}' is not one value")));
            }
            row.names.push(name);
        }
        if let Some(name) = repeated(row.names.iter().map(String::as_str)) {
            return Err(A::Error::custom(format_args!("'{name}' is given twice")));
        }
        Ok(row)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<RowJson, E> {
        Self::single(|element| element.visit_f64(number))
    }

    fn visit_i64<E: Error>(self, integer: i64) -> Result<RowJson, E> {
        Self::single(|element| element.visit_i64(integer))
    }

    fn visit_u64<E: Error>(self, integer: u64) -> Result<RowJson, E> {
        Self::single(|element| element.visit_u64(integer))
    }

    fn visit_bool<E: Error>(self, boolean: bool) -> Result<RowJson, E> {
        Self::single(|element| element.visit_bool(boolean))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RowJson, E> {
        Self::single(|element| element.visit_str(text))
    }

    fn visit_unit<E: Error>(self) -> Result<RowJson, E> {
        Self::single(|element| element.visit_unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(json: &str, known: &[&str]) -> Result<Vec<Row>, String> {
        let known: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
        let table: TableJson = serde_json::from_str(json).map_err(|error| error.to_string())?;
        table.into_rows(&known, 2).map_err(|problem| problem.message)
    }

    #[test]
    fn rows_and_columns_make_the_same_table() {
        let named = rows(r#"[{"a":1,"b":2},{"a":3,"b":4}]"#, &[]).unwrap();
        assert_eq!(
            (&named[1].names[..], &named[1].values[..]),
            (&["a".to_owned(), "b".to_owned()][..], &[3.0, 4.0][..])
        );
        assert_eq!(rows(r#"{"a":[1,3],"b":[[2],[4]]}"#, &[]).unwrap(), named);
        assert_eq!(rows(r#"{"x":["t","u"],"a":[1,3],"b":[2,4]}"#, &["b", "a"]).unwrap(), named, "others are left out");
        assert_eq!(rows(r#"[{"x":"t","a":1,"b":2},{"a":3,"b":4}]"#, &["a", "b"]).unwrap(), named);
        let plain = rows("[[1,[2]],3]", &[]).unwrap();
        assert!(plain[0].values == [1.0, 2.0] && plain[0].names.is_empty() && plain[1].values == [3.0]);
    }

    #[test]
    fn what_is_too_much_is_counted_and_not_kept() {
        let many = format!("[{}1]", "1,".repeat(MAX_ITEMS + 5));
        let TableJson::Rows(counted) = serde_json::from_str(&many).unwrap() else { panic!("rows") };
        assert_eq!((counted.items.len(), counted.count), (MAX_ITEMS, MAX_ITEMS + 6));
        let error = TableJson::Rows(counted).into_rows(&[], MAX_ITEMS).unwrap_err();
        assert!(error.message.starts_with(&format!("{} rows", MAX_ITEMS + 6)), "{}", error.message);
        let columns: String = (0..MAX_ITEMS).map(|at| format!(r#""{at}":1,"#)).collect();
        let error = serde_json::from_str::<TableJson>(&format!(r#"{{{columns}"x":1}}"#)).unwrap_err();
        assert!(error.to_string().contains("more than 65536 columns"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, why) in [
            ("5", "expected an array of rows or an object of columns"),
            (r#"{"a":[1],"b":[1,2]}"#, "column 'b' has 2 rows, but column 'a' has 1"),
            (r#"[{"a":[1,2]}]"#, "'a' is not one value"),
            (r#"[{"a":1,"a":1}]"#, "'a' is given twice"),
            (r#"{"a":[1],"a":[1]}"#, "column 'a' is given twice"),
            (r#"[[1],["\u0000Infinity"]]"#, "row 1: "),
            ("[1,2,3]", "3 rows, more than the limit"),
            (r#"{"a":[1,2,3]}"#, "3 rows, more than the limit"),
        ] {
            let error = rows(json, &[]).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}

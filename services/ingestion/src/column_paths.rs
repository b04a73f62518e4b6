//! Where the columns of a row stand in a record whose fields are not those of a request (`ingestion.record_columns`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::parse::{FEATURES, FIELDS, without_mark};

/// The places of the columns. Clones share them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(crate) struct ColumnPaths(Option<Arc<Columns>>);

#[derive(Debug, Default)]
struct Columns {
    /// The name of each column as JSON, with its colon.
    names: Vec<String>,
    root: Node,
}

/// What stands at one place of a record.
#[derive(Debug, Default)]
struct Node {
    /// The column that is read here.
    column: Option<usize>,
    fields: BTreeMap<String, Node>,
}

impl TryFrom<Vec<String>> for ColumnPaths {
    type Error = String;

    /// Reads `column=path` for each column, where the path names fields with points between them. A column without a path
    /// is a field of the record.
    ///
    /// # Errors
    /// For an entry without a name, a column that is named twice, and a path that leads through another column.
    fn try_from(entries: Vec<String>) -> Result<Self, String> {
        let mut columns = Columns::default();
        for entry in &entries {
            let (name, path) =
                entry.split_once('=').map_or((entry.trim(), entry.trim()), |(name, path)| (name.trim(), path.trim()));
            if name.is_empty() || path.contains('=') || path.split('.').any(str::is_empty) {
                return Err(format!("{entry:?} is not COLUMN=FIELD, or COLUMN=FIELD.FIELD for a field in a field"));
            }
            if path.split('.').next().is_some_and(|first| FIELDS.contains(&first)) {
                return Err(format!("{entry:?} begins with a field of requests ({})", FIELDS.join(", ")));
            }
            let name = format!("{}:", serde_json::Value::from(name));
            if columns.names.contains(&name) {
                return Err(format!("{entry:?} names a column again"));
            }
            columns.root.insert(path, columns.names.len()).map_err(|why| format!("{entry:?} {why}"))?;
            columns.names.push(name);
        }
        Ok(Self((!entries.is_empty()).then(|| Arc::new(columns))))
    }
}

impl ColumnPaths {
    /// Whether none are set.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The request for a record: its columns as the row, beside its fields that a request has. The paths begin at the
    /// record, or at its field `features`. `None` where no columns are set.
    ///
    /// # Errors
    /// If the record is not a JSON object, or one of the fields on a path is none.
    pub(crate) fn request(&self, json: &[u8]) -> Option<Result<Vec<u8>, String>> {
        let columns = self.0.as_ref()?;
        Some(columns.request(without_mark(json)).map_err(|error| error.to_string()))
    }
}

impl Node {
    fn insert(&mut self, path: &str, column: usize) -> Result<(), &'static str> {
        let mut node = self;
        for field in path.split('.') {
            if node.column.is_some() {
                return Err("leads through the place of another column");
            }
            node = node.fields.entry(field.to_owned()).or_default();
        }
        if node.column.is_some() || !node.fields.is_empty() {
            return Err("stands where another column stands");
        }
        node.column = Some(column);
        Ok(())
    }
}

impl Columns {
    fn request(&self, json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        let mut found = Found { columns: vec![None; self.names.len()], fields: [None; FIELDS.len()] };
        let mut reader = serde_json::Deserializer::from_slice(json);
        ObjectSeed { node: &self.root, top: true, field: "the record", found: &mut found }.deserialize(&mut reader)?;
        reader.end()?;
        let mut request = Vec::with_capacity(json.len());
        request.push(b'{');
        for (name, value) in FIELDS.iter().zip(found.fields) {
            if let Some(value) = value {
                request.extend([b"\"", name.as_bytes(), b"\":", value.get().as_bytes(), b","].concat());
            }
        }
        request.extend(br#""features":{"#);
        for (name, value) in self.names.iter().zip(found.columns) {
            if let Some(value) = value {
                if request.last() != Some(&b'{') {
                    request.push(b',');
                }
                request.extend(name.as_bytes());
                request.extend(value.get().as_bytes());
            }
        }
        request.extend(b"}}");
        Ok(request)
    }
}

/// The JSON of what was found so far.
struct Found<'de> {
    columns: Vec<Option<&'de RawValue>>,
    /// In the order of [`FIELDS`].
    fields: [Option<&'de RawValue>; FIELDS.len()],
}

/// An object of a record.
struct ObjectSeed<'c, 'de> {
    node: &'c Node,
    /// Whether it is the record itself, whose fields may be those of a request.
    top: bool,
    /// Its name, for errors.
    field: &'c str,
    found: &'c mut Found<'de>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: an object, as ingestion.record_columns says", self.field)
    }

    /// A field on a path that is `null`: its columns are missing.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { node, top, found, .. } = self;
        while let Some(name) = map.next_key::<String>()? {
            if let Some((field, child)) = node.fields.get_key_value(&name) {
                match child.column {
                    Some(column) => set(&mut found.columns[column], map.next_value()?, field)?,
                    None => map.next_value_seed(ObjectSeed { node: child, top: false, field, found: &mut *found })?,
                }
            } else if top && name == FEATURES {
                map.next_value_seed(ObjectSeed { node, top: false, field: FEATURES, found: &mut *found })?;
            } else if let Some(at) = FIELDS.iter().position(|field| top && *field == name) {
                set(&mut found.fields[at], map.next_value()?, FIELDS[at])?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

fn set<'de, E: Error>(place: &mut Option<&'de RawValue>, value: &'de RawValue, field: &str) -> Result<(), E> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom(format_args!("{field}: given twice"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(entries: &[&str]) -> Result<ColumnPaths, String> {
        ColumnPaths::try_from(entries.iter().map(|&it| it.to_owned()).collect::<Vec<_>>())
    }

    fn request(json: &str) -> Result<String, String> {
        let paths = paths(&["amount=payment.amount", "age = customer.person.age", "country"]).unwrap();
        paths.request(json.as_bytes()).unwrap().map(|request| String::from_utf8(request).unwrap())
    }

    #[test]
    fn columns_are_found_where_they_stand_and_fields_of_a_request_stay() {
        let json = r#"{"payment":{"amount": 1.50,"id":7},"customer":{"person":{"age":4e1}},"country":"D\u0045",
            "request_id":"r","priority":0,"else":[{"amount":9}]}"#;
        let expected = r#"{"request_id":"r","priority":0,"features":{"amount":1.50,"age":4e1,"country":"D\u0045"}}"#;
        assert_eq!(request(json).unwrap(), expected);
        assert_eq!(request(&format!(r#"{{"request_id":"r","priority":0,"features":{json}}}"#)).unwrap(), expected);
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        assert_eq!(request(r#"{"payment":null,"country":null}"#).unwrap(), r#"{"features":{"country":null}}"#);
        assert_eq!(request("{}").unwrap(), r#"{"features":{}}"#);
        assert_eq!(request("\u{feff}{}").unwrap(), r#"{"features":{}}"#);
    }

    #[test]
    fn errors_name_the_field() {
        for (json, part) in [
            (r#"{"payment":7}"#, "payment: an object"),
            (r#"{"customer":{"person":[1]}}"#, "person: an object"),
            (r#"{"country":1,"country":2}"#, "country: given twice"),
            (r#"{"key":1,"key":2}"#, "key: given twice"),
            ("[1]", "the record: an object"),
            (r#"{"country":1"#, "EOF"),
            (r#"{"country":1} x"#, "trailing"),
        ] {
            let error = request(json).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn settings_that_contradict_themselves_are_refused() {
        assert!(paths(&[]).unwrap().request(b"{}").is_none());
        for (entries, part) in [
            (&["=a"][..], "COLUMN=FIELD"),
            (&["a="], "COLUMN=FIELD"),
            (&["a=b..c"], "COLUMN=FIELD"),
            (&["a=b=c"], "COLUMN=FIELD"),
            (&["a=b", "a=c"], "names a column again"),
            (&["a=b", "c=b"], "stands where another"),
            (&["a=b", "c=b.d"], "leads through"),
            (&["a=b.d", "c=b"], "stands where another"),
            (&["priority"], "a field of requests"),
            (&["a=features.a"], "a field of requests"),
        ] {
            let error = paths(entries).unwrap_err();
            assert!(error.contains(part), "{entries:?}: {error}");
        }
    }
}

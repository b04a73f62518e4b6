//! How the values of a row become the numbers that a booster's trees compare: categories have codes or hashes.

use std::collections::{BTreeMap, HashMap};

use forebay_artefact::{ColumnKind, Frame, RowRefusal};

use crate::Value;
use crate::matrix::Matrix;

/// The coding of every column of a row.
#[derive(Debug, Clone)]
pub(crate) struct Coder {
    columns: Vec<Coding>,
}

/// The coding of one column.
#[derive(Debug, Clone)]
pub(crate) enum Coding {
    /// Numbers as they are.
    Number,
    /// The code of a text, or of another value as text.
    Texts { codes: HashMap<Box<str>, f64>, cut: Vec<(CutText, f64)>, unseen: Unseen<Box<[i8]>> },
    /// The code of an integer.
    Integers { codes: HashMap<i64, f64>, unseen: Unseen<i64> },
    /// The code of a number, by its bits. What training has not seen is missing.
    Floats(HashMap<u64, f64>),
    /// The hash of a text, or of the decimal text of an integer or a boolean. Nothing else has one.
    Hash(fn(&str) -> u32),
}

/// The text of a category whose end a file lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CutText {
    /// How the text begins; may be empty.
    pub start: String,
    /// How many characters the whole text has.
    pub characters: usize,
    /// What the whole text may be as well.
    pub or: Option<String>,
}

/// A text among those of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CategoryText {
    Whole(String),
    Cut(CutText),
}

/// What becomes of a category that training has not seen.
#[derive(Debug, Clone)]
pub(crate) enum Unseen<K> {
    /// It is a missing value.
    Missing,
    /// It is the category that follows it in this order, and an error after the last.
    Next(BTreeMap<K, f64>),
    /// It is an error.
    Refused,
}

impl<K: Ord> Unseen<K> {
    fn code(&self, key: impl FnOnce() -> K) -> Result<f64, String> {
        let next = match self {
            Self::Missing => return Ok(f64::NAN),
            Self::Next(order) => order.range(key()..).next().map(|(_, code)| *code),
            Self::Refused => None,
        };
        next.ok_or_else(|| "has a category that training has not seen".to_owned())
    }
}

/// Bytes that the table of a column takes at most for each text, besides its content twice, and for each number.
pub(crate) const TEXT_BYTES: usize = 160;
pub(crate) const NUMBER_BYTES: usize = 96;

/// The bits of a number; both zeros are one.
fn float_key(v: f64) -> u64 {
    (v + 0.0).to_bits()
}

/// The bytes of a text as XGBoost orders them, which has signed ones.
fn signed(text: &str) -> Box<[i8]> {
    text.bytes().map(|byte| byte as i8).collect()
}

impl Coding {
    /// Texts whose codes are their places.
    pub(crate) fn texts<T: AsRef<str>>(texts: &[T], unseen: Unseen<Box<[i8]>>) -> Self {
        let coded = || texts.iter().map(AsRef::as_ref).enumerate().map(|(code, text)| (text, code as f64));
        let unseen = match unseen {
            Unseen::Next(_) => Unseen::Next(coded().map(|(text, code)| (signed(text), code)).collect()),
            other => other,
        };
        Self::Texts { codes: coded().map(|(text, code)| (text.into(), code)).collect(), cut: Vec::new(), unseen }
    }

    /// As [`Coding::texts`], for a table in which the ends of some texts are missing. Another text is one of these if it
    /// is the only one that it can be; none takes the place of one that training has not seen.
    pub(crate) fn cut_texts(texts: Vec<CategoryText>) -> Self {
        let mut codes: HashMap<Box<str>, f64> = HashMap::new();
        let mut cut: Vec<(CutText, f64)> = Vec::new();
        for (code, text) in texts.into_iter().enumerate() {
            match text {
                CategoryText::Whole(text) => drop(codes.insert(text.into_boxed_str(), code as f64)),
                CategoryText::Cut(text) => cut.push((text, code as f64)),
            }
        }
        for (text, code) in &mut cut {
            if let Some(or) = text.or.take() {
                codes.entry(or.into_boxed_str()).or_insert(*code);
            }
        }
        Self::Texts { codes, cut, unseen: Unseen::Refused }
    }

    /// Integers whose codes are their places.
    pub(crate) fn integers(integers: &[i64], unseen: Unseen<i64>) -> Self {
        let coded = || integers.iter().enumerate().map(|(code, integer)| (*integer, code as f64));
        let unseen = match unseen {
            Unseen::Next(_) => Unseen::Next(coded().collect()),
            other => other,
        };
        Self::Integers { codes: coded().collect(), unseen }
    }

    /// Numbers whose codes are their places.
    pub(crate) fn floats(floats: &[f64]) -> Self {
        Self::Floats(floats.iter().enumerate().map(|(code, v)| (float_key(*v), code as f64)).collect())
    }

    fn kind(&self) -> ColumnKind {
        match self {
            Self::Number | Self::Floats(_) => ColumnKind::Float,
            Self::Texts { .. } | Self::Hash(_) => ColumnKind::Text,
            Self::Integers { .. } => ColumnKind::Integer,
        }
    }

    /// The code of a value.
    fn code(&self, value: &Value) -> Result<f64, String> {
        match (self, value) {
            (Self::Number, value) => value.number().ok_or_else(|| "has text, the model takes a number".to_owned()),
            (Self::Hash(hash), Value::Text(text)) => Ok(f64::from(hash(text))),
            (Self::Hash(hash), Value::Integer(integer)) => Ok(f64::from(hash(&integer.to_string()))),
            // Python's booleans are integers
            (Self::Hash(hash), Value::Boolean(v)) => Ok(f64::from(hash(if *v { "1" } else { "0" }))),
            (Self::Hash(_), Value::Float(v)) => Err(format!("has {v:?}, a category is text or an integer")),
            (Self::Hash(_), Value::Missing) => Err("has a missing value, a category is text or an integer".to_owned()),
            (_, value) if value.is_missing() => Ok(f64::NAN),
            (Self::Floats(codes), value) => {
                let number = value.number().ok_or("has text, its categories are numbers")?;
                Ok(codes.get(&float_key(number)).copied().unwrap_or(f64::NAN))
            }
            (Self::Texts { codes, cut, unseen }, value) => {
                let spelt;
                let text = match value {
                    Value::Text(text) => &**text,
                    Value::Boolean(v) => {
                        if *v {
                            "True"
                        } else {
                            "False"
                        }
                    }
                    Value::Integer(v) => {
                        spelt = v.to_string();
                        &spelt
                    }
                    _ => return Err("has a number, its categories are text".to_owned()),
                };
                let known = codes.get(text).copied().or_else(|| only_cut(cut, text));
                known.map_or_else(|| unseen.code(|| signed(text)), Ok)
            }
            (Self::Integers { codes, unseen }, value) => {
                let whole = |v: f64| (v.fract() == 0.0 && v.abs() < 9e15).then_some(v as i64);
                let integer = match value {
                    Value::Integer(v) => Some(*v),
                    Value::Text(_) => return Err("has text, its categories are integers".to_owned()),
                    value => value.number().and_then(whole),
                };
                let integer = integer.ok_or("has a number that is no integer, its categories are integers")?;
                codes.get(&integer).map_or_else(|| unseen.code(|| integer), |code| Ok(*code))
            }
        }
    }
}

/// The code of the only cut text that `text` can be.
fn only_cut(cut: &[(CutText, f64)], text: &str) -> Option<f64> {
    if cut.is_empty() {
        return None;
    }
    let characters = text.chars().count();
    let mut fitting = cut.iter().filter(|(of, _)| of.characters == characters && text.starts_with(&of.start));
    let (_, code) = fitting.next()?;
    fitting.next().is_none().then_some(*code)
}

/// The key with the least code.
fn first<K>(codes: &HashMap<K, f64>) -> Option<&K> {
    codes.iter().min_by(|a, b| a.1.total_cmp(b.1)).map(|(key, _)| key)
}

impl Coder {
    /// A coder of columns; `None` if all are plain numbers.
    pub(crate) fn of(columns: Vec<Coding>) -> Option<Self> {
        columns.iter().any(|coding| !matches!(coding, Coding::Number)).then_some(Self { columns })
    }

    /// What the values of the columns are.
    pub(crate) fn kinds(&self) -> Vec<ColumnKind> {
        self.columns.iter().map(Coding::kind).collect()
    }

    /// For each column a category that its table has, if it has one.
    pub(crate) fn sample(&self) -> Vec<Option<Value>> {
        let one = |coding: &Coding| match coding {
            Coding::Number | Coding::Hash(_) => None,
            Coding::Floats(codes) => first(codes).map(|bits| Value::Float(f64::from_bits(*bits))),
            Coding::Texts { codes, .. } => first(codes).map(|text| Value::Text((&**text).into())),
            Coding::Integers { codes, .. } => first(codes).map(|integer| Value::Integer(*integer)),
        };
        self.columns.iter().map(one).collect()
    }

    /// Which of the columns may be missing: a missing value has no hash.
    pub(crate) fn missing_columns(&self) -> Vec<bool> {
        self.columns.iter().map(|coding| !matches!(coding, Coding::Hash(_))).collect()
    }

    /// The numbers of rows.
    ///
    /// # Errors
    /// Names the column of a value that has no code.
    pub(crate) fn encode(&self, frame: Frame) -> Result<Matrix, RowRefusal> {
        let cells = frame.into_cells()?;
        let mut data = Vec::with_capacity(cells.data.len());
        for row in cells.iter() {
            for (column, (value, coding)) in row.iter().zip(&self.columns).enumerate() {
                data.push(coding.code(value).map_err(|e| RowRefusal::at(column, e))?);
            }
        }
        Ok(Matrix { width: self.columns.len(), data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(coding: &Coding, value: Value) -> Option<f64> {
        coding.code(&value).ok()
    }

    #[test]
    fn values_have_the_codes_of_their_table() {
        let texts = Coding::texts(&["x", "7"], Unseen::Missing);
        assert_eq!(code(&texts, Value::Text("7".into())), Some(1.0));
        assert_eq!(code(&texts, Value::Integer(7)), Some(1.0));
        assert!(code(&texts, Value::Text("z".into())).unwrap().is_nan());
        let integers = Coding::integers(&[5, -1], Unseen::Next(BTreeMap::new()));
        assert_eq!(code(&integers, Value::Integer(-1)), Some(1.0));
        assert_eq!(code(&integers, Value::Float(5.0)), Some(0.0));
        assert_eq!(code(&integers, Value::Integer(2)), Some(0.0), "5 follows");
        assert_eq!(code(&integers, Value::Integer(6)), None, "nothing follows");
        let next = Coding::texts(&["b", "é", "d"], Unseen::Next(BTreeMap::new()));
        assert_eq!(code(&next, Value::Text("c".into())), Some(2.0));
        assert_eq!(code(&next, Value::Text("ä".into())), Some(1.0), "bytes from 128 are below zero");
        assert_eq!(code(&Coding::texts(&["b"], Unseen::Refused), Value::Text("a".into())), None);
        assert!(code(&integers, Value::Missing).unwrap().is_nan());
        let floats = Coding::floats(&[-3.75, 0.0, 1e22]);
        assert_eq!((code(&floats, Value::Float(1e22)), code(&floats, Value::Float(-0.0))), (Some(2.0), Some(1.0)));
        assert!(code(&floats, Value::Integer(7)).unwrap().is_nan() && code(&floats, Value::Text("0".into())).is_none());
        assert_eq!(code(&integers, Value::Text("5".into())), None);
    }

    #[test]
    fn a_text_that_a_table_has_only_in_part() {
        let cut = |start: &str, characters| CategoryText::Cut(CutText { start: start.into(), characters, or: None });
        let coding = Coding::cut_texts(vec![CategoryText::Whole("Köln".into()), cut("Łó", 4), cut("", 2), cut("", 3)]);
        let of = |text: &str| code(&coding, Value::Text(text.into()));
        assert_eq!((of("Köln"), of("Łódź"), of("東京"), of("Rom")), (Some(0.0), Some(1.0), Some(2.0), Some(3.0)));
        assert_eq!((of("Lódź"), of(""), of("x")), (None, None, None));
        let two = Coding::cut_texts(vec![cut("Ł", 4), cut("", 4)]);
        assert_eq!(code(&two, Value::Text("Łódź".into())), None, "either may be meant");
    }

    #[test]
    fn what_is_no_category_names_its_column() {
        let coder = Coder::of(vec![Coding::Number, Coding::Hash(|_| 7)]).unwrap();
        let rows = |last: Value| Frame::from(crate::TypedRows::new(2, &[Value::Float(0.5), last]).unwrap());
        assert_eq!(coder.encode(rows(Value::Integer(3))).unwrap().data, [0.5, 7.0]);
        assert_eq!(coder.encode(rows(Value::Boolean(true))).unwrap().data, [0.5, 7.0]);
        assert_eq!(
            coder.encode(rows(Value::Float(3.0))).unwrap_err(),
            RowRefusal::at(1, "has 3.0, a category is text or an integer")
        );
        assert!(coder.encode(rows(Value::Missing)).unwrap_err().reason.contains("a missing value"));
    }
}

//! Counts of the tokens of documents, and their weights: CountVectorizer, HashingVectorizer, TfidfTransformer,
//! TfidfVectorizer.

use super::transform::apply_as_frame;
use super::{Missing, Norm, Transform, Vocabulary};
use crate::RowRefusal;
use crate::matrix::Matrix;
use crate::text::Tokens;
use crate::{ColumnKind, Frame, Sparse, Value};

/// The column of a token.
#[derive(Debug, Clone)]
pub enum Terms {
    /// Columns of known tokens.
    Vocabulary(Vocabulary),
    /// A hash of the token; its sign is that of what is counted, if it alternates.
    Hashed { alternate: bool },
}

/// Turns one column of documents into counts.
#[derive(Debug, Clone)]
pub struct Vectorizer {
    pub tokens: Tokens,
    pub terms: Terms,
    pub width: usize,
    /// Counts each token once.
    pub binary: bool,
    pub weights: Weights,
}

/// The weights of counts: `1 + ln` of them, times a weight per column, then rows of length one; each optional.
#[derive(Debug, Clone, Default)]
pub struct Weights {
    pub logarithmic: bool,
    pub columns: Option<Vec<f64>>,
    pub norm: Option<Norm>,
    /// Whether each is rounded to f32.
    pub single: bool,
}

impl Weights {
    fn round(&self, v: f64) -> f64 {
        if self.single { f64::from(v as f32) } else { v }
    }

    /// Weighs the values of one row.
    fn apply(&self, columns: &[u32], values: &mut [f64]) {
        if self.logarithmic {
            values.iter_mut().for_each(|v| *v = self.round(self.round(v.ln()) + 1.0));
        }
        if let Some(weights) = &self.columns {
            let pairs = values.iter_mut().zip(columns);
            pairs.for_each(|(v, c)| *v = self.round(*v * self.round(weights[*c as usize])));
        }
        if let Some(norm) = self.norm {
            norm.scale(values);
        }
        if self.single {
            values.iter_mut().for_each(|v| *v = f64::from(*v as f32));
        }
    }
}

/// MurmurHash3 of 32 bits with seed 0.
fn murmur(bytes: &[u8]) -> i32 {
    let mix = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut h = 0u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        h = (h ^ mix(u32::from_le_bytes(*word))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        h ^= mix(tail.iter().rev().fold(0, |k, b| k << 8 | u32::from(*b)));
    }
    h ^= bytes.len() as u32;
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    (h ^ (h >> 16)) as i32
}

impl Vectorizer {
    /// The column and the amount of a token; `None` for an unknown one.
    fn term(&self, token: &str) -> Option<(u32, f64)> {
        match &self.terms {
            Terms::Vocabulary(columns) => columns.column(token).map(|column| (column, 1.0)),
            Terms::Hashed { alternate } => {
                let hash = murmur(token.as_bytes());
                let width = self.width as u64;
                let column = match hash {
                    // its magnitude is no i32
                    i32::MIN => (2_147_483_647 - (width - 1)) % width,
                    _ => u64::from(hash.unsigned_abs()) % width,
                };
                Some((column as u32, if *alternate && hash < 0 { -1.0 } else { 1.0 }))
            }
        }
    }

    fn count(&self, document: &str, terms: &mut Vec<(u32, f64)>, out: &mut Sparse) {
        terms.clear();
        self.tokens.each(document, &mut |token| terms.extend(self.term(token)));
        terms.sort_unstable_by_key(|(column, _)| *column);
        let start = out.columns.len();
        for (column, amount) in terms.iter() {
            match out.columns[start..].last() {
                Some(last) if last == column => {
                    if let Some(value) = out.values.last_mut() {
                        *value += amount;
                    }
                }
                _ => {
                    out.columns.push(*column);
                    out.values.push(*amount);
                }
            }
        }
        if self.binary {
            out.values[start..].fill(1.0);
        }
        self.weights.apply(&out.columns[start..], &mut out.values[start..]);
        out.end_row();
    }
}

fn no_text() -> RowRefusal {
    RowRefusal::at(0, "has a number, a document is text")
}

impl Transform for Vectorizer {
    fn width(&self) -> usize {
        self.width
    }

    fn name(&self) -> String {
        let kind = match (&self.terms, &self.weights.columns) {
            (Terms::Hashed { .. }, _) => "HashedTokens",
            (_, Some(_)) => "Tfidf",
            _ => "Tokens",
        };
        format!("{kind}({} columns)", self.width)
    }

    fn missing(&self) -> Missing {
        Missing::Refused
    }

    fn apply(&self, _m: &mut Matrix) -> Result<(), RowRefusal> {
        Err(no_text())
    }

    fn apply_frame(&self, frame: Frame) -> Result<Frame, RowRefusal> {
        let cells = match frame {
            Frame::Values(cells) => cells,
            Frame::Numbers(m) if m.rows() == 0 => {
                return Ok(Frame::Sparse(Sparse { width: self.width, ..Sparse::default() }));
            }
            _ => return Err(no_text()),
        };
        let mut out = Sparse { width: self.width, ..Sparse::default() };
        let mut terms = Vec::new();
        for row in cells.iter() {
            match &row[0] {
                Value::Text(document) => self.count(document, &mut terms, &mut out),
                Value::Missing => return Err(RowRefusal::at(0, "has a missing value, a document is text")),
                _ => return Err(no_text()),
            }
        }
        Ok(Frame::Sparse(out))
    }

    fn takes(&self) -> Option<Vec<ColumnKind>> {
        Some(vec![ColumnKind::Text])
    }

    fn gives_sparse(&self) -> bool {
        true
    }
}

/// TfidfTransformer: weights of counts.
#[derive(Debug, Clone)]
pub struct Weigh {
    pub width: usize,
    pub weights: Weights,
}

impl Transform for Weigh {
    fn width(&self) -> usize {
        self.width
    }

    fn name(&self) -> String {
        "Tfidf".to_owned()
    }

    fn missing(&self) -> Missing {
        Missing::Refused
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        apply_as_frame(self, m)
    }

    fn apply_frame(&self, frame: Frame) -> Result<Frame, RowRefusal> {
        let mut sparse = frame.into_sparse()?;
        sparse.for_each_row(|columns, values| self.weights.apply(columns, values));
        Ok(Frame::Sparse(sparse))
    }

    fn gives_sparse(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_scikit_learn() {
        for (token, hash) in HASHES {
            assert_eq!(murmur(token.as_bytes()), *hash, "{token}");
        }
    }

    /// Printed by `sklearn.utils.murmurhash3_32`.
    const HASHES: &[(&str, i32)] = &[
        ("", 0),
        ("a", 1009084850),
        ("ab", -1681926305),
        ("abc", -1277324294),
        ("hello", 613153351),
        ("São", 702213016),
        ("a longer token", 1230362642),
    ];
}

//! The categories that XGBoost (3.1 and later) saves with a model that was trained on a data frame.

use std::collections::BTreeMap;

use crate::booster::{Coder, Coding, Unseen};
use crate::document::Value;

/// The first release that refuses a category that training has not seen; before, it is the category that follows it in
/// the order of their bytes.
const REFUSES: [i64; 2] = [3, 3];

/// The coder of the columns; `None` if the file has no categories. `release` is that of the library that wrote it.
pub(super) fn coder(booster: &Value<'_>, release: &[i64], features: &[String]) -> Result<Option<Coder>, String> {
    let refuses = release.get(..2).is_some_and(|release| release >= REFUSES.as_slice());
    let model = booster.get("gbtree").unwrap_or(booster).get("model");
    let Some(encodings) = model.and_then(|model| model.path(&["cats", "enc"])) else { return Ok(None) };
    let encodings = match encodings {
        Value::List(encodings) if encodings.is_empty() => return Ok(None),
        Value::List(encodings) if encodings.len() == features.len() => encodings,
        _ => return Err(format!("are not of {} features", features.len())),
    };
    let columns = features.iter().zip(encodings).map(|(name, encoding)| Ok((name.clone(), coding(encoding, refuses)?)));
    Ok(Coder::of(columns.collect::<Result<_, String>>()?))
}

fn unseen<K: Ord>(refuses: bool) -> Unseen<K> {
    if refuses { Unseen::Refused } else { Unseen::Next(BTreeMap::new()) }
}

fn coding(encoding: &Value<'_>, refuses: bool) -> Result<Coding, String> {
    let values = encoding.need("values")?;
    let Some(offsets) = encoding.get("offsets") else {
        let integers: Vec<i64> = values.numbers()?;
        return Ok(if integers.is_empty() { Coding::Number } else { Coding::integers(&integers, unseen(refuses)) });
    };
    let offsets: Vec<i64> = offsets.numbers()?;
    let bytes: Vec<i64> = values.numbers()?;
    let bytes: Vec<u8> = bytes.into_iter().map(|byte| byte as u8).collect();
    if offsets.len() < 2 {
        return Ok(Coding::Number);
    }
    let offsets: Option<Vec<usize>> = offsets.iter().map(|offset| usize::try_from(*offset).ok()).collect();
    let texts = offsets.and_then(|offsets| texts(&bytes, &offsets));
    Ok(Coding::texts(&texts.ok_or("offsets do not divide the values into texts")?, unseen(refuses)))
}

/// The texts between the offsets. From a data frame of pandas, XGBoost 3 counts characters where it means bytes, and cuts
/// the bytes off after as many: texts that are not whole are left out.
fn texts(bytes: &[u8], offsets: &[usize]) -> Option<Vec<String>> {
    let text = |pair: &[usize]| String::from_utf8(bytes.get(pair[0]..pair[1])?.to_vec()).ok();
    if let Some(texts) = offsets.windows(2).map(text).collect() {
        return Some(texts);
    }
    if *offsets.last()? != bytes.len() || !offsets.is_sorted() {
        return None;
    }
    let whole = String::from_utf8_lossy(bytes);
    let characters: Vec<char> = whole.trim_end_matches(char::REPLACEMENT_CHARACTER).chars().collect();
    let text = |pair: &[usize]| characters.get(pair[0]..pair[1]).map_or_else(String::new, |text| text.iter().collect());
    Some(offsets.windows(2).map(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lie_between_offsets() {
        assert_eq!(texts("aéb".as_bytes(), &[0, 1, 3, 4]).unwrap(), ["a", "é", "b"]);
        // "né", "x" and "long", cut off after seven bytes
        assert_eq!(texts(&"néxlong".as_bytes()[..7], &[0, 2, 3, 7]).unwrap(), ["né", "x", ""]);
        assert_eq!(texts(b"ab", &[0, 3]), None);
        assert_eq!(texts(b"ab", &[2, 0]), None);
    }
}

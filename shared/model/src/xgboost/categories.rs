//! The categories that XGBoost (3.1 and later) saves with a model that was trained on a data frame.

use std::collections::BTreeMap;

use forebay_artefact::Allowance;

use crate::booster::{CategoryText, Coder, Coding, CutText, NUMBER_BYTES, TEXT_BYTES, Unseen};
use crate::document::Value;

/// The first release that refuses a category that training has not seen; before, it is the category that follows it in
/// the order of their bytes.
const REFUSES: [i64; 2] = [3, 3];

/// Bytes that reading takes for each text besides its table, and for each byte of the texts: a number of the file, a
/// character, and the texts.
const OFFSET_BYTES: usize = 160;
const BYTE_BYTES: usize = 16;

/// The coder of the columns; `None` if the file has no categories. `release` is that of the library that wrote it.
pub(super) fn coder(
    booster: &Value<'_>,
    release: &[i64],
    features: &[String],
    allowance: &Allowance,
) -> Result<Option<Coder>, String> {
    let refuses = release.get(..2).is_some_and(|release| release >= REFUSES.as_slice());
    let model = booster.get("gbtree").unwrap_or(booster).get("model");
    let Some(encodings) = model.and_then(|model| model.path(&["cats", "enc"])) else { return Ok(None) };
    let encodings = match encodings {
        Value::List(encodings) if encodings.is_empty() => return Ok(None),
        Value::List(encodings) if encodings.len() == features.len() => encodings,
        _ => return Err(format!("are not of {} features", features.len())),
    };
    let columns = encodings.iter().map(|encoding| coding(encoding, refuses, allowance));
    Ok(Coder::of(columns.collect::<Result<_, String>>()?))
}

fn unseen<K: Ord>(refuses: bool) -> Unseen<K> {
    if refuses { Unseen::Refused } else { Unseen::Next(BTreeMap::new()) }
}

fn coding(encoding: &Value<'_>, refuses: bool, allowance: &Allowance) -> Result<Coding, String> {
    let values = encoding.need("values")?;
    let Some(offsets) = encoding.get("offsets") else {
        allowance.spend(values.len().saturating_mul(NUMBER_BYTES))?;
        let integers: Vec<i64> = values.numbers()?;
        return Ok(if integers.is_empty() { Coding::Number } else { Coding::integers(&integers, unseen(refuses)) });
    };
    let count = offsets.len();
    allowance.spend(count.saturating_mul(TEXT_BYTES + OFFSET_BYTES))?;
    allowance.spend(values.len().saturating_mul(BYTE_BYTES))?;
    let offsets: Vec<i64> = offsets.numbers()?;
    let bytes: Vec<i64> = values.numbers()?;
    let bytes: Vec<u8> = bytes.into_iter().map(|byte| byte as u8).collect();
    if offsets.len() < 2 {
        return Ok(Coding::Number);
    }
    let offsets: Option<Vec<usize>> = offsets.iter().map(|offset| usize::try_from(*offset).ok()).collect();
    let texts =
        offsets.and_then(|offsets| texts(&bytes, &offsets)).ok_or("offsets do not divide the values into texts")?;
    let whole = |text: &CategoryText| match text {
        CategoryText::Whole(text) => Some(text.clone()),
        CategoryText::Cut(_) => None,
    };
    let coding = match texts.iter().map(whole).collect::<Option<Vec<String>>>() {
        Some(texts) => Coding::texts(&texts, unseen(refuses)),
        None => Coding::cut_texts(texts),
    };
    allowance.give_back(count * OFFSET_BYTES + values.len() * BYTE_BYTES);
    Ok(coding)
}

/// The texts between the offsets. From a data frame of pandas, XGBoost 3 counts characters where it means bytes, and cuts
/// the bytes off after as many; from Arrow it counts bytes. Where both give texts, those are meant that are sorted, as
/// the categories of pandas are; where both are sorted, a text that is cut off may be either.
fn texts(bytes: &[u8], offsets: &[usize]) -> Option<Vec<CategoryText>> {
    let text = |pair: &[usize]| String::from_utf8(bytes.get(pair[0]..pair[1])?.to_vec()).ok();
    let by_bytes: Option<Vec<String>> = offsets.windows(2).map(text).collect();
    let counted = if bytes.is_ascii() { None } else { by_characters(bytes, offsets) };
    match (by_bytes, counted) {
        (None, counted) => counted,
        (Some(texts), Some(mut counted)) if is_sorted(&counted) || !texts.is_sorted() => {
            if texts.is_sorted() {
                counted.iter_mut().zip(texts).for_each(|(counted, text)| {
                    if let CategoryText::Cut(cut) = counted {
                        cut.or = Some(text);
                    }
                });
            }
            Some(counted)
        }
        (Some(texts), _) => Some(texts.into_iter().map(CategoryText::Whole).collect()),
    }
}

fn by_characters(bytes: &[u8], offsets: &[usize]) -> Option<Vec<CategoryText>> {
    if *offsets.last()? != bytes.len() || !offsets.is_sorted() {
        return None;
    }
    let known = String::from_utf8_lossy(bytes);
    let known: Vec<char> = known.trim_end_matches(char::REPLACEMENT_CHARACTER).chars().collect();
    let text = |pair: &[usize]| match known.get(pair[0]..pair[1]) {
        Some(text) => CategoryText::Whole(text.iter().collect()),
        None => {
            let start = known.get(pair[0]..).unwrap_or_default().iter().collect();
            CategoryText::Cut(CutText { start, characters: pair[1] - pair[0], or: None })
        }
    };
    Some(offsets.windows(2).map(text).collect())
}

/// Whether the texts ascend, as far as they are known.
fn is_sorted(texts: &[CategoryText]) -> bool {
    let known = texts.iter().map(|text| match text {
        CategoryText::Whole(text) => text,
        CategoryText::Cut(cut) => &cut.start,
    });
    known.is_sorted_by(|before, after| before <= after || before.starts_with(after.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(texts: &[&str]) -> Vec<CategoryText> {
        texts.iter().map(|&text| CategoryText::Whole(text.to_owned())).collect()
    }

    #[test]
    fn texts_lie_between_offsets() {
        assert_eq!(texts(b"abcd", &[0, 1, 3, 4]).unwrap(), whole(&["a", "bc", "d"]));
        // counted in bytes, and sorted only so
        assert_eq!(texts("éaüb".as_bytes(), &[0, 3, 6]).unwrap(), whole(&["éa", "üb"]));
        // "é", or a text of two characters
        let cut = CategoryText::Cut(CutText { start: "é".into(), characters: 2, or: Some("é".into()) });
        assert_eq!(texts("abé".as_bytes(), &[0, 1, 2, 4]).unwrap(), [&whole(&["a", "b"])[..], &[cut]].concat());
        assert_eq!(texts(b"ab", &[0, 3]), None);
        assert_eq!(texts(b"ab", &[2, 0]), None);
    }

    #[test]
    fn texts_whose_characters_were_counted() {
        let cut = |start: &str, characters| CategoryText::Cut(CutText { start: start.into(), characters, or: None });
        // "né", "x" and "long", cut off after seven bytes
        let mut expected = whole(&["né", "x"]);
        expected.push(cut("lon", 4));
        assert_eq!(texts(&"néxlong".as_bytes()[..7], &[0, 2, 3, 7]).unwrap(), expected);
        // every piece between the offsets is text by chance
        let all = "KölnLyonNew YorkSão PauloŁódź東京".as_bytes();
        let mut expected = whole(&["Köln", "Lyon", "New York", "São Paulo"]);
        expected.extend([cut("Łó", 4), cut("", 2)]);
        assert_eq!(texts(&all[..31], &[0, 4, 8, 16, 25, 29, 31]).unwrap(), expected);
    }
}

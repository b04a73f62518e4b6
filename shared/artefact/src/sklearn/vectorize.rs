//! Reads vectorisers of text.

use std::collections::HashSet;
use std::sync::Arc;

use crate::Fault;
use crate::python::View;
use crate::step::{Norm, Step, Terms, Vectorizer, Vocabulary, Weigh, Weights};
use crate::text::{Accents, Analyzer, Pattern, Tokens, stop_words};

/// The most columns of a vectoriser: twice the default of HashingVectorizer.
pub(super) const MAX_TERMS: usize = 1 << 21;
/// The most words or characters in a token.
const MAX_GROUP: usize = 100;
/// Longest `token_pattern`.
const MAX_PATTERN: usize = 4096;
/// Bytes of a stop word besides its text.
const WORD_BYTES: usize = 64;

/// Whether a class takes one column of documents and states no number of inputs.
pub(super) fn takes_documents(class: &str) -> bool {
    let name = class.strip_prefix("sklearn.feature_extraction.text.");
    matches!(name, Some("CountVectorizer" | "TfidfVectorizer" | "HashingVectorizer"))
}

/// A CountVectorizer, TfidfVectorizer or HashingVectorizer.
pub(super) fn vectorizer(view: &View<'_>, name: &str) -> Result<Step, Fault> {
    let tokens = tokens(view)?;
    let mut weights = Weights { single: is_single(view), ..Weights::default() };
    let (terms, width) = if name == "HashingVectorizer" {
        let width = view.attr("n_features")?.count(MAX_TERMS)?;
        weights.norm = norm(view)?;
        (Terms::Hashed { alternate: view.attr("alternate_sign")?.flag()? }, width)
    } else {
        let columns = vocabulary(&view.attr("vocabulary_")?)?;
        let width = columns.len();
        if name == "TfidfVectorizer" {
            // the vectoriser's own parameters are those of its transformer
            let single = weights.single;
            weights = Weights { single, ..tfidf_weights(&view.attr("_tfidf")?, width)? };
        }
        (Terms::Vocabulary(columns), width)
    };
    if width == 0 {
        return Err(view.fault("has no columns"));
    }
    let binary = view.attr("binary")?.flag()?;
    Ok(Step::Other(Arc::new(Vectorizer { tokens, terms, width, binary, weights })))
}

/// A TfidfTransformer.
pub(super) fn tfidf(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    Ok(Step::Other(Arc::new(Weigh { width, weights: tfidf_weights(view, width)? })))
}

fn is_single(view: &View<'_>) -> bool {
    view.opt("dtype").is_some_and(|dtype| dtype.class() == "numpy.float32")
}

fn norm(view: &View<'_>) -> Result<Option<Norm>, Fault> {
    let Some(norm) = view.opt("norm") else { return Ok(None) };
    match norm.word()? {
        "l1" => Ok(Some(Norm::L1)),
        "l2" => Ok(Some(Norm::L2)),
        "max" => Ok(Some(Norm::Max)),
        other => Err(norm.fault(format!("norm {other:?} is not supported"))),
    }
}

fn tfidf_weights(view: &View<'_>, width: usize) -> Result<Weights, Fault> {
    let columns = if view.attr("use_idf")?.flag()? {
        // before 1.5 the weights were the diagonal of a sparse matrix
        let idf = match view.opt("idf_") {
            Some(idf) => idf,
            None => view.attr("_idf_diag")?.attr("data")?,
        };
        Some(idf.vector(width)?)
    } else {
        None
    };
    Ok(Weights { logarithmic: view.attr("sublinear_tf")?.flag()?, columns, norm: norm(view)?, single: false })
}

fn vocabulary(view: &View<'_>) -> Result<Vocabulary, Fault> {
    let (mut count, mut bytes) = (0, 0);
    view.each_number(|token, _| {
        (count, bytes) = (count + 1, bytes + token.len());
        Ok(())
    })?;
    if count > MAX_TERMS {
        return Err(view.fault(format!("{count} terms, at most {MAX_TERMS}")));
    }
    view.allocate(Vocabulary::bytes_of(count, bytes).saturating_add(count))?;
    let mut seen = vec![false; count];
    let mut columns = Vocabulary::with_capacity(count, bytes);
    view.each_number(|token, column| {
        let at = super::step::index(column, count)?;
        if std::mem::replace(&mut seen[at], true) {
            return Err(format!("column {at} has two terms"));
        }
        columns.insert(token, at as u32)
    })?;
    Ok(columns)
}

fn tokens(view: &View<'_>) -> Result<Tokens, Fault> {
    for name in ["preprocessor", "tokenizer"] {
        if let Some(function) = view.opt(name) {
            return Err(function.fault(format!("{name} is {}; no code is run here", function.kind())));
        }
    }
    let input = view.attr("input")?;
    if input.text()? != "content" {
        return Err(input.fault("is not content: documents in files are not read"));
    }
    let accents = match view.opt("strip_accents") {
        None => Accents::Keep,
        Some(how) => match how.text() {
            Ok("unicode") => Accents::Strip,
            Ok("ascii") => Accents::Ascii,
            _ => return Err(how.fault(format!("strip_accents is {}; no code is run here", how.kind()))),
        },
    };
    let kind = view.attr("analyzer")?;
    let analyzer = match kind.text() {
        Ok("word") => words(view)?,
        Ok("char") => Analyzer::Characters,
        Ok("char_wb") => Analyzer::CharactersInWords,
        _ => return Err(kind.fault(format!("analyzer is {}; no code is run here", kind.kind()))),
    };
    let range = view.attr("ngram_range")?;
    let groups = match range.items()?.as_slice() {
        [low, high] => (low.count(MAX_GROUP)?, high.count(MAX_GROUP)?),
        _ => return Err(range.fault("is not a pair")),
    };
    if groups.0 == 0 || groups.0 > groups.1 {
        return Err(range.fault(format!("is {groups:?}")));
    }
    let lowercase = view.attr("lowercase")?.flag()?;
    Ok(Tokens { lowercase, accents, analyzer, stop_words: stop_words_of(view)?, groups })
}

fn words(view: &View<'_>) -> Result<Analyzer, Fault> {
    let pattern = view.attr("token_pattern")?;
    let text = pattern.text()?;
    if text.len() > MAX_PATTERN {
        return Err(pattern.fault(format!("token_pattern has {} bytes, at most {MAX_PATTERN}", text.len())));
    }
    Ok(match text.strip_prefix("(?u)").unwrap_or(text) {
        r"\b\w\w+\b" | r"\w\w+" | r"\b\w{2,}\b" => Analyzer::Runs(2),
        r"\b\w+\b" | r"\w+" => Analyzer::Runs(1),
        _ => {
            let compiled = Pattern::new(text).map_err(|e| pattern.fault(format!("token_pattern {text:?} {e}")))?;
            pattern.allocate(compiled.bytes())?;
            Analyzer::Matches(compiled)
        }
    })
}

fn stop_words_of(view: &View<'_>) -> Result<HashSet<Box<str>>, Fault> {
    let Some(given) = view.opt("stop_words") else { return Ok(HashSet::new()) };
    match given.text() {
        Ok("english") => {
            given.allocate(stop_words::english().count() * WORD_BYTES)?;
            Ok(stop_words::english().map(Box::from).collect())
        }
        Ok(other) => Err(given.fault(format!("{other:?} is not supported"))),
        Err(_) => {
            // a frozenset may be an object whose only argument is the list of its items
            let items = given.items()?;
            let items = match items.as_slice() {
                [only] if only.text().is_err() => only.items()?,
                _ => items,
            };
            given.allocate(items.len().saturating_mul(WORD_BYTES))?;
            let mut words = HashSet::with_capacity(items.len());
            for word in items {
                let word = word.text()?;
                given.allocate(word.len())?;
                words.insert(Box::from(word));
            }
            Ok(words)
        }
    }
}

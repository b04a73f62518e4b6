//! What pickles consist of, and pickles of text classifiers with large vocabularies, as Python writes them.

pub(super) fn text(s: &str) -> Vec<u8> {
    [&b"\x8c"[..], &[s.len() as u8], s.as_bytes()].concat()
}

pub(super) fn int(v: u32) -> Vec<u8> {
    [&b"J"[..], &v.to_le_bytes()].concat()
}

pub(super) fn class(module: &str, name: &str) -> Vec<u8> {
    [text(module), text(name), b"\x93".to_vec()].concat()
}

pub(super) fn object(module: &str, name: &str, attributes: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> = attributes.iter().flat_map(|(name, value)| [text(name), value.clone()].concat()).collect();
    [class(module, name), b")\x81}(".to_vec(), items, b"ub".to_vec()].concat()
}

pub(super) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [b"](".to_vec(), items.concat(), b"e".to_vec()].concat()
}

/// A type of numbers, as an entry of the memo.
fn dtype(code: &str, memo: u8) -> Vec<u8> {
    let state = [text("<"), b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00".to_vec()].concat();
    let made = [class("numpy", "dtype"), text(code), b"\x89\x88\x87R(K\x03".to_vec(), state, b"tb".to_vec()];
    [made.concat(), vec![b'q', memo, b'0']].concat()
}

/// An array of doubles, whose type is entry 2 of the memo; with rows, if there are any.
fn doubles(rows: Option<u32>, n: u32) -> Vec<u8> {
    let data: Vec<u8> = (0..n).flat_map(|i| f64::from(i).to_le_bytes()).collect();
    let bytes = [&b"B"[..], &(data.len() as u32).to_le_bytes(), &data].concat();
    let shape = match rows {
        Some(rows) => [int(rows), int(n / rows), b"\x86".to_vec()].concat(),
        None => [int(n), b"\x85".to_vec()].concat(),
    };
    let arguments = [bytes, b"h\x02".to_vec(), shape, text("C"), b"tR".to_vec()].concat();
    [class("numpy._core.numeric", "_frombuffer"), b"(".to_vec(), arguments].concat()
}

/// A dict of words and their columns; NumPy's integers are made by the entries 0 and 1 of the memo.
fn words(terms: u32, of_numpy: bool) -> Vec<u8> {
    let mut words = b"}\x94".to_vec();
    for start in (0..terms).step_by(1000) {
        words.push(b'(');
        for i in start..(start + 1000).min(terms) {
            words.extend([text(&format!("word{i:x}")), b"\x94".to_vec()].concat());
            let scalar = [&b"h\x00h\x01C\x08"[..], &u64::from(i).to_le_bytes(), b"\x94\x86\x94R\x94"].concat();
            words.extend(if of_numpy { scalar } else { int(i) });
        }
        words.push(b'u');
    }
    words
}

fn vectorizer(terms: u32, of_numpy: bool) -> Vec<u8> {
    let weights = [
        ("use_idf", b"\x88".to_vec()),
        ("idf_", doubles(None, terms)),
        ("sublinear_tf", b"\x89".to_vec()),
        ("norm", text("l2")),
    ];
    let attributes = [
        ("input", text("content")),
        ("analyzer", text("word")),
        ("token_pattern", text(r"(?u)\b\w\w+\b")),
        ("ngram_range", b"K\x01K\x01\x86".to_vec()),
        ("lowercase", b"\x88".to_vec()),
        ("binary", b"\x89".to_vec()),
        ("vocabulary_", words(terms, of_numpy)),
        ("_tfidf", object("sklearn.feature_extraction.text", "TfidfTransformer", &weights)),
    ];
    object("sklearn.feature_extraction.text", "TfidfVectorizer", &attributes)
}

fn logistic(terms: u32) -> Vec<u8> {
    let attributes = [
        ("coef_", doubles(Some(1), terms)),
        ("intercept_", doubles(None, 1)),
        ("classes_", doubles(None, 2)),
        ("n_features_in_", int(terms)),
    ];
    object("sklearn.linear_model._logistic", "LogisticRegression", &attributes)
}

/// A TfidfVectorizer with this many terms, whose columns are integers of Python or of NumPy, before a LogisticRegression,
/// or one for each of several classes.
pub(crate) fn classifier(terms: u32, of_numpy: bool, classes: u32) -> Vec<u8> {
    let last = if classes == 1 {
        logistic(terms)
    } else {
        let members: Vec<Vec<u8>> = (0..classes).map(|_| logistic(terms)).collect();
        let labels = [("classes_", doubles(None, classes)), ("y_type_", text("multiclass"))];
        let attributes = [
            ("estimators_", list(&members)),
            ("label_binarizer_", object("sklearn.preprocessing._label", "LabelBinarizer", &labels)),
            ("n_features_in_", int(terms)),
        ];
        object("sklearn.multiclass", "OneVsRestClassifier", &attributes)
    };
    let step = |name: &str, object: Vec<u8>| [text(name), object, b"\x86".to_vec()].concat();
    let steps = list(&[step("tfidf", vectorizer(terms, of_numpy)), step("last", last)]);
    let start =
        [class("numpy._core.multiarray", "scalar"), b"q\x000".to_vec(), dtype("i8", 1), dtype("f8", 2)].concat();
    [b"\x80\x04".to_vec(), start, object("sklearn.pipeline", "Pipeline", &[("steps", steps)]), b".".to_vec()].concat()
}

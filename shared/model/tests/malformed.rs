//! Broken and hostile artefacts: a clear error that names the file and the place, no panic, and bounded memory.
#![cfg(test)]

use std::io::Write;
use std::path::Path;

use forebay_model::{LoadedVersion, Rows, load_bytes, load_file, load_folder};
use zip::write::SimpleFileOptions;

fn golden(case: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case)
}

fn load(name: &str, bytes: &[u8]) -> Result<LoadedVersion, String> {
    load_bytes(name, bytes).map_err(|f| f.to_string())
}

/// A small pseudo-random generator, so that the tests are deterministic.
struct Chaos(u64);

impl Chaos {
    fn next(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Every mutation must fail cleanly, or load and predict.
fn torture(name: &str, whole: &[u8], rounds: usize) -> usize {
    let mut chaos = Chaos(0x1234_5678_9abc_def1);
    let mut refused = 0;
    for round in 0..rounds {
        let mut bytes = whole.to_vec();
        match round % 4 {
            0 => bytes.truncate(chaos.next(whole.len())),
            1 => {
                for _ in 0..1 + chaos.next(8) {
                    let at = chaos.next(bytes.len());
                    bytes[at] = chaos.next(256) as u8;
                }
            }
            2 => {
                let at = chaos.next(bytes.len());
                bytes[at] ^= 1 << chaos.next(8);
            }
            _ => {
                let (at, len) = (chaos.next(bytes.len()), chaos.next(64));
                let end = (at + len).min(bytes.len());
                bytes[at..end].fill([0x00, 0xff, 0x7f, 0x80][chaos.next(4)]);
            }
        }
        match load(name, &bytes) {
            Err(fault) => {
                assert!(fault.starts_with(name), "{fault}");
                refused += 1;
            }
            Ok(loaded) => {
                let width = loaded.model.signature().width();
                let row: Vec<f64> = (0..width).map(|i| if i % 3 == 0 { f64::NAN } else { i as f64 }).collect();
                let _ = loaded.model.predict(Rows::new(width, &row).unwrap());
            }
        }
    }
    refused
}

#[test]
fn corrupted_files_fail_cleanly() {
    for (case, name, rounds) in [
        ("classes/imputer_median_indicator_rf", "model.pkl", 400),
        ("classes/gb_clf_multi", "model.pkl", 300),
        ("classes/hist_clf_multi", "model.pkl", 300),
        ("mlflow/tree_reg.skops", "model.skops", 400),
        ("mlflow/imputer_scaler_ridge.skops", "model.skops", 400),
        ("mlflow/mlp_reg_scaled.pickle", "model.pkl", 300),
    ] {
        let folder = golden(case);
        let name = if folder.join(name).exists() { name } else { "model.skops" };
        let whole = std::fs::read(folder.join(name)).unwrap();
        let refused = torture(name, &whole, rounds);
        assert!(refused > rounds / 4, "{case}: only {refused} of {rounds} refused");
    }
    let net = include_bytes!("../sample/diabetes-rf-model/3/model.bpk");
    assert!(torture("model.bpk", net, 300) > 50);
}

/// Every golden model file, in every format, with a few mutations each.
#[test]
fn every_golden_may_be_damaged() {
    let mut open = vec![golden(".")];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.metadata().unwrap().len() < 100_000
                && path.extension().is_some_and(|e| e == "pkl" || e == "skops" || e == "onnx")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 100);
    let torn = |file: &std::path::PathBuf| {
        let name = if file.extension().unwrap() == "onnx" { "model.onnx" } else { "model.pkl" };
        torture(name, &std::fs::read(file).unwrap(), 8)
    };
    let refused: usize = files.iter().map(torn).sum();
    assert!(refused > 2 * files.len(), "only {refused} refused");
}

/// A skops file with this schema and these other entries.
fn skops(schema: &[u8], entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in std::iter::once(("schema.json", schema.to_vec())).chain(entries.iter().cloned()) {
        zip.start_file(name, options).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_zip_bomb_is_refused() {
    let bomb = skops(&vec![b' '; 90 << 20], &[]);
    assert!(bomb.len() < 1 << 20);
    let fault = load("model.skops", &bomb).unwrap_err();
    assert!(fault.contains("inflates"), "{fault}");
}

#[test]
fn schemas_that_are_none() {
    let deep = "[".repeat(100_000);
    for (schema, what) in [
        ("{", "schema.json"),
        ("[]", "root"),
        (deep.as_str(), "recursion"),
        ("{}", "protocol"),
        (r#"{"protocol": 77}"#, "protocol 77"),
        (
            r#"{"__class__": "Pipeline", "__module__": "sklearn.pipeline", "__loader__": "CachedNode", "__id__": 5}"#,
            "nothing",
        ),
        (
            r#"{"__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "content": "", "protocol": 2}"#,
            "os.system",
        ),
        (
            r#"{"__class__": "Evil", "__module__": "evil", "__loader__": "ObjectNode", "content": null, "protocol": 2}"#,
            "evil.Evil is not",
        ),
    ] {
        let fault = load("model.skops", &skops(schema.as_bytes(), &[])).unwrap_err();
        assert!(fault.contains(what), "{fault}");
    }
}

#[test]
fn pickles_that_call_things_stay_inert() {
    let marker = std::env::temp_dir().join("forebay-pickle-was-executed");
    let command = format!("touch {}", marker.display());
    let mut evil = b"\x80\x04cos\nsystem\n\x8c".to_vec();
    evil.push(command.len() as u8);
    evil.extend(command.as_bytes());
    evil.extend(b"\x85R.");
    let fault = load("model.pkl", &evil).unwrap_err();
    assert!(fault.contains("os.system"), "{fault}");
    assert!(!marker.exists());
}

#[test]
fn pickles_that_are_none() {
    for (bytes, what) in [
        (b"".as_slice(), "neither"),
        (b"garbage", "neither"),
        (b"\x80\x04", "ends early"),
        (b"\x80\x07.", "protocol 7"),
        (b"\x80\x04.", "stack is empty"),
        (b"\x80\x04(.", "stack is empty"),
        (b"\x80\x04h\x05.", "memo"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", "ends early"),
        (b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\xff", "ends early"),
        (b"\x80\x05\x97.", "opcode 0x97"),
        (b"\x80\x04K\x01a.", "stack is empty"),
        (b"\x80\x04K\x01K\x01a.", "not a list"),
        (b"\x80\x04K\x01K\x01R.", "not a name"),
        (b"\x80\x04]\x94h\x00a.", "not supported"),
        (b"\x1f\x8b\x08", "gzip: "),
        (b"\x78\x9c", "zlib: "),
        (b"\xfd7zXZ\x00", "compression xz"),
    ] {
        let fault = load("model.pkl", bytes).unwrap_err();
        assert!(fault.contains(what), "{bytes:?}: {fault}");
    }
}

/// A list that holds itself, as a pipeline's steps: the reader must neither hang nor overflow its stack.
#[test]
fn cyclic_pickles_end() {
    // Pipeline with state {"steps": x}, where x = [("a", the pipeline itself)]
    let cycle = b"\x80\x04csklearn.pipeline\nPipeline\n)\x81\x94}\x8c\x05steps]\x8c\x01ah\x00\x86asb.";
    let fault = load("model.pkl", cycle).unwrap_err();
    assert!(fault.contains("nested too deep"), "{fault}");
}

#[test]
fn a_folder_must_be_whole() {
    let dir = tempfile::tempdir().unwrap();
    assert!(load_folder(dir.path()).unwrap_err().to_string().contains("MLmodel"));
    let write = |text: &str| std::fs::write(dir.path().join("MLmodel"), text).unwrap();
    write("flavors: {}");
    assert!(load_folder(dir.path()).unwrap_err().to_string().contains("names no model file"));
    write("flavors: {sklearn: {pickled_model: model.pkl}}");
    assert_eq!(load_folder(dir.path()).unwrap_err().to_string(), "model.pkl: no such file");
    std::fs::copy(golden("mlflow/tree_reg.pickle/model.pkl"), dir.path().join("model.pkl")).unwrap();
    assert!(load_folder(dir.path()).is_ok());
    let file = load_file(&dir.path().join("model.pkl")).unwrap();
    assert_eq!((file.name.as_str(), file.signature.width()), ("model.pkl", 10));
    assert!(load_file(&dir.path().join("other.pkl")).unwrap_err().reason.contains("no such file"));
    write("flavors: {sklearn: {pickled_model: model.pkl}}\nsignature: {inputs: '[{\"name\": \"a\"}]'}");
    let fault = load_folder(dir.path()).unwrap_err().to_string();
    assert!(fault.contains("signature: names 1 inputs, the artefact takes 10"), "{fault}");
}

/// Short instructions that would copy a long text without end.
#[test]
fn amplification_is_bounded() {
    let long = "x".repeat(1 << 20);
    let mut memo = b"\x80\x04X".to_vec();
    memo.extend((long.len() as u32).to_le_bytes());
    memo.extend(long.as_bytes());
    memo.extend(b"\x94");
    // a text encoded to bytes again and again
    let mut encode = memo.clone();
    for _ in 0..100_000 {
        encode.extend(b"c_codecs\nencode\nh\x00\x85R0");
    }
    // a class name made of it
    let mut name = memo.clone();
    for _ in 0..100_000 {
        name.extend(b"h\x00h\x00\x930");
    }
    // a dict keyed by it
    let mut keys = memo;
    keys.extend(b"}");
    for _ in 0..100_000 {
        keys.extend(b"h\x00Ns");
    }
    keys.extend(b".");
    for (bytes, reason) in [(encode, "far larger than its file"), (name, "name of a class of")] {
        let fault = load("model.pkl", &bytes).unwrap_err();
        assert!(fault.contains(reason), "{fault}");
    }
    assert!(load("model.pkl", &keys).unwrap_err().contains("not supported"));
}

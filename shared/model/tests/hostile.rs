//! Files that were made to do harm: sizes without data, compressed bombs, trees that lead nowhere. Each is rejected for
//! the right reason, in little time, and (`hostile/memory.rs`) in little memory.
#![cfg(test)]

#[path = "hostile/memory.rs"]
mod memory;
#[path = "hostile/pickled_text.rs"]
mod pickled_text;
#[path = "hostile/references.rs"]
mod references;
#[path = "hostile/steps.rs"]
mod steps;

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use forebay_model::load_bytes;

/// The longest that any of these may take, even on a slow machine.
const LIMIT: Duration = Duration::from_secs(20);

/// The fault of a file, which must be found within the limit.
fn fault(name: &str, bytes: &[u8]) -> String {
    let began = Instant::now();
    let fault = load_bytes(name, bytes).map(|_| "it is a model").unwrap_err().to_string();
    assert!(began.elapsed() < LIMIT, "took {:?}: {fault}", began.elapsed());
    fault
}

fn refused(name: &str, bytes: &[u8], what: &str) {
    let fault = fault(name, bytes);
    assert!(fault.contains(what), "expected {what:?}: {fault}");
}

/// An npy file.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

fn doubles(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A skops file of an estimator with these attributes, plain JSON or the names of arrays.
fn skops(class: &str, attributes: &[(&str, String)], arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let content: Vec<String> = attributes.iter().map(|(name, node)| format!(r#""{name}": {node}"#)).collect();
    let (module, class) = class.rsplit_once('.').unwrap();
    let schema = format!(
        r#"{{"__class__": "{class}", "__module__": "{module}", "__loader__": "ObjectNode", "protocol": 2,
            "content": {{"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {{{}}}}}}}"#,
        content.join(", ")
    );
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in std::iter::once(("schema.json", schema.into_bytes())).chain(arrays.iter().cloned()) {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn number(v: &str) -> String {
    format!(r#"{{"__class__": "int", "__module__": "builtins", "__loader__": "JsonNode", "content": "{v}"}}"#)
}

fn array(file: &str) -> String {
    format!(r#"{{"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "file": "{file}"}}"#)
}

fn linear(coefficients: Vec<u8>, intercept: &str) -> Vec<u8> {
    let attributes = [("n_features_in_", number("2")), ("coef_", array("0.npy")), ("intercept_", number(intercept))];
    skops("sklearn.linear_model.Ridge", &attributes, &[("0.npy", coefficients)])
}

/// A regression tree over two features, its nodes as (left, right, feature, threshold).
fn tree(nodes: &[(i64, i64, i64, f64)], values: &[f64]) -> Vec<u8> {
    let mut records = Vec::new();
    for (left, right, feature, threshold) in nodes {
        [left, right, feature].iter().for_each(|v| records.extend(v.to_le_bytes()));
        records.extend(threshold.to_le_bytes());
    }
    let descr = "[('left_child', '<i8'), ('right_child', '<i8'), ('feature', '<i8'), ('threshold', '<f8')]";
    let inner = format!(
        r#"{{"__class__": "Tree", "__module__": "sklearn.tree._tree", "__loader__": "TreeNode", "content":
            {{"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content":
            {{"nodes": {}, "values": {}}}}}}}"#,
        array("n.npy"),
        array("v.npy")
    );
    let arrays = [
        ("n.npy", npy(descr, &format!("({},)", nodes.len()), &records)),
        ("v.npy", npy("'<f8'", &format!("({}, 1, 1)", values.len()), &doubles(values))),
    ];
    skops("sklearn.tree.DecisionTreeRegressor", &[("n_features_in_", number("2")), ("tree_", inner)], &arrays)
}

/// Files that the fuzz targets found; the extension selects the reader. Each is rejected, or is a model that predicts.
#[test]
fn what_fuzzing_found() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/found");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("model.{}", path.extension().unwrap().to_str().unwrap());
        let began = Instant::now();
        if let Ok(loaded) = load_bytes(&name, &std::fs::read(&path).unwrap()) {
            let width = loaded.model.signature().width();
            for value in [0.5, f64::NAN, 1e300] {
                let row = vec![value; width];
                let _ = loaded.model.predict(forebay_model::Rows::new(width, &row).unwrap());
            }
        }
        assert!(began.elapsed() < LIMIT, "{}", path.display());
        files += 1;
    }
    assert!(files > 0);
}

#[test]
fn the_models_these_tests_spoil_are_good() {
    for bytes in [
        linear(npy("'<f8'", "(2,)", &doubles(&[1.0, 2.0])), "3"),
        tree(&[(1, 2, 0, 0.5), (-1, -1, -2, -2.0), (-1, -1, -2, -2.0)], &[0.0, 1.0, 2.0]),
    ] {
        load_bytes("model.skops", &bytes).unwrap();
    }
}

#[test]
fn trees_that_lead_nowhere() {
    let leaf = (-1, -1, -2, -2.0);
    for (nodes, what) in [
        (vec![(0, 2, 0, 0.5), leaf, leaf], "reached twice"),
        (vec![(1, 2, 0, 0.5), (2, 0, 0, 0.5), leaf], "reached twice"),
        (vec![(1, 1, 0, 0.5), leaf, leaf], "reached twice"),
        (vec![(1, 3, 0, 0.5), leaf, leaf], "out of range"),
        (vec![(1, i64::MAX, 0, 0.5), leaf, leaf], "out of range"),
        (vec![(1, -7, 0, 0.5), leaf, leaf], "out of range"),
        (vec![(1, 2, 2, 0.5), leaf, leaf], "feature 2 of 2"),
        (vec![(1, 2, -1, 0.5), leaf, leaf], "feature -1"),
        (vec![(1, 2, 0, f64::NAN), leaf, leaf], "threshold is NaN"),
        (vec![], "empty"),
    ] {
        let values = vec![1.0; nodes.len()];
        refused("model.skops", &tree(&nodes, &values), what);
    }
    for bad in [f64::NAN, f64::INFINITY] {
        refused("model.skops", &tree(&[(-1, -1, 0, 0.0)], &[bad]), "leaf value");
    }
    // a split on missing values alone has an infinite threshold
    load_bytes("model.skops", &tree(&[(1, 2, 0, f64::INFINITY), leaf, leaf], &[0.0; 3])).unwrap();
    // as deep as it is long, and walked without recursion
    let n = 100_001;
    let spine: Vec<_> =
        (0..n).map(|i| if i % 2 == 0 && i + 2 < n { (i + 1, i + 2, 0, i as f64) } else { leaf }).collect();
    load_bytes("model.skops", &tree(&spine, &vec![1.0; n as usize])).unwrap();
}

#[test]
fn weights_that_are_not_numbers() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refused("model.skops", &linear(npy("'<f8'", "(2,)", &doubles(&[1.0, bad])), "3"), "not finite");
    }
    for bad in ["NaN", "Infinity", "-Infinity"] {
        refused("model.skops", &linear(npy("'<f8'", "(2,)", &doubles(&[1.0, 2.0])), bad), "not finite");
    }
}

#[test]
fn claims_of_bytes_that_are_not_there() {
    for shape in ["(268435456,)", "(2147483647, 2147483647)", "(4294967296, 4294967296, 4294967296)", "(-1,)"] {
        let fault = fault("model.skops", &linear(npy("'<f8'", shape, &[0; 16]), "3"));
        assert!(fault.contains("0.npy"), "{fault}");
    }
    let big = u64::from(u32::MAX >> 1).to_le_bytes();
    // a pickle's byte string, text, frame and memo index
    for opcode in [b"\x80\x04\x8e".as_slice(), b"\x80\x04\x8d", b"\x80\x05\x96"] {
        refused("model.pkl", &[opcode, &big].concat(), "ends early");
    }
    refused("model.pkl", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.", "stack is empty");
    refused("model.pkl", b"\x80\x04Nr\xff\xff\xff\xff0.", "stack is empty");
    // lengths of protobuf fields: the graph, an initializer's data, its sizes
    refused("model.onnx", b"\x3a\xff\xff\xff\xff\x07", "not an ONNX file");
    let tensor = [b"\x08\x80\x80\x80\x80\x08\x10\x01\x42\x01w\x4a\x04".as_slice(), &[0; 4]].concat();
    let graph = [b"\x2a".as_slice(), &[tensor.len() as u8], &tensor].concat();
    assert!(fault("model.onnx", &[b"\x3a".as_slice(), &[graph.len() as u8], &graph].concat()).contains("inputs"));
    // a safetensors header, and a tensor behind the end
    refused("model.safetensors", &big, "not a safetensors file");
    let header = br#"{"a":{"dtype":"F32","shape":[536870912],"data_offsets":[0,2147483648]}}"#;
    let file = [(header.len() as u64).to_le_bytes().as_slice(), header].concat();
    refused("model.safetensors", &file, "not a safetensors file");
    // a burnpack header
    let mut pack = include_bytes!("../sample/diabetes-rf-model/3/model.bpk").to_vec();
    pack[4..12].fill(0xff);
    refused("model.bpk", &pack, "metadata: is larger than");
    pack[6..10].copy_from_slice(&(2u32 << 20).to_le_bytes());
    refused("model.bpk", &pack, "not a burnpack file");
}

#[test]
fn compressed_bombs() {
    // members of gzip may follow each other
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&vec![0u8; 1 << 20]).unwrap();
    let bomb = gzip.finish().unwrap().repeat(90);
    assert!(bomb.len() < 1 << 17);
    refused("model.pkl", &bomb, "inflates to far more");
    // a compressed file inside a compressed file is not a pickle
    let mut twice = ZlibEncoder::new(Vec::new(), Compression::fast());
    let mut once = ZlibEncoder::new(Vec::new(), Compression::fast());
    once.write_all(b"\x80\x04N.").unwrap();
    twice.write_all(&once.finish().unwrap()).unwrap();
    refused("model.pkl", &twice.finish().unwrap(), "neither");
}

/// Objects that refer to others many times over, level by level: small on disk, endless to walk.
#[test]
fn shared_objects_that_multiply() {
    // a list of ten references to the list before, thirty times
    let mut lists = b"\x80\x04csklearn.pipeline\nPipeline\n)\x81}\x8c\x05steps](NNe\x94".to_vec();
    for level in 0..30u8 {
        lists.extend(b"](");
        (0..10).for_each(|_| lists.extend([b'h', level]));
        lists.extend(b"e\x94");
    }
    lists.extend(b"sb.");
    let message = fault("model.pkl", &lists);
    assert!(message.starts_with("model.pkl: "), "{message}");
    // ensembles of ensembles
    let mut nested = b"\x80\x04".to_vec();
    nested.extend(b"csklearn.linear_model.LinearRegression\nLinearRegression\n)\x81}X\x05\0\0\0coef_]G\x3f\xf0\0\0\0\0\0\0asX\x0a\0\0\0intercept_K\x01sX\x0e\0\0\0n_features_in_K\x01sb\x94");
    for level in 0..40u8 {
        nested.extend(b"csklearn.ensemble._voting\nVotingRegressor\n)\x81}X\x0b\0\0\0estimators_](");
        (0..10).for_each(|_| nested.extend([b'h', level]));
        nested.extend(b"esX\x0e\0\0\0n_features_in_K\x01sb\x94");
    }
    nested.push(b'.');
    let message = fault("model.pkl", &nested);
    assert!(message.contains("far larger") || message.contains("too deep"), "{message}");
}

#[test]
fn nesting_without_end() {
    let mut tuples = b"\x80\x04N".to_vec();
    tuples.extend(std::iter::repeat_n(0x85, 2_000_000));
    tuples.push(b'.');
    refused("model.pkl", &tuples, "far larger than its file");
    let mut marks = b"\x80\x04".to_vec();
    marks.extend(std::iter::repeat_n(b'(', 2_000_000));
    refused("model.pkl", &marks, "far larger than its file");
    let mut objects = b"\x80\x04".to_vec();
    objects.extend(std::iter::repeat_n(b'N', 5_000_000));
    refused("model.pkl", &objects, "more than");
    let mut pipelines = b"\x80\x04N".to_vec();
    for _ in 0..10_000 {
        // the one before becomes the only step of the next
        pipelines.extend(b"\x94csklearn.pipeline\nPipeline\n)\x81}X\x05\0\0\0steps](X\x01\0\0\0a");
        pipelines.extend(b"h\x00\x86esb0");
    }
    let fault = fault("model.pkl", &pipelines);
    assert!(fault.starts_with("model.pkl: "), "{fault}");
    // groups in groups, which protobuf allows
    refused("model.onnx", &vec![0x0b; 1_000_000], "not an ONNX file");
    let mut layers = br#"{"width": 1, "task": "regression", "layers": "#.to_vec();
    layers.extend(std::iter::repeat_n(b'[', 200_000));
    let header = serde_json::json!({"__metadata__": {"forebay.architecture": String::from_utf8(layers).unwrap()}});
    let header = serde_json::to_vec(&header).unwrap();
    let file = [(header.len() as u64).to_le_bytes().as_slice(), &header].concat();
    refused("model.safetensors", &file, "forebay.architecture");
}

/// A net of a thousand layers that all name one tensor.
#[test]
fn layers_that_share_a_tensor() {
    let layers = vec![r#"{"linear": "w"}"#; 1000].join(", ");
    let json = format!(r#"{{"width": 64, "task": "regression", "layers": [{layers}]}}"#);
    let weight = vec![0u8; 64 * 64 * 4];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![64, 64], &weight).unwrap();
    let metadata = std::collections::HashMap::from([("forebay.architecture".to_owned(), json)]);
    let file = safetensors::serialize([("w.weight", view)], Some(metadata)).unwrap();
    refused("model.safetensors", &file, "layer 1: uses w again");
}

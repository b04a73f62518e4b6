//! What reading a hostile file takes: each is read in a process of its own, whose peak of resident memory is measured.
//! Reading may take four times the uncompressed size of the file and 32 MiB.

use std::io::Write as _;
use std::process::Command;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use forebay_model::{load_bytes, load_folder};

use super::{array, number, pickled_text, skops, tree};

const FACTOR: usize = 4;
const BASE: usize = 32 << 20;
const FILE: &str = "FOREBAY_HOSTILE_FILE";

/// Bytes of a line of `/proc/self/status`.
fn status(name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Not a test by itself: what the process of [`read_apart`] does.
#[test]
#[ignore = "runs in a process of its own"]
fn read_one_file() {
    let Some(path) = std::env::var_os(FILE).map(std::path::PathBuf::from) else { return };
    let name = path.file_name().unwrap().to_str().unwrap();
    let bytes = if path.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let read = if path.is_dir() { load_folder(&path) } else { load_bytes(name, &bytes) };
    println!("peak {}", status("VmHWM").saturating_sub(before));
    println!("said {}", read.map_or_else(|fault| fault.to_string(), |_| "it is a model".to_owned()));
}

/// Reads a file or folder in another process; by how many bytes its memory rose, and what was said.
fn read_apart(path: &std::path::Path) -> (usize, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["memory::read_one_file", "--exact", "--ignored", "--nocapture"]).env(FILE, path);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let find = |word: &str| text.lines().find_map(|line| line.split_once(word).map(|(_, rest)| rest.to_owned()));
    let peak = find("peak ").unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)));
    (peak.parse().unwrap(), find("said ").unwrap())
}

/// The file is read within its bounds, and refused for this reason.
#[track_caller]
pub(super) fn bounded(case: &str, name: &str, bytes: &[u8], uncompressed: usize, reason: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let (peak, said) = read_apart(&path);
    let most = FACTOR * uncompressed + BASE;
    println!("{case}: {} bytes, {uncompressed} uncompressed, peak {peak} of {most}: {said}", bytes.len());
    assert!(peak <= most, "{case}: {peak} bytes, at most {most}: {said}");
    assert!(said.contains(reason), "{case}: {said}");
}

/// Bytes that cannot be compressed: they raise what the size of a zip admits.
fn filler() -> Vec<u8> {
    (0..100_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).rotate_left(i).to_le_bytes()).collect()
}

fn zipped(header: &[u8]) -> (Vec<u8>, usize) {
    let mut file = b"\x93NUMPY\x02\x00".to_vec();
    file.extend((header.len() as u32).to_le_bytes());
    file.extend(header);
    let attributes = [("n_features_in_", number("2")), ("coef_", array("0.npy"))];
    let size = file.len() + filler().len();
    (skops("sklearn.linear_model.Ridge", &attributes, &[("0.npy", file), ("filler.bin", filler())]), size)
}

#[test]
fn npy_headers() {
    for unit in ["1,", "(1),", "((1),),"] {
        let mut header = b"{'descr':'<f8','fortran_order':False,'shape':(".to_vec();
        header.extend(unit.repeat((60 << 20) / unit.len()).bytes());
        header.extend(b")}");
        let (bytes, size) = zipped(&header);
        bounded(unit, "model.skops", &bytes, size, "header of");
    }
}

#[test]
fn yaml_aliases() {
    let zeros = |n: usize, item: &str| item.repeat(n);
    for (case, text) in [
        (
            "flat",
            format!(
                "a: &a [{}0]\nb: &b [{}*a]\nc: [{}*b]\nflavors: {{}}\n",
                zeros(500, "0,"),
                zeros(480, "*a,"),
                zeros(250, "*b,")
            ),
        ),
        ("text", format!("a: &a {}\nflavors: {{sklearn: [{}*a]}}\n", "x".repeat(30_000), zeros(8_000, "*a,"))),
        (
            "hidden",
            format!(
                "q: it's\na: &a [{}0]\nb: &b ['x', {}*a]\nc: [{}*b]\n",
                zeros(500, "0,"),
                zeros(480, "*a,"),
                zeros(250, "*b,")
            ),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("MLmodel"), &text).unwrap();
        let (peak, said) = read_apart(folder.path());
        assert!(peak <= FACTOR * text.len() + BASE, "{case}: {peak}: {said}");
        assert!(said.contains("alias"), "{case}: {said}");
    }
}

#[test]
fn long_texts_of_yaml() {
    let n = 2_000_000;
    let inputs =
        |item: &str| format!("signature:\n  inputs: '[{}{item}]'\n", format!("{item},").repeat(n / item.len()));
    for (case, text, reason) in [
        ("comments", "flavors: {}\n".to_owned() + &"# more\n".repeat(10_000), "larger than 65536 bytes"),
        ("columns", inputs("{}"), "more than 65536 columns"),
        ("names", inputs(r#"{"name":"a"}"#), "more than 65536 columns"),
        ("values of a column", inputs(r#"{"x":[{"a":0},{"a":0},{"a":0}]}"#), "MLmodel"),
        ("shapes", inputs(r#"{"tensor-spec":{"shape":[1,2,3,4,5,6,7,8,9,10]}}"#), "MLmodel"),
        ("parameters", inputs("{}").replace("inputs", "params"), "params: are larger"),
        ("texts", format!("a: '{}'\n", "y".repeat(1_100)).repeat(4_000), "larger than 65536 bytes without"),
        ("quotes", format!("a: '{}'\n", "''".repeat(2 * n)), "names no model file"),
        ("open quotes", "a: 'x\n".repeat(n / 2), "larger than 65536 bytes without"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("MLmodel"), &text).unwrap();
        let (peak, said) = read_apart(folder.path());
        println!("{case}: {} bytes, peak {peak}: {said}", text.len());
        assert!(peak <= FACTOR * text.len() + BASE, "{case}: {peak}: {said}");
        assert!(said.contains(reason), "{case}: {said}");
    }
}

/// A field of protobuf.
pub(super) fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let (mut out, mut length) = (vec![tag << 3 | 2], content.len());
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(content);
    out
}

#[test]
fn onnx_messages() {
    let n = 1_500_000;
    let many = |unit: &[u8]| unit.repeat(n * 2 / unit.len());
    let tensor = |content: Vec<u8>| field(7, &field(5, &content));
    let attribute = |content: Vec<u8>| field(7, &field(1, &field(5, &content)));
    for (case, file) in [
        ("attributes", field(7, &field(1, &many(&[0x2a, 0])))),
        ("nodes", field(7, &many(&[0x0a, 0]))),
        ("initializers", field(7, &many(&[0x2a, 0]))),
        ("inputs", field(7, &many(&[0x5a, 0]))),
        ("outputs", field(7, &many(&[0x62, 0]))),
        ("operator sets", many(&[0x42, 0])),
        ("dimensions", field(7, &field(11, &field(2, &field(1, &field(2, &many(&[0x0a, 0]))))))),
        ("tensors in attributes", field(7, &field(1, &many(&[0x2a, 2, 0x2a, 0])))),
        ("names", field(7, &field(1, &many(&[0x0a, 0])))),
        ("short names", field(7, &field(1, &many(&[0x0a, 1, b'x'])))),
        ("texts of an attribute", attribute(many(&[0x4a, 0]))),
        ("integers of an attribute", attribute(many(&[0x40, 1]))),
        ("packed integers", attribute(field(8, &vec![1; 2 * n]))),
        ("sizes of a tensor", tensor(many(&[0x08, 1]))),
        ("integers of a tensor", tensor(field(7, &vec![1; 2 * n]))),
        ("texts of a tensor", tensor(many(&[0x32, 0]))),
    ] {
        // what is not refused for its size is refused because it is no model, and stays within its bounds as well
        bounded(case, "model.onnx", &file, file.len(), "model.onnx: ");
    }
}

#[test]
fn boosters() {
    let n = 1_000_000;
    let learner = |content: String| format!(r#"{{"learner": {content}, "version": [2, 1, 0]}}"#).into_bytes();
    let ubj = |unit: &[u8]| [b"{i\x07learner[".as_slice(), &unit.repeat(n), b"]}"].concat();
    let lines: String = (0..n).map(|i| format!("{i:x}=\n")).collect();
    let header = "tree\nversion=v4\nnum_class=1\nmax_feature_idx=1\nfeature_names=a b\nobjective=regression\n";
    for (case, name, file) in [
        ("lists", "model.json", learner(format!("[{}[]]", "[],".repeat(n)))),
        ("numbers", "model.json", learner(format!("[{}0]", "0,".repeat(n)))),
        ("texts", "model.json", learner(format!("[{}\"\"]", "\"\",".repeat(n)))),
        ("maps", "model.json", learner(format!("[{}{{}}]", "{},".repeat(n)))),
        ("lists", "model.ubj", ubj(b"[]")),
        ("numbers", "model.ubj", ubj(b"i\x01")),
        ("nothing", "model.ubj", ubj(b"Z")),
        ("lines", "model.lgb", format!("{header}{lines}").into_bytes()),
        ("trees", "model.lgb", format!("{header}\n{}", "Tree=0\n".repeat(n)).into_bytes()),
        ("lines of a tree", "model.lgb", format!("{header}\nTree=0\n{lines}").into_bytes()),
    ] {
        bounded(case, name, &file, file.len(), "");
    }
}

/// What is large because the model is: read, within the same bounds.
#[test]
fn large_models_are_read() {
    let leaf = (-1, -1, -2, -2.0);
    let n = 400_001;
    let spine: Vec<_> =
        (0..n).map(|i| if i % 2 == 0 && i + 2 < n { (i + 1, i + 2, 0, i as f64) } else { leaf }).collect();
    let values: Vec<f64> = (0..n).map(|i| i as f64).collect();
    let bytes = tree(&spine, &values);
    bounded("a tree of 400,001 nodes", "model.skops", &bytes, n as usize * 40, "it is a model");
}

/// The state of a Ridge with this attribute, which stands in the memo before it.
fn ridge(before: &[u8], coefficients: &[u8]) -> Vec<u8> {
    let mut out = b"\x80\x04".to_vec();
    out.extend(before);
    out.extend(
        b"csklearn.linear_model._ridge\nRidge\n)\x81}(\x8c\x0en_features_in_K\x02\x8c\x0aintercept_K\x00\x8c\x05coef_",
    );
    out.extend(coefficients);
    out.extend(b"ub.");
    out
}

/// An array of one axis.
pub(super) fn pickled_array(kind: &str, rows: u32, data: &[u8]) -> Vec<u8> {
    let mut out = b"cnumpy._core.numeric\n_frombuffer\n(\x8e".to_vec();
    out.extend((data.len() as u64).to_le_bytes());
    out.extend(data);
    out.extend(b"cnumpy\ndtype\n(\x8c");
    out.push(kind.len() as u8);
    out.extend(kind.as_bytes());
    out.extend(b"\x89\x88tR(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbJ");
    out.extend(rows.to_le_bytes());
    out.extend(b"\x85\x8c\x01CtR");
    out
}

#[test]
fn pickled_graphs() {
    let references = |n: usize| [b"](".as_slice(), &b"h\x00".repeat(n), b"e"].concat();
    let with = |array: Vec<u8>, n: usize| ridge(&[array, b"\x940".to_vec()].concat(), &references(n));
    let numbers = with(pickled_array("f8", 65_536, &vec![0; 8 * 65_536]), 2_040);
    bounded("references to an array", "model.pkl", &numbers, numbers.len(), "far larger than its file");
    let bytes = ridge(b"", &pickled_array("u1", 8 << 20, &vec![1; 8 << 20]));
    bounded("an array of bytes", "model.pkl", &bytes, bytes.len(), "far larger than its file");
    let lists = with(references(0), 1_000_000);
    bounded("references to a list", "model.pkl", &lists, lists.len(), "");
    let inside = |unit: &[u8], n: usize| ridge(b"", &[b"](".as_slice(), &unit.repeat(n), b"e"].concat());
    for (case, file) in [
        ("nothing", [b"\x80\x04".as_slice(), &b"N".repeat(3_999_000), b"."].concat()),
        ("floats", inside(b"G\x3f\xf0\0\0\0\0\0\0", 1_000_000)),
        ("integers", inside(b"M\xff\xff", 2_000_000)),
        ("empty tuples", inside(b")", 3_000_000)),
        ("empty lists", inside(b"]", 3_000_000)),
        ("tuples of one", inside(b"N\x85", 2_000_000)),
        ("empty texts", inside(b"\x8c\x00", 2_000_000)),
        ("empty dicts", inside(b"}", 3_000_000)),
        ("memo entries", [b"\x80\x04N".as_slice(), &b"\x94".repeat(4_000_000), b"."].concat()),
        (
            "scattered memo entries",
            [
                b"\x80\x04N".as_slice(),
                &(0..800_000u32)
                    .flat_map(|i| [&b"r"[..], &(i * 5_000 + 7).to_le_bytes()].concat())
                    .collect::<Vec<u8>>(),
                b".",
            ]
            .concat(),
        ),
        ("marks", [b"\x80\x04".as_slice(), &b"(".repeat(4_000_000)].concat()),
        ("classes", inside(b"ca\nb\n", 1_000_000)),
        ("pairs", ridge(b"", &[b"}(".as_slice(), &b"K\x01N".repeat(1_500_000), b"u"].concat())),
        ("items one by one", ridge(b"", &[b"]".as_slice(), &b"Na".repeat(2_000_000)].concat())),
    ] {
        bounded(case, "model.pkl", &file, file.len(), "");
    }
}

#[test]
fn compressed_files() {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    let size = 100 << 20;
    zlib.write_all(b"\x80\x04").unwrap();
    (0..100).for_each(|_| zlib.write_all(&vec![b'N'; 1 << 20]).unwrap());
    let bytes = zlib.finish().unwrap();
    bounded("zlib", "model.pkl", &bytes, 200 * bytes.len() + (1 << 20), "far more than the file's size allows");
    let (bytes, _) = zipped(&vec![b' '; size]);
    bounded("skops", "model.skops", &bytes, 200 * bytes.len() + (1 << 20), "far more than the file's size allows");
}

#[test]
fn skops_schemas() {
    let with = |content: String| {
        let coefficients = format!(
            r#"{{"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": {content}}}"#
        );
        let arrays = [("filler.bin", filler())];
        skops("sklearn.linear_model.Ridge", &[("n_features_in_", number("2")), ("coef_", coefficients)], &arrays)
    };
    let n = 1_500_000;
    for (case, unit) in
        [("numbers", "1,"), ("large numbers", "1000,"), ("lists", "[],"), ("objects", "{},"), ("texts", "\"\",")]
    {
        let file = with(format!("[{}1]", unit.repeat(n)));
        bounded(case, "model.skops", &file, n * unit.len() + filler().len(), "");
    }
}

#[test]
fn metadata_of_nets() {
    let n = 1_500_000;
    for (case, json) in [
        (
            "features",
            format!(r#"{{"width": 2, "task": "regression", "features": [{}""], "layers": []}}"#, "\"\",".repeat(n)),
        ),
        (
            "layers",
            format!(
                r#"{{"width": 2, "task": "regression", "layers": [{}{{"linear":""}}]}}"#,
                r#"{"linear":""},"#.repeat(n / 8)
            ),
        ),
    ] {
        let metadata = std::collections::HashMap::from([("forebay.architecture".to_owned(), json)]);
        let empty: [(&str, safetensors::tensor::TensorView<'_>); 0] = [];
        let file = safetensors::serialize(empty, Some(metadata)).unwrap();
        bounded(case, "model.safetensors", &file, file.len(), "");
    }
}

#[test]
fn large_vocabularies() {
    for of_numpy in [false, true] {
        let bytes = pickled_text::classifier(300_000, of_numpy, 1);
        bounded(if of_numpy { "NumPy's" } else { "Python's" }, "model.pkl", &bytes, bytes.len(), "it is a model");
    }
}

#[test]
fn a_large_vocabulary_of_many_classes() {
    let bytes = pickled_text::classifier(200_000, false, 16);
    bounded("16 classes", "model.pkl", &bytes, bytes.len(), "it is a model");
}

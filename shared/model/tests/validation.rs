//! Files are checked when they are loaded: a model is rejected if a weight is not a number or a tree has a child out of
//! range or a cycle.
#![cfg(test)]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use forebay_model::{LoadedVersion, Rows, load_file};

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

fn load(name: &str, bytes: &[u8]) -> Result<LoadedVersion, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, bytes).unwrap();
    load_file(&file).map_err(|fault| fault.to_string())
}

/// The entries of a skops file, by name.
fn entries(case: &str) -> Vec<(String, Vec<u8>)> {
    let file = std::fs::File::open(golden(case).join("model.skops")).unwrap();
    let mut zip = zip::ZipArchive::new(file).unwrap();
    let count = zip.len();
    let read = |index: usize| {
        let mut entry = zip.by_index(index).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.name().unwrap().into_owned(), bytes)
    };
    (0..count).map(read).collect()
}

/// One copy of the file for each array of `size` bytes, with `change` applied to the array's data.
fn changed(entries: &[(String, Vec<u8>)], size: usize, change: impl Fn(&mut [u8])) -> Vec<Vec<u8>> {
    // the header of an npy file is 128 bytes long, that of an array of records more
    let fits = |(name, bytes): &(String, Vec<u8>)| {
        name.ends_with(".npy") && [128, 320].contains(&bytes.len().wrapping_sub(size))
    };
    let chosen = entries.iter().enumerate().filter(|(_, entry)| fits(entry)).map(|(index, _)| index);
    let file = |at: usize| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (index, (name, bytes)) in entries.iter().enumerate() {
            let mut bytes = bytes.clone();
            if index == at {
                let start = bytes.len() - size;
                change(&mut bytes[start..]);
            }
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(&bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    chosen.map(file).collect()
}

fn put(data: &mut [u8], at: usize, value: [u8; 8]) {
    data[at..at + 8].copy_from_slice(&value);
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let linear = entries("mlflow/linear.skops");
    let broken = changed(&linear, 80, |data| put(data, 24, f64::NAN.to_le_bytes()));
    assert_eq!(broken.len(), 2, "coef_ and one that is not needed to answer");
    let faults: Vec<String> = broken.iter().filter_map(|file| load("model.skops", file).err()).collect();
    assert!(faults.iter().any(|fault| fault.contains("value 3 is NaN, not finite")), "{faults:?}");
    let intercept = changed(&linear, 8, |data| put(data, 0, f64::INFINITY.to_le_bytes()));
    assert!(intercept.iter().any(|file| load("model.skops", file).is_err()));
}

#[test]
fn trees_that_leave_their_nodes_or_go_in_circles_are_refused() {
    let tree = entries("mlflow/tree_reg.skops");
    let nodes = |change: &dyn Fn(&mut [u8])| {
        let files = changed(&tree, 109 * 64, change);
        assert_eq!(files.len(), 1);
        load("model.skops", &files[0]).unwrap_err()
    };
    // left child, right child and feature are the first three numbers of a node of 64 bytes, the threshold is the
    // fourth
    for (at, value, what) in [
        (0, 109i64.to_le_bytes(), "out of range"),
        (8, i64::MAX.to_le_bytes(), "out of range"),
        (8, (-5i64).to_le_bytes(), "out of range"),
        (0, 0i64.to_le_bytes(), "reached twice"),
        (64, 1i64.to_le_bytes(), "reached twice"),
        (16, 10i64.to_le_bytes(), "feature 10 of 10"),
        (24, f64::NAN.to_le_bytes(), "threshold is NaN"),
    ] {
        let fault = nodes(&|data| put(data, at, value));
        assert!(fault.contains(what), "{what}: {fault}");
    }
    let leaves = changed(&tree, 109 * 8, |data| {
        for leaf in data.chunks_exact_mut(8) {
            leaf.copy_from_slice(&f64::NAN.to_le_bytes());
        }
    });
    assert_eq!(leaves.len(), 1);
    assert!(load("model.skops", &leaves[0]).unwrap_err().contains("leaf value is NaN"));
}

/// A NaN anywhere in a net or an ONNX file is rejected, or every prediction stays finite.
#[test]
fn no_file_with_a_nan_in_it_answers_with_one() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample/diabetes-rf-model");
    let files = ["linreg", "net_relu", "net_norms", "tree_ensemble_v5", "ridge_minmax"];
    let files = files.map(|name| golden("onnx").join(format!("{name}.onnx")));
    for (file, step) in files.iter().map(|file| (file.clone(), 1)).chain([(sample.join("3/model.bpk"), 211)]) {
        let whole = std::fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let mut refused = 0;
        for at in (0..whole.len() - 4).step_by(step) {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            let Ok(loaded) = load(name, &bytes) else {
                refused += 1;
                continue;
            };
            let width = loaded.signature.width();
            let row: Vec<f64> = (0..width).map(|i| i as f64 / 10.0).collect();
            let Ok(scores) = loaded.model.predict(Rows::new(width, &row).unwrap()) else { continue };
            let answer = scores.score(0);
            assert!(
                answer.value.is_finite() && answer.probabilities.iter().all(|p| p.is_finite()),
                "{name} with a NaN at {at}: {answer:?}"
            );
        }
        assert!(refused > 20, "{name}: {refused}");
    }
}

//! What every target checks of a file: it is rejected with a reason, or it is a model that predicts.

use std::io::{Cursor, Write};

use forebay_model::{Rows, load_bytes};

/// The rows for a model that loads; each is repeated up to the width of the model.
const VALUES: [f64; 6] = [0.5, f64::NAN, -1e30, 3.0, 5e-324, 1e300];
/// Models wider than this are not run: they would find nothing new.
const WIDEST: usize = 4096;

/// Reads `bytes` as a file called `name`. A model must predict every row or say why not.
pub fn read(name: &str, bytes: &[u8]) {
    match load_bytes(name, bytes) {
        Err(fault) => assert!(fault.to_string().starts_with(name)),
        Ok(loaded) => {
            let width = loaded.model.signature().width();
            if width == 0 || width > WIDEST {
                return;
            }
            let rows: Vec<f64> = VALUES.iter().flat_map(|v| std::iter::repeat_n(*v, width)).collect();
            let rows = Rows::new(width, &rows).expect("whole rows");
            if let Ok(scores) = loaded.model.predict(rows) {
                assert_eq!(scores.values.len(), VALUES.len() * scores.outputs);
            }
        }
    }
}

/// A skops file with this schema and these arrays, stored.
pub fn skops<'a>(schema: &'a [u8], arrays: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in std::iter::once(("schema.json", schema)).chain(arrays) {
        zip.start_file(name, options).expect("a plain name");
        zip.write_all(bytes).expect("memory");
    }
    zip.finish().expect("memory").into_inner()
}

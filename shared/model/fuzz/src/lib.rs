//! What every target does with a file: it is refused with a sentence, or it is a model that answers.

use std::io::{Cursor, Write};

use forebay_model::{Rows, load_bytes};

/// Rows asked of a model that loads, each repeated to the model's width.
const VALUES: [f64; 6] = [0.5, f64::NAN, -1e30, 3.0, 5e-324, 1e300];
/// Wider models answer too, but it says nothing new.
const WIDEST: usize = 4096;

/// Reads `bytes` as a file called `name`; a model must answer every row it is given, or say why not.
pub fn read(name: &str, bytes: &[u8]) {
    match load_bytes(name, bytes) {
        Err(fault) => assert!(fault.to_string().starts_with(name)),
        Ok(loaded) => {
            let width = loaded.model.signature().width();
            if width == 0 || width > WIDEST {
                return;
            }
            let rows: Vec<f64> = VALUES.iter().flat_map(|v| std::iter::repeat_n(*v, width)).collect();
            if let Ok(scores) = Rows::new(width, &rows).and_then(|rows| loaded.model.predict(rows)) {
                assert_eq!(scores.values.len(), VALUES.len());
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

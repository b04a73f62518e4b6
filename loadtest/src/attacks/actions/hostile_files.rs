//! The bytes of model files that are small and ask for much memory.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// Three levels of aliases, each a flat list: one jump copies everything below it.
pub(super) fn yaml_aliases() -> String {
    let list = |item: &str, count: usize| format!("[{}{item}]", format!("{item},").repeat(count));
    format!("a: &a {}\nb: &b {}\nc: {}\nflavors: {{}}\n", list("0", 500), list("*a", 480), list("*b", 250))
}

/// A registry's file whose stages are all one long text.
pub(super) fn yaml_registry() -> String {
    let aliases: String = (2..2000).map(|version| format!("  {version}: *a\n")).collect();
    format!("stages:\n  1: &a \"{}\"\n{aliases}", "x".repeat(500_000))
}

/// A skops file of a linear model whose array has this file.
pub(super) fn skops(array: &[u8]) -> Vec<u8> {
    let schema = r#"{"__class__":"Ridge","__module__":"sklearn.linear_model","__loader__":"ObjectNode","protocol":2,
"content":{"__class__":"dict","__module__":"builtins","__loader__":"DictNode","content":{"coef_":
{"__class__":"ndarray","__module__":"numpy","__loader__":"NdArrayNode","file":"0.npy"}}}}"#;
    zip(&[("schema.json", schema.as_bytes()), ("0.npy", array)])
}

/// An array file with this shape, and no values.
fn npy(shape: &str) -> Vec<u8> {
    let header = format!("{{'descr':'<f8','fortran_order':False,'shape':({shape})}}");
    let mut file = b"\x93NUMPY\x02\x00".to_vec();
    file.extend(u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes());
    file.extend(header.bytes());
    file
}

/// An array whose header is a tuple of `size` bytes.
pub(super) fn npy_header(unit: &str, size: usize) -> Vec<u8> {
    npy(&unit.repeat(size / unit.len()))
}

/// An array of zeros.
pub(super) fn npy_zeros(values: usize) -> Vec<u8> {
    let mut file = npy(&format!("{values},"));
    file.resize(file.len() + values * 8, 0);
    file
}

/// An ONNX graph of one node with `count` empty attributes, two bytes each.
pub(super) fn onnx_messages(count: usize) -> Vec<u8> {
    let attributes = b"\x2a\x00".repeat(count);
    length_delimited(7, &length_delimited(1, &attributes))
}

/// A list of references to one array of `values` zeros.
pub(super) fn pickle_references(values: i32, references: usize) -> Vec<u8> {
    let text = |word: &str| [b"\x8c", &[word.len() as u8][..], word.as_bytes()].concat();
    let size = 8 * u64::try_from(values).unwrap_or(0);
    let mut out = b"\x80\x04csklearn.linear_model._ridge\nRidge\n)\x81}(".to_vec();
    for (name, value) in [("n_features_in_", 2), ("intercept_", 0)] {
        out.extend(text(name));
        out.extend([b'K', value]);
    }
    out.extend(text("coef_"));
    out.extend(b"](cnumpy._core.numeric\n_frombuffer\n(\x8e");
    out.extend(size.to_le_bytes());
    out.resize(out.len() + size as usize, 0);
    out.extend(b"cnumpy\ndtype\n(");
    out.extend(text("f8"));
    out.extend(b"\x89\x88tR(K\x03");
    out.extend(text("<"));
    out.extend(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbJ");
    out.extend(values.to_le_bytes());
    out.push(b'\x85');
    out.extend(text("C"));
    out.extend(b"tR\x94");
    out.extend(b"h\x00".repeat(references));
    out.extend(b"eub.");
    out
}

/// Nothing but nodes.
pub(super) fn pickle_nodes(count: usize) -> Vec<u8> {
    let mut out = b"\x80\x04".to_vec();
    out.resize(count, b'N');
    out.push(b'.');
    out
}

fn length_delimited(field: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    let mut length = bytes.len();
    while length > 127 {
        out.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

/// A zip file of compressed entries.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        // writing into memory cannot fail, and what is cut short is a hostile file as well
        let _infallible = encoder.write_all(bytes);
        let packed = encoder.finish().unwrap_or_default();
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let mut fields = vec![20, 0, 0, 0, 8, 0, 0, 0, 33, 0];
        fields.extend(crc.sum().to_le_bytes());
        fields.extend((packed.len() as u32).to_le_bytes());
        fields.extend((bytes.len() as u32).to_le_bytes());
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0, 0]);
        let at = out.len() as u32;
        out.extend(b"PK\x03\x04");
        out.extend(&fields);
        out.extend(name.as_bytes());
        out.extend(packed);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&fields);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (at, count) = (out.len() as u32, entries.len() as u16);
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0, 0]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each file gets as far as to what it attacks.
    #[test]
    fn files_are_refused_for_what_they_describe_and_not_for_their_form() {
        for (name, bytes, reason) in [
            ("model.skops", skops(&npy_header("(1),", 1 << 17)), "header of"),
            ("model.skops", skops(&npy_zeros(1 << 20)), "far more than the file's size allows"),
            ("model.pkl", pickle_references(65_536, 2_040), "far larger than its file"),
            ("model.pkl", pickle_nodes(100_000), "model.pkl: "),
            ("model.onnx", onnx_messages(3_000_000), "model.onnx: "),
        ] {
            let said =
                forebay_model::load_bytes(name, &bytes).map_or_else(|fault| fault.to_string(), |_| String::new());
            println!("{said}");
            assert!(said.contains(reason), "{name}: {said:?}, expected {reason:?}");
        }
    }
}

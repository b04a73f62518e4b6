//! The npy format: a short text header followed by raw elements.

use bytes::Bytes;

use super::array::{Array, Dtype};
use super::literal::Literal;

/// Largest number of axes that numpy allows.
const MAX_AXES: usize = 32;
/// Largest header in bytes, as in numpy: what it describes is far larger in memory.
const MAX_HEADER: usize = 10_000;

/// Reads an npy file of version 1, 2 or 3.
///
/// # Errors
/// A text for data that is not npy or is truncated, an unsupported element type, or a shape that does not fit.
pub(crate) fn read(bytes: &Bytes) -> Result<Array, String> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("is not an npy file")?;
    let (version, rest) = rest.split_at_checked(2).ok_or("ends in the header")?;
    let (length, rest) = match version[0] {
        1 => {
            let (raw, rest) = rest.split_first_chunk::<2>().ok_or("ends in the header")?;
            (usize::from(u16::from_le_bytes(*raw)), rest)
        }
        2 | 3 => {
            let (raw, rest) = rest.split_first_chunk::<4>().ok_or("ends in the header")?;
            (u32::from_le_bytes(*raw) as usize, rest)
        }
        v => return Err(format!("npy version {v} is not supported")),
    };
    if length > MAX_HEADER {
        return Err(format!("header of {length} bytes, at most {MAX_HEADER}"));
    }
    let (header, data) = rest.split_at_checked(length).ok_or("ends in the header")?;
    let header = std::str::from_utf8(header).map_err(|_| "header is not text")?;
    let header = Literal::parse(header).map_err(|e| format!("header: {e}"))?;
    let dtype = Dtype::from_descr(header.get("descr").ok_or("header names no element type")?)?;
    let fortran = header.get("fortran_order") == Some(&Literal::Bool(true));
    let Some(Literal::Seq(axes)) = header.get("shape") else { return Err("header has no shape".into()) };
    if axes.len() > MAX_AXES {
        return Err(format!("{} axes, at most {MAX_AXES}", axes.len()));
    }
    let axis = |a: &Literal| match a {
        Literal::Int(n) => usize::try_from(*n).map_err(|_| "axis too long".to_owned()),
        _ => Err("shape is not a tuple of integers".to_owned()),
    };
    let shape = axes.iter().map(axis).collect::<Result<Vec<_>, _>>()?;
    Array::new(dtype, shape, fortran, bytes.slice_ref(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Bytes {
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.as_bytes());
        out.extend(data);
        out.into()
    }

    #[test]
    fn numbers_records_and_text() {
        let data: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let a = read(&file("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }  \n", &data)).unwrap();
        assert_eq!(a.numbers().unwrap(), [1.5, -2.0]);
        let record = "{'descr': [('a', '<i2'), ('', '|V1'), ('b', '|u1')], 'fortran_order': False, 'shape': (2,)}";
        let a = read(&file(record, &[255, 255, 0, 7, 1, 0, 0, 8])).unwrap();
        assert_eq!(a.field_integers("a").unwrap().unwrap(), [-1, 1]);
        assert_eq!(a.field_integers("b").unwrap().unwrap(), [7, 8]);
        assert_eq!(a.field_integers("c").unwrap(), None);
        let text =
            read(&file("{'descr': '<U2', 'fortran_order': False, 'shape': (1,)}", b"h\0\0\0\xe9\0\0\0")).unwrap();
        assert_eq!(text.texts().unwrap(), ["hé"]);
        let columns = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3)}";
        assert_eq!(read(&file(columns, &[1, 4, 2, 5, 3, 6])).unwrap().numbers().unwrap(), [1., 2., 3., 4., 5., 6.]);
    }

    #[test]
    fn claims_are_checked_against_the_bytes() {
        for (header, data) in [
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,)}", 8),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296)}", 8),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}", 15),
            ("{'descr': '>f8', 'fortran_order': False, 'shape': (1,)}", 8),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 8),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': ((((((((((((1,),),),),),),),),),),),)}", 8),
            ("{'descr': '<f8', 'fortran_order': False", 8),
            ("{'descr': [], 'fortran_order': False, 'shape': (288230376151711744,)}", 0),
            ("{'descr': '<U0', 'fortran_order': False, 'shape': (288230376151711744,)}", 0),
            ("", 0),
        ] {
            assert!(read(&file(header, &vec![0; data])).is_err(), "{header}");
        }
        let whole = file("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }\n", &[0; 8]);
        for cut in 0..whole.len() {
            assert!(read(&whole.slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}

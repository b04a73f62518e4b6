//! Tensors as bytes: little-endian, row-major and without padding. A string is its length as a 32-bit number, then its
//! bytes.

use forebay_contract::Problem;

use super::{Collected, Datatype, OutputData, Value, WholeFloats, unsuitable};

/// Decodes the tensor `name`, which has `count` elements.
///
/// # Errors
/// `invalid_features` for another number of bytes, with the tensor and the index of an infinite number or of text that
/// is not UTF-8.
pub(crate) fn decode(bytes: &[u8], datatype: Datatype, count: usize, name: &str) -> Result<Collected, Problem> {
    let Some(size) = datatype.size() else { return decode_text(bytes, count, name) };
    if count.checked_mul(size) != Some(bytes.len()) {
        let given = bytes.len();
        let wanted = format!("{count} elements of {}", datatype.name());
        return Err(unsuitable(format!(
            "input '{name}': {wanted} are {} bytes, but {given} were sent",
            count.saturating_mul(size)
        )));
    }
    match datatype {
        Datatype::Bool => decode_booleans(bytes, name),
        Datatype::Uint8 => Ok(numbers(bytes, |[byte]: [u8; 1]| f64::from(byte))),
        Datatype::Int8 => Ok(numbers(bytes, |it| f64::from(i8::from_le_bytes(it)))),
        Datatype::Uint16 => Ok(numbers(bytes, |it| f64::from(u16::from_le_bytes(it)))),
        Datatype::Int16 => Ok(numbers(bytes, |it| f64::from(i16::from_le_bytes(it)))),
        Datatype::Uint32 => Ok(numbers(bytes, |it| f64::from(u32::from_le_bytes(it)))),
        Datatype::Int32 => Ok(numbers(bytes, |it| f64::from(i32::from_le_bytes(it)))),
        Datatype::Int64 => Ok(integers(bytes, |it| Ok(i64::from_le_bytes(it)))),
        Datatype::Uint64 => Ok(integers(bytes, |it| {
            let number = u64::from_le_bytes(it);
            i64::try_from(number).map_err(|_| number as f64)
        })),
        Datatype::Fp16 => finite(numbers(bytes, |it| half(u16::from_le_bytes(it))), name),
        Datatype::Bf16 => {
            finite(numbers(bytes, |it| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(it)) << 16))), name)
        }
        Datatype::Fp32 => finite(numbers(bytes, |it| f64::from(f32::from_le_bytes(it))), name),
        Datatype::Fp64 => finite(numbers(bytes, f64::from_le_bytes), name),
        Datatype::Bytes => decode_text(bytes, count, name),
    }
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Collected {
    Collected::Numbers(bytes.as_chunks::<N>().0.iter().map(|chunk| number(*chunk)).collect(), WholeFloats::None)
}

fn integers(bytes: &[u8], integer: impl Fn([u8; 8]) -> Result<i64, f64>) -> Collected {
    let mut collected = Collected::Numbers(Vec::with_capacity(bytes.len() / 8), WholeFloats::None);
    for chunk in bytes.as_chunks::<8>().0 {
        match integer(*chunk) {
            Ok(integer) => collected.push_integer(integer),
            Err(large) => collected.push_value(Value::Float(large)),
        }
    }
    collected
}

/// Floats, if all are finite.
fn finite(mut collected: Collected, name: &str) -> Result<Collected, Problem> {
    let infinite = match &mut collected {
        Collected::Numbers(numbers, floats) => {
            *floats = WholeFloats::All;
            numbers.iter().position(|number| number.is_infinite())
        }
        Collected::Values(_) => None,
    };
    match infinite {
        Some(index) => Err(unsuitable(format!("input '{name}': element {index} is not finite"))),
        None => Ok(collected),
    }
}

fn decode_booleans(bytes: &[u8], name: &str) -> Result<Collected, Problem> {
    let boolean = |(index, byte): (usize, &u8)| match byte {
        0 => Ok(Value::Boolean(false)),
        1 => Ok(Value::Boolean(true)),
        _ => Err(unsuitable(format!("input '{name}': element {index} is the byte {byte}, which is no value of BOOL"))),
    };
    bytes.iter().enumerate().map(boolean).collect::<Result<_, _>>().map(Collected::Values)
}

fn decode_text(mut bytes: &[u8], count: usize, name: &str) -> Result<Collected, Problem> {
    // each element has a length of four bytes, so a false count cannot take memory
    if count > bytes.len() / 4 {
        return Err(unsuitable(format!("input '{name}': {count} strings need more than {} bytes", bytes.len())));
    }
    let mut values = Vec::with_capacity(count);
    for index in 0..count {
        let cut = || unsuitable(format!("input '{name}': the bytes end inside element {index}"));
        let (length, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        let text = std::str::from_utf8(text)
            .map_err(|_| unsuitable(format!("input '{name}': element {index} is not valid UTF-8")))?;
        values.push(Value::Text(text.into()));
        bytes = rest;
    }
    match bytes.len() {
        0 => Ok(Collected::Values(values)),
        left => Err(unsuitable(format!("input '{name}': {left} bytes are left over after {count} strings"))),
    }
}

/// A number of 16 bits, as IEEE 754 has it.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2.0_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2.0_f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// Appends the elements of an output.
pub(crate) fn encode(data: &OutputData, out: &mut Vec<u8>) {
    match data {
        OutputData::Fp64(numbers) => numbers.iter().for_each(|it| out.extend_from_slice(&it.to_le_bytes())),
        OutputData::Int64(integers) => integers.iter().for_each(|it| out.extend_from_slice(&it.to_le_bytes())),
        OutputData::Bool(booleans) => out.extend(booleans.iter().map(|it| u8::from(*it))),
        OutputData::Bytes(texts) => {
            for text in texts {
                // labels are far below 4 GiB: they come from records
                out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(bytes: &[u8], datatype: Datatype) -> Vec<f64> {
        let count = bytes.len() / datatype.size().unwrap();
        let Collected::Numbers(numbers, floats) = decode(bytes, datatype, count, "x").unwrap() else {
            panic!("{datatype:?}")
        };
        assert_eq!(floats, if datatype.is_float() { WholeFloats::All } else { WholeFloats::None });
        numbers
    }

    #[test]
    fn numbers_of_every_datatype_are_read() {
        assert_eq!(plain(&[255, 1], Datatype::Uint8), [255.0, 1.0]);
        assert_eq!(plain(&[255, 1], Datatype::Int8), [-1.0, 1.0]);
        assert_eq!(plain(&[0, 1], Datatype::Uint16), [256.0]);
        assert_eq!(plain(&[255, 255], Datatype::Int16), [-1.0]);
        assert_eq!(plain(&u32::MAX.to_le_bytes(), Datatype::Uint32), [f64::from(u32::MAX)]);
        assert_eq!(plain(&(-7_i32).to_le_bytes(), Datatype::Int32), [-7.0]);
        assert_eq!(plain(&(-7_i64).to_le_bytes(), Datatype::Int64), [-7.0]);
        assert_eq!(plain(&7_u64.to_le_bytes(), Datatype::Uint64), [7.0]);
        assert_eq!(plain(&1.5_f32.to_le_bytes(), Datatype::Fp32), [1.5]);
        assert_eq!(plain(&0.1_f64.to_le_bytes(), Datatype::Fp64), [0.1]);
        assert!(plain(&f64::NAN.to_le_bytes(), Datatype::Fp64)[0].is_nan());
        assert_eq!(plain(&[0x80, 0x3f], Datatype::Bf16), [1.0]);
        for (bits, number) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x7bff, 65504.0),
            (0x3555, 0.333_251_953_125),
        ] {
            assert_eq!(plain(&u16::to_le_bytes(bits), Datatype::Fp16), [number]);
        }
        let large = i64::MAX.to_le_bytes();
        assert_eq!(decode(&large, Datatype::Int64, 1, "x"), Ok(Collected::Values(vec![Value::Integer(i64::MAX)])));
        assert_eq!(
            decode(&[1, 0], Datatype::Bool, 2, "x"),
            Ok(Collected::Values(vec![Value::Boolean(true), Value::Boolean(false)]))
        );
    }

    #[test]
    fn what_is_cut_off_left_over_or_infinite_is_refused() {
        for (bytes, datatype, count) in [
            (&[0; 7][..], Datatype::Fp64, 1),
            (&[0; 9], Datatype::Fp64, 1),
            (&[0; 8], Datatype::Fp64, usize::MAX),
            (&f64::INFINITY.to_le_bytes(), Datatype::Fp64, 1),
            (&f32::NEG_INFINITY.to_le_bytes(), Datatype::Fp32, 1),
            (&[0, 0x7c], Datatype::Fp16, 1),
            (&[2], Datatype::Bool, 1),
            (&[1, 0, 0, 0], Datatype::Bytes, 1),
            (&[1, 0, 0, 0, b'a', b'b'], Datatype::Bytes, 1),
            (&[1, 0, 0, 0, 0xff], Datatype::Bytes, 1),
            (&[255, 255, 255, 255, 0], Datatype::Bytes, 1),
            (&[0, 0, 0, 0], Datatype::Bytes, usize::MAX),
        ] {
            assert!(decode(bytes, datatype, count, "x").is_err(), "{bytes:?} {datatype:?}");
        }
    }

    #[test]
    fn labels_are_written_as_they_are_read() {
        let mut bytes = Vec::new();
        encode(&OutputData::Int64(vec![-2]), &mut bytes);
        encode(&OutputData::Bool(vec![true, false]), &mut bytes);
        assert_eq!(bytes, [&(-2_i64).to_le_bytes()[..], &[1, 0]].concat());
    }

    #[test]
    fn strings_read_back() {
        let mut bytes = Vec::new();
        encode(&OutputData::Bytes(vec!["ab".into(), "\u{e9}".into()]), &mut bytes);
        assert_eq!(bytes, b"\x02\0\0\0ab\x02\0\0\0\xc3\xa9");
        let texts = vec![Value::Text("ab".into()), Value::Text("\u{e9}".into())];
        assert_eq!(decode(&bytes, Datatype::Bytes, 2, "x"), Ok(Collected::Values(texts)));
    }
}

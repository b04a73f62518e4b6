//! Documents of both formats, and what lies in them.

use super::*;

fn read(bytes: &[u8]) -> Result<Value<'_>, String> {
    super::read(bytes, &Allowance::of_file(bytes.len()))
}

fn refused(bytes: &[u8], what: &str) {
    let reason = read(bytes).unwrap_err();
    assert!(reason.contains(what), "{reason}");
}

#[test]
fn json_numbers_stay_text_until_they_are_read() {
    let value = read(br#" {"a": [1, 2.5E-1, NaN, true] , "b" : {"c": "x\ny"}, "d": [], "e": [[1], "z"], "f": -3} "#);
    let value = value.unwrap();
    let a: Vec<f32> = value.numbers_at("a").unwrap();
    assert_eq!((a[0], a[1], a[2].is_nan(), a[3]), (1.0, 0.25, true, 1.0));
    assert_eq!(value.path(&["b", "c"]).unwrap().text(), Ok("x\ny"));
    assert_eq!(value.numbers_at::<i64>("d"), Ok(vec![]));
    assert_eq!(value.need("e").unwrap().items().unwrap()[0].numbers::<i64>(), Ok(vec![1]));
    assert_eq!(value.need("f").unwrap().number::<i64>(), Ok(-3));
    assert!(value.numbers_at::<i64>("a").is_err());
}

#[test]
fn ubjson_arrays_and_numbers() {
    let mut bytes = b"{L\0\0\0\0\0\0\0\x01a[$d#L\0\0\0\0\0\0\0\x02".to_vec();
    bytes.extend(1.5f32.to_be_bytes());
    bytes.extend((-2f32).to_be_bytes());
    bytes.extend(b"L\0\0\0\0\0\0\0\x01b[#L\0\0\0\0\0\0\0\x02i\xffTL\0\0\0\0\0\0\0\x01cSL\0\0\0\0\0\0\0\x0217}");
    let value = read(&bytes).unwrap();
    assert_eq!(value.numbers_at::<f32>("a"), Ok(vec![1.5, -2.0]));
    assert_eq!(value.numbers_at::<i64>("b"), Ok(vec![-1, 1]));
    assert_eq!(value.need("c").unwrap().number::<i64>(), Ok(17));
}

#[test]
fn what_lies_about_its_size_is_refused() {
    refused(b"{L\x7f\xff\xff\xff\xff\xff\xff\xffa", "length is");
    refused(b"{L\xff\xff\xff\xff\xff\xff\xff\xffa", "length is");
    refused(b"{U\x01a[$L#L\0\0\0\0\0\0\0\x09xx", "ends early");
    refused(b"{U\x01a[#L\0\0\0\0\0\0\0\x10}", "unknown marker");
    refused(&[b"{U\x01a".as_slice(), &[b'['; 200]].concat(), "too deep");
    refused(&[b'['; 200], "too deep");
    refused(b"[{}", "expected");
    refused(br#"{"a" 1}"#, "expected");
    refused(b"{} {}", "after its end");
    refused(b"[\"a\", nope]", "not JSON");
    refused(br#"{"a": "x"#, "no end");
    let many = format!("[{}\"\"]", "[\"\"],".repeat(1_000_000));
    refused(many.as_bytes(), "far larger than its file");
    refused(&many.as_bytes()[..many.len() - 1], "far larger than its file");
    let numbers = format!("{{\"a\":[{}1", "1,".repeat(3_000_000));
    refused(numbers.as_bytes(), "far larger than its file");
    refused(format!("{numbers}}}").as_bytes(), "far larger than its file");
    let many = [b"[".as_slice(), &b"[]".repeat(3_000_000)].concat();
    refused(&[b"{i\x01a".as_slice(), &many].concat(), "far larger than its file");
}

//! The schema of a skops file; every array it names is there, if its name is one of ten.
#![no_main]

/// Two numbers, which many attributes can be read as.
const ARRAY: &[u8] = b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }            \n\
    \0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\x40";
const NAMES: [&str; 10] = ["0.npy", "1.npy", "2.npy", "3.npy", "4.npy", "5.npy", "6.npy", "7.npy", "8.npy", "9.npy"];

libfuzzer_sys::fuzz_target!(|schema: &[u8]| {
    let file = forebay_model_fuzz::skops(schema, NAMES.map(|name| (name, ARRAY)));
    forebay_model_fuzz::read("model.skops", &file);
});

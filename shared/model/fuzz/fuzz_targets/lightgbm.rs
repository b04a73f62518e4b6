//! A LightGBM model: any lines after the first are a model or a fault.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_model_fuzz::read("model.lgb", &[b"tree\n", bytes].concat()));

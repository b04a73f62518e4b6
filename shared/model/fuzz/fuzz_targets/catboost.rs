//! A CatBoost model, binary or JSON: any bytes are a model or a fault.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| forebay_model_fuzz::read("model.cbm", bytes));

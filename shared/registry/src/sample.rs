//! The sample registry, embedded so that binaries run from anywhere: model `diabetes-rf-model`, trained on the scaled
//! diabetes data of scikit-learn. Version 1 is a scikit-learn forest, version 2 gradient boosting as ONNX, version 3
//! (Production) a burn net made by `forebay train`. Made by `make.py` and `make_net.py` in `shared/model/sample`.

/// Name of the one model.
pub const MODEL: &str = "diabetes-rf-model";

/// Feature names in order.
pub const FEATURES: [&str; 10] = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"];

/// A real row: the first of the data set.
pub const ROW: [f64; 10] = [
    0.038_075_906_433_423_026,
    0.050_680_118_739_818_62,
    0.061_696_206_518_683_294,
    0.021_872_385_514_036_7,
    -0.044_223_498_424_445_99,
    -0.034_820_762_837_698_95,
    -0.043_400_845_652_024_91,
    -0.002_592_261_998_183_278,
    0.019_907_486_170_462_722,
    -0.017_646_125_159_803_79,
];

/// What scikit-learn's forest, version 1, answers to [`ROW`], to the bit.
pub const ROW_ANSWER_V1: f64 = 186.26;

/// What the boosted trees, version 2, answer to [`ROW`], within 1e-4.
pub const ROW_ANSWER_V2: f64 = 208.007_638;

/// What the net, version 3, answers to [`ROW`], within 1e-4.
pub const ROW_ANSWER_V3: f64 = 220.385_382;

macro_rules! embedded {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../model/sample/", $path)))),*]
    };
}

/// Files of the registry by path.
pub(crate) const FILES: &[(&str, &[u8])] = embedded![
    "diabetes-rf-model/registered_model.yaml",
    "diabetes-rf-model/1/MLmodel",
    "diabetes-rf-model/1/input_example.json",
    "diabetes-rf-model/1/example_output.json",
    "diabetes-rf-model/1/model.skops",
    "diabetes-rf-model/2/MLmodel",
    "diabetes-rf-model/2/input_example.json",
    "diabetes-rf-model/2/example_output.json",
    "diabetes-rf-model/2/model.onnx",
    "diabetes-rf-model/3/MLmodel",
    "diabetes-rf-model/3/example_output.json",
    "diabetes-rf-model/3/input_example.json",
    "diabetes-rf-model/3/metrics.json",
    "diabetes-rf-model/3/model.bpk",
    "diabetes-rf-model/3/training.json",
];

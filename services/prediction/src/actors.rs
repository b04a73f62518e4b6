//! The actors of this service. They only move messages; the work is done elsewhere.

mod predictor;

pub(crate) use predictor::{FeaturesReceived, Predictor};

//! The actors of this service; each is thin and the work is elsewhere.

mod predictor;

pub(crate) use predictor::{Incoming, Predictor};

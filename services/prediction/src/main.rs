//! The prediction service's binary.

use forebay_bus::BusSettings;
use forebay_contract::Stage;
use forebay_prediction::{Settings, system};
use forebay_runtime::{ServiceSpec, service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPEC: ServiceSpec = ServiceSpec {
    name: "prediction",
    about: "answers rows with the pinned version of a model",
    defaults: &[forebay_bus::DEFAULTS, forebay_prediction::DEFAULTS],
};

fn main() -> std::process::ExitCode {
    service(SPEC, BusSettings::for_stage(Stage::Prediction, Settings::read), system::run)
}

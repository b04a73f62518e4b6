//! The preprocessing service's binary.

use forebay_bus::BusSettings;
use forebay_contract::Stage;
use forebay_preprocessing::{Settings, system};
use forebay_runtime::{ServiceSpec, service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPEC: ServiceSpec = ServiceSpec {
    name: "preprocessing",
    about: "validates rows, pins the model version and prepares what it takes",
    defaults: &[forebay_bus::DEFAULTS, forebay_preprocessing::DEFAULTS],
};

fn main() -> std::process::ExitCode {
    service(SPEC, BusSettings::for_stage(Stage::Preprocessing, Settings::read), system::run)
}

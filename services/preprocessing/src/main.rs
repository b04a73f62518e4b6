//! The preprocessing service's binary.

use forebay_preprocessing::{DEFAULTS, Settings, system};
use forebay_runtime::{ServiceSpec, service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPEC: ServiceSpec = ServiceSpec {
    name: "preprocessing",
    about: "validates rows, pins the model version and prepares what it takes",
    defaults: DEFAULTS,
};

fn main() -> std::process::ExitCode {
    service(SPEC, Settings::read, system::run)
}

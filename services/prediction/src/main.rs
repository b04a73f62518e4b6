//! The prediction service's binary.

use forebay_prediction::{DEFAULTS, Settings, system};
use forebay_runtime::{ServiceSpec, service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPEC: ServiceSpec =
    ServiceSpec { name: "prediction", about: "answers rows with the pinned version of a model", defaults: DEFAULTS };

fn main() -> std::process::ExitCode {
    service(SPEC, Settings::read, system::run)
}

//! The caching service's binary.

use forebay_bus::BusSettings;
use forebay_caching::{Settings, system};
use forebay_contract::Stage;
use forebay_runtime::{ServiceSpec, service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPEC: ServiceSpec = ServiceSpec {
    name: "caching",
    about: "answers repeated rows from memory or Redis",
    defaults: &[forebay_bus::DEFAULTS, forebay_redis::DEFAULTS, forebay_caching::DEFAULTS],
};

fn main() -> std::process::ExitCode {
    service(SPEC, BusSettings::for_stage(Stage::Caching, Settings::read), system::run)
}

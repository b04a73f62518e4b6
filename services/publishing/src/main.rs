//! The publishing service's binary.

use forebay_bus::BusSettings;
use forebay_contract::Stage;
use forebay_publishing::{Settings, system};
use forebay_runtime::{ServiceSpec, service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPEC: ServiceSpec = ServiceSpec {
    name: "publishing",
    about: "sends the result of each request once, to where the request came from",
    defaults: &[forebay_bus::DEFAULTS, forebay_publishing::DEFAULTS],
};

fn main() -> std::process::ExitCode {
    service(SPEC, BusSettings::for_stage(Stage::Publishing, Settings::read), system::run)
}

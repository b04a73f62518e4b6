//! The publishing service's binary.

use forebay_publishing::settings::Settings;
use forebay_publishing::system;
use forebay_runtime::{ServiceSpec, service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPEC: ServiceSpec = ServiceSpec {
    name: "publishing",
    about: "answers every request once, on the door it came through",
    defaults: forebay_publishing::DEFAULTS,
};

fn main() -> std::process::ExitCode {
    service(SPEC, Settings::read, system::run)
}

//! The publishing service's binary.

use forebay_publishing::{Settings, system};
use forebay_runtime::{ServiceSpec, service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPEC: ServiceSpec = ServiceSpec {
    name: "publishing",
    about: "sends the result of each request once, to where the request came from",
    defaults: forebay_publishing::DEFAULTS,
};

fn main() -> std::process::ExitCode {
    service(SPEC, Settings::read, system::run)
}

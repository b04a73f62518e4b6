//! The caching service's binary.

use forebay_caching::{DEFAULTS, Settings, system};
use forebay_runtime::{ServiceSpec, service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPEC: ServiceSpec =
    ServiceSpec { name: "caching", about: "answers repeated rows from memory or Redis", defaults: DEFAULTS };

fn main() -> std::process::ExitCode {
    service(SPEC, Settings::read, system::run)
}

//! The ingestion service's binary.

use forebay_ingestion::{settings::Settings, system};
use forebay_runtime::{ServiceSpec, service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPEC: ServiceSpec = ServiceSpec {
    name: "ingestion",
    about: "takes requests over HTTP, Kafka and RabbitMQ and hands them to the mesh",
    defaults: forebay_ingestion::DEFAULTS,
};

fn main() -> std::process::ExitCode {
    service(SPEC, Settings::read, system::run)
}

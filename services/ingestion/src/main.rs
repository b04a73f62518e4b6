//! The binary of the ingestion service.

use forebay_bus::BusSettings;
use forebay_contract::Stage;
use forebay_ingestion::{Settings, system};
use forebay_runtime::{ServiceSpec, service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPEC: ServiceSpec = ServiceSpec {
    name: "ingestion",
    about: "accepts requests over HTTP, Kafka and RabbitMQ and passes them to the mesh",
    defaults: &[forebay_bus::DEFAULTS, forebay_redis::DEFAULTS, forebay_ingestion::DEFAULTS],
};

fn main() -> std::process::ExitCode {
    service(SPEC, BusSettings::for_stage(Stage::Ingestion, Settings::read_to_serve), system::run)
}

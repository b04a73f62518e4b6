//! Compiles the gRPC service with protox, so that no `protoc` has to be installed.
use prost::Message as _;

#[expect(clippy::disallowed_methods, reason = "what cargo sets is no setting")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/grpc_service.proto"], ["proto"])?;
    // for the reflection service
    let folder = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(folder.join("inference.bin"), descriptors.encode_to_vec())?;
    let service = tonic_prost_build::configure().build_client(false).build_transport(false).bytes(".");
    service.codec_path("crate::grpc::message_codec::MessageCodec").compile_fds(descriptors)?;
    Ok(())
}

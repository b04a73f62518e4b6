//! Compiles the schema with protox, so that no `protoc` has to be installed.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/forebay.proto");
    let descriptors = protox::compile(["proto/forebay.proto"], ["proto"])?;
    // sorted maps: equal messages have equal bytes
    prost_build::Config::new().bytes(["."]).btree_map(["."]).compile_fds(descriptors)?;
    Ok(())
}

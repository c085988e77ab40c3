//! Compiles the `.proto` files without an external protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "envoy/service/discovery/v3/ads.proto",
        "heddle/mesh/v1/mesh.proto",
        "heddle/identity/v1/identity.proto",
        "heddle/admin/v1/admin.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        // Maps in order, so that equal resources have equal bytes.
        .btree_map(".heddle.mesh.v1")
        .compile_fds(descriptors)?;
    Ok(())
}

//! Links the sidecar so that its relocations take bits in place of records: half a megabyte of the
//! program file. The C library must be of 2022 or later (glibc 2.36) to load it; a linker that does
//! not know the flag says so and goes on.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

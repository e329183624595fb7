//! The shared library's name for the dynamic linker.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // What install.sh installs; the number changes with the ABI.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libaesa.so.0");
    }
}

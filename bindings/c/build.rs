//! The shared library's name for the dynamic linker, and which file the feature `starter` builds in.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // What install.sh installs; the number changes with the ABI.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libaesa.so.0");
    }
    if env::var_os("CARGO_FEATURE_STARTER").is_some() {
        find_starter();
    }
}

fn find_starter() {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../models/starter");
    println!("cargo::rerun-if-changed={}", folder.display());
    let has_tract = env::var_os("CARGO_FEATURE_TRACT").is_some();
    let files = [Some("model.aesa"), has_tract.then_some("model.onnx")];
    match files.into_iter().flatten().map(|file| folder.join(file)).find(|path| path.exists()) {
        Some(path) => println!("cargo::rustc-env=AESA_STARTER={}", path.display()),
        None => println!(
            "cargo::error=the feature `starter` finds no model in models/starter that this build can run"
        ),
    }
}

//! Embeds the starter model where the repository has it.

use std::path::Path;

fn main() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/starter/model.onnx");
    println!("cargo::rustc-check-cfg=cfg(has_starter_model)");
    println!("cargo::rerun-if-changed={}", model.display());
    if model.exists() {
        println!("cargo::rustc-cfg=has_starter_model");
    }
}

//! `aesa-web-bindgen MODULE.wasm FOLDER`: writes the JavaScript around a module that was made with `wasm-bindgen`, as that project's
//! command `wasm-bindgen --target web` does; a tenth of its dependencies, and pinned by a Cargo.lock.

use std::env::args_os;

use anyhow::{Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let [module, folder] = &args_os().skip(1).collect::<Vec<_>>()[..] else {
        bail!("usage: aesa-web-bindgen MODULE.wasm FOLDER");
    };
    Bindgen::new().input_path(module).web(true)?.typescript(false).generate(folder)
}

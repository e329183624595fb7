//! Writes the Kotlin or Swift code for the library that it is given; `--help` says how.

fn main() {
    uniffi::uniffi_bindgen_main();
}

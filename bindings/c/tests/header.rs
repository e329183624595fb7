//! The committed header is what cbindgen makes of the sources.

use std::path::Path;

/// `AESA_WRITE_HEADER=1` writes the file instead.
#[test]
fn header_is_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config).with_src(folder.join("src/lib.rs"));
    let mut fresh = Vec::new();
    builder.generate().unwrap().write(&mut fresh);
    // Written for who changes the Rust side.
    let fresh = without_safety(&String::from_utf8(fresh).unwrap());
    let path = folder.join("include/aesa.h");
    if std::env::var_os("AESA_WRITE_HEADER").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == fresh,
        "include/aesa.h is stale: AESA_WRITE_HEADER=1 cargo test --release -p aesa-c --test header"
    );
}

/// Drops every comment's section `# Safety`, which says in Rust's words what the header's first lines say.
fn without_safety(header: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut skips = false;
    for line in header.lines() {
        let starts = line.trim() == "// # Safety";
        if starts && lines.last().is_some_and(|last| last.trim() == "//") {
            lines.pop();
        }
        skips = starts || skips && line.trim().starts_with("//");
        if !skips {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

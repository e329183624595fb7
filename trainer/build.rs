//! Lets the trainer find the libtorch it was built against, where `LD_LIBRARY_PATH` does not name another, and tells it the
//! commit that it was built from, for `run.json`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(dir) = std::env::var("LIBTORCH") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{dir}/lib");
    }
    println!("cargo:rustc-env=AESA_COMMIT={}", commit().unwrap_or_else(|| "unknown".to_owned()));
}

/// The commit of the sources, and whether they have changed since; `None` without git, or outside of the repository.
fn commit() -> Option<String> {
    // Sources unpacked inside of another repository are not of its commit.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    let heads = ["HEAD", "logs/HEAD"].map(|name| git(&["rev-parse", "--git-path", name]));
    for path in heads.into_iter().flatten().chain(SOURCES.map(str::to_owned)) {
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    let changes = git(&[&["status", "--porcelain", "--untracked-files=no", "--"], &SOURCES[..]].concat())?;
    Some(if changes.is_empty() { commit } else { format!("{commit} with changes") })
}

/// What git prints, where it succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("--no-optional-locks").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Where the code is that makes a run.
const SOURCES: [&str; 8] = [
    "src",
    "corpus/src",
    "export/src",
    "../engine/core/src",
    "../engine/media/src",
    "../engine/onnx/src",
    "../engine/runtime/src",
    "../engine/tract/src",
];

//! Progress bars, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `length` items with what is done, elapsed time and an estimate of what is left.
pub fn bar(length: u64, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix} {wide_bar} {pos}/{len} {elapsed_precise} < {eta_precise} {msg}",
    );
    let bar = ProgressBar::new(length).with_prefix(what.to_string());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

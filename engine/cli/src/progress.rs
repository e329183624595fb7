//! A progress bar on stderr, for work that takes long enough to need one.

use core::time::Duration;
use std::io::{IsTerminal, Write, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Counts clips, or the seconds of a single clip; shows from the second second on, and on terminals only.
pub(crate) struct Progress {
    bar: ProgressBar,
    counts_clips: bool,
}

impl Progress {
    /// A bar for `num_clips`, invisible where stderr is no terminal or `is_quiet`.
    pub(crate) fn new(num_clips: usize, is_quiet: bool) -> Self {
        let counts_clips = num_clips > 1;
        let bar = ProgressBar::with_draw_target(
            counts_clips.then_some(num_clips as u64),
            ProgressDrawTarget::hidden(),
        );
        let template = if counts_clips {
            "{bar:30} {pos}/{len} clips, {elapsed} elapsed, about {eta} left"
        } else {
            "{bar:30} {pos}/{len} s of audio, {elapsed} elapsed, about {eta} left"
        };
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        if !is_quiet && stderr().is_terminal() {
            show_later(&bar);
        }
        Self { bar, counts_clips }
    }

    /// How much of the running clip is done, in seconds; `total_s` where it is known.
    pub(crate) fn clip_at(&self, done_s: f64, total_s: Option<f64>) {
        if !self.counts_clips {
            if let Some(total_s) = total_s {
                self.bar.set_length(total_s.ceil() as u64);
            }
            self.bar.set_position(done_s as u64);
        }
    }

    /// One clip is done.
    pub(crate) fn clip_done(&self) {
        if self.counts_clips {
            self.bar.inc(1);
        }
    }

    /// Writes a line to stderr without disturbing the bar.
    pub(crate) fn line(&self, text: &str) {
        // Nobody is left to tell if stderr is closed.
        self.bar.suspend(|| _ = writeln!(stderr(), "{text}"));
    }

    /// Runs something that may write to the terminal.
    pub(crate) fn suspended<T>(&self, f: impl FnOnce() -> T) -> T {
        self.bar.suspend(f)
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Shows the bar when the work has gone on for a second.
fn show_later(bar: &ProgressBar) {
    let bar = bar.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        if !bar.is_finished() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    });
}

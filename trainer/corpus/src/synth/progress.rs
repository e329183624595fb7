//! How far the work is, on stderr.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// Reports progress: a bar on a terminal, elsewhere a line every 5 %, or nothing.
pub struct Progress(Mode);

enum Mode {
    Quiet,
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

struct Lines {
    label: String,
    started: Instant,
    total: u64,
    done: u64,
    twentieths: u64,
}

impl Progress {
    /// Says nothing.
    pub fn quiet() -> Self {
        Self(Mode::Quiet)
    }

    /// A bar where stderr is a terminal, else a line every 5 %.
    pub fn stderr() -> Self {
        if std::io::stderr().is_terminal() {
            let style =
                ProgressStyle::with_template("{msg:12} {bar:40} {pos}/{len} {percent}% {per_sec} ETA {eta}");
            Self(Mode::Bar(
                ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
            ))
        } else {
            let lines =
                Lines { label: String::new(), started: Instant::now(), total: 0, done: 0, twentieths: 0 };
            Self(Mode::Lines(Mutex::new(lines)))
        }
    }

    /// Begins a stage of `total` clips.
    pub(crate) fn begin(&self, label: &str, total: usize) {
        match &self.0 {
            Mode::Quiet => {}
            Mode::Bar(bar) => {
                bar.reset();
                bar.set_length(total as u64);
                bar.set_message(label.to_owned());
            }
            Mode::Lines(lines) => {
                let mut lines = lines.lock().expect("no thread panics with this lock");
                *lines = Lines {
                    label: label.to_owned(),
                    started: Instant::now(),
                    total: total as u64,
                    done: 0,
                    twentieths: 0,
                };
                eprintln!("{label}: {total} clips");
            }
        }
    }

    /// Counts finished clips.
    pub(crate) fn advance(&self, clips: usize) {
        match &self.0 {
            Mode::Quiet => {}
            Mode::Bar(bar) => bar.inc(clips as u64),
            Mode::Lines(lines) => {
                let mut lines = lines.lock().expect("no thread panics with this lock");
                lines.done += clips as u64;
                let twentieths = 20 * lines.done / lines.total.max(1);
                if twentieths > lines.twentieths {
                    lines.twentieths = twentieths;
                    let elapsed_s = lines.started.elapsed().as_secs_f64();
                    let left_s =
                        elapsed_s / lines.done as f64 * (lines.total - lines.done.min(lines.total)) as f64;
                    eprintln!(
                        "{}: {}/{} clips, {:.2} clips/s, {left_s:.0} s left",
                        lines.label,
                        lines.done,
                        lines.total,
                        lines.done as f64 / elapsed_s
                    );
                }
            }
        }
    }
}

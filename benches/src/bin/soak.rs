//! Hours of audio through `aesa stream`, faster than real time: does its memory grow, does its work, do its times drift?
//!
//! ```text
//! cargo build --release -p aesa-cli
//! cargo run --release -p aesa-benches --bin soak -- 24 target/release/aesa stream --hop 9.92
//! ```
//!
//! The first argument is the number of hours, the rest the command that takes 16 kHz s16le on its standard input. Once
//! per minute of audio, when the command's frame lines have come up to it, its resident memory and processor time are
//! read from `/proc` (Linux). Every frame's times are checked. Ends with an error where memory has grown by more than
//! a mebibyte over its highest value in the first minutes (see `SETTLED_MINUTES`), or a time is not the expected one.
#![forbid(unsafe_code)]

use core::error;
use core::time::Duration;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{env, fs, thread};

use aesa::score::steps_to_s;
use serde_json::Value;

type Result<T> = core::result::Result<T, Box<dyn error::Error + Send + Sync>>;

/// What is read once per minute of audio.
#[derive(Clone, Copy, Debug)]
struct Usage {
    rss_kib: u64,
    /// User and system time of all threads.
    cpu_s: f64,
}

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let hours: f64 = arguments.next().ok_or("how many hours?")?.parse()?;
    let program = arguments.next().ok_or("which command?")?;
    let mut command = Command::new(program);
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let lines = child.stdout.take().ok_or("no standard output")?;
    let (sender, scored_s) = channel();
    let reader = thread::spawn(move || check_lines(lines, &sender));
    let num_minutes = (hours * 60.0).round() as u64;
    let usage = feed(&mut child, num_minutes, &scored_s);
    let status = child.wait()?;
    let (num_frames, duration_s) = reader.join().map_err(|_| "the reader of lines panicked")??;
    let usage = usage?;
    if !status.success() || duration_s != num_minutes as f64 * 60.0 {
        return Err(format!("{status}, {duration_s} s of {num_minutes} min").into());
    }
    println!("frames: {num_frames}, the last ends at {} s of {duration_s} s", steps_to_s(num_frames));
    report(&usage)
}

/// Writes the audio, a minute at a time, and reads the usage when its scores are there.
fn feed(child: &mut Child, num_minutes: u64, scored_s: &Receiver<f64>) -> Result<Vec<Usage>> {
    let mut input = child.stdin.take().ok_or("no standard input")?;
    let mut noise = Noise(1);
    let mut usage = Vec::new();
    for minute in 1..=num_minutes {
        input.write_all(&noise.next_minute())?;
        let heard_s = minute as f64 * 60.0;
        while scored_s.recv_timeout(PATIENCE)? < heard_s - UNSCORED_S {}
        usage.push(Usage::of(child.id())?);
    }
    Ok(usage)
}

/// Reads lines to the end and sends each frame's end; returns how many frames there were, and the clip's duration.
fn check_lines(lines: ChildStdout, ends: &Sender<f64>) -> Result<(u64, f64)> {
    let mut num_frames = 0u64;
    for line in BufReader::new(lines).lines() {
        let line: Value = serde_json::from_str(&line?)?;
        if let Some(duration_s) = line["duration_s"].as_f64() {
            let is_whole = line["num_frames"] == num_frames && line["num_lost_frames"] == 0;
            return if is_whole { Ok((num_frames, duration_s)) } else { Err(format!("{line}").into()) };
        }
        // The multiples of a step to the last bit: no time is summed up.
        let times = [&line["start_s"], &line["end_s"]].map(Value::as_f64);
        if times != [Some(steps_to_s(num_frames)), Some(steps_to_s(num_frames + 1))] {
            return Err(format!("frame {num_frames}: {line}").into());
        }
        num_frames += 1;
        // The last ones come when nobody waits any more.
        _ = ends.send(steps_to_s(num_frames));
    }
    Err("no line for the clip".into())
}

impl Usage {
    fn of(process: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let rss_kib = rss.trim().trim_end_matches(" kB").parse()?;
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        // Behind the name in parentheses: state is field 3, utime and stime are 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks =
            |field: usize| -> Result<f64> { Ok(fields.get(field - 3).ok_or("a short stat")?.parse()?) };
        Ok(Self { rss_kib, cpu_s: (ticks(14)? + ticks(15)?) / TICKS_PER_S })
    }
}

/// Prints the figures of the first minute and of every tenth of the time.
fn report(usage: &[Usage]) -> Result<()> {
    let first_minutes = &usage[..SETTLED_MINUTES.min(usage.len())];
    let highest = |part: &[Usage]| part.iter().map(|u| u.rss_kib).max().unwrap_or(0);
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!("minutes of audio   highest RSS   CPU per second of audio");
    let mut start = 0;
    let tenth = usage.len().div_ceil(10).max(1);
    let ends = (1..usage.len()).filter(|end| *end == SETTLED_MINUTES || end.is_multiple_of(tenth));
    for end in ends.chain([usage.len()]) {
        let part = &usage[start..end];
        let before_s = if start == 0 { 0.0 } else { usage[start - 1].cpu_s };
        let cpu = (usage[end - 1].cpu_s - before_s) / (60.0 * part.len() as f64);
        println!("{:>5} to {end:<7} {:>10.1} MiB {:>15.2} ms", start, mib(highest(part)), 1e3 * cpu);
        start = end;
    }
    let (settled, grown) = (highest(first_minutes), highest(usage));
    println!("RSS: {:.2} MiB in the first minute, never above {:.2} MiB", mib(settled), mib(grown));
    if grown > settled + 1024 { Err("memory has grown".into()) } else { Ok(()) }
}

/// Noise whose level and colour wander, so that no two minutes are the same.
struct Noise(u32);

impl Noise {
    fn next_minute(&mut self) -> Vec<u8> {
        let mut level = 0i32;
        let mut smooth = 0i32;
        let mut bytes = Vec::with_capacity(2 * 60 * 16_000);
        for i in 0..60 * 16_000 {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if i % 8_000 == 0 {
                level = (self.0 >> 24) as i32;
            }
            let white = (self.0 >> 16) as i32 - 32_768;
            smooth += (white - smooth) / (2 + level / 16);
            bytes.extend_from_slice(&((smooth * level / 256) as i16).to_le_bytes());
        }
        bytes
    }
}

/// The audio that may be heard and not yet scored: a window, and a step.
const UNSCORED_S: f64 = 10.1;

/// How long a minute of audio may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// After how many minutes of audio memory must not grow any more.
const SETTLED_MINUTES: usize = 1;

/// `getconf CLK_TCK`, which is the same on all of Linux's platforms.
const TICKS_PER_S: f64 = 100.0;

//! Round trips through lossy codecs, by ffmpeg through pipes.

use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::draw::Draw;
use super::error::SynthError;
use super::signal::{RATE_HZ, filter, low_pass_gain};

/// A codec at a bit rate, mono.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Codec {
    /// MP3 at a constant rate by LAME.
    Mp3 {
        /// Bit rate in kbit/s.
        kbps: u32,
    },
    /// Opus by libopus.
    Opus {
        /// Bit rate in kbit/s.
        kbps: u32,
    },
}

/// Runs codecs and remembers each one's delay.
#[derive(Default)]
pub(crate) struct Codecs {
    delays: Mutex<HashMap<Codec, isize>>,
}

/// Furthest delays looked for, in samples at 16 kHz, before and after.
const DELAY_RANGE: core::ops::RangeInclusive<isize> = -800..=3200;

impl Codecs {
    /// Encodes and decodes, then removes the codec's delay; the length stays the same.
    ///
    /// Errors: ffmpeg cannot be run or fails.
    pub(crate) fn round_trip(&self, signal: &[f32], codec: Codec) -> Result<Vec<f32>, SynthError> {
        let delay = self.delay(codec)?;
        let decoded = run(signal, codec)?;
        Ok((0..signal.len() as isize).map(|n| sample(&decoded, n + delay)).collect())
    }

    /// The codec's delay in samples, measured once with a burst of noise.
    fn delay(&self, codec: Codec) -> Result<isize, SynthError> {
        if let Some(delay) = self.delays.lock().expect("no thread panics with this lock").get(&codec) {
            return Ok(*delay);
        }
        let delay = measure_delay(codec)?;
        self.delays.lock().expect("no thread panics with this lock").insert(codec, delay);
        Ok(delay)
    }
}

/// The lag of the highest cross-correlation between a burst of low-passed noise and its decoded copy.
fn measure_delay(codec: Codec) -> Result<isize, SynthError> {
    let mut draw = Draw::new(0, "codec-delay");
    let burst: Vec<f32> = (0..2 * RATE_HZ)
        .map(|n| if (RATE_HZ / 2..RATE_HZ).contains(&n) { 0.2 * draw.gauss() as f32 } else { 0.0 })
        .collect();
    let probe = filter(&burst, |hz| low_pass_gain(hz, 1500.0));
    let decoded = run(&probe, codec)?;
    let correlation = |lag: isize| -> f64 {
        let start = RATE_HZ / 2;
        (start..RATE_HZ).map(|n| f64::from(probe[n]) * f64::from(sample(&decoded, n as isize + lag))).sum()
    };
    let best = DELAY_RANGE
        .map(|lag| (lag, correlation(lag)))
        .fold((0, 0.0), |best, next| if next.1 > best.1 { next } else { best });
    if best.1 <= 0.0 {
        return Err(SynthError::Program {
            program: "ffmpeg",
            reason: format!("{codec:?} gave nothing that resembles its input"),
        });
    }
    Ok(best.0)
}

/// The sample at `index`, 0 outside.
fn sample(signal: &[f32], index: isize) -> f32 {
    usize::try_from(index).ok().and_then(|index| signal.get(index)).copied().unwrap_or(0.0)
}

/// Encodes and decodes, delay and padding included.
fn run(signal: &[f32], codec: Codec) -> Result<Vec<f32>, SynthError> {
    let failed = |reason: String| SynthError::Program { program: "ffmpeg", reason };
    let (encoder_args, container) = encoder_args(codec);
    let mut encoder = ffmpeg()
        .args(["-f", "f32le", "-ar", "16000", "-ac", "1", "-i", "pipe:0"])
        .args(&encoder_args)
        .args(["-threads", "1", "-fflags", "+bitexact", "-f", container, "pipe:1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let mut input = encoder.stdin.take().ok_or_else(|| failed("no pipe to the encoder".to_owned()))?;
    let encoded = encoder.stdout.take().ok_or_else(|| failed("no pipe from the encoder".to_owned()))?;
    let decoder = ffmpeg()
        .args(["-threads", "1", "-f", container, "-i", "pipe:0"])
        .args(["-ar", "16000", "-ac", "1", "-f", "f32le", "pipe:1"])
        .stdin(Stdio::from(encoded))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;

    let bytes: Vec<u8> = signal.iter().flat_map(|x| x.to_le_bytes()).collect();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = decoder.wait_with_output().map_err(|e| failed(e.to_string()))?;
    let status = encoder.wait().map_err(|e| failed(e.to_string()))?;
    let written = writer.join().map_err(|_| failed("the writing thread panicked".to_owned()))?;
    if !status.success() || !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(format!("{codec:?} ({status}): {message}")));
    }
    written.map_err(|e| failed(e.to_string()))?;
    Ok(output.stdout.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// ffmpeg without banner and progress.
fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-v", "error"]);
    command
}

/// The encoder's arguments and container. MP3's sample rate falls with the bit rate as LAME chooses it for mono.
fn encoder_args(codec: Codec) -> (Vec<String>, &'static str) {
    match codec {
        Codec::Mp3 { kbps } => {
            let rate = match kbps {
                64.. => "44100",
                48..64 => "32000",
                32..48 => "22050",
                16..32 => "16000",
                _ => "8000",
            };
            let bits = format!("{kbps}k");
            (words(&["-c:a", "libmp3lame", "-b:a", &bits, "-ar", rate, "-write_xing", "0"]), "mp3")
        }
        Codec::Opus { kbps } => {
            let bits = format!("{kbps}k");
            (words(&["-c:a", "libopus", "-b:a", &bits, "-frame_duration", "20"]), "ogg")
        }
    }
}

/// Owned copies.
fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

/// Whether an ffmpeg with both encoders can be run.
pub(crate) fn ffmpeg_is_there() -> bool {
    let output = ffmpeg().arg("-encoders").output();
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout);
        text.contains("libmp3lame") && text.contains("libopus")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::signal::power;

    #[test]
    fn decoded_signals_are_aligned() {
        if !ffmpeg_is_there() {
            eprintln!("skipped: ffmpeg with libmp3lame and libopus is not installed");
            return;
        }
        let codecs = Codecs::default();
        let mut draw = Draw::new(3, "codec");
        let white: Vec<f32> = (0..2 * RATE_HZ).map(|_| 0.1 * draw.gauss() as f32).collect();
        let signal = filter(&white, |hz| low_pass_gain(hz, 1200.0));
        // One sample of misalignment at 1.2 kHz already leaves an error of -10 dB; measured is below -17 dB.
        for codec in [Codec::Mp3 { kbps: 192 }, Codec::Mp3 { kbps: 24 }, Codec::Opus { kbps: 64 }] {
            let decoded = codecs.round_trip(&signal, codec).unwrap();
            assert_eq!(decoded.len(), signal.len());
            let inner = 2000..signal.len() - 2000;
            let error: Vec<f32> = inner.clone().map(|n| decoded[n] - signal[n]).collect();
            let error_db = 10.0 * (power(&error) / power(&signal[inner])).log10();
            eprintln!("{codec:?}: delay {} samples, error {error_db:.1} dB", codecs.delay(codec).unwrap());
            assert!(error_db < -10.0, "{codec:?}: {error_db}");
        }
    }
}

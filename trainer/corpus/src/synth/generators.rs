//! Generators of the test set that need no recordings: synthesised sounds, and speech by espeak-ng.

use core::f64::consts::TAU;
use std::process::Command;

use super::degrade::{Colour, noise};
use super::draw::Draw;
use super::error::SynthError;
use super::signal::{CLIP_SAMPLES, RATE_HZ, db_to_gain, fade, filter, low_pass_gain, peak, power, scale};

/// A kind of synthesised sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SoundKind {
    ModulatedNoise,
    FilteredBursts,
    Clicks,
    Siren,
    Bells,
    Engine,
    Beeps,
}

/// All kinds of synthesised sound.
pub(crate) const SOUND_KINDS: [SoundKind; 7] = [
    SoundKind::ModulatedNoise,
    SoundKind::FilteredBursts,
    SoundKind::Clicks,
    SoundKind::Siren,
    SoundKind::Bells,
    SoundKind::Engine,
    SoundKind::Beeps,
];

/// Ten seconds of one synthesised sound with peak 0.5, over a background of pink noise 30 dB to 45 dB below it, as
/// recordings have one: against digital silence, ViSQOL rates any added noise as severe.
pub(crate) fn synthetic_sound(kind: SoundKind, draw: &mut Draw) -> Vec<f32> {
    let mut sound = match kind {
        SoundKind::ModulatedNoise => modulated_noise(draw),
        SoundKind::FilteredBursts => filtered_bursts(draw),
        SoundKind::Clicks => clicks(draw),
        SoundKind::Siren => siren(draw),
        SoundKind::Bells => bells(draw),
        SoundKind::Engine => engine(draw),
        SoundKind::Beeps => beeps(draw),
    };
    let floor = power(&sound).sqrt() * db_to_gain(-draw.uniform(30.0, 45.0));
    for (x, background) in sound.iter_mut().zip(noise(CLIP_SAMPLES, Colour::Pink, draw)) {
        *x += floor as f32 * background;
    }
    let gain = 0.5 / peak(&sound).max(1e-9);
    scale(&mut sound, gain);
    sound
}

/// Seconds at sample `n`.
fn time(n: usize) -> f64 {
    n as f64 / RATE_HZ as f64
}

/// Coloured noise in a band, swelling slowly (wind, surf).
fn modulated_noise(draw: &mut Draw) -> Vec<f32> {
    let colour = *draw.pick(&[Colour::White, Colour::Pink, Colour::Brown]);
    let (high, rate, depth) =
        (draw.log_uniform(2000.0, 8000.0), draw.log_uniform(0.15, 4.0), draw.uniform(0.3, 0.95));
    let phase = draw.uniform(0.0, TAU);
    let base = filter(&noise(CLIP_SAMPLES, colour, draw), |hz| low_pass_gain(hz, high));
    base.iter()
        .enumerate()
        .map(|(n, x)| x * (1.0 - depth * (0.5 + 0.5 * (TAU * rate * time(n) + phase).sin())) as f32)
        .collect()
}

/// Bursts of narrow-band noise with random pauses (steps, knocks, hits).
fn filtered_bursts(draw: &mut Draw) -> Vec<f32> {
    let centre = draw.log_uniform(300.0, 4000.0);
    let width = draw.uniform(0.3, 1.2);
    let mut sound = vec![0.0; CLIP_SAMPLES];
    let mut start = (draw.uniform(0.0, 0.5) * RATE_HZ as f64) as usize;
    while start < CLIP_SAMPLES {
        let decay = draw.log_uniform(0.02, 0.3);
        let gain = draw.uniform(0.4, 1.0);
        let len = ((6.0 * decay * RATE_HZ as f64) as usize).min(CLIP_SAMPLES - start);
        for n in 0..len {
            sound[start + n] += (gain * draw.gauss() * (-time(n) / decay).exp()) as f32;
        }
        start += (draw.uniform(0.1, 1.2) * RATE_HZ as f64) as usize;
    }
    let band = |hz: f64| (-((hz.max(1.0) / centre).ln() / width).powi(2)).exp();
    filter(&sound, band)
}

/// Short clicks at random times (rain on a roof, crackling, a Geiger counter).
fn clicks(draw: &mut Draw) -> Vec<f32> {
    let per_second = draw.log_uniform(4.0, 80.0);
    let ring_hz = draw.log_uniform(800.0, 5000.0);
    let mut sound = vec![0f32; CLIP_SAMPLES];
    let mut at = 0.0;
    loop {
        at -= (1.0 - draw.uniform(0.0, 1.0)).ln() / per_second;
        let start = (at * RATE_HZ as f64) as usize;
        if start >= CLIP_SAMPLES {
            return sound;
        }
        let (gain, pitch) = (draw.log_uniform(0.1, 1.0), ring_hz * draw.uniform(0.8, 1.25));
        for n in 0..160.min(CLIP_SAMPLES - start) {
            sound[start + n] += (gain * (-time(n) / 0.002).exp() * (TAU * pitch * time(n)).cos()) as f32;
        }
    }
}

/// A tone with harmonics that sweeps up and down (sirens, chirps).
fn siren(draw: &mut Draw) -> Vec<f32> {
    let (centre, rate, depth) =
        (draw.log_uniform(300.0, 1800.0), draw.log_uniform(0.2, 6.0), draw.uniform(0.1, 0.7));
    let saw = draw.chance(0.4);
    let mut phase = 0.0;
    (0..CLIP_SAMPLES)
        .map(|n| {
            let cycle = (rate * time(n)).fract();
            let sweep = if saw { 2.0 * cycle - 1.0 } else { (TAU * cycle).sin() };
            phase += TAU * centre * (depth * sweep).exp2() / RATE_HZ as f64;
            (phase.sin() + 0.4 * (2.0 * phase).sin() + 0.2 * (3.0 * phase).sin()) as f32
        })
        .collect()
}

/// Struck bells: inharmonic partials that decay (ratios of a church bell).
fn bells(draw: &mut Draw) -> Vec<f32> {
    const PARTIALS: [(f64, f64); 7] =
        [(0.5, 0.6), (1.0, 1.0), (1.183, 0.7), (1.506, 0.5), (2.0, 0.8), (2.514, 0.4), (3.011, 0.3)];
    let base = draw.log_uniform(150.0, 1200.0);
    let mut sound = vec![0f32; CLIP_SAMPLES];
    let mut at = draw.uniform(0.0, 0.4);
    while at < 9.8 {
        let start = (at * RATE_HZ as f64) as usize;
        let pitch = base * (draw.below(8) as f64 / 12.0).exp2();
        let (gain, decay) = (draw.uniform(0.4, 1.0), draw.uniform(0.3, 1.5));
        for n in 0..CLIP_SAMPLES - start {
            let t = time(n);
            let value: f64 = PARTIALS
                .iter()
                .filter(|(ratio, _)| ratio * pitch < 7500.0)
                .map(|(ratio, weight)| weight * (-t * ratio / decay).exp() * (TAU * ratio * pitch * t).sin())
                .sum();
            sound[start + n] += (gain * value) as f32;
        }
        at += draw.uniform(0.3, 2.0);
    }
    sound
}

/// A train of pulses through resonances, with a wandering rate (engines, motors).
fn engine(draw: &mut Draw) -> Vec<f32> {
    let base = draw.log_uniform(18.0, 120.0);
    let (wander_hz, wander) = (draw.uniform(0.1, 0.8), draw.uniform(0.05, 0.5));
    let centres = [draw.log_uniform(80.0, 400.0), draw.log_uniform(500.0, 2500.0)];
    let mut phase: f64 = 0.0;
    let pulses: Vec<f32> = (0..CLIP_SAMPLES)
        .map(|n| {
            let before = phase;
            phase += base * (wander * (TAU * wander_hz * time(n)).sin()).exp2() / RATE_HZ as f64;
            let pulse = if phase.floor() > before.floor() { draw.uniform(0.7, 1.0) } else { 0.0 };
            (pulse + 0.004 * draw.gauss()) as f32
        })
        .collect();
    filter(&pulses, |hz| {
        centres.iter().map(|centre| 1.0 / (1.0 + ((hz - centre) / (0.35 * centre)).powi(2))).sum()
    })
}

/// A repeated pattern of beeps (alarms, telephones).
fn beeps(draw: &mut Draw) -> Vec<f32> {
    let tones: Vec<f64> = (0..2).map(|_| draw.log_uniform(400.0, 3500.0)).collect();
    let (on, off) = (draw.log_uniform(0.06, 0.6), draw.log_uniform(0.05, 0.6));
    let square = draw.chance(0.5);
    let period = on + off;
    let mut sound: Vec<f32> = Vec::with_capacity(CLIP_SAMPLES);
    for n in 0..CLIP_SAMPLES {
        let (index, within) = ((time(n) / period) as usize, time(n) % period);
        let wave = (TAU * tones[index % 2] * time(n)).sin();
        let wave = if square { (4.0 * wave).tanh() } else { wave };
        let envelope = (within / 0.005).min((on - within) / 0.005).clamp(0.0, 1.0);
        sound.push((envelope * wave) as f32);
    }
    sound
}

/// Languages whose numbers are read out, and those that read the English words.
const LANGUAGES: [&str; 12] =
    ["en-us", "en-gb", "en-gb-scotland", "en-029", "de", "fr-fr", "es", "it", "nl", "pl", "pt", "sv"];

/// Voice variants of espeak-ng.
const VARIANTS: [&str; 16] = [
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5", "Annie", "Gene", "steph", "Denis",
];

/// Words for seeded sentences.
const WORDS: [&str; 60] = [
    "the",
    "river",
    "morning",
    "under",
    "seven",
    "quiet",
    "people",
    "garden",
    "never",
    "should",
    "window",
    "after",
    "yellow",
    "market",
    "between",
    "carried",
    "stone",
    "listen",
    "because",
    "winter",
    "across",
    "music",
    "old",
    "station",
    "measure",
    "different",
    "small",
    "evening",
    "travel",
    "before",
    "mountain",
    "children",
    "through",
    "paper",
    "answer",
    "several",
    "bridge",
    "great",
    "water",
    "question",
    "father",
    "simple",
    "letter",
    "behind",
    "country",
    "silver",
    "number",
    "perhaps",
    "house",
    "against",
    "voice",
    "summer",
    "written",
    "following",
    "light",
    "doctor",
    "another",
    "thousand",
    "street",
    "again",
];

/// Ten seconds of one espeak-ng voice: language, variant, pitch, speed and text are drawn.
///
/// Errors: espeak-ng cannot be run or gives no audio.
pub(crate) fn espeak(draw: &mut Draw) -> Result<Vec<f32>, SynthError> {
    let failed = |reason: String| SynthError::Program { program: "espeak-ng", reason };
    let language = *draw.pick(&LANGUAGES);
    let voice = format!("{language}+{}", draw.pick(&VARIANTS));
    let (pitch, speed) = (draw.uniform(25.0, 75.0) as u32, draw.uniform(130.0, 190.0) as u32);
    let text = sentences(language.starts_with("en"), draw);
    let output = Command::new("espeak-ng")
        .args(["-v", &voice, "-p", &pitch.to_string(), "-s", &speed.to_string(), "--stdout", &text])
        .output()
        .map_err(|e| failed(e.to_string()))?;
    let speech = parse_wav(&output.stdout).ok_or_else(|| {
        failed(format!("voice {voice}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    })?;

    let pause = (draw.uniform(0.0, 0.5) * RATE_HZ as f64) as usize;
    let mut clip = vec![0.0; pause];
    while clip.len() < CLIP_SAMPLES {
        clip.extend(&speech);
    }
    clip.truncate(CLIP_SAMPLES);
    fade(&mut clip, RATE_HZ / 50);
    Ok(clip)
}

/// About fifteen seconds of text: words in English, else numbers, which every voice reads in its language.
fn sentences(english: bool, draw: &mut Draw) -> String {
    let mut text = String::new();
    for _ in 0..7 {
        for _ in 0..4 + draw.below(5) {
            if english {
                text.push_str(WORDS[draw.below(WORDS.len())]);
            } else {
                text.push_str(&draw.below(1000).to_string());
            }
            text.push(' ');
        }
        text.pop();
        text.push_str(". ");
    }
    text
}

/// Mono 16-bit samples of espeak-ng's WAV stream (44-byte header, its length fields are not filled in), at 16 kHz.
fn parse_wav(bytes: &[u8]) -> Option<Vec<f32>> {
    let header = bytes.get(..44)?;
    let rate_hz = u32::from_le_bytes([header[24], header[25], header[26], header[27]]);
    let samples: Vec<f32> =
        bytes[44..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect();
    if samples.len() < RATE_HZ / 2 {
        return None;
    }
    super::sources::resample(&samples, rate_hz).ok()
}

/// Whether espeak-ng can be run.
pub(crate) fn espeak_is_there() -> bool {
    Command::new("espeak-ng").arg("--version").output().is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::super::signal::hop_powers;
    use super::*;

    #[test]
    fn sounds_are_finite_audible_and_follow_their_seed() {
        for kind in SOUND_KINDS {
            let sound = synthetic_sound(kind, &mut Draw::new(1, "s"));
            assert_eq!(sound.len(), CLIP_SAMPLES, "{kind:?}");
            assert!(sound.iter().all(|x| x.is_finite()) && (peak(&sound) - 0.5).abs() < 1e-3, "{kind:?}");
            let audible = hop_powers(&sound).into_iter().filter(|p| *p > 1e-7).count();
            assert!(audible >= 20, "{kind:?}: {audible} hops of 100");
            assert_eq!(sound, synthetic_sound(kind, &mut Draw::new(1, "s")), "{kind:?}");
            assert_ne!(sound, synthetic_sound(kind, &mut Draw::new(2, "s")), "{kind:?}");
        }
    }

    #[test]
    fn espeak_fills_ten_seconds() {
        if !espeak_is_there() {
            eprintln!("skipped: espeak-ng is not installed");
            return;
        }
        let clip = espeak(&mut Draw::new(1, "e")).unwrap();
        assert_eq!(clip.len(), CLIP_SAMPLES);
        assert!(hop_powers(&clip).into_iter().filter(|p| *p > 1e-5).count() > 60);
    }
}

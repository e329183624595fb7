//! What is done to a clean mix: each degradation at a severity from 0 (hardly audible) to 1 (severe).

use core::fmt;

use serde::{Deserialize, Serialize};

use super::codec::{Codec, Codecs};
use super::draw::Draw;
use super::error::SynthError;
use super::signal::{
    RATE_HZ, butterworth_gain, convolve, db_to_gain, filter, high_pass_gain, low_pass_gain, peak, power,
};

/// A kind of degradation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A synthetic room: decay time 0.15 s to 1.8 s, direct sound 12 dB above to 5 dB below the reverberation.
    Reverb,
    /// White, pink or brown noise, signal-to-noise ratio 45 dB down to -5 dB.
    Noise,
    /// Low-pass, cut-off 7.9 kHz down to 0.7 kHz: steep, or 6 dB to 24 dB per octave.
    LowPass,
    /// High-pass of 24 dB per octave, cut-off 60 Hz up to 2.5 kHz.
    HighPass,
    /// High-pass of 24 dB per octave and steep low-pass: from 100 Hz to 6 kHz down to 450 Hz to 2.6 kHz; at 0.8 about a
    /// telephone's band.
    BandPass,
    /// Hard clipping 3 dB to 30 dB below the peak.
    Clipping,
    /// Fewer bits: 12 down to 3 for full scale at the peak.
    Bits,
    /// MP3 at a constant rate, 192 down to 8 kbit/s.
    Mp3,
    /// Opus, 64 down to 6 kbit/s.
    Opus,
    /// Lost packets of 20 ms, 1 % to 30 %, singly or in bursts, replaced by silence or by the packet before.
    PacketLoss,
    /// MP3 at a constant rate, 192 down to 32 kbit/s, where the band is kept and holes in it are all there is to hear.
    GentleMp3,
    /// [`Kind::Noise`] at a signal-to-noise ratio of 45 dB down to 20 dB.
    GentleNoise,
    /// MP3 at a constant rate, 32 down to 16 kbit/s: the narrow band and the holes of the lowest rates.
    LowMp3,
}

/// MP3 rates in kbit/s, from mild to severe.
const MP3_KBPS: [u32; 9] = [192, 128, 96, 64, 48, 32, 24, 16, 8];

/// Those of [`Kind::GentleMp3`].
const GENTLE_MP3_KBPS: [u32; 6] = [192, 128, 64, 48, 40, 32];

/// Those of [`Kind::LowMp3`].
const LOW_MP3_KBPS: [u32; 3] = [32, 24, 16];

/// Opus rates in kbit/s, from mild to severe.
const OPUS_KBPS: [u32; 8] = [64, 48, 32, 24, 16, 12, 8, 6];

/// Samples per packet: 20 ms.
const PACKET_SAMPLES: usize = RATE_HZ / 50;

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Reverb,
        Self::Noise,
        Self::LowPass,
        Self::HighPass,
        Self::BandPass,
        Self::Clipping,
        Self::Bits,
        Self::Mp3,
        Self::Opus,
        Self::PacketLoss,
        Self::GentleMp3,
        Self::GentleNoise,
        Self::LowMp3,
    ];

    /// How often a kind is drawn, relative to the others, unless configured.
    pub(crate) const fn default_weight(self) -> f64 {
        match self {
            Self::Noise | Self::Mp3 => 2.2,
            Self::LowPass => 1.8,
            Self::Reverb => 1.7,
            Self::BandPass => 1.2,
            Self::Clipping | Self::Opus | Self::PacketLoss => 1.0,
            Self::Bits => 0.7,
            Self::HighPass => 0.4,
            Self::GentleMp3 | Self::GentleNoise | Self::LowMp3 => 0.0,
        }
    }

    /// Whether the kind runs ffmpeg.
    pub(crate) const fn needs_ffmpeg(self) -> bool {
        matches!(self, Self::Mp3 | Self::GentleMp3 | Self::LowMp3 | Self::Opus)
    }
}

/// A noise's spectrum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Flat.
    White,
    /// -3 dB per octave.
    Pink,
    /// -6 dB per octave.
    Brown,
}

/// A degradation with all its settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Reverb { rt60_s: f64, direct_db: f64 },
    Noise { colour: Colour, snr_db: f64 },
    LowPass { hz: f64, order: Option<u32> },
    HighPass { hz: f64 },
    BandPass { low_hz: f64, high_hz: f64 },
    Clipping { drive_db: f64 },
    Bits { bits: f64 },
    Mp3 { kbps: u32 },
    Opus { kbps: u32 },
    PacketLoss { share: f64, burst: f64, repeat: bool },
}

impl Step {
    /// A degradation of `kind` at `severity` in 0..=1. `draw` decides what severity leaves open, always with the same
    /// number of draws, so that equal generators give the same flavour at every severity.
    pub(crate) fn new(kind: Kind, severity: f64, draw: &mut Draw) -> Self {
        let flavour = draw.below(100);
        let between = |mild: f64, severe: f64| mild + (severe - mild) * severity;
        let log_between = |mild: f64, severe: f64| mild * (severe / mild).powf(severity);
        let listed = |rates: &[u32]| rates[(severity * (rates.len() - 1) as f64).round() as usize];
        match kind {
            Kind::Reverb => Self::Reverb { rt60_s: log_between(0.15, 1.8), direct_db: between(12.0, -5.0) },
            Kind::Noise | Kind::GentleNoise => {
                let colour = match flavour {
                    0..40 => Colour::White,
                    40..80 => Colour::Pink,
                    _ => Colour::Brown,
                };
                let worst_db = if kind == Kind::Noise { -5.0 } else { 20.0 };
                Self::Noise { colour, snr_db: between(45.0, worst_db) }
            }
            Kind::LowPass => {
                let order = [None, None, None, Some(1), Some(2), Some(4)][flavour % 6];
                Self::LowPass { hz: log_between(7900.0, 700.0), order }
            }
            Kind::HighPass => Self::HighPass { hz: log_between(60.0, 2500.0) },
            Kind::BandPass => {
                Self::BandPass { low_hz: log_between(100.0, 450.0), high_hz: log_between(6000.0, 2600.0) }
            }
            Kind::Clipping => Self::Clipping { drive_db: between(3.0, 30.0) },
            Kind::Bits => Self::Bits { bits: between(12.0, 3.0) },
            Kind::Mp3 => Self::Mp3 { kbps: listed(&MP3_KBPS) },
            Kind::GentleMp3 => Self::Mp3 { kbps: listed(&GENTLE_MP3_KBPS) },
            Kind::LowMp3 => Self::Mp3 { kbps: listed(&LOW_MP3_KBPS) },
            Kind::Opus => Self::Opus { kbps: listed(&OPUS_KBPS) },
            Kind::PacketLoss => Self::PacketLoss {
                share: log_between(0.01, 0.3),
                burst: [1.0, 1.0, 2.0, 4.0][flavour % 4],
                repeat: flavour >= 50,
            },
        }
    }

    /// The signal after this degradation, of the same length and without delay. `draw` makes noises, rooms and losses.
    ///
    /// Errors: ffmpeg fails.
    pub(crate) fn apply(
        &self,
        signal: &[f32],
        draw: &mut Draw,
        codecs: &Codecs,
    ) -> Result<Vec<f32>, SynthError> {
        Ok(match *self {
            Self::Reverb { rt60_s, direct_db } => convolve(signal, &room(rt60_s, direct_db, draw)),
            Self::Noise { colour, snr_db } => with_noise(signal, colour, snr_db, draw),
            Self::LowPass { hz, order: None } => filter(signal, |f| low_pass_gain(f, hz)),
            Self::LowPass { hz, order: Some(order) } => filter(signal, |f| butterworth_gain(f / hz, order)),
            Self::HighPass { hz } => filter(signal, |f| high_pass_gain(f, hz)),
            Self::BandPass { low_hz, high_hz } => {
                filter(signal, |f| low_pass_gain(f, high_hz) * high_pass_gain(f, low_hz))
            }
            Self::Clipping { drive_db } => {
                let limit = (peak(signal) * db_to_gain(-drive_db)) as f32;
                signal.iter().map(|x| x.clamp(-limit, limit)).collect()
            }
            Self::Bits { bits } => quantise(signal, bits),
            Self::Mp3 { kbps } => codecs.round_trip(signal, Codec::Mp3 { kbps })?,
            Self::Opus { kbps } => codecs.round_trip(signal, Codec::Opus { kbps })?,
            Self::PacketLoss { share, burst, repeat } => lose_packets(signal, share, burst, repeat, draw),
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reverb { rt60_s, direct_db } => {
                write!(f, "reverb(rt60={rt60_s:.2}s,direct={direct_db:.1}dB)")
            }
            Self::Noise { colour, snr_db } => {
                let colour = match colour {
                    Colour::White => "white",
                    Colour::Pink => "pink",
                    Colour::Brown => "brown",
                };
                write!(f, "noise({colour},snr={snr_db:.1}dB)")
            }
            Self::LowPass { hz, order: None } => write!(f, "lowpass({hz:.0}Hz)"),
            Self::LowPass { hz, order: Some(order) } => {
                write!(f, "lowpass({hz:.0}Hz,{}dB/octave)", 6 * order)
            }
            Self::HighPass { hz } => write!(f, "highpass({hz:.0}Hz)"),
            Self::BandPass { low_hz, high_hz } => write!(f, "bandpass({low_hz:.0}-{high_hz:.0}Hz)"),
            Self::Clipping { drive_db } => write!(f, "clipping({drive_db:.1}dB)"),
            Self::Bits { bits } => write!(f, "bits({bits:.1})"),
            Self::Mp3 { kbps } => write!(f, "mp3({kbps}kbit/s)"),
            Self::Opus { kbps } => write!(f, "opus({kbps}kbit/s)"),
            Self::PacketLoss { share, burst, repeat } => {
                let filled = if *repeat { "repeat" } else { "silence" };
                write!(f, "packetloss({:.1}%,burst={burst},{filled})", 100.0 * share)
            }
        }
    }
}

/// Noise of unit power and of the signal's length.
pub(crate) fn noise(len: usize, colour: Colour, draw: &mut Draw) -> Vec<f32> {
    let white: Vec<f32> = (0..len).map(|_| draw.gauss() as f32).collect();
    let slope = match colour {
        Colour::White => 0.0,
        Colour::Pink => -0.5,
        Colour::Brown => -1.0,
    };
    let mut noise = if slope == 0.0 { white } else { filter(&white, |hz| hz.max(40.0).powf(slope)) };
    let gain = 1.0 / power(&noise).sqrt();
    super::signal::scale(&mut noise, gain);
    noise
}

/// The signal with noise at a ratio of mean powers.
fn with_noise(signal: &[f32], colour: Colour, snr_db: f64, draw: &mut Draw) -> Vec<f32> {
    let gain = (power(signal).sqrt() * db_to_gain(-snr_db)) as f32;
    let noise = noise(signal.len(), colour, draw);
    signal.iter().zip(noise).map(|(x, n)| x + gain * n).collect()
}

/// A room's impulse response: the direct sound, then after 3 ms to 12 ms noise that decays by 60 dB in `rt60_s`.
fn room(rt60_s: f64, direct_db: f64, draw: &mut Draw) -> Vec<f32> {
    let start = (draw.uniform(0.003, 0.012) * RATE_HZ as f64) as usize;
    let decay = 1000f64.ln() / (rt60_s * RATE_HZ as f64);
    let mut tail: Vec<f32> = (0..(rt60_s * RATE_HZ as f64) as usize)
        .map(|n| (draw.gauss() * (-decay * n as f64).exp()) as f32)
        .collect();
    let energy = power(&tail) * tail.len() as f64;
    super::signal::scale(&mut tail, db_to_gain(-direct_db) / energy.sqrt());
    let mut response = vec![0.0; start];
    response[0] = 1.0;
    response.extend(tail);
    response
}

/// Rounds to steps of a converter of `bits` whose full scale is the signal's peak.
fn quantise(signal: &[f32], bits: f64) -> Vec<f32> {
    let step = (peak(signal) / (bits - 1.0).exp2()).max(f64::from(f32::MIN_POSITIVE)) as f32;
    signal.iter().map(|x| (x / step).round() * step).collect()
}

/// Replaces packets, chosen by a two-state chain with the given share and mean burst length.
fn lose_packets(signal: &[f32], share: f64, burst: f64, repeat: bool, draw: &mut Draw) -> Vec<f32> {
    let mut out = signal.to_vec();
    let (end, begin) = (1.0 / burst, share / ((1.0 - share) * burst));
    let mut lost = false;
    for start in (0..out.len()).step_by(PACKET_SAMPLES) {
        lost = if lost { !draw.chance(end) } else { draw.chance(begin) };
        let stop = (start + PACKET_SAMPLES).min(out.len());
        if lost && repeat && start >= PACKET_SAMPLES {
            out.copy_within(start - PACKET_SAMPLES..stop - PACKET_SAMPLES, start);
        } else if lost {
            out[start..stop].fill(0.0);
        }
    }
    out
}

/// `clean`, or the steps' settings joined by `+`.
pub(crate) fn describe(chain: &[Step]) -> String {
    match chain {
        [] => "clean".to_owned(),
        _ => chain.iter().map(Step::to_string).collect::<Vec<_>>().join("+"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::generators::{SOUND_KINDS, synthetic_sound};
    use super::super::visqol::Visqol;
    use super::*;

    /// Ten seconds of synthesised sound with energy in all bands.
    fn clip() -> Vec<f32> {
        let mut draw = Draw::new(5, "clip");
        let a = synthetic_sound(SOUND_KINDS[0], &mut draw);
        let b = synthetic_sound(SOUND_KINDS[3], &mut draw);
        let mut mix: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        let gain = 0.5 / peak(&mix);
        super::super::signal::scale(&mut mix, gain);
        mix
    }

    #[test]
    fn every_degradation_lowers_visqol_and_severe_is_below_mild() {
        let (clip, visqol, codecs) = (clip(), Visqol::new(4.0, 2), Codecs::default());
        let clean = visqol.mos(&clip, &clip).unwrap();
        assert!(clean > 4.9, "{clean}");
        for kind in Kind::ALL {
            if kind.needs_ffmpeg() && !super::super::codec::ffmpeg_is_there() {
                eprintln!("skipped {kind:?}: ffmpeg is not installed");
                continue;
            }
            let mos = [0.3, 1.0].map(|severity| {
                let step = Step::new(kind, severity, &mut Draw::new(1, "flavour"));
                let out = step.apply(&clip, &mut Draw::new(1, "apply"), &codecs).unwrap();
                assert_eq!(out.len(), clip.len());
                visqol.mos(&clip, &out).unwrap()
            });
            eprintln!("{kind:?}: mild {:.2}, severe {:.2}", mos[0], mos[1]);
            assert!(mos[1] < mos[0] - 0.02 && mos[1] < clean - 0.2, "{kind:?}: {mos:?} {clean}");
        }
    }

    #[test]
    fn noise_has_the_asked_ratio() {
        let signal = clip();
        for colour in [Colour::White, Colour::Pink, Colour::Brown] {
            let noisy = with_noise(&signal, colour, 10.0, &mut Draw::new(1, "n"));
            let noise: Vec<f32> = noisy.iter().zip(&signal).map(|(a, b)| a - b).collect();
            let snr_db = 10.0 * (power(&signal) / power(&noise)).log10();
            assert!((snr_db - 10.0).abs() < 0.01, "{colour:?}: {snr_db}");
        }
    }

    #[test]
    fn packet_loss_has_the_asked_share() {
        let signal = vec![1.0; 2000 * PACKET_SAMPLES];
        for burst in [1.0, 4.0] {
            let out = lose_packets(&signal, 0.2, burst, false, &mut Draw::new(1, "p"));
            let share = 1.0 - power(&out);
            assert!((share - 0.2).abs() < 0.05, "burst {burst}: {share}");
        }
    }

    #[test]
    fn room_has_the_asked_direct_to_reverberant_ratio() {
        let response = room(0.5, 6.0, &mut Draw::new(1, "r"));
        let tail: f64 = response[1..].iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((-10.0 * tail.log10() - 6.0).abs() < 1e-3);
    }
}

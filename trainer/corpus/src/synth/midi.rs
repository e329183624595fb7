//! Seeded pieces of music for a General MIDI soundfont; each instrument is rendered alone.

use core::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use rustysynth::{SoundFont, Synthesizer, SynthesizerSettings};

use super::draw::Draw;
use super::error::SynthError;
use super::signal::{CLIP_SAMPLES, fade};
use super::sources::resample;

/// Rate of rendering in Hz: above 16 kHz, so that transposed samples do not alias into the band.
const RENDER_HZ: i32 = 32_000;

/// Bars that a piece is written for; more than ten seconds at every tempo.
const NUM_BARS: usize = 8;

/// What an instrument plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Chords,
    Melody,
    Bass,
    Drums,
    Arpeggio,
    Counter,
    Pad,
}

/// A note of one instrument; times in beats.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Note {
    start: f64,
    length: f64,
    key: i32,
    velocity: i32,
}

/// One instrument of a piece.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    role: Role,
    program: i32,
    beats_per_s: f64,
    notes: Vec<Note>,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by program {}", self.role, self.program)
    }
}

/// What all parts of a piece share.
struct Harmony {
    tonic: i32,
    scale: [i32; 7],
    /// Scale degree of each bar's chord.
    degrees: Vec<usize>,
}

impl Harmony {
    /// Key, mode and a chord per bar.
    fn new(draw: &mut Draw) -> Self {
        const SCALES: [[i32; 7]; 4] =
            [[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10], [0, 2, 3, 5, 7, 9, 10], [0, 2, 4, 5, 7, 9, 10]];
        const PROGRESSIONS: [[usize; 4]; 8] = [
            [0, 4, 5, 3],
            [0, 5, 3, 4],
            [0, 3, 4, 0],
            [5, 3, 0, 4],
            [0, 2, 3, 4],
            [1, 4, 0, 5],
            [0, 6, 3, 0],
            [0, 3, 1, 4],
        ];
        let progression = *draw.pick(&PROGRESSIONS);
        Self {
            tonic: draw.below(12) as i32,
            scale: *draw.pick(&SCALES),
            degrees: (0..NUM_BARS).map(|bar| progression[bar % 4]).collect(),
        }
    }

    /// The MIDI key of a scale degree (any integer) around `octave`.
    fn key(&self, degree: i32, octave: i32) -> i32 {
        let key =
            12 * (octave + 1 + degree.div_euclid(7)) + self.tonic + self.scale[degree.rem_euclid(7) as usize];
        key.clamp(24, 103)
    }

    /// The degree of a bar's root.
    fn root(&self, bar: usize) -> i32 {
        self.degrees[bar % NUM_BARS] as i32
    }
}

impl Role {
    /// In the order in which a growing ensemble takes them, before shuffling.
    const ALL: [Self; 7] =
        [Self::Melody, Self::Chords, Self::Bass, Self::Drums, Self::Arpeggio, Self::Pad, Self::Counter];

    /// General MIDI programs (from 0) that suit the role; drums name kits.
    fn programs(self) -> &'static [i32] {
        match self {
            Self::Chords => &[0, 1, 4, 5, 6, 7, 11, 16, 19, 21, 24, 25, 27, 28],
            Self::Melody => &[0, 11, 12, 22, 40, 42, 56, 57, 60, 64, 65, 66, 68, 71, 73, 74, 79, 80, 81],
            Self::Bass => &[32, 33, 34, 35, 36, 38, 39, 43, 58],
            Self::Drums => &[0, 8, 16, 24, 25, 32, 40],
            Self::Arpeggio => &[0, 6, 8, 9, 13, 24, 25, 45, 46, 88, 104, 108],
            Self::Counter => &[41, 42, 60, 64, 68, 69, 70, 71, 72, 75],
            Self::Pad => &[19, 48, 49, 50, 52, 89, 91, 92, 94, 95],
        }
    }

    /// The role's notes over all bars.
    fn notes(self, harmony: &Harmony, draw: &mut Draw) -> Vec<Note> {
        match self {
            Self::Chords => chords(harmony, draw),
            Self::Melody => line(harmony, 5, &[0.5, 0.5, 1.0, 1.5, 2.0], 0.12, draw),
            Self::Counter => line(harmony, 4, &[1.0, 2.0, 3.0], 0.2, draw),
            Self::Bass => bass(harmony, draw),
            Self::Drums => drums(draw),
            Self::Arpeggio => arpeggio(harmony, draw),
            Self::Pad => pad(harmony),
        }
    }
}

/// The parts of a piece for `count` different roles (repeated beyond seven), under one tempo and harmony.
pub(crate) fn compose(count: usize, draw: &mut Draw) -> Vec<Part> {
    let beats_per_s = draw.uniform(66.0, 168.0) / 60.0;
    let harmony = Harmony::new(draw);
    let mut roles = Role::ALL;
    draw.shuffle(&mut roles);
    (0..count)
        .map(|index| {
            let role = roles[index % roles.len()];
            let program = *draw.pick(role.programs());
            Part { role, program, beats_per_s, notes: role.notes(&harmony, draw) }
        })
        .collect()
}

/// Block or broken chords in a rhythm that stays the same.
fn chords(harmony: &Harmony, draw: &mut Draw) -> Vec<Note> {
    const RHYTHMS: [&[f64]; 5] =
        [&[0.0], &[0.0, 2.0], &[0.0, 1.0, 2.0, 3.0], &[0.0, 1.5, 3.0], &[0.5, 1.5, 2.5, 3.5]];
    let rhythm = *draw.pick(&RHYTHMS);
    let spread = draw.uniform(0.0, 0.06);
    let mut notes = Vec::new();
    for bar in 0..NUM_BARS {
        for (hit, beat) in rhythm.iter().enumerate() {
            let end = rhythm.get(hit + 1).copied().unwrap_or(4.0);
            for (voice, degree) in [0, 2, 4].into_iter().enumerate() {
                let start = 4.0 * bar as f64 + beat + spread * voice as f64;
                let velocity = 70 + draw.below(30) as i32;
                notes.push(Note {
                    start,
                    length: 0.9 * (end - beat),
                    key: harmony.key(harmony.root(bar) + degree, 4),
                    velocity,
                });
            }
        }
    }
    notes
}

/// A line that walks along the scale and lands on chord notes.
fn line(harmony: &Harmony, octave: i32, lengths: &[f64], rest: f64, draw: &mut Draw) -> Vec<Note> {
    let (mut notes, mut at, mut degree) = (Vec::new(), 0.0, draw.below(5) as i32);
    while at < 4.0 * NUM_BARS as f64 {
        let length = *draw.pick(lengths);
        degree = (degree + draw.below(5) as i32 - 2).clamp(-3, 9);
        if at % 1.0 == 0.0 && draw.chance(0.5) {
            degree = harmony.root((at / 4.0) as usize) % 7 + *draw.pick(&[0, 2, 4]);
        }
        if !draw.chance(rest) {
            let velocity = 75 + draw.below(40) as i32;
            notes.push(Note { start: at, length: 0.92 * length, key: harmony.key(degree, octave), velocity });
        }
        at += length;
    }
    notes
}

/// Roots and fifths.
fn bass(harmony: &Harmony, draw: &mut Draw) -> Vec<Note> {
    let step = *draw.pick(&[0.5, 1.0, 1.0, 2.0]);
    let mut notes = Vec::new();
    for bar in 0..NUM_BARS {
        for hit in 0..(4.0 / step) as usize {
            let degree = harmony.root(bar) + if hit % 2 == 1 && draw.chance(0.4) { 4 } else { 0 };
            let velocity = 85 + draw.below(30) as i32;
            let start = 4.0 * bar as f64 + step * hit as f64;
            notes.push(Note { start, length: 0.85 * step, key: harmony.key(degree, 2), velocity });
        }
    }
    notes
}

/// A pattern of kick, snare and hi-hat in eighths or sixteenths.
fn drums(draw: &mut Draw) -> Vec<Note> {
    let hats_per_beat = *draw.pick(&[1, 2, 2, 4]);
    let hat = *draw.pick(&[42, 42, 46, 51]);
    let extra_kick = draw.uniform(0.0, 4.0).floor() + 0.5;
    let mut notes = Vec::new();
    for bar in 0..NUM_BARS {
        let mut hit = |beat: f64, key: i32, velocity: i32| {
            notes.push(Note { start: 4.0 * bar as f64 + beat, length: 0.2, key, velocity });
        };
        for beat in [0.0, 2.0, extra_kick] {
            hit(beat, 36, 105);
        }
        for beat in [1.0, 3.0] {
            hit(beat, 38, 95 + draw.below(20) as i32);
        }
        for index in 0..4 * hats_per_beat {
            hit(index as f64 / hats_per_beat as f64, hat, 60 + draw.below(30) as i32);
        }
    }
    notes
}

/// Chord notes one after another.
fn arpeggio(harmony: &Harmony, draw: &mut Draw) -> Vec<Note> {
    let step = *draw.pick(&[0.25, 0.5, 0.5, 1.0 / 3.0]);
    let pattern: Vec<i32> = (0..4).map(|_| *draw.pick(&[0, 2, 4, 7, 9])).collect();
    (0..(4.0 * NUM_BARS as f64 / step) as usize)
        .map(|index| {
            let start = step * index as f64;
            let degree = harmony.root((start / 4.0) as usize) + pattern[index % 4];
            Note { start, length: step, key: harmony.key(degree, 4), velocity: 70 + draw.below(30) as i32 }
        })
        .collect()
}

/// Held chords.
fn pad(harmony: &Harmony) -> Vec<Note> {
    let voices = [0, 2, 4, 7];
    (0..NUM_BARS)
        .flat_map(|bar| {
            voices.map(|degree| Note {
                start: 4.0 * bar as f64,
                length: 4.0,
                key: harmony.key(harmony.root(bar) + degree, 4),
                velocity: 80,
            })
        })
        .collect()
}

/// A soundfont in memory, shared by all threads.
#[derive(Clone)]
pub(crate) struct Instruments(Arc<SoundFont>);

impl Instruments {
    /// Loads a SoundFont 2 file.
    ///
    /// Errors: the file is missing or not a soundfont.
    pub(crate) fn load(path: &Path) -> Result<Self, SynthError> {
        let file = File::open(path).map_err(|e| {
            SynthError::Missing(format!(
                "cannot open the soundfont {} ({e}): install it (Debian: fluid-soundfont-gm for FluidR3_GM.sf2, \
                 timgm6mb-soundfont for TimGM6mb.sf2), name another in train_soundfont or test_soundfont, or leave \
                 the key empty to do without generated music",
                path.display()
            ))
        })?;
        let font = SoundFont::new(&mut BufReader::new(file))
            .map_err(|e| SynthError::Audio { path: path.to_path_buf(), reason: e.to_string() })?;
        Ok(Self(Arc::new(font)))
    }

    /// Ten seconds of one part, mono at 16 kHz, without the synthesiser's reverb and chorus.
    ///
    /// Errors: the synthesiser refuses its settings.
    pub(crate) fn render(&self, part: &Part) -> Result<Vec<f32>, SynthError> {
        let failed = |reason: String| SynthError::Program { program: "rustysynth", reason };
        let mut settings = SynthesizerSettings::new(RENDER_HZ);
        settings.enable_reverb_and_chorus = false;
        let mut synthesizer = Synthesizer::new(&self.0, &settings).map_err(|e| failed(e.to_string()))?;
        let channel = if part.role == Role::Drums { 9 } else { 0 };
        synthesizer.process_midi_message(channel, 0xC0, part.program, 0);

        let samples = CLIP_SAMPLES / super::signal::RATE_HZ * RENDER_HZ as usize;
        let (mut left, mut right) = (vec![0f32; samples], vec![0f32; samples]);
        let mut done = 0;
        for (at, key, velocity) in events(part) {
            let until = at.clamp(done, samples);
            synthesizer.render(&mut left[done..until], &mut right[done..until]);
            done = until;
            if at >= samples {
                break;
            }
            match velocity {
                Some(velocity) => synthesizer.note_on(channel, key, velocity),
                None => synthesizer.note_off(channel, key),
            }
        }
        synthesizer.render(&mut left[done..], &mut right[done..]);
        let mono: Vec<f32> = left.iter().zip(&right).map(|(l, r)| 0.5 * (l + r)).collect();
        let mut clip = resample(&mono, RENDER_HZ as u32).map_err(failed)?;
        clip.resize(CLIP_SAMPLES, 0.0);
        fade(&mut clip, 160);
        Ok(clip)
    }
}

/// A part's events in the order of time: sample, key, and velocity for note-on, nothing for note-off.
fn events(part: &Part) -> Vec<(usize, i32, Option<i32>)> {
    let sample = |beats: f64| (beats / part.beats_per_s * f64::from(RENDER_HZ)) as usize;
    let mut events: Vec<(usize, i32, Option<i32>)> = part
        .notes
        .iter()
        .flat_map(|note| {
            [
                (sample(note.start), note.key, Some(note.velocity)),
                (sample(note.start + note.length), note.key, None),
            ]
        })
        .collect();
    // A note that ends when its key is struck again ends first.
    events.sort_by_key(|&(at, key, velocity)| (at, velocity.is_some(), key));
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_their_seed_and_outlast_ten_seconds() {
        for seed in 0..50 {
            let parts = compose(7, &mut Draw::new(seed, "m"));
            assert_eq!(parts, compose(7, &mut Draw::new(seed, "m")));
            for part in &parts {
                assert!(4.0 * NUM_BARS as f64 / part.beats_per_s > 10.0);
                assert!(part.notes.iter().all(|n| (24..=103).contains(&n.key) && n.length > 0.0));
                assert!(part.notes.iter().any(|n| n.start / part.beats_per_s < 5.0), "{:?}", part.role);
            }
        }
    }

    #[test]
    fn parts_sound() {
        let Some(path) = ["/usr/share/sounds/sf2/TimGM6mb.sf2", "/usr/share/sounds/sf2/FluidR3_GM.sf2"]
            .into_iter()
            .map(Path::new)
            .find(|path| path.exists())
        else {
            eprintln!("skipped: no General MIDI soundfont in /usr/share/sounds/sf2");
            return;
        };
        let instruments = Instruments::load(path).unwrap();
        for part in compose(7, &mut Draw::new(1, "m")) {
            let clip = instruments.render(&part).unwrap();
            assert_eq!(clip.len(), CLIP_SAMPLES);
            let audible = super::super::signal::hop_powers(&clip).into_iter().filter(|p| *p > 1e-8).count();
            assert!(audible > 15, "{:?} {}: {audible}", part.role, part.program);
        }
    }
}

//! A corpus in memory: features and labels of each clip.
//!
//! Features come from the engine's own front end, so that training and use cannot differ.

use std::path::Path;

use aesa::fbank::{NUM_MEL_BINS, normalised_fbank};
use aesa::score::{FRAMES_PER_STEP, NUM_AXES};
use aesa_corpus::labels::Domain;
use aesa_corpus::manifest;
use aesa_corpus::table::RatedClip;
use aesa_media::{AudioFile, MonoReader};
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use tch::{Kind, Tensor};

use crate::progress;

/// One labelled clip.
#[derive(Debug)]
pub struct Clip {
    /// Its id in the corpus.
    pub id: String,
    /// What it holds, where that is known.
    pub domain: Option<Domain>,
    /// The system that made it, where there is one.
    pub system: Option<String>,
    /// The clips made from one clean mix have the same number.
    pub family: Option<u64>,
    /// Labels, 0 to 10, in the order of the axes.
    pub targets: [f64; NUM_AXES],
    /// Normalised fbank, whole steps only: `[steps * 16, 128]`.
    pub features: Tensor,
}

impl Clip {
    /// Whether both were made from one clean mix.
    pub fn is_kin(&self, other: &Self) -> bool {
        self.family.is_some() && (self.family, self.domain) == (other.family, other.domain)
    }

    /// The same clip, for another thread; its features are shared, not copied.
    pub fn share(&self) -> Self {
        let Self { id, domain, system, family, targets, features } = self;
        Self {
            id: id.clone(),
            domain: *domain,
            system: system.clone(),
            family: *family,
            targets: *targets,
            features: features.shallow_clone(),
        }
    }

    /// Whole steps of 160 ms.
    pub fn num_steps(&self) -> usize {
        num_steps(&self.features)
    }
}

/// Whole steps of 160 ms in features `[F, 128]`.
pub fn num_steps(features: &Tensor) -> usize {
    features.size()[0] as usize / FRAMES_PER_STEP
}

/// Reads the clips of `train.csv`, `validation.csv` or `test.csv` (`split` is the name without `.csv`).
///
/// `kind` is how features are kept: 3 MB per minute in f32, half of it in half precision, which moves a value
/// (about 1 in size) by at most 0.001.
///
/// # Errors
/// Where the table or a clip cannot be read, or a clip is shorter than one step.
pub fn load(corpus: &Path, split: &str, kind: Kind) -> Result<Vec<Clip>> {
    load_first(corpus, split, kind, usize::MAX)
}

/// As [`load`], but at most the first `most` clips of the table.
///
/// # Errors
/// Those of [`load`].
pub fn load_first(corpus: &Path, split: &str, kind: Kind, most: usize) -> Result<Vec<Clip>> {
    let mut rows = manifest::read_clips(corpus.join(format!("{split}.csv")))?;
    rows.truncate(most);
    let bar = progress::bar(rows.len() as u64, &format!("{split}: features"));
    let clips = rows.into_par_iter().map(|row| {
        let file = corpus.join(&row.path);
        bar.inc(1);
        read_clip(row.into(), &file, kind).with_context(|| format!("cannot read {}", file.display()))
    });
    let clips = clips.collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();
    if clips.is_empty() {
        bail!("{split}.csv of {} names no clips", corpus.display());
    }
    Ok(clips)
}

/// Reads the features of a clip of a table; `file` is where its audio lies.
///
/// # Errors
/// As [`read_features`]; the message does not name the file.
pub fn read_clip(clip: RatedClip, file: &Path, kind: Kind) -> Result<Clip> {
    let features = read_segment(file, clip.start_s, clip.end_s, kind)?;
    let RatedClip { sample_id: id, domain, system, family, scores: targets, .. } = clip;
    Ok(Clip { id, domain, system, family, targets, features })
}

/// Reads an unrated file as clips of `steps` steps and a last one of at least a second, if there is more than one.
///
/// Memory holds the features of all and the samples of one.
///
/// # Errors
/// As [`read_features`]; the message does not name the file.
pub fn read_pieces(clip: &RatedClip, file: &Path, kind: Kind, steps: usize) -> Result<Vec<Clip>> {
    let mut reader = MonoReader::new(AudioFile::open(file)?)?;
    let (mut pieces, mut waveform) = (Vec::new(), Vec::new());
    let size = steps * SAMPLES_PER_STEP;
    loop {
        let is_end = match reader.next_chunk()? {
            Some(chunk) => {
                waveform.extend_from_slice(chunk);
                false
            }
            None => true,
        };
        // The last step's frames reach beyond it.
        while waveform.len() >= size + FRAME_OVERHANG {
            pieces.push(features_of(&waveform[..size + FRAME_OVERHANG], kind)?);
            waveform.drain(..size);
        }
        if is_end {
            break;
        }
    }
    if pieces.is_empty() || waveform.len() >= MIN_LAST_PIECE {
        pieces.push(features_of(&waveform, kind)?);
    }
    let piece = |(n, features)| Clip {
        id: format!("{}#{n}", clip.sample_id),
        domain: clip.domain,
        system: None,
        family: None,
        targets: clip.scores,
        features,
    };
    Ok(pieces.into_iter().enumerate().map(piece).collect())
}

/// Samples at 16 kHz from one step to the next.
const SAMPLES_PER_STEP: usize = 160 * FRAMES_PER_STEP;

/// How far the frames of a step reach into the next one: a frame has 400 samples, and begins every 160.
const FRAME_OVERHANG: usize = 400 - 160;

/// The shortest last piece of several, in samples: a second.
const MIN_LAST_PIECE: usize = 16_000;

/// Features of one audio file, cut to whole steps: `[steps * 16, 128]`.
///
/// # Errors
/// Where the file cannot be read or is shorter than one step (2800 samples at 16 kHz).
pub fn read_features(path: &Path, kind: Kind) -> Result<Tensor> {
    read_segment(path, None, None, kind).with_context(|| format!("cannot read {}", path.display()))
}

/// Features of a part of a file, in seconds: those of a file that holds this part alone.
fn read_segment(path: &Path, start_s: Option<f64>, end_s: Option<f64>, kind: Kind) -> Result<Tensor> {
    // What lies before the part is decoded and dropped chunk by chunk.
    let waveform = MonoReader::new(AudioFile::open_segment(path, start_s, end_s)?)?.read_to_end()?;
    features_of(&waveform, kind)
}

/// Features of 16 kHz samples, cut to whole steps: `[steps * 16, 128]`.
fn features_of(waveform: &[f32], kind: Kind) -> Result<Tensor> {
    let features = normalised_fbank(waveform);
    let num_frames = features.len() / NUM_MEL_BINS / FRAMES_PER_STEP * FRAMES_PER_STEP;
    if num_frames == 0 {
        bail!("too short: {} samples at 16 kHz, 2800 are needed", waveform.len());
    }
    let whole = &features[..num_frames * NUM_MEL_BINS];
    Ok(Tensor::from_slice(whole).view([num_frames as i64, NUM_MEL_BINS as i64]).to_kind(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_file_gives_what_a_file_of_that_part_gives() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, part) = (folder.path().join("whole.wav"), folder.path().join("part.wav"));
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 44_100,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let sample = |n: usize| ((n as f32 * 0.05).sin() * (n % 1000) as f32 * 20.0) as i16;
        for (path, range) in [(&whole, 0..2 * 44_100 * 3), (&part, 2 * 22_050..2 * 55_125)] {
            let mut writer = hound::WavWriter::create(path, spec).unwrap();
            range.for_each(|n| writer.write_sample(sample(n)).unwrap());
            writer.finalize().unwrap();
        }
        let segment = |start, end| read_segment(&whole, start, end, Kind::Float);
        let expected = read_features(&part, Kind::Float).unwrap();
        assert_eq!(segment(Some(0.5), Some(1.25)).unwrap(), expected);
        assert!(segment(Some(0.6), Some(1.35)).unwrap() != expected);
        assert_eq!(segment(None, Some(9.0)).unwrap(), read_features(&whole, Kind::Float).unwrap());
        let error = |start, end| format!("{:#}", segment(start, end).unwrap_err());
        assert!(
            error(Some(1.0), Some(1.1)).contains("too short: 1600 samples"),
            "{}",
            error(Some(1.0), Some(1.1))
        );
        assert!(error(Some(3.5), None).contains("no audio samples"), "{}", error(Some(3.5), None));
    }

    #[test]
    fn pieces_are_the_file_cut_at_steps() {
        let file = tempfile::Builder::new().suffix(".wav").tempfile().unwrap();
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let clip = RatedClip::unrated("a".to_string());
        let pieces = |seconds: f64| -> Result<Vec<Clip>> {
            let mut writer = hound::WavWriter::create(file.path(), spec).unwrap();
            let count = (seconds * 16_000.0) as usize;
            (0..count).for_each(|n| writer.write_sample(((n * n) % 9973) as i16).unwrap());
            writer.finalize().unwrap();
            read_pieces(&clip, file.path(), Kind::Float, 12)
        };
        // 12 steps are 1.92 s and 15 ms of overhang.
        for (seconds, steps) in [
            (0.2, vec![1]),
            (1.9, vec![11]),
            (1.935, vec![12]),
            (2.9, vec![12]),
            (2.95, vec![12, 6]),
            (5.0, vec![12, 12, 7]),
        ] {
            let found = pieces(seconds).unwrap();
            assert_eq!(found.iter().map(Clip::num_steps).collect::<Vec<_>>(), steps, "{seconds} s");
            let whole = read_features(file.path(), Kind::Float).unwrap();
            let together = Tensor::cat(&found.iter().map(|c| &c.features).collect::<Vec<_>>(), 0);
            assert_eq!(together, whole.narrow(0, 0, together.size()[0]), "{seconds} s");
        }
        assert!(format!("{:#}", pieces(0.1).unwrap_err()).contains("too short: 1600 samples"));
    }
}

//! A corpus in memory: features and labels of each clip.
//!
//! Features come from the engine's own front end, so that training and use cannot differ.

use std::path::Path;

use aesa::fbank::{NUM_MEL_BINS, normalised_fbank};
use aesa::score::{FRAMES_PER_STEP, NUM_AXES};
use aesa_corpus::labels::Domain;
use aesa_corpus::manifest;
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use tch::{Kind, Tensor};

use crate::progress;

/// One labelled clip.
#[derive(Debug)]
pub struct Clip {
    /// Its id in the corpus.
    pub id: String,
    /// What it holds.
    pub domain: Domain,
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
    let rows = manifest::read_clips(corpus.join(format!("{split}.csv")))?;
    let bar = progress::bar(rows.len() as u64, &format!("{split}: features"));
    let clips = rows.into_par_iter().map(|row| {
        let features = read_features(&corpus.join(&row.path), kind)?;
        bar.inc(1);
        let system = Some(row.system.clone()).filter(|s| !s.is_empty());
        Ok(Clip {
            targets: row.scores(),
            id: row.sample_id,
            domain: row.domain,
            system,
            family: row.family,
            features,
        })
    });
    let clips = clips.collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();
    if clips.is_empty() {
        bail!("{split}.csv of {} names no clips", corpus.display());
    }
    Ok(clips)
}

/// Features of one audio file, cut to whole steps: `[steps * 16, 128]`.
///
/// # Errors
/// Where the file cannot be read or is shorter than one step (2800 samples at 16 kHz).
pub fn read_features(path: &Path, kind: Kind) -> Result<Tensor> {
    let waveform =
        aesa_media::read_mono_16k(path).with_context(|| format!("cannot read {}", path.display()))?;
    let features = normalised_fbank(&waveform);
    let num_frames = features.len() / NUM_MEL_BINS / FRAMES_PER_STEP * FRAMES_PER_STEP;
    if num_frames == 0 {
        bail!("{} is too short: {} samples at 16 kHz, 2800 are needed", path.display(), waveform.len());
    }
    let whole = &features[..num_frames * NUM_MEL_BINS];
    Ok(Tensor::from_slice(whole).view([num_frames as i64, NUM_MEL_BINS as i64]).to_kind(kind))
}

//! Makes a corpus with proxy labels from any folders of audio.
//!
//! ```text
//! recordings, generated music --> sources.rs, midi.rs --> mix.rs --> degrade.rs, codec.rs --> random level --> WAV
//!                                                          |               |
//!                             effective number of sources -'               '- ViSQOL against the clean mix
//!                                          |                                          |
//!                                          '--> mapping.rs: quantiles of human ratings <--'  --> PC, PQ --> CE, CU
//! ```
//!
//! - PQ: ViSQOL (wideband) of the processed mix against the clean one; PC: the effective number of sources (see
//!   `mix.rs`). Both are mapped, per domain, by quantiles from the training clips' raw values onto human ratings of that
//!   domain; the map is stored in `corpus.json` and applied unchanged to validation and test. In a graded family of the
//!   training clips PQ falls by 0.1 or more at every step. CE and CU: regression on PQ, PC and domain, fitted on the human
//!   ratings.
//! - The level is drawn last and enters no label: one for all clips of a graded family, else one for each clip.
//! - Training and validation share no recording. The test set's generators (espeak-ng, a second soundfont, synthesised
//!   sounds) occur in neither.
//! - Every clip follows from the seed and its number alone: neither the thread count nor an interruption changes a
//!   byte. A second run continues where the first one stopped; CSV files are written at the end.

mod clips;
mod codec;
mod config;
mod degrade;
mod draw;
mod error;
mod files;
mod generators;
mod ladder;
mod mapping;
mod midi;
mod mix;
mod progress;
mod signal;
mod sources;
mod textures;
mod visqol;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use config::{
    DegradationWeight, FurtherClips, Grouping, SourceSet, SynthConfig, TestStep, TestSystem, UseAs,
};
pub use degrade::Kind;
pub use error::SynthError;
pub use mapping::{QuantileMap, Regression};
pub use progress::Progress;

use clips::{Series, Studio};
use codec::{Codecs, ffmpeg_is_there};
use draw::Draw;
use files::Record;
use generators::{SOUND_KINDS, espeak_is_there, synthetic_sound};
use midi::Instruments;
use sources::{Library, Split};
use visqol::Visqol;

use crate::labels::{Domain, Rating, read_ratings};
use crate::manifest::{Clip, LadderClip, write_rows};

/// What `corpus.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorpusInfo {
    /// `proxy`: no human rated these clips.
    pub labels: String,
    /// SHA-256 over all clips: ids, audio and labels. Equal for equal commands.
    pub sha256: String,
    /// SHA-256 of what decides the audio and the raw labels.
    pub fingerprint: String,
    /// The configuration.
    pub config: SynthConfig,
    /// Clips per file.
    pub num_clips: BTreeMap<String, usize>,
    /// ViSQOL of a clip against itself, the raw PQ of clean clips.
    pub clean_mos: f64,
    /// From raw PQ to ratings, per domain.
    pub pq_maps: BTreeMap<Domain, QuantileMap>,
    /// From raw PC to ratings, per domain.
    pub pc_maps: BTreeMap<Domain, QuantileMap>,
    /// CE and CU from PQ, PC and domain.
    pub regression: Regression,
}

/// Makes a corpus in `out`, or finishes one that was begun there with the same configuration.
///
/// Errors: wrong configuration; missing folders, soundfonts, espeak-ng or ffmpeg (the message says what to install);
/// undecodable recordings; a folder that cannot be written to.
pub fn run(
    config: &SynthConfig,
    out: impl AsRef<Path>,
    progress: &Progress,
) -> Result<CorpusInfo, SynthError> {
    let out = out.as_ref();
    config.check()?;
    let ratings = natural_ratings(config)?;
    let studio = open_studio(config, out)?;
    let further = (0..config.further.len()).map(|place| Series::Further(place).folder());
    for folder in ["train", "validation", "test", "ladders"].map(str::to_owned).into_iter().chain(further) {
        let folder = out.join("audio").join(folder);
        fs::create_dir_all(&folder).map_err(SynthError::io(&folder))?;
    }

    let mut train = make_series(&studio, Series::Train, config.num_train, progress)?;
    let maps = LabelMaps::fit(&train, &ratings)?;
    for (place, further) in config.further.iter().enumerate() {
        train.extend(make_series(&studio, Series::Further(place), further.num_clips, progress)?);
    }
    let validation = make_series(&studio, Series::Validation, config.num_validation, progress)?;
    let test = make_test(&studio, progress)?;
    let ladders = make_ladders(&studio, progress)?;
    write_corpus(&studio, maps, [train, validation, test], &ladders)
}

/// Checks that all tools are there and loads what is shared.
fn open_studio<'a>(config: &'a SynthConfig, out: &'a Path) -> Result<Studio<'a>, SynthError> {
    let library = Library::scan(config)?;
    let load = |path: &Path| match path.as_os_str().is_empty() {
        true => Ok(None),
        false => Instruments::load(path).map(Some),
    };
    let further = config.further.iter().flat_map(|further| &further.degradations);
    let drawn = config.degradations.iter().chain(further).filter(|d| d.weight > 0.0).map(|d| d.kind);
    let fixed = config.systems.iter().flat_map(|system| &system.chain).map(|step| step.kind);
    if (config.num_ladders > 0 || drawn.chain(fixed).any(Kind::needs_ffmpeg)) && !ffmpeg_is_there() {
        return Err(SynthError::Missing(
            "ffmpeg with libmp3lame and libopus is not installed (Debian: apt-get install ffmpeg); without it, take \
             mp3 and opus out of degradations and systems and set num_ladders = 0"
                .to_owned(),
        ));
    }
    if config.test_espeak && config.num_test_per_system > 0 && !espeak_is_there() {
        return Err(SynthError::Missing(
            "espeak-ng is not installed (Debian: apt-get install espeak-ng); without it, set test_espeak = false"
                .to_owned(),
        ));
    }
    let visqol = Visqol::new(config.visqol_seconds, config.visqol_search);
    let sample = synthetic_sound(SOUND_KINDS[0], &mut Draw::new(0, "clean"));
    let clean_mos =
        visqol.mos(&sample, &sample).map_err(|reason| SynthError::Program { program: "ViSQOL", reason })?;
    let studio = Studio {
        config,
        out,
        fingerprint: config.fingerprint(),
        library,
        train_instruments: load(&config.train_soundfont)?,
        test_instruments: if config.num_test_per_system > 0 { load(&config.test_soundfont)? } else { None },
        codecs: Codecs::default(),
        visqol,
        clean_mos,
    };
    for (split, count) in [(Split::Train, config.num_train), (Split::Validation, config.num_validation)] {
        if count > 0 && studio.domains(split).is_empty() {
            return Err(SynthError::Config(format!(
                "there are no sources for {split:?}: a source set needs two groups or more to serve validation"
            )));
        }
    }
    let there = studio.domains(Split::Train);
    let asked = config.further.iter().flat_map(|further| &further.domains);
    if let Some(domain) = asked.into_iter().find(|domain| !there.contains(domain)) {
        return Err(SynthError::Config(format!("[[further]] asks for {domain}, which has no sources")));
    }
    Ok(studio)
}

/// Human ratings of clips of a known domain.
fn natural_ratings(config: &SynthConfig) -> Result<Vec<Rating>, SynthError> {
    let mut ratings = Vec::new();
    for name in &config.ratings {
        ratings.extend(read_ratings(config.labels.join(name))?);
    }
    ratings.retain(|rating| rating.domain.is_some());
    Ok(ratings)
}

/// All clips of a series.
fn make_series(
    studio: &Studio<'_>,
    series: Series,
    num_clips: usize,
    progress: &Progress,
) -> Result<Vec<Record>, SynthError> {
    progress.begin(&series.folder(), num_clips);
    let variants = studio.config.variants;
    let families: Vec<Vec<Record>> = (0..num_clips.div_ceil(variants))
        .into_par_iter()
        .with_max_len(1)
        .map(|family| {
            let count = variants.min(num_clips - family * variants);
            let records = studio.family(series, family, count)?;
            progress.advance(count);
            Ok(records)
        })
        .collect::<Result<_, SynthError>>()?;
    Ok(families.into_iter().flatten().collect())
}

/// All clips of the test set.
fn make_test(studio: &Studio<'_>, progress: &Progress) -> Result<Vec<Record>, SynthError> {
    let mut units = Vec::new();
    for domain in studio.test_domains() {
        for system in &studio.config.systems {
            units.extend((0..studio.config.num_test_per_system).map(|utterance| (domain, system, utterance)));
        }
    }
    progress.begin("test", units.len());
    units
        .into_par_iter()
        .with_max_len(1)
        .map(|(domain, system, utterance)| {
            let record = studio.test_clip(domain, system, utterance)?;
            progress.advance(1);
            Ok(record)
        })
        .collect()
}

/// All ladders.
fn make_ladders(studio: &Studio<'_>, progress: &Progress) -> Result<Vec<LadderClip>, SynthError> {
    let num_ladders =
        if studio.domains(Split::Validation).is_empty() { 0 } else { studio.config.num_ladders };
    progress.begin("ladders", num_ladders * ladder::STEPS_PER_CLIP);
    let ladders: Vec<Vec<LadderClip>> = (0..num_ladders)
        .into_par_iter()
        .with_max_len(1)
        .map(|index| {
            let rows = studio.ladder(index)?;
            progress.advance(rows.len());
            Ok(rows)
        })
        .collect::<Result<_, SynthError>>()?;
    Ok(ladders.into_iter().flatten().collect())
}

/// From raw labels to ratings.
struct LabelMaps {
    pq: BTreeMap<Domain, QuantileMap>,
    pc: BTreeMap<Domain, QuantileMap>,
    ce_and_cu: Regression,
}

impl LabelMaps {
    /// Errors: the human ratings do not cover all domains.
    fn fit(train: &[Record], ratings: &[Rating]) -> Result<Self, SynthError> {
        let ce_and_cu = Regression::fit(ratings).ok_or_else(|| {
            SynthError::Config("the rated clips do not cover speech, music and sound".to_owned())
        })?;
        let pq = fit_maps(train, ratings, 0, |record| record.pq_raw);
        let pc = fit_maps(train, ratings, 1, |record| record.pc_raw);
        Ok(Self { pq, pc, ce_and_cu })
    }
}

/// Maps raw labels to ratings and writes the CSV files and `corpus.json`.
fn write_corpus(
    studio: &Studio<'_>,
    maps: LabelMaps,
    records: [Vec<Record>; 3],
    ladders: &[LadderClip],
) -> Result<CorpusInfo, SynthError> {
    let mut digest = Sha256::new();
    let mut num_clips = BTreeMap::new();
    for (name, records) in ["train", "validation", "test"].into_iter().zip(&records) {
        let mut clips: Vec<Clip> = Vec::new();
        for record in records {
            let of_domain = maps.pq.get(&record.domain).zip(maps.pc.get(&record.domain));
            // A domain without training clips has no map; its clips cannot be labelled.
            let Some((pq_map, pc_map)) = of_domain else { continue };
            let (mut pq, pc) = (pq_map.apply(record.pq_raw), pc_map.apply(record.pc_raw));
            // Families of the test set are not in the order of their severity; validation measures by ViSQOL alone.
            if let Some(milder) = clips.last().filter(|c| name == "train" && c.family == Some(record.family))
            {
                let fall = if milder.processing == record.processing { 0.0 } else { LEAST_FALL };
                pq = pq.min(milder.pq - fall).max(0.0);
            }
            let clip = labelled(record, pq, pc, &maps.ce_and_cu);
            digest.update(format!("{}/{}/{:?}\n", clip.sample_id, record.wav_sha256, clip.scores()));
            clips.push(clip);
        }
        write_rows(studio.out.join(format!("{name}.csv")), &clips)?;
        num_clips.insert(name.to_owned(), clips.len());
    }
    write_rows(studio.out.join("ladders.csv"), ladders)?;
    num_clips.insert("ladders".to_owned(), ladders.len());

    let info = CorpusInfo {
        labels: "proxy".to_owned(),
        sha256: hex::encode(digest.finalize()),
        fingerprint: studio.fingerprint.clone(),
        config: studio.config.clone(),
        num_clips,
        clean_mos: studio.clean_mos,
        pq_maps: maps.pq,
        pc_maps: maps.pc,
        regression: maps.ce_and_cu,
    };
    let json = serde_json::to_vec_pretty(&info).expect("corpus information is plain data");
    files::write_whole(&studio.out.join("corpus.json"), &json)?;
    Ok(info)
}

/// By how much at least PQ falls from a clip of a graded training family to the next, where the degradation does. ViSQOL
/// hardly tells the mild ones apart, and at times has them the wrong way round; their order is known.
const LEAST_FALL: f64 = 0.1;

/// A map per domain from the training clips' raw values onto the ratings of one axis.
fn fit_maps(
    train: &[Record],
    ratings: &[Rating],
    axis: usize,
    raw: impl Fn(&Record) -> f64,
) -> BTreeMap<Domain, QuantileMap> {
    let of = |domain: Domain| {
        let raw: Vec<f64> = train.iter().filter(|r| r.domain == domain).map(&raw).collect();
        let rated: Vec<f64> =
            ratings.iter().filter(|r| r.domain == Some(domain)).map(|r| r.scores[axis]).collect();
        QuantileMap::fit(&raw, &rated).map(|map| (domain, map))
    };
    Domain::ALL.into_iter().filter_map(of).collect()
}

/// A clip with its labels, rounded to 1e-6.
fn labelled(record: &Record, pq: f64, pc: f64, regression: &Regression) -> Clip {
    let round = |x: f64| (1e6 * x).round() / 1e6;
    let [ce, cu] = regression.apply(pq, pc, record.domain);
    Clip {
        sample_id: record.sample_id.clone(),
        path: record.path.clone(),
        domain: record.domain,
        system: record.system.clone(),
        pq: round(pq),
        pc: round(pc),
        ce: round(ce),
        cu: round(cu),
        pq_raw: Some(round(record.pq_raw)),
        pc_raw: Some(round(record.pc_raw)),
        family: Some(record.family),
        processing: record.processing.clone(),
    }
}

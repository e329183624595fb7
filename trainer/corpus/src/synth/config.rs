//! The recipe of a synthetic corpus, read from TOML.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::degrade::Kind;
use super::error::SynthError;
use crate::labels::Domain;

/// Changes whenever the same configuration would give other audio or other raw labels.
pub(crate) const GENERATOR_VERSION: u32 = 6;

/// The recipe of a synthetic corpus. Every key has a default; relative folders are relative to the working folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SynthConfig {
    /// Every random draw follows from this number.
    pub seed: u64,
    /// Folder under which the `sources` lie.
    pub audio: PathBuf,
    /// Folder of the `ratings` files.
    pub labels: PathBuf,
    /// Files of human ratings onto whose distribution the raw labels are mapped.
    pub ratings: Vec<String>,
    /// Number of training clips.
    pub num_train: usize,
    /// Number of validation clips.
    pub num_validation: usize,
    /// Number of clips per test system.
    pub num_test_per_system: usize,
    /// Number of clean clips that are degraded step by step, spread over the domains.
    pub num_ladders: usize,
    /// Clips made together; see `graded_share`.
    pub variants: usize,
    /// Share of these whose clips are one clean mix with one degradation at rising severities. In the others, each clip
    /// has a mix and a processing of its own.
    pub graded_share: f64,
    /// Chance that the first of the rising severities is none at all.
    pub graded_clean: f64,
    /// Weights of 0, 1, 2 and 3 degradations in a chain, for independent variants.
    pub chain_weights: [f64; 4],
    /// Weights of 1 to 6 sources in a mix.
    pub source_weights: [f64; 6],
    /// Share of the mixes whose sources lie within 5 dB of the first; in the others they lie up to 20 dB below it.
    pub even_share: f64,
    /// Chance that a source of a mix begins late or ends early.
    pub partial_source: f64,
    /// Chance of one more, quiet source from another domain.
    pub foreign_source: f64,
    /// Seconds from the middle of the clip that ViSQOL compares; 10 is the whole clip.
    pub visqol_seconds: f64,
    /// How far ViSQOL searches for a patch in the processed signal, in patches of 0.6 s to each side. The processed
    /// clips are aligned already; ViSQOL's own default is 32.
    pub visqol_search: usize,
    /// Degradations to draw from and their weights.
    pub degradations: Vec<DegradationWeight>,
    /// Further training clips. The label maps are not fitted on them, so that they can stress what is hard to hear.
    pub further: Vec<FurtherClips>,
    /// Where the source recordings of training and validation come from.
    pub sources: Vec<SourceSet>,
    /// Share of the general sounds of training and validation that are synthesised (see `textures.rs`); the others are
    /// recordings.
    pub texture_share: f64,
    /// Share of the music mixes of training and validation that are generated; the others begin with a recording.
    pub midi_share: f64,
    /// Soundfont of the generated music of training and validation; empty = none.
    pub train_soundfont: PathBuf,
    /// Soundfont of the generated music of the test set; empty = no music in it.
    pub test_soundfont: PathBuf,
    /// Whether the test set has speech by espeak-ng.
    pub test_espeak: bool,
    /// Systems of the test set; each is made once per domain.
    pub systems: Vec<TestSystem>,
}

/// A degradation and how often it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DegradationWeight {
    /// Which one.
    pub kind: Kind,
    /// Its weight among all.
    pub weight: f64,
}

/// Training clips that are all one mix with one degradation at rising severities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FurtherClips {
    /// How many.
    pub num_clips: usize,
    /// Degradations to draw from and their weights.
    pub degradations: Vec<DegradationWeight>,
    /// Share of the families with noise whose mix passes a band-pass first: noise on a telephone line.
    #[serde(default)]
    pub line_share: f64,
    /// What they hold; empty = all domains in turn.
    #[serde(default)]
    pub domains: Vec<Domain>,
    /// Seconds from the middle of the clip that ViSQOL compares, where not [`SynthConfig::visqol_seconds`]: it takes nearly
    /// all of the time that a clip costs, and the order within a family is known without it.
    #[serde(default)]
    pub visqol_seconds: Option<f64>,
}

/// A folder of recordings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceSet {
    /// Folder under `audio`; searched through for wav, flac, mp3, ogg, m4a.
    pub folder: PathBuf,
    /// What the recordings hold.
    pub domain: Domain,
    /// Only files whose name begins with one of these; empty = all.
    pub names: Vec<String>,
    /// What the recordings of one origin share, so that they stay in one split.
    pub group: Grouping,
    /// Groups used for validation alone; empty = drawn by `validation_share`.
    pub validation_groups: Vec<String>,
    /// Share of the groups drawn for validation (at least one, where there are two or more).
    pub validation_share: f64,
    /// Weight of this set among its domain's.
    pub weight: f64,
    /// How ten seconds are made from recordings.
    pub use_as: UseAs,
    /// How many equally loud sources a recording is counted as in the effective number of sources.
    pub counts_as: f64,
    /// Speed is drawn between these factors (pitch goes along).
    pub speed: [f64; 2],
}

/// What the recordings of one origin have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Every file is its own origin.
    #[default]
    File,
    /// The folder a file lies in, named from the set's folder.
    Folder,
    /// The file name up to the first `-` (the fold in ESC-50 and ESC-10).
    FirstPart,
    /// The file name's second part between `_` (the speaker in the Free Spoken Digit Dataset).
    SecondPart,
}

/// How ten seconds are made from recordings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UseAs {
    /// A random part of one recording; a short one is placed at random and, at times, repeated.
    #[default]
    Excerpt,
    /// Recordings of one group after one another, with pauses.
    Sequence,
}

/// One system of the synthetic test set: a fixed number of sources and a fixed processing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSystem {
    /// Short name of the processing, part of the system's name.
    pub name: String,
    /// Number of sources at once.
    pub sources: usize,
    /// The processing, in this order; severities from 0 (mildest) to 1, each drawn in a narrow range.
    #[serde(default)]
    pub chain: Vec<TestStep>,
}

/// One step of a test system's processing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestStep {
    /// Which degradation.
    pub kind: Kind,
    /// The middle of its severity's range, 0 to 1.
    pub severity: f64,
}

impl Default for SourceSet {
    fn default() -> Self {
        Self {
            folder: PathBuf::new(),
            domain: Domain::Sound,
            names: Vec::new(),
            group: Grouping::File,
            validation_groups: Vec::new(),
            validation_share: 0.15,
            weight: 1.0,
            use_as: UseAs::Excerpt,
            counts_as: 1.0,
            speed: [1.0, 1.0],
        }
    }
}

impl Default for SynthConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            audio: PathBuf::from("audio"),
            labels: PathBuf::from("labels"),
            ratings: vec![
                "audiomos2025-track2-train_list.csv".to_owned(),
                "audiomos2025-track2-dev_list.csv".to_owned(),
            ],
            num_train: 3000,
            num_validation: 300,
            num_test_per_system: 20,
            num_ladders: 30,
            variants: 3,
            graded_share: 0.6,
            graded_clean: 0.36,
            chain_weights: [0.12, 0.48, 0.3, 0.1],
            source_weights: [0.25, 0.15, 0.15, 0.15, 0.15, 0.15],
            even_share: 0.75,
            partial_source: 0.2,
            foreign_source: 0.12,
            visqol_seconds: 10.0,
            visqol_search: 2,
            degradations: Kind::ALL
                .into_iter()
                .map(|kind| DegradationWeight { kind, weight: kind.default_weight() })
                .collect(),
            further: Vec::new(),
            sources: Vec::new(),
            texture_share: 0.5,
            midi_share: 0.8,
            train_soundfont: PathBuf::from("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
            test_soundfont: PathBuf::from("/usr/share/sounds/sf2/TimGM6mb.sf2"),
            test_espeak: true,
            systems: default_systems(),
        }
    }
}

impl SynthConfig {
    /// Reads and checks a TOML file.
    ///
    /// Errors: unreadable file, unknown or malformed keys, values out of range.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, SynthError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(SynthError::io(path))?;
        let config: Self = toml::from_str(&text)
            .map_err(|e| SynthError::Config(format!("{}: {}", path.display(), e.to_string().trim_end())))?;
        config.check()?;
        Ok(config)
    }

    /// Checks all values.
    ///
    /// Errors: the first value out of range.
    pub fn check(&self) -> Result<(), SynthError> {
        let shares = [
            self.graded_share,
            self.graded_clean,
            self.foreign_source,
            self.texture_share,
            self.midi_share,
            self.even_share,
            self.partial_source,
        ];
        let visqol_seconds = self.further.iter().filter_map(|further| further.visqol_seconds);
        let lines = self.further.iter().map(|further| further.line_share);
        let positive = |weights: &[f64]| {
            weights.iter().all(|w| w.is_finite() && *w >= 0.0) && weights.iter().sum::<f64>() > 0.0
        };
        let drawable = |kinds: &[DegradationWeight]| {
            let weights: Vec<f64> = kinds.iter().map(|kind| kind.weight).collect();
            positive(&weights)
        };
        let severities = self.systems.iter().flat_map(|system| &system.chain).map(|step| step.severity);
        let rules = [
            (self.variants >= 1, "variants is at least 1"),
            (
                self.num_train >= 1,
                "num_train is at least 1: the label mapping is fitted on the training clips",
            ),
            (
                shares.into_iter().chain(lines).all(|p| (0.0..=1.0).contains(&p)),
                "shares and chances lie between 0 and 1",
            ),
            (positive(&self.chain_weights), "chain_weights are not negative and not all 0"),
            (positive(&self.source_weights), "source_weights are not negative and not all 0"),
            (
                drawable(&self.degradations) && self.further.iter().all(|f| drawable(&f.degradations)),
                "degradation weights are not negative and not all 0",
            ),
            (
                visqol_seconds.chain([self.visqol_seconds]).all(|s| (2.0..=10.0).contains(&s)),
                "visqol_seconds lies between 2 and 10",
            ),
            (self.visqol_search >= 1, "visqol_search is at least 1"),
            (!self.ratings.is_empty(), "ratings names at least one file"),
            (self.systems.iter().all(|s| (1..=12).contains(&s.sources)), "a system has 1 to 12 sources"),
            (severities.into_iter().all(|s| (0.0..=1.0).contains(&s)), "severities lie between 0 and 1"),
            (
                self.sources.iter().all(|s| s.weight > 0.0 && s.counts_as >= 1.0),
                "a source set's weight is above 0 and its counts_as at least 1",
            ),
            (
                self.sources
                    .iter()
                    .all(|s| 0.5 <= s.speed[0] && s.speed[0] <= s.speed[1] && s.speed[1] <= 2.0),
                "a source set's speed is a range within 0.5 to 2",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(SynthError::Config(rule.to_owned())),
            None => Ok(()),
        }
    }

    /// What decides the clips' audio and raw labels, as SHA-256 in hex: all keys but the folders and the counts.
    pub(crate) fn fingerprint(&self) -> String {
        let relevant = Self {
            audio: PathBuf::new(),
            labels: PathBuf::new(),
            ratings: Vec::new(),
            num_train: 0,
            further: self.further.iter().map(|f| FurtherClips { num_clips: 0, ..f.clone() }).collect(),
            num_validation: 0,
            num_test_per_system: 0,
            num_ladders: 0,
            ..self.clone()
        };
        let json = serde_json::to_string(&relevant).expect("a configuration is plain data");
        hex::encode(Sha256::digest(format!("{GENERATOR_VERSION}/{json}").as_bytes()))
    }
}

/// Fourteen systems from transparent to severe, with the number of sources unrelated to the severity.
fn default_systems() -> Vec<TestSystem> {
    let system = |name: &str, sources, chain: &[(Kind, f64)]| TestSystem {
        name: name.to_owned(),
        sources,
        chain: chain.iter().map(|&(kind, severity)| TestStep { kind, severity }).collect(),
    };
    vec![
        system("clean", 2, &[]),
        system("clean", 6, &[]),
        system("noise-mild", 1, &[(Kind::Noise, 0.3)]),
        system("noise-medium", 4, &[(Kind::Noise, 0.6)]),
        system("noise-strong", 3, &[(Kind::Noise, 0.88)]),
        system("lowpass-mild", 3, &[(Kind::LowPass, 0.25)]),
        system("lowpass-strong", 1, &[(Kind::LowPass, 0.75)]),
        system("mp3-mild", 4, &[(Kind::Mp3, 0.375)]),
        system("mp3-strong", 2, &[(Kind::Mp3, 0.88)]),
        system("opus-strong", 6, &[(Kind::Opus, 0.86)]),
        system("reverb", 1, &[(Kind::Reverb, 0.7)]),
        system("clipping", 6, &[(Kind::Clipping, 0.7)]),
        system("packet-loss", 3, &[(Kind::PacketLoss, 0.75)]),
        system("telephone-noise", 2, &[(Kind::BandPass, 0.8), (Kind::Noise, 0.6)]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_parse() {
        for (name, for_tests) in
            [("starter", true), ("starter-finer", true), ("starter-mp3", true), ("starter-student", false)]
        {
            let path = format!("{}/recipes/{name}.toml", env!("CARGO_MANIFEST_DIR"));
            let config = SynthConfig::read(path).unwrap();
            assert!(config.num_train >= 3000 && config.num_validation >= 300, "{name}");
            assert_eq!(config.num_test_per_system >= 20, for_tests, "{name}");
            assert!(config.systems.len() >= 12);
            assert!(
                Domain::ALL.iter().all(|domain| config.sources.iter().any(|set| set.domain == *domain)),
                "{name}"
            );
        }
    }

    #[test]
    fn toml_survives_a_round_trip_and_bad_values_are_refused() {
        let config = SynthConfig::default();
        assert_eq!(toml::from_str::<SynthConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
        assert!(toml::from_str::<SynthConfig>("sead = 3").is_err());
        assert!(SynthConfig { variants: 0, ..SynthConfig::default() }.check().is_err());
        assert!(SynthConfig { graded_share: 1.5, ..SynthConfig::default() }.check().is_err());
        assert!(SynthConfig { chain_weights: [0.0; 4], ..SynthConfig::default() }.check().is_err());
    }

    #[test]
    fn fingerprint_ignores_folders_and_counts_only() {
        let config = SynthConfig::default();
        let moved = SynthConfig { audio: PathBuf::from("x"), num_train: 5, ..config.clone() };
        assert_eq!(config.fingerprint(), moved.fingerprint());
        assert_ne!(config.fingerprint(), SynthConfig { seed: 2, ..config }.fingerprint());
    }
}

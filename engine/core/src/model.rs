//! What a model file says of itself, and the one table of keys that writes and reads it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::fbank::{
    FRAME_LENGTH_SAMPLES, FRAME_SHIFT_SAMPLES, NORM_MEAN, NORM_STD, NUM_MEL_BINS, SAMPLE_RATE_HZ,
};
use crate::policy::{MAX_STEPS, Policy};
use crate::score::{Axis, NUM_AXES};

/// Where a model's training labels came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// People rated the audio.
    Human,
    /// Computed stand-ins for ratings: useful for ranking, not a substitute for listeners.
    Proxy,
}

impl Labels {
    /// `human` or `proxy`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Proxy => "proxy",
        }
    }
}

/// A model's metadata, checked: it belongs to this engine and its front end.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Short name, such as `starter`.
    pub id: String,
    /// Version of the weights.
    pub version: String,
    /// Mean of each axis's targets in the training set, 0 to 10.
    pub target_mean: [f32; NUM_AXES],
    /// Standard deviation of each axis's targets in the training set.
    pub target_std: [f32; NUM_AXES],
    /// How the network hears a clip.
    pub policy: Policy,
    /// Where the training labels came from.
    pub labels: Labels,
    /// Hash of the training run (its config and corpus), hexadecimal.
    pub run_hash: String,
}

impl ModelInfo {
    /// The metadata as key and value pairs, for any container that stores strings.
    pub fn to_pairs(&self) -> Vec<(String, String)> {
        let mut pairs: Vec<(String, String)> = fixed_pairs();
        let mut push = |key: &str, value: String| pairs.push((key.to_string(), value));
        push(KEY_POLICY, self.policy.name().to_string());
        push(KEY_ID, self.id.clone());
        push(KEY_VERSION, self.version.clone());
        push(KEY_TARGET_MEAN, join(&self.target_mean));
        push(KEY_TARGET_STD, join(&self.target_std));
        match self.policy {
            Policy::Windowed { window_steps } => push(KEY_WINDOW_STEPS, window_steps.to_string()),
            Policy::Chunked { chunk_steps, left_steps } => {
                push(KEY_CHUNK_STEPS, chunk_steps.to_string());
                push(KEY_LEFT_STEPS, left_steps.to_string());
            }
        }
        push(KEY_LABELS, self.labels.name().to_string());
        push(KEY_RUN_HASH, self.run_hash.clone());
        pairs
    }

    /// Reads and checks metadata; pairs under other keys are ignored.
    ///
    /// # Errors
    /// [`ModelInfoError`] where a key is missing, unreadable, or names a front end, axes or format version
    /// other than this engine's.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ModelInfoError> {
        let pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        let find = |key: &'static str| {
            pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| *v).ok_or(ModelInfoError::Missing { key })
        };
        for (key, expected) in fixed_pairs() {
            let key = FIXED_KEYS.iter().find(|k| **k == key).copied().unwrap_or(KEY_FORMAT);
            let actual = find(key)?;
            if actual != expected {
                return Err(ModelInfoError::Unsupported { key, expected, actual: actual.to_string() });
            }
        }
        let invalid = |key: &'static str| ModelInfoError::Invalid { key };
        let steps = |key: &'static str, min: usize| {
            let steps = find(key)?.parse().ok().filter(|steps| (min..=MAX_STEPS).contains(steps));
            steps.ok_or(invalid(key))
        };
        let policy = match find(KEY_POLICY)? {
            "windowed" => Policy::Windowed { window_steps: steps(KEY_WINDOW_STEPS, 1)? },
            "chunked" => {
                Policy::Chunked { chunk_steps: steps(KEY_CHUNK_STEPS, 1)?, left_steps: steps(KEY_LEFT_STEPS, 0)? }
            }
            actual => {
                let (expected, actual) = ("windowed or chunked".to_string(), actual.to_string());
                return Err(ModelInfoError::Unsupported { key: KEY_POLICY, expected, actual });
            }
        };
        Ok(Self {
            id: find(KEY_ID)?.to_string(),
            version: find(KEY_VERSION)?.to_string(),
            target_mean: split(find(KEY_TARGET_MEAN)?).ok_or(invalid(KEY_TARGET_MEAN))?,
            target_std: split(find(KEY_TARGET_STD)?).ok_or(invalid(KEY_TARGET_STD))?,
            policy,
            labels: match find(KEY_LABELS)? {
                "human" => Labels::Human,
                "proxy" => Labels::Proxy,
                _ => return Err(invalid(KEY_LABELS)),
            },
            run_hash: find(KEY_RUN_HASH)?.to_string(),
        })
    }
}

/// Why metadata was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelInfoError {
    /// The key is absent: most likely not an aesa model.
    Missing {
        /// The metadata key.
        key: &'static str,
    },
    /// The key's value cannot be read.
    Invalid {
        /// The metadata key.
        key: &'static str,
    },
    /// The model was made for another engine, front end or set of axes.
    Unsupported {
        /// The metadata key.
        key: &'static str,
        /// What this engine computes.
        expected: String,
        /// What the model asks for.
        actual: String,
    },
    /// The metadata do not describe the network that they are stored with.
    Contradiction {
        /// The metadata key.
        key: &'static str,
    },
}

impl fmt::Display for ModelInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { key } => write!(f, "not an aesa model: metadata key {key} is missing"),
            Self::Invalid { key } => write!(f, "metadata key {key} has an unreadable value"),
            Self::Unsupported { key, expected, actual } => {
                write!(f, "the model needs {key} = {actual}, this engine has {expected}")
            }
            Self::Contradiction { key } => write!(f, "metadata key {key} contradicts the rest of the file"),
        }
    }
}

impl core::error::Error for ModelInfoError {}

/// Metadata key: how many numbers the network learned.
pub const KEY_NUM_PARAMETERS: &str = "aesa.num_parameters";

/// Metadata key of an ONNX file: SHA-256 over the `raw_data` of all graph initialisers in file order, lower-case hexadecimal.
pub const KEY_WEIGHTS_SHA256: &str = "aesa.weights_sha256";

/// Metadata key of an ONNX file: SHA-256 over the whole file with this value's own 64 digits read as `0`, lower-case hexadecimal.
pub const KEY_FILE_SHA256: &str = "aesa.file_sha256";

/// Metadata key: how the model hears a clip, `windowed` or `chunked`.
pub const KEY_POLICY: &str = "aesa.policy";

/// Metadata key, where the policy is chunked: steps of a chunk.
pub const KEY_CHUNK_STEPS: &str = "aesa.chunk_steps";

/// Metadata key, where the policy is chunked: steps before its chunk that a token sees, at least.
pub const KEY_LEFT_STEPS: &str = "aesa.left_steps";

/// Metadata key, where the policy is windowed: steps of a window.
pub const KEY_WINDOW_STEPS: &str = "aesa.window_steps";

const KEY_FORMAT: &str = "aesa.format_version";
const KEY_AXES: &str = "aesa.axes";
const KEY_RATE: &str = "aesa.sample_rate_hz";
const KEY_MEL: &str = "aesa.num_mel_bins";
const KEY_LENGTH: &str = "aesa.frame_length_samples";
const KEY_SHIFT: &str = "aesa.frame_shift_samples";
const KEY_NORM_MEAN: &str = "aesa.fbank_mean";
const KEY_NORM_STD: &str = "aesa.fbank_std";
const FIXED_KEYS: [&str; 8] =
    [KEY_FORMAT, KEY_AXES, KEY_RATE, KEY_MEL, KEY_LENGTH, KEY_SHIFT, KEY_NORM_MEAN, KEY_NORM_STD];
const KEY_ID: &str = "aesa.id";
const KEY_VERSION: &str = "aesa.version";
const KEY_TARGET_MEAN: &str = "aesa.target_mean";
const KEY_TARGET_STD: &str = "aesa.target_std";
const KEY_LABELS: &str = "aesa.labels";
const KEY_RUN_HASH: &str = "aesa.run_hash";

/// What every model for this engine must say, key by key.
fn fixed_pairs() -> Vec<(String, String)> {
    let axes: Vec<&str> = Axis::ALL.iter().map(|a| a.short_name()).collect();
    let values = [
        "1".to_string(),
        axes.join(","),
        SAMPLE_RATE_HZ.to_string(),
        NUM_MEL_BINS.to_string(),
        FRAME_LENGTH_SAMPLES.to_string(),
        FRAME_SHIFT_SAMPLES.to_string(),
        format!("{NORM_MEAN}"),
        format!("{NORM_STD}"),
    ];
    FIXED_KEYS.iter().map(|k| k.to_string()).zip(values).collect()
}

fn join(values: &[f32]) -> String {
    values.iter().map(|v| format!("{v}")).collect::<Vec<_>>().join(",")
}

fn split(text: &str) -> Option<[f32; NUM_AXES]> {
    let values: Vec<f32> = text.split(',').map(|v| v.trim().parse().ok()).collect::<Option<_>>()?;
    values.iter().all(|v| v.is_finite()).then_some(())?;
    values.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_read_back() {
        assert_eq!(read(&info().to_pairs()), Ok(info()));
        let mut human = info();
        human.labels = Labels::Human;
        assert_eq!(read(&human.to_pairs()), Ok(human));
        assert_eq!(read(&chunked().to_pairs()), Ok(chunked()));
    }

    #[test]
    fn pairs_under_other_keys_are_ignored() {
        let mut pairs = info().to_pairs();
        pairs.insert(0, ("producer".into(), "someone".into()));
        assert_eq!(read(&pairs), Ok(info()));
    }

    #[test]
    fn every_key_is_needed() {
        for (all, num_keys) in [(info().to_pairs(), 16), (chunked().to_pairs(), 17)] {
            assert_eq!(all.len(), num_keys);
            for i in 0..all.len() {
                let mut pairs = all.clone();
                let (removed, _) = pairs.remove(i);
                let refused = read(&pairs);
                assert!(matches!(refused, Err(ModelInfoError::Missing { key }) if key == removed), "{removed}");
            }
        }
        assert!(matches!(read(&[]), Err(ModelInfoError::Missing { .. })));
    }

    #[test]
    fn another_engines_model_is_refused() {
        for (key, value) in [
            (KEY_FORMAT, "2"),
            (KEY_AXES, "CE,CU,PC,PQ"),
            (KEY_RATE, "48000"),
            (KEY_MEL, "80"),
            (KEY_LENGTH, "512"),
            (KEY_SHIFT, "256"),
            (KEY_NORM_MEAN, "0"),
            (KEY_NORM_STD, "NaN"),
            (KEY_POLICY, "streamed"),
        ] {
            let refused = read(&with(key, value));
            assert!(matches!(refused, Err(ModelInfoError::Unsupported { key: k, .. }) if k == key), "{key}");
        }
    }

    #[test]
    fn unreadable_values_are_refused() {
        for (key, value) in [
            (KEY_TARGET_MEAN, "5,5,5"),
            (KEY_TARGET_MEAN, "5,5,5,NaN"),
            (KEY_TARGET_MEAN, "5,5,5,5,5"),
            (KEY_TARGET_STD, "1,1,inf,1"),
            (KEY_TARGET_STD, "1,1,one,1"),
            (KEY_WINDOW_STEPS, "0"),
            (KEY_WINDOW_STEPS, "-62"),
            (KEY_WINDOW_STEPS, "99999"),
            (KEY_LABELS, "guessed"),
        ] {
            assert_eq!(read(&with(key, value)), Err(ModelInfoError::Invalid { key }), "{key} = {value}");
        }
        for (key, value) in [
            (KEY_CHUNK_STEPS, "0"),
            (KEY_CHUNK_STEPS, "1025"),
            (KEY_LEFT_STEPS, "-1"),
            (KEY_LEFT_STEPS, "1025"),
        ] {
            let pairs = changed(chunked(), key, value);
            assert_eq!(read(&pairs), Err(ModelInfoError::Invalid { key }), "{key} = {value}");
        }
    }

    fn info() -> ModelInfo {
        ModelInfo {
            id: "tiny".into(),
            version: "3".into(),
            target_mean: [6.5, 3.25, 5.1, 0.1],
            target_std: [1.0, 2.5, 0.333_333_34, 1e-3],
            policy: Policy::Windowed { window_steps: 62 },
            labels: Labels::Proxy,
            run_hash: "c0ffee".into(),
        }
    }

    fn chunked() -> ModelInfo {
        ModelInfo { policy: Policy::Chunked { chunk_steps: 6, left_steps: 12 }, ..info() }
    }

    fn with(key: &str, value: &str) -> Vec<(String, String)> {
        changed(info(), key, value)
    }

    fn changed(info: ModelInfo, key: &str, value: &str) -> Vec<(String, String)> {
        let mut pairs = info.to_pairs();
        let pair = pairs.iter_mut().find(|(k, _)| k == key).unwrap();
        pair.1 = value.into();
        pairs
    }

    fn read(pairs: &[(String, String)]) -> Result<ModelInfo, ModelInfoError> {
        ModelInfo::from_pairs(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())))
    }
}

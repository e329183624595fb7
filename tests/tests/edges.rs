//! Odd input: typed errors with the cause, and scores where there is something to score.

use aesa::{AudioSpec, Axis, ScorerError};
use aesa_export::{ModelConfig, Tensors};
use aesa_tests::{project, score, starter};
use aesa_tract::{TractError, TractModel};
use proptest::prelude::*;

const SPEC: AudioSpec = AudioSpec::MONO_16K;

#[test]
fn short_clips_say_how_short() {
    let model = starter();
    for length in [0, 1, 399, 2799] {
        let error = score(model.session(), SPEC, &vec![0.1; length], &[1000]).unwrap_err();
        assert!(
            matches!(error, ScorerError::TooShort { num_samples, needed: 2800 } if num_samples == length as u64),
            "{length}: {error}"
        );
        assert!(error.to_string().contains(&length.to_string()), "{error}");
    }
    let shortest = score(model.session(), SPEC, &[0.1; 2800], &[1000]).unwrap();
    assert_eq!(shortest.frames.len(), 1);
}

#[test]
fn silence_scores() {
    let scored = score(starter().session(), SPEC, &[0.0; 160_000], &[16_000]).unwrap();
    assert_eq!(scored.clip.num_steps, 62);
    assert!(Axis::ALL.iter().all(|axis| (0.0..=10.0).contains(&scored.clip.scores[*axis])));
}

#[test]
fn nan_and_infinity_are_named_by_their_place() {
    let model = starter();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut samples = vec![0.1; 20_000];
        samples[12_345] = bad;
        let error = score(model.session(), SPEC, &samples, &[777]).unwrap_err();
        assert!(matches!(error, ScorerError::NonFinite { index: 12_345 }), "{error}");
    }
}

#[test]
fn truncated_models_are_refused() {
    let bytes = std::fs::read(project("models/starter/model.onnx")).unwrap();
    for share in [0, 1, 10, 50, 90, 99] {
        let cut = &bytes[..bytes.len() * share / 100];
        assert!(TractModel::from_bytes(cut).is_err(), "{share} %");
    }
    assert!(TractModel::from_bytes(&bytes[..bytes.len() - 1]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_is_noticed(place in 0.0_f64..1.0, bit in 0_u8..8) {
        let mut bytes = std::fs::read(project("models/starter/model.onnx")).unwrap();
        let index = (place * bytes.len() as f64) as usize;
        bytes[index] ^= 1 << bit;
        prop_assert!(TractModel::from_bytes(&bytes).is_err(), "byte {} bit {}", index, bit);
    }
}

#[test]
fn a_model_of_another_kind_is_refused_by_name() {
    let audio = std::fs::read(project("models/starter/golden/speech.flac")).unwrap();
    assert!(matches!(TractModel::from_bytes(&audio), Err(TractError::NotOnnx { .. })));
    // A valid ONNX file without aesa's metadata: one empty graph with a name (ModelProto.graph = 7, GraphProto.name = 2).
    let other = [0x3a, 0x03, 0x12, 0x01, b'g'];
    let error = TractModel::from_bytes(&other).err().unwrap();
    assert!(matches!(error, TractError::Info(_) | TractError::NotOnnx { .. }), "{error}");
}

/// A small network with random weights, as bytes of an ONNX file.
fn random_model(config: &ModelConfig, window_steps: usize) -> Vec<u8> {
    let tensors: Tensors = aesa_export::random_tensors(config, 1).expect("the sizes are possible");
    let policy = aesa::Policy::Windowed { window_steps };
    let info = aesa::ModelInfo { policy, ..aesa_export::tiny_info() };
    aesa_export::write_onnx(config, &tensors, &info).expect("all tensors are there")
}

#[test]
fn a_base_sized_model_exports_and_runs() {
    let bytes = random_model(&ModelConfig::default(), 62);
    let model = TractModel::from_bytes(&bytes).unwrap();
    assert!(model.num_parameters() > 90_000_000, "{}", model.num_parameters());
    let samples: Vec<f32> = (0..40_000).map(|n| (n as f32 * 0.05).sin() * 0.1).collect();
    let scored = score(model.session(), SPEC, &samples, &[10_000]).unwrap();
    assert_eq!(scored.clip.num_steps, 15);
    assert!(Axis::ALL.iter().all(|axis| (0.0..=10.0).contains(&scored.clip.scores[*axis])));
}

//! The native engine on real audio: the same scores as tract in f32, and near them in int8.

use aesa::native::{AlignedBytes, Kernels, Model};
use aesa::score::Scores;
use aesa::{ModelInfo, Network, Policy};
use aesa_export::{ModelConfig, Storage, random_tensors, tiny_info, write_aesa, write_onnx};
use aesa_tests::project;
use aesa_tract::TractModel;

fn scores(file: &[u8], features: &[f32]) -> Vec<Scores> {
    scores_with(Kernels::detect(), file, features)
}

fn scores_with(kernels: &'static Kernels, file: &[u8], features: &[f32]) -> Vec<Scores> {
    let file = AlignedBytes::from(file);
    let model = Model::with_kernels(&file, kernels).expect("the file was just written");
    let mut scores = Vec::new();
    let mut stream = model.stream();
    stream.push(features, |s| scores.push(s)).expect("the features are finite");
    stream.finish(|s| scores.push(s));
    scores
}

/// Mean and largest absolute difference.
fn differences(a: &[Scores], b: &[Scores]) -> (f32, f32) {
    assert_eq!(a.len(), b.len());
    let all: Vec<f32> =
        a.iter().zip(b).flat_map(|(a, b)| a.0.into_iter().zip(b.0)).map(|(a, b)| (a - b).abs()).collect();
    (all.iter().sum::<f32>() / all.len() as f32, all.iter().copied().fold(0.0, f32::max))
}

#[test]
fn real_audio_scores_as_in_tract_and_nearly_so_in_int8() {
    // The shipped model's sizes; its weights are in its ONNX file only in combined form, so these are random.
    let (config, info) = (ModelConfig::starter(), tiny_info());
    let tensors = random_tensors(&config, 3).unwrap();
    let tract = TractModel::from_bytes(&write_onnx(&config, &tensors, &info).unwrap()).unwrap();
    let write = |storage, policy| {
        write_aesa(&config, &tensors, &ModelInfo { policy, ..info.clone() }, storage).unwrap()
    };
    for clip in ["speech.flac", "music.ogg", "rain.wav"] {
        let path = project("models/starter/golden").join(clip);
        let features = aesa::fbank::normalised_fbank(&aesa_media::read_mono_16k(&path).unwrap());
        let features = &features[..features.len() / 2048 * 2048];
        let mut expected = Vec::new();
        for window in features.chunks(info.policy.max_steps() * 2048) {
            let mut scores = vec![Scores::default(); window.len() / 2048];
            tract.session().score_window(window, &mut scores).unwrap();
            expected.extend(scores);
        }
        let (_, max) = differences(&scores(&write(Storage::F32, info.policy), features), &expected);
        assert!(max < 1e-4, "{clip}: {max}");
        for policy in [info.policy, Policy::Chunked { chunk_steps: 6, left_steps: 12 }] {
            let exact = scores(&write(Storage::F32, policy), features);
            for storage in [Storage::Int8, Storage::Int8Attention] {
                let (mean, max) = differences(&exact, &scores(&write(storage, policy), features));
                println!("{clip} {policy:?} {storage:?}: mean {mean:.4}, max {max:.4}");
                // docs/SPEC.md, "Quantisation".
                assert!(mean <= 0.05 && max <= 0.2, "{clip} {policy:?} {storage:?}: mean {mean}, max {max}");
            }
        }
    }
}

#[test]
fn every_table_of_kernels_gives_the_same_scores_as_those_that_round_alike() {
    let (config, tensors) = (ModelConfig::starter(), random_tensors(&ModelConfig::starter(), 4).unwrap());
    let path = project("models/starter/golden/speech-noisy.mp3");
    let features = aesa::fbank::normalised_fbank(&aesa_media::read_mono_16k(&path).unwrap());
    for storage in [Storage::Int8, Storage::Int8Attention, Storage::F32] {
        // Chunks of 5 steps end in a short one.
        for policy in [tiny_info().policy, Policy::Chunked { chunk_steps: 5, left_steps: 12 }] {
            let info = ModelInfo { policy, ..tiny_info() };
            let file = write_aesa(&config, &tensors, &info, storage).unwrap();
            let expected = scores_with(Kernels::SCALAR, &file, &features);
            assert_eq!(expected.len(), features.len() / 2048);
            let mut fused: Option<Vec<Scores>> = None;
            for kernels in Kernels::supported() {
                let actual = scores_with(kernels, &file, &features);
                let what = format!("{} {storage:?} {policy:?}", kernels.name());
                if kernels.is_fused() {
                    assert_eq!(
                        differences(&actual, fused.get_or_insert_with(|| actual.clone())).1,
                        0.0,
                        "{what}"
                    );
                }
                let (_, max) = differences(&actual, &expected);
                // A number quantised to its other neighbour moves a score by far more than a rounding does.
                let bound = match (kernels.is_fused(), storage) {
                    (false, _) => 0.0,
                    (true, Storage::F32 | Storage::F16) => 1e-4,
                    (true, Storage::Int8 | Storage::Int8Attention) => 2e-2,
                };
                println!("{what}: {max}");
                assert!(max <= bound, "{what}: {max}");
            }
        }
    }
}

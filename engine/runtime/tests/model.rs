//! Models of both kinds, from files and bytes, and scorers that outlive all other owners of their model.

use std::fs;
#[cfg(unix)]
use std::process::Command;
use std::sync::Arc;
#[cfg(unix)]
use std::thread;

use aesa::{AudioSpec, ClipScore, FrameScore, ModelInfo, Policy, Scorer, ScorerError, WindowPolicy};
use aesa_export::{ModelConfig, Storage, random_tensors, tiny_info, write_aesa};
use aesa_runtime::{LoadError, Model, ModelScorer};

const SPEC: AudioSpec = AudioSpec { sample_rate_hz: 16_000, num_channels: 1 };

fn file(policy: Policy) -> Vec<u8> {
    let config = ModelConfig::tiny();
    let info = ModelInfo { policy, ..tiny_info() };
    let tensors = random_tensors(&config, 3).expect("random numbers fit any model");
    write_aesa(&config, &tensors, &info, Storage::F32).expect("so does the file")
}

fn chunked() -> Policy {
    Policy::Chunked { chunk_steps: 3, left_steps: 3 }
}

fn noise(count: usize) -> Vec<i16> {
    (0..count as u64).map(|n| (n.wrapping_mul(n).wrapping_mul(2_654_435_761) >> 13) as i16 / 4).collect()
}

fn score(model: Model) -> (ClipScore, Vec<FrameScore>) {
    let mut scorer = ModelScorer::new(Arc::new(model), SPEC).expect("the specification fits");
    scorer.accept(&noise(200_000)).expect("noise is sound");
    (scorer.finish().expect("it is long enough"), core::iter::from_fn(|| scorer.next_frame()).collect())
}

#[test]
fn a_scorer_keeps_its_model_and_scores_as_the_cores_does() {
    let samples = noise(40_000);
    let mut scorer = {
        let model = Arc::new(Model::from_bytes(&file(chunked())).unwrap());
        ModelScorer::new(model, SPEC).unwrap()
    };
    scorer.accept(&samples).unwrap();
    let clip = scorer.finish().unwrap();
    let frames: Vec<_> = core::iter::from_fn(|| scorer.next_frame()).collect();

    let model = Model::from_bytes(&file(chunked())).unwrap();
    let mut expected = Scorer::new(model.session(), SPEC).unwrap();
    expected.accept(&samples).unwrap();
    assert_eq!(clip, expected.finish().unwrap());
    assert_eq!(frames, core::iter::from_fn(|| expected.next_frame()).collect::<Vec<_>>());
    assert_eq!((frames.len(), clip.num_steps), (15, 15));

    scorer.reset();
    assert_eq!(scorer.clip_score_so_far(), None);
    scorer.accept(&samples).unwrap();
    assert_eq!(scorer.finish().unwrap(), clip);
    assert!(matches!(scorer.accept(&samples), Err(ScorerError::Finished)));
}

#[test]
fn windows_follow_as_asked_and_chunks_as_they_must() {
    let hop = WindowPolicy { hop_steps: 2, look_ahead_steps: 1 };
    let model = Arc::new(Model::from_bytes(&file(Policy::Windowed { window_steps: 6 })).unwrap());
    let scorer = ModelScorer::with_policy(model.clone(), SPEC, hop).unwrap();
    let whole = ModelScorer::new(model, SPEC).unwrap();
    assert!(scorer.latency_samples() < whole.latency_samples());
    assert_eq!(scorer.info().policy, Policy::Windowed { window_steps: 6 });
    let model = Arc::new(Model::from_bytes(&file(chunked())).unwrap());
    assert!(matches!(
        ModelScorer::with_policy(model, SPEC, hop).map(|_| ()),
        Err(ScorerError::NotWindowed { .. })
    ));
}

#[test]
fn what_is_no_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.aesa");
    let open = || Model::open(&path).map(|_| ()).unwrap_err();
    assert!(matches!(open(), LoadError::Read { .. }), "{}", open());
    fs::write(&path, file(chunked())).unwrap();
    assert_eq!(Model::open(&path).unwrap().engine().name(), "native");
    // By its name a model.aesa, though its first byte is not.
    let mut damaged = file(chunked());
    damaged[0] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let words = open().to_string();
    assert!(words.contains("model.aesa") && words.contains("not a model.aesa file"), "{words}");
    assert!(matches!(open(), LoadError::File { source, .. } if matches!(*source, LoadError::Native(_))));
    let mut damaged = file(chunked());
    *damaged.last_mut().unwrap() ^= 1;
    assert!(matches!(Model::from_bytes(&damaged), Err(LoadError::Native(_))));
    #[cfg(feature = "tract")]
    assert!(matches!(Model::from_bytes(b"a text"), Err(LoadError::Tract(_))));
    #[cfg(not(feature = "tract"))]
    assert!(matches!(Model::from_bytes(b"a text"), Err(LoadError::Unsupported)));
}

#[test]
fn a_model_goes_on_when_its_file_is_replaced_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("model.aesa"), folder.path().join("other.aesa"));
    fs::write(&path, file(chunked())).unwrap();
    let model = Model::open(&path).unwrap();
    #[cfg(target_os = "linux")]
    assert!(fs::read_to_string("/proc/self/maps").unwrap().contains(path.to_str().unwrap()), "it is mapped");
    fs::write(&other, b"something else").unwrap();
    fs::rename(&other, &path).unwrap();
    assert!(matches!(Model::open(&path), Err(LoadError::File { .. })));
    fs::remove_file(&path).unwrap();
    assert_eq!(score(model), score(Model::from_bytes(&file(chunked())).unwrap()));
}

#[cfg(unix)]
#[test]
fn a_model_may_come_through_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let bytes = file(chunked());
    let model = thread::scope(|scope| {
        scope.spawn(|| fs::write(&pipe, &bytes).unwrap());
        Model::open(&pipe).unwrap()
    });
    assert_eq!(score(model), score(Model::from_bytes(&bytes).unwrap()));
}

#[cfg(feature = "threads")]
#[test]
fn threads_change_no_score_and_are_refused_where_there_are_none() {
    use aesa::native::ThreadsError;

    // The starter's sizes: a window of them is worth several threads.
    let config = ModelConfig::starter();
    let tensors = random_tensors(&config, 3).unwrap();
    let file = write_aesa(&config, &tensors, &tiny_info(), Storage::Int8).unwrap();
    let open = || Model::from_bytes(&file).unwrap();
    let alone = score(open());
    for count in [1, 2, 5] {
        assert_eq!(score(open().with_threads(count).unwrap()), alone, "{count}");
    }
    let error = open().with_threads(0).unwrap_err();
    assert!(matches!(error, LoadError::Threads(ThreadsError::Zero)), "{error}");
    #[cfg(feature = "tract")]
    {
        let onnx =
            || Model::from_bytes(&aesa_export::write_onnx(&config, &tensors, &tiny_info()).unwrap()).unwrap();
        let error = onnx().with_threads(2).unwrap_err();
        assert!(matches!(error, LoadError::OneThread) && error.to_string().contains("one thread"), "{error}");
        assert_eq!(onnx().with_threads(1).unwrap().engine().name(), "tract");
    }
}

#[cfg(feature = "starter")]
#[test]
fn the_starter_model_is_in_the_program() {
    let model = Arc::new(Model::starter().unwrap());
    assert_eq!((model.info().id.as_str(), model.engine().weights()), ("starter", Some("int8")));
    let mut scorer = ModelScorer::new(model, SPEC).unwrap();
    scorer.accept(&noise(32_000)).unwrap();
    assert!(scorer.finish().unwrap().scores.0.iter().all(|score| (0.0..=10.0).contains(score)));
}

//! A graph that scores one chunk after another: in tract the same scores as in the native engine, however the audio is cut.
//! Leaves graph and scores in `target/onnx-expected`, for `tests/python/compare_onnxruntime.py`.

use aesa::native::{AlignedBytes, Model};
use aesa::{AudioSpec, ModelInfo, Network, Policy, Scores};
use aesa_export::{ModelConfig, Storage, Tensors, random_tensors, tiny_info, write_aesa, write_onnx};
use aesa_tests::{project, read, score};
use aesa_tract::TractModel;

/// Sums in another order; a score is 0 to 10.
const TOLERANCE: f32 = 1e-4;

const CHUNKS: Policy = Policy::Chunked { chunk_steps: 6, left_steps: 12 };

/// One network of the starter's sizes with random weights, as a graph and for the native engine.
fn files() -> (Vec<u8>, AlignedBytes) {
    let (config, info) = (ModelConfig::starter(), ModelInfo { policy: CHUNKS, ..tiny_info() });
    let tensors = random_tensors(&config, 4).expect("the sizes are possible");
    let onnx = write_onnx(&config, &tensors, &info).expect("all tensors are there");
    let aesa = write_aesa(&config, &tensors, &info, Storage::F32).expect("all tensors are there");
    (onnx, AlignedBytes::from(aesa.as_slice()))
}

fn worst(a: &[Scores], b: &[Scores]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b).flat_map(|(a, b)| a.0.into_iter().zip(b.0));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn tract_and_the_native_engine_score_a_stream_alike() {
    let (onnx, aesa) = files();
    let (tract, native) = (TractModel::from_bytes(&onnx).unwrap(), Model::from_bytes(&aesa).unwrap());
    assert_eq!(tract.info().policy, CHUNKS);
    let (spec, samples) = read(&project("models/starter/golden/music.ogg"));
    let expected = score(native.session().unwrap(), spec, &samples, &[4096]).unwrap();
    let actual = score(tract.session(), spec, &samples, &[samples.len()]).unwrap();
    let frames = |frames: &[aesa::FrameScore]| frames.iter().map(|f| f.scores).collect::<Vec<Scores>>();
    let difference = worst(&frames(&actual.frames), &frames(&expected.frames));
    assert!(difference < TOLERANCE, "{difference}");
    assert!(worst(&[actual.clip.scores], &[expected.clip.scores]) < TOLERANCE);
    assert_eq!(score(tract.session(), spec, &samples, &[2 * 700, 2, 2 * 31_000]).unwrap(), actual);
}

#[test]
fn sessions_share_nothing_and_reset_is_new() {
    let tract = TractModel::from_bytes(&files().0).unwrap();
    let spec = AudioSpec { sample_rate_hz: 16_000, num_channels: 1 };
    let noise = |seed: u32| -> Vec<f32> {
        (0..50_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761 ^ seed) >> 16) as f32 / 65_536.0 - 0.5)
            .collect()
    };
    let (one, other) = (noise(1), noise(77));
    let alone = [&one, &other].map(|signal| score(tract.session(), spec, signal, &[8000]).unwrap());
    assert_ne!(alone[0].frames, alone[1].frames);
    let (mut a, mut b) = (tract.session(), tract.session());
    let features = |signal: &[f32]| aesa::fbank::normalised_fbank(signal)[..18 * 2048].to_vec();
    let (one, other) = (features(&one), features(&other));
    let mut together = [Vec::new(), Vec::new()];
    for (x, y) in one.chunks(6 * 2048).zip(other.chunks(6 * 2048)) {
        for ((session, chunk), all) in [&mut a, &mut b].into_iter().zip([x, y]).zip(&mut together) {
            let mut scores = vec![Scores::default(); 6];
            session.score_window(chunk, &mut scores).unwrap();
            all.extend(scores);
        }
    }
    let expected = |n: usize| alone[n].frames[..18].iter().map(|f| f.scores).collect::<Vec<Scores>>();
    assert_eq!(together, [expected(0), expected(1)]);
    a.reset();
    let mut again = vec![Scores::default(); 6];
    a.score_window(&one[..6 * 2048], &mut again).unwrap();
    assert_eq!(again, together[0][..6]);
}

#[test]
fn step_expectations_are_written() {
    let (onnx, aesa) = files();
    let native = Model::from_bytes(&aesa).unwrap();
    let mut expected = Tensors::default();
    for (clip, file) in [("speech", "speech.flac"), ("music", "music.ogg"), ("rain", "rain.wav")] {
        let samples = aesa_media::read_mono_16k(&project("models/starter/golden").join(file)).unwrap();
        let features = aesa::fbank::normalised_fbank(&samples);
        // Several chunks, the last one short.
        let num_steps = features.len() / 2048 / 6 * 6 - 2;
        assert!(num_steps > 12);
        let features = &features[..num_steps * 2048];
        let (mut stream, mut scores) = (native.stream(), Vec::new());
        stream.push(features, |s| scores.extend(s.0)).unwrap();
        stream.finish(|s| scores.extend(s.0));
        expected.insert(&format!("{clip}.fbank"), &[1, num_steps * 16, 128], features.to_vec());
        expected.insert(&format!("{clip}.frame_scores"), &[1, num_steps, 4], scores);
    }
    let folder = project("target/onnx-expected");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("step.safetensors"), expected.to_safetensors().unwrap()).unwrap();
    std::fs::write(folder.join("step.onnx"), onnx).unwrap();
}

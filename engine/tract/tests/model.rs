//! Loading, refusing and running models with random weights.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::sync::OnceLock;

use aesa::encoder::Network;
use aesa::model::{KEY_FILE_SHA256, KEY_WEIGHTS_SHA256, ModelInfoError};
use aesa::score::Scores;
use aesa::{ModelInfo, Policy};
use aesa_export::{
    ExportOptions, ModelConfig, Storage, random_tensors, tiny_info, write_onnx, write_onnx_with,
};
use aesa_onnx::{Message, ModelProto, NodeProto};
use aesa_tract::{TractError, TractModel};
use sha2::{Digest, Sha256};

const STEP_NUMBERS: usize = 16 * 128;

fn model_bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let config = ModelConfig::tiny();
        write_onnx(&config, &random_tensors(&config, 1).unwrap(), &tiny_info()).unwrap()
    })
}

fn model() -> &'static TractModel {
    static MODEL: OnceLock<TractModel> = OnceLock::new();
    MODEL.get_or_init(|| TractModel::from_bytes(model_bytes()).unwrap())
}

/// Features of `num_steps` steps that differ everywhere, in the range of real ones.
fn features(num_steps: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..num_steps * STEP_NUMBERS)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn scores(features: &[f32]) -> Vec<Scores> {
    let mut scores = vec![Scores::default(); features.len() / STEP_NUMBERS];
    model().session().score_window(features, &mut scores).unwrap();
    scores
}

fn edited(edit: impl FnOnce(&mut ModelProto)) -> Vec<u8> {
    let mut proto = ModelProto::decode(model_bytes()).unwrap();
    edit(&mut proto);
    sealed(proto.encode_to_vec())
}

/// The file with its own hash put right, where it has one.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let entry = [KEY_FILE_SHA256.as_bytes(), &[0x12, 64]].concat();
    if let Some(at) = bytes.windows(entry.len()).position(|window| window == entry) {
        let digits = at + entry.len()..at + entry.len() + 64;
        bytes[digits.clone()].fill(b'0');
        let hash = hex::encode(Sha256::digest(&bytes));
        bytes[digits].copy_from_slice(hash.as_bytes());
    }
    bytes
}

fn refusal(bytes: &[u8]) -> TractError {
    TractModel::from_bytes(bytes).expect_err("the model must be refused")
}

#[test]
fn a_model_tells_what_it_is() {
    let model = model();
    let windows = Policy::Windowed { window_steps: 62 };
    assert_eq!((model.info().id.as_str(), model.info().policy), ("tiny", windows));
    assert_eq!(model.num_bytes(), model_bytes().len() as u64);
    assert_eq!(model.opset(), 17);
    assert_eq!(model.inputs()[0].to_string(), "fbank f32[1, num_frames, 128]");
    assert_eq!(model.outputs()[0].to_string(), "frame_scores f32[1, num_steps, 4]");
    assert_eq!(model.outputs()[1].to_string(), "clip_scores f32[1, 4]");
    // f32 weights make up most of the file.
    assert!(model.num_parameters() * 4 < model.num_bytes());
    assert!(model.num_parameters() * 8 > model.num_bytes());
}

#[test]
fn every_window_length_scores() {
    let mut all = Vec::new();
    for num_steps in [1, 2, 3, 17, 40, 61, 62] {
        let scores = scores(&features(num_steps, 7));
        assert!(scores.iter().all(|s| s.0.iter().all(|v| (0.0..=10.0).contains(v))), "{num_steps} steps");
        all.push(scores[0]);
    }
    assert!(
        all.windows(2).all(|pair| pair[0] != pair[1]),
        "a window's first step depends on what follows it"
    );
}

#[test]
fn numbers_depend_on_the_features_alone() {
    let lengths = [62, 5, 62, 33, 5, 62];
    let alone: Vec<Vec<Scores>> = lengths.iter().map(|n| scores(&features(*n, *n as u32))).collect();
    // In one session, in another order.
    let mut session = model().session();
    for (n, expected) in lengths.iter().zip(&alone).rev() {
        let mut scores = vec![Scores([f32::NAN; 4]); *n];
        session.score_window(&features(*n, *n as u32), &mut scores).unwrap();
        assert_eq!(&scores, expected);
    }
    // In many threads at once, over a model loaded anew.
    let fresh = TractModel::from_bytes(model_bytes()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut session = fresh.session();
                for (n, expected) in lengths.iter().zip(&alone) {
                    let mut scores = vec![Scores::default(); *n];
                    session.score_window(&features(*n, *n as u32), &mut scores).unwrap();
                    assert_eq!(&scores, expected);
                }
            });
        }
    });
}

/// f16 and int8 take operators that f32 does not, chunks others than windows: all are in the table, and mean what they should.
#[test]
fn every_storage_scores_windows_and_chunks() {
    let config = ModelConfig::tiny();
    let tensors = random_tensors(&config, 1).unwrap();
    for policy in [Policy::Windowed { window_steps: 62 }, Policy::Chunked { chunk_steps: 2, left_steps: 2 }] {
        let info = ModelInfo { policy, ..tiny_info() };
        let scores = |storage| {
            let options = ExportOptions { storage, ..ExportOptions::default() };
            let file = write_onnx_with(&config, &tensors, &info, &options).unwrap();
            let mut session = TractModel::from_bytes(&file).unwrap().session();
            // Twice: the second chunk takes up what the first left.
            [7, 8].map(|seed| {
                let mut scores = [Scores::default(); 2];
                session.score_window(&features(2, seed), &mut scores).unwrap();
                scores
            })
        };
        let exact = scores(Storage::F32);
        for (storage, bound) in [(Storage::F16, 0.001), (Storage::Int8, 0.02)] {
            let (exact, stored) = (exact.as_flattened(), scores(storage));
            let pairs = exact.iter().zip(stored.as_flattened()).flat_map(|(a, b)| a.0.iter().zip(b.0));
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            println!("{policy:?} {storage:?}: {worst}");
            assert!(worst > 0.0 && worst < bound, "{policy:?} {storage:?}: {worst}");
        }
    }
}

#[test]
fn windows_of_the_wrong_size_are_refused() {
    let mut session = model().session();
    for (num_features, num_steps) in
        [(0, 0), (STEP_NUMBERS - 1, 1), (STEP_NUMBERS, 2), (63 * STEP_NUMBERS, 63)]
    {
        let error = session.score_window(&vec![0.0; num_features], &mut vec![Scores::default(); num_steps]);
        assert!(matches!(error, Err(TractError::WindowSize { max_steps: 62, .. })), "{num_steps}: {error:?}");
    }
}

#[test]
fn features_that_are_not_numbers_are_an_error() {
    let mut features = features(3, 1);
    features[100] = f32::NAN;
    let error = model().session().score_window(&features, &mut [Scores::default(); 3]);
    assert!(matches!(error, Err(TractError::NotFinite { index: 100 })), "{error:?}");
}

#[test]
fn other_files_are_refused() {
    assert!(matches!(refusal(b""), TractError::NotOnnx { .. }));
    assert!(matches!(refusal(b"RIFF\x24\0\0\0WAVEfmt "), TractError::NotOnnx { .. }));
    assert!(matches!(refusal(&[0xff; 1000]), TractError::NotOnnx { .. }));
    let foreign = edited(|m| m.metadata_props.clear());
    assert!(matches!(refusal(&foreign), TractError::Info(ModelInfoError::Missing { .. })));
    let other_axes = edited(|m| {
        m.metadata_props.iter_mut().filter(|p| p.key == "aesa.axes").for_each(|p| p.value = "A,B,C,D".into());
    });
    assert!(matches!(refusal(&other_axes), TractError::Info(ModelInfoError::Unsupported { .. })));
    for key in [KEY_FILE_SHA256, KEY_WEIGHTS_SHA256] {
        let no_hash = edited(|m| m.metadata_props.retain(|p| p.key != key));
        assert!(matches!(refusal(&no_hash), TractError::Hash { .. }), "{key}");
    }
    let missing = TractModel::load("/nowhere/model.onnx".as_ref()).unwrap_err();
    assert_eq!(missing.to_string(), "the file does not exist");
}

#[test]
fn another_interface_is_refused() {
    let renamed = edited(|m| m.graph.as_mut().unwrap().input[0].name = "waveform".into());
    assert!(matches!(refusal(&renamed), TractError::Interface { .. }));
    let no_clip = edited(|m| drop(m.graph.as_mut().unwrap().output.pop()));
    assert!(matches!(refusal(&no_clip), TractError::Interface { .. }));
    let swapped = edited(|m| {
        let graph = m.graph.as_mut().unwrap();
        graph.output[0].name = "clip_scores".into();
        graph.output[1].name = "frame_scores".into();
    });
    assert!(matches!(refusal(&swapped), TractError::Interface { .. }));
    let newer = edited(|m| m.opset_import[0].version = 18);
    assert!(matches!(refusal(&newer), TractError::Interface { .. }));
    let reshaped = edited(|m| m.graph.as_mut().unwrap().initializer[0].dims[0] += 1);
    assert!(matches!(refusal(&reshaped), TractError::Interface { .. }));
}

#[test]
fn other_operators_are_refused_by_name() {
    type Edit = fn(&mut NodeProto);
    let with = |edit: Edit| {
        let file = edited(|m| {
            edit(m.graph.as_mut().unwrap().node.iter_mut().find(|n| n.op_type == "Softmax").unwrap())
        });
        refusal(&file)
    };
    let cases: [(Edit, &str, &str); 4] = [
        (|node| node.op_type = "Hardmax".into(), "Hardmax", "is none of this engine's"),
        (|node| node.domain = "com.microsoft".into(), "Softmax", "is none of this engine's"),
        (|node| node.attribute[0].name = "axes".into(), "Softmax", "has the attribute axes"),
        (|node| node.input.push(String::new()), "Softmax", "has 2 inputs"),
    ];
    for (edit, name, expected) in cases {
        let error = with(edit);
        assert!(matches!(&error, TractError::Operator { operator, .. } if operator == name), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn truncated_models_are_refused() {
    let bytes = model_bytes();
    for part in 0..32 {
        refusal(&bytes[..bytes.len() * part / 32]);
    }
    refusal(&bytes[..bytes.len() - 1]);
}

#[test]
fn flipped_bits_are_refused() {
    let bytes = model_bytes();
    for i in 0..400 {
        let mut damaged = bytes.to_vec();
        // Strides far apart, so that bits of all fields are hit.
        let bit = (i * 7_919 * 131) % (bytes.len() * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        refusal(&damaged);
    }
}

/// A step graph whose states the check finds, and what it must not accept.
#[test]
fn a_graph_for_chunks_has_its_states() {
    let policy = Policy::Chunked { chunk_steps: 2, left_steps: 2 };
    let (config, info) = (ModelConfig::tiny(), ModelInfo { policy, ..tiny_info() });
    let tensors = random_tensors(&config, 1).unwrap();
    let chunked = write_onnx(&config, &tensors, &info).unwrap();
    let model = TractModel::from_bytes(&chunked).unwrap();
    assert_eq!(model.inputs().len(), model.outputs().len());

    let with = |file: &[u8], edit: &dyn Fn(&mut ModelProto)| {
        let mut proto = ModelProto::decode(file).unwrap();
        edit(&mut proto);
        refusal(&sealed(proto.encode_to_vec())).to_string()
    };
    // Windows that call themselves chunks.
    let renamed = with(model_bytes(), &|proto| {
        let entry = |key: &str, value: &str| {
            let mut entry = proto.metadata_props[0].clone();
            (entry.key, entry.value) = (key.to_owned(), value.to_owned());
            entry
        };
        let chunks = [entry("aesa.chunk_steps", "2"), entry("aesa.left_steps", "2")];
        proto
            .metadata_props
            .iter_mut()
            .filter(|p| p.key == "aesa.policy")
            .for_each(|p| p.value = "chunked".into());
        proto.metadata_props.splice(0..0, chunks);
    });
    assert!(renamed.contains("takes nothing from the chunks before"), "{renamed}");
    let lost = with(&chunked, &|proto| {
        proto.graph.as_mut().unwrap().output.retain(|output| output.name != "present.tokens");
    });
    assert!(lost.contains("present.tokens is missing"), "{lost}");
    let renamed = with(&chunked, &|proto| proto.graph.as_mut().unwrap().input[1].name = "before".into());
    assert!(renamed.contains("is no state that a chunk could take"), "{renamed}");
}

/// Past the hashes, on a graph that someone made with intent: an error or a result, never a panic.
#[test]
fn damaged_graphs_never_panic() {
    let end = model_bytes().len();
    let mut num_refused = 0;
    for i in 0..40 {
        let mut damaged = model_bytes().to_vec();
        let bit = (i * 7_919 * 491) % (end * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        let Ok(mut proto) = ModelProto::decode(damaged.as_slice()) else { continue };
        let Some(graph) = proto.graph.as_ref() else { continue };
        let mut hash = Sha256::new();
        graph.initializer.iter().for_each(|tensor| hash.update(&tensor.raw_data));
        let hash = hex::encode(hash.finalize());
        let entries = proto.metadata_props.iter_mut();
        entries.filter(|p| p.key == KEY_WEIGHTS_SHA256).for_each(|p| p.value.clone_from(&hash));
        match TractModel::from_bytes(&sealed(proto.encode_to_vec())) {
            Ok(model) => {
                // The scores may be anything; the call returns.
                let _ = model.session().score_window(&features(2, 3), &mut [Scores::default(); 2]);
            }
            Err(_) => num_refused += 1,
        }
    }
    println!("{num_refused} of 40 refused");
}

//! The written file in tract: it runs at any length, says what it is, and hangs on every parameter.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use aesa::model::{KEY_FILE_SHA256, KEY_NUM_PARAMETERS, KEY_WEIGHTS_SHA256, ModelInfo};
use aesa_export::{
    EncoderConfig, ExportError, ExportOptions, HeadConfig, ModelConfig, Storage, Tensors, parameters,
    random_tensors, tiny_info, write_onnx, write_onnx_with,
};
use sha2::{Digest, Sha256};
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

/// Rounding: the same network optimised for another length, or combined at another place, sums in another order.
const TOLERANCE: f32 = 2e-5;

fn tiny() -> ModelConfig {
    let encoder = EncoderConfig {
        embed_dim: 16,
        encoder_embed_dim: 24,
        encoder_layers: 2,
        encoder_ffn_embed_dim: 40,
        encoder_attention_heads: 3,
        conv_pos: 8,
        conv_pos_groups: 4,
        num_buckets: 16,
        max_distance: 32,
        ..EncoderConfig::default()
    };
    let head = HeadConfig {
        adapter_dim: 12,
        lstm_dim: 5,
        lstm_layers: 2,
        shared_dim: 16,
        attention_heads: 4,
        ..HeadConfig::default()
    };
    ModelConfig { encoder, head }
}

/// `[1, num_frames, 128]`, about as large and as even as normalised speech.
fn features(num_frames: usize) -> Tensor {
    let wave = |i: usize| ((i * 7919 % 1000) as f32 / 1000.0 - 0.5) * (1.0 + (i as f32 * 1e-3).sin());
    let data: Vec<f32> = (0..num_frames * 128).map(wave).collect();
    Tensor::from_shape(&[1, num_frames, 128], &data).unwrap()
}

/// All outputs for `num_frames` frames; `fixed` tells tract the length before it optimises.
fn run(onnx: &[u8], num_frames: usize, fixed: bool) -> Vec<Vec<f32>> {
    let mut model = tract_onnx::onnx().model_for_read(&mut &*onnx).unwrap();
    if fixed {
        model.set_input_fact(0, f32::fact([1, num_frames, 128]).into()).unwrap();
    }
    let model = model.into_optimized().unwrap().into_runnable().unwrap();
    let outputs = model.run(tvec!(features(num_frames).into())).unwrap();
    outputs.iter().map(|t| t.to_plain_array_view::<f32>().unwrap().iter().copied().collect()).collect()
}

fn assert_near(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= TOLERANCE, "{what}: {worst}");
}

#[test]
fn any_length_scores_between_0_and_10() {
    let config = tiny();
    let onnx = write_onnx(&config, &random_tensors(&config, 1).unwrap(), &tiny_info()).unwrap();
    for num_frames in [16, 31, 160, 992] {
        let num_steps = num_frames / 16;
        let outputs = run(&onnx, num_frames, true);
        let (frame, clip) = (&outputs[0], &outputs[1]);
        assert_eq!((frame.len(), clip.len()), (4 * num_steps, 4), "{num_frames} frames");
        assert!(frame.iter().all(|s| (0.0..=10.0).contains(s)), "{num_frames} frames: {frame:?}");
        let means: Vec<f32> =
            (0..4).map(|a| frame.iter().skip(a).step_by(4).sum::<f32>() / num_steps as f32).collect();
        assert_near(clip, &means, "clip score is the mean of the frame scores");
        let free = run(&onnx, num_frames, false);
        assert_near(frame, &free[0], "length known or not to the optimiser");
    }
}

#[test]
fn frames_after_the_last_whole_step_are_dropped() {
    let config = tiny();
    let onnx = write_onnx(&config, &random_tensors(&config, 1).unwrap(), &tiny_info()).unwrap();
    // The features of 175 frames begin with those of 160.
    assert_near(&run(&onnx, 175, true)[0], &run(&onnx, 160, true)[0], "175 frames against 160");
}

#[test]
fn every_layout_of_the_encoder_runs() {
    let with = |change: fn(&mut ModelConfig)| {
        let mut config = tiny();
        change(&mut config);
        config
    };
    let cases: [(&str, ModelConfig); 6] = [
        ("no projection", with(|c| c.encoder.embed_dim = 24)),
        ("norm first", with(|c| (c.encoder.layer_norm_first, c.encoder.deep_norm) = (true, false))),
        ("odd kernel", with(|c| c.encoder.conv_pos = 7)),
        ("bias without gate", with(|c| c.encoder.gru_rel_pos = false)),
        ("no bias", with(|c| c.encoder.relative_position_embedding = false)),
        ("no norms in the head", with(|c| c.head.layer_norm = false)),
    ];
    let usual = write_onnx(&tiny(), &random_tensors(&tiny(), 1).unwrap(), &tiny_info()).unwrap();
    let usual = run(&usual, 160, true);
    for (name, config) in cases {
        let onnx = write_onnx(&config, &random_tensors(&config, 1).unwrap(), &tiny_info()).unwrap();
        let scores = run(&onnx, 160, true);
        assert_eq!(scores[0].len(), 40, "{name}");
        assert!(scores[0].iter().all(|s| (0.0..=10.0).contains(s)), "{name}");
        assert_ne!(scores[0], usual[0], "{name}");
    }
}

/// f16 halves the file, int8 makes a quarter of it; what that does to scores of 0 to 10 is bounded.
#[test]
fn weights_in_less_room_score_nearly_alike() {
    let config = ModelConfig::starter();
    let tensors = random_tensors(&config, 2).unwrap();
    let write = |storage| {
        let options = ExportOptions { storage, ..ExportOptions::default() };
        write_onnx_with(&config, &tensors, &tiny_info(), &options).unwrap()
    };
    let exact = write(Storage::F32);
    let expected = run(&exact, 320, true);
    for (storage, share, bound) in [(Storage::F16, 0.52, 0.01), (Storage::Int8, 0.35, 0.15)] {
        let file = write(storage);
        assert!((file.len() as f64) < share * exact.len() as f64, "{storage:?}: {} bytes", file.len());
        let scores = run(&file, 320, true);
        let worst = expected[0].iter().zip(&scores[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst > 0.0 && worst < bound, "{storage:?}: {worst}");
    }
}

/// What int8 leaves of every layer of the published size, whose errors add up from block to block.
#[test]
fn base_in_int8_stays_near_layer_by_layer() {
    let config = ModelConfig::default();
    let tensors = random_tensors(&config, 1).unwrap();
    let hidden = |storage| {
        let options = ExportOptions { storage, expose_hidden_states: true };
        let onnx = write_onnx_with(&config, &tensors, &tiny_info(), &options).unwrap();
        run(&onnx, 32, true).split_off(2)
    };
    let (exact, stored) = (hidden(Storage::F32), hidden(Storage::Int8));
    assert_eq!((exact.len(), stored.len()), (13, 13));
    for (layer, (exact, stored)) in exact.iter().zip(&stored).enumerate() {
        let power =
            |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>();
        let difference = power(&mut exact.iter().zip(stored).map(|(a, b)| a - b));
        let relative = (difference / power(&mut exact.iter().copied())).sqrt();
        assert!(relative < 0.002 + 0.0065 * (layer as f64).sqrt(), "hidden.{layer}: {relative}");
    }
}

/// A parameter that is written but not wired, or wired twice in place of another, leaves scores and hidden states alike.
#[test]
fn outputs_depend_on_every_parameter() {
    let config = tiny();
    let tensors = random_tensors(&config, 1).unwrap();
    let options = ExportOptions { expose_hidden_states: true, ..ExportOptions::default() };
    let outputs =
        |t: &Tensors| run(&write_onnx_with(&config, t, &tiny_info(), &options).unwrap(), 160, true).concat();
    let usual = outputs(&tensors);
    for p in parameters(&config).unwrap() {
        let mut changed = tensors.clone();
        let data = &mut changed.0.get_mut(&p.name).unwrap().data;
        data.iter_mut().enumerate().for_each(|(i, v)| *v += 0.5 * (i as f32).cos());
        let moved = usual.iter().zip(outputs(&changed)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // A key's bias adds the same to all of a query's scores, which softmax takes away again.
        let cancels = p.name.ends_with("k_proj.bias");
        assert_eq!(moved > TOLERANCE, !cancels, "{}: {moved}", p.name);
    }
}

#[test]
fn hidden_states_are_outputs_on_request() {
    let config = tiny();
    let tensors = random_tensors(&config, 1).unwrap();
    let options = ExportOptions { expose_hidden_states: true, ..ExportOptions::default() };
    let outputs = run(&write_onnx_with(&config, &tensors, &tiny_info(), &options).unwrap(), 160, true);
    let sizes: Vec<usize> = outputs.iter().map(Vec::len).collect();
    assert_eq!(sizes, [40, 4, 80 * 24, 80 * 24, 80 * 24]);
    // Each is the output of a norm whose weight is about 1 and bias about 0.
    for hidden in &outputs[2..] {
        let power = hidden.iter().map(|v| v * v).sum::<f32>() / hidden.len() as f32;
        assert!((0.7..1.4).contains(&power), "{power}");
    }
}

#[test]
fn metadata_says_what_the_file_is() {
    let config = tiny();
    let tensors = random_tensors(&config, 1).unwrap();
    let bytes = write_onnx(&config, &tensors, &tiny_info()).unwrap();
    let proto: ModelProto = tract_onnx::onnx().proto_model_for_read(&mut &*bytes).unwrap();
    let pairs = || proto.metadata_props.iter().map(|p| (p.key.as_str(), p.value.as_str()));
    let find = |key: &str| pairs().find(|(k, _)| *k == key).unwrap().1;
    assert_eq!(ModelInfo::from_pairs(pairs()).unwrap(), tiny_info());
    let num_parameters: usize = tensors.0.values().map(|t| t.data.len()).sum();
    assert_eq!(find(KEY_NUM_PARAMETERS), num_parameters.to_string());

    let mut hash = Sha256::new();
    proto.graph.as_ref().unwrap().initializer.iter().for_each(|t| hash.update(&t.raw_data));
    assert_eq!(find(KEY_WEIGHTS_SHA256), hex::encode(hash.finalize()));
    let own = find(KEY_FILE_SHA256);
    let start = bytes.windows(64).position(|w| w == own.as_bytes()).unwrap();
    let mut zeroed = bytes.clone();
    zeroed[start..start + 64].fill(b'0');
    assert_eq!(own, hex::encode(Sha256::digest(&zeroed)));
}

#[test]
fn the_file_is_standard_onnx() {
    let config = tiny();
    let bytes = write_onnx(&config, &random_tensors(&config, 1).unwrap(), &tiny_info()).unwrap();
    let proto: ModelProto = tract_onnx::onnx().proto_model_for_read(&mut &*bytes).unwrap();
    assert_eq!(proto.opset_import.len(), 1);
    assert_eq!((proto.opset_import[0].domain.as_str(), proto.opset_import[0].version), ("", 17));
    let graph = proto.graph.unwrap();
    assert!(graph.node.iter().all(|n| n.domain.is_empty()));
    let mut names: Vec<&String> = graph.initializer.iter().map(|t| &t.name).collect();
    names.extend(graph.node.iter().flat_map(|n| &n.output));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "every name is given once");
}

#[test]
fn random_weights_follow_the_seed() {
    let config = tiny();
    assert_eq!(random_tensors(&config, 7).unwrap(), random_tensors(&config, 7).unwrap());
    assert_ne!(random_tensors(&config, 7).unwrap(), random_tensors(&config, 8).unwrap());
}

#[test]
fn safetensors_are_read_as_written() {
    let tensors = random_tensors(&tiny(), 1).unwrap();
    assert_eq!(Tensors::from_safetensors(&tensors.to_safetensors().unwrap()).unwrap(), tensors);
}

#[test]
fn other_files_are_refused() {
    let not_a_file = Tensors::from_safetensors(b"not a safetensors file");
    assert!(matches!(not_a_file, Err(ExportError::Safetensors(_))));
    let bytes = vec![0; 8];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F64, vec![1], &bytes).unwrap();
    let f64s = safetensors::serialize([("head.layer_weights", view)], None).unwrap();
    let error = Tensors::from_safetensors(&f64s).unwrap_err();
    assert_eq!(error.to_string(), "tensor head.layer_weights is not stored as f32");
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let config = tiny();
    let refused = |change: fn(&mut Tensors)| {
        let mut tensors = random_tensors(&config, 1).unwrap();
        change(&mut tensors);
        write_onnx(&config, &tensors, &tiny_info()).unwrap_err()
    };
    let error = refused(|t| drop(t.0.remove("beats.encoder.layers.1.fc1.bias")));
    assert!(matches!(error, ExportError::Missing { name } if name == "beats.encoder.layers.1.fc1.bias"));
    let error = refused(|t| t.insert("head.adapter.weight", &[24, 12], vec![0.0; 288]));
    assert!(
        matches!(&error, ExportError::Shape { expected, actual, .. } if expected == &[12, 24] && actual == &[24, 12])
    );
    assert!(error.to_string().contains("head.adapter.weight"));
    let error = refused(|t| t.insert("head.layer_weights", &[2], vec![0.0]));
    assert!(matches!(error, ExportError::Shape { .. }), "data that does not fill the shape");
    let error = refused(|t| t.0.get_mut("head.shared.bias").unwrap().data[3] = f32::NAN);
    assert!(matches!(error, ExportError::NotFinite { name } if name == "head.shared.bias"));
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    let cases: [(&str, Change); 9] = [
        ("zero layers", |c| c.encoder.encoder_layers = 0),
        ("negative size", |c| c.head.lstm_dim = -1),
        ("another patch", |c| c.encoder.input_patch_size = 8),
        ("heads", |c| c.encoder.encoder_attention_heads = 5),
        ("groups", |c| c.encoder.conv_pos_groups = 5),
        ("branch heads", |c| c.head.attention_heads = 3),
        ("both norms", |c| c.encoder.layer_norm_first = true),
        ("too few buckets", |c| c.encoder.num_buckets = 3),
        ("short distance", |c| c.encoder.max_distance = 4),
    ];
    for (name, change) in cases {
        let mut config = tiny();
        change(&mut config);
        let error = parameters(&config).unwrap_err();
        assert!(matches!(error, ExportError::Config { .. }), "{name}: {error}");
    }
}

/// A change that makes the sizes contradict each other.
type Change = fn(&mut ModelConfig);

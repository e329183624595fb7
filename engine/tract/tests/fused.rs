//! What is fused of whole files, and that it scores as the nodes do.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;

use aesa::encoder::Network;
use aesa::model::KEY_FILE_SHA256;
use aesa::score::Scores;
use aesa_export::{ModelConfig, random_tensors, tiny_info, write_onnx};
use aesa_onnx::{DataType, Message, ModelProto, NodeProto, TensorProto};
use aesa_tract::TractModel;
use sha2::{Digest, Sha256};

fn scores(model: &TractModel, num_steps: usize) -> Vec<Scores> {
    let features: Vec<f32> =
        (0..num_steps * 16 * 128).map(|i| (i * 7919 % 1009) as f32 / 504.5 - 1.0).collect();
    let mut scores = vec![Scores::default(); num_steps];
    model.session().score_window(&features, &mut scores).unwrap();
    scores
}

fn difference(a: &[Scores], b: &[Scores]) -> f32 {
    let pairs = a.iter().zip(b).flat_map(|(a, b)| a.0.iter().zip(b.0));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_pattern_of_the_starter_is_fused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/starter/model.onnx");
    let file = std::fs::read(path).unwrap();
    let (fused, unfused) =
        (TractModel::from_bytes(&file).unwrap(), TractModel::from_bytes_unfused(&file).unwrap());
    assert_eq!(unfused.fusion().operators, []);
    println!("{}", fused.fusion());
    let mut operators = fused.fusion().operators;
    operators.sort_unstable();
    // Per block: attention, its output, two of the feed-forward part, two norms; before the blocks a norm of patches and one of what
    // enters; in the head a norm per block, adapter and shared layer.
    let expected = [
        ("BLSTM", 2),
        ("attention", 3),
        ("attention to logits", 4),
        ("convolution", 1),
        ("layer norm", 2 + 3 * 2 + 3),
        ("linear (f32)", 3 * 3 + 2),
        ("patches", 1),
    ];
    assert_eq!(operators, expected);
    // From logits to the frames' scores.
    assert!(fused.fusion().num_left <= 6, "{}", fused.fusion());
    for num_steps in [62, 1, 17] {
        let difference = difference(&scores(&fused, num_steps), &scores(&unfused, num_steps));
        println!("{num_steps} steps: {difference:e}");
        assert!(difference < 1e-4, "{num_steps} steps: {difference}");
    }
}

/// A norm of a value with three axes looks like ours until shapes are known.
#[test]
fn shapes_that_do_not_fit_are_left_to_tract() {
    let config = ModelConfig::tiny();
    let file = write_onnx(&config, &random_tensors(&config, 1).unwrap(), &tiny_info()).unwrap();
    let mut proto = ModelProto::decode(file.as_slice()).unwrap();
    let graph = proto.graph.as_mut().unwrap();
    let at = graph.node.iter().position(|node| node.op_type == "LayerNormalization").unwrap();
    let node = |op: &str, input: &[&str], output: &str| NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: input.iter().map(|name| (*name).to_string()).collect(),
        output: vec![output.to_string()],
        ..NodeProto::default()
    };
    let (before, after) = (graph.node[at].input[0].clone(), graph.node[at].output[0].clone());
    graph.node[at].input[0] = "deeper".into();
    graph.node[at].output[0] = "normed".into();
    graph.node.insert(at + 1, node("Reshape", &["normed", "flat"], &after));
    graph.node.insert(at, node("Reshape", &[&before, "deep"], "deeper"));
    for (name, extents) in [("deep", vec![1, -1, 16_i64]), ("flat", vec![-1, 16])] {
        graph.initializer.push(TensorProto {
            dims: vec![extents.len() as i64],
            data_type: DataType::Int64 as i32,
            name: name.into(),
            raw_data: extents.iter().flat_map(|n| n.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
    }
    let mut hash = Sha256::new();
    graph.initializer.iter().for_each(|tensor| hash.update(&tensor.raw_data));
    let hash = hex::encode(hash.finalize());
    let entry = |key: &str| key == aesa::model::KEY_WEIGHTS_SHA256;
    proto.metadata_props.iter_mut().filter(|p| entry(&p.key)).for_each(|p| p.value.clone_from(&hash));
    let model = TractModel::from_bytes(&sealed(proto.encode_to_vec())).unwrap();
    assert_eq!(model.fusion().operators, []);
    let original = TractModel::from_bytes(&file).unwrap();
    assert!(original.fusion().operators.len() >= 7, "{}", original.fusion());
    assert!(difference(&scores(&model, 5), &scores(&original, 5)) < 1e-4);
}

/// The file with its own hash put right.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let entry = [KEY_FILE_SHA256.as_bytes(), &[0x12, 64]].concat();
    let at = bytes.windows(entry.len()).position(|window| window == entry).unwrap() + entry.len();
    bytes[at..at + 64].fill(b'0');
    let hash = hex::encode(Sha256::digest(&bytes));
    bytes[at..at + 64].copy_from_slice(hash.as_bytes());
    bytes
}

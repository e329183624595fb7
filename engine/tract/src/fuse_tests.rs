//! Each pattern against tract's own operators, and graphs in which one no longer matches.

use aesa::Policy;
use aesa::model::ModelInfo;
use aesa_export::{
    EncoderConfig, ExportOptions, ModelConfig, Storage, random_tensors, tiny_info, write_onnx_with,
};
use aesa_onnx::{Extent, Message, ModelProto, TypeValue};

use super::*;
use crate::file::State;
use crate::graph::Network;

const WINDOWS: Policy = Policy::Windowed { window_steps: 62 };
/// Inputs below are shorter than what the first keeps, and longer than the second does; the third keeps nothing.
const CHUNKS: [Policy; 3] = [
    Policy::Chunked { chunk_steps: 2, left_steps: 4 },
    Policy::Chunked { chunk_steps: 1, left_steps: 1 },
    Policy::Chunked { chunk_steps: 2, left_steps: 0 },
];
/// tract takes long to optimise a graph of nodes: not every storage with every policy.
const CASES: [(Storage, Policy); 6] = [
    (Storage::F32, WINDOWS),
    (Storage::F32, CHUNKS[0]),
    (Storage::F32, CHUNKS[1]),
    (Storage::F32, CHUNKS[2]),
    (Storage::F16, CHUNKS[0]),
    (Storage::Int8, CHUNKS[0]),
];

fn graph(config: &ModelConfig, storage: Storage, policy: Policy) -> GraphProto {
    let options = ExportOptions { storage, ..ExportOptions::default() };
    let info = ModelInfo { policy, ..tiny_info() };
    let file = write_onnx_with(config, &random_tensors(config, 1).unwrap(), &info, &options).unwrap();
    ModelProto::decode(file.as_slice()).unwrap().graph.unwrap()
}

fn states(graph: &GraphProto) -> Vec<State> {
    let names = graph.input.iter().filter_map(|input| Some((input, input.name.strip_prefix("past.")?)));
    names
        .map(|(input, name)| {
            let Some(TypeValue::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref())
            else {
                panic!("{name} is no tensor")
            };
            let size = |extent: &Option<Extent>| match extent {
                Some(Extent::DimValue(n)) => *n as usize,
                _ => panic!("{name} has a free size"),
            };
            let shape =
                tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| size(&dim.value)).collect();
            State { past: input.name.clone(), present: format!("present.{name}"), shape }
        })
        .collect()
}

/// What a graph gives for one input after another, its states carried on, and what of it is fused.
fn outputs(graph: &GraphProto, patterns: &[Find]) -> (Fusion, Vec<TVec<TValue>>) {
    let network = Network::new(graph.clone(), states(graph), patterns).unwrap();
    let plans = [3, 1].map(|num_steps| {
        let plan = network.wire(num_steps).unwrap().into_optimized().unwrap().into_runnable().unwrap();
        (num_steps, plan)
    });
    let mut states: TVec<TValue> = network
        .states()
        .iter()
        .map(|state| Tensor::zero::<f32>(&state.shape).unwrap().into_tvalue())
        .collect();
    let [long, short] = &plans;
    let outputs = [long, long, short, long].map(|(num_steps, plan)| {
        let values: Vec<f32> =
            (0..num_steps * 16 * 128).map(|i| ((i * 7919 + num_steps) % 1009) as f32 / 504.5 - 1.0).collect();
        let features = Tensor::from_shape(&[1, num_steps * 16, 128], &values).unwrap();
        let inputs = core::iter::once(features.into_tvalue()).chain(states.iter().cloned()).collect();
        let outputs = plan.run(inputs).unwrap();
        states = outputs[1..].into();
        outputs
    });
    (network.fusion(), outputs.into())
}

/// The largest difference of scores, and of states.
fn differences(a: &[TVec<TValue>], b: &[TVec<TValue>]) -> (f32, f32) {
    let largest = |a: &TValue, b: &TValue| {
        assert_eq!(a.shape(), b.shape());
        let [a, b] = [a, b].map(|value| value.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let (mut scores, mut states) = (0.0_f32, 0.0_f32);
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.len(), b.len());
        scores = scores.max(largest(&a[0], &b[0]));
        states = a[1..].iter().zip(&b[1..]).map(|(a, b)| largest(a, b)).fold(states, f32::max);
    }
    (scores, states)
}

/// Largest differences of scores (0 to 10) and of states. Where int8 is fused, a product's last bit can make a number its neighbour.
fn check_equal(name: &str, storage: Storage, (scores, states): (f32, f32)) {
    let (score_bound, state_bound) = if storage == Storage::Int8 { (0.02, 0.1) } else { (1e-4, 1e-4) };
    println!("{name}: scores {scores:e}, states {states:e}");
    assert!(scores <= score_bound && states <= state_bound, "{name}: {scores:e}, {states:e}");
}

#[test]
fn each_pattern_alone_equals_the_nodes() {
    for (storage, policy) in CASES {
        let graph = graph(&ModelConfig::tiny(), storage, policy);
        let (none, expected) = outputs(&graph, &[]);
        assert_eq!(none.operators, []);
        let mut names = HashSet::new();
        for pattern in PATTERNS {
            let (fusion, actual) = outputs(&graph, &[*pattern]);
            names.extend(fusion.operators.iter().map(|(name, _)| *name));
            let name = format!("{storage:?}, {policy:?}: {fusion}");
            assert!(fusion.num_left < none.num_left, "{name}");
            check_equal(&name, storage, differences(&actual, &expected));
        }
        let linear = if storage == Storage::Int8 { "linear (int8)" } else { "linear (f32)" };
        let others =
            ["attention", "attention to logits", "BLSTM", "convolution", "patches", "GELU", "layer norm"];
        for name in others.into_iter().chain([linear]) {
            assert!(names.contains(name), "{storage:?}, {policy:?}: no {name}");
        }
    }
}

/// Every shape of network that the exporter writes.
#[test]
fn all_patterns_equal_the_nodes_in_every_network() {
    let tiny = ModelConfig::tiny();
    let encoder = |edit: fn(&mut EncoderConfig)| {
        let mut config = tiny.clone();
        edit(&mut config.encoder);
        config
    };
    let mut without_norms = tiny.clone();
    without_norms.head.layer_norm = false;
    let cases = [
        ("tiny", tiny.clone(), 2),
        ("smallest", ModelConfig::smallest(), 1),
        ("norm first", encoder(|e| (e.deep_norm, e.layer_norm_first) = (false, true)), 2),
        ("no deep norm", encoder(|e| e.deep_norm = false), 2),
        ("no gate", encoder(|e| e.gru_rel_pos = false), 2),
        ("no position bias", encoder(|e| e.relative_position_embedding = false), 2),
        ("no projection", encoder(|e| e.embed_dim = e.encoder_embed_dim), 2),
        ("short bias", encoder(|e| (e.num_buckets, e.max_distance) = (8, 5)), 2),
        ("odd taps", encoder(|e| e.conv_pos = 7), 2),
        ("head without norms", without_norms, 2),
    ];
    for (name, config, num_blocks) in cases {
        // All cases once, then the one in which keys and values are kept.
        let cases = if name == "tiny" { &CASES[..] } else { &CASES[1..2] };
        for &(storage, policy) in cases {
            let graph = graph(&config, storage, policy);
            let (fusion, actual) = outputs(&graph, PATTERNS);
            let name = format!("{name}, {storage:?}, {policy:?}: {fusion}");
            let (_, expected) = outputs(&graph, &[]);
            check_equal(&name, storage, differences(&actual, &expected));
            assert_eq!(count(&fusion, "attention"), num_blocks, "{name}");
            assert_eq!(count(&fusion, "attention to logits"), 4, "{name}");
            assert_eq!(count(&fusion, "BLSTM"), config.head.lstm_layers as usize, "{name}");
            assert_eq!(count(&fusion, "GELU"), 0, "{name}");
        }
    }
}

fn count(fusion: &Fusion, name: &str) -> usize {
    fusion.operators.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
}

type Edit = Box<dyn Fn(&mut GraphProto)>;

/// One more taker of what the first node of this operator gives.
fn elsewhere(operator: &'static str) -> Edit {
    Box::new(move |graph| {
        let node = graph.node.iter().find(|node| node.op_type == operator).expect("the operator is there");
        let input = vec![node.output[0].clone()];
        let taker = NodeProto {
            op_type: "Identity".to_string(),
            name: "elsewhere".to_string(),
            input,
            output: vec!["elsewhere".to_string()],
            ..NodeProto::default()
        };
        graph.node.push(taker);
    })
}

/// Another number in place of an f32 constant without axes.
fn constant(from: f32, to: f32) -> Edit {
    Box::new(move |graph| {
        let all = graph
            .initializer
            .iter_mut()
            .filter(|c| c.dims.is_empty() && c.data_type == DataType::Float as i32);
        let mut num_changed = 0;
        for constant in all.filter(|c| c.raw_data == from.to_le_bytes()) {
            constant.raw_data = to.to_le_bytes().to_vec();
            num_changed += 1;
        }
        assert_eq!(num_changed, 1, "{from}");
    })
}

/// Another epsilon in the first layer norm.
fn epsilon() -> Edit {
    Box::new(|graph| {
        let norm = graph.node.iter_mut().find(|node| node.op_type == "LayerNormalization");
        let attributes = norm.expect("there is a norm").attribute.iter_mut();
        attributes.filter(|a| a.name == "epsilon").for_each(|a| a.f = 1e-2);
    })
}

/// Another end of the position bias' distances, on one side.
fn farthest() -> Edit {
    Box::new(|graph| {
        let node =
            graph.node.iter_mut().find(|node| node.op_type == "Max" && node.name.contains("position_bias"));
        let far = node.expect("there is a position bias").input[1].clone();
        let constant = graph.initializer.iter_mut().find(|c| c.name == far).expect("it is a constant");
        constant.raw_data = (-3_i64).to_le_bytes().to_vec();
    })
}

/// No name is looked at: all are others.
fn renamed() -> Edit {
    Box::new(|graph| {
        let interface = graph.input.iter().chain(&graph.output).map(|value| value.name.clone());
        let kept: HashSet<String> = interface.chain([String::new()]).collect();
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut rename = |name: &mut String| {
            if !kept.contains(name) {
                let next = numbers.len();
                *name = format!("v{}", numbers.entry(name.clone()).or_insert(next));
            }
        };
        graph.initializer.iter_mut().for_each(|c| rename(&mut c.name));
        for node in &mut graph.node {
            node.input.iter_mut().for_each(&mut rename);
            node.output.iter_mut().for_each(&mut rename);
            node.name = node.output[0].clone();
        }
    })
}

#[test]
fn what_does_not_match_is_left_to_tract() {
    let (f32, int8) = (Storage::F32, Storage::Int8);
    let cases: Vec<(&str, Storage, &str, Edit)> = vec![
        ("weights of attention are taken elsewhere", f32, "attention", elsewhere("Softmax")),
        ("logits' sum is taken elsewhere", f32, "attention to logits", elsewhere("ReduceSum")),
        ("the LSTM's output is taken elsewhere", f32, "BLSTM", elsewhere("LSTM")),
        ("the convolution's or patches' output is taken elsewhere", f32, "patches", elsewhere("Conv")),
        ("a product is taken elsewhere", f32, "linear (f32)", elsewhere("MatMul")),
        ("the sums of integers are taken elsewhere", int8, "attention", elsewhere("MatMulInteger")),
        ("another gate", f32, "attention", constant(2.0, 2.5)),
        ("another GELU", f32, "convolution", constant(0.5, 0.4)),
        ("another step of int8", int8, "linear (int8)", constant(1.0 / 127.0, 1.0 / 100.0)),
        ("another epsilon", f32, "layer norm", epsilon()),
        ("other distances", f32, "attention", farthest()),
        ("another mask", f32, "attention to logits", constant(1e4, 1.0)),
    ];
    for (name, storage, operator, edit) in cases {
        let policy = if name == "another mask" { CHUNKS[0] } else { WINDOWS };
        let mut graph = graph(&ModelConfig::tiny(), storage, policy);
        let (before, _) = outputs(&graph, PATTERNS);
        edit(&mut graph);
        let (after, actual) = outputs(&graph, PATTERNS);
        let name = format!("{name}: {after}");
        assert!(count(&after, operator) < count(&before, operator), "{name}, not fewer {operator}: {before}");
        check_equal(&name, storage, differences(&actual, &outputs(&graph, &[]).1));
    }
}

#[test]
fn names_do_not_matter() {
    for policy in [WINDOWS, CHUNKS[0]] {
        let mut graph = graph(&ModelConfig::tiny(), Storage::Int8, policy);
        let (before, expected) = outputs(&graph, PATTERNS);
        renamed()(&mut graph);
        let (after, actual) = outputs(&graph, PATTERNS);
        assert_eq!(after, before);
        assert_eq!(differences(&actual, &expected), (0.0, 0.0), "{policy:?}");
    }
}

#[test]
fn operands_of_sums_and_products_may_change_places() {
    let mut graph = graph(&ModelConfig::tiny(), Storage::F32, WINDOWS);
    let (before, expected) = outputs(&graph, PATTERNS);
    // Gates and their constants, biases, GELU: all that has one tensor and one constant.
    let is_constant = |name: &String| graph.initializer.iter().any(|c| c.name == *name);
    let swapped: Vec<bool> = graph
        .node
        .iter()
        .map(|node| {
            ["Add", "Mul"].contains(&node.op_type.as_str())
                && is_constant(&node.input[1])
                && !node.name.contains("position_bias")
        })
        .collect();
    assert!(swapped.iter().filter(|swapped| **swapped).count() > 50);
    graph.node.iter_mut().zip(swapped).filter(|(_, s)| *s).for_each(|(node, _)| node.input.swap(0, 1));
    let (after, actual) = outputs(&graph, PATTERNS);
    assert_eq!(after, before);
    assert_eq!(differences(&actual, &expected), (0.0, 0.0));
}

#[test]
fn a_name_that_is_given_twice_fuses_nothing() {
    let mut graph = graph(&ModelConfig::tiny(), Storage::F32, WINDOWS);
    let copy = graph.initializer[0].clone();
    graph.initializer.push(copy);
    assert!(Nodes::new(&graph).is_none());
    let network = Network::new(graph, Vec::new(), PATTERNS).unwrap();
    assert_eq!(network.fusion().operators, []);
}

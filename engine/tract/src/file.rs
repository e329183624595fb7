//! The ONNX file: parsed and checked before tract sees it.

use aesa::Policy;
use aesa::fbank::NUM_MEL_BINS;
use aesa::model::{KEY_FILE_SHA256, KEY_NUM_PARAMETERS, KEY_WEIGHTS_SHA256, ModelInfo};
use aesa::score::NUM_AXES;
use aesa_onnx::{DataType, Extent, GraphProto, Message, ModelProto, TensorProto, TypeValue, ValueInfoProto};
use sha2::{Digest, Sha256};

use crate::error::TractError;
use crate::fuse::Find;
use crate::graph::Network;
use crate::model::TensorInfo;
use crate::operators::OPSET;

/// The network's input.
pub(crate) const INPUT: &str = "fbank";
/// The scores of each step: the first of the outputs.
pub(crate) const FRAME_SCORES: &str = "frame_scores";
/// What a graph that scores windows puts out beside them.
const CLIP_SCORES: &str = "clip_scores";
/// How the names of what a chunk takes from the chunks before it begin, and of what it leaves to the next.
const PAST: &str = "past.";
const PRESENT: &str = "present.";

/// What a graph that scores chunks carries from one to the next.
pub(crate) struct State {
    /// The input's name.
    pub(crate) past: String,
    /// The output's name.
    pub(crate) present: String,
    pub(crate) shape: Vec<usize>,
}

/// A file that passed every check.
pub(crate) struct CheckedFile {
    pub(crate) network: Network,
    pub(crate) info: ModelInfo,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) num_parameters: u64,
    pub(crate) opset: i64,
    pub(crate) inputs: Vec<TensorInfo>,
    pub(crate) outputs: Vec<TensorInfo>,
}

/// Parses and checks the bytes of a model file, and fuses `patterns` of its graph.
pub(crate) fn check(bytes: &[u8], patterns: &[Find]) -> Result<CheckedFile, TractError> {
    let proto = ModelProto::decode(bytes).map_err(|e| TractError::NotOnnx { cause: e.to_string() })?;
    let graph = proto.graph.ok_or(TractError::NotOnnx { cause: "it has no graph".to_string() })?;
    let metadata: Vec<(String, String)> =
        proto.metadata_props.iter().map(|p| (p.key.clone(), p.value.clone())).collect();
    let find = |key: &str| metadata.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let file_hash = file_sha256(bytes);
    if find(KEY_FILE_SHA256).is_some() && find(KEY_FILE_SHA256) != file_hash.as_deref() {
        return Err(TractError::Hash { key: KEY_FILE_SHA256 });
    }
    let info = ModelInfo::from_pairs(metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())))
        .map_err(TractError::Info)?;
    for (key, actual) in [(KEY_FILE_SHA256, file_hash), (KEY_WEIGHTS_SHA256, Some(weights_sha256(&graph)))] {
        if actual.is_none() || find(key) != actual.as_deref() {
            return Err(TractError::Hash { key });
        }
    }
    graph.initializer.iter().try_for_each(check_initializer)?;
    let num_parameters = find(KEY_NUM_PARAMETERS).and_then(|n| n.parse().ok());
    let num_parameters = num_parameters.unwrap_or_else(|| count_parameters(&graph));
    let is_initializer = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let inputs: Vec<TensorInfo> =
        graph.input.iter().filter(|input| !is_initializer(&input.name)).map(tensor_info).collect();
    let outputs: Vec<TensorInfo> = graph.output.iter().map(tensor_info).collect();
    let states = check_interface(info.policy, &inputs, &outputs)?;
    let opset = proto.opset_import.iter().find(|o| o.domain.is_empty()).map_or(0, |o| o.version);
    if opset != OPSET {
        return refuse(format!("its operators are those of ONNX's set {opset}, not {OPSET}"));
    }
    let network = Network::new(graph, states, patterns)?;
    Ok(CheckedFile { info, metadata, num_parameters, opset, inputs, outputs, network })
}

/// The inputs and the outputs must be there, with the shapes that the engine feeds and reads. Gives the states: none in a
/// graph that scores windows.
fn check_interface(
    policy: Policy,
    inputs: &[TensorInfo],
    outputs: &[TensorInfo],
) -> Result<Vec<State>, TractError> {
    let (mel, axes) = (Some(NUM_MEL_BINS), Some(NUM_AXES));
    expect(inputs, INPUT, &[Some(1), None, mel])?;
    expect(outputs, FRAME_SCORES, &[Some(1), None, axes])?;
    let others: Vec<&TensorInfo> = inputs.iter().filter(|input| input.name != INPUT).collect();
    if let Policy::Windowed { .. } = policy {
        expect(outputs, CLIP_SCORES, &[Some(1), axes])?;
        return match others.first() {
            Some(other) => refuse(format!("a graph for windows has no input {other}")),
            None => Ok(Vec::new()),
        };
    }
    let state = |input: &TensorInfo| {
        let sizes: Option<Vec<usize>> = input.shape.iter().map(|dim| dim.parse().ok()).collect();
        let known = input.name.strip_prefix(PAST).zip(sizes);
        let Some((name, shape)) = known.filter(|(_, shape)| num_values(shape).is_some()) else {
            return refuse(format!("{input} is no state that a chunk could take"));
        };
        let present = format!("{PRESENT}{name}");
        let expected: Vec<Option<usize>> = shape.iter().copied().map(Some).collect();
        expect(inputs, &input.name, &expected)?;
        expect(outputs, &present, &expected)?;
        Ok(State { past: input.name.clone(), present, shape })
    };
    let states: Vec<State> = others.into_iter().map(state).collect::<Result<_, TractError>>()?;
    if states.is_empty() {
        return refuse("a graph for chunks takes nothing from the chunks before".to_string());
    }
    match states.iter().map(|state| state.shape.iter().product::<usize>()).sum::<usize>() {
        0..=MAX_STATE_VALUES => Ok(states),
        values => refuse(format!("its states have {values} values, more than {MAX_STATE_VALUES}")),
    }
}

/// How many values a state has, unless more than [`MAX_STATE_VALUES`].
fn num_values(shape: &[usize]) -> Option<usize> {
    let product = shape.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
    product.filter(|n| *n <= MAX_STATE_VALUES)
}

/// The most values of all states: a bound on memory, far above any model's.
const MAX_STATE_VALUES: usize = 1 << 26;

/// Refuses a graph without a tensor of this name, of f32 and of this shape (`None` is a free size).
fn expect(tensors: &[TensorInfo], name: &str, expected: &[Option<usize>]) -> Result<(), TractError> {
    let Some(tensor) = tensors.iter().find(|t| t.name == name) else {
        let names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
        return refuse(format!("{name} is missing among {names:?}"));
    };
    let fits = tensor.element == "f32"
        && tensor.shape.len() == expected.len()
        && tensor.shape.iter().zip(expected).all(|(dim, size)| match size {
            Some(size) => *dim == size.to_string(),
            None => dim.parse::<i64>().is_err(),
        });
    if fits { Ok(()) } else { refuse(format!("{tensor} has another type or shape than this engine's")) }
}

fn refuse<T>(cause: String) -> Result<T, TractError> {
    Err(TractError::Interface { cause })
}

/// An initialiser must hold exactly the bytes that its shape asks for.
fn check_initializer(tensor: &TensorProto) -> Result<(), TractError> {
    let refuse = |what: &str| Err(TractError::Interface { cause: format!("tensor {} {what}", tensor.name) });
    if !tensor.external_data.is_empty() {
        return refuse("lies in another file");
    }
    let element_bytes = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => 4,
        Ok(DataType::Int64) => 8,
        Ok(DataType::Int8) => 1,
        Ok(DataType::Float16) => 2,
        _ => return refuse("has an unsupported type"),
    };
    let num_bytes = tensor
        .dims
        .iter()
        .try_fold(element_bytes, |product: u64, dim| product.checked_mul(u64::try_from(*dim).ok()?));
    if num_bytes != Some(tensor.raw_data.len() as u64) {
        return refuse("has another size than its shape");
    }
    Ok(())
}

/// Numbers in all initialisers that are not index or shape tensors.
fn count_parameters(graph: &GraphProto) -> u64 {
    let is_weight = |tensor: &&TensorProto| tensor.data_type != DataType::Int64 as i32;
    graph.initializer.iter().filter(is_weight).map(|t| t.dims.iter().product::<i64>().unsigned_abs()).sum()
}

fn weights_sha256(graph: &GraphProto) -> String {
    let mut hash = Sha256::new();
    graph.initializer.iter().for_each(|tensor| hash.update(&tensor.raw_data));
    hex::encode(hash.finalize())
}

/// The hash that [`KEY_FILE_SHA256`] describes; `None` where the bytes hold no such entry.
fn file_sha256(bytes: &[u8]) -> Option<String> {
    // In protobuf the value follows the key as field 2 with a length of 64 bytes.
    let entry = [KEY_FILE_SHA256.as_bytes(), &[0x12, HASH_DIGITS as u8]].concat();
    let start = bytes.windows(entry.len()).rposition(|window| window == entry)? + entry.len();
    let end = start + HASH_DIGITS;
    let mut hash = Sha256::new();
    hash.update(bytes.get(..start)?);
    hash.update([b'0'; HASH_DIGITS]);
    hash.update(bytes.get(end..)?);
    Some(hex::encode(hash.finalize()))
}

const HASH_DIGITS: usize = 64;

/// Name, element type and shape of a graph's input or output.
fn tensor_info(value: &ValueInfoProto) -> TensorInfo {
    let mut info = TensorInfo { name: value.name.clone(), element: "?".to_string(), shape: Vec::new() };
    if let Some(TypeValue::TensorType(tensor)) = value.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        info.element = match DataType::try_from(tensor.elem_type) {
            Ok(DataType::Float) => "f32".to_string(),
            Ok(other) => format!("{other:?}").to_ascii_lowercase(),
            Err(_) => "?".to_string(),
        };
        let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
        info.shape = dims
            .map(|dim| match &dim.value {
                Some(Extent::DimValue(size)) => size.to_string(),
                Some(Extent::DimParam(name)) => name.clone(),
                None => "?".to_string(),
            })
            .collect();
    }
    info
}

//! A small builder of ONNX graphs.
//!
//! Every node has one output, named as the node; weights are initialisers with `raw_data`, in the order in which they
//! were added.

use std::collections::{BTreeMap, BTreeSet};

use aesa_onnx::{
    AttributeProto, AttributeType, DataType, Dimension, Extent, GraphProto, NodeProto, TensorProto,
    TensorShapeProto, TensorType, TypeProto, TypeValue, ValueInfoProto,
};

use crate::storage::{Quantised, Storage};
use crate::tensors::to_le_bytes;

/// The name of something that a node can take: an input, an initialiser or another node's output.
#[derive(Clone, Debug)]
pub(crate) struct Value(pub(crate) String);

/// A graph under construction.
#[derive(Default)]
pub(crate) struct Graph {
    proto: GraphProto,
    scalars: BTreeSet<String>,
    storage: Storage,
    /// What was made of each value's rows, by the value's name.
    quantised: BTreeMap<String, Quantised>,
}

/// One axis of an input or output.
pub(crate) enum Dim {
    Fixed(usize),
    Free(&'static str),
}

/// Attributes of one node.
pub(crate) type Attributes = Vec<AttributeProto>;

impl Graph {
    /// An empty graph whose weights are stored so.
    pub(crate) fn new(storage: Storage) -> Self {
        Self { storage, ..Self::default() }
    }

    pub(crate) fn storage(&self) -> Storage {
        self.storage
    }

    pub(crate) fn quantised_values(&mut self) -> &mut BTreeMap<String, Quantised> {
        &mut self.quantised
    }

    pub(crate) fn input(&mut self, name: &str, shape: &[Dim]) -> Value {
        self.proto.input.push(value_info(name, shape));
        Value(name.to_string())
    }

    /// Makes `value` an output called `name`.
    pub(crate) fn output(&mut self, name: &str, value: &Value, shape: &[Dim]) {
        self.node(name, "Identity", &[value], vec![]);
        self.proto.output.push(value_info(name, shape));
    }

    pub(crate) fn finish(mut self, name: &str) -> GraphProto {
        self.proto.name = name.to_string();
        self.proto
    }

    /// Adds one node.
    pub(crate) fn node(&mut self, name: &str, op: &str, inputs: &[&Value], attribute: Attributes) -> Value {
        self.proto.node.push(NodeProto {
            name: name.to_string(),
            op_type: op.to_string(),
            input: inputs.iter().map(|v| v.0.clone()).collect(),
            output: vec![name.to_string()],
            attribute,
            ..NodeProto::default()
        });
        Value(name.to_string())
    }

    /// Adds one node with several outputs, `name` and `name.1` and so on. An input called "" is left out.
    pub(crate) fn node_with<const N: usize>(
        &mut self,
        name: &str,
        op: &str,
        inputs: &[&Value],
        attribute: Attributes,
    ) -> [Value; N] {
        let first = self.node(name, op, inputs, attribute);
        let outputs: [Value; N] =
            core::array::from_fn(|i| if i == 0 { first.clone() } else { Value(format!("{name}.{i}")) });
        if let Some(node) = self.proto.node.last_mut() {
            node.output = outputs.iter().map(|value| value.0.clone()).collect();
        }
        outputs
    }

    /// An f32 initialiser; `data` is row-major.
    pub(crate) fn weight(&mut self, name: &str, shape: &[usize], data: &[f32]) -> Value {
        self.initializer(name, shape, DataType::Float, to_le_bytes(data))
    }

    /// A one-dimensional i64 initialiser.
    pub(crate) fn ints(&mut self, name: &str, data: &[i64]) -> Value {
        let bytes = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(name, &[data.len()], DataType::Int64, bytes)
    }

    /// An f32 constant without axes; equal ones are stored once.
    pub(crate) fn scalar(&mut self, value: f32) -> Value {
        let name = format!("scalar.{value}");
        if !self.scalars.insert(name.clone()) {
            return Value(name);
        }
        self.initializer(&name, &[], DataType::Float, value.to_le_bytes().to_vec())
    }

    /// An i64 constant without axes; equal ones are stored once.
    pub(crate) fn int_scalar(&mut self, value: i64) -> Value {
        let name = format!("int.{value}");
        if !self.scalars.insert(name.clone()) {
            return Value(name);
        }
        self.initializer(&name, &[], DataType::Int64, value.to_le_bytes().to_vec())
    }

    /// A constant of any type; `raw_data` is little-endian and row-major.
    pub(crate) fn initializer(
        &mut self,
        name: &str,
        shape: &[usize],
        data_type: DataType,
        raw_data: Vec<u8>,
    ) -> Value {
        self.proto.initializer.push(TensorProto {
            name: name.to_string(),
            dims: shape.iter().map(|&n| n as i64).collect(),
            data_type: data_type as i32,
            raw_data,
            ..TensorProto::default()
        });
        Value(name.to_string())
    }

    pub(crate) fn add(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.node(name, "Add", &[a, b], vec![])
    }

    pub(crate) fn mul(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.node(name, "Mul", &[a, b], vec![])
    }

    pub(crate) fn matmul(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.node(name, "MatMul", &[a, b], vec![])
    }

    pub(crate) fn transpose(&mut self, name: &str, x: &Value, order: &[i64]) -> Value {
        self.node(name, "Transpose", &[x], vec![ints("perm", order)])
    }

    /// At most one extent of `shape` is -1: whatever is left.
    pub(crate) fn reshape(&mut self, name: &str, x: &Value, shape: &[i64]) -> Value {
        let shape = self.ints(&format!("{name}.shape"), shape);
        self.node(name, "Reshape", &[x, &shape], vec![])
    }

    /// Entries `start..end` along one axis; negative ones count from its end.
    pub(crate) fn slice(&mut self, name: &str, x: &Value, axis: usize, start: i64, end: i64) -> Value {
        let [starts, ends, axes] = [("starts", start), ("ends", end), ("axes", axis as i64)]
            .map(|(which, value)| self.ints(&format!("{name}.{which}"), &[value]));
        self.node(name, "Slice", &[x, &starts, &ends, &axes], vec![])
    }

    /// The extent of the first axis, as an i64 without axes.
    pub(crate) fn count(&mut self, name: &str, x: &Value) -> Value {
        let zero = self.int_scalar(0);
        let shape = self.node(&format!("{name}.shape"), "Shape", &[x], vec![]);
        self.node(name, "Gather", &[&shape, &zero], vec![int("axis", 0)])
    }

    /// `first` to one below the extent of the first axis of `x`, as i64.
    pub(crate) fn token_index(&mut self, name: &str, x: &Value, first: i64) -> Value {
        let count = self.count(&format!("{name}.count"), x);
        let (first, one) = (self.int_scalar(first), self.int_scalar(1));
        self.node(name, "Range", &[&first, &count, &one], vec![])
    }

    pub(crate) fn cast(&mut self, name: &str, x: &Value, to: DataType) -> Value {
        self.node(name, "Cast", &[x], vec![int("to", to as i64)])
    }

    pub(crate) fn cast_f32(&mut self, name: &str, x: &Value) -> Value {
        self.cast(name, x, DataType::Float)
    }

    /// Softmax over the last axis.
    pub(crate) fn softmax(&mut self, name: &str, x: &Value) -> Value {
        self.node(name, "Softmax", &[x], vec![int("axis", -1)])
    }

    /// Normalises the last axis, epsilon 1e-5 as in PyTorch.
    pub(crate) fn layer_norm(&mut self, name: &str, x: &Value, weight: &[f32], bias: &[f32]) -> Value {
        let scale = self.weight(&format!("{name}.weight"), &[weight.len()], weight);
        let bias = self.weight(&format!("{name}.bias"), &[bias.len()], bias);
        let attributes = vec![int("axis", -1), float("epsilon", 1e-5)];
        self.node(name, "LayerNormalization", &[x, &scale, &bias], attributes)
    }

    /// `x/2 * (1 + erf(x / sqrt(2)))`; ONNX has no Gelu before opset 20.
    pub(crate) fn gelu(&mut self, name: &str, x: &Value) -> Value {
        let (factor, one, half) =
            (self.scalar(core::f32::consts::FRAC_1_SQRT_2), self.scalar(1.0), self.scalar(0.5));
        let scaled = self.mul(&format!("{name}.scaled"), x, &factor);
        let erf = self.node(&format!("{name}.erf"), "Erf", &[&scaled], vec![]);
        let gate = self.add(&format!("{name}.gate"), &erf, &one);
        let halved = self.mul(&format!("{name}.half"), x, &half);
        self.mul(name, &halved, &gate)
    }
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeType::Int) }
}

pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, AttributeType::Float) }
}

pub(crate) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attribute(name, AttributeType::Ints) }
}

pub(crate) fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: s.as_bytes().to_vec(), ..attribute(name, AttributeType::String) }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_string(), r#type: kind as i32, ..AttributeProto::default() }
}

fn value_info(name: &str, shape: &[Dim]) -> ValueInfoProto {
    let dim = shape.iter().map(dimension).collect();
    let tensor = TensorType { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    let value = Some(TypeValue::TensorType(tensor));
    let r#type = Some(TypeProto { value });
    ValueInfoProto { name: name.to_string(), r#type }
}

fn dimension(dim: &Dim) -> Dimension {
    let value = match dim {
        Dim::Fixed(n) => Extent::DimValue(*n as i64),
        Dim::Free(name) => Extent::DimParam(name.to_string()),
    };
    Dimension { value: Some(value) }
}

//! The nodes of a file as a graph, to find patterns in: by operators, constants and who takes what, never by name.

use std::collections::{HashMap, HashSet};

use aesa_onnx::{AttributeProto, DataType, GraphProto, NodeProto, TensorProto};

use crate::constants::{Floats, Int8Floats, Stored};

/// Who gives and who takes each value of a graph.
pub(crate) struct Nodes<'a> {
    pub(crate) nodes: &'a [NodeProto],
    constants: HashMap<&'a str, &'a TensorProto>,
    giver: HashMap<&'a str, usize>,
    takers: HashMap<&'a str, Vec<usize>>,
    /// Nodes that belong to a pattern already.
    taken: Vec<bool>,
}

impl<'a> Nodes<'a> {
    /// `None` where a name stands for two values: what belongs together cannot be told by it.
    pub(crate) fn new(graph: &'a GraphProto) -> Option<Self> {
        let nodes = &graph.node;
        let outputs = |node: &'a NodeProto| node.output.iter().map(String::as_str);
        let constants: HashMap<_, _> = graph.initializer.iter().map(|c| (c.name.as_str(), c)).collect();
        let given: Vec<(&str, usize)> =
            nodes.iter().enumerate().flat_map(|(i, node)| outputs(node).map(move |name| (name, i))).collect();
        let inputs: HashSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
        let is_known = |name: &str| constants.contains_key(name) || inputs.contains(name);
        let giver: HashMap<_, _> = given.iter().copied().collect();
        let is_unique = constants.len() == graph.initializer.len() && giver.len() == given.len();
        if !is_unique || given.iter().any(|(name, _)| is_known(name)) {
            return None;
        }
        let mut takers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, node) in nodes.iter().enumerate() {
            node.input.iter().for_each(|name| takers.entry(name).or_default().push(i));
        }
        // The caller, too, takes what it gets.
        graph.output.iter().for_each(|output| takers.entry(&output.name).or_default().push(CALLER));
        Some(Self { nodes, constants, giver, takers, taken: vec![false; nodes.len()] })
    }

    /// How many nodes take each constant.
    pub(crate) fn uses(&self) -> HashMap<String, usize> {
        self.constants.keys().map(|name| ((*name).to_string(), self.takers(name).len())).collect()
    }

    pub(crate) fn is_taken(&self, node: usize) -> bool {
        self.taken[node]
    }

    pub(crate) fn take(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|node| self.taken[*node] = true);
    }

    fn takers(&self, value: &str) -> &[usize] {
        self.takers.get(value).map_or(&[], Vec::as_slice)
    }
}

/// The caller as a taker.
const CALLER: usize = usize::MAX;

/// The search for one pattern, from its last node up. It keeps account of the inner nodes, which go with the pattern: none of them
/// may give anything to the rest of the graph.
pub(crate) struct Trace<'a, 'n> {
    nodes: &'n Nodes<'a>,
    inner: Vec<usize>,
}

impl<'a, 'n> Trace<'a, 'n> {
    pub(crate) fn new(nodes: &'n Nodes<'a>) -> Self {
        Self { nodes, inner: Vec::new() }
    }

    /// The nodes found so far.
    pub(crate) fn into_inner(self) -> Vec<usize> {
        self.inner
    }

    /// The node of this operator that gives `value` to one other node of the pattern, and to nothing else.
    pub(crate) fn inner(&mut self, value: &str, operator: &str) -> Option<&'a NodeProto> {
        self.inner_for(value, operator, 1)
    }

    /// As [`inner`](Self::inner), where the pattern takes the value so many times.
    pub(crate) fn inner_for(
        &mut self,
        value: &str,
        operator: &str,
        num_takers: usize,
    ) -> Option<&'a NodeProto> {
        let node = self.shared(value, operator)?;
        let i = *self.nodes.giver.get(value)?;
        let fits = self.nodes.takers(value).len() == num_takers && node.output.len() == 1;
        (fits && !self.nodes.taken[i]).then(|| self.inner.push(i))?;
        Some(node)
    }

    /// The node of this operator that gives `value`, to whomever.
    pub(crate) fn shared(&self, value: &str, operator: &str) -> Option<&'a NodeProto> {
        let node = &self.nodes.nodes[*self.nodes.giver.get(value)?];
        (node.op_type == operator).then_some(node)
    }

    /// What `find` finds, or nothing, and then no inner node either.
    pub(crate) fn attempt<R>(&mut self, find: impl FnOnce(&mut Self) -> Option<R>) -> Option<R> {
        let before = self.inner.len();
        let found = find(self);
        if found.is_none() {
            self.inner.truncate(before);
        }
        found
    }

    /// What `find` makes of the two inputs of a commutative operator, in one order or the other.
    pub(crate) fn either<R>(
        &mut self,
        node: &'a NodeProto,
        find: impl Fn(&mut Self, &'a str, &'a str) -> Option<R>,
    ) -> Option<R> {
        let [a, b] = node.input.as_slice() else { return None };
        self.attempt(|trace| find(trace, a, b)).or_else(|| self.attempt(|trace| find(trace, b, a)))
    }

    /// The other node that takes `value`, which two do, one of them known: it must be of this operator, and becomes an inner one.
    pub(crate) fn other_taker(
        &mut self,
        value: &str,
        known: &NodeProto,
        operator: &str,
    ) -> Option<&'a NodeProto> {
        let &[a, b] = self.nodes.takers(value) else { return None };
        let at = |i: usize| self.nodes.nodes.get(i).map(|node| (i, node));
        let ((i, a), (j, b)) = (at(a)?, at(b)?);
        let (i, other) = if core::ptr::eq(a, known) { (j, b) } else { (i, a) };
        (other.op_type == operator && !self.nodes.taken[i]).then(|| self.inner.push(i))?;
        Some(other)
    }

    /// The nodes that take `value`; `None` if the caller does.
    pub(crate) fn takers(&self, value: &str) -> Option<Vec<&'a NodeProto>> {
        self.nodes.takers(value).iter().map(|i| self.nodes.nodes.get(*i)).collect()
    }

    /// Makes a node an inner one, which a walk against the arrows has found.
    pub(crate) fn add_inner(&mut self, node: &'a NodeProto) -> Option<()> {
        let i = *self.nodes.giver.get(node.output.first()?.as_str())?;
        (!self.nodes.taken[i]).then(|| self.inner.push(i))
    }

    /// What is transposed to `value`.
    pub(crate) fn transposed(&mut self, value: &str, order: &[i64]) -> Option<&'a str> {
        let node = self.inner(value, "Transpose")?;
        (ints(node, "perm") == Some(order)).then(|| node.input[0].as_str())
    }

    /// What is reshaped to `value`, and to which extents.
    pub(crate) fn reshaped(&mut self, value: &str) -> Option<(&'a str, Vec<i64>)> {
        self.inner(value, "Reshape").and_then(|node| self.reshape(node))
    }

    /// What a node reshapes, and to which extents.
    pub(crate) fn reshape(&self, node: &'a NodeProto) -> Option<(&'a str, Vec<i64>)> {
        Some((node.input[0].as_str(), self.ints(&node.input[1])?))
    }

    /// An f32 constant, be it stored as f16 or as int8.
    pub(crate) fn floats(&mut self, value: &str) -> Option<Floats> {
        if let Some(floats) = self.plain_floats(value) {
            return Some(floats);
        }
        self.attempt(|trace| {
            let cast = trace.inner(value, "Cast")?;
            let name = cast.input[0].as_str();
            let shape = trace.constant(name, DataType::Float16)?;
            (int(cast, "to") == Some(DataType::Float as i64))
                .then(|| Floats::new(shape, Stored::F16(name.into())))
        })
        .or_else(|| self.attempt(|trace| trace.dequantised(value)))
    }

    /// An f32 constant that is stored so.
    pub(crate) fn plain_floats(&self, value: &str) -> Option<Floats> {
        let shape = self.constant(value, DataType::Float)?;
        Some(Floats::new(shape, Stored::F32(value.into())))
    }

    fn dequantised(&mut self, value: &str) -> Option<Floats> {
        let (rows, extents) = self.reshaped(value)?;
        let node = self.inner(rows, "DequantizeLinear")?;
        let [integers, scales, zeros] = node.input.as_slice() else { return None };
        let [rows, inputs] = self.constant(integers, DataType::Int8)?[..] else { return None };
        let fits = self.constant(scales, DataType::Float)? == [rows]
            && self.constant(zeros, DataType::Int8)? == [rows]
            && int(node, "axis") == Some(0);
        let shape: Option<Vec<usize>> = extents.into_iter().map(|n| usize::try_from(n).ok()).collect();
        let shape = shape.filter(|shape| fits && volume(shape) == Some(rows * inputs))?;
        let stored = Int8Floats { integers: integers.clone(), scales: scales.clone(), zeros: zeros.clone() };
        Some(Floats::new(shape, Stored::Int8(stored)))
    }

    /// The shape of a constant of this type.
    pub(crate) fn constant(&self, name: &str, data_type: DataType) -> Option<Vec<usize>> {
        let constant = self.nodes.constants.get(name).filter(|c| c.data_type == data_type as i32)?;
        constant.dims.iter().map(|n| usize::try_from(*n).ok()).collect()
    }

    /// The bytes of a constant.
    fn bytes(&self, name: &str) -> &'a [u8] {
        self.nodes.constants.get(name).map_or(&[], |constant| constant.raw_data.as_slice())
    }

    /// An f32 constant without axes.
    pub(crate) fn scalar(&self, name: &str) -> Option<f32> {
        let shape = self.constant(name, DataType::Float)?;
        let bytes = self.bytes(name).try_into().ok()?;
        shape.is_empty().then(|| f32::from_le_bytes(bytes))
    }

    /// An i64 constant without axes.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        let shape = self.constant(name, DataType::Int64)?;
        let bytes = self.bytes(name).try_into().ok()?;
        shape.is_empty().then(|| i64::from_le_bytes(bytes))
    }

    /// An i64 constant with one axis.
    pub(crate) fn ints(&self, name: &str) -> Option<Vec<i64>> {
        let shape = self.constant(name, DataType::Int64)?;
        let numbers = self.bytes(name).as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
        (shape.len() == 1).then(|| numbers.collect())
    }

    /// Whether all numbers of an f32 constant are 0.
    pub(crate) fn is_zero(&self, name: &str) -> bool {
        let is_f32 = self.constant(name, DataType::Float).is_some();
        is_f32 && self.bytes(name).as_chunks().0.iter().all(|bytes| f32::from_le_bytes(*bytes) == 0.0)
    }

    /// `start` and end of an axis that a node keeps.
    pub(crate) fn slice(&self, node: &NodeProto, axis: i64) -> Option<(i64, i64)> {
        let one = |i: usize| match self.ints(&node.input[i])?[..] {
            [n] => Some(n),
            _ => None,
        };
        (one(3)? == axis).then_some((one(1)?, one(2)?))
    }
}

/// The product of extents, if it can be told.
pub(crate) fn volume(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, n| product.checked_mul(*n))
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

pub(crate) fn int(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name).map(|attribute| attribute.i)
}

pub(crate) fn float(node: &NodeProto, name: &str) -> Option<f32> {
    attribute(node, name).map(|attribute| attribute.f)
}

pub(crate) fn ints<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    attribute(node, name).map(|attribute| attribute.ints.as_slice())
}

pub(crate) fn text<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [u8]> {
    attribute(node, name).map(|attribute| attribute.s.as_slice())
}

//! The pass over a file's nodes that puts our operators in the place of patterns of standard ones.
//!
//! A pattern is told by its operators, by who takes what, and by its constants. What does not match in all of that is left to
//! tract: slower, with the same scores.

use core::fmt;
use std::collections::{BTreeSet, HashSet};

use aesa_kernels::Kernels;
use aesa_onnx::{DataType, GraphProto, NodeProto};
use tract_core::internal::*;

use crate::constants::Constants;
use crate::fused::{Engine, Found, FusedOp, attention, blstm, branch, convolution, linear, norm, patches};
use crate::graph::tensor;
use crate::pattern::{Nodes, Trace};

/// What is computed where in the file one or more nodes stand.
pub(crate) enum Step {
    /// The node itself, by tract.
    Node(NodeProto),
    Fused {
        /// The name of the pattern's last node.
        name: String,
        inputs: Vec<String>,
        outputs: Vec<String>,
        /// See [`Found::counted`].
        counted: Vec<String>,
        op: FusedOp,
    },
}

/// A graph's constants and what is computed from them, in the order in which it can be.
pub(crate) struct Steps {
    pub(crate) constants: Vec<(String, Arc<Tensor>)>,
    pub(crate) steps: Vec<Step>,
}

/// What of a graph our operators compute, and what is left to tract.
///
/// ```
/// # fn print(model: &aesa_tract::TractModel) {
/// println!("{}", model.fusion()); // 3 attention, 4 attention to logits, 2 BLSTM, ...; left to tract: 7 nodes
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fusion {
    /// The operators of ours by their names, and how many there are of each. Projections of attention are part of it.
    pub operators: Vec<(&'static str, usize)>,
    /// Nodes of the file that are computed by tract.
    pub num_left: usize,
}

impl fmt::Display for Fusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, count)) in self.operators.iter().enumerate() {
            write!(f, "{}{count} {name}", if i == 0 { "" } else { ", " })?;
        }
        if self.operators.is_empty() {
            write!(f, "nothing")?;
        }
        write!(f, "; left to tract: {} nodes", self.num_left)
    }
}

impl Steps {
    /// The `patterns` that are found as our operators, and of the rest what `outputs` need.
    ///
    /// # Errors
    /// A constant of a type that no operator takes.
    pub(crate) fn new(graph: GraphProto, outputs: &[&str], patterns: &[Find]) -> TractResult<Self> {
        let Some(mut nodes) = Nodes::new(&graph) else { return Self::unfused(graph) };
        let mut found = find_all(&mut nodes, patterns);
        let engine = Arc::new(Engine::new(kernels(&graph)));
        let is_taken: Vec<bool> = (0..graph.node.len()).map(|i| nodes.is_taken(i)).collect();
        let uses = nodes.uses();
        drop(nodes);
        let mut constants = Constants::new(graph.initializer, uses);
        let mut steps = Vec::new();
        for (i, node) in graph.node.into_iter().enumerate() {
            match found.remove(&i) {
                Some(Found { inputs, outputs, counted, make }) => {
                    let op = FusedOp { operator: make(&mut constants), engine: engine.clone() };
                    steps.push(Step::Fused { name: node.name, inputs, outputs, counted, op });
                }
                None if is_taken[i] => (),
                None => steps.push(Step::Node(node)),
            }
        }
        let steps = needed(steps, outputs);
        let names: BTreeSet<&str> = steps.iter().flat_map(Step::inputs).collect();
        let constants = constants.into_tensors(names.into_iter())?;
        Ok(Self { constants, steps })
    }

    /// Every node as it is.
    fn unfused(graph: GraphProto) -> TractResult<Self> {
        let constants = graph.initializer.into_iter();
        let constants = constants.map(|constant| Ok((constant.name.clone(), tensor(&constant)?)));
        let constants = constants.collect::<TractResult<_>>()?;
        Ok(Self { constants, steps: graph.node.into_iter().map(Step::Node).collect() })
    }

    /// What is fused.
    pub(crate) fn fusion(&self) -> Fusion {
        let mut fusion = Fusion { operators: Vec::new(), num_left: 0 };
        for step in &self.steps {
            match step {
                Step::Node(_) => fusion.num_left += 1,
                Step::Fused { op, .. } => {
                    let name = op.operator.name();
                    match fusion.operators.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, count)) => *count += 1,
                        None => fusion.operators.push((name, 1)),
                    }
                }
            }
        }
        fusion
    }
}

impl Step {
    /// What it takes.
    fn inputs(&self) -> impl Iterator<Item = &str> {
        let (inputs, counted) = match self {
            Self::Node(node) => (&node.input, &[][..]),
            Self::Fused { inputs, counted, .. } => (inputs, &counted[..]),
        };
        inputs.iter().chain(counted).map(String::as_str)
    }

    fn outputs(&self) -> &[String] {
        match self {
            Self::Node(node) => &node.output,
            Self::Fused { outputs, .. } => outputs,
        }
    }
}

/// Finds the patterns, the largest first: what belongs to one belongs to no other. By their last nodes.
fn find_all(nodes: &mut Nodes<'_>, patterns: &[Find]) -> HashMap<usize, Found> {
    let mut all = HashMap::new();
    for find in patterns {
        for (i, node) in nodes.nodes.iter().enumerate() {
            if nodes.is_taken(i) {
                continue;
            }
            let mut trace = Trace::new(nodes);
            // A node with fewer inputs or outputs than it should have is refused before.
            if let Some(found) = find(&mut trace, node) {
                let mut inner = trace.into_inner();
                inner.push(i);
                nodes.take(&inner);
                all.insert(i, found);
            }
        }
    }
    all
}

/// Looks for a pattern that ends with a node.
pub(crate) type Find = for<'a, 'n> fn(&mut Trace<'a, 'n>, &'a NodeProto) -> Option<Found>;

/// All that there are, what may hold others before these.
pub(crate) const PATTERNS: &[Find] = &[
    attention::find,
    branch::find,
    blstm::find,
    convolution::find,
    patches::find,
    linear::find_activated,
    linear::find,
    linear::find_gelu,
    norm::find_running,
    norm::find,
];

/// The steps without those whose outputs nothing takes.
fn needed(steps: Vec<Step>, outputs: &[&str]) -> Vec<Step> {
    let mut names: HashSet<String> = outputs.iter().map(|name| (*name).to_string()).collect();
    let mut kept: Vec<Step> = Vec::new();
    for step in steps.into_iter().rev() {
        if step.outputs().iter().any(|output| names.contains(output)) {
            names.extend(step.inputs().map(str::to_string));
            kept.push(step);
        }
    }
    kept.reverse();
    kept
}

/// As the native engine: a network at most 256 wide has the same products on every processor, a wider one the fastest.
fn kernels(graph: &GraphProto) -> &'static Kernels {
    let width = |name: &String| {
        let weight =
            graph.initializer.iter().find(|c| c.name == *name && c.data_type == DataType::Float as i32)?;
        weight.dims.last().copied()
    };
    let norms = graph.node.iter().filter(|node| node.op_type == "LayerNormalization");
    let widest = norms.filter_map(|node| node.input.get(1).and_then(width)).max();
    if widest.unwrap_or(0) <= 256 { Kernels::detect() } else { Kernels::detect_fastest() }
}

#[cfg(test)]
#[path = "fuse_tests.rs"]
mod tests;

//! The file's graph, fused, as tract's, for windows or chunks of one length.
//!
//! ONNX leaves sizes open that depend on the number of frames. Here that number is known before the first node is wired, so
//! that every shape is: what the nodes compute from shapes are constants, and no shape has to be inferred.

use aesa::fbank::NUM_MEL_BINS;
use aesa::score::FRAMES_PER_STEP;
use aesa_onnx::{AttributeProto, DataType, GraphProto, NodeProto, TensorProto};
use tract_core::internal::*;

use crate::error::TractError;
use crate::file::{FRAME_SCORES, INPUT, State};
use crate::fuse::{Find, Fusion, Step, Steps};
use crate::fused::FusedOp;
use crate::operators;

/// The steps of a file, in their order, and its weights: all that [`Network::wire`] needs, any number of times.
pub(crate) struct Network {
    steps: Steps,
    states: Vec<State>,
}

impl Network {
    /// Takes over a graph whose initialisers have been checked to hold what their shapes ask for. Our operators take the place of
    /// `patterns`.
    ///
    /// # Errors
    /// [`TractError::Operator`] for a node that [`operators::find`] does not know; [`TractError::Build`] for a weight of a type
    /// that none of them takes.
    pub(crate) fn new(graph: GraphProto, states: Vec<State>, patterns: &[Find]) -> Result<Self, TractError> {
        graph.node.iter().try_for_each(operators::check)?;
        let steps = Steps::new(graph, &outputs(&states), patterns);
        let steps = steps.map_err(|e| TractError::Build { cause: format!("{e:#}") })?;
        Ok(Self { steps, states })
    }

    /// What is fused.
    pub(crate) fn fusion(&self) -> Fusion {
        self.steps.fusion()
    }

    /// What is carried from chunk to chunk, in the order of inputs and outputs; none in a graph that scores windows.
    pub(crate) fn states(&self) -> &[State] {
        &self.states
    }

    /// The graph for `num_steps`: takes features and states, gives frame scores and states.
    ///
    /// # Errors
    /// In tract's words: a node that takes what no node before it gives, shapes or types that do not fit.
    pub(crate) fn wire(&self, num_steps: usize) -> TractResult<TypedModel> {
        let mut wiring = Wiring::default();
        wiring.input(INPUT, &[1, num_steps * FRAMES_PER_STEP, NUM_MEL_BINS])?;
        self.states.iter().try_for_each(|state| wiring.input(&state.past, &state.shape))?;
        for (name, weight) in &self.steps.constants {
            let outlet = wiring.model.add_const(name, weight.clone())?;
            wiring.outlets.insert(name.clone(), outlet);
        }
        for step in &self.steps.steps {
            match step {
                Step::Node(node) => wiring.node(node)?,
                Step::Fused { name, inputs, outputs, counted, op } => {
                    wiring.fused(name, op, [inputs, outputs, counted])?;
                }
            }
        }
        let outputs = outputs(&self.states).into_iter().map(|name| wiring.outlet(name));
        let outputs: Vec<OutletId> = outputs.collect::<TractResult<_>>()?;
        wiring.model.with_output_outlets(&outputs)
    }
}

/// The scores, then the states.
fn outputs(states: &[State]) -> Vec<&str> {
    core::iter::once(FRAME_SCORES).chain(states.iter().map(|state| state.present.as_str())).collect()
}

/// A graph under construction.
#[derive(Default)]
pub(crate) struct Wiring {
    pub(crate) model: TypedModel,
    /// What the file's names stand for.
    outlets: HashMap<String, OutletId>,
}

impl Wiring {
    fn input(&mut self, name: &str, shape: &[usize]) -> TractResult<()> {
        let outlet = self.model.add_source(name, f32::fact(shape))?;
        self.outlets.insert(name.to_string(), outlet);
        Ok(())
    }

    fn node(&mut self, proto: &NodeProto) -> TractResult<()> {
        let inputs = proto.input.iter().map(|name| match name.as_str() {
            "" => Ok(None),
            name => self.outlet(name).map(Some),
        });
        let node = Node { proto, inputs: inputs.collect::<TractResult<_>>()? };
        let operator = operators::find(&proto.op_type).context("an operator that the check let pass")?;
        let outputs = (operator.wire)(self, &node)
            .with_context(|| format!("node {} ({})", proto.name, proto.op_type))?;
        ensure!(outputs.len() == proto.output.len(), "node {} has outputs that nothing gives", proto.name);
        self.outlets.extend(proto.output.iter().cloned().zip(outputs));
        Ok(())
    }

    fn fused(
        &mut self,
        name: &str,
        op: &FusedOp,
        [inputs, outputs, counted]: [&[String]; 3],
    ) -> TractResult<()> {
        let outlets = |names: &[String]| -> TractResult<Vec<OutletId>> {
            names.iter().map(|name| self.outlet(name)).collect()
        };
        let (inputs, counted) = (outlets(inputs)?, outlets(counted)?);
        let count = |outlet: &OutletId| TractResult::Ok(self.shape(*outlet)?.first().copied());
        let count_of_first = inputs.first().map(count).transpose()?;
        for value in &counted {
            ensure!(Some(count(value)?) == count_of_first, "constants of {name} count something else");
        }
        let given = self.model.wire_node(name, op.clone(), &inputs)?;
        self.outlets.extend(outputs.iter().cloned().zip(given));
        Ok(())
    }

    fn outlet(&self, name: &str) -> TractResult<OutletId> {
        self.outlets.get(name).copied().with_context(|| format!("{name} is taken before it is given"))
    }

    /// Wires an operation with one output.
    pub(crate) fn wire(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        Ok(self.model.wire_node(name, op, inputs)?[0])
    }

    /// Wires an operation on values that broadcast as in ONNX, from the last axis on.
    pub(crate) fn wire_broadcast(
        &mut self,
        name: &str,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        Ok(wire_with_rank_broadcast(name, &mut self.model, op, inputs)?[0])
    }

    /// An f32 constant of one value that broadcasts to any shape of this rank.
    pub(crate) fn scalar(&mut self, name: String, value: f32, rank: usize) -> TractResult<OutletId> {
        self.model.add_const(name, tensor0(value).broadcast_into_rank(rank)?)
    }

    /// The extents of a value.
    pub(crate) fn shape(&self, outlet: OutletId) -> TractResult<TVec<usize>> {
        let shape = &self.model.outlet_fact(outlet)?.shape;
        Ok(shape.as_concrete().context("a size that is not known")?.into())
    }

    /// The type of a value's elements.
    pub(crate) fn datum_type(&self, outlet: OutletId) -> TractResult<DatumType> {
        Ok(self.model.outlet_fact(outlet)?.datum_type)
    }

    /// The numbers of an i64 constant.
    pub(crate) fn ints(&self, outlet: OutletId) -> TractResult<Vec<i64>> {
        let konst =
            self.model.outlet_fact(outlet)?.konst.as_ref().context("an input that must be constant")?;
        Ok(konst.try_as_plain_ram()?.as_slice::<i64>()?.to_vec())
    }
}

/// One node of the file, its inputs found.
pub(crate) struct Node<'a> {
    pub(crate) proto: &'a NodeProto,
    inputs: TVec<Option<OutletId>>,
}

impl Node<'_> {
    pub(crate) fn name(&self) -> &str {
        &self.proto.name
    }

    /// All inputs, none of which may be left out.
    pub(crate) fn inputs(&self) -> TractResult<TVec<OutletId>> {
        (0..self.inputs.len()).map(|i| self.input(i)).collect()
    }

    pub(crate) fn input(&self, i: usize) -> TractResult<OutletId> {
        self.optional_input(i).with_context(|| format!("input {i} is missing"))
    }

    /// Input `i`, unless it was left out.
    pub(crate) fn optional_input(&self, i: usize) -> Option<OutletId> {
        self.inputs.get(i).copied().flatten()
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |attribute| attribute.f)
    }

    pub(crate) fn text(&self, name: &str) -> &[u8] {
        self.attribute(name).map_or(b"", |attribute| &attribute.s)
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }

    /// Numbers that are sizes or positions, of which there must be one per axis.
    pub(crate) fn sizes(&self, name: &str, default: &[usize]) -> TractResult<TVec<usize>> {
        let Some(ints) = self.ints(name) else { return Ok(default.into()) };
        ensure!(ints.len() == default.len(), "{name} has {} numbers, not {}", ints.len(), default.len());
        ints.iter().map(|n| usize::try_from(*n).with_context(|| format!("{name} has {n}"))).collect()
    }
}

/// Where an axis lies that may count from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> TractResult<usize> {
    let from_start = if axis < 0 { axis + rank as i64 } else { axis };
    let known = usize::try_from(from_start).ok().filter(|axis| (0..rank).contains(axis));
    known.with_context(|| format!("axis {axis} of {rank}"))
}

/// An initialiser whose bytes are as many as its shape asks for.
pub(crate) fn tensor(proto: &TensorProto) -> TractResult<Arc<Tensor>> {
    let shape: TVec<usize> =
        proto.dims.iter().map(|n| Ok(usize::try_from(*n)?)).collect::<TractResult<_>>()?;
    let bytes = &proto.raw_data;
    let tensor = match DataType::try_from(proto.data_type) {
        Ok(DataType::Float) => Tensor::from_shape(&shape, &values(bytes, f32::from_le_bytes)),
        Ok(DataType::Float16) => Tensor::from_shape(&shape, &values(bytes, f16::from_le_bytes)),
        Ok(DataType::Int64) => Tensor::from_shape(&shape, &values(bytes, i64::from_le_bytes)),
        Ok(DataType::Int8) => Tensor::from_shape(&shape, &values(bytes, i8::from_le_bytes)),
        _ => bail!("weight {} is of another type than f32, f16, i64 and i8", proto.name),
    };
    Ok(tensor?.into_arc_tensor())
}

/// Little-endian numbers.
pub(crate) fn values<T, const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|chunk| value(*chunk)).collect()
}

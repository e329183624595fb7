//! Our operators in tract's graph: what stands in the place of a pattern, and computes it with `aesa-kernels`.
//!
//! ```text
//! patches.rs      fbank to tokens              linear.rs     linear maps, f32 or int8, and a GELU or ReLU after them
//! convolution.rs  the positional convolution   norm.rs       layer norm, of a sum or added to one
//! attention.rs    a block's, to what it finds  branch.rs     a head branch's, to logits;   heads.rs what both share
//! blstm.rs        a bidirectional layer
//! ```
//! Each file finds its pattern, and computes it.

pub(crate) mod attention;
pub(crate) mod blstm;
pub(crate) mod branch;
pub(crate) mod convolution;
mod heads;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod patches;

use core::fmt;
use std::sync::{Mutex, PoisonError};

use aesa_kernels::Kernels;
use tract_core::internal::*;

use crate::constants::Constants;

/// A pattern that was found: what takes its place.
pub(crate) struct Found {
    /// What the operator takes.
    pub(crate) inputs: Vec<String>,
    /// What it gives.
    pub(crate) outputs: Vec<String>,
    /// Values that have as many entries along their first axis as the operator's first input: constants of the pattern count
    /// them.
    pub(crate) counted: Vec<String>,
    /// Makes the operator from the file's constants.
    pub(crate) make: Make,
}

/// Makes an operator, whose weights it takes from a graph's constants.
pub(crate) type Make = Box<dyn FnOnce(&mut Constants) -> Arc<dyn Fused>>;

/// An operator of f32 values whose shapes are known.
pub(crate) trait Fused: Send + Sync + 'static {
    /// What [`Fusion`](crate::Fusion) counts it as.
    fn name(&self) -> &'static str;

    /// The shapes of the outputs.
    ///
    /// # Errors
    /// Inputs that do not fit: what is checked here, [`run`](Self::run) may rely on.
    fn shapes(&self, inputs: &[&[usize]]) -> TractResult<TVec<TVec<usize>>>;

    /// Computes the outputs.
    fn run(&self, engine: &Engine, inputs: TVec<TValue>) -> TractResult<TVec<TValue>>;
}

/// What all operators of a model compute with.
pub(crate) struct Engine {
    pub(crate) kernels: &'static Kernels,
    scratch: Mutex<Vec<Scratch>>,
}

/// Memory that means nothing between operators.
#[derive(Default)]
pub(crate) struct Scratch {
    floats: Vec<f32>,
    quantised: Vec<i16>,
}

impl Engine {
    pub(crate) fn new(kernels: &'static Kernels) -> Self {
        Self { kernels, scratch: Mutex::new(Vec::new()) }
    }

    /// Lends memory for `num_floats` numbers, and to quantise rows of `num_inputs` in.
    pub(crate) fn with_scratch<R>(
        &self,
        num_floats: usize,
        num_inputs: usize,
        work: impl FnOnce(&mut [f32], &mut [i16]) -> R,
    ) -> R {
        // A panic elsewhere cannot leave the list half changed.
        let lock = || self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = lock().pop().unwrap_or_default();
        let num_quantised = num_inputs * MAX_QUANTISED_ROWS;
        scratch.floats.resize(num_floats.max(scratch.floats.len()), 0.0);
        scratch.quantised.resize(num_quantised.max(scratch.quantised.len()), 0);
        let result = work(&mut scratch.floats[..num_floats], &mut scratch.quantised[..num_quantised]);
        lock().push(scratch);
        result
    }
}

/// Rows of 16-bit numbers that may be quantised at a time; the kernels take fewer if that suits their caches.
const MAX_QUANTISED_ROWS: usize = 256;

/// A [`Fused`] operator as tract has it.
#[derive(Clone)]
pub(crate) struct FusedOp {
    pub(crate) operator: Arc<dyn Fused>,
    pub(crate) engine: Arc<Engine>,
}

impl PartialEq for FusedOp {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.operator, &other.operator)
    }
}

impl Eq for FusedOp {}

impl fmt::Debug for FusedOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FusedOp").field(&self.operator.name()).finish()
    }
}

impl Op for FusedOp {
    fn name(&self) -> StaticName {
        self.operator.name().into()
    }

    op_as_typed_op!();
}

impl EvalOp for FusedOp {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.operator.run(&self.engine, inputs)
    }
}

impl TypedOp for FusedOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = |fact: &&TypedFact| -> TractResult<TVec<usize>> {
            ensure!(fact.datum_type == f32::datum_type(), "an input of {:?}, not f32", fact.datum_type);
            Ok(fact.shape.as_concrete().context("a size that is not known")?.into())
        };
        let shapes: Vec<TVec<usize>> = inputs.iter().map(shape).collect::<TractResult<_>>()?;
        let shapes: Vec<&[usize]> = shapes.iter().map(|shape| &shape[..]).collect();
        Ok(self.operator.shapes(&shapes)?.iter().map(|shape| f32::fact(&**shape)).collect())
    }
}

/// The numbers of an input.
fn numbers(value: &Tensor) -> TractResult<&[f32]> {
    value.try_as_plain_ram()?.as_slice::<f32>()
}

/// A tensor of zeros, once `fill` has been at its numbers.
fn filled(shape: &[usize], fill: impl FnOnce(&mut [f32])) -> TractResult<TValue> {
    let mut tensor = Tensor::zero::<f32>(shape)?;
    fill(tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
    Ok(tensor.into_tvalue())
}

/// An input's memory, changed: its own, unless others read it, too.
fn changed(value: TValue, change: impl FnOnce(&mut [f32])) -> TractResult<TValue> {
    let mut tensor = value.into_tensor();
    change(tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
    Ok(tensor.into_tvalue())
}

/// The rows of a matrix `[rows, cols]`, which is not empty.
fn rows(shape: &[usize], cols: usize) -> TractResult<usize> {
    match *shape {
        [rows, c] if c == cols && cols > 0 && rows > 0 => Ok(rows),
        _ => bail!("an input of {shape:?}, not rows of {cols}"),
    }
}

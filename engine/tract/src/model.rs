//! A loaded model: what it says of itself, and its plans for windows of any length.

use core::fmt;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aesa::model::ModelInfo;
use aesa::score::NUM_AXES;
use tract_core::prelude::*;

use crate::error::TractError;
use crate::file::{CheckedFile, FRAME_SCORES, INPUT, State, check};
use crate::fuse::{Fusion, PATTERNS};
use crate::graph::Network;
use crate::session::TractSession;

/// A network ready to run on windows, or chunks, of one length.
pub(crate) type Plan = TypedRunnableModel;

/// Name, element type and shape of an input or output, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name in the file.
    pub name: String,
    /// Element type, such as `f32`.
    pub element: String,
    /// One entry per axis: a number, or the name of a size that is free.
    pub shape: Vec<String>,
}

impl fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}[{}]", self.name, self.element, self.shape.join(", "))
    }
}

/// An AESA-Net, checked and optimised; cheap to clone and to share among threads.
///
/// The plan for the whole window (or chunk) is made at loading, those for shorter ones when first asked for. A bounded
/// number of the latter is kept, so that memory stays that of a few copies of the weights.
#[derive(Clone)]
pub struct TractModel {
    inner: Arc<Inner>,
}

struct Inner {
    info: ModelInfo,
    metadata: Vec<(String, String)>,
    num_parameters: u64,
    num_bytes: u64,
    opset: i64,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    network: Network,
    window: Arc<Plan>,
    /// Plans for shorter windows by their number of steps, the latest used last.
    tails: Mutex<Vec<(usize, Arc<Plan>)>>,
    max_tails: usize,
}

impl TractModel {
    /// Reads, checks and optimises a model file.
    ///
    /// # Errors
    /// [`TractError::Read`], or as [`TractModel::from_bytes`].
    pub fn load(path: &Path) -> Result<Self, TractError> {
        Self::from_bytes(&std::fs::read(path).map_err(TractError::Read)?)
    }

    /// Checks and optimises the bytes of a model file.
    ///
    /// # Errors
    /// [`TractError::NotOnnx`], [`TractError::Info`], [`TractError::Hash`], [`TractError::Interface`], [`TractError::Operator`] or
    /// [`TractError::Build`], in the order of the checks. Damaged bytes are an error, never a panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TractError> {
        let fused = Self::build(check(bytes, PATTERNS)?, bytes.len());
        // Shapes that our operators cannot take show when they are wired.
        fused.or_else(|_| Self::from_bytes_unfused(bytes))
    }

    /// As [`from_bytes`](Self::from_bytes), all of it computed by tract's own operators: slower, to compare with.
    ///
    /// # Errors
    /// As that.
    pub fn from_bytes_unfused(bytes: &[u8]) -> Result<Self, TractError> {
        Self::build(check(bytes, &[])?, bytes.len())
    }

    fn build(file: CheckedFile, num_bytes: usize) -> Result<Self, TractError> {
        let window = build(&file.network, file.info.policy.max_steps())?;
        let max_tails = MAX_TAILS_BYTES / (4 * file.num_parameters.max(1));
        let inner = Inner {
            info: file.info,
            metadata: file.metadata,
            num_parameters: file.num_parameters,
            num_bytes: num_bytes as u64,
            opset: file.opset,
            inputs: file.inputs,
            outputs: file.outputs,
            network: file.network,
            window,
            tails: Mutex::new(Vec::new()),
            max_tails: max_tails.clamp(1, 64) as usize,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The model's metadata.
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    /// All metadata keys and values as they are in the file, also those that [`ModelInfo`] does not know.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.inner.metadata
    }

    /// How many numbers the network learned.
    pub fn num_parameters(&self) -> u64 {
        self.inner.num_parameters
    }

    /// Size of the file in bytes.
    pub fn num_bytes(&self) -> u64 {
        self.inner.num_bytes
    }

    /// Version of the standard ONNX operators that the file uses.
    pub fn opset(&self) -> i64 {
        self.inner.opset
    }

    /// The network's inputs.
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inner.inputs
    }

    /// The network's outputs.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.inner.outputs
    }

    /// What of the graph is computed by operators of ours, and what is left to tract.
    pub fn fusion(&self) -> Fusion {
        self.inner.network.fusion()
    }

    /// The states of a clip that has not begun: zeros.
    pub(crate) fn start_states(&self) -> Result<Vec<Tensor>, TractError> {
        let zeros = |state: &State| Tensor::zero::<f32>(&state.shape);
        let states: TractResult<_> = self.inner.network.states().iter().map(zeros).collect();
        states.map_err(|e| TractError::Build { cause: e.to_string() })
    }

    /// A scorer of windows, or of one clip's chunks, for one thread; sessions share the model's weights.
    pub fn session(&self) -> TractSession {
        TractSession::new(self.clone())
    }

    /// The plan for windows or chunks of `num_steps`, which is 1 to the most that the model takes at once.
    pub(crate) fn plan(&self, num_steps: usize) -> Result<Arc<Plan>, TractError> {
        if num_steps == self.inner.info.policy.max_steps() {
            return Ok(self.inner.window.clone());
        }
        // A panic elsewhere cannot leave the list half changed.
        let mut tails = self.inner.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(i) = tails.iter().position(|(steps, _)| *steps == num_steps) {
            let entry = tails.remove(i);
            let plan = entry.1.clone();
            tails.push(entry);
            return Ok(plan);
        }
        let plan = build(&self.inner.network, num_steps)?;
        if tails.len() >= self.inner.max_tails {
            tails.remove(0);
        }
        tails.push((num_steps, plan.clone()));
        Ok(plan)
    }
}

impl fmt::Debug for TractModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TractModel").field("info", &self.inner.info).finish_non_exhaustive()
    }
}

/// Optimises the network for windows or chunks of `num_steps` and checks what it will put out.
fn build(network: &Network, num_steps: usize) -> Result<Arc<Plan>, TractError> {
    let plan = guarded(|| network.wire(num_steps)?.into_optimized()?.into_runnable())
        .map_err(|cause| TractError::Build { cause })?;
    let scores = (FRAME_SCORES, &[1, num_steps, NUM_AXES][..]);
    let states = network.states().iter().map(|state| (state.present.as_str(), &state.shape[..]));
    for (i, (name, expected)) in core::iter::once(scores).chain(states).enumerate() {
        let fact = plan.model().output_fact(i).map_err(|e| TractError::Build { cause: e.to_string() })?;
        if fact.datum_type != f32::datum_type() || fact.shape.as_concrete() != Some(expected) {
            let cause = format!("{INPUT} of {num_steps} steps gives {name} as {fact:?}");
            return Err(TractError::Interface { cause });
        }
    }
    Ok(plan)
}

/// Runs tract on what a file asks for; a panic of its own is an error like any other.
pub(crate) fn guarded<T>(f: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result.map_err(|e| format!("{e:#}")),
        Err(_) => Err("the runtime gave up on this graph".to_string()),
    }
}

/// Weights that kept tail plans may hold, in bytes; at least one plan is kept.
const MAX_TAILS_BYTES: u64 = 256 << 20;

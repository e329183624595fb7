//! The constants of a file while its nodes are fused: each is taken out when what needs it is made, so that none is in memory twice.

use std::collections::HashMap;
use std::sync::Arc;

use aesa_onnx::TensorProto;
use tract_core::internal::*;

use crate::graph::{tensor, values};
use crate::pattern::volume;

/// An f32 constant of a pattern, and how the file stores it.
#[derive(Clone, Debug)]
pub(crate) struct Floats {
    pub(crate) shape: Vec<usize>,
    stored: Stored,
}

#[derive(Clone, Debug)]
pub(crate) enum Stored {
    F32(String),
    F16(String),
    Int8(Int8Floats),
}

/// Rows of int8 with a scale and a zero each.
#[derive(Clone, Debug)]
pub(crate) struct Int8Floats {
    pub(crate) integers: String,
    pub(crate) scales: String,
    pub(crate) zeros: String,
}

impl Floats {
    pub(crate) fn new(shape: Vec<usize>, stored: Stored) -> Self {
        Self { shape, stored }
    }
}

/// What is left of a file's constants.
pub(crate) struct Constants {
    left: HashMap<String, TensorProto>,
    /// How many nodes of the file take each.
    uses: HashMap<String, usize>,
    shared: HashMap<String, Arc<[f32]>>,
}

impl Constants {
    pub(crate) fn new(constants: Vec<TensorProto>, uses: HashMap<String, usize>) -> Self {
        let left = constants.into_iter().map(|constant| (constant.name.clone(), constant)).collect();
        Self { left, uses, shared: HashMap::new() }
    }

    /// The numbers of a constant, for the one pattern that holds it.
    pub(crate) fn floats(&mut self, floats: &Floats) -> Vec<f32> {
        match &floats.stored {
            Stored::F32(name) => values(&self.bytes(name), f32::from_le_bytes),
            Stored::F16(name) => values(&self.bytes(name), |bytes| f16::from_le_bytes(bytes).to_f32()),
            Stored::Int8(rows) => {
                let scales: Vec<f32> = values(&self.bytes(&rows.scales), f32::from_le_bytes);
                let (zeros, integers) = (self.int8(&rows.zeros), self.int8(&rows.integers));
                let inputs = volume(&floats.shape).unwrap_or(0) / scales.len().max(1);
                let rows = integers.chunks_exact(inputs.max(1)).zip(scales.iter().zip(zeros));
                rows.flat_map(|(row, (scale, zero))| {
                    row.iter().map(move |n| (f32::from(*n) - f32::from(zero)) * scale)
                })
                .collect()
            }
        }
    }

    /// The numbers of an int8 constant.
    pub(crate) fn int8(&mut self, name: &str) -> Vec<i8> {
        values(&self.bytes(name), i8::from_le_bytes)
    }

    /// The numbers of a constant that several patterns hold, once for all.
    pub(crate) fn shared_floats(&mut self, name: &str) -> Arc<[f32]> {
        let numbers = self.left.get(name).map_or(&[][..], |constant| constant.raw_data.as_slice());
        let numbers = || values(numbers, f32::from_le_bytes).into();
        self.shared.entry(name.to_string()).or_insert_with(numbers).clone()
    }

    /// Those that nodes take which are left to tract.
    ///
    /// # Errors
    /// A constant of a type that none of them takes.
    pub(crate) fn into_tensors<'a>(
        mut self,
        names: impl Iterator<Item = &'a str>,
    ) -> TractResult<Vec<(String, Arc<Tensor>)>> {
        let constants = names.filter_map(|name| self.left.remove(name));
        constants.map(|constant| Ok((constant.name.clone(), tensor(&constant)?))).collect()
    }

    fn bytes(&mut self, name: &str) -> Vec<u8> {
        match self.uses.get(name) {
            Some(1) => self.left.remove(name).map(|constant| constant.raw_data),
            _ => self.left.get(name).map(|constant| constant.raw_data.clone()),
        }
        .unwrap_or_default()
    }
}

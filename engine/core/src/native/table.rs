//! Reads the tensor table in order; every tensor is checked against what the sizes ask for before it is handed out.

use aesa_kernels::gemm_i8::Int8Weights;
use aesa_kernels::{Kernels, Matrix};

use super::error::ModelError;
use super::format::{self, ENTRY_BYTES, Entry, Kind, aligned, dtype};
use super::linear::{Linear, Weights};

/// A cursor over the tensor table.
pub(crate) struct Table<'a> {
    file: &'a [u8],
    entries: &'a [[u8; ENTRY_BYTES]],
    /// Entries read.
    entry: usize,
    /// Where the next tensor's data has to begin.
    next: u64,
    /// What the maps and norms that are read compute with.
    pub(crate) kernels: &'static Kernels,
}

impl<'a> Table<'a> {
    /// The table `entries` of `file`, whose data begin at `data`.
    pub(crate) fn new(
        file: &'a [u8],
        entries: &'a [[u8; ENTRY_BYTES]],
        data: u64,
        kernels: &'static Kernels,
    ) -> Self {
        Self { file, entries, entry: 0, next: aligned(data), kernels }
    }

    /// An f32 tensor `[rows, cols]`.
    pub(crate) fn matrix(&mut self, kind: Kind, index: usize, rows: usize, cols: usize) -> Result<Matrix<'a>, ModelError> {
        let entry = self.entry(kind, index)?;
        if entry.dtype != dtype::F32 {
            return Err(ModelError::Storage { entry: self.entry - 1 });
        }
        self.check_shape(&entry, rows, cols)?;
        let data = self.floats(entry.offset, rows as u64 * cols as u64)?;
        self.check_scales(entry.scales == 0)?;
        Ok(Matrix::strided(data, rows, cols, cols))
    }

    /// An f32 row of `cols`.
    pub(crate) fn row(&mut self, kind: Kind, index: usize, cols: usize) -> Result<&'a [f32], ModelError> {
        Ok(self.matrix(kind, index, 1, cols)?.row(0))
    }

    /// A norm over `width`.
    pub(crate) fn norm(&mut self, kind: Kind, index: usize, width: usize) -> Result<Norm<'a>, ModelError> {
        let rows = self.matrix(kind, index, 2, width)?;
        Ok(Norm { weight: rows.row(0), bias: rows.row(1), kernels: self.kernels })
    }

    /// A linear map; the next entry is its bias, if it has one.
    pub(crate) fn linear(
        &mut self,
        kinds: (Kind, Option<Kind>),
        index: usize,
        inputs: usize,
        outputs: usize,
    ) -> Result<Linear<'a>, ModelError> {
        let weights = self.weights(kinds.0, index, 1, inputs, outputs)?;
        let bias = kinds.1.map(|kind| self.row(kind, index, outputs)).transpose()?;
        Ok(Linear { weights, bias, kernels: self.kernels })
    }

    /// The weights of `groups` linear maps from `inputs` to `outputs`, one after another.
    pub(crate) fn weights(
        &mut self,
        kind: Kind,
        index: usize,
        groups: usize,
        inputs: usize,
        outputs: usize,
    ) -> Result<Weights<'a>, ModelError> {
        let is_f32 = self.entries.get(self.entry).is_some_and(|bytes| bytes[4] == dtype::F32);
        if is_f32 {
            return Ok(Weights::F32(self.matrix(kind, index, groups * inputs, outputs)?));
        }
        let entry = self.entry(kind, index)?;
        if entry.dtype != dtype::I8 {
            return Err(ModelError::Storage { entry: self.entry - 1 });
        }
        let rows = groups * outputs;
        self.check_shape(&entry, rows, inputs)?;
        let data = bytemuck::cast_slice(self.bytes(entry.offset, rows as u64 * inputs as u64)?);
        let scales = self.floats(entry.scales, rows as u64)?;
        Ok(Weights::Int8(Int8Weights::new(data, scales, inputs)))
    }

    /// Ends the reading: nothing may be left, in the table or in the file.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        if self.entry != self.entries.len() {
            return Err(ModelError::Tensor { entry: self.entry });
        }
        match aligned(self.next) == self.file.len() as u64 {
            true => Ok(()),
            false => Err(ModelError::Length { expected: aligned(self.next), actual: self.file.len() as u64 }),
        }
    }

    fn entry(&mut self, kind: Kind, index: usize) -> Result<Entry, ModelError> {
        let failed = ModelError::Tensor { entry: self.entry };
        let entry = self.entries.get(self.entry).and_then(Entry::from_bytes).ok_or(failed)?;
        self.entry += 1;
        match entry.kind == kind as u16 && usize::from(entry.index) == index {
            true => Ok(entry),
            false => Err(failed),
        }
    }

    fn check_shape(&self, entry: &Entry, rows: usize, cols: usize) -> Result<(), ModelError> {
        match entry.rows as usize == rows && entry.cols as usize == cols {
            true => Ok(()),
            false => Err(ModelError::Tensor { entry: self.entry - 1 }),
        }
    }

    fn check_scales(&self, holds: bool) -> Result<(), ModelError> {
        if holds { Ok(()) } else { Err(ModelError::Storage { entry: self.entry - 1 }) }
    }

    fn floats(&mut self, offset: u64, count: u64) -> Result<&'a [f32], ModelError> {
        let bytes = self.bytes(offset, count.saturating_mul(4))?;
        let floats: &[f32] = bytemuck::try_cast_slice(bytes).map_err(|_| ModelError::Alignment)?;
        // Without a branch per number: a model has millions.
        let is_finite = |part: &[f32]| part.iter().fold(true, |all, v| all & v.is_finite());
        match floats.chunks(1024).all(is_finite) {
            true => Ok(floats),
            false => Err(ModelError::NotFinite { entry: self.entry - 1 }),
        }
    }

    /// The next `count` bytes, which must be said to begin where they do.
    fn bytes(&mut self, offset: u64, count: u64) -> Result<&'a [u8], ModelError> {
        let failed = ModelError::Tensor { entry: self.entry - 1 };
        if offset != aligned(self.next) {
            return Err(failed);
        }
        let end = offset.checked_add(count).ok_or(failed)?;
        self.next = end;
        let (start, end) = (usize::try_from(offset), usize::try_from(end));
        let (Ok(start), Ok(end)) = (start, end) else { return Err(failed) };
        self.file.get(start..end).ok_or(failed)
    }
}

/// A layer norm's parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    kernels: &'static Kernels,
}

impl Norm<'_> {
    pub(crate) fn apply(&self, row: &mut [f32]) {
        self.kernels.layer_norm(row, self.weight, self.bias);
    }
}

const _: () = assert!(format::ALIGNMENT.is_multiple_of(align_of::<f32>()));

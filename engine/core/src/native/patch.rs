//! One token per patch of 16 frames times 16 mel bins.

use aesa_kernels::{Kernels, Matrix, MatrixMut};

use super::error::ModelError;
use super::format::Kind;
use super::linear::{Linear, Weights};
use super::shape::Shape;
use super::table::{Norm, Table};
use crate::encoder::TOKENS_PER_STEP;
use crate::fbank::NUM_MEL_BINS;
use crate::score::FRAMES_PER_STEP;

/// Patch embedding, norm, and the projection to the width; in f32, since nearly all int8 error would come from here.
#[derive(Clone, Debug)]
pub(crate) struct PatchEmbedding<'a> {
    /// `[256, embed]`
    weight: Matrix<'a>,
    norm: Norm<'a>,
    projection: Option<Linear<'a>>,
    kernels: &'static Kernels,
}

impl<'a> PatchEmbedding<'a> {
    pub(crate) fn read(table: &mut Table<'a>, shape: &Shape) -> Result<Self, ModelError> {
        let weight = table.matrix(Kind::PatchEmbedding, 0, PATCH, shape.embed)?;
        let norm = table.norm(Kind::PatchNorm, 0, shape.embed)?;
        let projection = match shape.embed == shape.width {
            true => None,
            false => {
                let weights = Weights::F32(table.matrix(Kind::Projection, 0, shape.embed, shape.width)?);
                let bias = Some(table.row(Kind::ProjectionBias, 0, shape.width)?);
                Some(Linear { weights, bias, kernels: table.kernels })
            }
        };
        Ok(Self { weight, norm, projection, kernels: table.kernels })
    }

    /// The frames of one step `[16, 128]` to its tokens `[8, width]`.
    pub(crate) fn forward(&self, frames: &[f32], tokens: &mut MatrixMut<'_>, scratch: &mut [f32]) {
        let embed = self.weight.num_cols();
        let (patches, rest) = scratch.split_at_mut(TOKENS_PER_STEP * PATCH);
        for (band, patch) in patches.chunks_exact_mut(PATCH).enumerate() {
            let bins = frames.chunks_exact(NUM_MEL_BINS).map(|frame| &frame[band * PATCH_SIDE..][..PATCH_SIDE]);
            patch.chunks_exact_mut(PATCH_SIDE).zip(bins).for_each(|(row, bins)| row.copy_from_slice(bins));
        }
        let mut embedded = MatrixMut::new(&mut rest[..TOKENS_PER_STEP * embed], embed);
        self.kernels.gemm_f32(Matrix::new(patches, PATCH), self.weight, None, &mut embedded);
        (0..TOKENS_PER_STEP).for_each(|i| self.norm.apply(embedded.row_mut(i)));
        match &self.projection {
            Some(projection) => projection.forward(embedded.view(), tokens, &mut []),
            None => (0..TOKENS_PER_STEP).for_each(|i| tokens.row_mut(i).copy_from_slice(embedded.view().row(i))),
        }
    }

    /// Numbers that [`forward`](Self::forward) needs.
    pub(crate) fn scratch_len(shape: &Shape) -> usize {
        TOKENS_PER_STEP * (PATCH + shape.embed)
    }
}

const PATCH_SIDE: usize = FRAMES_PER_STEP;
const PATCH: usize = PATCH_SIDE * PATCH_SIDE;

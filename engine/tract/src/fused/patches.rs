//! Patches of 16 frames times 16 mel bins, each to a token.
//!
//! ```text
//! tokens = Transpose(Reshape(Conv(Reshape(fbank))))    [1, frames, bins] to [steps * bands, channels]
//! ```

use aesa_kernels::{Matrix, MatrixMut};
use aesa_onnx::NodeProto;
use tract_core::internal::*;

use super::{Engine, Found, Fused, filled, numbers};
use crate::constants::Constants;
use crate::pattern::{Trace, int, ints};

/// Patches that `anchor` makes tokens of.
pub(crate) fn find<'a>(trace: &mut Trace<'a, '_>, anchor: &'a NodeProto) -> Option<Found> {
    if anchor.op_type != "Transpose" || ints(anchor, "perm") != Some(&[1, 0]) {
        return None;
    }
    let (patches, flat) = trace.reshaped(&anchor.input[0])?;
    let conv = trace.inner(patches, "Conv")?;
    let [image, weight] = conv.input.as_slice() else { return None };
    let weight = trace.floats(weight)?;
    let (x, extents) = trace.reshaped(image)?;
    let &[channels, 1, frames, bins] = weight.shape.as_slice() else { return None };
    let &[1, 1, -1, all_bins] = extents.as_slice() else { return None };
    let all_bins = usize::try_from(all_bins).ok()?;
    let kernel = [frames as i64, bins as i64];
    let fits = ints(conv, "strides") == Some(&kernel)
        && ints(conv, "kernel_shape").is_none_or(|shape| shape == kernel)
        && ints(conv, "pads").is_none_or(|pads| pads.iter().all(|pad| *pad == 0))
        && int(conv, "group").is_none_or(|group| group == 1)
        && flat == [channels as i64, -1]
        && channels > 0
        && frames > 0
        && bins > 0
        && all_bins >= bins;
    fits.then(|| Found {
        inputs: vec![x.to_string()],
        outputs: anchor.output.clone(),
        counted: Vec::new(),
        make: Box::new(move |constants: &mut Constants| {
            let weight = constants.floats(&weight);
            // [frames * bins, channels]
            let each = frames * bins;
            let weight = (0..channels * each).map(|i| weight[(i % channels) * each + i / channels]).collect();
            Arc::new(Patches { channels, frames, bins, all_bins, weight })
        }),
    })
}

struct Patches {
    channels: usize,
    frames: usize,
    bins: usize,
    /// Bins of a frame.
    all_bins: usize,
    /// `[frames * bins, channels]`
    weight: Vec<f32>,
}

impl Fused for Patches {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn shapes(&self, inputs: &[&[usize]]) -> TractResult<TVec<TVec<usize>>> {
        let &[&[1, num_frames, bins]] = inputs else { bail!("patches of {inputs:?}") };
        ensure!(
            bins == self.all_bins && num_frames >= self.frames,
            "patches of {num_frames} frames of {bins} bins"
        );
        Ok(tvec![tvec![num_frames / self.frames * (bins / self.bins), self.channels]])
    }

    fn run(&self, engine: &Engine, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = numbers(&inputs[0])?;
        let (bands, each) = (self.all_bins / self.bins, self.frames * self.bins);
        let steps = x.chunks_exact(self.frames * self.all_bins);
        let tokens = filled(&[steps.len() * bands, self.channels], |tokens| {
            engine.with_scratch(steps.len() * bands * each, 0, |patches, _| {
                for (step, patches) in steps.zip(patches.chunks_exact_mut(bands * each)) {
                    for (band, patch) in patches.chunks_exact_mut(each).enumerate() {
                        let frames = step
                            .chunks_exact(self.all_bins)
                            .map(|frame| &frame[band * self.bins..][..self.bins]);
                        patch
                            .chunks_exact_mut(self.bins)
                            .zip(frames)
                            .for_each(|(row, bins)| row.copy_from_slice(bins));
                    }
                }
                let weight = Matrix::new(&self.weight, self.channels);
                let mut tokens = MatrixMut::new(tokens, self.channels);
                engine.kernels.gemm_f32(Matrix::new(patches, each), weight, None, &mut tokens);
            });
        })?;
        Ok(tvec![tokens])
    }
}

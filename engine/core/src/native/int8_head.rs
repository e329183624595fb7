//! Keys and values of one attention head in int8.

use aesa_kernels::Kernels;
use aesa_kernels::gemm_i8::Int8Weights;

use super::memory::take;
use super::shape::Shape;

/// A head's keys `[num_keys, head_dim]` and values `[head_dim, num_keys]`, each row with a scale of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int8Head<'a> {
    pub(crate) keys: Int8Weights<'a>,
    pub(crate) values: Int8Weights<'a>,
}

impl<'a> Int8Head<'a> {
    /// Quantises the same in f32. `memory` is of [`memory_len`](Self::memory_len), `row` holds the longer of the rows.
    pub(crate) fn quantise(
        kernels: &Kernels,
        [keys, values]: [&[f32]; 2],
        head_dim: usize,
        mut memory: &'a mut [f32],
        row: &mut [i16],
    ) -> Self {
        let num_keys = keys.len() / head_dim;
        let [key_scales, value_scales] = [num_keys, head_dim].map(|count| take(&mut memory, count));
        let (key_data, rest) = bytemuck::cast_slice_mut(memory).split_at_mut(keys.len());
        let value_data = &mut rest[..values.len()];
        Self {
            keys: quantise_rows(kernels, keys, &mut row[..head_dim], key_data, key_scales),
            values: quantise_rows(kernels, values, &mut row[..num_keys], value_data, value_scales),
        }
    }

    /// Numbers of f32 memory that both take: the scales, and a quarter of one for each number. None, if attention is in f32.
    pub(crate) fn memory_len(shape: &Shape) -> usize {
        let (keys, dim) = (shape.max_keys(), shape.head_dim());
        if shape.int8_attention { keys + dim + (2 * keys * dim).div_ceil(4) } else { 0 }
    }
}

/// `data` and `scales` become the rows of `exact`, as long as `row` each.
fn quantise_rows<'a>(
    kernels: &Kernels,
    exact: &[f32],
    row: &mut [i16],
    data: &'a mut [i8],
    scales: &'a mut [f32],
) -> Int8Weights<'a> {
    let inputs = row.len();
    let rows = exact.chunks_exact(inputs).zip(data.chunks_exact_mut(inputs));
    for ((exact, data), scale) in rows.zip(&mut *scales) {
        *scale = kernels.quantise(exact, row);
        data.iter_mut().zip(&*row).for_each(|(place, q)| *place = *q as i8);
    }
    Int8Weights::new(data, scales, inputs)
}

//! Keys and values of one attention head in int8; keys alone, where a value is one number.

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
    /// Quantises the same in f32 into `memory`, of [`memory_len`](Self::memory_len); `row` holds the longer of the rows.
    pub(crate) fn quantise(
        kernels: &Kernels,
        [keys, values]: [&[f32]; 2],
        head_dim: usize,
        mut memory: &mut [f32],
        row: &mut [i16],
    ) {
        let num_keys = keys.len() / head_dim;
        let [key_scales, value_scales] = [num_keys, head_dim].map(|count| take(&mut memory, count));
        let (key_data, value_data) = bytemuck::cast_slice_mut(memory).split_at_mut(keys.len());
        quantise_rows(kernels, keys, &mut row[..head_dim], key_data, key_scales);
        quantise_rows(kernels, values, &mut row[..num_keys], value_data, value_scales);
    }

    /// What [`quantise`](Self::quantise) left in `memory`.
    pub(crate) fn in_memory(memory: &'a [f32], num_keys: usize, head_dim: usize) -> Self {
        let (scales, data) = memory.split_at(num_keys + head_dim);
        let (key_scales, value_scales) = scales.split_at(num_keys);
        let (key_data, rest) = bytemuck::cast_slice(data).split_at(num_keys * head_dim);
        let value_data = &rest[..num_keys * head_dim];
        Self {
            keys: Int8Weights::new(key_data, key_scales, head_dim),
            values: Int8Weights::new(value_data, value_scales, num_keys),
        }
    }

    /// Numbers of f32 memory that both take: the scales, and a quarter of one for each number. None, if attention is in f32.
    pub(crate) fn memory_len(shape: &Shape) -> usize {
        let (keys, dim) = (shape.max_keys(), shape.head_dim());
        if shape.int8_attention { keys + dim + (2 * keys * dim).div_ceil(4) } else { 0 }
    }
}

/// Keys of one number per head and token, `[head_dim, num_keys]`, in int8: `[num_keys, head_dim]` in `memory`, of
/// [`int8_keys_len`]; `row` holds one.
pub(crate) fn quantise_keys<'m>(
    kernels: &Kernels,
    keys: &[f32],
    head_dim: usize,
    mut memory: &'m mut [f32],
    row: &mut [i16],
) -> Int8Weights<'m> {
    let num_keys = keys.len() / head_dim;
    let [scales, key] = [num_keys, head_dim].map(|count| take(&mut memory, count));
    let data = &mut bytemuck::cast_slice_mut(memory)[..keys.len()];
    for (t, (data, scale)) in data.chunks_exact_mut(head_dim).zip(&mut *scales).enumerate() {
        key.iter_mut().zip(keys.chunks_exact(num_keys)).for_each(|(k, dimension)| *k = dimension[t]);
        *scale = quantise_row(kernels, key, &mut row[..head_dim], data);
    }
    Int8Weights::new(data, scales, head_dim)
}

/// Numbers of f32 memory that such keys take.
pub(crate) fn int8_keys_len(num_keys: usize, head_dim: usize) -> usize {
    num_keys + head_dim + (num_keys * head_dim).div_ceil(4)
}

/// `data` and `scales` become the rows of `exact`, as long as `row` each.
fn quantise_rows(kernels: &Kernels, exact: &[f32], row: &mut [i16], data: &mut [i8], scales: &mut [f32]) {
    let inputs = row.len();
    let rows = exact.chunks_exact(inputs).zip(data.chunks_exact_mut(inputs));
    for ((exact, data), scale) in rows.zip(scales) {
        *scale = quantise_row(kernels, exact, row, data);
    }
}

/// `data` becomes `exact`; gives the scale.
fn quantise_row(kernels: &Kernels, exact: &[f32], row: &mut [i16], data: &mut [i8]) -> f32 {
    let scale = kernels.quantise(exact, row);
    data.iter_mut().zip(row).for_each(|(place, q)| *place = *q as i8);
    scale
}

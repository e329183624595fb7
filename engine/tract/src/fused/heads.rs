//! What attention of blocks and of head branches has in common: projections split in heads, tokens before the chunk, scores.
//!
//! ```text
//! q = split(linear(x))   k = past ++ split(linear(x))   scores = q k (+ bias) (+ mask)   weights = softmax(scores)
//! ```

use aesa_kernels::{Matrix, MatrixMut};
use aesa_onnx::{DataType, NodeProto};
use tract_core::internal::*;

use super::linear::LinearPattern;
use crate::pattern::{Trace, int};

/// A projection whose outputs are those of all heads.
pub(super) struct Split<'a> {
    pub(super) map: LinearPattern<'a>,
    pub(super) heads: usize,
    pub(super) dim: usize,
}

impl<'a> Split<'a> {
    /// A map's `[tokens, heads * dim]` as `[tokens, heads, dim]`, its axes in this order.
    pub(super) fn find(trace: &mut Trace<'a, '_>, value: &str, order: &[i64]) -> Option<Self> {
        let split = trace.transposed(value, order)?;
        let (x, extents) = trace.reshaped(split)?;
        let &[-1, heads, dim] = extents.as_slice() else { return None };
        let (heads, dim) = (usize::try_from(heads).ok()?, usize::try_from(dim).ok()?);
        let map = LinearPattern::find(trace, x, 1)?;
        (heads.checked_mul(dim)? == map.outputs).then_some(Self { map, heads, dim })
    }
}

/// Keys or values of the tokens before the chunk: a state that is taken, and given on.
pub(super) struct Past<'a> {
    pub(super) past: &'a str,
    pub(super) present: &'a str,
    /// How many tokens it holds.
    pub(super) kept: usize,
}

impl<'a> Past<'a> {
    /// The chunk's own part of `value`, and what stands before it along `axis`, if anything does: the node `taker` takes both.
    pub(super) fn find(
        trace: &mut Trace<'a, '_>,
        value: &'a str,
        axis: i64,
        taker: &NodeProto,
    ) -> Option<(&'a str, Option<Self>)> {
        if trace.shared(value, "Concat").is_none() {
            return Some((value, None));
        }
        let concat = trace.inner_for(value, "Concat", 2)?;
        let [past, own] = concat.input.as_slice() else { return None };
        let last = trace.other_taker(value, taker, "Slice")?;
        let (start, end) = trace.slice(last, axis)?;
        let kept = usize::try_from(start.checked_neg()?).ok().filter(|kept| *kept > 0)?;
        let fits = int(concat, "axis") == Some(axis) && end == i64::MAX;
        let past = Self { past, present: last.output.first()?, kept };
        fits.then_some((own.as_str(), Some(past)))
    }
}

/// What a chunk's queries see.
#[derive(Default)]
pub(super) struct Sight<'a> {
    /// How many tokens before the chunk are kept.
    pub(super) kept: usize,
    /// The states: keys, values.
    pub(super) pasts: Vec<Past<'a>>,
    /// What counts the kept tokens that belong to the clip; all do, without.
    pub(super) before: Option<&'a str>,
    /// Values with an entry per token of the chunk.
    pub(super) counted: Vec<&'a str>,
}

impl<'a> Sight<'a> {
    /// From the states of keys and values, either of which there must be.
    pub(super) fn new(keys: Option<Past<'a>>, values: Option<Past<'a>>) -> Option<Self> {
        match (keys, values) {
            (None, None) => Some(Self::default()),
            (Some(keys), Some(values)) if keys.kept == values.kept => {
                Some(Self { kept: keys.kept, pasts: vec![keys, values], ..Self::default() })
            }
            _ => None,
        }
    }

    /// Takes the mask off the scores `value`, if there is one.
    pub(super) fn unmasked(&mut self, trace: &mut Trace<'a, '_>, value: &'a str) -> &'a str {
        let found = trace.attempt(|trace| {
            let node = trace.inner(value, "Add")?;
            trace.either(node, |trace, scores, mask| Some((scores, Mask::find(trace, mask)?)))
        });
        match found {
            Some((scores, mask)) if mask.kept == self.kept => {
                self.before = Some(mask.before);
                self.counted.push(mask.tokens);
                scores
            }
            _ => value,
        }
    }

    /// The states' names, then that of the count.
    pub(super) fn inputs(&self) -> Vec<String> {
        let names = self.pasts.iter().map(|past| past.past).chain(self.before);
        names.map(str::to_string).collect()
    }
}

/// Very little for scores of keys before the clip's start, 0 for the others.
///
/// ```text
/// mask = min(index + before, 0) * much,  index = -kept .. tokens - 1
/// ```
struct Mask<'a> {
    before: &'a str,
    tokens: &'a str,
    kept: usize,
}

impl<'a> Mask<'a> {
    fn find(trace: &Trace<'a, '_>, value: &str) -> Option<Self> {
        let mask = trace.shared(value, "Mul")?;
        let missing = trace.shared(&mask.input[0], "Min")?;
        let since_start = trace.shared(&missing.input[0], "Add")?;
        let index = trace.shared(&since_start.input[0], "Cast")?;
        let (first, tokens) = token_index(trace, &index.input[0])?;
        let fits = trace.scalar(&mask.input[1])? >= MUCH
            && trace.scalar(&missing.input[1]) == Some(0.0)
            && int(index, "to") == Some(DataType::Float as i64);
        let kept = usize::try_from(first.checked_neg()?).ok()?;
        fits.then_some(Self { before: &since_start.input[1], tokens, kept })
    }
}

/// What makes a key's weight 0 beside others.
const MUCH: f32 = 1e3;

/// `first`, and the value whose first axis is counted, where `value` is `first` to one below that count.
pub(super) fn token_index<'a>(trace: &Trace<'a, '_>, value: &str) -> Option<(i64, &'a str)> {
    let range = trace.shared(value, "Range")?;
    let count = trace.shared(&range.input[1], "Gather")?;
    let shape = trace.shared(&count.input[0], "Shape")?;
    let fits = trace.int(&range.input[2]) == Some(1)
        && trace.int(&count.input[1]) == Some(0)
        && int(count, "axis").unwrap_or(0) == 0;
    let first = trace.int(&range.input[0])?;
    fits.then_some((first, shape.input[0].as_str()))
}

/// The last `kept` of all tokens: how many of the kept ones stay, for a chunk of `num_tokens`, and the first of its own that does.
fn staying(kept: usize, num_tokens: usize) -> (usize, usize) {
    (kept.saturating_sub(num_tokens), num_tokens.saturating_sub(kept))
}

/// The count of kept tokens that a clip has.
pub(super) fn visible(before: Option<&[f32]>, kept: usize) -> usize {
    // As the mask has it: a key is seen from index + before = 0 on.
    before.map_or(kept, |before| (before[0].max(0.0) as usize).min(kept))
}

/// One head's keys, a row per dimension: those of the kept tokens that are visible, then the chunk's own, columns of `own`.
pub(super) fn gather_keys(past: &[f32], visible: usize, own: Matrix<'_>, keys: &mut MatrixMut<'_>) {
    let (dim, num_keys) = (own.num_cols(), keys.num_cols());
    let kept = past.len() / dim;
    debug_assert_eq!(num_keys, visible + own.num_rows());
    for d in 0..dim {
        keys.row_mut(d)[..visible].copy_from_slice(&past[(d + 1) * kept - visible..(d + 1) * kept]);
    }
    for t in 0..own.num_rows() {
        let row = own.row(t);
        row.iter().enumerate().for_each(|(d, k)| keys.row_mut(d)[visible + t] = *k);
    }
}

/// One head's state after the chunk, from that before it and the chunk's own: a row per dimension.
pub(super) fn keep_columns(past: &[f32], own: Matrix<'_>, present: &mut [f32]) {
    let kept = past.len() / own.num_cols();
    let (stay, first) = staying(kept, own.num_rows());
    for (d, (present, past)) in present.chunks_exact_mut(kept).zip(past.chunks_exact(kept)).enumerate() {
        present[..stay].copy_from_slice(&past[kept - stay..]);
        present[stay..].iter_mut().enumerate().for_each(|(t, place)| *place = own.row(first + t)[d]);
    }
}

/// The same with a row per token.
pub(super) fn keep_rows(past: &[f32], own: Matrix<'_>, present: &mut [f32]) {
    let dim = own.num_cols();
    let kept = past.len() / dim;
    let (stay, first) = staying(kept, own.num_rows());
    let (old, new) = present.split_at_mut(stay * dim);
    old.copy_from_slice(&past[(kept - stay) * dim..]);
    new.chunks_exact_mut(dim).enumerate().for_each(|(t, place)| place.copy_from_slice(own.row(first + t)));
}

/// Checks the states of keys `[heads, dim, kept]` and of values `[heads, kept, value_dim]`, and the count.
pub(super) fn check_pasts(
    inputs: &[&[usize]],
    kept: usize,
    [heads, dim, value_dim]: [usize; 3],
    is_counted: bool,
) -> TractResult<()> {
    let mut expected: TVec<TVec<usize>> = tvec![];
    if kept > 0 {
        expected.extend([tvec![heads, dim, kept], tvec![heads, kept, value_dim]]);
    }
    if is_counted {
        expected.push(tvec![1]);
    }
    let fits = inputs.len() == expected.len() && inputs.iter().zip(&expected).all(|(a, e)| *a == &e[..]);
    ensure!(fits, "states of {inputs:?}, not {expected:?}");
    Ok(())
}

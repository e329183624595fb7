//! Sums, maxima and dot products over sixteen lanes, always combined in the same order.
//!
//! A `black_box` stands between the lanes and what is made of them: the compiler, which would else lay the lanes out in pairs as the
//! last sums take them, four times as slow, keeps them in whole registers.

use core::hint::black_box;

/// Sum of all values: lane `i` sums the values `i, i + 16, ..`, then the lanes are added pairwise, then the rest.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, v)| *lane += v);
    }
    rest.iter().fold(fold(black_box(lanes), |a, b| a + b), |sum, v| sum + v)
}

/// Replaces every value by `f` of it; gives [`sum`] of these.
#[inline(always)]
pub(crate) fn map_and_sum(x: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = x.as_chunks_mut::<LANES>();
    let mut lanes = [0.0; LANES];
    for block in blocks {
        for (lane, v) in lanes.iter_mut().zip(block) {
            *v = f(*v);
            *lane += *v;
        }
    }
    rest.iter_mut().for_each(|v| *v = f(*v));
    rest.iter().fold(fold(black_box(lanes), |a, b| a + b), |sum, v| sum + v)
}

/// Replaces every value by `f` of it and of the other one beside it; gives the [largest](max).
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub(crate) fn zip_and_max(x: &mut [f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    assert_eq!(x.len(), y.len());
    let ((blocks, rest), (y_blocks, y_rest)) = (x.as_chunks_mut::<LANES>(), y.as_chunks::<LANES>());
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for (block, others) in blocks.iter_mut().zip(y_blocks) {
        // All before any is stored: else the compiler takes them one by one.
        let values: [f32; LANES] = core::array::from_fn(|i| f(block[i], others[i]));
        *block = values;
        lanes.iter_mut().zip(&values).for_each(|(lane, v)| *lane = larger(*lane, *v));
    }
    rest.iter_mut().zip(y_rest).for_each(|(v, other)| *v = f(*v, *other));
    rest.iter().fold(fold(black_box(lanes), larger), |max, v| larger(max, *v))
}

/// The same without others.
#[inline(always)]
pub(crate) fn map_and_max(x: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = x.as_chunks_mut::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        for (lane, v) in lanes.iter_mut().zip(block) {
            *v = f(*v);
            *lane = larger(*lane, *v);
        }
    }
    rest.iter_mut().for_each(|v| *v = f(*v));
    rest.iter().fold(fold(black_box(lanes), larger), |max, v| larger(max, *v))
}

/// Dot product, in the order of [`sum`].
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    assert_eq!(x.len(), y.len());
    let ((blocks, rest), (y_blocks, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in blocks.iter().zip(y_blocks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    rest.iter().zip(y_rest).fold(fold(black_box(lanes), |a, b| a + b), |sum, (a, b)| sum + a * b)
}

/// The largest value; negative infinity of none.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    largest(x, f32::NEG_INFINITY, |v| v)
}

/// The largest magnitude; 0 of none.
#[inline(always)]
pub fn max_abs(x: &[f32]) -> f32 {
    largest(x, 0.0, f32::abs)
}

#[inline(always)]
fn largest(x: &[f32], least: f32, size: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [least; LANES];
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, v)| *lane = larger(*lane, size(*v)));
    }
    rest.iter().fold(fold(black_box(lanes), larger), |max, v| larger(max, size(*v)))
}

/// A comparison and a selection; `f32::max` has to look after NaN and is several times slower.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// The lanes' values in one.
#[inline(always)]
pub(crate) fn fold(x: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let x: [f32; 8] = core::array::from_fn(|i| f(x[i], x[i + 8]));
    f(f(f(x[0], x[4]), f(x[2], x[6])), f(f(x[1], x[5]), f(x[3], x[7])))
}

/// The widest register's; narrower ones take several.
pub(crate) const LANES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn equal_plain_loops_at_every_length() {
        for n in 0..80 {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37 + 11) % 29) as f32 - 14.0).collect();
            let y: Vec<f32> = (0..n).map(|i| ((i * 17 + 3) % 31) as f32 - 15.0).collect();
            // Small whole numbers: every order gives the same sum.
            assert_eq!(sum(&x), x.iter().sum::<f32>(), "{n}");
            assert_eq!(dot(&x, &y), x.iter().zip(&y).map(|(a, b)| a * b).sum::<f32>(), "{n}");
            let mut doubled = x.clone();
            assert_eq!(map_and_sum(&mut doubled, |v| 2.0 * v), 2.0 * sum(&x), "{n}");
            assert!(doubled.iter().zip(&x).all(|(d, x)| *d == 2.0 * x), "{n}");
            let (mut halved, mut less) = (x.clone(), x.clone());
            assert_eq!(map_and_max(&mut halved, |v| 0.5 * v), max(&halved), "{n}");
            assert!(halved.iter().zip(&x).all(|(h, x)| *h == 0.5 * x), "{n}");
            assert_eq!(zip_and_max(&mut less, &y, |v, y| v - y), max(&less), "{n}");
            assert!(less.iter().zip(x.iter().zip(&y)).all(|(l, (x, y))| *l == x - y), "{n}");
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max), "{n}");
            assert_eq!(max_abs(&x), x.iter().map(|v| v.abs()).fold(0.0, f32::max), "{n}");
        }
    }
}

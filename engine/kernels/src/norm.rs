//! Layer norm.

use crate::lanes::sum;

/// Normalises a row: `out = (x - mean) / sqrt(variance + 1e-5) * weight + bias`, the variance that of the whole row.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == bias.len());
    out.copy_from_slice(x);
    layer_norm_in_place(out, weight, bias);
}

/// As [`layer_norm`], `x` being overwritten.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn layer_norm_in_place(x: &mut [f32], weight: &[f32], bias: &[f32]) {
    layer_norm_with(x, weight, bias, libm::sqrtf);
}

/// [`layer_norm_in_place`] with another square root, exact as well.
#[inline(always)]
pub(crate) fn layer_norm_with(x: &mut [f32], weight: &[f32], bias: &[f32], sqrt: impl Fn(f32) -> f32) {
    assert!(x.len() == weight.len() && x.len() == bias.len());
    let count = x.len() as f32;
    let mean = sum(x) / count;
    x.iter_mut().for_each(|x| *x -= mean);
    let variance = crate::lanes::dot(x, x) / count;
    let factor = 1.0 / sqrt(variance + EPSILON);
    for ((x, weight), bias) in x.iter_mut().zip(weight).zip(bias) {
        *x = *x * factor * weight + bias;
    }
}

/// PyTorch's default.
const EPSILON: f32 = 1e-5;

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn equals_the_definition() {
        for n in [1, 7, 8, 24, 100] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37) % 41) as f32 / 7.0 + 5.0).collect();
            let weight: Vec<f32> = (0..n).map(|i| 0.5 + i as f32 / 50.0).collect();
            let bias: Vec<f32> = (0..n).map(|i| i as f32 / 9.0 - 1.0).collect();
            let mut y = std::vec![f32::NAN; n];
            layer_norm(&x, &weight, &bias, &mut y);
            let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / n as f64;
            let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n as f64;
            for i in 0..n {
                let normed = (f64::from(x[i]) - mean) / (variance + 1e-5).sqrt();
                let expected = normed * f64::from(weight[i]) + f64::from(bias[i]);
                assert!((f64::from(y[i]) - expected).abs() < 2e-6 * expected.abs().max(1.0), "{n} {i}");
            }
        }
    }
}

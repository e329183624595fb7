//! Functions of one number, without branches, so that loops over them vectorise.

/// `e^x`, within 2 ulp for `x` in `[-87, 88]`; beyond, the value at the nearer end, so never 0 and never infinite.
///
/// ```text
/// n = round(x / ln 2);  r = x - n ln 2, |r| <= 0.35;  e^x = 2^n (1 + r + r^2/2! + .. + r^7/7!)
/// ```
/// `ln 2` is split in two numbers, the first with so few digits that `n` times it is exact (Cody and Waite 1980).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    exp_within(x.clamp(-87.0, 88.0))
}

/// [`exp`] of a number that is at most 0.
#[inline(always)]
pub(crate) fn exp_of_negative(x: f32) -> f32 {
    exp_within(if x < -87.0 { -87.0 } else { x })
}

/// [`exp`] of a number that needs no bounds.
#[inline(always)]
fn exp_within(x: f32) -> f32 {
    let shifted = x * core::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let p = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let p = 1.0 / 24.0 + r * (1.0 / 120.0 + r * p);
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * p)));
    // The low bits of `shifted` hold n; the sum with the bias is moved to where the exponent is.
    let power = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(power)
}

/// `1 / (1 + e^-x)`, error below 2e-7.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Hyperbolic tangent, error below 3e-7.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

/// `x/2 (1 + erf(x / sqrt 2))`, error below 2e-7 times the larger of 1 and `|x|`.
///
/// The tail of the normal distribution is Abramowitz and Stegun's equation 7.1.26 for `erfc`.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    let z = x.abs() * core::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = 1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4);
    let p = t * (0.254_829_6 + t * (-0.284_496_72 + t * p));
    let tail = 0.5 * p * exp_of_negative(-z * z);
    if x < 0.0 { x * tail } else { x - x * tail }
}

/// [`gelu`] of each number.
#[inline(always)]
pub fn gelu_in_place(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = gelu(*x));
}

/// The nearest whole number, ties to even, for magnitudes below 2^22.
#[inline(always)]
pub(crate) fn round(x: f32) -> i32 {
    (x + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits()) as i32
}

/// The same as a number.
#[inline(always)]
pub(crate) fn whole(x: f32) -> f32 {
    (x + ROUNDER) - ROUNDER
}

/// Adding it leaves no bits behind the binary point: 1.5 * 2^23.
const ROUNDER: f32 = 12_582_912.0;

/// 355/512: nine bits, times a whole number of seven exact in 24.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments from `-end` to `end`, dense near 0.
    fn arguments(end: f64) -> impl Iterator<Item = f32> {
        (-200_000..=200_000).map(move |i| ((f64::from(i) / 200_000.0).powi(3) * end) as f32)
    }

    #[test]
    fn exp_is_within_two_ulp() {
        for x in arguments(87.0) {
            let expected = f64::from(x).exp();
            let ulp = f64::from(expected as f32) * f64::from(f32::EPSILON);
            assert!((f64::from(exp(x)) - expected).abs() <= 2.0 * ulp, "{x}: {} {expected}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
        for x in arguments(200.0).filter(|x| *x <= 0.0).chain([f32::NEG_INFINITY]) {
            assert_eq!(exp_of_negative(x).to_bits(), exp(x).to_bits(), "{x}");
        }
        assert!(exp(-1e30) > 0.0 && exp(-1e30) < 2e-38 && exp(1e30).is_finite() && exp(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_and_tanh_are_close() {
        for x in arguments(60.0) {
            let wide = f64::from(x);
            assert!((f64::from(sigmoid(x)) - 1.0 / (1.0 + (-wide).exp())).abs() < 2e-7, "{x}");
            assert!((f64::from(tanh(x)) - wide.tanh()).abs() < 3e-7, "{x}");
        }
        assert_eq!((sigmoid(0.0), tanh(0.0)), (0.5, 0.0));
    }

    #[test]
    fn gelu_is_close() {
        for x in arguments(30.0) {
            let wide = f64::from(x);
            let expected = 0.5 * wide * libm::erfc(-wide * core::f64::consts::FRAC_1_SQRT_2);
            assert!((f64::from(gelu(x)) - expected).abs() < 2e-7 * wide.abs().max(1.0), "{x} {expected}");
        }
        assert_eq!(gelu(0.0), 0.0);
    }

    #[test]
    fn rounding_is_to_nearest_even() {
        for (x, expected) in
            [(0.5, 0), (1.5, 2), (-0.5, 0), (-1.5, -2), (126.5, 126), (-127.0, -127), (2.49, 2)]
        {
            assert_eq!((round(x), whole(x)), (expected, expected as f32), "{x}");
        }
    }
}

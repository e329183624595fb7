//! Functions of one number, without branches, so that loops over them vectorise.

/// `e^x`, within 2 ulp for `x` in `[-87, 88]`; beyond, the value at the nearer end, so never 0 and never infinite.
///
/// ```text
/// n = round(x / ln 2);  r = x - n ln 2, |r| <= 0.35;  e^x = 2^n (1 + r + r^2 (c2 + c3 r + r^2 (c4 + c5 r + c6 r^2)))
/// ```
/// `ln 2` is split in two numbers, the first with so few digits that `n` times it is exact (Cody and Waite 1980). `c2` to `c6` are the
/// polynomial's whose relative error, 3e-9, is the least. A power at a time would be a chain of operations twice as long, each waiting for
/// the one before.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    exp_within(x.clamp(LEAST_EXPONENT, 88.0))
}

/// [`exp`] of a number that is at most 0.
#[inline(always)]
pub(crate) fn exp_of_negative(x: f32) -> f32 {
    exp_within(bounded_below(x))
}

/// The number, or the least one that an exponential is taken of; NaN stays.
#[inline(always)]
pub(crate) fn bounded_below(x: f32) -> f32 {
    if x < LEAST_EXPONENT { LEAST_EXPONENT } else { x }
}

/// [`exp`] of a number that needs no bounds.
#[inline(always)]
fn exp_within(x: f32) -> f32 {
    exp_by(x, |a, b, c| a * b + c)
}

/// The same with another `a b + c`.
#[inline(always)]
pub(crate) fn exp_by(x: f32, multiply_add: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let shifted = multiply_add(x, core::f32::consts::LOG2_E, ROUNDER);
    let n = shifted - ROUNDER;
    let r = multiply_add(n, -LN_2_LOW, multiply_add(n, -LN_2_HIGH, x));
    let square = r * r;
    let [c2, c3, c4, c5, c6] = EXP;
    let p = multiply_add(square, c6, multiply_add(r, c5, c4));
    let p = multiply_add(square, p, multiply_add(r, c3, c2));
    let p = 1.0 + multiply_add(square, p, r);
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

/// Adding it leaves no bits behind the binary point: 1.5 * 2^23.
pub(crate) const ROUNDER: f32 = 12_582_912.0;

/// 355/512: nine bits, times a whole number of seven exact in 24.
pub(crate) const LN_2_HIGH: f32 = 0.693_359_4;
pub(crate) const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `c2` to `c6` of [`exp`]'s polynomial.
pub(crate) const EXP: [f32; 5] = [0.499_999_94, 0.166_665_2, 0.041_668_4, 0.008_368_856, 0.001_381_430_9];

/// Below it [`exp_of_negative`] stays the same.
pub(crate) const LEAST_EXPONENT: f32 = -87.0;

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
            assert_eq!(round(x), expected, "{x}");
        }
    }
}

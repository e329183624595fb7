//! Real FFT of 512 points in f32.

use core::array;

/// Transform of 512 real numbers, with the roundings of torch's own.
///
/// Where a frame is tonal, most mel bins hold nothing but the transform's rounding noise, and to equal torchaudio
/// there means to round as torch 2.11 does (MKL's scalar path; found by probing it with impulses and sums). So this is
/// that algorithm, without fused multiply-adds, on every target:
///
/// ```text
/// z[m] = x[2m] + i x[2m+1], m = m0 + 8 m1 + 64 m2         pack 512 real as 256 complex
/// 4-point over m2, * W32^(m1 k), 8-point over m1           -> 32 points for each m0
/// * W256^(m0 k), 8-point over m0                           -> Z[0..256]
/// D = Z[k] - conj Z[256-k],  a = 1/2 - sin/2,  b = cos/2   at angle 2 pi k / 512
/// X[k] = conj Z[256-k] + D (a - i b)                       and its mirror
/// ```
#[derive(Clone, Debug)]
pub(crate) struct RealFft512 {
    /// `[m1][k]`: W32^(m1 k).
    twiddles_32: [[(f32, f32); 4]; 8],
    /// `[m0]`: W256^(m0 k) for k in 0..32, real and imaginary parts.
    twiddles_256: [([f32; 32], [f32; 32]); 8],
    /// `(a, b)` for k in 0..128.
    split: [(f32, f32); 128],
}

impl RealFft512 {
    pub(crate) fn new() -> Self {
        Self {
            twiddles_32: array::from_fn(|r| array::from_fn(|k| root(r * k, 32))),
            twiddles_256: array::from_fn(|r| {
                (array::from_fn(|k| root(r * k, 256).0), array::from_fn(|k| root(r * k, 256).1))
            }),
            split: array::from_fn(|k| {
                let angle = 2.0 * core::f64::consts::PI * k as f64 / 512.0;
                (0.5 - (0.5 * libm::sin(angle)) as f32, (0.5 * libm::cos(angle)) as f32)
            }),
        }
    }

    /// `|X[k]|^2` for k in 0..256: all bins but the Nyquist one.
    pub(crate) fn power(&self, x: &[f32; 512]) -> [f32; 256] {
        let (re, im) = self.complex_256(x);
        let mut power = [0.0; 256];
        let dc = re[0] + im[0];
        power[0] = dc * dc;
        power[128] = re[128] * re[128] + im[128] * im[128];
        for k in 1..128 {
            let n = 256 - k;
            let (a, b) = self.split[k];
            let (d_re, d_im) = (re[k] - re[n], im[k] + im[n]);
            let (y_re, y_im) = (a * d_re + b * d_im, a * d_im - b * d_re);
            let (low_re, low_im) = (re[n] + y_re, y_im - im[n]);
            let (high_re, high_im) = (re[k] - y_re, y_im - im[k]);
            power[k] = low_re * low_re + low_im * low_im;
            power[n] = high_re * high_re + high_im * high_im;
        }
        power
    }

    /// Z: the transform of the packed input, real and imaginary parts.
    fn complex_256(&self, x: &[f32; 512]) -> ([f32; 256], [f32; 256]) {
        let inner = self.inner_32(x);
        let (mut re, mut im) = ([0.0; 256], [0.0; 256]);
        for k in (0..32).step_by(LANES) {
            let mut points: [Lanes; 8] = array::from_fn(|r| inner[r][k / LANES]);
            for (r, point) in points.iter_mut().enumerate().skip(1) {
                let (w_re, w_im) = &self.twiddles_256[r];
                *point = point.times(|l| (w_re[k + l], w_im[k + l]));
            }
            for (q, point) in dft_8(points).into_iter().enumerate() {
                re[k + 32 * q..][..LANES].copy_from_slice(&point.re);
                im[k + 32 * q..][..LANES].copy_from_slice(&point.im);
            }
        }
        (re, im)
    }

    /// The eight 32-point transforms, one per m0: `[m0][k / 8]`, lanes over k.
    fn inner_32(&self, x: &[f32; 512]) -> [[Lanes; 4]; 8] {
        // Lanes over m0 here.
        let at = |m: usize| {
            Lanes { re: array::from_fn(|l| x[2 * (m + l)]), im: array::from_fn(|l| x[2 * (m + l) + 1]) }
        };
        let mut fours = [[Lanes::default(); 8]; 4];
        for (m1, twiddles) in self.twiddles_32.iter().enumerate() {
            let points = dft_4(array::from_fn(|m2| at(8 * m1 + 64 * m2)));
            for (k, (point, w)) in points.into_iter().zip(twiddles).enumerate() {
                fours[k][m1] = if m1 == 0 || k == 0 { point } else { point.times(|_| *w) };
            }
        }
        let mut inner = [[Lanes::default(); 4]; 8];
        for (k, points) in fours.into_iter().enumerate() {
            for (q, point) in dft_8(points).into_iter().enumerate() {
                let bin = k + 4 * q;
                for (m0, transform) in inner.iter_mut().enumerate() {
                    transform[bin / LANES].re[bin % LANES] = point.re[m0];
                    transform[bin / LANES].im[bin % LANES] = point.im[m0];
                }
            }
        }
        inner
    }
}

/// Eight complex numbers that go through the same steps.
#[derive(Clone, Copy, Debug, Default)]
struct Lanes {
    re: [f32; LANES],
    im: [f32; LANES],
}

impl Lanes {
    #[inline(always)]
    fn map(f: impl Fn(usize) -> (f32, f32)) -> Self {
        let mut out = Self::default();
        for l in 0..LANES {
            (out.re[l], out.im[l]) = f(l);
        }
        out
    }

    #[inline(always)]
    fn plus(self, b: Self) -> Self {
        Self::map(|l| (self.re[l] + b.re[l], self.im[l] + b.im[l]))
    }

    #[inline(always)]
    fn minus(self, b: Self) -> Self {
        Self::map(|l| (self.re[l] - b.re[l], self.im[l] - b.im[l]))
    }

    #[inline(always)]
    fn times(self, w: impl Fn(usize) -> (f32, f32)) -> Self {
        Self::map(|l| {
            let (w_re, w_im) = w(l);
            (self.re[l] * w_re - self.im[l] * w_im, self.re[l] * w_im + self.im[l] * w_re)
        })
    }

    /// Times -i.
    #[inline(always)]
    fn turned(self) -> Self {
        Self::map(|l| (self.im[l], -self.re[l]))
    }

    /// Times (1 - i) / sqrt 2.
    #[inline(always)]
    fn turned_half(self) -> Self {
        Self::map(|l| {
            (self.re[l] * SQRT_HALF + self.im[l] * SQRT_HALF, self.im[l] * SQRT_HALF - self.re[l] * SQRT_HALF)
        })
    }

    /// Times (-1 - i) / sqrt 2.
    #[inline(always)]
    fn turned_three_halves(self) -> Self {
        Self::map(|l| {
            (self.im[l] * SQRT_HALF - self.re[l] * SQRT_HALF, -(self.im[l] * SQRT_HALF + self.re[l] * SQRT_HALF))
        })
    }
}

#[inline(always)]
fn dft_4([a, b, c, d]: [Lanes; 4]) -> [Lanes; 4] {
    let (s, t) = (a.plus(c), b.plus(d));
    let (u, v) = (a.minus(c), b.minus(d).turned());
    [s.plus(t), u.plus(v), s.minus(t), u.minus(v)]
}

#[inline(always)]
fn dft_8([a, b, c, d, e, f, g, h]: [Lanes; 8]) -> [Lanes; 8] {
    let even = dft_4([a, c, e, g]);
    let [o, p, q, r] = dft_4([b, d, f, h]);
    let odd = [o, p.turned_half(), q.turned(), r.turned_three_halves()];
    array::from_fn(|k| if k < 4 { even[k].plus(odd[k]) } else { even[k - 4].minus(odd[k - 4]) })
}

/// `exp(-2 pi i j / n)`, exactly 0 where it should be.
fn root(j: usize, n: usize) -> (f32, f32) {
    let angle = 2.0 * core::f64::consts::PI * j as f64 / n as f64;
    let clean = |v: f64| if libm::fabs(v) < 1e-12 { 0.0 } else { v as f32 };
    (clean(libm::cos(angle)), clean(-libm::sin(angle)))
}

const LANES: usize = 8;
/// Not `FRAC_1_SQRT_2`, which is one unit in the last place less: torch's library has seven decimals here.
#[allow(clippy::approx_constant)]
const SQRT_HALF: f32 = 0.7071068;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_definition() {
        let fft = RealFft512::new();
        let mut state = 7u32;
        let x: [f32; 512] = array::from_fn(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        });
        let power = fft.power(&x);
        for (k, actual) in power.iter().enumerate() {
            let (mut re, mut im) = (0.0, 0.0);
            for (i, x) in x.iter().enumerate() {
                let angle = 2.0 * core::f64::consts::PI * (i * k % 512) as f64 / 512.0;
                re += f64::from(*x) * libm::cos(angle);
                im -= f64::from(*x) * libm::sin(angle);
            }
            let expected = libm::sqrt(re * re + im * im);
            // 512 points of size 1: amplitudes near 13, f32 rounding of a few units in the last place.
            assert!((libm::sqrt(f64::from(*actual)) - expected).abs() < 2e-5, "{k}");
        }
    }

    #[test]
    fn an_impulse_is_flat() {
        let fft = RealFft512::new();
        for at in [0, 1, 2, 255, 511] {
            let mut x = [0.0; 512];
            x[at] = 1.0;
            assert!(fft.power(&x).iter().all(|p| (p - 1.0).abs() < 1e-6), "{at}");
        }
    }
}

//! Numbers stored in 16 bits (IEEE 754 binary16): between them and f32 without branches, as caches are read in bulk.

/// The nearest f16, ties to even; beyond ±65504 that. Finite numbers only.
#[inline(always)]
pub fn from_f32(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16) as u16 & 0x8000;
    let size = x.abs().clamp(0.0, 65504.0);
    let bits = size.to_bits();
    // Normal: round 13 bits away, then move the exponent's bias from 127 to 15.
    let normal = ((bits + 0x0fff + ((bits >> 13) & 1)) >> 13).wrapping_sub(112 << 10);
    // Below 2^-14: next to 0.5 an f32's last bit is 2^-24, the smallest f16.
    let tiny = (size + 0.5).to_bits() - 0.5_f32.to_bits();
    sign | if size < SMALLEST_NORMAL { tiny as u16 } else { normal as u16 }
}

/// The number that an f16 holds; finite ones only.
///
/// No f32 on the way is subnormal: a processor that takes these for 0 reads the same number.
#[inline(always)]
pub fn to_f32(x: u16) -> f32 {
    let bits = u32::from(x & 0x7fff) << 13;
    let normal = bits + (112 << 23);
    // Next to 2^-14 an f32's bits are where those of an f16 below it are.
    let tiny = f32::from_bits(bits + (113 << 23)) - SMALLEST_NORMAL;
    let size = if bits < 1 << 23 { tiny.to_bits() } else { normal };
    f32::from_bits(size | u32::from(x & 0x8000) << 16)
}

/// [`from_f32`] of each number.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn store(values: &[f32], stored: &mut [u16]) {
    assert_eq!(values.len(), stored.len());
    stored.iter_mut().zip(values).for_each(|(stored, value)| *stored = from_f32(*value));
}

/// [`to_f32`] of each number.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn load(stored: &[u16], values: &mut [f32]) {
    assert_eq!(values.len(), stored.len());
    values.iter_mut().zip(stored).for_each(|(value, stored)| *value = to_f32(*stored));
}

/// 2^-14.
const SMALLEST_NORMAL: f32 = 6.103_515_6e-5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_f16_reads_as_in_crate_half() {
        for bits in (0..=u16::MAX).filter(|b| half::f16::from_bits(*b).is_finite()) {
            assert_eq!(to_f32(bits).to_bits(), half::f16::from_bits(bits).to_f32().to_bits(), "{bits:04x}");
            assert_eq!(from_f32(to_f32(bits)), bits, "{bits:04x}");
        }
    }

    #[test]
    fn f32s_round_as_in_crate_half() {
        for i in 0..2_000_000_u32 {
            let x = f32::from_bits(i.wrapping_mul(2_654_435_761));
            if x.is_finite() && x.abs() < 65504.0 {
                assert_eq!(from_f32(x), half::f16::from_f32(x).to_bits(), "{x:e}");
            }
        }
        assert_eq!((from_f32(1e9), from_f32(-1e9)), (0x7bff, 0xfbff));
    }
}

//! Dropout whose masks the clips of one family share.
//!
//! What tells the members of a family apart is their degradation. Near the transparent end that moves a score by less
//! than masks of their own do; masks in common move all members alike, and the ranking loss sees the rest.

use tch::{Kind, Tensor};

use crate::upload::upload;

/// Whether dropout is on, and for whom its masks are drawn.
#[derive(Clone, Copy, Debug)]
pub enum Dropout<'a> {
    /// Off: the network scores.
    Off,
    /// On, with masks for each clip.
    PerClip,
    /// On, with masks for each family.
    PerFamily(&'a Families),
}

/// The families of a batch.
#[derive(Debug)]
pub struct Families {
    /// Of each clip, numbers from 0: `[B]`.
    of_clip: Tensor,
    count: i64,
}

impl Families {
    /// Families of `count` clips; where `kin(n)`, clip n is of the family of the clip before it. `None` where each
    /// clip stands alone.
    pub fn of(count: usize, kin: impl Fn(usize) -> bool, device: tch::Device) -> Option<Self> {
        let mut families = 0;
        let number = |n: usize| {
            families += i64::from(n == 0 || !kin(n));
            families - 1
        };
        let of_clip: Vec<i64> = (0..count).map(number).collect();
        (families < count as i64)
            .then(|| Self { of_clip: upload(&Tensor::from_slice(&of_clip), device), count: families })
    }
}

impl Dropout<'_> {
    /// Whether the network learns.
    pub fn is_on(self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Sets elements of `[B, ..]` to zero with probability `p` and scales the others by `1 / (1 - p)`.
    pub fn apply(self, x: &Tensor, p: f64) -> Tensor {
        match self {
            Self::Off => x.shallow_clone(),
            Self::PerClip => x.dropout(p, true),
            Self::PerFamily(_) if p == 0.0 => x.shallow_clone(),
            Self::PerFamily(families) => {
                let mut shape = x.size();
                shape[0] = families.count;
                let keep =
                    Tensor::empty(shape, (Kind::Float, x.device())).bernoulli_float_(1.0 - p) / (1.0 - p);
                x * keep.to_kind(x.kind()).index_select(0, &families.of_clip)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn a_family_shares_its_masks_and_no_other_does() {
        tch::manual_seed(5);
        let families = Families::of(4, |n| n == 1 || n == 3, Device::Cpu).unwrap();
        let ones = Tensor::ones([4, 50, 40], (Kind::Float, Device::Cpu));
        let y = Dropout::PerFamily(&families).apply(&ones, 0.25);
        let rows: Vec<Vec<f32>> = (0..4).map(|n| y.get(n).flatten(0, 1).try_into().unwrap()).collect();
        assert_eq!(rows[0], rows[1]);
        assert_eq!(rows[2], rows[3]);
        assert_ne!(rows[0], rows[2]);
        let kept = rows[0].iter().filter(|x| **x != 0.0).count();
        assert!((1400..1600).contains(&kept), "{kept} of 2000");
        assert!(rows[0].iter().all(|x| *x == 0.0 || (x - 4.0 / 3.0).abs() < 1e-6));
    }

    #[test]
    fn clips_without_kin_are_no_families() {
        assert!(Families::of(3, |_| false, Device::Cpu).is_none());
        assert!(Families::of(0, |_| true, Device::Cpu).is_none());
        let x = Tensor::randn([3, 7], (Kind::Float, Device::Cpu));
        assert_eq!(Dropout::Off.apply(&x, 0.5), x);
        assert_ne!(Dropout::PerClip.apply(&x, 0.5), x);
    }
}

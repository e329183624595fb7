//! Keys and values of past chunks.

use aesa_kernels::Kernels;

/// Numbers kept as f32 or as f16, in memory lent as f32.
pub(crate) enum Cache<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [u16], &'static Kernels),
}

impl<'a> Cache<'a> {
    pub(crate) fn new(memory: &'a mut [f32], is_half: bool, kernels: &'static Kernels) -> Self {
        if is_half { Self::F16(bytemuck::cast_slice_mut(memory), kernels) } else { Self::F32(memory) }
    }

    /// Numbers of f32 memory that hold `count` numbers.
    pub(crate) fn memory_len(count: u64, is_half: bool) -> u64 {
        if is_half { count.div_ceil(2) } else { count }
    }

    /// Reads numbers from `start` on.
    pub(crate) fn load(&self, start: usize, out: &mut [f32]) {
        match self {
            Self::F32(data) => out.copy_from_slice(&data[start..][..out.len()]),
            Self::F16(data, kernels) => kernels.f16_load(&data[start..][..out.len()], out),
        }
    }

    /// Keeps numbers from `start` on.
    pub(crate) fn store(&mut self, start: usize, values: &[f32]) {
        match self {
            Self::F32(data) => data[start..][..values.len()].copy_from_slice(values),
            Self::F16(data, kernels) => kernels.f16_store(values, &mut data[start..][..values.len()]),
        }
    }
}

/// One stage's past: what is kept, and where.
pub(crate) struct Past<'a> {
    pub(crate) cache: Cache<'a>,
    pub(crate) ring: Ring,
}

/// Which slots of the caches hold which chunks: a ring of `num_slots`, one chunk each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    /// Chunks of the clip that are over.
    pub(crate) num_chunks: u64,
    pub(crate) num_slots: usize,
    /// Tokens of a slot.
    pub(crate) slot_tokens: usize,
}

impl Ring {
    /// The slots in use, the oldest first.
    pub(crate) fn slots(&self) -> impl Iterator<Item = usize> + use<> {
        let (num_chunks, num_slots) = (self.num_chunks, self.num_slots as u64);
        (num_chunks.saturating_sub(num_slots)..num_chunks).map(move |chunk| (chunk % num_slots) as usize)
    }

    /// How many tokens they hold.
    pub(crate) fn num_tokens(&self) -> usize {
        self.num_chunks.min(self.num_slots as u64) as usize * self.slot_tokens
    }

    /// Where a chunk of `num_tokens` is kept, once the oldest has been read: nowhere, if it is a clip's short last one
    /// or nothing is kept.
    pub(crate) fn slot_for(&self, num_tokens: usize) -> Option<usize> {
        let keeps = self.num_slots > 0 && num_tokens == self.slot_tokens;
        keeps.then(|| (self.num_chunks % self.num_slots as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn slots_are_read_from_the_oldest_on() {
        let ring = |num_chunks, num_slots| Ring { num_chunks, num_slots, slot_tokens: 8 };
        let cases: [(u64, usize, &[usize], usize); 5] =
            [(0, 3, &[], 0), (2, 3, &[0, 1], 2), (3, 3, &[0, 1, 2], 0), (5, 3, &[2, 0, 1], 2), (7, 1, &[0], 0)];
        for (num_chunks, num_slots, expected, next) in cases {
            let ring = ring(num_chunks, num_slots);
            assert_eq!(ring.slots().collect::<Vec<_>>(), expected);
            assert_eq!(ring.num_tokens(), 8 * expected.len());
            assert_eq!(ring.slot_for(8), Some(next));
            assert_eq!(ring.slot_for(7), None);
        }
        assert_eq!((ring(4, 0).slots().count(), ring(4, 0).slot_for(8)), (0, None));
    }

    #[test]
    fn half_keeps_eleven_bits() {
        let mut memory = [f32::NAN; 3];
        let mut cache = Cache::new(&mut memory, true, Kernels::SCALAR);
        cache.store(1, &[1.0 + 1.0 / 1024.0, -0.1, 3e-6]);
        let mut out = [0.0; 3];
        cache.load(1, &mut out);
        assert_eq!(out[0], 1.0 + 1.0 / 1024.0);
        assert!((out[1] + 0.1).abs() < 5e-5 && (out[2] - 3e-6).abs() < 1e-7);
    }
}

//! The FIFO buffer of recent clips that triplets are drawn from.
//!
//! Source: the AESA-Net paper, section III.

use std::collections::VecDeque;

use aesa::score::NUM_AXES;
use rand::RngExt;
use rand::seq::IteratorRandom;
use rand_pcg::Pcg64;
use tch::Tensor;

/// Embeddings and targets of the most recent clips.
#[derive(Debug)]
pub struct TripletBuffer {
    entries: VecDeque<Entry>,
    capacity: usize,
}

/// A clip of the buffer.
#[derive(Debug)]
struct Entry {
    /// `[S]`, without gradient.
    embedding: Tensor,
    /// In standard deviations from the training set's mean.
    z: [f64; NUM_AXES],
}

/// One draw: which clip of the batch is the anchor, and its like and unlike in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triplet {
    /// Index in the batch.
    pub anchor: usize,
    /// Index in the buffer of a clip with a target at most `eps` away.
    pub positive: usize,
    /// Index in the buffer of a clip with a target further away.
    pub negative: usize,
}

impl TripletBuffer {
    /// An empty buffer.
    pub fn new(capacity: usize) -> Self {
        Self { entries: VecDeque::with_capacity(capacity), capacity }
    }

    /// How many clips it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds no clip.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a batch of embeddings `[B, S]` with their targets; the oldest clips leave.
    pub fn push(&mut self, embeddings: &Tensor, z: &[[f64; NUM_AXES]]) {
        // A copy: rows of the batch's tensor would keep its whole graph alive.
        let rows = embeddings.detach().copy().unbind(0);
        for (embedding, z) in rows.into_iter().zip(z) {
            if self.entries.len() == self.capacity {
                self.entries.pop_front();
            }
            self.entries.push_back(Entry { embedding, z: *z });
        }
    }

    /// All embeddings, oldest first: `[len, S]`.
    pub fn embeddings(&self) -> Tensor {
        let rows: Vec<&Tensor> = self.entries.iter().map(|entry| &entry.embedding).collect();
        Tensor::stack(&rows, 0)
    }

    /// Their targets, in standard deviations from the mean: f64 `[len, A]`.
    pub fn targets(&self) -> Tensor {
        let flat: Vec<f64> = self.entries.iter().flat_map(|entry| entry.z).collect();
        Tensor::from_slice(&flat).view([-1, NUM_AXES as i64])
    }

    /// Draws one positive and one negative per clip and axis, where the buffer has both; if `shared`, per clip: what is alike
    /// on all axes, and what is not on one or more.
    pub fn draw(&self, z: &[[f64; NUM_AXES]], eps: f64, shared: bool, rng: &mut Pcg64) -> Vec<Triplet> {
        let groups = if shared { 1 } else { NUM_AXES };
        let mut triplets = Vec::new();
        for (anchor, z) in z.iter().enumerate() {
            for group in 0..groups {
                let counts = |axis: &usize| shared || *axis == group;
                let is_near = |i: &usize| {
                    let entry = &self.entries[*i];
                    (0..NUM_AXES).filter(counts).all(|axis| (entry.z[axis] - z[axis]).abs() <= eps)
                };
                let near: Vec<usize> = (0..self.len()).filter(is_near).collect();
                let Some(negative) = (0..self.len()).filter(|i| !is_near(i)).choose(rng) else { continue };
                if near.is_empty() {
                    continue;
                }
                triplets.push(Triplet { anchor, positive: near[rng.random_range(0..near.len())], negative });
            }
        }
        triplets
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use tch::{Device, Kind};

    use super::*;

    fn filled(count: usize, capacity: usize) -> TripletBuffer {
        let mut buffer = TripletBuffer::new(capacity);
        for n in 0..count {
            buffer.push(&Tensor::full([1, 3], n as f64, (Kind::Float, Device::Cpu)), &[[n as f64; 4]]);
        }
        buffer
    }

    #[test]
    fn the_oldest_leave_first() {
        let buffer = filled(5, 3);
        let first = Vec::<f32>::try_from(buffer.embeddings().select(1, 0)).unwrap();
        assert_eq!(first, [2.0, 3.0, 4.0]);
    }

    #[test]
    fn draws_keep_to_eps() {
        let buffer = filled(10, 10);
        let mut rng = Pcg64::seed_from_u64(1);
        for _ in 0..50 {
            let triplets = buffer.draw(&[[4.0; 4], [8.0; 4]], 1.5, false, &mut rng);
            assert_eq!(triplets.len(), 8);
            for t in triplets {
                let z = [4.0_f64, 8.0][t.anchor];
                assert!((t.positive as f64 - z).abs() <= 1.5);
                assert!((t.negative as f64 - z).abs() > 1.5);
            }
        }
    }

    #[test]
    fn no_triplet_without_both_sides() {
        let mut rng = Pcg64::seed_from_u64(1);
        assert!(filled(0, 4).draw(&[[0.0; 4]], 1.0, false, &mut rng).is_empty());
        assert!(filled(3, 4).draw(&[[1.0; 4]], 5.0, false, &mut rng).is_empty());
        assert!(filled(3, 4).draw(&[[90.0; 4]], 1.0, false, &mut rng).is_empty());
    }

    #[test]
    fn a_shared_triplet_looks_at_all_axes() {
        let mut buffer = TripletBuffer::new(8);
        // Alike on all axes, on three, on none.
        for z in [[0.0; 4], [0.1, 0.1, 0.1, 3.0], [5.0; 4]] {
            buffer.push(&Tensor::zeros([1, 3], (Kind::Float, Device::Cpu)), &[z]);
        }
        let mut rng = Pcg64::seed_from_u64(1);
        let draws: Vec<Triplet> =
            (0..50).flat_map(|_| buffer.draw(&[[0.0; 4]], 0.5, true, &mut rng)).collect();
        assert_eq!(draws.len(), 50);
        assert!(draws.iter().all(|t| t.positive == 0 && t.negative != 0), "{draws:?}");
        assert!([1, 2].iter().all(|clip| draws.iter().any(|t| t.negative == *clip)), "{draws:?}");
        let per_axis = buffer.draw(&[[0.0; 4]], 0.5, false, &mut rng);
        assert_eq!(per_axis.len(), 4);
    }
}

//! What several threads need to share a chunk: scratch for each, and what one leaves for the others.

use alloc::vec;
use alloc::vec::Vec;

use super::attention::Attention;
use super::blstm::Blstm;
use super::branch::Branch;
use super::memory::{Parts, PartsLayout, take};
use super::position::PositionConv;
use super::shape::Shape;
use super::threads::Threads;
use crate::score::NUM_AXES;

/// The memory of a [`Crew`], asked for once.
#[derive(Debug)]
pub(crate) struct CrewMemory {
    threads: Threads,
    parts: PartsLayout,
    head_len: usize,
    signal_len: usize,
    lens: [usize; NUM_SHARED],
    memory: Vec<f32>,
}

/// Threads at work on a chunk.
pub(crate) struct Crew<'a> {
    pub(crate) team: Team<'a>,
    /// Keys and values of all of a block's heads, each in `head_len` numbers.
    pub(crate) heads: &'a mut [f32],
    pub(crate) head_len: usize,
    /// What each group of the positional convolution hears: `signal_len` numbers each, in f32 and in int8, and the scales.
    pub(crate) signals: &'a mut [f32],
    pub(crate) quantised: &'a mut [i16],
    pub(crate) scales: &'a mut [f32],
    pub(crate) signal_len: usize,
    /// A second BLSTM direction's scratch.
    pub(crate) backward: &'a mut [f32],
    /// Each branch's queries, keys and values.
    pub(crate) branches: &'a mut [f32],
}

/// The threads themselves, with scratch for each.
pub(crate) struct Team<'a> {
    threads: &'a Threads,
    parts: Vec<Parts<'a>>,
}

impl CrewMemory {
    pub(crate) fn new(shape: &Shape, threads: &Threads) -> Self {
        let (tokens, count) = (shape.chunk_tokens, threads.count());
        let parts = PartsLayout::new(shape, rows_of_each(tokens, count).min(shape.row_tile()));
        let (head_len, signal_len) = (Attention::head_len(shape), PositionConv::signal_len(shape));
        let lens = [
            shape.heads * head_len,
            shape.groups * signal_len,
            (shape.groups * signal_len).div_ceil(2),
            shape.groups,
            Blstm::scratch_len(shape, tokens),
            NUM_AXES * Branch::wide_len(shape, tokens),
        ];
        let len = count * parts.len() + lens.iter().sum::<usize>();
        // Nothing is read before it is written; it would show.
        let start = if cfg!(debug_assertions) { f32::NAN } else { 0.0 };
        Self { threads: threads.clone(), parts, head_len, signal_len, lens, memory: vec![start; len] }
    }

    /// The crew, if a chunk of `num_tokens` is worth it.
    pub(crate) fn for_chunk(&mut self, shape: &Shape, num_tokens: usize) -> Option<Crew<'_>> {
        if !self.threads.split(shape.multiplications(num_tokens)) {
            return None;
        }
        let (parts, mut rest) = self.memory.split_at_mut(self.threads.count() * self.parts.len());
        let parts = parts.chunks_exact_mut(self.parts.len()).map(|memory| self.parts.cut(memory)).collect();
        let [heads, signals, quantised, scales, backward, branches] = self.lens.map(|len| take(&mut rest, len));
        Some(Crew {
            team: Team { threads: &self.threads, parts },
            heads,
            head_len: self.head_len,
            signals,
            quantised: bytemuck::cast_slice_mut(quantised),
            scales,
            signal_len: self.signal_len,
            backward,
            branches,
        })
    }
}

impl Team<'_> {
    /// [`Threads::each`] with the scratch of each thread.
    pub(crate) fn each<T>(
        &mut self,
        items: impl Iterator<Item = T> + Send,
        work: impl Fn(T, &mut Parts<'_>) + Sync,
    ) {
        self.threads.each(&mut self.parts, items, work);
    }

    /// In blocks of how many rows `num_rows` of them are shared: one for each thread.
    pub(crate) fn block_rows(&self, num_rows: usize) -> usize {
        rows_of_each(num_rows, self.threads.count())
    }
}

/// As evenly as whole tiles of the products allow.
fn rows_of_each(num_rows: usize, count: usize) -> usize {
    num_rows.div_ceil(count).next_multiple_of(TILE_ROWS)
}

/// Rows that the widest of the int8 products multiply at once.
const TILE_ROWS: usize = 16;

/// Pieces of memory beside the parts.
const NUM_SHARED: usize = 6;

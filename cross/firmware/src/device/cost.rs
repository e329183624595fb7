//! What scoring the clip took.

use aesa::fbank::{Fbank, SAMPLE_RATE_HZ};
use aesa_firmware::{BLOCK_SAMPLES, CHUNK_STEPS, MEMORY_NUMBERS, MHZ, MODEL_BYTES};
use cortex_m_semihosting::heprintln;

use crate::clock::Clock;
use crate::{feed, stack};

/// Instructions.
pub(crate) struct Cost {
    checking: u64,
    preparing: u64,
    /// Of the chunk being filled, so far.
    chunk: u64,
    /// Of the costliest chunk, all that its samples took.
    costliest_chunk: u64,
    /// Of the costliest block of samples, which completes a chunk.
    costliest_block: u64,
}

impl Cost {
    /// With what it took to check the model's file and to make the front end's tables.
    pub(crate) fn new(checking: u64, preparing: u64) -> Self {
        Self { checking, preparing, chunk: 0, costliest_chunk: 0, costliest_block: 0 }
    }

    /// Adds what one block of samples took, and whether it completed a chunk.
    pub(crate) fn add(&mut self, instructions: u64, completes_chunk: bool) {
        self.chunk += instructions;
        self.costliest_block = self.costliest_block.max(instructions);
        if completes_chunk {
            self.costliest_chunk = self.costliest_chunk.max(self.chunk);
            self.chunk = 0;
        }
    }

    /// A line on standard error for each figure. The costliest chunk is one of those that have a whole past to attend to.
    pub(crate) fn print(&self) {
        let stack_bytes = stack::used_bytes();
        let per_second = self.costliest_chunk * 1000 / CHUNK_MS;
        heprintln!("instructions per second of audio: {}", per_second);
        heprintln!("instructions while samples wait in the queue: {}", self.costliest_block);
        heprintln!(
            "samples waiting at most, at {} million instructions per second: {}",
            MHZ,
            feed::most_waiting()
        );
        heprintln!("instructions once, to check the model: {}", self.checking);
        heprintln!("instructions once, to make the front end's tables: {}", self.preparing);
        heprintln!("bytes of flash for the model: {}", MODEL_BYTES);
        heprintln!("bytes of RAM for the model: {}", size_of::<[f32; MEMORY_NUMBERS]>());
        heprintln!(
            "bytes of RAM for all variables: {}, for the stack: {}",
            stack::static_bytes(),
            stack_bytes
        );
    }
}

/// The instructions that the log-mel features of a second of audio take.
///
/// In a frame of its own, since the stack has no room for two front ends in the smallest of the machines.
#[inline(never)]
pub(crate) fn print_front_end(clock: &Clock) {
    let mut fbank = Fbank::new();
    let waveform: [f32; BLOCK_SAMPLES] = core::array::from_fn(|i| (i % 19) as f32 / 19.0 - 0.5);
    let ((), instructions) = clock.count(|| {
        for _ in 0..SAMPLE_RATE_HZ as usize / BLOCK_SAMPLES {
            fbank.accept_waveform(&waveform, |log_mel| {
                core::hint::black_box(log_mel);
            });
        }
    });
    heprintln!("instructions per second of audio, log-mel features alone: {}", instructions);
}

/// A step is 160 ms.
const CHUNK_MS: u64 = 160 * CHUNK_STEPS as u64;

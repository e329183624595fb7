//! After construction, scoring asks for no memory.
#![cfg(feature = "alloc")]

use core::alloc::{GlobalAlloc, Layout};
use core::convert::Infallible;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::alloc::System;

use aesa::{AudioSpec, Labels, ModelInfo, Network, Policy, Scorer, Scores, WindowPolicy};

struct Counting;

static NUM_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with its arguments unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NUM_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, and `ptr` came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Constant(ModelInfo);

impl Network for Constant {
    type Error = Infallible;

    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn score_window(&mut self, _: &[f32], scores: &mut [Scores]) -> Result<(), Infallible> {
        scores.fill(Scores([5.0; 4]));
        Ok(())
    }
}

#[test]
fn streaming_allocates_nothing() {
    let mut rates_hz = vec![16_000];
    if cfg!(feature = "std") {
        rates_hz.extend([44_100, 48_000, 8_000]);
    }
    for sample_rate_hz in rates_hz {
        let info = ModelInfo {
            id: "constant".into(),
            version: "1".into(),
            target_mean: [5.0; 4],
            target_std: [1.0; 4],
            policy: Policy::Windowed { window_steps: 62 },
            labels: Labels::Proxy,
            run_hash: "0".into(),
        };
        let mut scorer = Scorer::new(Constant(info), AudioSpec { sample_rate_hz, num_channels: 2 })
            .expect("a supported spec")
            .with_policy(WindowPolicy { hop_steps: 5, look_ahead_steps: 3 })
            .expect("a hop that windows of 62 steps have");
        let chunk = vec![0.1f32; 2 * 4410];
        let before = NUM_ALLOCATIONS.load(Ordering::Relaxed);
        let mut num_frames = 0;
        for i in 0..600 {
            scorer.accept_waveform(&chunk).expect("finite audio");
            scorer.gap(if i % 50 == 0 { 1000 } else { 0 }).expect("the clip has not ended");
            num_frames += core::iter::from_fn(|| scorer.next_frame()).count();
        }
        scorer.finish().expect("a long clip");
        let allocated = NUM_ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert!(num_frames >= 62, "{sample_rate_hz}");
        assert_eq!(allocated, 0, "{sample_rate_hz} Hz");
    }
}

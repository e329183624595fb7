//! Once there is a stream, the native engine asks for no memory, and neither does loading a model.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::alloc::System;

use aesa::model::{Labels, ModelInfo};
use aesa::native::{AlignedBytes, Model, Policy};
use aesa::{AudioSpec, Scorer};
use aesa_export::{AesaOptions, ChunkPolicy, ModelConfig, Storage, random_tensors, write_aesa};

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

// The only test of this file: another one's allocations would be counted, too.
#[test]
fn chunks_allocate_nothing() {
    let info = ModelInfo {
        id: "tiny".into(),
        version: "1".into(),
        target_mean: [5.0; 4],
        target_std: [1.0; 4],
        policy: Policy::Windowed { window_steps: 62 },
        labels: Labels::Proxy,
        run_hash: "0".into(),
    };
    let config = ModelConfig::tiny();
    let tensors = random_tensors(&config, 1).unwrap();
    let frames: Vec<f32> = (0..100 * 128).map(|i| (i % 97) as f32 / 97.0 - 0.5).collect();
    for storage in [Storage::F32, Storage::Int8] {
        for chunks in [None, Some(ChunkPolicy { chunk_steps: 2, left_steps: 4 })] {
            let bytes = write_aesa(&config, &tensors, &info, &AesaOptions { storage, chunks }).unwrap();
            let bytes = AlignedBytes::from(bytes.as_slice());
            let mut memory = vec![0.0; 1 << 20];
            let before = NUM_ALLOCATIONS.load(Ordering::Relaxed);
            let model = Model::from_bytes(&bytes).unwrap();
            let mut stream = model.stream_in(&mut memory).unwrap();
            let mut num_steps = 0;
            for _ in 0..40 {
                stream.push(&frames, |_| num_steps += 1).unwrap();
            }
            stream.finish(|_| num_steps += 1);
            let allocated = NUM_ALLOCATIONS.load(Ordering::Relaxed) - before;
            assert_eq!((num_steps, allocated), (250, 0), "{storage:?} {chunks:?}");
            for sample_rate_hz in [16_000, 44_100] {
                let (num_steps, allocated) = behind_a_scorer(&model, sample_rate_hz);
                assert!(num_steps > 100, "{num_steps}");
                assert_eq!(allocated, 0, "{storage:?} {chunks:?} {sample_rate_hz} Hz");
            }
        }
    }
}

/// Frames and allocations of half a minute of audio with a gap, once the scorer is there.
fn behind_a_scorer(model: &Model<'_>, sample_rate_hz: u32) -> (usize, usize) {
    let spec = AudioSpec { sample_rate_hz, num_channels: 2 };
    let mut scorer =
        Scorer::new(model.session().expect("its metadata can be read"), spec).expect("a known rate");
    let audio: Vec<f32> = (0..4410).map(|i| (i % 97) as f32 / 97.0 - 0.5).collect();
    let before = NUM_ALLOCATIONS.load(Ordering::Relaxed);
    let mut num_steps = 0;
    for i in 0..30 * sample_rate_hz / 2205 {
        scorer.accept_waveform(&audio).expect("finite audio");
        scorer.gap(if i == 100 { 1000 } else { 0 }).expect("the clip has not ended");
        num_steps += core::iter::from_fn(|| scorer.next_frame()).count();
    }
    scorer.finish().expect("a long clip");
    (num_steps, NUM_ALLOCATIONS.load(Ordering::Relaxed) - before)
}

//! Once there is a stream, the native engine asks for no memory, and neither does loading a model.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::alloc::System;

use aesa::native::{AlignedBytes, Model};
use aesa_export::{AesaOptions, ChunkPolicy, ModelConfig, Storage, random_tensors, tiny_info, write_aesa};

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
    let config = ModelConfig::tiny();
    let tensors = random_tensors(&config, 1).unwrap();
    let frames: Vec<f32> = (0..100 * 128).map(|i| (i % 97) as f32 / 97.0 - 0.5).collect();
    for storage in [Storage::F32, Storage::Int8] {
        for chunks in [None, Some(ChunkPolicy { chunk_steps: 2, left_steps: 4 })] {
            let bytes =
                write_aesa(&config, &tensors, &tiny_info(), &AesaOptions { storage, chunks }).unwrap();
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
        }
    }
}

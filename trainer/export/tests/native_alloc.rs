//! Once there is a stream, the native engine asks for no memory, and neither does loading a model.

use aesa::native::{AlignedBytes, Model, Threads};
use aesa::{AudioSpec, ModelInfo, Policy, Scorer};
use aesa_export::{ModelConfig, Storage, random_tensors, tiny_info, write_aesa};
use allocation_counter::measure;

#[test]
fn chunks_allocate_nothing() {
    let config = ModelConfig::tiny();
    let tensors = random_tensors(&config, 1).unwrap();
    let frames: Vec<f32> = (0..100 * 128).map(|i| (i % 97) as f32 / 97.0 - 0.5).collect();
    for storage in [Storage::F32, Storage::Int8, Storage::Int8Attention] {
        for policy in [tiny_info().policy, Policy::Chunked { chunk_steps: 2, left_steps: 4 }] {
            let info = ModelInfo { policy, ..tiny_info() };
            let bytes = write_aesa(&config, &tensors, &info, storage).unwrap();
            let bytes = AlignedBytes::from(bytes.as_slice());
            let mut memory = vec![0.0; 1 << 20];
            let mut num_steps = 0;
            let allocated = measure(|| {
                let model = Model::from_bytes(&bytes).unwrap();
                let mut stream = model.stream_in(&mut memory).unwrap();
                for _ in 0..40 {
                    stream.push(&frames, |_| num_steps += 1).unwrap();
                }
                stream.finish(|_| num_steps += 1);
            });
            assert_eq!((num_steps, allocated.count_total), (250, 0), "{storage:?} {policy:?}");
            let model = Model::from_bytes(&bytes).unwrap();
            for sample_rate_hz in [16_000, 44_100] {
                let (num_steps, allocated) = behind_a_scorer(&model, sample_rate_hz);
                assert!(num_steps > 100, "{num_steps}");
                assert_eq!(allocated, 0, "{storage:?} {policy:?} {sample_rate_hz} Hz");
            }
        }
    }
}

/// Where threads share a chunk, it asks for what hands the work out, not for scratch.
#[test]
fn shared_chunks_allocate_little() {
    let (config, frames) = (ModelConfig::tiny(), vec![0.25; 62 * 16 * 128]);
    let tensors = random_tensors(&config, 1).unwrap();
    let bytes = write_aesa(&config, &tensors, &tiny_info(), Storage::Int8).unwrap();
    let bytes = AlignedBytes::from(bytes.as_slice());
    let model = Model::from_bytes(&bytes).unwrap();
    let mut stream = model.stream().with_threads(&Threads::new(3).unwrap().with_least_work(0));
    let mut num_steps = 0;
    stream.push(&frames, |_| num_steps += 1).unwrap();
    for _ in 0..10 {
        let allocated = measure(|| stream.push(&frames, |_| num_steps += 1).unwrap());
        println!("{allocated:?}");
        // Scratch would be far more: a window's ffn alone takes 62 KiB.
        assert!(allocated.count_total > 0 && allocated.bytes_max < 16 << 10, "{allocated:?}");
    }
    assert_eq!(num_steps, 11 * 62);
}

/// Frames and allocations of half a minute of audio with a gap, once the scorer is there.
fn behind_a_scorer(model: &Model<'_>, sample_rate_hz: u32) -> (usize, u64) {
    let spec = AudioSpec { sample_rate_hz, num_channels: 2 };
    let mut scorer =
        Scorer::new(model.session().expect("its metadata can be read"), spec).expect("a known rate");
    let audio: Vec<f32> = (0..4410).map(|i| (i % 97) as f32 / 97.0 - 0.5).collect();
    let mut num_steps = 0;
    let allocated = measure(|| {
        for i in 0..30 * sample_rate_hz / 2205 {
            scorer.accept_waveform(&audio).expect("finite audio");
            scorer.gap(if i == 100 { 1000 } else { 0 }).expect("the clip has not ended");
            num_steps += core::iter::from_fn(|| scorer.next_frame()).count();
        }
        scorer.finish().expect("a long clip");
    });
    (num_steps, allocated.count_total)
}

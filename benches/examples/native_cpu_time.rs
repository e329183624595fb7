//! CPU time of the native engine per chunk of 0.96 s with each table of kernels, on Linux: what one core would take, also on a machine that is busy with
//! other things. `cargo run --release -p aesa-benches --example native_cpu_time [CHUNKS_PER_ROUND]`

use aesa::native::{Kernels, Model};
use aesa_benches::{CHUNK_STEPS, starter_sized};
use aesa_export::Storage;

fn main() {
    let num_chunks: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(500);
    let features: Vec<f32> =
        (0..CHUNK_STEPS * 16 * 128).map(|i| (i * 7919 % 1009) as f32 / 504.5 - 1.0).collect();
    for (storage, kernels) in [Storage::Int8, Storage::Int8Attention, Storage::F32]
        .into_iter()
        .flat_map(|s| Kernels::supported().map(move |k| (s, k)))
    {
        let file = starter_sized(storage);
        let model = Model::with_kernels(&file, kernels).expect("the file was just written");
        let mut stream = model.stream();
        let mut num_steps = 0;
        // The kernel's account moves on in steps of some milliseconds: a round has to be long against these.
        let rounds_ms: Vec<f64> = (0..NUM_ROUNDS)
            .map(|_| {
                let before = cpu_ns();
                for _ in 0..num_chunks {
                    stream.push(&features, |_| num_steps += 1).expect("the features are finite");
                }
                (cpu_ns() - before) as f64 / 1e6 / num_chunks as f64
            })
            .collect();
        assert_eq!(num_steps, NUM_ROUNDS * num_chunks * CHUNK_STEPS);
        let mean = rounds_ms.iter().sum::<f64>() / NUM_ROUNDS as f64;
        let best = rounds_ms.iter().copied().fold(f64::INFINITY, f64::min);
        let factor = |ms: f64| 160.0 * CHUNK_STEPS as f64 / ms;
        println!(
            "{storage:?}, {}: mean {mean:.2} ms ({:.0} times real time), best of {NUM_ROUNDS} rounds {best:.2} ms ({:.0})",
            kernels.name(),
            factor(mean),
            factor(best)
        );
    }
}

/// Time that this thread has been on a processor.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells its schedule");
    text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("its first number is nanoseconds")
}

const NUM_ROUNDS: usize = 10;

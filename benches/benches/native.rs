//! Time of the native engine per chunk with each table of kernels, on one thread: a model of the starter's sizes with random weights, in chunks of 0.96 s
//! that see 1.92 s before them. What is timed is everything from normalised features to scores.

#![allow(missing_docs)] // criterion's macros make public functions without documentation

use core::hint::black_box;

use aesa::native::{Kernels, Model};
use aesa_benches::{CHUNK_STEPS, starter_sized};
use aesa_export::Storage;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const CHUNK_FEATURES: usize = CHUNK_STEPS * 16 * 128;

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7919 % 1009) as f32 / 504.5 - 1.0).collect()
}

fn chunk(c: &mut Criterion) {
    let mut group = c.benchmark_group("native, one chunk of 0.96 s");
    // In hundredths of a second: elements per second over 100 is the factor of real time.
    group.throughput(Throughput::Elements((CHUNK_STEPS * 16) as u64));
    let features = numbers(CHUNK_FEATURES);
    let storages = [("int8", Storage::Int8), ("f32", Storage::F32)];
    for ((name, storage), kernels) in
        storages.into_iter().flat_map(|s| Kernels::supported().map(move |k| (s, k)))
    {
        let file = starter_sized(storage);
        let model = Model::with_kernels(&file, kernels).expect("the file was just written");
        let mut stream = model.stream();
        // As many chunks as a token sees, so that each timed one has a whole past.
        for _ in 0..2 {
            stream.push(&features, |_| ()).expect("the features are finite");
        }
        group.bench_function(format!("starter sizes, {name}, {}", kernels.name()), |b| {
            b.iter(|| {
                let mut num_steps = 0;
                let count = |scores: aesa::Scores| {
                    num_steps += usize::from(scores.0.iter().all(|v| (0.0..=10.0).contains(v)));
                };
                stream.push(black_box(&features), count).expect("the features are finite");
                assert_eq!(num_steps, CHUNK_STEPS);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, chunk);
criterion_main!(benches);

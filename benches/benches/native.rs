//! Time of the native engine per chunk, on one thread: a model of the starter's sizes with random weights, in chunks of 0.96 s
//! that see 1.92 s before them. What is timed is everything from normalised features to scores.

#![allow(missing_docs)] // criterion's macros make public functions without documentation

use core::hint::black_box;

use aesa::native::Model;
use aesa_benches::{CHUNK_STEPS, starter_sized};
use aesa_export::Storage;
use aesa_kernels::gemm_i8::{Int8Weights, QuantisedRows, quantise};
use aesa_kernels::{Matrix, MatrixMut, gemm_f32, gemm_i8};
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
    for (name, storage) in [("starter sizes, int8", Storage::Int8), ("starter sizes, f32", Storage::F32)] {
        let file = starter_sized(storage);
        let model = Model::from_bytes(&file).expect("the file was just written");
        let mut stream = model.stream();
        // As many chunks as a token sees, so that each timed one has a whole past.
        for _ in 0..2 {
            stream.push(&features, |_| ()).expect("the features are finite");
        }
        group.bench_function(name, |b| {
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

/// A block's first feed-forward map over one chunk: 48 rows, 128 to 384.
fn products(c: &mut Criterion) {
    let (m, k, n) = (48, 128, 384);
    let (x, w) = (numbers(m * k), numbers(k * n));
    let mut y = vec![0.0; m * n];
    let mut group = c.benchmark_group("48 x 128 times 128 x 384");
    group.throughput(Throughput::Elements((m * k * n) as u64));
    group.bench_function("f32", |b| {
        b.iter(|| {
            gemm_f32::gemm(
                Matrix::new(black_box(&x), k),
                Matrix::new(&w, n),
                None,
                &mut MatrixMut::new(&mut y, n),
            )
        });
    });
    let weights: Vec<i8> = w.iter().map(|w| (w * 127.0) as i8).collect();
    let (weight_scales, mut scales, mut q) = (vec![1.0 / 127.0; n], vec![0.0; m], vec![0; m * k]);
    let weights = Int8Weights::new(&weights, &weight_scales, k);
    group.bench_function("int8, rows quantised on the way", |b| {
        b.iter(|| {
            let rows = black_box(&x).chunks_exact(k).zip(q.chunks_exact_mut(k)).zip(&mut scales);
            rows.for_each(|((x, q), scale)| *scale = quantise(x, q));
            let rows = QuantisedRows { data: &q, stride: k, scales: &scales };
            gemm_i8::gemm(rows, weights, None, &mut MatrixMut::new(&mut y, n));
        });
    });
    group.finish();
}

criterion_group!(benches, chunk, products);
criterion_main!(benches);

//! Each kernel in each table that the processor can run, on one thread, at sizes of the starter model and of BEATs-base; checked
//! against the scalar table.

#![allow(missing_docs)] // criterion's macros make public functions without documentation

use core::hint::black_box;

use aesa_kernels::attention::{Gate, Keys, QUERY_TILE, QueryGate, RelativeBias};
use aesa_kernels::gemm_i8::Int8Weights;
use aesa_kernels::{Kernels, Matrix, MatrixMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7919 % 1009) as f32 / 504.5 - 1.0).collect()
}

/// Times `run`, which overwrites its argument of `len` numbers, with every table.
fn every_table(
    c: &mut Criterion,
    name: &str,
    elements: usize,
    len: usize,
    mut run: impl FnMut(&Kernels, &mut [f32]),
) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(elements as u64));
    let mut expected = numbers(len);
    run(Kernels::SCALAR, &mut expected);
    for kernels in Kernels::supported() {
        let mut actual = numbers(len);
        run(kernels, &mut actual);
        let is_same = |a: f32, e: f32| match kernels.is_fused() {
            true => (a - e).abs() < 1e-3 * e.abs().max(1.0),
            false => a.to_bits() == e.to_bits(),
        };
        assert!(actual.iter().zip(&expected).all(|(a, e)| is_same(*a, *e)), "{}", kernels.name());
        group.bench_function(kernels.name(), |b| b.iter(|| run(kernels, black_box(&mut actual))));
    }
    group.finish();
}

fn products(c: &mut Criterion) {
    for (m, k, n) in [(48, 128, 384), (48, 384, 128), (1, 32, 128), (496, 768, 3072), (496, 3072, 768)] {
        let (x, w) = (numbers(m * k), numbers(k * n));
        let int8: Vec<i8> = w.iter().map(|w| (w * 127.0) as i8).collect();
        let (weight_scales, mut scratch) = (vec![1.0 / 127.0; n], vec![0; m.min(64) * k]);
        let int8 = Int8Weights::new(&int8, &weight_scales, k);
        every_table(
            c,
            &format!("int8, rows quantised on the way, {m} x {k} x {n}"),
            m * k * n,
            m * n,
            |kernels, y| {
                let y = &mut MatrixMut::new(y, n);
                kernels.linear_i8(Matrix::new(&x, k), int8, None, y, &mut scratch);
            },
        );
        every_table(c, &format!("f32, {m} x {k} x {n}"), m * k * n, m * n, |kernels, y| {
            kernels.gemm_f32(Matrix::new(&x, k), Matrix::new(&w, n), None, &mut MatrixMut::new(y, n));
        });
    }
}

fn attention(c: &mut Criterion) {
    for (name, num_queries, num_before, dim) in [("starter", 48, 96, 32), ("base", 496, 0, 64)] {
        let num_keys = num_before + num_queries;
        let (q, k, v) = (numbers(num_queries * dim), numbers(num_keys * dim), numbers(num_keys * dim));
        let (by_distance, weight) = (numbers(2 * 256 + 1), numbers(2 * dim));
        let gate = QueryGate { weight: Matrix::new(&weight, dim), bias: &[0.1, 0.2], grep_a: 1.0 };
        let gate = Gate::Computed(gate);
        let bias = Some(RelativeBias { by_distance: &by_distance, gate: Some(gate) });
        let keys =
            Keys { keys: Matrix::new(&k, num_keys), num_before, scale: 1.0 / (dim as f32).sqrt(), bias };
        let mut scratch = vec![0.0; QUERY_TILE * num_keys];
        every_table(
            c,
            &format!("attention, a head of {name}"),
            num_queries * num_keys,
            q.len(),
            |kernels, x| {
                x.copy_from_slice(&q);
                kernels.attend(&mut MatrixMut::new(x, dim), &keys, Matrix::new(&v, dim), &mut scratch);
            },
        );
    }
}

fn rows(c: &mut Criterion) {
    let (n, x) = (768, numbers(768));
    every_table(c, "GELU", n, n, |kernels, y| {
        y.copy_from_slice(&x);
        kernels.gelu(y);
    });
    let weight = numbers(n);
    every_table(c, "layer norm", n, n, |kernels, y| {
        y.copy_from_slice(&x);
        kernels.layer_norm(y, &weight, &weight);
    });
    let mut q = vec![0; n];
    every_table(c, "a row quantised", n, 1, |kernels, y| y[0] = kernels.quantise(&x, &mut q));
    let (cells, gates) = (100, numbers(400));
    every_table(c, "LSTM cells", cells, cells, |kernels, y| {
        let mut state = [0.25; 100];
        kernels.lstm_cell(&gates, &mut state, y);
    });
    let mut half = vec![0; n];
    every_table(c, "to f16 and back", n, n, |kernels, y| {
        kernels.f16_store(&x, &mut half);
        kernels.f16_load(&half, y);
    });
}

criterion_group!(benches, products, attention, rows);
criterion_main!(benches);

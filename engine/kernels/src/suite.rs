//! Every table that this processor has, against the scalar one, bit for bit: all tails, extreme values. Where f32 products
//! round once, the scalar one does so, too, for the comparison.

use std::vec;
use std::vec::Vec;

use crate::attention::{Gate, Keys, MAX_QUERY_TILE, QueryGate, RelativeBias};
use crate::attention::{attend_to_numbers_with, attend_with};
use crate::gemm_i8::{Int8Weights, QuantisedRows};
use crate::math::{bounded_below, exp_by};
use crate::{Kernels, Matrix, MatrixMut, lanes};

/// The tables to test.
fn tables() -> impl Iterator<Item = &'static Kernels> {
    #[cfg(target_arch = "x86_64")]
    let emulated = crate::x86_64::emulated();
    #[cfg(not(target_arch = "x86_64"))]
    let emulated: [Option<&'static Kernels>; 0] = [];
    Kernels::supported()
        .filter(|table| table.name() != Kernels::SCALAR.name())
        .chain(emulated.into_iter().flatten())
}

/// The scalar table, with f32 products that round once.
const FUSED: &Kernels = &Kernels {
    name: "scalar, fused",
    is_fused: true,
    gemm_f32: fused_product,
    attend: |queries, keys, values, scratch| {
        attend_with(queries, keys, values, scratch, |a, b, c| fused_product(a, b, None, c), fused_weights);
    },
    attend_to_numbers: |queries, keys, values, out, scratch| {
        let product = |a: Matrix<'_>, b: Matrix<'_>, c: &mut MatrixMut<'_>| fused_product(a, b, None, c);
        attend_to_numbers_with(queries, keys, values, out, scratch, product, fused_weights);
    },
    weights: fused_weights,
    ..*Kernels::SCALAR
};

fn fused_product(a: Matrix<'_>, b: Matrix<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    for i in 0..a.num_rows() {
        for j in 0..b.num_cols() {
            let start = bias.map_or(0.0, |bias| bias[j]);
            let products = a.row(i).iter().enumerate();
            c.row_mut(i)[j] = products.fold(start, |sum, (l, a)| a.mul_add(b.row(l)[j], sum));
        }
    }
}

fn fused_weights(scores: &mut [f32], max: f32) -> f32 {
    lanes::map_and_sum(scores, |s| exp_by(bounded_below(s - max), f32::mul_add))
}

/// What a table has to equal.
fn definition(table: &Kernels) -> &'static Kernels {
    if table.is_fused() { FUSED } else { Kernels::SCALAR }
}

/// PCG-XSH-RR (O'Neill 2014).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u32 {
        let state = self.0;
        self.0 = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((state >> 18) ^ state) >> 27) as u32
    }

    fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }

    /// From -1 to 1.
    fn number(&mut self) -> f32 {
        self.bits() as f32 / 2_147_483_648.0 - 1.0
    }

    fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }

    /// Every seventh number is one that arithmetic treats in a way of its own.
    fn awkward(&mut self, n: usize) -> Vec<f32> {
        let odd = [0.0, -0.0, 1e-40, -3e-45, 1e18, -1e18, 1e-30, f32::MIN_POSITIVE, 0.5, -1.5, 126.5];
        (0..n).map(|_| if self.below(7) == 0 { odd[self.below(odd.len())] } else { self.number() }).collect()
    }

    fn int8(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| self.bits() as i8).collect()
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn products_of_f32_are_the_same() {
    let mut random = Random(1);
    for case in 0..600 {
        // Some with rows and inputs enough for panels, and for more than one.
        let is_large = case % 20 == 7;
        let (m, k) = match is_large {
            true => (50 + random.below(40), 200 + random.below(1700)),
            false => (random.below(20), random.below(40)),
        };
        let n = if case < 150 { case } else { 1 + random.below(40) };
        let (a_stride, b_stride, c_stride) =
            (1 + random.below(k + 3), n + random.below(3), n + random.below(3));
        let (a, b) = (random.awkward((m + 1) * a_stride + k), random.awkward((k + 1) * b_stride.max(1)));
        let bias = random.awkward(n);
        let bias = (case % 2 == 0).then_some(&bias[..]);
        let product = |table: &Kernels| {
            let mut c = vec![7.0; m * c_stride];
            let mut view = MatrixMut::new(&mut c, c_stride.max(1));
            let (a, b) = (Matrix::strided(&a, m, k, a_stride), Matrix::strided(&b, k, n, b_stride));
            table.gemm_f32(a, b, bias, &mut view.columns_mut(0..n));
            bits(&c)
        };
        for table in tables() {
            assert_eq!(product(table), product(definition(table)), "{}: {m} {k} {n}", table.name());
        }
    }
}

#[test]
fn products_rounded_once_are_near_those_rounded_twice() {
    let mut random = Random(8);
    for (m, k, n) in [(3, 1, 5), (70, 1000, 65), (7, 3072, 33)] {
        let (a, b, bias) = (random.numbers(m * k), random.numbers(k * n), random.numbers(n));
        let product = |table: &Kernels, a: &[f32], b: &[f32], bias: &[f32]| {
            let mut c = vec![f32::NAN; m * n];
            table.gemm_f32(Matrix::new(a, k), Matrix::new(b, n), Some(bias), &mut MatrixMut::new(&mut c, n));
            c
        };
        let sizes = |x: &[f32]| x.iter().map(|x| x.abs()).collect::<Vec<f32>>();
        let largest = product(Kernels::SCALAR, &sizes(&a), &sizes(&b), &sizes(&bias));
        let expected = product(Kernels::SCALAR, &a, &b, &bias);
        for table in tables() {
            for ((c, e), largest) in product(table, &a, &b, &bias).iter().zip(&expected).zip(&largest) {
                // Each of k sums is within half an ulp of the terms' magnitudes: far within k ulps together.
                let bound = if table.is_fused() { k as f32 * f32::EPSILON * largest } else { 0.0 };
                assert!((c - e).abs() <= bound, "{}: {m} {k} {n}: {c} {e}", table.name());
            }
        }
    }
}

#[test]
fn a_row_of_a_product_does_not_depend_on_the_others() {
    let mut random = Random(9);
    let (m, k, n) = (131, 900, 97);
    let (a, b) = (random.numbers(m * k), random.numbers(k * n));
    for table in Kernels::supported() {
        let mut whole = vec![f32::NAN; m * n];
        let b = Matrix::new(&b, n);
        table.gemm_f32(Matrix::new(&a, k), b, None, &mut MatrixMut::new(&mut whole, n));
        for rows in [0..1, 3..12, 60..131] {
            let mut part = vec![f32::NAN; rows.len() * n];
            let a = Matrix::new(&a, k).rows(rows.clone());
            table.gemm_f32(a, b, None, &mut MatrixMut::new(&mut part, n));
            assert_eq!(bits(&part), bits(&whole[rows.start * n..rows.end * n]), "{} {rows:?}", table.name());
        }
    }
}

/// Rows times weights in every table.
fn compare_int8(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, what: &str) {
    let (m, n, gap) = (x.scales.len(), w.num_outputs(), 2);
    let product = |table: &Kernels| {
        let mut c = vec![7.0; m * (n + gap)];
        let mut view = MatrixMut::new(&mut c, n + gap);
        table.gemm_i8(x, w, bias, &mut view.columns_mut(0..n));
        bits(&c)
    };
    let expected = product(Kernels::SCALAR);
    for table in tables() {
        assert_eq!(product(table), expected, "{}: {m} {} {n} {what}", table.name(), w.num_inputs());
    }
}

#[test]
fn products_of_int8_are_the_same_at_all_tails() {
    let mut random = Random(2);
    let rows = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 49, 63, 64, 65, 80, 130];
    let mut sizes: Vec<_> = (0..=70).flat_map(|k| [(1 + k % 9, k), (8 + k % 41, k)]).collect();
    sizes.extend(rows.iter().flat_map(|m| [(*m, 128), (*m, 37)]));
    sizes.extend([
        (5, 511),
        (16, 513),
        (70, 1025),
        (33, 2049),
        (20, 3072),
        (9, 8192),
        (17, 12_291),
        (64, 1024),
    ]);
    for (m, k) in sizes {
        for n in [1, 2, 3 + random.below(16), 17 + random.below(30)] {
            let q: Vec<i16> = random.int8(m * k).iter().map(|v| i16::from((*v).max(-127))).collect();
            let (w, scales) = (random.int8(n * k), random.awkward(m));
            let (weight_scales, bias) = (random.numbers(n), random.awkward(n));
            let x = QuantisedRows { data: &q, stride: k, scales: &scales };
            let w = Int8Weights::new(&w, &weight_scales, k);
            compare_int8(x, w, (n % 2 == 0).then_some(&bias), "random");
        }
    }
}

#[test]
fn products_of_int8_are_the_same_where_sums_are_largest() {
    for (m, k, n) in
        [(1, 64, 3), (16, 64, 16), (20, 3072, 5), (64, 1000, 17), (8, 131_071, 2), (33, 3072, 70)]
    {
        let (ones, small) = (vec![1.0; n], vec![1e-38; m]);
        let scales = vec![1.0; m];
        for (q, w) in [(127, -128), (-127, -128), (127, 127), (-127, 127), (0, -128), (127, 0)] {
            let (q, w): (Vec<i16>, Vec<i8>) = (vec![q; m * k], vec![w; n * k]);
            let w = Int8Weights::new(&w, &ones, k);
            compare_int8(QuantisedRows { data: &q, stride: k, scales: &scales }, w, None, "extremes");
            compare_int8(QuantisedRows { data: &q, stride: k, scales: &small }, w, None, "small");
        }
    }
}

#[test]
fn linear_maps_in_int8_are_the_same_at_all_tails() {
    let mut random = Random(10);
    let rows = (1..=20).chain([31, 33, 48, 49, 65, 100, 130]).chain([513]);
    for (case, m) in rows.cycle().take(140).enumerate() {
        let (k, n) =
            (random.below(150) * (1 + case % 3), 1 + random.below(if case % 5 == 2 { 400 } else { 40 }));
        let (w, weight_scales, bias) = (random.int8(n * k), random.numbers(n), random.awkward(n));
        let mut x = random.numbers(m * k.max(1));
        if let (0, Some(first)) = (case % 4, x.first_mut()) {
            *first = f32::MAX;
        }
        x.iter_mut().take(if case % 5 == 0 { k } else { 0 }).for_each(|x| *x *= 1e-31);
        let (x, w) = (Matrix::strided(&x, m, k, k.max(1)), Int8Weights::new(&w, &weight_scales, k));
        let mapped = |table: &Kernels, scratch_rows: usize| {
            let mut c = vec![f32::NAN; m * n];
            let mut scratch = vec![77; scratch_rows * k.max(1) + case % 40];
            let c_view = &mut MatrixMut::new(&mut c, n);
            table.linear_i8(x, w, (case % 2 == 0).then_some(&bias), c_view, &mut scratch);
            bits(&c)
        };
        let expected = mapped(Kernels::SCALAR, 1);
        for table in tables() {
            for scratch_rows in [1, 16, 64] {
                assert_eq!(mapped(table, scratch_rows), expected, "{}: {m} {k} {n}", table.name());
            }
        }
    }
}

#[test]
fn products_of_overlapping_rows_are_the_same() {
    let mut random = Random(3);
    for (m, k, stride, n) in
        [(48, 256, 8, 8), (5, 30, 3, 4), (17, 64, 1, 9), (64, 6144, 48, 6), (12, 40, 0, 3)]
    {
        let q: Vec<i16> =
            random.int8((m - 1) * stride + k).iter().map(|v| i16::from((*v).max(-127))).collect();
        let (w, weight_scales) = (random.int8(n * k), random.numbers(n));
        let scales = vec![0.01; m];
        let w = Int8Weights::new(&w, &weight_scales, k);
        compare_int8(QuantisedRows { data: &q, stride, scales: &scales }, w, None, "overlapping");
    }
}

#[test]
fn quantised_rows_are_the_same() {
    let mut random = Random(4);
    for n in (0..=70).chain([128, 511, 768]) {
        for size in [0.0, 1e-42, 9e-31, 1.1e-30, 1e-3, 1.0, 127.0, 1e20, f32::MAX] {
            let mut x = random.numbers(n);
            x.iter_mut().for_each(|x| *x *= size);
            // Halves, which go to the even neighbour, where the largest is 127.
            if let (127.0, Some(first)) = (size, x.first_mut()) {
                *first = -127.0;
                x[1..].iter_mut().for_each(|x| *x = (*x as i32) as f32 + 0.5);
            }
            for x in [x.clone(), x.iter().map(|x| -x).collect()] {
                let quantised = |table: &Kernels| {
                    let mut q = vec![99; n];
                    (table.quantise(&x, &mut q).to_bits(), q)
                };
                let expected = quantised(Kernels::SCALAR);
                for table in tables() {
                    assert_eq!(quantised(table), expected, "{}: {n} {size:e}", table.name());
                }
            }
        }
    }
}

#[test]
fn norms_are_the_same() {
    let mut random = Random(5);
    for n in (1..=70).chain([128, 768, 1001]) {
        for size in [0.0, 1e-30, 1.0, 1e15] {
            let (mut x, weight, bias) = (random.awkward(n), random.numbers(n), random.awkward(n));
            x.iter_mut().for_each(|x| *x = size * x.clamp(-1.0, 1.0));
            let normed = |table: &Kernels| {
                let mut x = x.clone();
                table.layer_norm(&mut x, &weight, &bias);
                bits(&x)
            };
            let expected = normed(Kernels::SCALAR);
            for table in tables() {
                assert_eq!(normed(table), expected, "{}: {n} {size:e}", table.name());
            }
        }
    }
}

#[test]
fn attention_is_the_same() {
    let mut random = Random(6);
    for case in 0..150 {
        let (dim, num_queries, num_before) = (1 + random.below(40), 1 + random.below(50), random.below(100));
        let (num_keys, far, size) =
            (num_before + num_queries, 1 + random.below(60), [0.1, 1.0, 30.0][case % 3]);
        let mut q = random.numbers(num_queries * dim);
        q.iter_mut().for_each(|q| *q *= size);
        let (k, v) = (random.numbers(dim * num_keys), random.awkward(num_keys * dim));
        let (by_distance, gate_weight) = (random.numbers(2 * far + 1), random.numbers(2 * dim));
        let gate = QueryGate { weight: Matrix::new(&gate_weight, dim), bias: &[0.1, -0.2], grep_a: 1.3 };
        let gate = Gate::Computed(gate);
        let bias = RelativeBias { by_distance: &by_distance, gate: (case % 2 == 0).then_some(gate) };
        let bias = (case % 5 > 0).then_some(bias);
        let keys = Keys { keys: Matrix::new(&k, num_keys), num_before, scale: 0.3, bias };
        let attended = |table: &Kernels, tile_queries: usize| {
            let mut scratch = vec![f32::NAN; tile_queries * num_keys];
            let (mut found, mut logits) = (q.clone(), vec![0.5; num_queries]);
            table.attend(&mut MatrixMut::new(&mut found, dim), &keys, Matrix::new(&v, dim), &mut scratch);
            let numbers = &v[..num_keys];
            table.attend_to_numbers(Matrix::new(&q, dim), &keys, numbers, &mut logits, &mut scratch);
            (bits(&found), bits(&logits))
        };
        for table in tables() {
            let expected = attended(definition(table), MAX_QUERY_TILE);
            for tile_queries in [MAX_QUERY_TILE, 1 + random.below(20)] {
                let actual = attended(table, tile_queries);
                assert_eq!(actual, expected, "{}: {dim} {num_queries} {num_before}", table.name());
            }
        }
    }
}

#[test]
fn attention_in_int8_is_the_same() {
    let mut random = Random(11);
    for case in 0..150 {
        let (dim, num_queries) = (1 + random.below(70), 1 + random.below(100));
        let (num_before, far) = (random.below(100), 1 + random.below(60));
        let num_keys = num_before + num_queries;
        let mut q = random.awkward(num_queries * dim);
        q.iter_mut().for_each(|q| *q = q.clamp(-30.0, 30.0) * [0.1, 1.0, 30.0][case % 3]);
        let (k, v) = (random.int8(num_keys * dim), random.int8(dim * num_keys));
        let [key_scales, value_scales] = [num_keys, dim].map(|n| random.numbers(n));
        let (by_distance, gate_weight) = (random.numbers(2 * far + 1), random.numbers(2 * dim));
        let gate = QueryGate { weight: Matrix::new(&gate_weight, dim), bias: &[0.1, -0.2], grep_a: 1.3 };
        let gate = Gate::Computed(gate);
        let bias = RelativeBias { by_distance: &by_distance, gate: (case % 2 == 0).then_some(gate) };
        let keys = Int8Weights::new(&k, &key_scales, dim);
        let keys = Keys { keys, num_before, scale: 0.003, bias: (case % 5 > 0).then_some(bias) };
        let values = Int8Weights::new(&v, &value_scales, num_keys);
        let numbers = random.awkward(num_keys);
        let attended = |table: &Kernels, tile_queries: usize, quantised_rows: usize| {
            let mut scratch = vec![f32::NAN; tile_queries * num_keys];
            let mut quantised = vec![77; quantised_rows * num_keys.max(dim)];
            let (mut found, mut logits) = (q.clone(), vec![0.5; num_queries]);
            let queries = &mut MatrixMut::new(&mut found, dim);
            table.attend_i8(queries, &keys, values, &mut scratch, &mut quantised);
            let queries = Matrix::new(&q, dim);
            table.attend_to_numbers_i8(queries, &keys, &numbers, &mut logits, &mut scratch, &mut quantised);
            (bits(&found), bits(&logits))
        };
        let expected = attended(Kernels::SCALAR, MAX_QUERY_TILE, 1);
        for table in tables() {
            for (tile_queries, quantised_rows) in [(MAX_QUERY_TILE, 64), (1 + random.below(20), 1)] {
                let actual = attended(table, tile_queries, quantised_rows);
                assert_eq!(actual, expected, "{}: {dim} {num_queries} {num_before}", table.name());
            }
        }
    }
}

#[test]
fn weights_are_the_same_and_near_the_exponential() {
    let mut random = Random(12);
    for n in (0..=100).chain([496, 1001]) {
        for size in [0.1, 5.0, 100.0, 1e4] {
            let mut scores = random.numbers(n);
            scores.iter_mut().for_each(|score| *score *= size);
            let (max, values) = (lanes::max(&scores).max(0.0), random.awkward(n));
            let weighed = |table: &Kernels| {
                let mut weights = scores.clone();
                let sum = table.weights(&mut weights, max);
                (weights, sum)
            };
            let in_int8 = |table: &Kernels| {
                let mut weights = vec![-1; n];
                let sum = table.weights_i8(&scores, max, &mut weights);
                (weights, sum.to_bits(), table.mean_i8(&scores, max, &values).to_bits())
            };
            for table in tables() {
                assert_eq!(in_int8(table), in_int8(Kernels::SCALAR), "{}: {n} {size}", table.name());
                let ((weights, sum), (expected, expected_sum)) = (weighed(table), weighed(definition(table)));
                assert_eq!(bits(&weights), bits(&expected), "{}: {n} {size}", table.name());
                assert_eq!(sum.to_bits(), expected_sum.to_bits(), "{}: {n} {size}", table.name());
                for (weight, score) in weights.iter().zip(&scores) {
                    let exact = f64::from((score - max).max(-87.0)).exp();
                    let error = (f64::from(*weight) - exact).abs() / exact;
                    assert!(
                        error < 2.0 * f64::from(f32::EPSILON),
                        "{}: {score} {max}: {error}",
                        table.name()
                    );
                }
            }
        }
    }
}

#[test]
fn gelus_are_the_same() {
    // Every exponent, both signs, some mantissas; then all lengths.
    let dense: Vec<f32> =
        (0..1 << 20).map(|i: u32| f32::from_bits(i << 12 | i >> 8)).filter(|x| x.is_finite()).collect();
    let gelu = |table: &Kernels, x: &[f32]| {
        let mut x = x.to_vec();
        table.gelu(&mut x);
        bits(&x)
    };
    for x in core::iter::once(&dense[..]).chain((0..=70).map(|n| &dense[500_000..500_000 + n])) {
        let expected = gelu(Kernels::SCALAR, x);
        for table in tables() {
            assert!(gelu(table, x) == expected, "{}: {}", table.name(), x.len());
        }
    }
}

#[test]
fn lstm_cells_are_the_same() {
    let mut random = Random(7);
    for n in 0..=70 {
        for size in [0.0, 1.0, 20.0, 1e10] {
            let (mut gates, cell) = (random.awkward(4 * n), random.numbers(n));
            gates.iter_mut().for_each(|gate| *gate *= size);
            let moved = |table: &Kernels| {
                let (mut cell, mut hidden) = (cell.clone(), vec![f32::NAN; n]);
                table.lstm_cell(&gates, &mut cell, &mut hidden);
                (bits(&cell), bits(&hidden))
            };
            let expected = moved(Kernels::SCALAR);
            for table in tables() {
                assert_eq!(moved(table), expected, "{}: {n} {size:e}", table.name());
            }
        }
    }
}

#[test]
fn numbers_in_16_bits_are_the_same() {
    let stored: Vec<u16> = (0..=u16::MAX).filter(|bits| bits & 0x7c00 != 0x7c00).collect();
    let wide: Vec<f32> =
        (0..1 << 20).map(|i: u32| f32::from_bits(i << 12 | i >> 8)).filter(|x| x.is_finite()).collect();
    let both = |table: &Kernels, n: usize| {
        let (mut loaded, mut kept) = (vec![f32::NAN; n.min(stored.len())], vec![0; n.min(wide.len())]);
        table.f16_load(&stored[..loaded.len()], &mut loaded);
        table.f16_store(&wide[..kept.len()], &mut kept);
        (bits(&loaded), kept)
    };
    for n in (0..=70).chain([usize::MAX]) {
        let expected = both(Kernels::SCALAR, n);
        for table in tables() {
            assert!(both(table, n) == expected, "{}: {n}", table.name());
        }
    }
}

#[test]
fn the_scalar_table_is_the_last_resort() {
    let names: Vec<_> = Kernels::supported().map(Kernels::name).collect();
    std::println!("{names:?}");
    assert_eq!(names.last(), Some(&"scalar"));
    assert_eq!(Kernels::detect().name(), names[0]);
    #[cfg(target_arch = "x86_64")]
    {
        let has_avx2 = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
        assert_eq!(names.contains(&"AVX2"), has_avx2, "{names:?}");
        let has_avx_vnni = has_avx2 && std::is_x86_feature_detected!("avxvnni");
        assert_eq!(names.contains(&"AVX-VNNI"), has_avx_vnni, "{names:?}");
    }
    #[cfg(target_arch = "aarch64")]
    for (name, is_there) in [
        ("NEON i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("NEON dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("NEON", true),
    ] {
        assert_eq!(names.contains(&name), is_there, "{names:?}");
    }
    #[cfg(target_arch = "wasm32")]
    assert_eq!(cfg!(target_feature = "simd128"), names.contains(&"simd128"), "{names:?}");
}

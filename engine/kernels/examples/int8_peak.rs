//! How near the int8 product comes to what the processor can do, on Linux, in CPU time of one thread:
//! `cargo run --release -p aesa-kernels --features std --example int8_peak`
//!
//! The peak is measured with multiplications on registers alone.

use aesa_kernels::gemm_i8::{Int8Weights, QuantisedRows};
use aesa_kernels::{Kernels, MatrixMut};

fn main() {
    let peak = peak();
    if let Some(peak) = peak {
        println!("peak: {:.0} G multiplications per second", peak / 1e9);
    }
    for (m, k, n) in [(496, 768, 2304), (496, 768, 768), (496, 768, 3072), (496, 3072, 768), (48, 128, 384)] {
        let q: Vec<i16> = (0..m * k).map(|i| (i * 7919 % 255) as i16 - 127).collect();
        let w: Vec<i8> = (0..n * k).map(|i| (i * 7919 % 256) as u8 as i8).collect();
        let (scales, weight_scales, mut y) = (vec![1.0; m], vec![1.0; n], vec![0.0; m * n]);
        let w = Int8Weights::new(&w, &weight_scales, k);
        for kernels in Kernels::supported() {
            let x = QuantisedRows { data: &q, stride: k, scales: &scales };
            let seconds = seconds(|| kernels.gemm_i8(x, w, None, &mut MatrixMut::new(&mut y, n)));
            let rate = (m * k * n) as f64 / seconds;
            let share =
                peak.map_or(String::new(), |peak| format!(", {:.0} % of the peak", 100.0 * rate / peak));
            println!(
                "{m} x {k} x {n}, {}: {:.2} ms, {:.1} G/s{share}",
                kernels.name(),
                1e3 * seconds,
                rate / 1e9
            );
        }
    }
}

/// CPU seconds of one call, the best of some rounds.
fn seconds(mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..NUM_ROUNDS {
        let (start, mut num_runs) = (cpu_ns(), 0);
        // The kernel's account moves on in steps of some milliseconds: a round has to be long against these.
        while cpu_ns() - start < ROUND_NS {
            (0..16).for_each(|_| run());
            num_runs += 16;
        }
        best = best.min((cpu_ns() - start) as f64 / 1e9 / f64::from(num_runs));
    }
    best
}

/// Time that this thread has been on a processor.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells its schedule");
    text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("its first number is nanoseconds")
}

/// Multiplications per second, if the processor has AVX-512 VNNI.
#[cfg(target_arch = "x86_64")]
fn peak() -> Option<f64> {
    use core::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn multiply(count: usize) -> i32 {
        let [x, y] = [0x0102_0304, 0x0506_0708].map(core::hint::black_box);
        let (x, y) = (_mm512_set1_epi32(x), _mm512_set1_epi32(y));
        let mut sums = [_mm512_setzero_si512(); 12];
        for _ in 0..count {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, x, y);
            }
            core::hint::black_box(());
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_epi32(sum)).fold(0, i32::wrapping_add)
    }

    if !std::is_x86_feature_detected!("avx512f") || !std::is_x86_feature_detected!("avx512vnni") {
        return None;
    }
    let count = 100_000;
    // SAFETY: the processor has just been asked.
    let seconds = seconds(|| _ = core::hint::black_box(unsafe { multiply(core::hint::black_box(count)) }));
    Some((count * 12 * 64) as f64 / seconds)
}

#[cfg(not(target_arch = "x86_64"))]
fn peak() -> Option<f64> {
    None
}

const NUM_ROUNDS: usize = 6;
const ROUND_NS: u64 = 300_000_000;

//! How near the products come to what the processor can do, on Linux, in CPU time of one thread:
//! `cargo run --release -p aesa-kernels --features std --example peak`
//!
//! The peaks are measured with multiplications on registers alone. int8 includes the quantisation of the rows.

use aesa_kernels::gemm_i8::Int8Weights;
use aesa_kernels::{Kernels, Matrix, MatrixMut};

fn main() {
    let peaks = peaks();
    if let Some([f32, int8]) = peaks {
        println!("peak: {:.0} G multiplications per second in f32, {:.0} in int8", f32 / 1e9, int8 / 1e9);
    }
    let peak_in_tiles = peak_in_tiles();
    if let Some(int8) = peak_in_tiles {
        println!("peak: {:.0} G in int8 with AMX", int8 / 1e9);
    }
    for (m, k, n) in SIZES {
        let x: Vec<f32> = (0..m * k).map(|i| (i * 7919 % 255) as f32 / 127.0 - 1.0).collect();
        let int8: Vec<i8> = (0..n * k).map(|i| (i * 7919 % 256) as u8 as i8).collect();
        let w: Vec<f32> = int8.iter().map(|w| f32::from(*w) / 128.0).collect();
        let (weight_scales, mut y, mut scratch) = (vec![1.0; n], vec![0.0; m * n], vec![0; SCRATCH_ROWS * k]);
        let (x, w, int8) =
            (Matrix::new(&x, k), Matrix::new(&w, n), Int8Weights::new(&int8, &weight_scales, k));
        for kernels in Kernels::supported() {
            let f32 = seconds(|| kernels.gemm_f32(x, w, None, &mut MatrixMut::new(&mut y, n)));
            let int8 =
                seconds(|| kernels.linear_i8(x, int8, None, &mut MatrixMut::new(&mut y, n), &mut scratch));
            for (i, (what, seconds)) in [("f32", f32), ("int8", int8)].into_iter().enumerate() {
                let rate = (m * k * n) as f64 / seconds;
                let peak = match (what, uses_tiles(kernels)) {
                    ("int8", true) => peak_in_tiles,
                    _ => peaks.map(|peaks| peaks[i]),
                };
                let share = peak.map_or(String::new(), |peak| format!(", {:.0} %", 100.0 * rate / peak));
                println!("{m} x {k} x {n}, {}, {what}: {:.1} G/s{share}", kernels.name(), rate / 1e9);
            }
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
            run();
            num_runs += 1;
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

/// Multiplications per second in f32 and int8, without AMX, if the processor has AVX-512 VNNI.
#[cfg(target_arch = "x86_64")]
fn peaks() -> Option<[f64; 2]> {
    use core::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    fn in_f32(count: usize) -> f32 {
        let [x, y] = [1e-3, 0.5].map(core::hint::black_box).map(|x| _mm512_set1_ps(x));
        let mut sums = [_mm512_setzero_ps(); 12];
        for _ in 0..count {
            sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(x, y, *sum));
            core::hint::black_box(());
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn in_int8(count: usize) -> i32 {
        let [x, y] = [0x0102_0304, 0x0506_0708].map(core::hint::black_box).map(|x| _mm512_set1_epi32(x));
        let mut sums = [_mm512_setzero_si512(); 12];
        for _ in 0..count {
            sums.iter_mut().for_each(|sum| *sum = _mm512_dpbusd_epi32(*sum, x, y));
            core::hint::black_box(());
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_epi32(sum)).fold(0, i32::wrapping_add)
    }

    if !std::is_x86_feature_detected!("avx512f") || !std::is_x86_feature_detected!("avx512vnni") {
        return None;
    }
    let count = core::hint::black_box(100_000);
    // SAFETY: the processor has just been asked.
    let f32 = seconds(|| _ = core::hint::black_box(unsafe { in_f32(count) }));
    // SAFETY: likewise.
    let int8 = seconds(|| _ = core::hint::black_box(unsafe { in_int8(count) }));
    Some([(count * 12 * 16) as f64 / f32, (count * 12 * 64) as f64 / int8])
}

fn uses_tiles(kernels: &Kernels) -> bool {
    kernels.name().starts_with("AMX")
}

/// Multiplications per second in int8, if this processor has AMX.
#[cfg(target_arch = "x86_64")]
fn peak_in_tiles() -> Option<f64> {
    use core::arch::asm;

    if !Kernels::supported().any(uses_tiles) {
        return None;
    }
    // Palette 1; eight tiles of 16 rows of 64 bytes.
    let mut shapes = [0_u8; 64];
    shapes[0] = 1;
    (0..8).for_each(|tile| (shapes[16 + 2 * tile], shapes[48 + tile]) = (64, 16));
    let count = core::hint::black_box(100_000_usize);
    // SAFETY: a table with AMX is offered where the system lets this process use it. What is loaded are the 64 bytes of the shapes.
    let seconds = seconds(|| unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "2:",
            "tdpbssd tmm0, tmm4, tmm6",
            "tdpbssd tmm1, tmm4, tmm7",
            "tdpbssd tmm2, tmm5, tmm6",
            "tdpbssd tmm3, tmm5, tmm7",
            "dec {count}",
            "jnz 2b",
            "tilerelease",
            shapes = in(reg) shapes.as_ptr(),
            count = inout(reg) count => _,
            options(nostack)
        );
    });
    Some((count * 4 * 16 * 16 * 64) as f64 / seconds)
}

#[cfg(not(target_arch = "x86_64"))]
fn peaks() -> Option<[f64; 2]> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn peak_in_tiles() -> Option<f64> {
    None
}

/// Rows, inputs, outputs: the base network's, a narrow network's chunk and window, scores of a block's head and of branches'.
const SIZES: [(usize, usize, usize); 9] = [
    (496, 768, 2304),
    (496, 768, 768),
    (496, 768, 3072),
    (496, 3072, 768),
    (48, 128, 384),
    (496, 128, 384),
    (144, 32, 496),
    (144, 20, 496),
    (144, 16, 496),
];

/// Rows of int8 that there is room for at a time, as the native engine has it for wide networks.
const SCRATCH_ROWS: usize = 256;

const NUM_ROUNDS: usize = 5;
const ROUND_NS: u64 = 60_000_000;

//! CPU time of a window of 9.92 s in the native engine, in tract with our operators, and in tract alone, in turns, on Linux: what one core would take, also
//! on a machine that is busy with other things. The weights are random, the same in all three.
//! `cargo run --release -p aesa-benches --example tract_cpu_time starter|base f32|int8 [ROUNDS] [WINDOWS_PER_ROUND] [--fused-only]`

use aesa::native::{AlignedBytes, Model};
use aesa::{ModelInfo, Network, Policy, Scores};
use aesa_export::{
    ExportOptions, ModelConfig, Storage, random_tensors, tiny_info, write_aesa, write_onnx_with,
};
use aesa_tract::TractModel;

const NUM_STEPS: usize = 62;

/// What is timed: its name, and one window's scores by it.
type Turn<'a> = (&'static str, Box<dyn FnMut() -> Vec<Scores> + 'a>);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<usize>().ok());
    let (num_rounds, num_windows) = (numbers.next().unwrap_or(9), numbers.next().unwrap_or(1));
    let config = if has("base") { ModelConfig::default() } else { ModelConfig::starter() };
    let storage = if has("int8") { Storage::Int8 } else { Storage::F32 };
    let info = ModelInfo { policy: Policy::Windowed { window_steps: NUM_STEPS }, ..tiny_info() };
    let tensors = random_tensors(&config, 1).expect("the sizes fit");
    let file = write_aesa(&config, &tensors, &info, storage).expect("the sizes fit");
    let file = AlignedBytes::from(file.as_slice());
    let options = ExportOptions { storage, ..ExportOptions::default() };
    let onnx = write_onnx_with(&config, &tensors, &info, &options).expect("the sizes fit");
    drop(tensors);
    let native = Model::from_bytes(&file).expect("the file was just written");
    let fused = TractModel::from_bytes(&onnx).expect("the file was just written");
    println!("{}: {}", native.kernels().name(), fused.fusion());
    let mut native = native.session().expect("the metadata are the engine's");
    let mut fused = fused.session();
    let unfused =
        (!has("--fused-only")).then(|| TractModel::from_bytes_unfused(&onnx).expect("it was fused"));
    let mut unfused = unfused.map(|model| model.session());
    drop(onnx);

    let features: Vec<f32> =
        (0..NUM_STEPS * 16 * 128).map(|i| (i * 7919 % 1009) as f32 / 504.5 - 1.0).collect();
    let expected = score(&mut native, &features);
    let mut turns: Vec<Turn<'_>> = vec![
        ("native", Box::new(|| score(&mut native, &features))),
        ("tract, our operators", Box::new(|| score(&mut fused, &features))),
    ];
    if let Some(unfused) = &mut unfused {
        turns.push(("tract alone", Box::new(|| score(unfused, &features))));
    }
    let mut times = vec![Vec::new(); turns.len()];
    for round in 0..=num_rounds {
        for ((name, run), times) in turns.iter_mut().zip(&mut times) {
            let before = cpu_ns();
            let scores = (0..num_windows).map(|_| run()).next_back().expect("a round has a window");
            let ms = (cpu_ns() - before) as f64 / 1e6 / num_windows as f64;
            // The first round is to warm up, and to compare.
            match round {
                0 => println!("{name}: from the native scores {:.1e}", difference(&scores, &expected)),
                _ => times.push(ms),
            }
        }
    }
    let native = median(&mut times[0]);
    for ((name, _), times) in turns.iter().zip(&mut times) {
        let ms = median(times);
        println!("{name}: {ms:.2} ms (least {:.2}), {:.3} of native", times[0], ms / native);
    }
}

fn score<N: Network>(network: &mut N, features: &[f32]) -> Vec<Scores> {
    let mut scores = vec![Scores::default(); NUM_STEPS];
    network.reset();
    assert!(network.score_window(features, &mut scores).is_ok());
    scores
}

fn difference(scores: &[Scores], expected: &[Scores]) -> f32 {
    let pairs = scores.iter().zip(expected).flat_map(|(a, b)| a.0.iter().zip(b.0));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Sorts them.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Time that this thread has been on a processor.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells its schedule");
    text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("its first number is nanoseconds")
}

//! The exported encoder against the official BEATs code: the golden checkpoints, written as ONNX and run by tract. The
//! same files and expectations go to `target/onnx-expected`, where `tests/python/compare_onnxruntime.py` takes them.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use aesa::fbank::{NUM_MEL_BINS, normalised_fbank};
use aesa::score::FRAMES_PER_STEP;
use aesa_export::{
    ExportOptions, HeadConfig, ModelConfig, Tensors, random_tensors, tiny_info, write_onnx_with,
};
use aesa_trainer::checkpoint::Checkpoint;
use tract_onnx::prelude::*;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Hidden states are about 1 in size.
const TOLERANCE: f32 = 1e-4;

/// A name of an output, its shape without the clip's axis where it has none, and its values.
type Output = (String, Vec<usize>, Vec<f32>);

#[test]
fn the_exported_encoder_equals_the_official_one() {
    check("beats-tiny");
}

#[test]
fn the_exported_fine_tuned_encoder_equals_the_official_one() {
    check("beats-tiny-finetuned");
}

fn check(name: &str) {
    let golden = Path::new(ROOT).join("tests/golden/beats");
    let checkpoint = Checkpoint::read(&golden.join(format!("{name}.pt"))).unwrap();
    let onnx = exported(&checkpoint);
    let bytes = std::fs::read(golden.join(format!("{name}.expected.safetensors"))).unwrap();
    let expected = Tensors::from_safetensors(&bytes).unwrap();

    let mut expectations = Tensors::default();
    for clip in ["speech", "music"] {
        let features = normalised_fbank(&expected.0[&format!("{clip}.waveform")].data);
        let num_frames = features.len() / NUM_MEL_BINS / FRAMES_PER_STEP * FRAMES_PER_STEP;
        let features = &features[..num_frames * NUM_MEL_BINS];
        expectations.insert(&format!("{clip}.fbank"), &[1, num_frames, NUM_MEL_BINS], features.to_vec());
        for (output, shape, values) in run(&onnx, features) {
            let key = format!("{clip}.{output}");
            let Some(official) = expected.0.get(&key) else {
                // The head's weights are random: what counts is that another runtime gives the same scores.
                expectations.insert(&key, &shape, values);
                continue;
            };
            assert_eq!(official.data.len(), values.len(), "{name} {key}");
            let difference = |(a, b): (&f32, &f32)| (a - b).abs();
            let worst = values.iter().zip(&official.data).map(difference).fold(0.0, f32::max);
            println!("{name} {key}: {worst:.2e}");
            assert!(worst < TOLERANCE, "{name} {key}: {worst}");
            expectations.insert(&key, &shape, official.data.clone());
        }
        let num_states =
            expectations.0.keys().filter(|key| key.starts_with(&format!("{clip}.hidden."))).count();
        assert_eq!(num_states as i64, checkpoint.encoder.encoder_layers + 1);
    }
    let folder = Path::new(ROOT).join("target/onnx-expected");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.onnx")), onnx).unwrap();
    std::fs::write(folder.join(format!("{name}.safetensors")), expectations.to_safetensors().unwrap())
        .unwrap();
}

/// The checkpoint's encoder under a random head.
fn exported(checkpoint: &Checkpoint) -> Vec<u8> {
    let head = HeadConfig { adapter_dim: 16, lstm_dim: 8, shared_dim: 16, ..HeadConfig::default() };
    let config = ModelConfig { encoder: checkpoint.encoder.clone(), head };
    let mut tensors = random_tensors(&config, 1).unwrap();
    for (name, tensor) in &checkpoint.tensors {
        let shape: Vec<usize> = tensor.size().iter().map(|n| *n as usize).collect();
        tensors.insert(
            &format!("beats.{name}"),
            &shape,
            Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap(),
        );
    }
    let options = ExportOptions { expose_hidden_states: true, ..ExportOptions::default() };
    write_onnx_with(&config, &tensors, &tiny_info(), &options).unwrap()
}

/// All outputs for one clip's features.
fn run(onnx: &[u8], features: &[f32]) -> Vec<Output> {
    let num_frames = features.len() / NUM_MEL_BINS;
    let mut model = tract_onnx::onnx().model_for_read(&mut &*onnx).unwrap();
    let names: Vec<String> =
        model.output_outlets().unwrap().iter().map(|o| model.outlet_label(*o).unwrap().to_owned()).collect();
    model.set_input_fact(0, f32::fact([1, num_frames, NUM_MEL_BINS]).into()).unwrap();
    let model = model.into_optimized().unwrap().into_runnable().unwrap();
    let input = Tensor::from_shape(&[1, num_frames, NUM_MEL_BINS], features).unwrap();
    let outputs = model.run(tvec!(input.into())).unwrap();
    let named = names.into_iter().zip(&outputs);
    named
        .map(|(name, output)| {
            let values = output.to_plain_array_view::<f32>().unwrap().iter().copied().collect();
            (name, output.shape().to_vec(), values)
        })
        .collect()
}

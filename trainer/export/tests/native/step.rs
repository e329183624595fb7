//! The graph that scores one chunk after another, in tract, against plain arithmetic.

use aesa::{ModelInfo, Policy};
use aesa_export::{ModelConfig, tiny_info, write_onnx};
use tract_onnx::prelude::*;

use crate::TOLERANCE;
use crate::common::{features, weights};
use crate::reference::{Mask, frame_scores};

fn step_graph(config: &ModelConfig, chunk_steps: usize, left_steps: usize) -> Vec<u8> {
    let info = ModelInfo { policy: Policy::Chunked { chunk_steps, left_steps }, ..tiny_info() };
    write_onnx(config, &weights(config), &info).unwrap()
}

/// Frame scores of a clip, chunk after chunk; what one call puts out under `present.` the next takes under `past.`.
fn in_steps(onnx: &[u8], features: &[f32], chunk_steps: usize) -> Vec<[f64; 4]> {
    let network = tract_onnx::onnx().with_ignore_output_shapes(true).model_for_read(&mut &*onnx).unwrap();
    let names: Vec<String> =
        network.input_outlets().unwrap().iter().map(|o| network.node(o.node).name.clone()).collect();
    assert_eq!(names[0], "fbank");
    let mut states: Vec<Tensor> = (1..names.len())
        .map(|i| {
            let shape = network.input_fact(i).unwrap().shape.as_concrete_finite().unwrap().unwrap();
            Tensor::zero::<f32>(&shape).unwrap()
        })
        .collect();
    let mut scores = Vec::new();
    for chunk in features.chunks(16 * 128 * chunk_steps) {
        let shape = [1, chunk.len() / 128, 128];
        let model = network.clone().with_input_fact(0, f32::fact(shape).into()).unwrap();
        let plan = model.into_optimized().unwrap().into_runnable().unwrap();
        let mut inputs = tvec!(Tensor::from_shape(&shape, chunk).unwrap().into_tvalue());
        inputs.extend(states.drain(..).map(IntoTValue::into_tvalue));
        let mut outputs = plan.run(inputs).unwrap();
        states.extend(outputs.drain(1..).map(IntoTensor::into_tensor));
        let values = outputs[0].to_plain_array_view::<f32>().unwrap();
        scores.extend(values.as_slice().unwrap().as_chunks::<4>().0.iter().map(|s| s.map(f64::from)));
    }
    scores
}

#[test]
fn steps_equal_the_masked_reference() {
    let config = ModelConfig::tiny();
    for (chunk_steps, left_steps, num_steps) in [(1, 0_usize, 3), (2, 3, 11), (6, 12, 26), (5, 1, 4)] {
        let features = features(16 * num_steps);
        let mask = Mask { chunk_tokens: 8 * chunk_steps, left_chunks: left_steps.div_ceil(chunk_steps) };
        let expected = frame_scores(&config, &weights(&config), &features, mask);
        let actual = in_steps(&step_graph(&config, chunk_steps, left_steps), &features, chunk_steps);
        assert_eq!(actual.len(), expected.len());
        let pairs = actual.iter().flatten().zip(expected.iter().flatten());
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        println!("{chunk_steps} {left_steps} {num_steps}: {worst:.1e}");
        assert!(worst < TOLERANCE, "{chunk_steps} {left_steps} {num_steps}: {worst}");
    }
}

#[test]
fn chunks_without_steps_are_refused() {
    let config = ModelConfig::tiny();
    let info = ModelInfo { policy: Policy::Chunked { chunk_steps: 0, left_steps: 2 }, ..tiny_info() };
    let error = write_onnx(&config, &weights(&config), &info).unwrap_err();
    assert!(error.to_string().contains("at least one step"), "{error}");
}

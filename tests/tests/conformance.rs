//! The clips of `conformance/` have their scores, through the Rust interface that other languages' bindings use.

use std::sync::Arc;

use aesa_runtime::{Model, ModelScorer};
use aesa_tests::{project, read};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    clips: Vec<Clip>,
}

#[derive(Deserialize)]
struct Clip {
    file: String,
    sample_rate_hz: u32,
    num_channels: usize,
    tolerance: f32,
    num_steps: u64,
    clip: [f32; 4],
    frames: Vec<[f32; 4]>,
}

#[test]
fn clips_have_their_scores_whole_and_in_pieces() {
    let text = std::fs::read_to_string(project("tests/conformance/expected.json")).unwrap();
    let Expected { clips } = serde_json::from_str(&text).unwrap();
    assert!(clips.len() >= 4 && clips.iter().all(|clip| clip.tolerance < 1e-3));
    let model = Arc::new(Model::open(project("models/starter/model.aesa")).unwrap());
    for expected in clips {
        let (spec, samples) = read(&project("tests/conformance/clips").join(&expected.file));
        assert_eq!(
            (spec.sample_rate_hz, spec.num_channels),
            (expected.sample_rate_hz, expected.num_channels)
        );
        for piece in [samples.len(), 1000] {
            let mut scorer = ModelScorer::new(model.clone(), spec).unwrap();
            samples.chunks(piece).for_each(|samples| scorer.accept(samples).unwrap());
            let clip = scorer.finish().unwrap();
            let frames: Vec<[f32; 4]> =
                core::iter::from_fn(|| scorer.next_frame()).map(|frame| frame.scores.0).collect();
            assert_eq!(clip.num_steps, expected.num_steps, "{}", expected.file);
            assert_eq!(frames.len(), expected.frames.len(), "{}", expected.file);
            let tolerance = expected.tolerance;
            let of_clip = core::iter::once((&clip.scores.0, &expected.clip));
            for (actual, expected) in of_clip.chain(frames.iter().zip(&expected.frames)) {
                let is_near = actual.iter().zip(expected).all(|(a, e)| (a - e).abs() < tolerance);
                assert!(is_near, "{actual:?}, not {expected:?}");
            }
        }
    }
}

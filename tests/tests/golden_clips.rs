//! The starter model gives its golden clips the scores that lie beside them.

use std::collections::BTreeMap;

use aesa::Axis;
use aesa_tests::{project, score_file, starter};
use serde::Deserialize;

/// What `models/starter/golden/expected.json` holds per clip.
#[derive(Deserialize)]
struct Expected {
    num_steps: u64,
    clip: [f64; 4],
    first_frame: [f64; 4],
}

/// f32 arithmetic in another order (another instruction set) moves a score of 0 to 10 by about 1e-5.
const TOLERANCE: f64 = 1e-4;

#[test]
fn golden_clips_have_their_scores() {
    let folder = project("models/starter/golden");
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: BTreeMap<String, Expected> = serde_json::from_str(&text).unwrap();
    assert!(expected.len() >= 6, "{} clips", expected.len());
    let model = starter();
    for (name, expected) in expected {
        let scored = score_file(&model, &folder.join(&name)).unwrap();
        assert_eq!(scored.clip.num_steps, expected.num_steps, "{name}");
        for axis in Axis::ALL {
            let pairs = [
                (scored.clip.scores[axis], expected.clip[axis as usize]),
                (scored.frames[0].scores[axis], expected.first_frame[axis as usize]),
            ];
            for (actual, expected) in pairs {
                assert!(
                    (f64::from(actual) - expected).abs() < TOLERANCE,
                    "{name} {axis}: {actual}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn model_says_that_its_labels_are_proxies() {
    let model = starter();
    assert_eq!(model.info().id, "starter");
    assert_eq!(model.info().labels, aesa::Labels::Proxy);
    assert!(model.num_parameters() <= 1_100_000, "{} parameters", model.num_parameters());
}

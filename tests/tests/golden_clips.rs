//! The starter model gives its golden clips the scores that lie beside them.

use std::collections::BTreeMap;
use std::path::Path;

use aesa::Axis;
use aesa::native::{AlignedBytes, Model};
use aesa_tests::{Scored, project, read, score};
#[cfg(feature = "tract")]
use aesa_tests::{score_file, starter};
use serde::Deserialize;

/// What `expected.json` and `expected-chunks.json` in `models/starter/golden` hold per clip.
#[derive(Deserialize)]
struct Expected {
    num_steps: u64,
    clip: [f64; 4],
    first_frame: [f64; 4],
}

/// f32 arithmetic in another order (another instruction set) moves a score of 0 to 10 by about 1e-5.
const TOLERANCE: f64 = 1e-4;

/// The FFT of the AAC and Vorbis decoders rounds as the processor's registers are wide, which an all but empty band's logarithm shows: up to
/// 0.028 (music-muffled.m4a) on x86-64 without AVX. The scores were written on a processor with AVX.
const TOLERANCE_DECODED_ELSEWHERE: f64 = 0.05;

fn tolerance(name: &str) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") && std::arch::is_x86_feature_detected!("fma") {
        return TOLERANCE;
    }
    if name.ends_with(".m4a") || name.ends_with(".ogg") { TOLERANCE_DECODED_ELSEWHERE } else { TOLERANCE }
}

fn assert_scores(file: &str, scored: impl Fn(&Path) -> Scored) {
    let folder = project("models/starter/golden");
    let text = std::fs::read_to_string(folder.join(file)).expect("the scores are there");
    let expected: BTreeMap<String, Expected> =
        serde_json::from_str(&text).expect("as make_expected.py writes them");
    assert!(expected.len() >= 6, "{} clips", expected.len());
    for (name, expected) in expected {
        let scored = scored(&folder.join(&name));
        assert_eq!(scored.clip.num_steps, expected.num_steps, "{name}");
        for axis in Axis::ALL {
            let pairs = [
                (scored.clip.scores[axis], expected.clip[axis as usize]),
                (scored.frames[0].scores[axis], expected.first_frame[axis as usize]),
            ];
            for (actual, expected) in pairs {
                assert!(
                    (f64::from(actual) - expected).abs() < tolerance(&name),
                    "{name} {axis}: {actual}, not {expected}"
                );
            }
        }
    }
}

#[cfg(feature = "tract")]
#[test]
fn golden_clips_have_their_scores() {
    let model = starter();
    assert_scores("expected.json", |path| score_file(&model, path).unwrap());
}

#[test]
fn golden_clips_have_their_scores_in_chunks() {
    let file = AlignedBytes::from(std::fs::read(project("models/starter/model.aesa")).unwrap().as_slice());
    let model = Model::from_bytes(&file).unwrap();
    assert_scores("expected-chunks.json", |path| {
        let (spec, samples) = read(path);
        score(model.session().unwrap(), spec, &samples, &[48_000]).unwrap()
    });
}

#[cfg(feature = "tract")]
#[test]
fn both_files_are_of_one_training_run() {
    let file = AlignedBytes::from(std::fs::read(project("models/starter/model.aesa")).unwrap().as_slice());
    let (chunks, windows) = (Model::from_bytes(&file).unwrap().info().unwrap(), starter());
    assert_eq!(aesa::ModelInfo { policy: windows.info().policy, ..chunks }, *windows.info());
}

#[cfg(feature = "tract")]
#[test]
fn model_says_that_its_labels_are_proxies() {
    let model = starter();
    assert_eq!(model.info().id, "starter");
    assert_eq!(model.info().labels, aesa::Labels::Proxy);
    assert!(model.num_parameters() <= 1_100_000, "{} parameters", model.num_parameters());
}

//! Writes what tract makes of the starter model to `target/onnx-expected`, for `tests/python/compare_onnxruntime.py`.

use std::path::Path;

use aesa::{Network, Scores};
use aesa_export::Tensors;
use aesa_tests::{project, starter};

#[test]
fn starter_expectations_are_written() {
    let folder = project("target/onnx-expected");
    std::fs::create_dir_all(&folder).unwrap();
    let model = starter();
    let mut session = model.session();
    let mut expected = Tensors::default();
    for clip in ["speech.flac", "music.ogg", "rain.wav"] {
        let path = project("models/starter/golden").join(clip);
        let features = aesa::fbank::normalised_fbank(&aesa_media::read_mono_16k(&path).unwrap());
        let num_steps = (features.len() / (16 * 128)).min(62);
        let features = &features[..num_steps * 16 * 128];
        let mut scores = vec![Scores::default(); num_steps];
        session.score_window(features, &mut scores).unwrap();
        let frame_scores: Vec<f32> = scores.iter().flat_map(|s| s.0).collect();
        let mean = |axis: usize| scores.iter().map(|s| s.0[axis]).sum::<f32>() / num_steps as f32;
        let stem = Path::new(clip).file_stem().unwrap().to_str().unwrap().to_owned();
        expected.insert(&format!("{stem}.fbank"), &[1, num_steps * 16, 128], features.to_vec());
        expected.insert(&format!("{stem}.frame_scores"), &[1, num_steps, 4], frame_scores);
        expected.insert(&format!("{stem}.clip_scores"), &[1, 4], (0..4).map(mean).collect());
    }
    std::fs::write(folder.join("starter.safetensors"), expected.to_safetensors().unwrap()).unwrap();
    std::fs::copy(project("models/starter/model.onnx"), folder.join("starter.onnx")).unwrap();
}

//! Writes what tract makes of the starter model, and of random weights in int8 and f16, to `target/onnx-expected`, for `tests/python/compare_onnxruntime.py`.

use std::path::{Path, PathBuf};

use aesa::{Network, Scores};
use aesa_export::{ExportOptions, ModelConfig, Storage, Tensors, random_tensors, tiny_info, write_onnx_with};
use aesa_tests::{project, starter};
use aesa_tract::TractModel;

/// What a rounded activation may move a score by, where another order of sums rounds it the other way.
const INT8_TOLERANCE: f32 = 0.005;

#[test]
fn starter_expectations_are_written() {
    let folder = folder();
    let expected = expected(&starter(), &["speech.flac", "music.ogg", "rain.wav"]);
    std::fs::write(folder.join("starter.safetensors"), expected.to_safetensors().unwrap()).unwrap();
    std::fs::copy(project("models/starter/model.onnx"), folder.join("starter.onnx")).unwrap();
}

#[test]
fn expectations_of_smaller_files_are_written() {
    let config = ModelConfig::starter();
    let tensors = random_tensors(&config, 9).unwrap();
    for (name, storage) in [("random-f16", Storage::F16), ("random-int8", Storage::Int8)] {
        let options = ExportOptions { storage, ..ExportOptions::default() };
        let onnx = write_onnx_with(&config, &tensors, &tiny_info(), &options).unwrap();
        let mut expected = expected(&TractModel::from_bytes(&onnx).unwrap(), &["rain.wav"]);
        if storage == Storage::Int8 {
            expected.insert("tolerance", &[1], vec![INT8_TOLERANCE]);
        }
        std::fs::write(folder().join(format!("{name}.safetensors")), expected.to_safetensors().unwrap())
            .unwrap();
        std::fs::write(folder().join(format!("{name}.onnx")), onnx).unwrap();
    }
}

fn folder() -> PathBuf {
    let folder = project("target/onnx-expected");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

/// Features of golden clips, at most ten seconds, and their scores.
#[allow(clippy::unwrap_used, reason = "a helper of tests")]
fn expected(model: &TractModel, clips: &[&str]) -> Tensors {
    let mut session = model.session();
    let mut expected = Tensors::default();
    for clip in clips {
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
    expected
}

//! Writes a graph that scores one chunk after another, and what the native engine makes of the same network, to
//! `target/onnx-expected`, for `tests/python/compare_onnxruntime.py`.

use aesa::native::{AlignedBytes, Model};
use aesa_export::{
    AesaOptions, ChunkPolicy, ExportOptions, ModelConfig, Storage, Tensors, random_tensors, tiny_info,
    write_aesa, write_onnx_with,
};
use aesa_tests::project;

#[test]
fn step_expectations_are_written() {
    let (config, info) = (ModelConfig::starter(), tiny_info());
    let tensors = random_tensors(&config, 4).unwrap();
    let chunks = Some(ChunkPolicy { chunk_steps: 6, left_steps: 12 });
    let options = ExportOptions { chunks, ..ExportOptions::default() };
    let onnx = write_onnx_with(&config, &tensors, &info, &options).unwrap();
    let aesa = write_aesa(&config, &tensors, &info, &AesaOptions { storage: Storage::F32, chunks }).unwrap();
    let aesa = AlignedBytes::from(aesa.as_slice());
    let native = Model::from_bytes(&aesa).unwrap();

    let mut expected = Tensors::default();
    for (clip, file) in [("speech", "speech.flac"), ("music", "music.ogg"), ("rain", "rain.wav")] {
        let samples = aesa_media::read_mono_16k(&project("models/starter/golden").join(file)).unwrap();
        let features = aesa::fbank::normalised_fbank(&samples);
        // Several chunks, the last one short.
        let num_steps = features.len() / 2048 / 6 * 6 - 2;
        assert!(num_steps > 12);
        let features = &features[..num_steps * 2048];
        let (mut stream, mut scores) = (native.stream(), Vec::new());
        stream.push(features, |s| scores.extend(s.0)).unwrap();
        stream.finish(|s| scores.extend(s.0));
        expected.insert(&format!("{clip}.fbank"), &[1, num_steps * 16, 128], features.to_vec());
        expected.insert(&format!("{clip}.frame_scores"), &[1, num_steps, 4], scores);
    }
    let folder = project("target/onnx-expected");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("step.safetensors"), expected.to_safetensors().unwrap()).unwrap();
    std::fs::write(folder.join("step.onnx"), onnx).unwrap();
}

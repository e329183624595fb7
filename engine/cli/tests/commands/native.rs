//! The native engine in `aesa`: `model.aesa` in place of ONNX.

use aesa::{ModelInfo, Policy};
use aesa_export::{Storage, write_aesa};
use serde_json::json;

use super::stream::{Stream, assert_same_scores, noise, output_of, raw};
use super::*;

const CHUNKS: Policy = Policy::Chunked { chunk_steps: 6, left_steps: 12 };

/// A folder with `chunked.aesa` (int8), `attention.aesa` (attention in int8, too) and `windowed.aesa` (f32), all of
/// `tiny.onnx`'s weights.
fn place() -> Place {
    let place = Place::new();
    let config = ModelConfig::tiny();
    let tensors = random_tensors(&config, 1).unwrap();
    for (name, storage, policy) in [
        ("chunked.aesa", Storage::Int8, CHUNKS),
        ("attention.aesa", Storage::Int8Attention, CHUNKS),
        ("windowed.aesa", Storage::F32, tiny_info().policy),
    ] {
        let info = ModelInfo { policy, ..tiny_info() };
        let bytes = write_aesa(&config, &tensors, &info, storage).unwrap();
        fs::write(place.path(name), bytes).unwrap();
    }
    place
}

fn score(place: &Place, model: &str, arguments: &[&str]) -> Output {
    place.command("score").args(["--model", model]).args(arguments).output().unwrap()
}

#[test]
fn a_stream_in_chunks_has_the_scores_of_the_file() {
    let place = place();
    let path = place.wav("a.wav", 25 * RATE_HZ as usize, 3);
    let scored = score(&place, "chunked.aesa", &["--frames", "--format", "jsonl", "a.wav"]);
    let (bytes, spec) = raw(&path);
    let mut outputs = Vec::new();
    for step in [11, 1000, 100_000] {
        let mut command = place.command("stream");
        let output = output_of(command.args(["--model", "chunked.aesa"]).args(&spec), bytes.clone(), step);
        assert_same_scores(&output, &scored);
        outputs.push(output);
    }
    let told = stderr(&outputs[0]);
    assert!(
        told.contains("tiny 3 (native engine, int8) · policy: chunked, 6 steps of 160 ms and 12 before them"),
        "{told}"
    );
    assert!(told.contains("chunk: 0.96 s · latency: "), "{told}");
    let last = lines(&outputs[0]).pop().unwrap();
    assert_eq!((&last["engine"]["runtime"], &last["engine"]["weights"]), (&json!("native"), &json!("int8")));
    let policy = json!({ "name": "chunked", "chunk_steps": 6, "left_steps": 12, "step_s": 0.16 });
    assert_eq!((&last["policy"], &last["model"]["run_hash"]), (&policy, &json!("ab")));
}

#[test]
fn frames_come_when_their_chunk_is_complete() {
    let place = place();
    let mut stream = Stream::start(&place, "chunked.aesa", &[]);
    for chunk in 0..3 {
        stream.write(&noise(6 * 2560 + if chunk == 0 { 240 } else { 0 }));
        // The input stays open.
        for i in 6 * chunk..6 * chunk + 6 {
            assert_eq!(stream.next_line()["start_s"], f64::from(i) * 2560.0 / 16_000.0);
        }
    }
    drop(stream.child.stdin.take());
    assert_eq!(stream.next_line()["num_frames"], 18);
    assert!(stream.child.wait().unwrap().success());
}

#[test]
fn threads_share_a_native_model_and_change_nothing() {
    let place = place();
    for i in 0..7 {
        place.wav(&format!("clips/{i}.wav"), 150_000 + 37_777 * i as usize, i + 1);
    }
    let clips = |jobs| {
        let output = score(&place, "chunked.aesa", &["-j", jobs, "--format", "json", "--frames", "clips"]);
        assert_code(&output, 0);
        output.stdout
    };
    let expected = clips("1");
    for jobs in ["2", "5", "32"] {
        assert_eq!(clips(jobs), expected, "-j {jobs}");
    }
    let document: Value = serde_json::from_slice(&expected).unwrap();
    assert_eq!(document["engine"]["runtime"], "native");
    assert_eq!(document["policy"]["name"], "chunked");
    assert_ne!(document["clips"][0]["scores"], document["clips"][1]["scores"]);
}

#[test]
fn threads_for_one_clip_change_nothing() {
    let place = place();
    // The starter's sizes: a window of them is worth several threads.
    let config = ModelConfig::starter();
    let tensors = random_tensors(&config, 1).unwrap();
    let bytes = write_aesa(&config, &tensors, &tiny_info(), Storage::Int8).unwrap();
    fs::write(place.path("wide.aesa"), bytes).unwrap();
    let clip = place.wav("clips/a.wav", 21 * RATE_HZ as usize, 3);
    place.wav("clips/b.wav", 9 * RATE_HZ as usize, 4);
    for model in ["wide.aesa", "chunked.aesa"] {
        let scores = |arguments: &[&str]| {
            let output =
                score(&place, model, &[&["--format", "json", "--frames", "clips"], arguments].concat());
            assert_code(&output, 0);
            output.stdout
        };
        let alone = scores(&["--threads", "1"]);
        assert_eq!(scores(&[]), alone);
        for arguments in
            [&["--threads", "2"][..], &["--threads", "2", "-j", "1"], &["--threads", "3", "-j", "2"]]
        {
            assert_eq!(scores(arguments), alone, "{model} {arguments:?}");
        }
        let (bytes, spec) = raw(&clip);
        let mut command = place.command("stream");
        let streamed =
            output_of(command.args(["--threads", "3", "--model", model]).args(&spec), bytes, 10_001);
        assert_same_scores(
            &streamed,
            &score(&place, model, &["--format", "jsonl", "--frames", "clips/a.wav"]),
        );
    }
    for (model, threads, reason) in
        [("wide.aesa", "0", "0"), ("tiny.onnx", "2", "--threads 2: a model in ONNX is scored on one thread")]
    {
        let output = score(&place, model, &["--threads", threads, "clips"]);
        assert_code(&output, 2);
        assert!(stdout(&output).is_empty() && stderr(&output).contains(reason), "{}", stderr(&output));
    }
    assert_code(&score(&place, "tiny.onnx", &["--threads", "1", "clips"]), 0);
}

#[test]
fn a_windowed_file_scores_as_its_onnx() {
    let place = place();
    place.wav("a.wav", 25 * RATE_HZ as usize, 3);
    let frames = |model| {
        let output = score(&place, model, &["--frames", "--format", "json", "a.wav"]);
        assert_code(&output, 0);
        serde_json::from_str::<Value>(stdout(&output)).unwrap()
    };
    let (native, onnx) = (frames("windowed.aesa"), frames("tiny.onnx"));
    assert_eq!((&native["engine"]["weights"], &onnx["engine"]["runtime"]), (&json!("f32"), &json!("tract")));
    assert_eq!(native["policy"], onnx["policy"]);
    let all = |document: &Value| -> Vec<f64> {
        let frames = document["clips"][0]["frames"].as_array().unwrap().iter();
        frames.flat_map(|f| ["PQ", "PC", "CE", "CU"].map(|axis| f[axis].as_f64().unwrap())).collect()
    };
    let (native, onnx) = (all(&native), all(&onnx));
    assert_eq!((native.len(), onnx.len()), (4 * 156, 4 * 156));
    // f32 sums in other orders; a score is 0 to 10.
    assert!(native.iter().zip(&onnx).all(|(a, b)| (a - b).abs() < 1e-4));
    // Windows may overlap, as those of ONNX.
    let hop = ["--model", "windowed.aesa", "--quiet", "--hop", "0.96", "--look-ahead", "0.16"];
    let output = output_of(place.command("stream").args(hop), noise(40_000), 1000);
    assert_code(&output, 0);
    assert_eq!(lines(&output).pop().unwrap()["policy"]["hop_s"], 0.96);
}

#[test]
fn chunks_have_no_hop() {
    let place = place();
    for option in [["--hop", "0.96"], ["--look-ahead", "0"]] {
        let mut command = place.command("stream");
        let output = output_of(command.args(["--model", "chunked.aesa"]).args(option), noise(16_000), 1000);
        assert_code(&output, 2);
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains("this one hears in chunks of 0.96 s"), "{}", stderr(&output));
    }
}

#[test]
fn inspect_says_what_a_device_needs() {
    let place = place();
    let inspect = |arguments: &[&str]| place.command("inspect").args(arguments).output().unwrap();
    let output = inspect(&["chunked.aesa"]);
    assert_code(&output, 0);
    let text: Vec<String> =
        stdout(&output).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let size = fs::metadata(place.path("chunked.aesa")).unwrap().len();
    for row in [
        "format model.aesa, version 1",
        "weights int8",
        "attention f32",
        "policy chunked",
        "chunk 6 steps, 0.96 s",
        "left context 12 steps, 1.92 s",
        &format!("flash {size} bytes"),
        "aesa.run_hash ab",
        "aesa.labels proxy",
    ] {
        assert!(text.iter().any(|line| line == row), "{row} is missing in\n{}", stdout(&output));
    }
    let document: Value = serde_json::from_str(stdout(&inspect(&["--json", "chunked.aesa"]))).unwrap();
    assert_eq!((&document["format"], &document["policy"]["chunk_steps"]), (&json!("aesa"), &json!(6)));
    let memory = &document["memory"];
    let ram = memory["state_bytes"].as_u64().unwrap() + memory["scratch_bytes"].as_u64().unwrap();
    let row = format!("RAM per stream {ram} bytes");
    assert!(text.iter().any(|line| line.starts_with(&row)), "{row} is missing in\n{}", stdout(&output));
    for (model, expected) in [("chunked.aesa", "f32"), ("attention.aesa", "int8"), ("windowed.aesa", "f32")] {
        let document: Value = serde_json::from_str(stdout(&inspect(&["--json", model]))).unwrap();
        assert_eq!(document["attention"], expected, "{model}");
    }
    let windowed = inspect(&["windowed.aesa"]);
    assert!(stdout(&windowed).contains("62 steps, 9.92 s") && stdout(&windowed).contains("f32"));
}

#[test]
fn a_bad_model_is_told_in_one_line() {
    let place = place();
    place.wav("a.wav", 30_000, 1);
    let good = fs::read(place.path("chunked.aesa")).unwrap();
    let flipped = |byte: usize| {
        let mut bytes = good.clone();
        bytes[byte] ^= 4;
        bytes
    };
    let cases: [(&str, &str, Vec<u8>, &str); 7] = [
        ("half of it", "bad.aesa", good[..good.len() / 2].to_vec(), "the header says"),
        ("a byte too many", "bad.aesa", [&good[..], &[0]].concat(), "the header says"),
        ("a flipped bit of a weight", "bad.aesa", flipped(good.len() - 100), "the checksum is wrong"),
        ("a flipped bit of a size", "bad", flipped(40), "the checksum is wrong"),
        ("a flipped bit of the magic", "bad.aesa", flipped(2), "not a model.aesa file"),
        ("nothing", "bad.aesa", Vec::new(), "not a model.aesa file"),
        ("another kind", "bad", fs::read(place.path("a.wav")).unwrap(), "not an ONNX model"),
    ];
    for (name, file, bytes, reason) in cases {
        fs::write(place.path(file), bytes).unwrap();
        let stream = output_of(place.command("stream").args(["--model", file]), noise(16_000), 1000);
        let inspect = place.command("inspect").arg(file).output().unwrap();
        for output in [score(&place, file, &["a.wav"]), stream, inspect] {
            assert_code(&output, 2);
            assert_eq!(stdout(&output), "", "{name}");
            let told = stderr(&output);
            let is_clear = told.lines().count() == 1 && told.starts_with(&format!("aesa: model {file}: "));
            assert!(is_clear && told.contains(reason), "{name}: {told}");
        }
    }
}

#[test]
fn what_a_file_holds_decides_not_its_name() {
    let place = place();
    place.wav("a.wav", 30_000, 1);
    fs::copy(place.path("chunked.aesa"), place.path("model")).unwrap();
    let expected = score(&place, "chunked.aesa", &["--quiet", "a.wav"]);
    assert_code(&expected, 0);
    assert_eq!(score(&place, "model", &["--quiet", "a.wav"]).stdout, expected.stdout);
}

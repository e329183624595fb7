//! The program as its users call it, with a small model of random weights.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod native;
mod stream;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use aesa_export::{ModelConfig, random_tensors, tiny_info, write_onnx};
use serde_json::Value;
use tempfile::TempDir;

const RATE_HZ: u32 = 22_050;

/// A folder with a model and some clips.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("tiny.onnx"), model()).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A sweep over noise, different for each `seed`.
    fn wav(&self, name: &str, num_samples: usize, seed: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: RATE_HZ,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        let mut state = seed;
        for i in 0..num_samples {
            let t = i as f32 / RATE_HZ as f32;
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (state >> 16) as f32 / 65_536.0 - 0.5;
            let tone = (core::f32::consts::TAU * (110.0 * seed as f32 + 40.0 * t) * t).sin();
            writer.write_sample((8_000.0 * tone) as i16).unwrap();
            writer.write_sample((4_000.0 * noise) as i16).unwrap();
        }
        writer.finalize().unwrap();
        path
    }

    fn command(&self, command: &str) -> Command {
        // Built for another processor, the program runs in what `cross/run.sh` names here.
        let runner = std::env::var("AESA_TEST_RUNNER").unwrap_or_default();
        let mut words = runner.split_whitespace().chain([env!("CARGO_BIN_EXE_aesa")]);
        let mut aesa = Command::new(words.next().unwrap());
        aesa.args(words).arg(command).current_dir(self.dir.path());
        aesa
    }

    /// `aesa score --model tiny.onnx ARGUMENTS` in this folder.
    fn score(&self, arguments: &[&str]) -> Output {
        self.command("score").args(["--model", "tiny.onnx"]).args(arguments).output().unwrap()
    }
}

fn model() -> Vec<u8> {
    let config = ModelConfig::tiny();
    write_onnx(&config, &random_tensors(&config, 1).unwrap(), &tiny_info()).unwrap()
}

fn stdout(output: &Output) -> &str {
    core::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    core::str::from_utf8(&output.stderr).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "stdout:\n{}\nstderr:\n{}", stdout(output), stderr(output));
}

#[test]
fn lines_follow_the_inputs_and_failures_keep_their_place() {
    let place = Place::new();
    place.wav("a.wav", 60_000, 1);
    place.wav("short.wav", 2_000, 2);
    fs::write(place.path("empty.wav"), b"").unwrap();
    fs::write(place.path("text.mp3"), b"no music in here, only words\n".repeat(50)).unwrap();
    place.wav("b.wav", 30_000, 3);
    let output = place.score(&["a.wav", "missing.wav", "short.wav", "empty.wav", "text.mp3", "b.wav"]);
    assert_code(&output, 1);
    let lines = lines(&output);
    assert_eq!(lines.len(), 6);
    for (i, name, reason) in [
        (1, "missing.wav", "does not exist"),
        (2, "short.wav", "too short"),
        (3, "empty.wav", "empty"),
        (4, "text.mp3", "not a known audio format"),
    ] {
        assert_eq!(lines[i]["path"], name);
        assert!(lines[i]["error"].as_str().unwrap().contains(reason), "{}", lines[i]);
        let told = stderr(&output).lines().filter(|l| l.starts_with(&format!("aesa: {name}: "))).count();
        assert_eq!(told, 1, "{name} in\n{}", stderr(&output));
    }
    for i in [0, 5] {
        let keys: Vec<&String> = lines[i].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["CE", "CU", "PC", "PQ"]);
    }
    assert_ne!(lines[0], lines[5]);
    let alone = place.score(&["b.wav"]);
    assert_code(&alone, 0);
    assert_eq!(stdout(&alone), stdout(&output).lines().last().unwrap().to_owned() + "\n");
    assert!(stderr(&alone).contains("labels: proxy"));
}

#[test]
fn any_number_of_jobs_gives_the_same_bytes() {
    let place = Place::new();
    for i in 0..7 {
        // Around one window and its tail.
        place.wav(&format!("clips/{i}.wav"), 150_000 + 37_777 * i as usize, i + 1);
    }
    let expected = place.score(&["-j", "1", "--format", "json", "--frames", "clips"]);
    assert_code(&expected, 0);
    for jobs in ["2", "5", "32"] {
        let output = place.score(&["-j", jobs, "--format", "json", "--frames", "clips"]);
        assert_eq!(stdout(&output), stdout(&expected), "-j {jobs}");
    }
}

#[test]
fn frames_cover_the_clip_and_average_to_its_score() {
    let place = Place::new();
    place.wav("a.wav", 12 * RATE_HZ as usize, 1);
    let output = place.score(&["--frames", "--format", "json", "a.wav"]);
    let document: Value = serde_json::from_str(stdout(&output)).unwrap();
    let clip = &document["clips"][0];
    let frames = clip["frames"].as_array().unwrap();
    // 12 s are 1198 frames of 10 ms, which hold 74 whole steps.
    assert_eq!(frames.len(), 74);
    assert_eq!(clip["num_frames"], 74);
    assert_eq!(frames[73]["start_s"], 11.68);
    for axis in ["PQ", "PC", "CE", "CU"] {
        let mean = frames.iter().map(|f| f[axis].as_f64().unwrap()).sum::<f64>() / 74.0;
        // Single precision, summed 74 times.
        assert!((mean - clip["scores"][axis].as_f64().unwrap()).abs() < 1e-5);
    }
}

#[test]
fn manifests_give_segments() {
    let place = Place::new();
    place.wav("sub/a.wav", 3 * RATE_HZ as usize, 1);
    place.wav("here.wav", RATE_HZ as usize, 2);
    let manifest = "{\"path\": \"a.wav\"}\n\
                    {\"path\": \"a.wav\", \"start_time\": 1, \"end_time\": 2.5}\n\
                    {\"path\": \"here.wav\"}\n\
                    {\"path\": \"a.wav\", \"start_time\": 9}\n";
    fs::write(place.path("sub/list.jsonl"), manifest).unwrap();
    let output = place.score(&["--format", "json", "sub/list.jsonl"]);
    assert_code(&output, 1);
    let document: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(document["clips"][0]["duration_s"], 3.0);
    assert_eq!(document["clips"][1]["duration_s"], 1.5);
    assert_eq!(document["clips"][1]["start_time"], 1.0);
    assert_eq!(document["clips"][2]["duration_s"], 1.0);
    assert!(document["clips"][3]["error"].as_str().unwrap().contains("no audio samples"));
    assert_ne!(document["clips"][0]["scores"], document["clips"][1]["scores"]);

    fs::write(place.path("bad.jsonl"), "{\"path\": \"here.wav\"}\n{\"file\": \"here.wav\"}\n").unwrap();
    let output = place.score(&["bad.jsonl"]);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("bad.jsonl") && stderr(&output).contains("line 2"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn output_files_are_whole_or_absent() {
    let place = Place::new();
    place.wav("a.wav", 30_000, 1);
    let output = place.score(&["-o", "scores.csv", "a.wav"]);
    assert_code(&output, 0);
    assert!(output.stdout.is_empty());
    let csv = fs::read_to_string(place.path("scores.csv")).unwrap();
    assert!(
        csv.starts_with("path,start_time,end_time,duration_s,PQ,PC,CE,CU,model,policy,labels,error\n"),
        "{csv}"
    );
    assert!(csv.contains("tiny 3,windowed,proxy"), "{csv}");

    // Nothing changes where the model is refused, and nothing is left behind.
    fs::write(place.path("tiny.onnx"), b"no model").unwrap();
    assert_code(&place.score(&["-o", "scores.csv", "a.wav"]), 2);
    assert_eq!(fs::read_to_string(place.path("scores.csv")).unwrap(), csv);
    let mut names: Vec<_> = fs::read_dir(place.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a.wav", "scores.csv", "tiny.onnx"]);
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_scoring() {
    let place = Place::new();
    place.wav("a.wav", 30_000, 1);
    let output = place.score(&["-o", "nowhere/scores.csv", "a.wav"]);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("nowhere/scores.csv"), "{}", stderr(&output));
}

#[test]
fn plots_are_pictures_of_the_scores() {
    let place = Place::new();
    place.wav("a & b.wav", 70_000, 1);
    place.wav("c.wav", 70_000, 2);
    assert_code(&place.score(&["--plot", "one.svg", "a & b.wav"]), 0);
    let svg = fs::read_to_string(place.path("one.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    for text in [
        "a &amp; b.wav",
        "data:image/png;base64,",
        "time in seconds",
        "Production Quality",
        "tiny 3",
        "labels: proxy",
    ] {
        assert!(svg.contains(text), "{text} is missing");
    }
    assert_eq!(svg.matches("<polyline").count(), 8);
    assert_code(&place.score(&["--plot", "plots", "a & b.wav", "c.wav", "c.wav"]), 0);
    for name in ["a & b.svg", "c.svg", "c-2.svg"] {
        assert!(place.path("plots").join(name).exists(), "{name}");
    }
}

#[test]
fn the_table_is_for_people() {
    let place = Place::new();
    place.wav("a.wav", 70_000, 1);
    let output = place.score(&["--format", "table", "a.wav"]);
    assert_code(&output, 0);
    for text in ["PQ", "a.wav", "3.17", "model: tiny 3", "policy: windowed", "labels: proxy"] {
        assert!(stdout(&output).contains(text), "{text} is missing in\n{}", stdout(&output));
    }
}

#[test]
fn silence_scores_and_what_is_not_a_number_does_not() {
    let place = Place::new();
    let write = |name: &str, sample: f32| {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        let mut writer = hound::WavWriter::create(place.path(name), spec).unwrap();
        (0..20_000).for_each(|i| writer.write_sample(if i == 12_345 { sample } else { 0.0 }).unwrap());
        writer.finalize().unwrap();
    };
    write("silence.wav", 0.0);
    write("nan.wav", f32::NAN);
    write("infinite.wav", f32::INFINITY);
    let output = place.score(&["silence.wav", "nan.wav", "infinite.wav"]);
    assert_code(&output, 1);
    let lines = lines(&output);
    assert!(lines[0]["PQ"].is_f64());
    for line in &lines[1..] {
        assert!(line["error"].as_str().unwrap().contains("12345"), "{line}");
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let place = Place::new();
    for i in 0..3 {
        place.wav(&format!("clips/{i}.wav"), 30_000, i);
    }
    let mut command = place.command("score");
    command.args(["--model", "tiny.onnx", "--quiet", "--frames", "clips"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 0);
    assert_eq!(stderr(&output), "");
}

#[test]
fn inspect_shows_the_metadata() {
    let place = Place::new();
    let inspect = |arguments: &[&str]| place.command("inspect").args(arguments).output().unwrap();
    let output = inspect(&["tiny.onnx"]);
    assert_code(&output, 0);
    for text in
        ["fbank f32[1, num_frames, 128]", "frame_scores", "aesa.labels", "proxy", "parameters", "bytes"]
    {
        assert!(stdout(&output).contains(text), "{text} is missing in\n{}", stdout(&output));
    }
    let document: Value = serde_json::from_str(stdout(&inspect(&["--json", "tiny.onnx"]))).unwrap();
    assert_eq!(document["metadata"]["aesa.id"], "tiny");
    assert!(stdout(&output).contains("2 attention, "), "{}", stdout(&output));
    assert_eq!(document["fused"]["attention"], 2);
    assert!(document["left_to_tract"].as_u64().unwrap() < 20, "{document}");
    assert_eq!(document["num_bytes"].as_u64().unwrap(), fs::metadata(place.path("tiny.onnx")).unwrap().len());

    let sound = place.wav("a.wav", 1_000, 1);
    for (path, reason) in [(sound.as_path(), "not an ONNX model"), (Path::new("none.onnx"), "does not exist")]
    {
        let output = inspect(&[path.to_str().unwrap()]);
        assert_code(&output, 2);
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
    }
}

#[test]
fn wrong_use_is_code_2() {
    let place = Place::new();
    for arguments in [&[][..], &["--format", "xml", "a.wav"], &["-j", "0", "a.wav"]] {
        assert_code(&place.score(arguments), 2);
    }
    let help = place.command("score").arg("--help").output().unwrap();
    assert_code(&help, 0);
    assert!(stdout(&help).contains("Examples:") && stdout(&help).contains("Exit code"));
}

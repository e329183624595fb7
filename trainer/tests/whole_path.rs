//! The commands as a user runs them: train on a small corpus, measure, export; features; metrics of anyone's
//! predictions.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");

/// The smallest network with every part, trained whole.
const CONFIG: &str = "
id = 'tiny'
threads = 1
epochs = 12
batch_size = 8
crop_steps = 4
final_full_epochs = 1
freeze_encoder = false
learning_rate = 5e-3
encoder_learning_rate = 2e-3
[model.encoder]
embed_dim = 16
encoder_embed_dim = 24
encoder_layers = 2
encoder_ffn_embed_dim = 32
encoder_attention_heads = 2
conv_pos = 8
conv_pos_groups = 4
num_buckets = 16
max_distance = 32
[model.head]
adapter_dim = 16
lstm_dim = 8
shared_dim = 16
attention_heads = 4
dropout = 0.0
";

fn trainer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aesa-trainer")).args(arguments).output().unwrap()
}

fn succeed(arguments: &[&str]) -> String {
    let output = trainer(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fail(arguments: &[&str]) -> String {
    let output = trainer(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Writes a second of a tone under noise: the louder the noise (0 to 1), the lower PQ and the higher PC.
fn write_clip(path: &Path, seed: u32, noise: f32) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    let mut state = seed;
    for n in 0..16_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let hiss = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
        let tone = (n as f32 * (0.1 + 0.001 * (seed % 50) as f32)).sin();
        writer.write_sample((4_000.0 * (tone + 2.0 * noise * hiss)) as i16).unwrap();
    }
    writer.finalize().unwrap();
}

/// A corpus of clips and one ladder.
fn write_corpus(folder: &Path) {
    for (split, count) in [("train", 48), ("validation", 16), ("test", 16)] {
        let mut table = "sample_id,path,domain,system,PQ,PC,CE,CU\n".to_string();
        for n in 0..count {
            let noise = n as f32 / count as f32;
            let (path, system) = (format!("{split}{n}.wav"), n % 4);
            write_clip(&folder.join(&path), n * 7 + count, noise);
            let (pq, pc) = (9.0 - 7.0 * noise, 2.0 + 5.0 * noise);
            let id = format!("audiomos2025-track2-sys{system}-utt{n}");
            table += &format!(
                "{id},{path},{},{system},{pq},{pc},{pq},{pq}\n",
                ["speech", "music"][n as usize % 2]
            );
        }
        fs::write(folder.join(format!("{split}.csv")), table).unwrap();
    }
    let mut table = "ladder,clip,step,value,path\n".to_string();
    for step in 0..3 {
        let path = format!("ladder{step}.wav");
        write_clip(&folder.join(&path), 5, 0.05 + 0.4 * step as f32);
        table += &format!("noise,a,{step},{},{path}\n", 40 - 20 * step);
    }
    fs::write(folder.join("ladders.csv"), table).unwrap();
}

#[test]
fn train_measure_export() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (config, corpus, run) = (path("config.toml"), path("."), path("run"));
    let train = |out: &str, extra: &[&str]| {
        let arguments = ["train", "--config", &config, "--corpus", &corpus, "--out", out];
        succeed(&[&arguments[..], extra].concat())
    };
    train(&run, &[]);
    for name in ["config.toml", "run.json", "metrics.csv", "curves.svg", "best.safetensors"] {
        assert!(folder.path().join("run").join(name).exists(), "{name}");
    }
    // Noise and label move together: a network that learns nothing stays at 1.
    let info = read_json(&folder.path().join("run/run.json"));
    assert!(info["best_validation_mse"].as_f64().unwrap() < 0.5, "{info}");

    // The same seed gives the same weights, another seed does not.
    let weights = |run: &str| fs::read(folder.path().join(run).join("best.safetensors")).unwrap();
    train(&path("again"), &[]);
    train(&path("other"), &["--set", "seed=2"]);
    assert!(weights("run") == weights("again"));
    assert!(weights("run") != weights("other"));
    assert!(
        fail(&["train", "--config", &config, "--corpus", &corpus, "--out", &run])
            .contains("holds a run already")
    );

    succeed(&["eval", "--model", &run, "--corpus", &corpus, "--split", "test"]);
    let report = read_json(&folder.path().join("run/eval-test.json"));
    assert!(report["axes"]["PQ"]["utterance"]["srcc"].as_f64().unwrap() > 0.6, "{report}");
    assert!(report["domains"]["speech"]["PC"]["utterance"]["mse"].is_f64(), "{report}");
    let ladders = succeed(&["eval", "--model", &run, "--corpus", &corpus, "--split", "ladders"]);
    assert!(ladders.contains("PQ falls at every step in 100.0 % of 1 clips"), "{ladders}");

    let (model, clip) = (path("model.onnx"), path("test3.wav"));
    succeed(&["export", "--run", &run, "--out", &model, "--check", &clip]);
    let onnx_json = path("onnx.json");
    succeed(&["eval", "--model", &model, "--corpus", &corpus, "--split", "test", "--json", &onnx_json]);
    let onnx = read_json(Path::new(&onnx_json));
    let mse = |report: &Value| report["axes"]["PQ"]["utterance"]["mse"].as_f64().unwrap();
    assert!((mse(&report) - mse(&onnx)).abs() < 1e-4);

    // A frozen encoder starts from the run and stays as it was.
    let init = format!("init={run}");
    train(&path("tuned"), &["--set", &init, "--set", "freeze_encoder=true", "--set", "epochs=2"]);
    let encoder = |run: &str| {
        let bytes = weights(run);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.tensor("beats.encoder.layers.0.fc1.weight").unwrap().data().to_vec()
    };
    assert!(encoder("run") == encoder("tuned"));

    // Hidden states from the cache give the same head as hidden states from memory.
    let cache = path("cache");
    for (out, expected) in
        [("cached", "0 from the cache, 48 new"), ("cached-again", "48 from the cache, 0 new")]
    {
        let out = path(out);
        let arguments = ["train", "--config", &config, "--corpus", &corpus, "--out", &out, "--cache", &cache];
        let rest = ["--set", &init, "--set", "freeze_encoder=true", "--set", "epochs=2"];
        let output = trainer(&[&arguments[..], &rest].concat());
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && log.contains(expected), "{log}");
    }
    assert!(weights("cached") == weights("tuned") && weights("cached-again") == weights("tuned"));
}

/// Every column of a run's metrics.csv but the times.
fn metrics_of(run: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    let times: Vec<bool> = reader.headers().unwrap().iter().map(|name| name.ends_with("_seconds")).collect();
    let keep = |row: csv::StringRecord| {
        row.iter().zip(&times).filter(|(_, is_time)| !**is_time).map(|(v, _)| v.to_owned()).collect()
    };
    reader.records().map(|row| keep(row.unwrap())).collect()
}

#[test]
fn a_killed_run_goes_on_to_the_same_weights() {
    const EPOCHS: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG.replace("dropout = 0.0", "dropout = 0.2")).unwrap();
    let (config, corpus, whole, killed) = (path("config.toml"), path("."), path("whole"), path("killed"));
    let epochs = format!("epochs={EPOCHS}");
    let train =
        ["train", "--config", &config, "--corpus", &corpus, "--set", "rank_weight=0.5", "--set", &epochs];
    let with = |rest: &[&'static str], out| [&train[..], rest, &["--out", out]].concat();
    succeed(&with(&[], &whole));

    let mut child = Command::new(env!("CARGO_BIN_EXE_aesa-trainer"))
        .args(with(&["--resume"], &killed)) // nothing is there yet, so that it begins a run
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let killed_folder = folder.path().join("killed");
    let epochs_done =
        || if killed_folder.join("metrics.csv").exists() { metrics_of(&killed_folder).len() } else { 0 };
    while epochs_done() < 3 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(core::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!((3..EPOCHS).contains(&epochs_done()), "killed after {} epochs", epochs_done());
    assert!(fail(&with(&[], &killed)).contains("--resume"));
    assert!(fail(&with(&["--resume", "--set", "seed=2"], &killed)).contains("another config"));

    succeed(&with(&["--resume"], &killed));
    assert_eq!(metrics_of(&killed_folder), metrics_of(&folder.path().join("whole")));
    let weights = |run: &str| fs::read(folder.path().join(run).join("best.safetensors")).unwrap();
    assert!(weights("killed") == weights("whole"));
    assert!(!killed_folder.join("last.safetensors").exists());
    assert!(fail(&with(&["--resume"], &killed)).contains("is finished"));
}

#[test]
fn a_published_encoder_can_be_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG).unwrap();
    let checkpoint = format!("{GOLDEN}/beats/beats-tiny.pt");
    let (config, corpus, run) = (path("config.toml"), path("."), path("run"));
    let start = ["train", "--config", &config, "--corpus", &corpus, "--init-encoder", &checkpoint];
    let rest =
        ["--out", &run, "--set", "freeze_encoder=true", "--set", "epochs=1", "--set", "final_full_epochs=0"];
    succeed(&[&start[..], &rest].concat());
    succeed(&["export", "--run", &run, "--out", &path("model.onnx")]);
}

#[test]
fn features_of_a_fine_tuned_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_clip(&folder.path().join("a.wav"), 1, 0.5);
    let checkpoint = format!("{GOLDEN}/beats/beats-tiny-finetuned.pt");
    succeed(&["features", "--encoder", &checkpoint, &path("a.wav"), "-o", &path("a.safetensors")]);
    let bytes = fs::read(path("a.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    assert_eq!(names, ["class_probabilities", "hidden.0", "hidden.1", "hidden.2", "patch_embedding"]);
    // 16,000 samples are 98 frames, 6 steps, 48 tokens.
    assert_eq!(file.tensor("hidden.2").unwrap().shape(), [48, 96]);
    assert_eq!(file.tensor("class_probabilities").unwrap().shape(), [31]);
    let error =
        fail(&["features", "--encoder", &path("a.wav"), &path("a.wav"), "-o", &path("b.safetensors")]);
    assert!(error.contains("a.wav") && error.contains("not a PyTorch checkpoint"), "{error}");
}

#[test]
fn predictions_of_anyone_are_measured_as_scipy_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let ratings =
        fs::read_to_string(format!("{GOLDEN}/metrics/audiomos2025_track2_human_annotations.jsonl")).unwrap();
    let axes = ["Production_Quality", "Production_Complexity", "Content_Enjoyment", "Content_Usefulness"];
    let mut truth = format!("sample_id,data_path,{}\n", axes.join(","));
    let mut predictions = "CU,CE,PC,PQ,sample_id\n".to_string();
    for line in ratings.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let id = row["data_path"].as_str().unwrap();
        let half = |axis: &str, first: usize| {
            let raters = row[axis].as_array().unwrap()[first..first + 5].iter();
            (raters.map(|v| v.as_f64().unwrap()).sum::<f64>() / 5.0).to_string()
        };
        let column = |first| axes.iter().map(|axis| half(axis, first)).collect::<Vec<_>>();
        let mut reversed = column(0);
        reversed.reverse();
        truth += &format!("{id},/your_path/{id}.wav,{}\n", column(5).join(","));
        predictions += &format!("{},{id}\n", reversed.join(","));
    }
    fs::write(path("truth.csv"), truth).unwrap();
    fs::write(path("predictions.csv"), &predictions).unwrap();
    let (truth, file, out) = (path("truth.csv"), path("predictions.csv"), path("out.json"));
    succeed(&["eval", "--truth", &truth, "--predictions", &file, "--json", &out]);
    let actual = read_json(Path::new(&out));
    let expected = read_json(Path::new(&format!("{GOLDEN}/metrics/metrics-split-half.expected.json")));
    for axis in ["PQ", "PC", "CE", "CU"] {
        for level in ["utterance", "system"] {
            for metric in ["mse", "lcc", "srcc", "ktau"] {
                let of = |report: &Value| report["axes"][axis][level][metric].as_f64().unwrap();
                let (a, b) = (of(&actual), of(&expected));
                assert!((a - b).abs() < 1e-9, "{axis} {level} {metric}: {a} {b}");
            }
        }
    }
    let without_last = &predictions[..predictions.trim_end().rfind('\n').unwrap()];
    fs::write(&file, without_last).unwrap();
    assert!(
        fail(&["eval", "--truth", &truth, "--predictions", &file]).contains("no prediction for 1 of the")
    );
}

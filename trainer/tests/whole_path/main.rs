//! The commands as a user runs them: train on a small corpus, measure, export; features; metrics of anyone's
//! predictions.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

mod distill;
mod eval_tables;
#[cfg(unix)]
mod full_disk;
mod precision;
mod study;
mod tensorboard;

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
    let mut state = seed;
    let sample = |n| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let hiss = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
        let tone = (n as f32 * (0.1 + 0.001 * (seed % 50) as f32)).sin();
        (4_000.0 * (tone + 2.0 * noise * hiss)) as i16
    };
    write_wav(path, &(0..16_000).map(sample).collect::<Vec<_>>());
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

/// An evaluation's folder is enough to make each of its numbers again; so are its scores and the corpus.
fn measures_again(folder: &Path, corpus: &str) {
    let first = folder.join("run/eval-test");
    let predictions = first.join("predictions.csv").display().to_string();
    let again = folder.join("again-test").display().to_string();
    let with_labels = folder.join("again-corpus").display().to_string();
    succeed(&["eval", "--predictions", &predictions, "--out", &again]);
    let corpus = ["--corpus", corpus, "--split", "test"];
    succeed(&[&["eval", "--predictions", &predictions, "--out", &with_labels], &corpus[..]].concat());
    for other in [&again, &with_labels].map(Path::new) {
        for name in ["table1.md", "table1.csv", "table2.md", "table2.csv", "metrics.csv", "predictions.csv"] {
            let read = |folder: &Path| fs::read_to_string(folder.join(name)).unwrap();
            assert_eq!(read(&first), read(other), "{name}");
        }
        assert!(fs::read_to_string(other.join("scatter.svg")).unwrap().contains("<circle"));
        let json = |folder: &Path| {
            let mut report = read_json(&folder.join("metrics.json"));
            report["description"].take();
            // Another command, and other files.
            report["origin"].take();
            report
        };
        assert_eq!(json(&first), json(other));
        assert_eq!(json(other)["bootstrap"]["unit"], "systems");
    }
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
    // What was read, and by which command.
    let sources = info["origin"]["files"].as_array().unwrap();
    let digest = |source: &Value| {
        let bytes = fs::read(source["path"].as_str().unwrap()).unwrap();
        hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes))
    };
    assert_eq!(sources.len(), 2, "{info}");
    assert!(sources.iter().all(|source| source["sha256"] == digest(source)), "{info}");
    assert_eq!(info["origin"]["command"][1], "train", "{info}");
    // By which program, on what.
    let commit = info["origin"]["commit"].as_str().unwrap();
    let hash = commit.trim_end_matches(" with changes");
    assert!(commit == "unknown" || hash.len() == 40 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{info}");
    assert!(info["origin"]["libtorch"].as_str().unwrap().starts_with("2."), "{info}");
    assert_eq!(info["origin"]["threads"], 1, "{info}");

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
    let sources = report["origin"]["files"].as_array().unwrap();
    let named = sources.iter().map(|source| source["path"].as_str().unwrap().rsplit('/').next().unwrap());
    assert_eq!(named.collect::<Vec<_>>(), ["best.safetensors", "test.csv"]);
    assert!(sources.iter().all(|source| source["sha256"] == digest(source)), "{report}");
    assert!(report["domains"]["speech"]["PC"]["utterance"]["mse"].is_f64(), "{report}");
    let ladders = succeed(&["eval", "--model", &run, "--corpus", &corpus, "--split", "ladders"]);
    measures_again(folder.path(), &corpus);
    assert!(ladders.contains("PQ falls at every step in 100.0 % of 1 clips"), "{ladders}");
    let rungs = fs::read_to_string(folder.path().join("run/predictions-ladders.csv")).unwrap();
    let of_report = read_json(&folder.path().join("run/eval-ladders.json"))[0]["mean_pq"].clone();
    let pq = |line: &str| line.split(',').nth(4).unwrap().parse::<f64>().unwrap();
    let of_steps: Vec<f64> = rungs.lines().skip(1).map(pq).collect();
    let of_report: Vec<f64> = serde_json::from_value(of_report).unwrap();
    assert!(
        of_steps.len() == 3 && of_report.iter().zip(&of_steps).all(|(a, b)| (a - b).abs() < 1e-9),
        "{rungs}"
    );

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
    // Those of the validation's clips are kept, too.
    for (out, expected) in [
        ("cached", ["0 from the cache, 48 new", "0 from the cache, 16 new"]),
        ("cached-again", ["48 from the cache, 0 new", "16 from the cache, 0 new"]),
    ] {
        let out = path(out);
        let arguments = ["train", "--config", &config, "--corpus", &corpus, "--out", &out, "--cache", &cache];
        let rest = ["--set", &init, "--set", "freeze_encoder=true", "--set", "epochs=2"];
        let output = trainer(&[&arguments[..], &rest].concat());
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && expected.iter().all(|line| log.contains(line)), "{log}");
    }
    assert!(weights("cached") == weights("tuned") && weights("cached-again") == weights("tuned"));
}

#[test]
fn chunks_are_trained_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    let chunks = "\n[chunks]\nsteps = [1, 2]\nleft_steps = 2\nfull_context_share = 0.3\n";
    fs::write(path("config.toml"), format!("{CONFIG}{chunks}")).unwrap();
    let (config, corpus, run) = (path("config.toml"), path("."), path("run"));
    let arguments =
        |out: &str| ["train", "--config", &config, "--corpus", &corpus, "--out", out].map(str::to_string);
    let train = |out: &str, extra: &[&str]| {
        let arguments = arguments(out);
        succeed(&[&arguments.each_ref().map(String::as_str)[..], extra].concat())
    };
    let weights = |run: &str| fs::read(folder.path().join(run).join("best.safetensors")).unwrap();
    train(&run, &["--set", "epochs=4"]);
    train(&path("again"), &["--set", "epochs=4"]);
    train(&path("full"), &["--set", "epochs=4", "--set", "chunks.steps=[]"]);
    assert!(weights("run") == weights("again"));
    assert!(weights("run") != weights("full"));
    let init = format!("init={run}");
    let cached = ["--cache", &path("cache"), "--set", "freeze_encoder=true", "--set", &init];
    let refused = arguments(&path("cached"));
    let error = fail(&[&refused.each_ref().map(String::as_str)[..], &cached[..]].concat());
    assert!(error.contains("hidden states of whole windows, but tokens hear chunks"), "{error}");

    let eval = |extra: &[&str]| {
        succeed(&[&["eval", "--model", &run, "--corpus", &corpus, "--split", "test"][..], extra].concat())
    };
    eval(&[]);
    eval(&["--chunk-steps", "2"]);
    eval(&["--chunk-steps", "2", "--chunk-left-steps", "0"]);
    let report = |name: &str| read_json(&folder.path().join("run").join(name));
    for (name, policy) in [
        ("eval-test", "windowed, 62 steps"),
        ("eval-test-chunk2", "chunked, 2 steps, 2 to the left"),
        ("eval-test-chunk2-left0", "chunked, 2 steps, 0 to the left"),
    ] {
        assert_eq!(report(&format!("{name}.json"))["policy"], policy);
        let again = path(&format!("{name}-again"));
        let predictions = path(&format!("run/{name}/predictions.csv"));
        succeed(&["eval", "--predictions", &predictions, "--out", &again]);
        assert_eq!(read_json(&Path::new(&again).join("metrics.json"))["policy"], policy);
    }
    let mse = |name: &str| report(name)["axes"]["PQ"]["utterance"]["mse"].as_f64().unwrap();
    assert!(mse("eval-test.json") != mse("eval-test-chunk2.json"));
    assert!(mse("eval-test-chunk2.json") != mse("eval-test-chunk2-left0.json"));
    let ladders = ["eval", "--model", &run, "--corpus", &corpus, "--split", "ladders", "--chunk-steps", "1"];
    succeed(&ladders);
    assert_eq!(report("eval-ladders-chunk1.json")[0]["policy"], "chunked, 1 steps, 2 to the left");

    let model = path("model.onnx");
    succeed(&["export", "--run", &run, "--out", &model]);
    let devices = [(&model, "a model file is scored by the processor"), (&run, "cuda:4096 was asked for")];
    for (model, expected) in devices {
        let failed = trainer(&["eval", "--model", model, "--corpus", &corpus, "--device", "cuda:4096"]);
        let error = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(!failed.status.success() && error.contains(expected), "{error}");
    }
    let onnx = ["eval", "--model", &model, "--corpus", &corpus, "--chunk-steps", "2"];
    assert!(fail(&onnx).contains("a model file has its own policy"));

    // Exported for chunks, either file is checked against libtorch before it is there, and a step graph scores as the run.
    let in_chunks = ["--chunk-steps", "2", "--left-steps", "2"];
    let files = ["step.onnx", "half.onnx", "small.onnx", "chunked.aesa"].map(path);
    let clip = path("test3.wav");
    let options: [&[&str]; 4] = [&[], &["--f16"], &["--int8", "--check", &clip], &[]];
    for (file, rest) in files.iter().zip(options) {
        let words = succeed(&[&["export", "--run", &run, "--out", file][..], &in_chunks, rest].concat());
        assert!(words.contains("as stored, from f32: mean 0."), "{words}");
    }
    let [whole, half, small, _] = files.map(|file| fs::metadata(file).unwrap().len());
    assert!(whole > half && whole > small, "{whole}, {half} and {small} bytes");
    let half = path("half.aesa");
    let export = [&["export", "--run", &run, "--out", &half][..], &in_chunks, &["--f16"]].concat();
    assert!(fail(&export).contains("stores f32 or int8"));
    // int8 moves scores a little.
    for (file, close) in [("step.onnx", 1e-4), ("chunked.aesa", 0.1)] {
        let (file, json) = (path(file), path("step.json"));
        succeed(&["eval", "--model", &file, "--corpus", &corpus, "--split", "test", "--json", &json]);
        let stepped = read_json(Path::new(&json));
        assert_eq!(stepped["policy"], "chunked, 2 steps, 2 to the left");
        let stepped_mse = stepped["axes"]["PQ"]["utterance"]["mse"].as_f64().unwrap();
        assert!((stepped_mse - mse("eval-test-chunk2.json")).abs() < close, "{stepped}");
    }
    assert!(fail(&[&ladders[..8], &["0"]].concat()).contains("at least one step"));
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

/// Starts a run of so many epochs and kills it on the way.
fn kill_after_three_epochs(arguments: &[&str], run: &Path, epochs: usize) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aesa-trainer"))
        .args(arguments)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let epochs_done = || if run.join("metrics.csv").exists() { metrics_of(run).len() } else { 0 };
    while epochs_done() < 3 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(core::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!((3..epochs).contains(&epochs_done()), "killed after {} epochs", epochs_done());
}

#[test]
fn a_killed_run_goes_on_to_the_same_weights() {
    const EPOCHS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG.replace("dropout = 0.0", "dropout = 0.2")).unwrap();
    let (config, corpus, whole, killed) = (path("config.toml"), path("."), path("whole"), path("killed"));
    let epochs = format!("epochs={EPOCHS}");
    let keys = ["rank_weight=0.5", "chunks.steps=[1,2]", "average_decay=0.9", &epochs]
        .map(|key| ["--set", key])
        .concat();
    let train = [&["train", "--config", &config, "--corpus", &corpus], &keys[..]].concat();
    let with = |rest: &[&'static str], out| [&train[..], rest, &["--out", out]].concat();
    succeed(&with(&[], &whole));

    let killed_folder = folder.path().join("killed");
    // Nothing is there yet, so that --resume begins a run.
    kill_after_three_epochs(&with(&["--resume"], &killed), &killed_folder, EPOCHS);
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
fn a_run_goes_on_hearing_what_it_heard() {
    const EPOCHS: usize = 30;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (config, corpus, start, cache) = (path("config.toml"), path("."), path("start"), path("cache"));
    let train = ["train", "--config", &config, "--corpus", &corpus];
    succeed(&[&train[..], &["--out", &start], &ONE_EPOCH].concat());
    let (epochs, init) = (format!("epochs={EPOCHS}"), format!("init={start}"));
    let keys =
        [&epochs, &init, "freeze_encoder=true", "cache_hidden_mib=0"].map(|key| ["--set", key]).concat();
    let frozen = [&train[..], &keys].concat();
    let with_cache = ["--cache", &cache];
    for (out, before, after, hint) in [
        (
            "features",
            &[][..],
            &with_cache[..],
            "learned from features and would now go on with kept hidden states",
        ),
        ("hidden", &with_cache[..], &[][..], "go on with --cache, as it was begun"),
    ] {
        let run = path(out);
        let resume = [&frozen[..], &["--resume", "--out", &run]].concat();
        let run = folder.path().join(out);
        kill_after_three_epochs(&[&resume[..], before].concat(), &run, EPOCHS);
        let error = fail(&[&resume[..], after].concat());
        assert!(error.contains(hint), "{error}");
        let notes = String::from_utf8(trainer(&[&resume[..], before].concat()).stderr).unwrap();
        assert_eq!(
            notes.contains("the encoder runs every epoch; --cache DIR keeps them"),
            out == "features",
            "{notes}"
        );
        let heard = if out == "hidden" { "hidden-states" } else { "features" };
        assert_eq!(read_json(&run.join("run.json"))["heard"], serde_json::json!([heard, heard]));
    }
}

/// Labels that move with the noise of [`write_clip`].
fn labels(noise: f32) -> String {
    let (pq, pc) = (9.0 - 7.0 * noise, 2.0 + 5.0 * noise);
    format!("{pq},{pc},{pq},{pq}")
}

const ONE_EPOCH: [&str; 4] = ["--set", "epochs=1", "--set", "final_full_epochs=0"];

/// A table like the challenge's, of `count` clips of LibriTTS and one of EARS; their audio, but for EARS, in `libri`.
fn write_challenge_list(table: &Path, libri: &Path, split: &str, count: u32) {
    fs::create_dir_all(libri.join(split)).unwrap();
    let mut text = "sample_id,data_path,Production_Quality,Production_Complexity,Content_Enjoyment,\
                    Content_Usefulness\n"
        .to_string();
    for n in 0..count {
        let noise = n as f32 / count as f32;
        write_clip(&libri.join(format!("{split}/{n}.wav")), n * 7 + count, noise);
        text += &format!(
            "audiomos2025-track2-{split}-{n},/your_path/LibriTTS/{split}/{n}.wav,{}\n",
            labels(noise)
        );
    }
    text += &format!("audiomos2025-track2-{split}-ears,/your_path/EARS/{split}.wav,{}\n", labels(0.5));
    fs::write(table, text).unwrap();
}

#[test]
fn train_on_the_challenges_lists() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (libri, ears) = (folder.path().join("libri"), folder.path().join("ears"));
    write_challenge_list(&folder.path().join("train_list.csv"), &libri, "train", 8);
    write_challenge_list(&folder.path().join("dev_list.csv"), &libri, "dev", 4);
    fs::create_dir(&ears).unwrap();
    write_clip(&ears.join("train.wav"), 1, 0.5);
    write_clip(&ears.join("dev.wav"), 2, 0.5);
    fs::remove_file(libri.join("train/3.wav")).unwrap();
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (config, train, dev) = (path("config.toml"), path("train_list.csv"), path("dev_list.csv"));
    let start = ["train", "--config", &config, "--train", &train, "--dev", &dev];
    let (libri_root, ears_root) =
        (format!("librITTS={}", libri.display()), format!("EARS={}", ears.display()));
    let list = || {
        let text = fs::read_to_string(folder.path().join("run/missing.txt")).unwrap();
        text.lines().map(str::to_string).collect::<Vec<_>>()
    };

    // Without a root for EARS three clips are missing, and nothing is left but their list.
    let run = path("run");
    let rest = [&["--root", &libri_root, "--out", &run][..], &ONE_EPOCH].concat();
    let error = fail(&[&start[..], &rest].concat());
    assert!(error.contains("3 of 14 clips are missing or cannot be read"), "{error}");
    assert!(error.contains("there is no --root NAME=DIR for EARS; --allow-missing"), "{error}");
    assert_eq!(
        list()[1],
        "/your_path/EARS/train.wav\tno --root for its corpus\taudiomos2025-track2-train-ears"
    );
    assert_eq!(fs::read_dir(&run).unwrap().count(), 1);

    let rest = [&["--root", &libri_root, "--root", &ears_root, "--out", &run][..], &ONE_EPOCH].concat();
    let all = [&start[..], &rest].concat();
    let error = fail(&all);
    let columns = |text: &str, corpus: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(corpus)).unwrap();
        line.split_whitespace().map(str::to_string).collect()
    };
    assert_eq!(columns(&error, "LibriTTS"), ["LibriTTS", "7", "1", "4", "0"], "{error}");
    assert_eq!(columns(&error, "all"), ["all", "8", "1", "5", "0"], "{error}");
    assert!(error.contains("1 of 14 clips are missing or cannot be read"), "{error}");
    let missing = libri.join("train/3.wav").display().to_string();
    assert_eq!(list(), [format!("{missing}\tno such file\taudiomos2025-track2-train-3")]);

    // What cannot be decoded, or is too short, is missing, too.
    for (bytes, reason) in [
        (vec![7; 4000], "not a known audio format"),
        (fs::read(libri.join("dev/0.wav")).unwrap(), "too short"),
    ] {
        let is_short = reason == "too short";
        fs::write(&missing, bytes).unwrap();
        if is_short {
            let mut samples = hound::WavReader::open(&missing).unwrap();
            let samples: Vec<i16> = samples.samples().take(2799).map(Result::unwrap).collect();
            write_wav(Path::new(&missing), &samples);
        }
        assert!(fail(&all).contains("1 of 14 clips are missing or cannot be read"), "{reason}");
        assert!(list()[0].starts_with(&format!("{missing}\t{reason}")), "{:?}", list());
        assert_eq!(fs::read_dir(&run).unwrap().count(), 1);
    }

    let idle_root = format!("Libri={}", libri.display());
    let output = trainer(&[&all[..], &["--allow-missing", "--root", &idle_root]].concat());
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{notes}");
    let warning = format!("warning: --root {idle_root} fits no path of the tables");
    assert!(notes.contains(&warning) && notes.matches("fits no path").count() == 1, "{notes}");
    assert!(
        notes.contains("going on without 1 clips") && notes.contains("8 training and 5 validation"),
        "{notes}"
    );
    assert_eq!(list().len(), 1);
    assert!(folder.path().join("run/best.safetensors").exists());

    // With the clip there is no list, and the run's hash tells the two apart.
    write_clip(Path::new(&missing), 3, 0.4);
    let whole = path("whole");
    let rest = [&["--root", &libri_root, "--root", &ears_root, "--out", &whole][..], &ONE_EPOCH].concat();
    succeed(&[&start[..], &rest].concat());
    assert!(!folder.path().join("whole/missing.txt").exists());
    let hash = |run: &str| read_json(&folder.path().join(run).join("run.json"))["run_hash"].clone();
    assert_ne!(hash("run"), hash("whole"));

    // Clips of the other list are not trained on.
    let both = ["train", "--config", &config, "--train", &train, &dev, "--dev", &dev];
    let shared = path("shared");
    let rest = [&["--root", &libri_root, "--root", &ears_root, "--out", &shared][..], &ONE_EPOCH].concat();
    let output = trainer(&[&both[..], &rest].concat());
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("5 of the 14 clips of --train are in --dev, too"), "{notes}");
    assert!(folder.path().join("whole/best.safetensors").exists());
    let weights = |run: &str| fs::read(folder.path().join(run).join("best.safetensors")).unwrap();
    assert!(weights("whole") == weights("shared"));

    // A list of which nothing is there is an error in any case.
    fs::remove_dir_all(libri.join("dev")).unwrap();
    fs::remove_file(ears.join("dev.wav")).unwrap();
    let none = path("none");
    let rest = ["--root", &libri_root, "--root", &ears_root, "--out", &none, "--allow-missing"];
    let error = fail(&[&start[..], &rest].concat());
    assert!(error.contains("none of the 5 dev clips can be read"), "{error}");
}

#[test]
fn a_killed_run_on_tables_goes_on_only_with_the_same_clips() {
    const EPOCHS: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let libri = folder.path().join("libri");
    write_challenge_list(&folder.path().join("train_list.csv"), &libri, "train", 8);
    write_challenge_list(&folder.path().join("dev_list.csv"), &libri, "dev", 4);
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (config, train, dev) = (path("config.toml"), path("train_list.csv"), path("dev_list.csv"));
    let (root, epochs) = (format!("LibriTTS={}", libri.display()), format!("epochs={EPOCHS}"));
    let (whole, killed) = (path("whole"), path("killed"));
    let tables =
        ["train", "--config", &config, "--train", &train, "--dev", &dev, "--root", &root, "--set", &epochs];
    succeed(&[&tables[..], &["--allow-missing", "--out", &whole]].concat());

    let killed_folder = folder.path().join("killed");
    let strict = [&tables[..], &["--resume", "--out", &killed]].concat();
    let resume = [&strict[..], &["--allow-missing"]].concat();
    kill_after_three_epochs(&resume, &killed_folder, EPOCHS);
    assert!(fail(&strict).contains("2 of 14 clips are missing"));
    // Other ratings, or a clip more: another run.
    let ratings = fs::read_to_string(&dev).unwrap();
    fs::write(&dev, ratings.replace(&labels(0.5), &labels(0.25))).unwrap();
    assert!(fail(&resume).contains("was begun with other clips"));
    fs::write(&dev, ratings).unwrap();
    let ears = folder.path().join("ears");
    fs::create_dir(&ears).unwrap();
    write_clip(&ears.join("train.wav"), 1, 0.5);
    let ears_root = format!("EARS={}", ears.display());
    assert!(fail(&[&resume[..], &["--root", &ears_root]].concat()).contains("was begun with other clips"));

    succeed(&resume);
    assert_eq!(metrics_of(&killed_folder), metrics_of(&folder.path().join("whole")));
    let file = |run: &str, name: &str| fs::read(folder.path().join(run).join(name)).unwrap();
    for name in ["best.safetensors", "missing.txt"] {
        assert!(file("killed", name) == file("whole", name), "{name}");
    }
}

fn write_wav(path: &Path, samples: &[i16]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
}

/// Writes columns `path` and `domain`, then the numbers, as Parquet.
fn write_parquet(path: &Path, texts: &[(String, String)], numbers: &[(&str, Vec<f64>)]) {
    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
    let number = |(name, _): &(&str, Vec<f64>)| format!("required double {name};");
    let schema = format!(
        "message clips {{ required binary path (UTF8); required binary domain (UTF8); {} }}",
        numbers.iter().map(number).collect::<String>()
    );
    let schema = parquet::schema::parser::parse_message_type(&schema).unwrap();
    let file = fs::File::create(path).unwrap();
    let mut writer =
        parquet::file::writer::SerializedFileWriter::new(file, schema.into(), Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let (paths, domains): (Vec<_>, Vec<_>) = texts
        .iter()
        .map(|(path, domain)| (ByteArray::from(path.as_str()), ByteArray::from(domain.as_str())))
        .unzip();
    for texts in [paths, domains] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
    }
    for (_, values) in numbers {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<DoubleType>().write_batch(values, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn train_on_parts_of_a_recording_from_csv_and_parquet() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (mut recording, mut texts) = (Vec::new(), Vec::new());
    let mut cut = "path,domain,PQ,PC,CE,CU\n".to_string();
    let mut parts = "path,domain,PQ,PC,CE,CU,start,end\n".to_string();
    let mut numbers: Vec<(&str, Vec<f64>)> =
        ["PQ", "PC", "CE", "CU", "start", "end"].into_iter().map(|name| (name, Vec::new())).collect();
    for n in 0..8 {
        let noise = n as f32 / 8.0;
        let file = folder.path().join(format!("{n}.wav"));
        write_clip(&file, n * 7, noise);
        recording.extend(hound::WavReader::open(&file).unwrap().samples::<i16>().map(Result::unwrap));
        let row = labels(noise);
        cut += &format!("{n}.wav,speech,{row}\n");
        parts += &format!("long.wav,speech,{row},{n},{}\n", n + 1);
        texts.push(("long.wav".to_string(), "speech".to_string()));
        let row = row.split(',').map(|v| v.parse().unwrap()).chain([f64::from(n), f64::from(n + 1)]);
        numbers.iter_mut().zip(row).for_each(|((_, column), value)| column.push(value));
    }
    write_wav(&folder.path().join("long.wav"), &recording);
    write_clip(&folder.path().join("dev.wav"), 99, 0.5);
    fs::write(path("dev.csv"), format!("path,PQ,PC,CE,CU\ndev.wav,{}\n", labels(0.5))).unwrap();
    fs::write(path("cut.csv"), &cut).unwrap();
    fs::write(path("parts.csv"), &parts).unwrap();
    fs::write(path("moved.csv"), parts.replace(",6,7\n", ",6.5,7\n")).unwrap();
    write_parquet(&folder.path().join("parts.parquet"), &texts, &numbers);

    let weights = |table: &str| {
        let (config, table, dev) = (path("config.toml"), path(table), path("dev.csv"));
        let run = format!("{table}.run");
        let start = ["train", "--config", &config, "--train", &table, "--dev", &dev, "--out", &run];
        // Whole clips, one at a time: one of them is shorter in one table.
        let rest = ["--set", "batch_size=1", "--set", "crop_steps=0"];
        succeed(&[&start[..], &ONE_EPOCH, &rest].concat());
        fs::read(Path::new(&run).join("best.safetensors")).unwrap()
    };
    let expected = weights("cut.csv");
    assert!(weights("parts.csv") == expected);
    assert!(weights("parts.parquet") == expected);
    assert!(weights("moved.csv") != expected);
}

#[test]
fn bad_tables_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("config.toml"), CONFIG).unwrap();
    write_clip(&folder.path().join("a.wav"), 1, 0.5);
    fs::write(path("good.csv"), "path,PQ,PC,CE,CU\na.wav,1,2,3,4\n").unwrap();
    let (config, good, table, out) = (path("config.toml"), path("good.csv"), path("table.csv"), path("run"));
    let train = |extra: &[&str]| {
        let start = ["train", "--config", &config, "--train", &table, "--dev", &good, "--out", &out];
        let error = fail(&[&start[..], extra].concat());
        assert!(!Path::new(&out).exists(), "{error}");
        error
    };
    let labels = "data_path,Production_Quality,Production_Complexity,Content_Enjoyment,Content_Usefulness";
    for (text, expected) in [
        (
            "path,PQ,PC,CE\na.wav,1,2,3\n",
            "no column CU; a table has path, PQ, PC, CE, CU and may have sample_id",
        ),
        ("path,PQ,PC,CE,CU,Strat\na.wav,1,2,3,4,0\n", "unknown or repeated column \"Strat\""),
        ("path,PQ,PC,CE,CU\nb.wav,1,2,3,10.5\n", "table.csv:2: CU is 10.5, expected 0 to 10"),
        ("path,PQ,PC,CE,CU\nb.wav,1,NaN,3,4\n", "table.csv:2: PC is NaN, expected 0 to 10"),
        ("path,PQ,PC,CE,CU\nb.wav,1,2,3,4\nb.wav,2,2,3,4\n", "table.csv:3: sample id \"b.wav\" occurs twice"),
        (
            "path,PQ,PC,CE,CU,start,end\nb.wav,1,2,3,4,2,1\n",
            "table.csv:2: start 2 s and end 1 s make no clip",
        ),
        ("path,PQ,PC,CE,CU\na.wav,1,2,3,4\n", "all clips of --train are in --dev, too"),
        (
            &format!("{labels}\n/your_path/EARS/a.wav,1,2,3,11\n"),
            "Content_Usefulness is 11, expected 0 to 10",
        ),
        (
            &format!("{}\n/your_path/EARS/a.wav,1,2,3\n", &labels[..labels.len() - 19]),
            "no column \"Content_Usefulness\"",
        ),
    ] {
        fs::write(&table, text).unwrap();
        let error = train(&[]);
        assert!(error.contains(expected), "{text}: {error}");
    }
    fs::write(&table, "path,PQ,PC,CE,CU\nb.wav,1,2,3,4\n").unwrap();
    assert!(
        train(&["--root", "EARS=/no/such/folder"])
            .contains("--root EARS=/no/such/folder: there is no such folder")
    );
    if !tch::Cuda::is_available() {
        fs::write(&table, "path,PQ,PC,CE,CU\ndev.wav,1,2,3,4\n").unwrap();
        for device in [["--set", "device=cuda"], ["--device", "cuda"]] {
            let error = train(&device);
            assert!(error.contains("cuda:0 was asked for, but this libtorch sees no CUDA device"), "{error}");
        }
    }
    assert!(train(&["--device", "gpu"]).contains("expected cpu, cuda or cuda:N"));
    assert!(train(&["--root", "EARS"]).contains("is not NAME=DIR, such as LibriTTS=/data/LibriTTS"));
    assert!(train(&["--corpus", "x"]).contains("cannot be used with"));
    assert!(train(&["--train", &good, &good]).contains("another table has \"a.wav\", too"));
}

#[test]
fn an_encoder_that_nothing_was_read_into_is_not_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("config.toml"), CONFIG.replace("freeze_encoder = false\n", "")).unwrap();
    // Audio that is not there: what is refused first is the encoder.
    for split in ["train", "validation"] {
        let table = format!("sample_id,path,domain,system,PQ,PC,CE,CU\n{split},{split}.wav,music,,1,2,3,4\n");
        fs::write(path(&format!("{split}.csv")), table).unwrap();
    }
    let (config, corpus, run) = (path("config.toml"), path("."), path("run"));
    let train = ["train", "--config", &config, "--corpus", &corpus, "--out", &run];
    let error = fail(&train);
    for words in
        ["freeze_encoder = true", "random", "--init-encoder", "--set init=RUN", "freeze_encoder=false"]
    {
        assert!(error.contains(words), "{error}");
    }
    assert!(!Path::new(&run).exists());
    let learning = [&train[..], &["--set", "freeze_encoder=false"]].concat();
    assert!(fail(&learning).contains("clips can be read"));
}

#[test]
fn scores_that_are_all_alike_are_told_of_two_clips_and_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG).unwrap();
    let header = "path,PQ,PC,CE,CU\n";
    fs::write(path("two.csv"), format!("{header}train0.wav,1,2,3,4\ntrain9.wav,5,4,3,2\n")).unwrap();
    // The same audio twice: whatever the network, its scores are alike.
    fs::copy(path("test0.wav"), path("twin.wav")).unwrap();
    let (one, twins) = (format!("{header}test0.wav,4,4,4,4\n"), "twin.wav,5,5,5,5\n");
    for (table, is_told) in [(one.clone(), false), (one + twins, true)] {
        fs::write(path("dev.csv"), table).unwrap();
        let (config, train, dev, run) =
            (path("config.toml"), path("two.csv"), path("dev.csv"), path(&format!("run-{is_told}")));
        let start = ["train", "--config", &config, "--train", &train, "--dev", &dev, "--out", &run];
        let output = trainer(&[&start[..], &ONE_EPOCH].concat());
        let notes = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{notes}");
        assert_eq!(notes.contains("scores all validation clips alike"), is_told, "{notes}");
    }
}

#[test]
fn what_weights_cannot_come_from_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG).unwrap();
    fs::write(path("no.safetensors"), "no weights").unwrap();
    // A run whose first epoch is not finished.
    fs::create_dir(path("begun")).unwrap();
    fs::write(path("begun/config.toml"), CONFIG).unwrap();
    let (config, corpus, run, begun) = (path("config.toml"), path("."), path("run"), path("begun"));
    let no_weights = format!("the run in {begun} has no weights yet: its first epoch is not finished");
    let train = ["train", "--config", &config, "--corpus", &corpus, "--out", &run];
    for (option, value, expected) in [
        ("--init-encoder", path("nope.pt"), format!("cannot start from {}: cannot read", path("nope.pt"))),
        (
            "--set",
            "init=nope".to_string(),
            "init is nope, and there is no such run folder or file".to_string(),
        ),
        (
            "--set",
            format!("init={}", path("no.safetensors")),
            format!("error: {} is no safetensors file of weights", path("no.safetensors")),
        ),
        ("--set", format!("init={begun}"), no_weights.clone()),
    ] {
        let error = fail(&[&train[..], &[option, &value]].concat());
        assert!(error.contains(&expected), "{value}: {error}");
        // No debug output.
        assert!(!error.contains('{') && !error.contains("Os "), "{value}: {error}");
    }
    assert!(!Path::new(&run).exists());
    assert!(fail(&["eval", "--model", &begun, "--corpus", &corpus]).contains(&no_weights));
    let (onnx, aesa) = (path("a.onnx"), path("a.aesa"));
    assert!(fail(&["export", "--run", &begun, "--out", &onnx]).contains(&no_weights));
    assert!(fail(&["export", "--run", &begun, "--out", &aesa]).contains(&no_weights));
}

#[test]
fn impossible_settings_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (config, run) = (path("config.toml"), path("run"));
    for (setting, expected) in [
        ("model.head.lstm_layers=0", "model.head.lstm_layers is 0, expected 1 or more"),
        ("model.encoder.conv_pos=0", "model.encoder.conv_pos is 0, expected 1 or more"),
        ("epochs=0", "epochs is 0, expected 1 or more"),
    ] {
        let output =
            trainer(&["train", "--config", &config, "--corpus", ".", "--out", &run, "--set", setting]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && error.contains(expected), "{setting}: {error}");
    }
    assert!(!Path::new(&run).exists());
}

#[test]
fn a_corpus_names_each_clip_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("config.toml"), CONFIG).unwrap();
    let row = |id: &str, file: &str| format!("{id},{file},music,,1,2,3,4\n");
    let write = |split: &str, rows: &str| {
        fs::write(path(split), format!("sample_id,path,domain,system,PQ,PC,CE,CU\n{rows}")).unwrap();
    };
    let (config, corpus, run) = (path("config.toml"), path("."), path("run"));
    let train = || fail(&["train", "--config", &config, "--corpus", &corpus, "--out", &run]);
    let two = row("a", "a.wav") + &row("b", "b.wav");
    write("train.csv", &two);
    // Under whatever name a clip goes.
    write("validation.csv", &(row("c", "c.wav") + &row("d", "./b.wav")));
    let error = train();
    assert!(error.contains("1 of the 2 clips of") && error.contains("are in train.csv, too"), "{error}");
    write("validation.csv", &(row("c", "c.wav") + &row("c", "d.wav")));
    let error = train();
    assert!(error.contains("validation.csv:3: sample id \"c\" occurs twice"), "{error}");
    write("validation.csv", &row("a", "c.wav"));
    assert!(train().contains("clips can be read"));
    assert!(!Path::new(&run).join("config.toml").exists());
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
    let tables = succeed(&["eval", "--truth", &truth, "--predictions", &file, "--json", &out]);
    assert!(tables.contains("95 % of 1000 resamples of the systems"), "{tables}");
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
    let compare = ["eval", "--truth", &truth, "--predictions", &file];
    let detailed = succeed(&[&compare[..], &["--detailed", "--bootstrap", "0"]].concat());
    assert_eq!(detailed.lines().count(), 1 + 8, "{detailed}");
    let with_one_more = predictions.clone() + "1,2,3,4,somewhere/else.wav\n";
    fs::write(&file, with_one_more).unwrap();
    assert!(fail(&compare).contains("1 clips that") && fail(&compare).contains("somewhere/else.wav"));
    let without_last = &predictions[..predictions.trim_end().rfind('\n').unwrap()];
    fs::write(&file, without_last).unwrap();
    assert!(fail(&compare).contains("no prediction for 1 of the"));
}

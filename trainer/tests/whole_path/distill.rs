//! A student learns from a teacher.

use super::*;

/// A smaller network than the one of [`CONFIG`].
fn student_config() -> String {
    CONFIG
        .replace("id = 'tiny'", "id = 'student'")
        .replace("encoder_embed_dim = 24", "encoder_embed_dim = 16")
        .replace("encoder_layers = 2", "encoder_layers = 1")
        .replace("lstm_dim = 8", "lstm_dim = 4")
}

/// A teacher trained on the corpus in `folder`, a folder of other clips without labels, and the student's config.
fn prepare(folder: &Path, training: &[&str]) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    write_corpus(folder);
    fs::write(path("config.toml"), CONFIG).unwrap();
    fs::write(path("student.toml"), student_config()).unwrap();
    let teacher = path("teacher");
    let train = ["train", "--config", &path("config.toml"), "--corpus", &path("."), "--out", &teacher];
    succeed(&[&train[..], training].concat());
    fs::create_dir_all(folder.join("audio/more")).unwrap();
    for n in 0..24 {
        let name = if n % 2 == 0 { format!("{n}.wav") } else { format!("more/{n}.wav") };
        write_clip(&folder.join("audio").join(name), 1000 + n, n as f32 / 24.0);
    }
    fs::write(folder.join("audio/notes.txt"), "no audio").unwrap();
    teacher
}

fn validation_mse(run: &Path) -> Vec<f64> {
    let mut reader = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    let column = reader.headers().unwrap().iter().position(|name| name == "validation_mse").unwrap();
    reader.records().map(|row| row.unwrap()[column].parse().unwrap()).collect()
}

#[test]
fn a_student_comes_close_to_its_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (teacher, config, audio) = (prepare(folder.path(), &[]), path("student.toml"), path("audio"));
    let run = path("student");
    let start = ["distill", "--teacher", &teacher, "--config", &config, "--audio", &audio, "--out"];
    let longer = ["--set", "epochs=25", "--set", "distill.validation_share=0.2"];
    succeed(&[&start[..], &[&run], &longer].concat());
    let mse = validation_mse(Path::new(&run));
    let best = mse.iter().copied().fold(f64::INFINITY, f64::min);
    // In standard deviations squared of the teacher's scores: a student that learns nothing stays at 1.
    assert!(mse[0] > 2.0 * best && best < 0.4, "{mse:?}");

    // A run folder like any other, smaller than the teacher's, without what only learning needed.
    let weights = fs::read(folder.path().join("student/best.safetensors")).unwrap();
    let names: Vec<String> = safetensors::SafeTensors::deserialize(&weights)
        .unwrap()
        .names()
        .into_iter()
        .map(str::to_string)
        .collect();
    assert!(names.iter().all(|name| name.starts_with("beats.") || name.starts_with("head.")), "{names:?}");
    let parameters =
        |run: &str| read_json(&Path::new(run).join("run.json"))["num_parameters"][1].as_u64().unwrap();
    assert!(parameters(&run) * 10 < parameters(&teacher) * 9);
    let of = |split: &str, model: &str| {
        let json = path("report.json");
        let corpus = path(".");
        succeed(&["eval", "--model", model, "--corpus", &corpus, "--split", split, "--json", &json]);
        read_json(Path::new(&json))["axes"]["PQ"]["utterance"]["srcc"].as_f64().unwrap()
    };
    // It never saw a label, and knows the order of the teacher's test clips.
    assert!(of("test", &run) > 0.6);
    let model = path("student.onnx");
    succeed(&["export", "--run", &run, "--out", &model]);
    assert!((of("test", &model) - of("test", &run)).abs() < 1e-6);

    // Hidden states teach, too: with scores of no weight but the clip's, another student comes out, and the table tells.
    let header = fs::read_to_string(folder.path().join("student/metrics.csv")).unwrap();
    let hidden = header.lines().next().unwrap().split(',').position(|c| c == "train_hidden").unwrap();
    let losses: Vec<f64> =
        header.lines().skip(1).map(|row| row.split(',').nth(hidden).unwrap().parse().unwrap()).collect();
    assert!(losses[24] < 0.7 * losses[0], "{losses:?}");
}

#[test]
fn an_exported_model_teaches_as_its_run_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (teacher, config, audio) = (prepare(folder.path(), &ONE_EPOCH), path("student.toml"), path("audio"));
    fs::create_dir(path("shipped")).unwrap();
    let (model, sizes) = (path("shipped/model.onnx"), path("shipped/config.toml"));
    succeed(&["export", "--run", &teacher, "--out", &model]);
    let distill = |teacher: &str, out: &str| {
        let start = ["distill", "--teacher", teacher, "--config", &config, "--audio", &audio, "--out", out];
        trainer(&[&start[..], &ONE_EPOCH].concat())
    };
    let refusal = |teacher: &str| String::from_utf8(distill(teacher, &path("out")).stderr).unwrap();
    assert!(refusal(&model).contains("config.toml, which has to lie beside it"));
    // The labels are the teacher's, not the student's default.
    let text = fs::read_to_string(Path::new(&teacher).join("config.toml")).unwrap();
    fs::write(&sizes, text.replace("labels = \"proxy\"", "labels = \"human\"")).unwrap();
    for (from, out) in [(&teacher, "by-run"), (&model, "by-file")] {
        let output = distill(from, &path(out));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let run = folder.path().join("by-file");
    assert!(fs::read_to_string(run.join("config.toml")).unwrap().contains("labels = \"human\""));
    assert_eq!(read_json(&run.join("run.json"))["origin"]["files"][0]["path"], model.as_str());
    let mse = ["by-run", "by-file"].map(|run| validation_mse(&folder.path().join(run))[0]);
    assert!((mse[0] - mse[1]).abs() < 1e-3, "{mse:?}");

    // Half of the digits are not enough to learn from, nor are another file's sizes.
    let small = path("shipped/small.onnx");
    succeed(&["export", "--run", &teacher, "--out", &small, "--f16"]);
    assert!(refusal(&small).contains("as f16, not f32"));
    fs::write(&sizes, text.replace("lstm_dim = 8", "lstm_dim = 4")).unwrap();
    let error = refusal(&model);
    assert!(error.contains("cannot use the teacher") && error.contains("in the network"), "{error}");
}

#[test]
fn a_student_of_its_teachers_sizes_can_begin_as_its_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (teacher, config, audio) = (prepare(folder.path(), &ONE_EPOCH), path("config.toml"), path("audio"));
    let distill = |out: &str, from_teacher: bool| {
        let start = ["distill", "--teacher", &teacher, "--config", &config, "--audio", &audio, "--out", out];
        let key = format!("distill.from_teacher={from_teacher}");
        let still = ["--set", "learning_rate=1e-9", "--set", "encoder_learning_rate=1e-9", "--set", &key];
        let output = trainer(&[&start[..], &ONE_EPOCH, &still].concat());
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{printed}");
        (validation_mse(Path::new(out))[0], printed)
    };
    let (mse, printed) = distill(&path("as-teacher"), true);
    let run = read_json(&folder.path().join("as-teacher/run.json"));
    let count = run["num_parameters"][1].as_u64().unwrap();
    assert!(printed.contains(&format!("begins with {count} of the teacher's parameters")), "{printed}");
    assert!(mse < 1e-6, "{mse}");
    let (mse, printed) = distill(&path("fresh"), false);
    assert!(mse > 0.1 && !printed.contains("begins with"), "{mse} {printed}");
}

#[test]
fn an_interrupted_student_goes_on_to_the_same_weights() {
    const EPOCHS: usize = 16;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (teacher, config, corpus) = (prepare(folder.path(), &ONE_EPOCH), path("student.toml"), path("."));
    let epochs = format!("epochs={EPOCHS}");
    let changed = ["--set", "distill.from_teacher=true", "--set", "distill.mix_share=0.5"];
    let start =
        ["distill", "--teacher", &teacher, "--config", &config, "--corpus", &corpus, "--set", &epochs];
    let start = [&start[..], &changed].concat();
    let (whole, killed) = (path("whole"), path("killed"));
    succeed(&[&start[..], &["--out", &whole]].concat());
    let resume = [&start[..], &["--resume", "--out", &killed]].concat();
    let killed = folder.path().join("killed");
    kill_after_three_epochs(&resume, &killed, EPOCHS);

    // Another teacher in the same place.
    let (best, other) = (folder.path().join("teacher/best.safetensors"), path("other"));
    let kept = fs::read(&best).unwrap();
    let train =
        ["train", "--config", &path("config.toml"), "--corpus", &corpus, "--set", "seed=2", "--out", &other];
    succeed(&[&train[..], &ONE_EPOCH].concat());
    fs::copy(folder.path().join("other/best.safetensors"), &best).unwrap();
    assert!(fail(&resume).contains("with other clips or another teacher"));
    fs::write(&best, kept).unwrap();

    succeed(&resume);
    assert_eq!(metrics_of(&killed), metrics_of(&folder.path().join("whole")));
    let weights = |run: &str| fs::read(folder.path().join(run).join("best.safetensors")).unwrap();
    assert!(weights("killed") == weights("whole"));
}

#[test]
fn what_cannot_be_distilled_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (teacher, config, audio, out) =
        (prepare(folder.path(), &ONE_EPOCH), path("student.toml"), path("audio"), path("out"));
    let distill = |teacher: &str, audio: &str, extra: &[&str]| {
        let start = ["distill", "--teacher", teacher, "--config", &config, "--audio", audio, "--out", &out];
        fail(&[&start[..], extra].concat())
    };
    assert!(distill(&path("nobody"), &audio, &[]).contains("is no run folder"));
    fs::create_dir(path("empty")).unwrap();
    let error = distill(&path("empty"), &audio, &[]);
    assert!(error.contains("cannot use the teacher") && error.contains("config.toml"), "{error}");
    assert!(distill(&teacher, &path("empty"), &[]).contains("no audio files (wav,"));
    assert!(distill(&teacher, &path("audio/0.wav"), &[]).contains("names one file; two are needed"));
    assert!(distill(&teacher, &path("nowhere"), &[]).contains("there is no such file or folder"));
    for (setting, expected) in [
        ("freeze_encoder=true", "a student's encoder has to learn"),
        (
            "distill.layers=[[1, 3]]",
            "the pair [1, 3], but there are 1 blocks in the student and 2 in the teacher",
        ),
        ("window_steps=70", "window_steps, 70, exceeds the teacher's, 62"),
        ("distill.mix_share=1.5", "distill.mix_share is 1.5, expected 0 to 1"),
        ("distill.hidden_loss=l3", "unknown variant `l3`"),
        ("distill.strange=1", "unknown field `strange`"),
        ("model.encoder.input_patch_size=8", "input_patch_size must be 16"),
    ] {
        let error = distill(&teacher, &audio, &["--set", setting]);
        assert!(error.contains(expected), "{setting}: {error}");
    }
    let both = [["--set", "distill.from_teacher=true"], ["--set", "init=elsewhere"]].concat();
    assert!(distill(&teacher, &audio, &both).contains("both say what the student begins with"));
    assert!(!Path::new(&out).exists());

    // A teacher with other tokens per step.
    fs::create_dir(path("coarse")).unwrap();
    for name in ["best.safetensors", "run.json"] {
        fs::copy(Path::new(&teacher).join(name), folder.path().join("coarse").join(name)).unwrap();
    }
    let text = fs::read_to_string(Path::new(&teacher).join("config.toml")).unwrap();
    fs::write(path("coarse/config.toml"), text.replace("input_patch_size = 16", "input_patch_size = 8"))
        .unwrap();
    let error = distill(&path("coarse"), &audio, &[]);
    assert!(
        error.contains("cannot use the teacher") && error.contains("input_patch_size must be 16"),
        "{error}"
    );

    // A file that is no audio is named before anything is learned; without it the rest goes on.
    fs::write(path("audio/broken.wav"), "no audio").unwrap();
    let error = distill(&teacher, &audio, &[]);
    assert!(error.contains("1 of 25 clips are missing or cannot be read"), "{error}");
    assert!(fs::read_to_string(path("out/missing.txt")).unwrap().contains("broken.wav"));
    let start = ["distill", "--teacher", &teacher, "--config", &config, "--audio", &audio, "--out", &out];
    succeed(&[&start[..], &ONE_EPOCH, &["--allow-missing"]].concat());
    let mut text = student_config();
    text += "[distill]\nhidden_weight = 2.0\n";
    fs::write(&config, text).unwrap();
    assert!(
        fail(&["train", "--config", &config, "--corpus", &path("."), "--out", &path("x")])
            .contains("[distill]")
    );
}

//! A whole tiny corpus from synthesised recordings: needs no soundfont, espeak-ng or ffmpeg.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its tests do")]

use std::fs;
use std::path::Path;

use aesa_corpus::labels::Domain;
use aesa_corpus::manifest::{read_clips, read_ladders};
use aesa_corpus::synth::{
    CorpusInfo, DegradationWeight, FurtherClips, Grouping, Kind, Progress, SourceSet, SynthConfig,
    SynthError, TestStep, TestSystem, run,
};

/// Twelve seconds of a gliding, pulsing tone with overtones and a little noise; another one per `number`.
fn write_recording(path: &Path, number: u32) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    let mut noise = number;
    for n in 0..12 * 16_000 {
        let t = f64::from(n) / 16_000.0;
        let phase = core::f64::consts::TAU * f64::from(150 + 70 * number) * (t + 0.02 * (3.0 * t).sin());
        let tone: f64 = (1..8).map(|k| (f64::from(k) * phase).sin() / f64::from(k)).sum();
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let hiss = f64::from(noise >> 16) / 65_536.0 - 0.5;
        let pulse = 0.6 + 0.4 * (core::f64::consts::TAU * (1.0 + 0.3 * f64::from(number)) * t).sin();
        writer.write_sample((9000.0 * pulse * tone + 800.0 * hiss) as i16).unwrap();
    }
    writer.finalize().unwrap();
}

/// Ratings of all domains with enough spread for the regression.
fn write_ratings(path: &Path) {
    let mut text = String::from(
        "sample_id,data_path,Production_Quality,Production_Complexity,Content_Enjoyment,Content_Usefulness\n",
    );
    for n in 0..90 {
        let corpus = ["EARS", "musiccaps", "unbalanced_train_segments"][n % 3];
        let (pq, pc) = (2.0 + (n % 10) as f64 * 0.7, 1.0 + (n % 7) as f64);
        text +=
            &format!("id{n},/your_path/{corpus}/{n}.wav,{pq},{pc},{},{}\n", 0.5 * pq + 0.2 * pc, 0.8 * pq);
    }
    fs::write(path, text).unwrap();
}

/// Recordings of two groups and ratings in `folder`, and a configuration that uses them.
fn tiny(folder: &Path) -> SynthConfig {
    fs::create_dir_all(folder.join("audio")).unwrap();
    for number in 0..4 {
        write_recording(&folder.join(format!("audio/{}-{number}.wav", number % 2)), number);
    }
    write_ratings(&folder.join("ratings.csv"));
    let degradations = [Kind::Noise, Kind::LowPass, Kind::Clipping, Kind::PacketLoss];
    SynthConfig {
        audio: folder.to_path_buf(),
        labels: folder.to_path_buf(),
        ratings: vec!["ratings.csv".to_owned()],
        num_train: 5,
        num_validation: 2,
        num_test_per_system: 1,
        num_ladders: 0,
        texture_share: 0.0,
        degradations: degradations.map(|kind| DegradationWeight { kind, weight: 1.0 }).to_vec(),
        further: vec![FurtherClips {
            num_clips: 3,
            degradations: vec![DegradationWeight { kind: Kind::Noise, weight: 1.0 }],
            line_share: 0.0,
            domains: Vec::new(),
            visqol_seconds: None,
        }],
        sources: vec![SourceSet {
            folder: "audio".into(),
            domain: Domain::Sound,
            group: Grouping::FirstPart,
            validation_groups: vec!["1".to_owned()],
            ..SourceSet::default()
        }],
        visqol_seconds: 2.0,
        train_soundfont: "".into(),
        test_soundfont: "".into(),
        test_espeak: false,
        systems: vec![TestSystem {
            name: "noise".to_owned(),
            sources: 2,
            chain: vec![TestStep { kind: Kind::Noise, severity: 0.5 }],
        }],
        ..SynthConfig::default()
    }
}

/// A clip's samples, -1 to 1.
fn samples(file: &Path) -> Vec<f64> {
    let read = hound::WavReader::open(file).unwrap().into_samples::<i16>();
    read.map(|sample| f64::from(sample.unwrap()) / 32_768.0).collect()
}

/// A corpus made by so many threads.
fn run_with_threads(config: &SynthConfig, out: &Path, threads: usize) -> CorpusInfo {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| run(config, out, &Progress::quiet())).unwrap()
}

#[test]
fn the_same_command_gives_the_same_corpus() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny(folder.path());
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let info = run_with_threads(&config, &first, 1);
    assert_eq!(info.sha256, run_with_threads(&config, &second, 3).sha256);
    for name in ["train.csv", "validation.csv", "test.csv", "corpus.json"] {
        assert_eq!(fs::read(first.join(name)).unwrap(), fs::read(second.join(name)).unwrap(), "{name}");
    }

    // Interrupted: one clip's audio is gone, one's record, and a temporary file is left over.
    let audio = second.join("audio/train");
    fs::remove_file(audio.join("train-000001.wav")).unwrap();
    fs::remove_file(audio.join("train-000003.json")).unwrap();
    fs::write(audio.join("train-000003.json.part"), "{").unwrap();
    fs::remove_file(second.join("train.csv")).unwrap();
    assert_eq!(info.sha256, run_with_threads(&config, &second, 2).sha256);

    // More clips leave the first ones' audio as it is; another seed does not.
    let more = SynthConfig { num_train: 7, ..config.clone() };
    run_with_threads(&more, &second, 2);
    let clip = "audio/train/train-000002.wav";
    assert_eq!(fs::read(first.join(clip)).unwrap(), fs::read(second.join(clip)).unwrap());
    let reseeded = SynthConfig { seed: 2, ..config };
    assert_ne!(info.sha256, run_with_threads(&reseeded, &second, 2).sha256);
    assert_ne!(fs::read(first.join(clip)).unwrap(), fs::read(second.join(clip)).unwrap());
}

#[test]
fn a_corpus_holds_what_its_lists_say() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny(folder.path());
    let out = folder.path().join("corpus");
    let info = run(&config, &out, &Progress::quiet()).unwrap();
    assert_eq!(info.labels, "proxy");
    let text = fs::read_to_string(out.join("corpus.json")).unwrap();
    assert_eq!(serde_json::from_str::<CorpusInfo>(&text).unwrap().sha256, info.sha256);

    let mut recordings = Vec::new();
    for (name, count) in [("train", 5 + 3), ("validation", 2), ("test", 1)] {
        let clips = read_clips(out.join(format!("{name}.csv"))).unwrap();
        assert_eq!(clips.len(), count, "{name}");
        for family in clips.chunk_by(|a, b| a.family == b.family) {
            let peaks = family.iter().map(|clip| {
                let samples = samples(&out.join(&clip.path));
                assert_eq!(samples.len(), 160_000, "{}", clip.path);
                samples.iter().map(|x| x.abs()).fold(0.0, f64::max)
            });
            let loudest = peaks.fold(0.0, f64::max);
            let path = &family[0].path;
            assert!((10f64.powf(-25.1 / 20.0)..0.9).contains(&loudest), "{path}: peak {loudest}");
        }
        let record = fs::read_to_string(out.join(&clips[0].path).with_extension("json")).unwrap();
        recordings.push((name, record.contains("audio/0-"), record.contains("audio/1-")));
    }
    let test = read_clips(out.join("test.csv")).unwrap().remove(0);
    assert_eq!(test.system, "sound-noise-k2");
    assert_eq!(aesa_corpus::labels::system_of(&test.sample_id), Some("sound-noise-k2"));
    // Group 0 serves training alone, group 1 validation alone, and neither the test set.
    assert_eq!(recordings, [("train", true, false), ("validation", false, true), ("test", false, false)]);
    assert!(read_ladders(out.join("ladders.csv")).is_err(), "no ladders were asked for");
}

#[test]
fn further_clips_get_worse_and_move_no_label() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny(folder.path());
    let [with, without] = ["with", "without"].map(|name| folder.path().join(name));
    let info = run(&config, &with, &Progress::quiet()).unwrap();
    let plain = SynthConfig { further: Vec::new(), ..config.clone() };
    assert_eq!(run(&plain, &without, &Progress::quiet()).unwrap().pq_maps, info.pq_maps);

    let clips = read_clips(with.join("train.csv")).unwrap();
    let (train, further) = clips.split_at(5);
    assert_eq!(train, read_clips(without.join("train.csv")).unwrap());
    let raw: Vec<f64> = further.iter().map(|clip| clip.pq_raw.unwrap()).collect();
    assert!(raw.windows(2).all(|pair| pair[1] < pair[0]), "{raw:?}");
    // The labels fall at every step, also where ViSQOL's few values share one rating.
    assert!(further.windows(2).all(|pair| pair[1].pq <= pair[0].pq - 0.099_999 || pair[1].pq == 0.0));
    assert!(further[1..].iter().all(|clip| clip.family == further[0].family));
    assert!(train.iter().all(|clip| clip.family != further[0].family));
    assert!(further[2].processing.starts_with("noise("), "{}", further[2].processing);
    // They are at one level: what noise is added to keeps its size.
    let [first, last] = [0, 2].map(|n| samples(&with.join(&further[n].path)));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let size = product(&first, &last) / product(&first, &first);
    assert!((size - 1.0).abs() < 0.1, "{size}");

    let further = config.further.iter().map(|f| FurtherClips { line_share: 1.0, ..f.clone() }).collect();
    let line = SynthConfig { further, ..config };
    run(&line, &with, &Progress::quiet()).unwrap();
    let clips = read_clips(with.join("train.csv")).unwrap();
    assert_eq!(train, &clips[..5]);
    let chain = &clips[7].processing;
    assert!(chain.starts_with("bandpass(") && chain.contains("+noise("), "{chain}");
}

#[test]
fn missing_tools_and_folders_are_named_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny(folder.path());
    let out = folder.path().join("corpus");
    let cases = [
        (
            "soundfont",
            SynthConfig { train_soundfont: "/no/font.sf2".into(), ..config.clone() },
            "/no/font.sf2",
        ),
        ("folder", SynthConfig { audio: "/no/folder".into(), ..config.clone() }, "/no/folder"),
        ("labels", SynthConfig { labels: "/no/labels".into(), ..config.clone() }, "/no/labels"),
        ("shares", SynthConfig { graded_share: 2.0, ..config.clone() }, "shares"),
        (
            "domain",
            SynthConfig {
                further: vec![FurtherClips { domains: vec![Domain::Speech], ..config.further[0].clone() }],
                ..config.clone()
            },
            "speech, which has no sources",
        ),
        ("validation", SynthConfig { sources: Vec::new(), ..config.clone() }, "no sources"),
    ];
    for (name, config, expected) in cases {
        let error = run(&config, &out, &Progress::quiet()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert!(!matches!(error, SynthError::Clip { .. }), "{name}: {error:?}");
        assert!(!out.join("train.csv").exists(), "{name}");
    }
}

//! A study of the triplet loss.

use super::*;

#[test]
fn a_study_compares_seed_by_seed_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (corpus, encoder, out) = (path("."), path("run"), path("study"));
    let train = ["train", "--config", &path("config.toml"), "--corpus", &corpus, "--out", &encoder];
    succeed(&[&train[..], &ONE_EPOCH].concat());
    let head = CONFIG
        .replace("freeze_encoder = false", "freeze_encoder = true\npatience = 0\ninit_parts = 'encoder'");
    fs::write(path("head.toml"), head.replace("epochs = 12", "epochs = 2")).unwrap();
    let (config, cache) = (path("head.toml"), path("hidden"));
    let start = ["study", "--config", &config, "--init", &encoder, "--corpus", &corpus, "--out", &out];
    let small = ["--capacity", "8", "--eps", "0.5", "--seeds", "1,2,3", "--cache", &cache, "--clips", "32"];
    let study = |alpha: &str, extra: &[&str]| {
        let output = trainer(&[&start[..], &small, &["--alpha", alpha], extra].concat());
        (output.status.success(), String::from_utf8(output.stderr).unwrap(), output.stdout)
    };
    let (is_done, notes, table) = study("5", &[]);
    assert!(is_done && notes.contains("0 of 6 runs are there"), "{notes}");
    let table = String::from_utf8(table).unwrap();
    assert!(table.contains("| 5 | 8 | 0.5 |") && table.contains("| 5 | all | all |"), "{table}");
    assert_eq!(fs::read_to_string(path("study/table.md")).unwrap(), table);

    let origin = read_json(&folder.path().join("study/study.json"));
    assert_eq!(origin["command"][1], "study");
    let files: Vec<&str> =
        origin["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    let expected = ["train.csv", "test.csv", "best.safetensors"];
    assert!(
        files.len() == 3 && files.iter().zip(expected).all(|(file, name)| file.ends_with(name)),
        "{origin}"
    );

    // Both levels of four axes, of all clips and of two domains, in every run.
    let rows = |name: &str| fs::read_to_string(path(name)).unwrap().lines().count() - 1;
    assert_eq!((rows("study/results.csv"), rows("study/differences.csv")), (6 * 24, 24));
    let scores =
        |run: &str| fs::read(folder.path().join("study/runs").join(run).join("predictions.csv")).unwrap();
    let (name, without) = ("alpha5-capacity8-eps0.5-seed2", "alpha0-seed2");
    assert!(scores(name) != scores(without) && scores(without) != scores("alpha0-seed1"));

    // What is lost is made again, alike; a larger grid adds to it.
    let before = scores(name);
    fs::remove_file(path(&format!("study/runs/{name}/predictions.csv"))).unwrap();
    let (is_done, notes, again) = study("5", &[]);
    assert!(is_done && notes.contains("5 of 6 runs are there") && notes.contains("0 new"), "{notes}");
    assert!(scores(name) == before && again == table.as_bytes());
    let (is_done, notes, _) = study("5,1", &[]);
    assert!(is_done && notes.contains("6 of 9 runs are there"), "{notes}");

    for (extra, expected) in [
        (["--set", "epochs=3"], "holds another study"),
        (["--set", "freeze_encoder=false"], "freeze_encoder = true"),
        (["--set", "patience=1"], "patience = 0"),
        (["--set", "gain_db=3"], "time_mask, mel_mask, gain_db, filter_db and mel_shift to 0"),
    ] {
        let other = path("other");
        let place = if expected.contains("another") { vec![] } else { vec!["--out", other.as_str()] };
        let start = ["study", "--config", &config, "--init", &encoder, "--corpus", &corpus];
        let place = if place.is_empty() { vec!["--out", out.as_str()] } else { place };
        let error = fail(&[&start[..], &small, &place, &extra].concat());
        assert!(error.contains(expected), "{error}");
    }
}

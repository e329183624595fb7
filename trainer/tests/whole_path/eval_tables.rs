//! A model measured on the tables that training reads.

use super::*;

/// A run of one epoch on the corpus in `folder`, and the path of its folder.
fn one_epoch(folder: &Path) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    write_corpus(folder);
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (config, corpus, run) = (path("config.toml"), path("."), path("run"));
    succeed(&[&["train", "--config", &config, "--corpus", &corpus, "--out", &run][..], &ONE_EPOCH].concat());
    run
}

/// Each clip's id and scores in a predictions file.
fn predictions(path: &Path) -> Vec<(String, Vec<f64>)> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header = reader.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let (id, axes) = (column("sample_id"), ["PQ", "PC", "CE", "CU"].map(column));
    let row = |row: csv::StringRecord| {
        (row[id].to_string(), axes.iter().map(|n| row[*n].parse().unwrap()).collect())
    };
    reader.records().map(|r| row(r.unwrap())).collect()
}

#[test]
fn a_table_of_parts_gives_what_a_corpus_of_those_parts_gives() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (run, corpus) = (one_epoch(folder.path()), path("."));
    succeed(&["eval", "--model", &run, "--corpus", &corpus, "--split", "test"]);

    // The test clips one after the other in one file, named by their times.
    let mut recording = Vec::new();
    let table = fs::read_to_string(path("test.csv")).unwrap();
    let mut parts = table.lines().next().unwrap().to_string() + ",start,end\n";
    for (n, row) in table.lines().skip(1).enumerate() {
        let clip = folder.path().join(format!("test{n}.wav"));
        recording.extend(hound::WavReader::open(&clip).unwrap().samples::<i16>().map(Result::unwrap));
        parts += &format!("{},{n},{}\n", row.replace(&format!("test{n}.wav"), "long.wav"), n + 1);
    }
    write_wav(&folder.path().join("long.wav"), &recording);
    fs::write(path("parts.csv"), &parts).unwrap();
    succeed(&["eval", "--model", &run, "--table", &path("parts.csv")]);
    let run = Path::new(&run);
    for name in ["table1.md", "table2.csv", "metrics.csv", "predictions.csv"] {
        let read = |split: &str| fs::read_to_string(run.join(split).join(name)).unwrap();
        assert_eq!(read("eval-test"), read("eval-parts"), "{name}");
    }
    assert!(run.join("eval-parts/scatter.svg").exists() && run.join("eval-parts.json").exists());

    // Other parts: other scores.
    fs::write(path("parts.csv"), parts.replace(",6,7\n", ",6.5,7.5\n")).unwrap();
    succeed(&["eval", "--model", &run.display().to_string(), "--table", &path("parts.csv")]);
    let (a, b) = (
        predictions(&run.join("eval-test/predictions.csv")),
        predictions(&run.join("eval-parts/predictions.csv")),
    );
    let changed: Vec<usize> = (0..a.len()).filter(|n| a[*n] != b[*n]).collect();
    assert_eq!((a.len(), changed), (16, vec![6]));
}

#[test]
fn every_raters_table_has_its_ceiling_and_its_missing_clips() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let run = one_epoch(folder.path());
    let mut lines = String::new();
    let axes = ["Production_Quality", "Production_Complexity", "Content_Enjoyment", "Content_Usefulness"];
    for n in 0..16 {
        let ratings = |axis: usize| (0..6).map(|rater| (n + axis + 3 * rater) % 11).collect::<Vec<usize>>();
        let lists: Vec<String> =
            axes.iter().enumerate().map(|(a, axis)| format!("\"{axis}\":{:?}", ratings(a))).collect();
        lines += &format!("{{\"data_path\":\"/your_path/EARS/test{n}.wav\",{}}}\n", lists.join(","));
    }
    fs::write(path("ratings.jsonl"), &lines).unwrap();
    let (table, root, model) =
        (path("ratings.jsonl"), format!("EARS={}", folder.path().display()), path("model.onnx"));

    // An exported model, too; without --out its missing clips are named on the terminal.
    succeed(&["export", "--run", &run, "--out", &model]);
    let error = fail(&["eval", "--model", &model, "--table", &table]);
    assert!(
        error.contains("none of the 16 clips can be read; there is no --root NAME=DIR for EARS"),
        "{error}"
    );
    assert!(error.contains("/your_path/EARS/test15.wav\tno --root for its corpus"), "{error}");

    let out = path("out");
    let measure = ["eval", "--model", &model, "--table", &table, "--root", &root, "--out", &out];
    succeed(&measure);
    let report = read_json(&folder.path().join("out/metrics.json"));
    assert_eq!(report["num_clips"], 16);
    assert!(report["raters"].is_object(), "{report}");
    assert!(fs::read_to_string(path("out/table2.md")).unwrap().contains("raters"));

    // The ceiling, too, comes again from what is there.
    let (scores, raters, again) = (path("out/predictions.csv"), path("out/raters.jsonl"), path("again"));
    succeed(&["eval", "--predictions", &scores, "--raters", &raters, "--out", &again]);
    assert_eq!(read_json(&folder.path().join("again/metrics.json"))["raters"], report["raters"]);

    fs::remove_file(path("test3.wav")).unwrap();
    let error = fail(&measure);
    assert!(error.contains("1 of 16 clips are missing or cannot be read"), "{error}");
    let missing = fs::read_to_string(path("out/missing.txt")).unwrap();
    assert!(missing.contains("test3.wav\tno such file\t") && missing.lines().count() == 1, "{missing}");
    let columns = error.lines().find(|line| line.starts_with("EARS")).unwrap();
    assert_eq!(columns.split_whitespace().collect::<Vec<_>>(), ["EARS", "15", "1"]);
    succeed(&[&measure[..], &["--allow-missing"]].concat());
    assert_eq!(read_json(&folder.path().join("out/metrics.json"))["num_clips"], 15);
    assert_eq!(predictions(&folder.path().join("out/predictions.csv")).len(), 15);
    assert!(fail(&["eval", "--model", &model, "--root", &root]).contains("required"));
    assert!(fail(&[&measure[..], &["--corpus", "."]].concat()).contains("cannot be used with"));
}

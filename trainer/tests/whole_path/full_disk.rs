//! A disk that fills while a run is written. A limit on the size of files stands for it: as on a full disk, a write fails
//! halfway and the process lives on.

use std::collections::BTreeSet;

use super::*;

/// The trainer, where no file may get larger than 8 KiB: enough for config.toml, not for the weights.
fn trainer_on_a_full_disk(arguments: &[&str]) -> Output {
    Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "bash", env!("CARGO_BIN_EXE_aesa-trainer")])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_full_disk_ends_a_run_that_goes_on_later() {
    const EPOCHS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (config, corpus, whole, full) = (path("config.toml"), path("."), path("whole"), path("full"));
    let epochs = format!("epochs={EPOCHS}");
    let train =
        |out| ["train", "--resume", "--config", &config, "--corpus", &corpus, "--set", &epochs, "--out", out];
    succeed(&train(&whole));

    let run = folder.path().join("full");
    kill_after_three_epochs(&train(&full), &run, EPOCHS);
    let weights = |run: &str| fs::read(folder.path().join(run).join("best.safetensors")).unwrap();
    let finished = [weights("full"), fs::read(run.join("last.safetensors")).unwrap()];
    let unfinished = || {
        let names =
            fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".part")).collect::<BTreeSet<_>>()
    };
    // What a kill in the midst of writing leaves; and another process that still writes.
    for name in ["last.safetensors.4194305.part", "best.safetensors.1.part"] {
        fs::write(run.join(name), "half").unwrap();
    }
    let still_written = BTreeSet::from(["best.safetensors.1.part".to_string()]);
    for _ in 0..2 {
        let output = trainer_on_a_full_disk(&train(&full));
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{message}");
        assert!(message.contains("cannot write") && message.contains(&full), "{message}");
        assert_eq!(unfinished(), still_written);
        // What was finished is as it was.
        assert!([weights("full"), fs::read(run.join("last.safetensors")).unwrap()] == finished);
    }

    succeed(&train(&full));
    assert_eq!(metrics_of(&run), metrics_of(&folder.path().join("whole")));
    assert!(weights("full") == weights("whole"));
}

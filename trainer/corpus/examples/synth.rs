//! Makes a corpus: `synth CONFIG.toml OUT [AUDIO [LABELS]]`.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use aesa_corpus::synth::{Progress, SynthConfig, run};

fn main() -> anyhow::Result<()> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [config, out, folders @ ..] = args.as_slice() else {
        anyhow::bail!("usage: synth CONFIG.toml OUT [AUDIO [LABELS]]");
    };
    let mut config = SynthConfig::read(config)?;
    if let [audio, ..] = folders {
        config.audio.clone_from(audio);
    }
    if let [_, labels] = folders {
        config.labels.clone_from(labels);
    }
    let info = run(&config, out, &Progress::stderr())?;
    let [ce, cu] = info.regression.r2();
    println!("{:?}, sha256 {}, R2 of CE {ce:.3} and CU {cu:.3}", info.num_clips, info.sha256);
    Ok(())
}

//! Puts the model and the clip where the library includes them, with their sizes, and the memory map where the linker looks.
//!
//! `AESA_MODEL`: a chunked `model.aesa`. `AESA_CLIP`: a WAV file of one channel. `AESA_CLIP_MS`: how much of it, from its
//! beginning. `AESA_MHZ`: how fast the processor is taken to be, which says how often samples come. The program then has fixed sizes, known here: what the model needs is asked of the engine itself.

use std::path::{Path, PathBuf};
use std::{env, fs};

use aesa::Policy;
use aesa::native::{AlignedBytes, Model};
use aesa::resample::Resampler;
use anyhow::{Context, bail, ensure};

fn main() -> anyhow::Result<()> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let model = file("AESA_MODEL", here.join("../../models/starter/model.aesa"))?;
    let clip = file("AESA_CLIP", here.join("../../models/starter/golden/rain.wav"))?;
    println!("cargo::rustc-env=AESA_MODEL_FILE={}", model.display());
    let mhz = number("AESA_MHZ", 480)?;
    let mhz = format!(
        "/// The processor's clock: it is taken to run an instruction per cycle.\npub const MHZ: u64 = {mhz};\n"
    );
    fs::write(out.join("sizes.rs"), [model_sizes(&model)?, clip_sizes(&clip, &out)?, mhz].concat())?;
    match variable("TARGET")?.as_str() {
        target if target.starts_with("thumbv8m") => link(&here.join("mps3-an547.x"), &out),
        target if target.starts_with("thumb") => link(&here.join("mps2.x"), &out),
        _ => Ok(()),
    }
}

/// The constants that follow from the model.
fn model_sizes(path: &Path) -> anyhow::Result<String> {
    let bytes = AlignedBytes::from(fs::read(path).with_context(|| path.display().to_string())?.as_slice());
    let model = Model::from_bytes(&bytes).with_context(|| path.display().to_string())?;
    let Policy::Chunked { chunk_steps, .. } = model.policy() else {
        bail!(
            "{}: a windowed model; this is for chunks (export --chunk-steps 6 --left-steps 12)",
            path.display()
        );
    };
    Ok(format!(
        "/// Bytes of the model's file.\npub const MODEL_BYTES: usize = {};\n\
         /// f32 numbers that a stream of the model needs.\npub const MEMORY_NUMBERS: usize = {};\n\
         /// Frame scores that come at once.\npub const CHUNK_STEPS: usize = {chunk_steps};\n",
        bytes.len(),
        model.memory_required().ram_numbers()
    ))
}

/// Writes the clip as 16 kHz i16, and gives the constants that follow from it.
fn clip_sizes(path: &Path, out: &Path) -> anyhow::Result<String> {
    let max_ms = number("AESA_CLIP_MS", usize::MAX)?;
    let mut reader = hound::WavReader::open(path).with_context(|| path.display().to_string())?;
    let spec = reader.spec();
    ensure!(spec.channels == 1 && spec.bits_per_sample == 16, "{}: not 16-bit mono", path.display());
    let samples: Vec<i16> = reader.samples().collect::<Result<_, _>>()?;
    let samples: Vec<f32> = samples.into_iter().map(|s| f32::from(s) / 32768.0).collect();
    let mut resampler = Resampler::new(spec.sample_rate)?;
    let mut clip = Vec::new();
    resampler.process(&samples, &mut clip);
    resampler.finish(&mut clip);
    clip.truncate(max_ms.saturating_mul(16));
    // `as` saturates.
    let bytes: Vec<u8> = clip.iter().flat_map(|x| ((x * 32768.0).round() as i16).to_le_bytes()).collect();
    fs::write(out.join("clip.raw"), &bytes)?;
    Ok(format!("/// Samples of the clip.\npub const CLIP_SAMPLES: usize = {};\n", bytes.len() / 2))
}

/// Links a bare-metal program with the memory map of a machine.
fn link(map: &Path, out: &Path) -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed={}", map.display());
    fs::copy(map, out.join("memory.x"))?;
    println!("cargo::rustc-link-search={}", out.display());
    for argument in ["-Tlink.x", "--nmagic"] {
        println!("cargo::rustc-link-arg-bin=device={argument}");
    }
    Ok(())
}

/// The absolute path of a file that the environment may name.
fn file(name: &str, default: PathBuf) -> anyhow::Result<PathBuf> {
    println!("cargo::rerun-if-env-changed={name}");
    let path = env::var_os(name).map_or(default, PathBuf::from);
    let path = path.canonicalize().with_context(|| format!("{name}: {}", path.display()))?;
    println!("cargo::rerun-if-changed={}", path.display());
    Ok(path)
}

/// A number that the environment may set.
fn number(name: &str, default: usize) -> anyhow::Result<usize> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name}: {text}")))
}

fn variable(name: &str) -> anyhow::Result<String> {
    env::var(name).with_context(|| name.to_string())
}

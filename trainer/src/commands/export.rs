//! `aesa-trainer export`

use std::path::PathBuf;

use aesa_export::Storage;
use aesa_trainer::chunking::Chunking;
use aesa_trainer::export::{Format, Report, export};
use aesa_trainer::run::RunFolder;
use anyhow::{Context, Result, bail};

/// Writes a run's best weights as model.onnx or model.aesa, and checks the file.
///
/// The file is read back by the runtime that will use it: tract for .onnx, the native engine for .aesa. Only if its
/// frame and clip scores in f32 equal the trained network's within 1e-4 on the check clips is it written. int8 and f16 must
/// also stay within 0.05 on average and 0.2 at most of f32 on the clips given by --check. int8 needs no calibration:
/// activations get their scales as they come.
#[derive(clap::Args)]
#[command(after_help = "Example:
  aesa-trainer export --run runs/starter-1 --out model.onnx --check talk.wav
  aesa score --model model.onnx talk.wav
  aesa-trainer export --run runs/starter-1 --out small.onnx --int8 --check talk.wav
  aesa-trainer export --run runs/starter-1 --out model.aesa --chunk-steps 6 --left-steps 12 --check talk.wav")]
pub(crate) struct Arguments {
    /// Run folder of `aesa-trainer train`
    #[arg(long, value_name = "RUNDIR")]
    run: PathBuf,
    /// File to write; the format is that of its extension, .onnx or .aesa
    #[arg(long, value_name = "FILE.onnx|FILE.aesa")]
    out: PathBuf,
    /// How weights are stored [default: int8 in .aesa, f32 in .onnx]
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
    /// Short for --dtype int8
    #[arg(long, conflicts_with_all = ["dtype", "f16"])]
    int8: bool,
    /// Short for --dtype f16, which .onnx files know
    #[arg(long, conflicts_with = "dtype")]
    f16: bool,
    /// Hear the clip in chunks of this many steps of 160 ms, in place of windows
    #[arg(long, value_name = "STEPS", requires = "left_steps")]
    chunk_steps: Option<usize>,
    /// Steps before its chunk that a token sees, rounded up to whole chunks
    #[arg(long, value_name = "STEPS", requires = "chunk_steps")]
    left_steps: Option<usize>,
    /// More audio to check with, beside the built-in clips; may be repeated
    #[arg(long, value_name = "AUDIO")]
    check: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let read = |path: &PathBuf| {
        aesa_media::read_mono_16k(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let clips = arguments.check.iter().map(read).collect::<Result<Vec<_>>>()?;
    let (run, out) = (RunFolder::open(&arguments.run), &arguments.out);
    let (format, default_storage) = match out.extension().and_then(|e| e.to_str()) {
        Some("onnx") => (Format::Onnx, Storage::F32),
        Some("aesa") => (Format::Aesa, Storage::Int8),
        _ => bail!("{}: the file's name must end in .onnx or .aesa", out.display()),
    };
    let storage = arguments.storage().unwrap_or(default_storage);
    let report = export(&run, out, format, storage, arguments.chunks(), &clips)?;
    let Report { parity, storage, real, num_bytes, memory } = report;
    println!(
        "wrote {}, {num_bytes} bytes; largest difference of a score in f32: {parity:.1e}",
        out.display()
    );
    println!("as stored, from f32: mean {:.4}, largest {:.4}", storage.mean, storage.max);
    if !clips.is_empty() {
        println!("of these the clips of --check: mean {:.4}, largest {:.4}", real.mean, real.max);
    }
    if let Some(memory) = memory {
        println!("{} bytes of flash, {} bytes of RAM per stream", memory.flash_bytes, memory.ram_bytes());
    }
    Ok(())
}

impl Arguments {
    /// How weights are stored, where that was said.
    fn storage(&self) -> Option<Storage> {
        match (self.dtype, self.int8, self.f16) {
            (Some(Dtype::F32), ..) => Some(Storage::F32),
            (Some(Dtype::Int8), ..) | (None, true, _) => Some(Storage::Int8),
            (Some(Dtype::Int8Attention), ..) => Some(Storage::Int8Attention),
            (Some(Dtype::F16), ..) | (None, _, true) => Some(Storage::F16),
            (None, false, false) => None,
        }
    }

    fn chunks(&self) -> Option<Chunking> {
        self.chunk_steps.zip(self.left_steps).map(|(steps, left_steps)| Chunking { steps, left_steps })
    }
}

/// Element type of a file's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Dtype {
    /// As trained
    F32,
    /// 16 bits, computed with in f32; for .onnx
    F16,
    /// 8 bits, a scale per output channel
    Int8,
    /// The same, and the blocks' attention in 8 bits, too; for .aesa
    Int8Attention,
}

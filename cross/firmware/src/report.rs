//! The lines that a microcontroller and this machine must print alike.

use core::fmt::{self, Write};

use aesa::native::Model;
use aesa::score::Axis;
use aesa::{ClipScore, Scores};

/// `model starter 1, checksum 0123abcd: 815232 bytes of flash, 455168 bytes of RAM`
pub fn model_line(out: &mut impl Write, file: &[u8], model: &Model<'_>) -> fmt::Result {
    let value = |name| model.metadata().find(|(key, _)| *key == name).map_or("?", |(_, value)| value);
    let required = model.memory_required();
    write!(out, "model {} {}", value("aesa.id"), value("aesa.version"))?;
    write!(out, ", checksum {:08x}", aesa::native::format::checksum(file))?;
    writeln!(out, ": {} bytes of flash, {} bytes of RAM", required.flash_bytes, required.ram_bytes())
}

/// `frame 3 PQ 40d3a1b2 6.612512 PC ...`: a frame's number and its scores, each as the bits of its f32 and as the shortest
/// decimal number that gives these bits.
pub fn frame_line(out: &mut impl Write, frame: usize, scores: Scores) -> fmt::Result {
    write!(out, "frame {frame}")?;
    scores_line(out, scores)
}

/// `clip 18 PQ 40d3a1b2 6.612512 PC ...`: of how many frames the scores are the mean, and the scores.
pub fn clip_line(out: &mut impl Write, clip: &ClipScore) -> fmt::Result {
    write!(out, "clip {}", clip.num_steps)?;
    scores_line(out, clip.scores)
}

fn scores_line(out: &mut impl Write, scores: Scores) -> fmt::Result {
    for axis in Axis::ALL {
        write!(out, " {axis} {:08x} {}", scores[axis].to_bits(), scores[axis])?;
    }
    writeln!(out)
}

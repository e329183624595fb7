//! Any bytes as a `model.aesa`: an error, or a model that scores; never a panic, a hang or a read outside.
//!
//! Magic, version, length and checksum are put right first, as someone with intent would: a fuzzer alone seldom finds them.
#![no_main]

use aesa::native::format::{FORMAT_VERSION, HEADER_BYTES, MAGIC, checksum, offset};
use aesa::native::{AlignedBytes, Model};
use libfuzzer_sys::fuzz_target;

/// More memory than a small model takes is not asked for.
const MAX_RAM_BYTES: usize = 1 << 20;

/// Bigger models only cost time.
const MAX_STEPS: usize = 8;

fuzz_target!(|data: &[u8]| {
    let mut file = AlignedBytes::from(data);
    if file.len() >= HEADER_BYTES {
        let num_bytes = (file.len() as u64).to_le_bytes();
        file[..MAGIC.len()].copy_from_slice(&MAGIC);
        file[offset::VERSION..][..4].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        file[offset::FILE_BYTES..][..8].copy_from_slice(&num_bytes);
        let sum = checksum(&file).to_le_bytes();
        file[offset::CHECKSUM..][..4].copy_from_slice(&sum);
    }
    let Ok(model) = Model::from_bytes(&file) else { return };
    let _ = model.info();
    if model.memory_required().ram_bytes() > MAX_RAM_BYTES || model.policy().max_steps() > MAX_STEPS {
        return;
    }
    let frames: Vec<f32> = (0..20 * 16 * 128).map(|i| (i % 97) as f32 / 40.0 - 1.2).collect();
    let (mut stream, mut num_steps) = (model.stream(), 0);
    // Made-up weights may well give NaN: a `Scorer` refuses such scores.
    let mut take = |_| num_steps += 1;
    stream.push(&frames, &mut take).expect("the frames are whole and finite");
    stream.finish(&mut take);
    assert_eq!(num_steps, 20);
});

//! What build.rs was told to put into flash.

include!(concat!(env!("OUT_DIR"), "/sizes.rs"));

/// The bytes of a `model.aesa`, at a multiple of 64.
pub fn model_file() -> &'static [u8] {
    &MODEL.0
}

/// The samples of the clip, 16 kHz mono.
pub fn clip() -> &'static [i16] {
    bytemuck::cast_slice(&CLIP.0)
}

#[repr(align(64))]
struct Aligned<T>(T);

// SAFETY: the name is that of a section which the memory maps beside build.rs place in flash, where constants may lie.
#[allow(unsafe_code)]
#[cfg_attr(target_os = "none", unsafe(link_section = ".model"))]
static MODEL: Aligned<[u8; MODEL_BYTES]> = Aligned(*include_bytes!(env!("AESA_MODEL_FILE")));

/// Little-endian, as all processors that this runs on.
static CLIP: Aligned<[u8; 2 * CLIP_SAMPLES]> =
    Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/clip.raw")));

//! Scorers, as C sees them.

use core::ptr;
use std::sync::{Mutex, TryLockError};

use aesa::audio::Sample;
use aesa::{AudioSpec, WindowPolicy};
use aesa_runtime::ModelScorer;

use crate::error::{Failure, guarded};
use crate::model::AesaModel;
use crate::pointers;
use crate::status::AesaStatus;
use crate::types::{AesaAudio, AesaClip, AesaFrame};

/// Scores one clip or stream at a time.
pub struct AesaScorer {
    /// Never waited for: whoever finds it taken uses the handle in two threads at once.
    scorer: Mutex<ModelScorer>,
}

/// A scorer at the start of a clip. `*scorer` is the new handle, or null after an error: AESA_STATUS_INVALID_ARGUMENT for a
/// rate, number of channels or policy that cannot be (a hop is for windowed models only), or a pointer's.
///
/// # Safety
/// `model` is null or a handle that has not been freed; `audio` is null or points to an AesaAudio; `scorer` is null or may
/// be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_scorer_new(
    model: *const AesaModel,
    audio: *const AesaAudio,
    scorer: *mut *mut AesaScorer,
) -> AesaStatus {
    guarded(|| {
        // SAFETY: this function's own condition.
        unsafe { pointers::put(scorer, ptr::null_mut(), "scorer") }?;
        // SAFETY: this function's own conditions.
        let (model, audio) = unsafe { (pointers::borrow(model, "model")?, pointers::borrow(audio, "audio")?) };
        let new = start(model, audio)?;
        let new = Box::new(AesaScorer { scorer: Mutex::new(new) });
        // SAFETY: this function's own condition.
        unsafe { pointers::put(scorer, Box::into_raw(new), "scorer") }?;
        Ok(AesaStatus::Ok)
    })
}

/// Takes the next chunk of interleaved samples, full scale 1. How the audio is cut never changes a score. `num_values`
/// counts all channels' values; 0 is nothing to do. AESA_STATUS_AUDIO for half a sample and for values that are not finite
/// (nothing is taken then), AESA_STATUS_FINISHED after the clip's end, AESA_STATUS_NETWORK, which ends it.
///
/// # Safety
/// `scorer` is null or a handle that has not been freed; `interleaved` is null or points to `num_values` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_scorer_accept_f32(
    scorer: *mut AesaScorer,
    interleaved: *const f32,
    num_values: usize,
) -> AesaStatus {
    // SAFETY: this function's own conditions.
    unsafe { accept(scorer, interleaved, num_values) }
}

/// aesa_scorer_accept_f32 for 16-bit samples.
///
/// # Safety
/// As aesa_scorer_accept_f32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_scorer_accept_i16(
    scorer: *mut AesaScorer,
    interleaved: *const i16,
    num_values: usize,
) -> AesaStatus {
    // SAFETY: this function's own conditions.
    unsafe { accept(scorer, interleaved, num_values) }
}

/// Marks the next `num_samples` samples of every channel as lost. Time goes on; frames that touch them are no part of the
/// clip's scores. It takes as long as so much audio would; AESA_STATUS_INVALID_ARGUMENT for more than 2^40.
///
/// # Safety
/// `scorer` is null or a handle that has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_scorer_gap(scorer: *mut AesaScorer, num_samples: u64) -> AesaStatus {
    // SAFETY: this function's own condition.
    let scorer = unsafe { pointers::borrow(scorer.cast_const(), "scorer") };
    with(scorer, |scorer| {
        if num_samples > MAX_GAP_SAMPLES {
            let message = format_args!("a gap of {num_samples} samples is longer than any recording");
            return Err(Failure::new(AesaStatus::InvalidArgument, message));
        }
        scorer.gap(num_samples)?;
        Ok(AesaStatus::Ok)
    })
}

/// The next frame that is ready, for `*frame`; AESA_STATUS_NONE if none is. Frames are final, and can be taken after finish,
/// too; those not taken wait in memory.
///
/// # Safety
/// `scorer` is null or a handle that has not been freed; `frame` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_scorer_next_frame(scorer: *mut AesaScorer, frame: *mut AesaFrame) -> AesaStatus {
    // SAFETY: this function's own conditions.
    unsafe { give(scorer, frame, "frame", |scorer| Ok(scorer.next_frame().map(AesaFrame::from))) }
}

/// The clip's scores so far, for `*clip`; AESA_STATUS_NONE before the first frame.
///
/// # Safety
/// `scorer` is null or a handle that has not been freed; `clip` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_scorer_clip_so_far(scorer: *const AesaScorer, clip: *mut AesaClip) -> AesaStatus {
    // SAFETY: this function's own conditions.
    unsafe { give(scorer, clip, "clip", |scorer| Ok(scorer.clip_score_so_far().map(AesaClip::from))) }
}

/// Ends the clip: scores what is left, for the last frames and `*clip`. AESA_STATUS_TOO_SHORT, AESA_STATUS_ALL_LOST,
/// AESA_STATUS_NETWORK; AESA_STATUS_FINISHED the second time.
///
/// # Safety
/// `scorer` is null or a handle that has not been freed; `clip` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_scorer_finish(scorer: *mut AesaScorer, clip: *mut AesaClip) -> AesaStatus {
    // SAFETY: this function's own conditions.
    unsafe { give(scorer, clip, "clip", |scorer| Ok(Some(scorer.finish()?.into()))) }
}

/// Forgets the clip; the next chunk is the start of another. Frames not taken are dropped.
///
/// # Safety
/// `scorer` is null or a handle that has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_scorer_reset(scorer: *mut AesaScorer) -> AesaStatus {
    // SAFETY: this function's own condition.
    let scorer = unsafe { pointers::borrow(scorer.cast_const(), "scorer") };
    with(scorer, |scorer| {
        scorer.reset();
        Ok(AesaStatus::Ok)
    })
}

/// The longest wait for a frame, for `*num_samples`: how many samples (per channel, at the caller's rate) have to be seen
/// from a frame's start until its scores come out.
///
/// # Safety
/// `scorer` is null or a handle that has not been freed; `num_samples` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_scorer_latency_samples(
    scorer: *const AesaScorer,
    num_samples: *mut u64,
) -> AesaStatus {
    // SAFETY: this function's own conditions.
    unsafe { give(scorer, num_samples, "num_samples", |scorer| Ok(Some(scorer.latency_samples()))) }
}

/// Frees a scorer; null is nothing to do. No call may use the handle now or later, which cannot be noticed.
///
/// # Safety
/// `scorer` is null or a handle that has not been freed and that no other thread is using.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_scorer_free(scorer: *mut AesaScorer) {
    guarded(|| {
        if !scorer.is_null() {
            // SAFETY: the handle came from Box::into_raw in `aesa_scorer_new`, and it is its owner's last use.
            drop(unsafe { Box::from_raw(scorer) });
        }
        Ok(AesaStatus::Ok)
    });
}

fn start(model: &AesaModel, audio: &AesaAudio) -> Result<ModelScorer, Failure> {
    if audio.reserved != [0; 4] {
        let message = "audio.reserved is not 0; set all of the struct to 0 first";
        return Err(Failure::new(AesaStatus::InvalidArgument, message));
    }
    let spec = AudioSpec { sample_rate_hz: audio.sample_rate_hz, num_channels: audio.num_channels as usize };
    let model = model.model.clone();
    Ok(match (audio.hop_steps as usize, audio.look_ahead_steps as usize) {
        (0, 0) => ModelScorer::new(model, spec)?,
        (hop_steps, look_ahead_steps) => {
            ModelScorer::with_policy(model, spec, WindowPolicy { hop_steps, look_ahead_steps })?
        }
    })
}

/// # Safety
/// As [`aesa_scorer_accept_f32`].
unsafe fn accept<S: Sample>(scorer: *mut AesaScorer, interleaved: *const S, num_values: usize) -> AesaStatus {
    // SAFETY: this function's own condition.
    let scorer = unsafe { pointers::borrow(scorer.cast_const(), "scorer") };
    with(scorer, |scorer| {
        // SAFETY: this function's own condition.
        scorer.accept(unsafe { pointers::values(interleaved, num_values, "interleaved") }?)?;
        Ok(AesaStatus::Ok)
    })
}

/// Puts what `take` gives where the caller wants it. Nothing is taken if it cannot be put.
///
/// # Safety
/// `scorer` is null or a handle that has not been freed; `out` is null or may be written.
unsafe fn give<T>(
    scorer: *const AesaScorer,
    out: *mut T,
    name: &str,
    take: impl FnOnce(&mut ModelScorer) -> Result<Option<T>, Failure>,
) -> AesaStatus {
    // SAFETY: this function's own condition.
    let scorer = unsafe { pointers::borrow(scorer, "scorer") };
    with(scorer, |scorer| {
        pointers::check(out, name)?;
        let Some(value) = take(scorer)? else { return Ok(AesaStatus::None) };
        // SAFETY: this function's own condition.
        unsafe { pointers::put(out, value, name) }?;
        Ok(AesaStatus::Ok)
    })
}

/// Does `work` on a scorer that nobody else is using.
fn with(
    scorer: Result<&AesaScorer, Failure>,
    work: impl FnOnce(&mut ModelScorer) -> Result<AesaStatus, Failure>,
) -> AesaStatus {
    guarded(|| match scorer?.scorer.try_lock() {
        Ok(mut scorer) => work(&mut scorer),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::new(AesaStatus::Busy, "the scorer is in a call on another thread"))
        }
        Err(TryLockError::Poisoned(_)) => {
            Err(Failure::new(AesaStatus::Internal, "a bug in aesa ended this scorer in an earlier call"))
        }
    })
}

/// Longer gaps are mistakes, such as a negative number.
const MAX_GAP_SAMPLES: u64 = 1 << 40;

const _: () = {
    const fn is_shared_by_threads<T: Send + Sync>() {}
    is_shared_by_threads::<AesaScorer>();
};

#[cfg(test)]
mod tests {
    use aesa::{ModelInfo, Policy};
    use aesa_export::{ModelConfig, Storage, random_tensors, tiny_info, write_aesa};

    use super::*;
    use crate::model::{aesa_model_free, aesa_model_from_bytes};

    fn scorer() -> *mut AesaScorer {
        let config = ModelConfig::starter();
        let policy = Policy::Chunked { chunk_steps: 6, left_steps: 12 };
        let info = ModelInfo { policy, ..tiny_info() };
        let file =
            write_aesa(&config, &random_tensors(&config, 5).unwrap(), &info, Storage::Int8).unwrap();
        let audio = AesaAudio { sample_rate_hz: 16_000, num_channels: 1, ..AesaAudio::default() };
        let (mut model, mut scorer) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: all pointers are to live locals; the model is freed once.
        unsafe {
            assert_eq!(aesa_model_from_bytes(file.as_ptr(), file.len(), &mut model), AesaStatus::Ok);
            assert_eq!(aesa_scorer_new(model, &audio, &mut scorer), AesaStatus::Ok);
            aesa_model_free(model);
        }
        scorer
    }

    #[test]
    fn a_panic_ends_the_scorer_and_nothing_else() {
        let (broken, other) = (scorer(), scorer());
        // SAFETY: the handles are freed at the end only.
        unsafe {
            assert_eq!(with(Ok(&*broken), |_| panic!("on purpose")), AesaStatus::Internal);
            let chunk = [0.25_f32; 64];
            assert_eq!(aesa_scorer_accept_f32(broken, chunk.as_ptr(), chunk.len()), AesaStatus::Internal);
            assert_eq!(aesa_scorer_reset(broken), AesaStatus::Internal);
            assert_eq!(aesa_scorer_accept_f32(other, chunk.as_ptr(), chunk.len()), AesaStatus::Ok);
            aesa_scorer_free(broken);
            aesa_scorer_free(other);
        }
    }

    #[test]
    fn a_second_thread_is_told_to_wait() {
        let handle = scorer();
        // SAFETY: the handle is freed at the end only.
        let shared = unsafe { &*handle };
        let status = with(Ok(shared), |_| {
            let elsewhere = || with(Ok(shared), |_| Ok(AesaStatus::Ok));
            Ok(std::thread::scope(|threads| threads.spawn(elsewhere).join().unwrap()))
        });
        assert_eq!(status, AesaStatus::Busy);
        assert_eq!(with(Ok(shared), |_| Ok(AesaStatus::Ok)), AesaStatus::Ok);
        // SAFETY: nobody uses it any more.
        unsafe { aesa_scorer_free(handle) };
    }
}

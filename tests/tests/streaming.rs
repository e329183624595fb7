//! How a caller cuts its audio never changes a number, through the real model.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use aesa::{AudioSpec, FrameScore, Scorer, WindowPolicy};
use aesa_tests::{Scored, project, read, score, starter};
use proptest::prelude::*;
use std::sync::LazyLock;

/// A clip of 13 s at 44.1 kHz stereo: a full window and a tail, resampled.
static CLIP: LazyLock<(AudioSpec, Vec<f32>)> = LazyLock::new(|| {
    let (spec, samples) = read(&project("models/starter/golden/speech.flac"));
    assert_eq!((spec.sample_rate_hz, spec.num_channels), (48_000, 1));
    let stereo: Vec<f32> = samples.iter().chain(&samples).flat_map(|x| [*x, 0.5 * x]).collect();
    (AudioSpec { sample_rate_hz: 44_100, num_channels: 2 }, stereo)
});
static MODEL: LazyLock<aesa_tract::TractModel> = LazyLock::new(starter);
static WHOLE: LazyLock<Scored> =
    LazyLock::new(|| score(MODEL.session(), CLIP.0, &CLIP.1, &[CLIP.1.len()]).expect("the clip scores"));

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_cutting_gives_identical_bits(lengths in prop::collection::vec(1_usize..50_000, 1..20)) {
        let lengths: Vec<usize> = lengths.iter().map(|n| n * 2).collect();
        prop_assert_eq!(&score(MODEL.session(), CLIP.0, &CLIP.1, &lengths).unwrap(), &*WHOLE);
    }
}

#[test]
fn one_sample_at_a_time_gives_identical_bits() {
    assert_eq!(score(MODEL.session(), CLIP.0, &CLIP.1, &[2]).unwrap(), *WHOLE);
}

#[test]
fn windows_are_62_steps_and_the_clip_is_the_mean_of_all() {
    let num_steps = WHOLE.frames.len();
    assert!(num_steps > 62, "{num_steps}");
    assert!(WHOLE.frames.iter().enumerate().all(|(i, frame)| frame.index == i as u64));
    for axis in aesa::Axis::ALL {
        let mean = WHOLE.frames.iter().map(|f| f64::from(f.scores[axis])).sum::<f64>() / num_steps as f64;
        assert!((mean - f64::from(WHOLE.clip.scores[axis])).abs() < 1e-5, "{axis}");
    }
}

/// The frames of the clip at a smaller hop, handed over in chunks of one length.
fn frames_at(policy: WindowPolicy, length: usize) -> Vec<FrameScore> {
    let mut scorer = Scorer::new(MODEL.session(), CLIP.0).unwrap().with_policy(policy).unwrap();
    let mut frames = Vec::new();
    for chunk in CLIP.1.chunks(length) {
        scorer.accept_waveform(chunk).unwrap();
        frames.extend(core::iter::from_fn(|| scorer.next_frame()));
    }
    scorer.finish().unwrap();
    frames.extend(core::iter::from_fn(|| scorer.next_frame()));
    frames
}

#[test]
fn a_smaller_hop_gives_the_scores_of_the_same_windows() {
    let policy = WindowPolicy { hop_steps: 31, look_ahead_steps: 0 };
    let frames = frames_at(policy, 44_100);
    assert_eq!(frames.len(), WHOLE.frames.len());
    // Windows end at 31, 62 and 93: the second is the file's first.
    assert_eq!(frames[31..62], WHOLE.frames[31..62]);
    assert_ne!(frames[..31], WHOLE.frames[..31]);
    assert_eq!(frames_at(policy, 998), frames);
    // With half a window of look-ahead, the first half comes from that window, too.
    let frames = frames_at(WindowPolicy { hop_steps: 31, look_ahead_steps: 31 }, 4410);
    assert_eq!(frames[..31], WHOLE.frames[..31]);
}

#[test]
fn reset_equals_new() {
    let mut scorer = Scorer::new(MODEL.session(), CLIP.0).unwrap();
    scorer.accept_waveform(&CLIP.1[..200_000]).unwrap();
    scorer.reset();
    scorer.accept_waveform(&CLIP.1).unwrap();
    assert_eq!(scorer.finish().unwrap(), WHOLE.clip);
}

#[test]
fn threads_give_identical_bits() {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| score(MODEL.session(), CLIP.0, &CLIP.1, &[4096]).unwrap()))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), *WHOLE);
        }
    });
}

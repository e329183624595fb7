//! The native engine behind the scorer: audio of any rate, cut anyhow.

use std::sync::OnceLock;

use aesa::Policy;
use aesa::fbank::normalised_fbank;
use aesa::native::{Model, Session, StreamError};
use aesa::{AudioSpec, ClipScore, FrameScore, Network, Scorer, ScorerError, Scores, WindowPolicy};
use aesa_export::{ModelConfig, Storage};
use proptest::prelude::*;

use crate::common::{file, score};

/// Chunks in f32 and int8, and windows.
fn models() -> &'static [Model<'static>] {
    static MODELS: OnceLock<Vec<Model<'static>>> = OnceLock::new();
    MODELS.get_or_init(|| {
        let kinds = [(Storage::F32, Some((2, 3))), (Storage::Int8, Some((6, 12))), (Storage::Int8, None)];
        let files = kinds.map(|(storage, chunks)| file(&ModelConfig::tiny(), storage, chunks));
        files.into_iter().map(|file| Model::from_bytes(Box::leak(Box::new(file))).unwrap()).collect()
    })
}

fn chunked() -> &'static Model<'static> {
    &models()[1]
}

fn scorer(
    model: &'static Model<'static>,
    sample_rate_hz: u32,
    num_channels: usize,
) -> Scorer<Session<'static>> {
    Scorer::new(model.session().unwrap(), AudioSpec { sample_rate_hz, num_channels }).unwrap()
}

fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

type Outcome = (Vec<FrameScore>, Result<ClipScore, ScorerError<StreamError>>);

/// Feeds chunks of the given lengths, then the rest, and takes frames on the way.
fn run(scorer: &mut Scorer<Session<'static>>, signal: &[f32], cuts: &[usize]) -> Outcome {
    let mut frames = Vec::new();
    let mut rest = signal;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (chunk, after) = rest.split_at(cut.min(rest.len()));
        scorer.accept_waveform(chunk).unwrap();
        frames.extend(core::iter::from_fn(|| scorer.next_frame()));
        rest = after;
    }
    let clip = scorer.finish();
    frames.extend(core::iter::from_fn(|| scorer.next_frame()));
    (frames, clip)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn cuts_change_nothing_and_reset_equals_new(
        which in 0usize..3,
        sample_rate_hz in prop::sample::select(vec![16_000, 8_000, 11_025, 44_100, 48_000]),
        num_channels in 1usize..4,
        len in 0usize..300_000,
        cuts in prop::collection::vec(1usize..100_000, 0..8),
        small_cuts in prop::collection::vec(1usize..700, 0..40),
    ) {
        let signal = noise(len / num_channels * num_channels, 1);
        let new = || scorer(&models()[which], sample_rate_hz, num_channels);
        let whole = run(&mut new(), &signal, &[]);
        let cuts: Vec<usize> = small_cuts.into_iter().chain(cuts).map(|c| c * num_channels).collect();
        let mut reused = new();
        prop_assert_eq!(&run(&mut reused, &signal, &cuts), &whole);
        reused.reset();
        // Left in the middle of a clip, with a gap in it.
        reused.accept_waveform(&noise(48_000 * num_channels, 2)).unwrap();
        reused.gap(3000).unwrap();
        reused.reset();
        prop_assert_eq!(&run(&mut reused, &signal, &[]), &whole);
    }

    #[test]
    fn frames_are_the_streams(which in 0usize..2, len in 2800usize..60_000) {
        let (model, signal) = (&models()[which], noise(len, 3));
        let (frames, clip) = run(&mut scorer(model, 16_000, 1), &signal, &[777]);
        let expected = score(model, &normalised_fbank(&signal), &[1000]);
        prop_assert_eq!(frames.iter().map(|f| f.scores).collect::<Vec<_>>(), expected);
        prop_assert_eq!(clip.unwrap().num_steps, frames.len() as u64);
    }
}

#[test]
fn one_sample_or_a_minute_at_a_time() {
    let signal = noise(70 * 16_000, 4);
    let whole = run(&mut scorer(chunked(), 16_000, 1), &signal, &[60 * 16_000]);
    assert_eq!(whole.0.len(), 437);
    assert_eq!(run(&mut scorer(chunked(), 16_000, 1), &signal, &[160; 7000]), whole);
    let (short, part) = (&signal[..40_000], run(&mut scorer(chunked(), 16_000, 1), &signal[..40_000], &[]));
    assert_eq!(run(&mut scorer(chunked(), 16_000, 1), short, &[1; 40_000]), part);
}

#[test]
fn two_scorers_of_one_model_share_nothing() {
    let (one, two) = (noise(90_000, 5), noise(90_000, 6));
    let alone = [&one, &two].map(|signal| run(&mut scorer(chunked(), 16_000, 1), signal, &[]));
    assert_ne!(alone[0], alone[1]);
    let mut both = [(); 2].map(|()| scorer(chunked(), 16_000, 1));
    let mut together = [Vec::new(), Vec::new()];
    for chunks in one.chunks(777).zip(two.chunks(777)) {
        for ((scorer, chunk), frames) in both.iter_mut().zip([chunks.0, chunks.1]).zip(&mut together) {
            scorer.accept_waveform(chunk).unwrap();
            frames.extend(core::iter::from_fn(|| scorer.next_frame()));
        }
    }
    for ((scorer, mut frames), alone) in both.iter_mut().zip(together).zip(alone) {
        let (rest, clip) = run(scorer, &[], &[]);
        frames.extend(rest);
        assert_eq!((frames, clip), alone);
    }
}

#[test]
fn chunks_come_within_the_announced_latency() {
    for sample_rate_hz in [16_000, 44_100, 8_000] {
        let mut scorer = scorer(chunked(), sample_rate_hz, 1);
        let latency = scorer.latency_samples();
        // A chunk of 0.96 s and 15 ms; what resampling adds is less than a fifth of a second.
        let chunk = (f64::from(sample_rate_hz) * 0.975) as u64;
        assert!((chunk..=chunk + u64::from(sample_rate_hz) / 5).contains(&latency), "{latency}");
        scorer.accept_waveform(&noise(latency as usize, 7)).unwrap();
        assert_eq!(core::iter::from_fn(|| scorer.next_frame()).count(), 6, "{sample_rate_hz}");
        assert_eq!(scorer.clip_score_so_far().map(|c| c.num_steps), Some(6));
    }
}

#[test]
fn a_gap_is_silence_and_flags_what_attends_to_it() {
    let (before, after) = (noise(50_000, 8), noise(70_000, 9));
    let (mut marked, mut silent) = (scorer(chunked(), 16_000, 1), scorer(chunked(), 16_000, 1));
    for scorer in [&mut marked, &mut silent] {
        scorer.accept_waveform(&before).unwrap();
    }
    marked.gap(1000).unwrap();
    silent.accept_waveform(&[0.0; 1000]).unwrap();
    let ((frames, clip), (silent, _)) = (run(&mut marked, &after, &[]), run(&mut silent, &after, &[]));
    assert!(frames.iter().zip(&silent).all(|(a, b)| (a.index, a.scores) == (b.index, b.scores)));
    // Samples 50,000 to 51,000 lie in step 19 (48,640 to 51,440), and so in chunk 3; chunks 4 and 5 attend to it.
    for frame in &frames {
        assert_eq!(frame.is_lost, frame.index == 19);
        assert_eq!(frame.has_gap, (18..36).contains(&frame.index), "{}", frame.index);
    }
    assert_eq!(clip.unwrap().num_steps, frames.len() as u64 - 1);
}

#[test]
fn hops_are_for_windows() {
    let policy = WindowPolicy { hop_steps: 3, look_ahead_steps: 1 };
    let refused = scorer(chunked(), 16_000, 1).with_policy(policy).err();
    assert_eq!(refused, Some(ScorerError::NotWindowed { chunk_steps: 6 }));
    assert_eq!(chunked().info().unwrap().policy, Policy::Chunked { chunk_steps: 6, left_steps: 12 });
    let hop = || scorer(&models()[2], 16_000, 1).with_policy(policy).unwrap();
    let signal = noise(200_000, 10);
    let whole = run(&mut hop(), &signal, &[]);
    assert_eq!(run(&mut hop(), &signal, &[333; 500]), whole);
    // Not the scores of windows without overlap.
    assert_ne!(run(&mut scorer(&models()[2], 16_000, 1), &signal, &[]).0, whole.0);
}

#[test]
fn chunks_that_do_not_fit_are_refused() {
    let mut session = chunked().session().unwrap();
    let mut scores = [Scores::default(); 8];
    for (num_features, num_steps) in [(0, 0), (2048, 2), (7 * 2048, 7)] {
        let refused = session.score_window(&vec![0.0; num_features], &mut scores[..num_steps]);
        assert_eq!(refused, Err(StreamError::WindowSize { num_features, num_steps, max_steps: 6 }));
    }
    let refused = session.score_window(&[f32::NAN; 2048], &mut scores[..1]);
    assert_eq!(refused, Err(StreamError::NotFinite { index: 0 }));
}

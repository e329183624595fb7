//! The whole path with a deterministic stand-in for the network.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use proptest::prelude::*;

use super::*;
use crate::fbank::normalised_fbank;
use crate::model::Labels;

/// The rates that this build accepts.
const RATES_HZ: &[u32] = if cfg!(feature = "std") { &[16_000, 8_000, 44_100, 48_000] } else { &[16_000] };

/// A network whose every score depends on all features of the window (or, in chunks, of the clip so far) and on their order.
#[derive(Debug)]
struct Hash {
    info: ModelInfo,
    /// Of all chunks of the clip; windows leave it alone.
    carried: u64,
    /// After a short chunk nothing may come but `reset`.
    is_ended: bool,
    /// Which call fails, if any.
    fails_at: Option<usize>,
    gives_nan: bool,
    num_calls: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl core::error::Error for Broken {}

impl Network for Hash {
    type Error = Broken;

    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn score_window(&mut self, features: &[f32], scores: &mut [Scores]) -> Result<(), Broken> {
        assert_eq!(features.len(), scores.len() * FRAMES_PER_STEP * NUM_MEL_BINS);
        assert!((1..=self.info.policy.max_steps()).contains(&scores.len()) && !self.is_ended);
        assert!(features.iter().all(|x| x.is_finite()), "a leak from outside the window");
        self.num_calls += 1;
        if self.fails_at == Some(self.num_calls) {
            return Err(Broken);
        }
        // FNV-1a over the bits of the whole window, then of each step.
        let fnv = |seed: u64, values: &[f32]| {
            values.iter().fold(seed, |h, x| (h ^ u64::from(x.to_bits())).wrapping_mul(0x100_0000_01b3))
        };
        let whole = fnv(self.carried, features);
        if let Policy::Chunked { chunk_steps, .. } = self.info.policy {
            (self.carried, self.is_ended) = (whole, scores.len() < chunk_steps);
        }
        for (step, scores) in features.chunks(FRAMES_PER_STEP * NUM_MEL_BINS).zip(scores) {
            let hash = fnv(whole, step);
            *scores = Scores(core::array::from_fn(|axis| {
                if self.gives_nan { f32::NAN } else { ((hash >> (8 * axis)) & 0xffff) as f32 * 10.0 / 65_535.0 }
            }));
        }
        Ok(())
    }

    fn reset(&mut self) {
        (self.carried, self.is_ended) = (FNV_BASIS, false);
    }
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

fn network(window_steps: usize) -> Hash {
    network_of(Policy::Windowed { window_steps })
}

fn network_of(policy: Policy) -> Hash {
    let info = ModelInfo {
        id: "hash".into(),
        version: "1".into(),
        target_mean: [5.0; 4],
        target_std: [1.0; 4],
        policy,
        labels: Labels::Proxy,
        run_hash: "00".into(),
    };
    Hash { info, carried: FNV_BASIS, is_ended: false, fails_at: None, gives_nan: false, num_calls: 0 }
}

fn scorer(sample_rate_hz: u32, num_channels: usize) -> Scorer<Hash> {
    Scorer::new(network(7), AudioSpec { sample_rate_hz, num_channels }).unwrap()
}

/// One of the ways in which a scorer hears.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// In windows of 7 steps.
    Windows(WindowPolicy),
    Chunks(Policy),
}

impl Way {
    fn scorer(self, sample_rate_hz: u32, num_channels: usize) -> Scorer<Hash> {
        match self {
            Self::Windows(policy) => scorer(sample_rate_hz, num_channels).with_policy(policy).unwrap(),
            Self::Chunks(policy) => {
                Scorer::new(network_of(policy), AudioSpec { sample_rate_hz, num_channels }).unwrap()
            }
        }
    }
}

fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

type Outcome = (Vec<FrameScore>, Result<ClipScore, ScorerError<Broken>>);

/// Feeds chunks of the given lengths, then the rest, and takes frames on the way.
fn run(scorer: &mut Scorer<Hash>, signal: &[f32], cuts: &[usize]) -> Outcome {
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
    // 51, fewer where PROPTEST_CASES asks for fewer than its 256.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(5)))]
    #[test]
    fn cuts_change_nothing(
        sample_rate_hz in any_rate(),
        num_channels in 1usize..4,
        way in ways(),
        len in 0usize..120_000,
        cuts in prop::collection::vec(1usize..100_000, 0..8),
        small_cuts in prop::collection::vec(1usize..700, 0..40),
    ) {
        let signal = noise(len / num_channels * num_channels);
        let new = || way.scorer(sample_rate_hz, num_channels);
        let whole = run(&mut new(), &signal, &[]);
        let cuts: Vec<usize> = small_cuts.into_iter().chain(cuts).map(|c| c * num_channels).collect();
        let mut reused = new();
        prop_assert_eq!(&run(&mut reused, &signal, &cuts), &whole);
        reused.reset();
        prop_assert_eq!(&run(&mut reused, &signal, &[]), &whole);
    }

    #[test]
    fn each_score_is_its_windows(policy in policies(), num_steps in 1usize..40, rest in 0usize..2560) {
        let signal = noise(num_steps * STEP_SAMPLES + 240 + rest);
        let mut scorer = scorer(16_000, 1).with_policy(policy).unwrap();
        let (frames, clip) = run(&mut scorer, &signal, &[]);
        let features = normalised_fbank(&signal);
        prop_assert_eq!(frames.len(), num_steps);
        let mut sum = 0.0;
        for (i, frame) in frames.iter().enumerate() {
            let expected = score_by_definition(&features, policy, num_steps, i);
            prop_assert_eq!(*frame, FrameScore { index: i as u64, scores: expected, has_gap: false, is_lost: false });
            sum += f64::from(expected.0[2]);
        }
        prop_assert_eq!(clip.unwrap().scores.0[2], (sum / num_steps as f64) as f32);
    }

    #[test]
    fn each_chunk_is_scored_once_after_those_before(
        chunk_steps in 1usize..=7,
        num_steps in 1usize..40,
        rest in 0usize..2560,
    ) {
        let policy = Policy::Chunked { chunk_steps, left_steps: 3 };
        let signal = noise(num_steps * STEP_SAMPLES + 240 + rest);
        let (frames, clip) = run(&mut Way::Chunks(policy).scorer(16_000, 1), &signal, &[]);
        let (features, mut network) = (normalised_fbank(&signal), network_of(policy));
        let mut expected = vec![Scores::default(); num_steps];
        let features = features.chunks(chunk_steps * FRAMES_PER_STEP * NUM_MEL_BINS);
        for (scores, features) in expected.chunks_mut(chunk_steps).zip(features) {
            let num_values = scores.len() * FRAMES_PER_STEP * NUM_MEL_BINS;
            network.score_window(&features[..num_values], scores).unwrap();
        }
        prop_assert_eq!(frames.iter().map(|f| f.scores).collect::<Vec<_>>(), expected);
        prop_assert!(frames.iter().enumerate().all(|(i, f)| f.index == i as u64 && !f.has_gap && !f.is_lost));
        prop_assert_eq!(clip.map(|c| c.num_steps), Ok(num_steps as u64));
    }

    #[test]
    fn no_frame_is_later_than_announced(sample_rate_hz in any_rate(), way in ways()) {
        let mut scorer = way.scorer(sample_rate_hz, 1);
        let latency = scorer.latency_samples();
        let step = u64::from(sample_rate_hz) * STEP_SAMPLES as u64;
        let (mut num_frames, mut longest) = (0, 0);
        // 61 is small against the 160 ms of a step, and has no factor in common with any rate's blocks.
        for chunk in noise(sample_rate_hz as usize * 6).chunks(61) {
            scorer.accept_waveform(chunk).unwrap();
            let now = scorer.num_samples();
            while let Some(frame) = scorer.next_frame() {
                longest = longest.max(now - frame.index * step / 16_000);
                num_frames += 1;
            }
            // The next one is not overdue.
            prop_assert!(now - (num_frames * step / 16_000).min(now) < latency, "frame {num_frames} at {now}");
        }
        prop_assert!(longest < latency + 61, "{longest}, announced {latency}");
        // Nor is more announced than can happen, but for what the step and block grids leave open.
        let slack = if sample_rate_hz == 16_000 { 61 } else { scorer.resampler_latency() + step / 16_000 };
        prop_assert!(longest + slack >= latency, "{longest}, announced {latency}");
    }

    #[test]
    fn gaps_are_silence_with_a_mark(
        sample_rate_hz in any_rate(),
        way in ways(),
        parts in prop::collection::vec((0usize..30_000, 0usize..9_000), 1..5),
    ) {
        let new = || way.scorer(sample_rate_hz, 2);
        let (mut marked, mut silent, mut noisy) = (new(), new(), new());
        for (i, (num_samples, num_lost)) in parts.into_iter().enumerate() {
            let audio = noise(2 * num_samples + i)[i..].to_vec();
            [&mut marked, &mut silent, &mut noisy].into_iter().for_each(|s| s.accept_waveform(&audio).unwrap());
            marked.gap(num_lost as u64).unwrap();
            silent.accept_waveform(&vec![0.0; 2 * num_lost]).unwrap();
            noisy.accept_waveform(&noise(2 * num_lost)).unwrap();
        }
        prop_assert_eq!(marked.num_samples(), silent.num_samples());
        let (frames, clip) = run(&mut marked, &[], &[]);
        let (silent, _) = run(&mut silent, &[], &[]);
        let (noisy, _) = run(&mut noisy, &[], &[]);
        prop_assert_eq!(frames.len(), silent.len());
        // What a chunk carries is no longer the same after the first gap.
        let num_apart = match way {
            Way::Windows(_) => frames.len(),
            Way::Chunks(_) => frames.iter().position(|f| f.has_gap).unwrap_or(frames.len()),
        };
        for (i, ((frame, silent), noisy)) in frames.iter().zip(&silent).zip(&noisy).enumerate() {
            prop_assert_eq!((frame.index, frame.scores), (silent.index, silent.scores));
            let is_deaf = i >= num_apart || frame.has_gap || frame.scores == noisy.scores;
            prop_assert!(is_deaf, "{} hears the gap", frame.index);
            prop_assert!(frame.has_gap || !frame.is_lost);
        }
        if let Way::Chunks(policy) = way {
            let lost = frames.iter().map(|f| f.is_lost).collect::<Vec<_>>();
            for (i, frame) in frames.iter().enumerate() {
                let chunk = i / policy.max_steps() * policy.max_steps();
                let heard = chunk.saturating_sub(policy.steps_before())..(chunk + policy.max_steps()).min(lost.len());
                prop_assert_eq!(frame.has_gap, lost[heard].contains(&true), "{}", i);
            }
        }
        let kept: Vec<f64> = frames.iter().filter(|f| !f.is_lost).map(|f| f64::from(f.scores.0[1])).collect();
        match clip {
            Ok(clip) => {
                prop_assert_eq!(clip.num_steps, kept.len() as u64);
                let mean = (kept.iter().sum::<f64>() / kept.len() as f64) as f32;
                prop_assert_eq!(clip.scores.0[1], mean);
            }
            Err(ScorerError::AllLost { num_steps }) => {
                prop_assert_eq!((num_steps, kept.len()), (frames.len() as u64, 0));
            }
            Err(error) => {
                let is_short = matches!(error, ScorerError::TooShort { .. });
                prop_assert!(frames.is_empty() && is_short, "{error}");
            }
        }
    }
}

fn any_rate() -> impl Strategy<Value = u32> {
    let other = if cfg!(feature = "std") { 4000..=192_000u32 } else { 16_000..=16_000 };
    prop_oneof![3 => prop::sample::select(RATES_HZ), 1 => other]
}

/// One of each kind.
const WAYS: [Way; 2] = [
    Way::Windows(WindowPolicy { hop_steps: 3, look_ahead_steps: 2 }),
    Way::Chunks(Policy::Chunked { chunk_steps: 4, left_steps: 5 }),
];

/// All that windows of 7 steps allow.
fn policies() -> impl Strategy<Value = WindowPolicy> {
    (1usize..=7)
        .prop_flat_map(|hop_steps| (Just(hop_steps), 0..=7 - hop_steps))
        .prop_map(|(hop_steps, look_ahead_steps)| WindowPolicy { hop_steps, look_ahead_steps })
}

fn ways() -> impl Strategy<Value = Way> {
    let chunks = (1usize..=7, 0usize..=15);
    let chunks = chunks.prop_map(|(chunk_steps, left_steps)| Policy::Chunked { chunk_steps, left_steps });
    prop_oneof![policies().prop_map(Way::Windows), chunks.prop_map(Way::Chunks)]
}

/// The score of step `i` by the words of docs/SPEC.md, from the features of the whole clip.
fn score_by_definition(features: &[f32], policy: WindowPolicy, num_steps: usize, i: usize) -> Scores {
    let WindowPolicy { hop_steps, look_ahead_steps } = policy;
    let ends = || (1..).filter(|end| end % hop_steps == 7 % hop_steps);
    let first = ends().find(|end| *end > i + look_ahead_steps).unwrap();
    let end = if first <= num_steps { first } else { ends().find(|end| *end > num_steps).unwrap() };
    let (start, end) = (end.saturating_sub(7), end.min(num_steps));
    let step = FRAMES_PER_STEP * NUM_MEL_BINS;
    let mut scores = vec![Scores::default(); end - start];
    network(7).score_window(&features[start * step..end * step], &mut scores).unwrap();
    scores[i - start]
}

#[test]
fn a_minute_at_a_time_equals_small_chunks() {
    let signal = noise(130 * 16_000);
    for way in WAYS {
        let whole = run(&mut way.scorer(16_000, 1), &signal, &[60 * 16_000, 60 * 16_000]);
        assert_eq!(run(&mut way.scorer(16_000, 1), &signal, &[160; 13_000]), whole);
    }
}

#[test]
fn two_scorers_share_nothing() {
    let (one, two) = (noise(50_000), noise(90_000)[40_000..].to_vec());
    WAYS.into_iter().for_each(|way| share_nothing(way, &one, &two));
}

fn share_nothing(way: Way, one: &[f32], two: &[f32]) {
    let new = || way.scorer(16_000, 1);
    let alone = [run(&mut new(), one, &[]), run(&mut new(), two, &[])];
    assert_ne!(alone[0], alone[1]);
    let mut both = [new(), new()];
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
fn policies_that_windows_cannot_give_are_refused() {
    for (hop_steps, look_ahead_steps) in [(0, 0), (8, 0), (7, 1), (1, 7), (usize::MAX, usize::MAX)] {
        let refused = scorer(16_000, 1).with_policy(WindowPolicy { hop_steps, look_ahead_steps });
        let expected = ScorerError::Policy { hop_steps, look_ahead_steps, window_steps: 7 };
        assert_eq!(refused.err(), Some(expected));
    }
    let chunked = Scorer::new(network_of(Policy::Chunked { chunk_steps: 6, left_steps: 0 }), AudioSpec::MONO_16K);
    let refused = chunked.unwrap().with_policy(WindowPolicy::without_overlap(6));
    assert_eq!(refused.err(), Some(ScorerError::NotWindowed { chunk_steps: 6 }));
}

#[test]
fn a_network_that_comes_from_another_clip_is_as_new() {
    let policy = Policy::Chunked { chunk_steps: 2, left_steps: 2 };
    let signal = noise(30_000);
    let expected = run(&mut Way::Chunks(policy).scorer(16_000, 1), &signal, &[]);
    let mut used = Way::Chunks(policy).scorer(16_000, 1);
    used.accept_waveform(&noise(20_000)).unwrap();
    let mut again = Scorer::new(used.into_network(), AudioSpec::MONO_16K).unwrap();
    assert_eq!(run(&mut again, &signal, &[]), expected);
}

#[test]
fn a_chunked_model_flags_the_chunks_that_attend_to_a_gap() {
    let way = Way::Chunks(Policy::Chunked { chunk_steps: 2, left_steps: 3 });
    let mut scorer = way.scorer(16_000, 1);
    // Step 9 covers samples 23,040 to 25,840, step 8 ends at 23,280.
    scorer.accept_waveform(&noise(23_300)).unwrap();
    scorer.gap(100).unwrap();
    let (frames, clip) = run(&mut scorer, &noise(40_000), &[]);
    let lost: Vec<u64> = frames.iter().filter(|f| f.is_lost).map(|f| f.index).collect();
    let flagged: Vec<u64> = frames.iter().filter(|f| f.has_gap).map(|f| f.index).collect();
    assert_eq!((lost, flagged), (vec![9], vec![8, 9, 10, 11, 12, 13]));
    assert_eq!(clip.unwrap().num_steps, frames.len() as u64 - 1);
    scorer.reset();
    let (frames, _) = run(&mut scorer, &noise(40_000), &[]);
    assert!(frames.iter().all(|f| !f.has_gap && !f.is_lost), "reset forgets the gap");
}

#[test]
fn a_gap_is_flagged_where_it_touches() {
    let mut scorer = scorer(16_000, 1);
    // Windows of 7 steps; step 9 covers samples 23,040 to 25,840, step 8 ends at 23,280.
    scorer.accept_waveform(&noise(23_300)).unwrap();
    scorer.gap(100).unwrap();
    let (frames, clip) = run(&mut scorer, &noise(40_000), &[]);
    let with = |what: fn(&FrameScore) -> bool| -> Vec<u64> {
        frames.iter().filter(|f| what(f)).map(|f| f.index).collect()
    };
    assert_eq!(with(|f| f.is_lost), [9]);
    assert_eq!(with(|f| f.has_gap), [7, 8, 9, 10, 11, 12, 13]);
    assert_eq!(clip.unwrap().num_steps, frames.len() as u64 - 1);
    assert_eq!(scorer.gap(1), Err(ScorerError::Finished));
    scorer.reset();
    let (frames, _) = run(&mut scorer, &noise(40_000), &[]);
    assert!(frames.iter().all(|f| !f.has_gap && !f.is_lost), "reset forgets the gap");
}

#[test]
fn nothing_but_gap_is_an_error() {
    let mut scorer = scorer(16_000, 1);
    scorer.gap(0).unwrap();
    scorer.gap(40_000).unwrap();
    assert_eq!(scorer.clip_score_so_far(), None);
    assert_eq!(scorer.finish(), Err(ScorerError::AllLost { num_steps: 15 }));
    assert_eq!(core::iter::from_fn(|| scorer.next_frame()).count(), 15);
}

#[test]
fn one_sample_at_a_time_equals_one_chunk() {
    let signal = noise(20_000);
    let whole = run(&mut scorer(16_000, 1), &signal, &[]);
    assert_eq!(run(&mut scorer(16_000, 1), &signal, &[1; 20_000]), whole);
}

#[test]
fn windows_hold_the_clips_own_features() {
    let signal = noise(40_000);
    let (frames, clip) = run(&mut scorer(16_000, 1), &signal, &[]);
    // 40,000 samples: 248 frames, 15 steps: windows of 7, 7 and 1.
    let features = normalised_fbank(&signal);
    let mut expected = Vec::new();
    for (first, num_steps) in [(0, 7), (7, 7), (14, 1)] {
        let mut scores = vec![Scores::default(); num_steps];
        let step = FRAMES_PER_STEP * NUM_MEL_BINS;
        network(7).score_window(&features[first * step..][..num_steps * step], &mut scores).unwrap();
        expected.extend(scores);
    }
    assert_eq!(frames.iter().map(|f| f.scores).collect::<Vec<_>>(), expected);
    assert!(frames.iter().enumerate().all(|(i, f)| f.index == i as u64));
    let mean = expected.iter().map(|s| f64::from(s.0[0])).sum::<f64>() / 15.0;
    let clip = clip.unwrap();
    assert_eq!((clip.num_steps, clip.scores.0[0]), (15, mean as f32));
}

#[test]
fn lengths_at_the_edge() {
    for (len, expected) in [(0, None), (1, None), (399, None), (2799, None), (2800, Some(1)), (5359, Some(1)), (5360, Some(2))]
    {
        let (frames, clip) = run(&mut scorer(16_000, 1), &noise(len), &[]);
        match expected {
            None => assert_eq!(clip, Err(ScorerError::TooShort { num_samples: len as u64, needed: 2800 })),
            Some(steps) => assert_eq!(clip.map(|c| c.num_steps), Ok(steps), "{len}"),
        }
        assert_eq!(frames.len() as u64, expected.unwrap_or(0), "{len}");
    }
    let mut empty = scorer(16_000, 1);
    assert_eq!(empty.finish(), Err(ScorerError::TooShort { num_samples: 0, needed: 2800 }));
}

#[test]
fn silence_scores() {
    for &sample_rate_hz in RATES_HZ {
        let second = vec![0.0; 2 * sample_rate_hz as usize];
        let (frames, clip) = run(&mut scorer(sample_rate_hz, 2), &second, &[]);
        assert_eq!((frames.len(), clip.map(|c| c.num_steps)), (6, Ok(6)), "{sample_rate_hz}");
    }
}

#[test]
fn formats_and_channels_of_one_sound_agree() {
    let ints: Vec<i16> = noise(9000).iter().map(|x| (x * 32_767.0) as i16).collect();
    let floats: Vec<f32> = ints.iter().map(|x| f32::from(*x) / 32_768.0).collect();
    let expected = run(&mut scorer(16_000, 1), &floats, &[]).1;
    let mut mono = scorer(16_000, 1);
    mono.accept_i16(&ints).unwrap();
    assert_eq!(mono.finish(), expected);
    let doubled: Vec<f32> = floats.iter().flat_map(|x| [*x, *x]).collect();
    assert_eq!(run(&mut scorer(16_000, 2), &doubled, &[3000]).1, expected);
}

#[test]
fn odd_specs_are_refused() {
    let also: &[u32] = if cfg!(feature = "std") { &[] } else { &[8000, 44_100] };
    for actual_hz in [0, 3999, 768_001].into_iter().chain(also.iter().copied()) {
        let spec = AudioSpec { sample_rate_hz: actual_hz, num_channels: 1 };
        assert_eq!(Scorer::new(network(7), spec).err(), Some(ScorerError::SampleRate { actual_hz }));
    }
    let spec = AudioSpec { sample_rate_hz: 16_000, num_channels: 0 };
    assert_eq!(Scorer::new(network(7), spec).err(), Some(ScorerError::Channels { num_channels: 0 }));
}

#[test]
fn a_refused_chunk_leaves_the_clip_as_it_was() {
    let signal = noise(12_000);
    let expected = run(&mut scorer(16_000, 2), &signal, &[]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut scorer = scorer(16_000, 2);
        scorer.accept_waveform(&signal[..100]).unwrap();
        let mut chunk = signal[100..].to_vec();
        chunk[7] = bad;
        assert_eq!(scorer.accept_waveform(&chunk), Err(ScorerError::NonFinite { index: 53 }));
        let incomplete = ScorerError::IncompleteSample { num_values: 3, num_channels: 2 };
        assert_eq!(scorer.accept_waveform(&signal[..3]), Err(incomplete));
        assert_eq!(scorer.num_samples(), 50);
        assert_eq!(run(&mut scorer, &signal[100..], &[]), expected);
    }
}

#[test]
fn after_the_end_only_reset_goes_on() {
    let signal = noise(30_000);
    let mut scorer = scorer(16_000, 1);
    let first = run(&mut scorer, &signal, &[]);
    assert_eq!(scorer.accept_waveform(&signal), Err(ScorerError::Finished));
    assert_eq!(scorer.finish(), Err(ScorerError::Finished));
    scorer.reset();
    assert_eq!(scorer.clip_score_so_far(), None);
    assert_eq!(run(&mut scorer, &signal, &[]), first);
}

#[test]
fn network_errors_end_the_clip() {
    let signal = noise(40_000);
    let failing = Hash { fails_at: Some(2), ..network(7) };
    let mut scorer = Scorer::new(failing, AudioSpec::MONO_16K).unwrap();
    assert_eq!(scorer.accept_waveform(&signal), Err(ScorerError::Network(Broken)));
    assert_eq!(scorer.finish(), Err(ScorerError::Finished));
    assert_eq!(core::iter::from_fn(|| scorer.next_frame()).count(), 7);

    let nan = Hash { gives_nan: true, ..network(7) };
    let mut scorer = Scorer::new(nan, AudioSpec::MONO_16K).unwrap();
    assert_eq!(scorer.accept_waveform(&signal), Err(ScorerError::BadScore { step: 0 }));
}

#[test]
fn frames_come_within_the_announced_latency() {
    for &sample_rate_hz in RATES_HZ {
        let mut scorer = scorer(sample_rate_hz, 1);
        let latency = scorer.latency_samples() as usize;
        scorer.accept_waveform(&vec![0.1; latency]).unwrap();
        assert_eq!(core::iter::from_fn(|| scorer.next_frame()).count(), 7, "{sample_rate_hz}");
        assert_eq!(scorer.clip_score_so_far().map(|c| c.num_steps), Some(7));
    }
}

#[test]
fn without_frames_the_clip_score_is_the_same() {
    let signal = noise(40_000);
    let expected = run(&mut scorer(16_000, 1), &signal, &[]).1;
    let (frames, clip) = run(&mut scorer(16_000, 1).without_frames(), &signal, &[]);
    assert_eq!((frames.len(), clip), (0, expected));
}

//! Time per ten seconds of audio, stage by stage, on one thread; each stage's result is checked before it is timed.

#![allow(missing_docs)] // criterion's macros make public functions without documentation

use core::hint::black_box;
use std::path::Path;

use aesa::resample::Resampler;
use aesa::{AudioSpec, Network, Scorer, Scores};
use aesa_tract::TractModel;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const RATE_HZ: usize = 16_000;
const CLIP_S: usize = 10;

/// A tone whose pitch glides, with a little noise: no stage can take a short cut on it.
fn clip(rate_hz: usize) -> Vec<f32> {
    let mut state = 1_u32;
    (0..CLIP_S * rate_hz)
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let t = n as f32 / rate_hz as f32;
            0.3 * (2.0 * core::f32::consts::PI * (200.0 + 150.0 * t) * t).sin()
                + 0.02 * (state as f32 / u32::MAX as f32 - 0.5)
        })
        .collect()
}

fn stages(c: &mut Criterion) {
    let model = TractModel::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/starter/model.onnx"))
        .expect("the starter model loads");
    let mut group = c.benchmark_group("10 s of audio");
    group.sample_size(20).throughput(Throughput::Elements(CLIP_S as u64));

    let at_48k = clip(48_000);
    group.bench_function("resample 48 kHz to 16 kHz", |b| {
        b.iter(|| {
            let mut resampler = Resampler::new(48_000).expect("48 kHz is supported");
            let mut output = Vec::new();
            resampler.process(black_box(&at_48k), &mut output);
            resampler.finish(&mut output);
            assert_eq!(output.len(), CLIP_S * RATE_HZ);
        });
    });

    let at_16k = clip(RATE_HZ);
    group.bench_function("fbank", |b| {
        b.iter(|| assert_eq!(aesa::fbank::normalised_fbank(black_box(&at_16k)).len(), 998 * 128));
    });

    let features = aesa::fbank::normalised_fbank(&at_16k);
    let mut session = model.session();
    let mut scores = [Scores::default(); 62];
    group.bench_function("network (starter, tract)", |b| {
        b.iter(|| {
            session
                .score_window(black_box(&features[..62 * 16 * 128]), &mut scores)
                .expect("the window fits");
            assert!(scores.iter().all(|s| s.0.iter().all(|v| (0.0..=10.0).contains(v))));
        });
    });

    group.bench_function("whole path from 48 kHz", |b| {
        let spec = AudioSpec { sample_rate_hz: 48_000, num_channels: 1 };
        let mut scorer = Scorer::new(model.session(), spec).expect("48 kHz is supported");
        b.iter(|| {
            scorer.reset();
            scorer.accept_waveform(black_box(&at_48k)).expect("the clip is finite");
            assert_eq!(scorer.finish().expect("the clip is long enough").num_steps, 62);
        });
    });
    group.finish();
}

criterion_group!(benches, stages);
criterion_main!(benches);

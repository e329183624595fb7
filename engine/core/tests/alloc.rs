//! After construction, scoring asks for no memory.
#![cfg(feature = "alloc")]

use core::convert::Infallible;

use aesa::{AudioSpec, Labels, ModelInfo, Network, Policy, Scorer, Scores, WindowPolicy};
use allocation_counter::measure;

struct Constant(ModelInfo);

impl Network for Constant {
    type Error = Infallible;

    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn score_window(&mut self, _: &[f32], scores: &mut [Scores]) -> Result<(), Infallible> {
        scores.fill(Scores([5.0; 4]));
        Ok(())
    }
}

#[test]
fn streaming_allocates_nothing() {
    let mut rates_hz = vec![16_000];
    if cfg!(feature = "std") {
        rates_hz.extend([44_100, 48_000, 8_000]);
    }
    for sample_rate_hz in rates_hz {
        let info = ModelInfo {
            id: "constant".into(),
            version: "1".into(),
            target_mean: [5.0; 4],
            target_std: [1.0; 4],
            policy: Policy::Windowed { window_steps: 62 },
            labels: Labels::Proxy,
            run_hash: "0".into(),
        };
        let mut scorer = Scorer::new(Constant(info), AudioSpec { sample_rate_hz, num_channels: 2 })
            .expect("a supported spec")
            .with_policy(WindowPolicy { hop_steps: 5, look_ahead_steps: 3 })
            .expect("a hop that windows of 62 steps have");
        let chunk = vec![0.1f32; 2 * 4410];
        let mut num_frames = 0;
        let allocated = measure(|| {
            for i in 0..600 {
                scorer.accept_waveform(&chunk).expect("finite audio");
                scorer.gap(if i % 50 == 0 { 1000 } else { 0 }).expect("the clip has not ended");
                num_frames += core::iter::from_fn(|| scorer.next_frame()).count();
            }
            scorer.finish().expect("a long clip");
        });
        assert!(num_frames >= 62, "{sample_rate_hz}");
        assert_eq!(allocated.count_total, 0, "{sample_rate_hz} Hz");
    }
}

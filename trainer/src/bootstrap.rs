//! How far metrics may be off: percentile intervals of a bootstrap over systems.
//!
//! The question is what another choice of systems would have given, so systems are drawn with replacement, as
//! many as there are, and bring all their clips with them; drawing clips would take the clips of one system for
//! independent and give intervals that are too narrow. A clip that names no system is a unit of its own.
//! Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), sections 8.3 and 13.3.

use std::collections::BTreeMap;

use aesa::score::{Axis, NUM_AXES};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::metrics::{Levels, Metrics, NUM_METRICS};
use crate::report::{Agreement, Axes, Scored, by_system, groups, means};

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap {
    /// How many resamples; 0 for no intervals.
    pub num_resamples: usize,
    /// The same seed gives the same intervals, on any number of threads.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { num_resamples: 1000, seed: 1 }
    }
}

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Systems, with all their clips.
    Systems,
    /// Clips, since none names a system.
    Clips,
    /// Systems, and clips that name none.
    Both,
}

impl Unit {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Systems => "systems",
            Self::Clips => "clips (they name no system)",
            Self::Both => "systems and of clips without one",
        }
    }
}

/// Ends of the intervals of all metrics.
///
/// A resample in which a metric is not defined (all values equal) does not count for it. Where there is but one
/// unit, nothing can be said, and the ends are NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// Share of the resamples inside.
    pub confidence: f64,
    /// How many resamples.
    pub num_resamples: usize,
    /// What decided them.
    pub seed: u64,
    /// What was drawn.
    pub unit: Unit,
    /// Lower ends.
    pub low: Agreement,
    /// Upper ends.
    pub high: Agreement,
}

impl Bootstrap {
    /// Intervals around the metrics of `clips`; none of no resamples.
    pub fn intervals(&self, clips: &[Scored], metrics: &Agreement) -> Option<Intervals> {
        if self.num_resamples == 0 {
            return None;
        }
        let groups: BTreeMap<&str, Group> =
            groups(clips).into_iter().map(|(name, clips)| (name, Group::of(&clips))).collect();
        let resample = |n: usize| -> Agreement {
            let mut rng = Pcg64::seed_from_u64(self.seed.rotate_left(32) ^ n as u64);
            groups.iter().map(|(name, group)| (*name, group.resample(&mut rng))).collect()
        };
        let resamples: Vec<Agreement> = (0..self.num_resamples).into_par_iter().map(resample).collect();
        let tail = (1.0 - CONFIDENCE) / 2.0;
        let num_without = clips.iter().filter(|c| c.system.is_none()).count();
        Some(Intervals {
            confidence: CONFIDENCE,
            num_resamples: self.num_resamples,
            seed: self.seed,
            unit: match num_without {
                0 => Unit::Systems,
                n if n == clips.len() => Unit::Clips,
                _ => Unit::Both,
            },
            low: metrics.reduce(&resamples, &|values| quantile(values, tail)),
            high: metrics.reduce(&resamples, &|values| quantile(values, 1.0 - tail)),
        })
    }
}

/// Share of the resamples inside an interval.
const CONFIDENCE: f64 = 0.95;

/// Predictions and truth, by axis.
type Pairs = [(Vec<f64>, Vec<f64>); NUM_AXES];

/// A set of clips, ready to be drawn from.
struct Group {
    /// Every unit's clips; systems first.
    units: Vec<Pairs>,
    /// The systems' means.
    systems: Pairs,
}

impl Group {
    fn of(clips: &[&Scored]) -> Self {
        let pairs = |clips: &[&Scored]| {
            Axis::ALL.map(|axis| {
                clips.iter().map(|c| (c.prediction[axis as usize], c.truth[axis as usize])).unzip()
            })
        };
        let systems = by_system(clips);
        let alone = clips.iter().filter(|c| c.system.is_none());
        Self {
            units: systems.values().map(|c| pairs(c)).chain(alone.map(|c| pairs(&[c]))).collect(),
            systems: Axis::ALL.map(|axis| systems.values().map(|clips| means(clips, axis)).unzip()),
        }
    }

    fn resample(&self, rng: &mut Pcg64) -> Axes {
        let draw = |count: usize, rng: &mut Pcg64| -> Vec<usize> {
            (0..count).map(|_| rng.random_range(0..count)).collect()
        };
        let units = draw(self.units.len(), rng);
        let systems = draw(self.systems[0].0.len(), rng);
        let of_axis = |axis: Axis| {
            let (mut prediction, mut truth) = (Vec::new(), Vec::new());
            for unit in &units {
                let (p, t) = &self.units[*unit][axis as usize];
                prediction.extend_from_slice(p);
                truth.extend_from_slice(t);
            }
            let utterance = if units.len() > 1 { Metrics::of(&prediction, &truth) } else { UNDEFINED };
            let (p, t) = &self.systems[axis as usize];
            let pick = |values: &[f64]| systems.iter().map(|n| values[*n]).collect::<Vec<_>>();
            let system = (systems.len() > 1).then(|| Metrics::of(&pick(p), &pick(t)));
            (axis.to_string(), Levels { utterance, system })
        };
        Axis::ALL.into_iter().map(of_axis).collect()
    }
}

const UNDEFINED: Metrics = Metrics::from_values([f64::NAN; NUM_METRICS]);

/// A quantile, between neighbours linearly, as numpy's default; NaN of nothing.
fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = q * last as f64;
    let below = place as usize;
    let above = (below + 1).min(last);
    values[below] + (values[above] - values[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ALL, Level};

    /// Systems of ten clips; errors of systems and of clips, each from -1 to 1.
    fn clips(num_systems: usize, seed: u64) -> Vec<Scored> {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut clips = Vec::new();
        for system in 0..num_systems {
            let quality = rng.random_range(2.0..8.0);
            let error: f64 = rng.random_range(-1.0..1.0);
            for n in 0..10 {
                let truth = quality + rng.random_range(-1.0..1.0);
                clips.push(Scored {
                    id: format!("{system}-{n}"),
                    system: Some(system.to_string()),
                    domain: Some(["speech", "music"][system % 2].to_string()),
                    prediction: [truth + error + rng.random_range(-1.0..1.0); NUM_AXES],
                    truth: [truth; NUM_AXES],
                });
            }
        }
        clips
    }

    fn intervals(clips: &[Scored]) -> (Agreement, Intervals) {
        let metrics = Agreement::of(clips);
        let intervals = Bootstrap { num_resamples: 300, seed: 1 }.intervals(clips, &metrics).unwrap();
        (metrics, intervals)
    }

    #[test]
    fn intervals_hold_the_metric_and_narrow_with_more_systems() {
        let (few, many) = (intervals(&clips(24, 1)), intervals(&clips(384, 1)));
        assert_eq!(few.1.unit, Unit::Systems);
        for group in [ALL, "speech", "music"] {
            for level in Level::ALL {
                let ends = |(metrics, intervals): &(Agreement, Intervals)| {
                    let of = |a: &Agreement| a.metrics(group, Axis::Pq, level).unwrap().values();
                    let (low, value, high) = (of(&intervals.low), of(metrics), of(&intervals.high));
                    for n in 0..NUM_METRICS {
                        let name = format!("{group} {} {}", level.name(), Metrics::NAMES[n]);
                        assert!(
                            low[n] < value[n] && value[n] < high[n],
                            "{name}: {low:?} {value:?} {high:?}"
                        );
                    }
                    core::array::from_fn::<f64, NUM_METRICS, _>(|n| high[n] - low[n])
                };
                // Sixteen times the systems: a quarter of the width, give or take.
                for (n, (narrow, wide)) in ends(&many).iter().zip(ends(&few)).enumerate() {
                    assert!(*narrow < 0.6 * wide, "{group} {}: {narrow} {wide}", Metrics::NAMES[n]);
                }
            }
        }
    }

    #[test]
    fn a_system_brings_all_its_clips() {
        // Errors are those of the systems: 200 clips of 4 systems tell as little as the systems.
        let mut clips = clips(4, 3);
        for clip in &mut clips {
            let error = clip.system.as_ref().unwrap().parse::<f64>().unwrap();
            clip.prediction = clip.truth.map(|t| t + error);
        }
        let width = |clips: &[Scored]| {
            let intervals = intervals(clips).1;
            let bias = |a: &Agreement| a.metrics(ALL, Axis::Pq, Level::Utterance).unwrap().bias;
            (bias(&intervals.high) - bias(&intervals.low), intervals.unit)
        };
        let (by_system, _) = width(&clips);
        clips.iter_mut().for_each(|clip| clip.system = None);
        let (by_clip, unit) = width(&clips);
        assert_eq!(unit, Unit::Clips);
        assert!(by_system > 2.0 * by_clip, "{by_system} {by_clip}");
    }

    #[test]
    fn the_seed_decides() {
        let clips = clips(8, 1);
        let metrics = Agreement::of(&clips);
        let of = |seed| Bootstrap { num_resamples: 50, seed }.intervals(&clips, &metrics).unwrap().low;
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(Bootstrap { num_resamples: 0, seed: 1 }.intervals(&clips, &metrics).is_none());
    }

    #[test]
    fn resamples_without_a_correlation_do_not_count() {
        // Two systems: half of all resamples draw one of them twice, and have no correlation.
        let clips: Vec<Scored> =
            clips(4, 5).into_iter().filter(|c| c.domain.as_deref() == Some("speech")).collect();
        let (_, intervals) = intervals(&clips);
        for end in [&intervals.low, &intervals.high] {
            let srcc = end.metrics(ALL, Axis::Pq, Level::System).unwrap().srcc;
            assert!((srcc.abs() - 1.0).abs() < 1e-12, "{srcc}");
        }
        // One system: nothing to draw from.
        let one: Vec<Scored> = clips.into_iter().filter(|c| c.system.as_deref() == Some("0")).collect();
        let (_, nothing) = super::tests::intervals(&one);
        assert!(nothing.low.metrics(ALL, Axis::Pq, Level::Utterance).unwrap().mse.is_nan());
    }

    #[test]
    fn quantiles_equal_numpys() {
        assert_eq!(quantile(vec![3.0, 1.0, 2.0, 4.0], 0.025), 1.075);
        assert_eq!(quantile(vec![3.0, 1.0, 2.0, 4.0], 1.0), 4.0);
        assert_eq!(quantile(vec![5.0], 0.975), 5.0);
        assert!(quantile(Vec::new(), 0.5).is_nan());
    }
}

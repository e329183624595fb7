//! The challenge's four metrics, at utterance and at system level; equal to scipy's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many metrics [`Metrics`] holds.
pub const NUM_METRICS: usize = 6;

/// Agreement of predictions with the truth.
///
/// Correlations are NaN (null in JSON) where one side is constant or there are fewer than two values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Mean squared error.
    #[serde(deserialize_with = "nan_from_null")]
    pub mse: f64,
    /// Pearson's linear correlation.
    #[serde(deserialize_with = "nan_from_null")]
    pub lcc: f64,
    /// Spearman's rank correlation, ties averaged.
    #[serde(deserialize_with = "nan_from_null")]
    pub srcc: f64,
    /// Kendall's tau-b.
    #[serde(deserialize_with = "nan_from_null")]
    pub ktau: f64,
    /// Mean of prediction minus truth: above 0 where predictions are too high.
    #[serde(default = "unknown", deserialize_with = "nan_from_null")]
    pub bias: f64,
    /// Mean squared error after taking the bias off every prediction: `mse - bias^2`.
    ///
    /// It tells apart a model that ranks badly from one that only sits too high or too low.
    #[serde(default = "unknown", deserialize_with = "nan_from_null")]
    pub mse_bias_corrected: f64,
}

impl Metrics {
    /// Names of the fields, in the order of [`Metrics::values`].
    pub const NAMES: [&str; NUM_METRICS] = ["mse", "lcc", "srcc", "ktau", "bias", "mse_bias_corrected"];

    /// Compares two lists of the same length.
    ///
    /// # Panics
    /// Where the lengths differ.
    pub fn of(prediction: &[f64], truth: &[f64]) -> Self {
        assert_eq!(prediction.len(), truth.len(), "one prediction per truth");
        let errors: Vec<f64> = prediction.iter().zip(truth).map(|(p, t)| p - t).collect();
        let bias = mean(&errors);
        let mean_square =
            |offset: f64| mean(&errors.iter().map(|e| (e - offset) * (e - offset)).collect::<Vec<_>>());
        Self {
            mse: mean_square(0.0),
            lcc: pearson(prediction, truth),
            srcc: pearson(&ranks(prediction), &ranks(truth)),
            ktau: kendall_tau_b(prediction, truth),
            bias,
            mse_bias_corrected: mean_square(bias),
        }
    }

    /// All fields.
    pub const fn values(&self) -> [f64; NUM_METRICS] {
        [self.mse, self.lcc, self.srcc, self.ktau, self.bias, self.mse_bias_corrected]
    }

    /// Metrics of [`Metrics::values`].
    pub const fn from_values(values: [f64; NUM_METRICS]) -> Self {
        let [mse, lcc, srcc, ktau, bias, mse_bias_corrected] = values;
        Self { mse, lcc, srcc, ktau, bias, mse_bias_corrected }
    }
}

/// Metrics over single clips, and over the means of each system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    /// Over clips.
    pub utterance: Metrics,
    /// Over systems; absent where clips name no system, or all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Metrics>,
}

impl Levels {
    /// Compares predictions with the truth; `systems` names each clip's system.
    ///
    /// Clips without a system count at utterance level only.
    pub fn of(prediction: &[f64], truth: &[f64], systems: &[Option<&str>]) -> Self {
        let mut groups: BTreeMap<&str, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
        for ((p, t), system) in prediction.iter().zip(truth).zip(systems) {
            let Some(system) = system else { continue };
            let group = groups.entry(system).or_default();
            group.0.push(*p);
            group.1.push(*t);
        }
        let (p, t): (Vec<f64>, Vec<f64>) = groups.values().map(|(p, t)| (mean(p), mean(t))).unzip();
        Self { utterance: Metrics::of(prediction, truth), system: (p.len() > 1).then(|| Metrics::of(&p, &t)) }
    }
}

/// Arithmetic mean, rounded as numpy's `mean`; NaN of nothing.
///
/// Ratings are whole numbers, so that two systems often have the same true mean; whether their computed means
/// tie too, and so their ranks, hangs on the order of summation. Numpy's is kept.
pub fn mean(values: &[f64]) -> f64 {
    pairwise_sum(values) / values.len() as f64
}

/// Sum in the order of numpy's `pairwise_sum` (`numpy/_core/src/umath/loops_utils.h.src`).
fn pairwise_sum(values: &[f64]) -> f64 {
    if values.len() < 8 {
        return values.iter().sum();
    }
    if values.len() > 128 {
        let middle = values.len() / 2 / 8 * 8;
        return pairwise_sum(&values[..middle]) + pairwise_sum(&values[middle..]);
    }
    let (eights, rest) = values.as_chunks::<8>();
    let mut r = [0.0; 8];
    for eight in eights {
        r.iter_mut().zip(eight).for_each(|(r, v)| *r += v);
    }
    let sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    rest.iter().fold(sum, |sum, v| sum + v)
}

/// Pearson's correlation; NaN where one side is constant.
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    if aa == 0.0 || bb == 0.0 { f64::NAN } else { (ab / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0) }
}

/// Ranks from 1; equal values share the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let order = sorted_indices(values.len(), |i| (values[i], 0.0));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = start as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|i| ranks[*i] = rank);
        start += tied.len();
    }
    ranks
}

/// Kendall's tau-b in O(n log n); NaN where one side is constant.
///
/// ```text
/// (concordant - discordant) / sqrt((pairs - ties in a) * (pairs - ties in b))
/// ```
/// Source: Knight, "A Computer Method for Calculating Kendall's Tau with Ungrouped Data" (1966), as scipy
/// does it: after sorting by a (then b), the discordant pairs are the swaps that a merge sort by b makes.
pub fn kendall_tau_b(a: &[f64], b: &[f64]) -> f64 {
    let order = sorted_indices(a.len(), |i| (a[i], b[i]));
    let ties_a = tied_pairs(&order, |i, j| a[i] == a[j]);
    let ties_both = tied_pairs(&order, |i, j| a[i] == a[j] && b[i] == b[j]);
    let mut by_b: Vec<f64> = order.iter().map(|i| b[*i]).collect();
    let discordant = sort_counting_swaps(&mut by_b);
    let ties_b = tied_pairs(&(0..by_b.len()).collect::<Vec<_>>(), |i, j| by_b[i] == by_b[j]);
    let pairs = (a.len() * a.len().saturating_sub(1) / 2) as f64;
    if pairs == ties_a || pairs == ties_b {
        return f64::NAN;
    }
    let difference = pairs - ties_a - ties_b + ties_both - 2.0 * discordant;
    (difference / (pairs - ties_a).sqrt() / (pairs - ties_b).sqrt()).clamp(-1.0, 1.0)
}

/// Indices in ascending order of a key; NaN last.
fn sorted_indices(len: usize, key: impl Fn(usize) -> (f64, f64)) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by(|i, j| {
        let ((a, b), (c, d)) = (key(*i), key(*j));
        a.total_cmp(&c).then(b.total_cmp(&d))
    });
    order
}

/// Pairs within runs of equal neighbours.
fn tied_pairs(order: &[usize], equal: impl Fn(usize, usize) -> bool) -> f64 {
    order.chunk_by(|i, j| equal(*i, *j)).map(|run| (run.len() * (run.len() - 1) / 2) as f64).sum()
}

/// Merge sort; gives the number of pairs that stood in the wrong order.
fn sort_counting_swaps(values: &mut [f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let middle = values.len() / 2;
    let (left, right) = values.split_at_mut(middle);
    let mut swaps = sort_counting_swaps(left) + sort_counting_swaps(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        if right[j] < left[i] {
            swaps += (left.len() - i) as f64;
            merged.push(right[j]);
            j += 1;
        } else {
            merged.push(left[i]);
            i += 1;
        }
    }
    merged.extend_from_slice(&left[i..]);
    merged.extend_from_slice(&right[j..]);
    values.copy_from_slice(&merged);
    swaps
}

/// A metric that a file does not hold.
const fn unknown() -> f64 {
    f64::NAN
}

/// JSON has no NaN: it is written as null.
pub(crate) fn nan_from_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// scipy sums in another order than we do.
    const TOLERANCE: f64 = 1e-9;
    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/metrics");

    fn mean_rating(values: &[Value]) -> f64 {
        mean(&values.iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn equals_scipy_on_the_challenge_ratings() {
        let text =
            std::fs::read_to_string(format!("{GOLDEN}/audiomos2025_track2_human_annotations.jsonl")).unwrap();
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let systems: Vec<Option<&str>> = rows
            .iter()
            .map(|row| {
                row["data_path"]
                    .as_str()?
                    .strip_prefix("audiomos2025-track2-")?
                    .split_once("-utt")
                    .map(|s| s.0)
            })
            .collect();
        let text = std::fs::read_to_string(format!("{GOLDEN}/metrics-split-half.expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        let columns = [
            ("PQ", "Production_Quality"),
            ("PC", "Production_Complexity"),
            ("CE", "Content_Enjoyment"),
            ("CU", "Content_Usefulness"),
        ];
        for (axis, column) in columns {
            let half = |range: core::ops::Range<usize>| -> Vec<f64> {
                rows.iter().map(|row| mean_rating(&row[column].as_array().unwrap()[range.clone()])).collect()
            };
            let levels = Levels::of(&half(0..5), &half(5..10), &systems);
            let expected: Levels = serde_json::from_value(expected["axes"][axis].clone()).unwrap();
            let all = |l: &Levels| {
                let (u, s) = (l.utterance, l.system.unwrap());
                [u.mse, u.lcc, u.srcc, u.ktau, s.mse, s.lcc, s.srcc, s.ktau]
            };
            for (n, (a, b)) in all(&levels).iter().zip(all(&expected)).enumerate() {
                assert!((a - b).abs() < TOLERANCE, "{axis} {n}: {a} {b}");
            }
        }
    }

    #[test]
    fn tau_b_equals_its_definition() {
        let a = [1.0, 2.0, 2.0, 3.0, 5.0, 4.0, 4.0, 2.0, 9.0];
        let b = [2.0, 1.0, 1.0, 3.0, 3.0, 8.0, 7.0, 2.0, 2.5];
        let (mut score, mut pairs_a, mut pairs_b) = (0.0_f64, 0.0_f64, 0.0_f64);
        for i in 0..a.len() {
            for j in 0..i {
                let sign = |x: f64, y: f64| (x > y) as i32 as f64 - (x < y) as i32 as f64;
                let (s, t) = (sign(a[i], a[j]), sign(b[i], b[j]));
                score += s * t;
                pairs_a += s * s;
                pairs_b += t * t;
            }
        }
        let expected = score / (pairs_a * pairs_b).sqrt();
        assert!((kendall_tau_b(&a, &b) - expected).abs() < 1e-12);
    }

    #[test]
    fn constant_predictions_have_no_correlation() {
        let metrics = Metrics::of(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]);
        assert!(metrics.lcc.is_nan() && metrics.srcc.is_nan() && metrics.ktau.is_nan());
        assert_eq!(metrics.mse, 5.0 / 3.0);
        let text = serde_json::to_string(&metrics).unwrap();
        assert!(serde_json::from_str::<Metrics>(&text).unwrap().lcc.is_nan());
    }

    #[test]
    fn a_constant_offset_is_all_bias() {
        // Errors around an offset of 3 are -1, 1, 1, -1.
        let truth = [1.0, 2.0, 4.0, 6.0];
        let metrics = Metrics::of(&[3.0, 6.0, 8.0, 8.0], &truth);
        assert_eq!((metrics.bias, metrics.mse, metrics.mse_bias_corrected), (3.0, 10.0, 1.0));
        let offset = Metrics::of(&truth.map(|t| t - 0.5), &truth);
        assert_eq!((offset.bias, offset.mse, offset.mse_bias_corrected), (-0.5, 0.25, 0.0));
        assert_eq!(Metrics::from_values(offset.values()), offset);
    }

    #[test]
    fn tied_ranks_are_averaged() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    }
}

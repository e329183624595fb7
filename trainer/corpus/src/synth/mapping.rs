//! From raw measurements to ratings: quantile mapping for PQ and PC, regression for CE and CU.

use serde::{Deserialize, Serialize};

use crate::labels::{Domain, MAX_RATING, Rating};

/// Knots kept of a mapping.
const MAX_KNOTS: usize = 257;

/// A monotone, piecewise linear map from raw values to ratings, so that the mapped values follow the ratings'
/// distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantileMap {
    /// Raw values, rising.
    raw: Vec<f64>,
    /// The rating of each, not falling.
    rating: Vec<f64>,
}

impl QuantileMap {
    /// Fits the map. A raw value stands at the quantile of its mid-rank (ties share one); quantiles of the ratings are
    /// interpolated linearly between mid-ranks.
    ///
    /// `None` where either list is empty or holds a value that is not finite.
    pub fn fit(raw: &[f64], ratings: &[f64]) -> Option<Self> {
        let (raw, ratings) = (sorted(raw)?, sorted(ratings)?);
        let mut knots = Vec::new();
        let mut start = 0;
        while start < raw.len() {
            let same = raw[start..].iter().take_while(|value| **value == raw[start]).count();
            let quantile = (start as f64 + 0.5 * same as f64) / raw.len() as f64;
            knots.push((raw[start], quantile_of(&ratings, quantile)));
            start += same;
        }
        let kept = MAX_KNOTS.min(knots.len());
        let index = |k: usize| if kept == 1 { 0 } else { k * (knots.len() - 1) / (kept - 1) };
        let (raw, rating) = (0..kept).map(|k| knots[index(k)]).unzip();
        Some(Self { raw, rating })
    }

    /// The rating of a raw value; beyond the fitted range, the nearest end's.
    pub fn apply(&self, value: f64) -> f64 {
        let above = self.raw.partition_point(|raw| *raw <= value);
        if above == 0 {
            return self.rating[0];
        }
        if above == self.raw.len() {
            return self.rating[above - 1];
        }
        let (low, high) = (self.raw[above - 1], self.raw[above]);
        let share = (value - low) / (high - low);
        self.rating[above - 1] + share * (self.rating[above] - self.rating[above - 1])
    }
}

/// Rising, if not empty and all finite.
fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    Some(values)
}

/// The quantile of rising values, each of which stands at (index + 0.5) / count.
fn quantile_of(values: &[f64], quantile: f64) -> f64 {
    let at = (quantile * values.len() as f64 - 0.5).clamp(0.0, values.len() as f64 - 1.0);
    let low = at.floor() as usize;
    let high = (low + 1).min(values.len() - 1);
    values[low] + (at - low as f64) * (values[high] - values[low])
}

/// How many terms the regression has.
const NUM_TERMS: usize = 8;

/// CE and CU as least-squares functions of PQ, PC and the domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regression {
    /// What the coefficients multiply.
    terms: [String; NUM_TERMS],
    /// Coefficients for CE.
    ce: [f64; NUM_TERMS],
    /// Coefficients for CU.
    cu: [f64; NUM_TERMS],
    /// Share of CE's variance explained.
    ce_r2: f64,
    /// Share of CU's variance explained.
    cu_r2: f64,
    /// Clips fitted on.
    num_clips: usize,
}

impl Regression {
    /// Fits both on rated clips of known domain.
    ///
    /// `None` where the clips do not determine the coefficients (fewer than eight, or a domain missing).
    pub fn fit(ratings: &[Rating]) -> Option<Self> {
        let rows: Vec<([f64; NUM_TERMS], &Rating)> = ratings
            .iter()
            .filter_map(|r| r.domain.map(|domain| (terms(r.scores[0], r.scores[1], domain), r)))
            .collect();
        let fit = |axis: usize| {
            let targets: Vec<f64> = rows.iter().map(|(_, rating)| rating.scores[axis]).collect();
            let features: Vec<[f64; NUM_TERMS]> = rows.iter().map(|(features, _)| *features).collect();
            least_squares(&features, &targets)
        };
        let (ce, ce_r2) = fit(2)?;
        let (cu, cu_r2) = fit(3)?;
        let terms = ["1", "PQ", "PC", "PQ^2", "PQ*PC", "PC^2", "music", "sound"].map(str::to_owned);
        Some(Self { terms, ce, cu, ce_r2, cu_r2, num_clips: rows.len() })
    }

    /// CE and CU of a clip with these ratings, within 0..10.
    pub fn apply(&self, pq: f64, pc: f64, domain: Domain) -> [f64; 2] {
        let terms = terms(pq, pc, domain);
        [self.ce, self.cu].map(|coefficients| dot(&coefficients, &terms).clamp(0.0, MAX_RATING))
    }

    /// Shares of the variance of CE and CU that are explained.
    pub fn r2(&self) -> [f64; 2] {
        [self.ce_r2, self.cu_r2]
    }
}

/// The regression's terms; speech is the domain without a term of its own.
fn terms(pq: f64, pc: f64, domain: Domain) -> [f64; NUM_TERMS] {
    let is = |other| if domain == other { 1.0 } else { 0.0 };
    [1.0, pq, pc, pq * pq, pq * pc, pc * pc, is(Domain::Music), is(Domain::Sound)]
}

/// The sum of products.
fn dot(a: &[f64; NUM_TERMS], b: &[f64; NUM_TERMS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Coefficients and R^2, by the normal equations; `None` where they are singular.
fn least_squares(features: &[[f64; NUM_TERMS]], targets: &[f64]) -> Option<([f64; NUM_TERMS], f64)> {
    let mut equations = [[0.0; NUM_TERMS + 1]; NUM_TERMS];
    for (row, target) in features.iter().zip(targets) {
        for (i, equation) in equations.iter_mut().enumerate() {
            for (j, value) in row.iter().enumerate() {
                equation[j] += row[i] * value;
            }
            equation[NUM_TERMS] += row[i] * target;
        }
    }
    let coefficients = solve(equations)?;
    let mean = targets.iter().sum::<f64>() / targets.len() as f64;
    let total: f64 = targets.iter().map(|y| (y - mean).powi(2)).sum();
    let rest: f64 = features.iter().zip(targets).map(|(row, y)| (y - dot(&coefficients, row)).powi(2)).sum();
    Some((coefficients, if total > 0.0 { 1.0 - rest / total } else { 0.0 }))
}

/// Gauss-Jordan elimination with pivoting; `None` where a pivot vanishes.
fn solve(mut equations: [[f64; NUM_TERMS + 1]; NUM_TERMS]) -> Option<[f64; NUM_TERMS]> {
    for column in 0..NUM_TERMS {
        let pivot = (column..NUM_TERMS)
            .max_by(|a, b| equations[*a][column].abs().total_cmp(&equations[*b][column].abs()))?;
        if equations[pivot][column].abs() < 1e-9 {
            return None;
        }
        equations.swap(column, pivot);
        let pivot_row = equations[column];
        for (index, row) in equations.iter_mut().enumerate() {
            if index != column {
                let factor = row[column] / pivot_row[column];
                row.iter_mut().zip(pivot_row).for_each(|(x, p)| *x -= factor * p);
            }
        }
    }
    Some(core::array::from_fn(|i| equations[i][NUM_TERMS] / equations[i][i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_values_follow_the_ratings() {
        let raw: Vec<f64> = (0..1000).map(|n| 1.0 + 4.0 * (f64::from(n) / 1000.0).powi(3)).collect();
        let ratings: Vec<f64> = (0..500).map(|n| 2.0 + 6.0 * f64::from(n) / 499.0).collect();
        let map = QuantileMap::fit(&raw, &ratings).unwrap();
        let mapped: Vec<f64> = raw.iter().map(|x| map.apply(*x)).collect();
        assert!(mapped.windows(2).all(|pair| pair[0] <= pair[1]));
        // 257 knots of 1000 values: between knots the cubic is replaced by a chord.
        for (index, share) in [(100, 0.1), (500, 0.5), (900, 0.9)] {
            assert!((mapped[index] - (2.0 + 6.0 * share)).abs() < 0.02, "{share}: {}", mapped[index]);
        }
        assert_eq!((map.apply(-5.0), map.apply(50.0)), (mapped[0], mapped[999]));
    }

    #[test]
    fn ties_share_the_middle_of_their_ranks() {
        // Three of four raw values are equal: ranks 2..4, so quantile 0.625 of 0..=10 with mid-ranks 0.05, 0.15, ...
        let ratings: Vec<f64> = (0..10).map(f64::from).collect();
        let map = QuantileMap::fit(&[1.0, 5.0, 5.0, 5.0], &ratings).unwrap();
        assert!((map.apply(5.0) - 5.75).abs() < 1e-12);
        assert!((map.apply(1.0) - 0.75).abs() < 1e-12);
        assert!((map.apply(3.0) - 3.25).abs() < 1e-12);
    }

    #[test]
    fn maps_need_finite_values() {
        assert!(QuantileMap::fit(&[], &[1.0]).is_none());
        assert!(QuantileMap::fit(&[1.0], &[]).is_none());
        assert!(QuantileMap::fit(&[f64::NAN], &[1.0]).is_none());
        assert_eq!(QuantileMap::fit(&[3.0, 3.0], &[4.0, 6.0]).unwrap().apply(3.0), 5.0);
    }

    #[test]
    fn regression_finds_its_own_function() {
        let expected = |pq: f64, pc: f64, domain| {
            [
                1.0 + 0.5 * pq - 0.1 * pc * pc,
                2.0 + 0.03 * pq * pq + if domain == Domain::Sound { 0.5 } else { 0.0 },
            ]
        };
        let ratings: Vec<Rating> = (0..90)
            .map(|n| {
                let (pq, pc) = (f64::from(n % 10), f64::from(n % 7) / 2.0);
                let domain = Domain::ALL[n as usize % 3];
                let [ce, cu] = expected(pq, pc, domain);
                Rating {
                    sample_id: n.to_string(),
                    path: String::new(),
                    system: None,
                    domain: Some(domain),
                    scores: [pq, pc, ce, cu],
                    raters: Vec::new(),
                }
            })
            .collect();
        let regression = Regression::fit(&ratings).unwrap();
        assert!(regression.r2().iter().all(|r2| (r2 - 1.0).abs() < 1e-9));
        let (got, wanted) = (regression.apply(4.5, 1.2, Domain::Sound), expected(4.5, 1.2, Domain::Sound));
        assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {wanted:?}");
        assert!(Regression::fit(&ratings[..5]).is_none());
    }
}

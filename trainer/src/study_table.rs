//! What a study finds: metrics of every run, and paired differences from the runs without triplet loss.
//!
//! The interval of a difference is Student's t over the seeds: it tells how far another set of seeds might move it, not
//! another set of systems or clips.

use core::fmt::Write as _;

use aesa::score::Axis;
use anyhow::Result;

use crate::config::TripletConfig;
use crate::metrics::mean;
use crate::report::{ALL, Agreement, Level};

/// One run of a study.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its triplet loss.
    pub triplet: TripletConfig,
    /// Its seed.
    pub seed: u64,
    /// Its metrics on the test clips.
    pub agreement: Agreement,
}

/// A mean over seeds and half the width of its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Interval {
    mean: f64,
    half_width: f64,
}

impl Interval {
    /// Student's interval of 95 % around the mean; NaN for less than two values.
    fn of(values: &[f64]) -> Self {
        let (mean, count) = (mean(values), values.len() as f64);
        let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        let error = (squares / (count - 1.0) / count).sqrt();
        let quantile = values.len().checked_sub(2).map_or(f64::NAN, |n| *T_975.get(n).unwrap_or(&1.96));
        Self { mean, half_width: quantile * error }
    }

    /// `+0.012 ± 0.003`, bold where the interval leaves out 0.
    fn difference(self) -> String {
        let text = format!("{:+.4} ± {:.4}", self.mean, self.half_width);
        if self.mean.abs() > self.half_width { format!("**{text}**") } else { text }
    }
}

/// 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
const T_975: [f64; 20] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086,
];

/// One number of a run.
struct Quantity {
    name: &'static str,
    of: fn(&Agreement) -> f64,
}

/// Means over axes; `within domains` also over domains.
const QUANTITIES: [Quantity; 5] = [
    Quantity { name: "SRCC, systems", of: |a| over_axes(a, &[ALL], Level::System, |m| m.srcc) },
    Quantity {
        name: "SRCC, systems within domains",
        of: |a| over_axes(a, &a.group_names()[1..], Level::System, |m| m.srcc),
    },
    Quantity { name: "MSE, systems", of: |a| over_axes(a, &[ALL], Level::System, |m| m.mse) },
    Quantity { name: "SRCC, clips", of: |a| over_axes(a, &[ALL], Level::Utterance, |m| m.srcc) },
    Quantity { name: "MSE, clips", of: |a| over_axes(a, &[ALL], Level::Utterance, |m| m.mse) },
];

fn over_axes(
    agreement: &Agreement,
    groups: &[&str],
    level: Level,
    pick: fn(&crate::metrics::Metrics) -> f64,
) -> f64 {
    let of = |group: &&str| {
        let metrics = Axis::ALL.map(|axis| agreement.metrics(group, axis, level));
        metrics.into_iter().flatten().map(|m| pick(&m)).collect::<Vec<f64>>()
    };
    mean(&groups.iter().flat_map(of).collect::<Vec<f64>>())
}

/// The settings in the order of their runs, each with its runs in the order of their seeds.
fn by_setting(outcomes: &[Outcome]) -> Vec<Vec<&Outcome>> {
    let mut settings: Vec<Vec<&Outcome>> = Vec::new();
    for outcome in outcomes {
        match settings.iter_mut().find(|runs| runs[0].triplet == outcome.triplet) {
            Some(runs) => runs.push(outcome),
            None => settings.push(vec![outcome]),
        }
    }
    settings.iter_mut().for_each(|runs| runs.sort_by_key(|run| run.seed));
    settings
}

/// Per seed, a run's number less that of the run without triplet loss.
fn differences(runs: &[&Outcome], without: &[&Outcome], of: impl Fn(&Agreement) -> f64) -> Vec<f64> {
    let pairs = runs.iter().filter_map(|run| Some((run, without.iter().find(|w| w.seed == run.seed)?)));
    pairs.map(|(run, without)| of(&run.agreement) - of(&without.agreement)).collect()
}

/// The runs without triplet loss, and the settings with one.
fn split(outcomes: &[Outcome]) -> (Vec<&Outcome>, Vec<Vec<&Outcome>>) {
    let (without, with): (Vec<_>, Vec<_>) =
        by_setting(outcomes).into_iter().partition(|runs| runs[0].triplet.alpha == 0.0);
    (without.into_iter().flatten().collect(), with)
}

/// The table for people, in Markdown: differences per setting, and per alpha over all its settings.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let (without, settings) = split(outcomes);
    let mut text = format!(
        "Mean over {} seeds without triplet loss; below, paired differences from it with Student's 95 % interval over \
         the seeds, **bold** where it leaves out 0. Means over the axes.\n\n",
        without.len()
    );
    let names: Vec<&str> = QUANTITIES.iter().map(|q| q.name).collect();
    _ = writeln!(
        text,
        "| alpha | capacity | eps | {} |\n|---|---|---{}|",
        names.join(" | "),
        "|---".repeat(5)
    );
    let row = |text: &mut String, setting: [String; 3], cells: Vec<String>| {
        _ = writeln!(text, "| {} | {} |", setting.join(" | "), cells.join(" | "));
    };
    let absolute = QUANTITIES.iter().map(|q| {
        let values: Vec<f64> = without.iter().map(|run| (q.of)(&run.agreement)).collect();
        let Interval { mean, half_width } = Interval::of(&values);
        format!("{mean:.4} ± {half_width:.4}")
    });
    row(&mut text, ["0".into(), "".into(), "".into()], absolute.collect());
    for runs in &settings {
        let TripletConfig { alpha, capacity, eps, .. } = runs[0].triplet;
        let cells = QUANTITIES.iter().map(|q| Interval::of(&differences(runs, &without, q.of)).difference());
        row(&mut text, [alpha.to_string(), capacity.to_string(), eps.to_string()], cells.collect());
    }
    // Settings of one seed share the run that they are compared with: their mean per seed is one value.
    for same_alpha in settings.chunk_by(|a, b| a[0].triplet.alpha == b[0].triplet.alpha) {
        let cells = QUANTITIES.iter().map(|q| {
            let columns: Vec<Vec<f64>> =
                same_alpha.iter().map(|runs| differences(runs, &without, q.of)).collect();
            let seed = |n: usize| mean(&columns.iter().filter_map(|c| c.get(n).copied()).collect::<Vec<_>>());
            Interval::of(&(0..columns[0].len()).map(seed).collect::<Vec<_>>()).difference()
        });
        let alpha = same_alpha[0][0].triplet.alpha;
        row(&mut text, [alpha.to_string(), "all".into(), "all".into()], cells.collect());
    }
    text
}

/// Every metric of every run.
///
/// # Errors
/// None in practice: it is written to memory.
pub fn results_csv(outcomes: &[Outcome]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "alpha", "capacity", "eps", "seed", "domain", "axis", "level", "mse", "lcc", "srcc", "ktau",
    ])?;
    for Outcome { triplet, seed, agreement } in outcomes {
        for (group, axis, level) in cells(agreement) {
            let Some(m) = agreement.metrics(group, axis, level) else { continue };
            let mut row = setting(triplet).to_vec();
            row.extend([seed.to_string(), group.to_string(), axis.to_string(), level.name().to_string()]);
            row.extend([m.mse, m.lcc, m.srcc, m.ktau].map(|v| v.to_string()));
            writer.write_record(row)?;
        }
    }
    Ok(writer.into_inner()?)
}

/// The paired differences of MSE and SRCC of every setting, domain, axis and level, with their intervals.
///
/// # Errors
/// None in practice: it is written to memory.
pub fn differences_csv(outcomes: &[Outcome]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = ["difference", "low", "high"];
    let columns = ["mse", "srcc"].iter().flat_map(|m| names.map(|name| format!("{m}_{name}")));
    let start = ["alpha", "capacity", "eps", "num_seeds", "domain", "axis", "level"].map(str::to_string);
    writer.write_record(start.into_iter().chain(columns))?;
    let (without, settings) = split(outcomes);
    for runs in &settings {
        for (group, axis, level) in cells(&runs[0].agreement) {
            let metric = |pick: fn(&crate::metrics::Metrics) -> f64| {
                let of = |a: &Agreement| a.metrics(group, axis, level).map_or(f64::NAN, |m| pick(&m));
                let Interval { mean, half_width } = Interval::of(&differences(runs, &without, of));
                [mean, mean - half_width, mean + half_width]
            };
            let mut row = setting(&runs[0].triplet).to_vec();
            row.extend([runs.len().to_string(), group.to_string(), axis.to_string()]);
            row.push(level.name().to_string());
            row.extend(metric(|m| m.mse).into_iter().chain(metric(|m| m.srcc)).map(|v| v.to_string()));
            writer.write_record(row)?;
        }
    }
    Ok(writer.into_inner()?)
}

fn cells(agreement: &Agreement) -> Vec<(&str, Axis, Level)> {
    let axes =
        |group| Axis::ALL.into_iter().flat_map(move |axis| Level::ALL.map(|level| (group, axis, level)));
    agreement.group_names().into_iter().flat_map(axes).collect()
}

/// Alpha, capacity and eps; the last two mean nothing where alpha is 0.
fn setting(triplet: &TripletConfig) -> [String; 3] {
    let TripletConfig { alpha, capacity, eps, .. } = triplet;
    match alpha {
        0.0 => ["0".to_string(), String::new(), String::new()],
        _ => [alpha.to_string(), capacity.to_string(), eps.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Scored;

    #[test]
    fn intervals_are_students() {
        // scipy.stats.t.interval(0.95, 4, 3, scipy.stats.sem([1, 2, 3, 4, 5])): 1.0368, 4.9632.
        let interval = Interval::of(&[5.0, 1.0, 2.0, 4.0, 3.0]);
        assert!((interval.mean - 3.0).abs() < 1e-12);
        assert!((interval.half_width - 1.9632).abs() < 1e-3, "{interval:?}");
        assert!(Interval::of(&[1.0]).half_width.is_nan());
    }

    /// A run whose predictions are off by `error`, so that its MSE is the square of that.
    fn outcome(alpha: f64, seed: u64, error: f64) -> Outcome {
        let clip = |n: usize| Scored {
            id: n.to_string(),
            system: Some((n % 3).to_string()),
            domain: Some("speech".to_string()),
            prediction: [n as f64 + error; 4],
            truth: [n as f64; 4],
        };
        let agreement = Agreement::of(&(0..6).map(clip).collect::<Vec<_>>());
        Outcome { triplet: TripletConfig { alpha, ..TripletConfig::default() }, seed, agreement }
    }

    #[test]
    fn differences_are_taken_seed_by_seed() {
        // Seeds differ widely, the difference of MSE within a seed is 1 or 1.2: 1.1 ± 12.706 * 0.1.
        let outcomes = [
            outcome(0.0, 1, 1.0),
            outcome(0.2, 1, 2f64.sqrt()),
            outcome(0.2, 2, 10.2f64.sqrt()),
            outcome(0.0, 2, 3.0),
        ];
        let table = markdown(&outcomes);
        assert!(table.contains("| 0.2 | 256 | 0.5 |") && table.contains("+1.1000 ± 1.2706"), "{table}");
        assert!(!table.contains("**+1.1"), "{table}");
        let text = String::from_utf8(differences_csv(&outcomes).unwrap()).unwrap();
        assert_eq!(text.lines().count(), 1 + 2 * 4 * 2, "{text}");
        let row = text.lines().find(|line| line.contains("all,PQ,system")).unwrap();
        let values: Vec<f64> = row.split(',').skip(7).take(3).map(|v| v.parse().unwrap()).collect();
        for (value, expected) in values.iter().zip([1.1, 1.1 - 1.2706, 1.1 + 1.2706]) {
            assert!((value - expected).abs() < 1e-9, "{row}");
        }
        let results = String::from_utf8(results_csv(&outcomes).unwrap()).unwrap();
        assert_eq!(results.lines().count(), 1 + 4 * 2 * 4 * 2);
    }
}

//! The paper's two tables: domain x axis (Table I) and axis x metric (Table II), as text, Markdown and CSV.

use aesa::score::Axis;
use anyhow::Result;

use crate::metrics::{Metrics, NUM_METRICS};
use crate::report::{ALL, Agreement, Level, Report, number};

/// A table of metrics.
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    notes: Vec<String>,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// A column of names, or of numbers.
#[derive(Clone, Debug)]
struct Column {
    title: &'static str,
    /// Its name in CSV.
    key: String,
    has_interval: bool,
}

#[derive(Clone, Debug)]
enum Cell {
    Name(&'static str),
    Group(String),
    Number { value: f64, interval: Option<[f64; 2]> },
}

/// Table I: one row per domain and axis, and those of all clips; at system level, or at utterance level where
/// clips name no system.
pub fn domains(report: &Report) -> Table {
    let level = main_level(report);
    let mut columns = vec![Column::name("domain"), Column::name("axis")];
    columns.extend(SHOWN.map(|n| Column::number(TITLES[n], Metrics::NAMES[n].to_string(), report)));
    if report.raters.is_some() {
        columns.push(Column { title: "raters' SRCC", key: "srcc_raters".to_string(), has_interval: false });
    }
    let mut rows = Vec::new();
    let mut groups = report.agreement.group_names();
    groups.rotate_left(1);
    for group in groups {
        for axis in Axis::ALL {
            let mut row = vec![Cell::Group(group.to_string()), Cell::Name(axis.short_name())];
            row.extend(SHOWN.map(|n| Cell::metric(report, group, axis, level, n)));
            if report.raters.is_some() {
                row.push(Cell::raters(report, group, axis, level, SRCC));
            }
            rows.push(row);
        }
    }
    let title = format!("Table I: domain x axis, {} level, {}", level.name(), size(report));
    Table { title, notes: notes(report), columns, rows }
}

/// Table II: one row per axis and metric, at both levels where clips name systems, the raters beside.
pub fn metrics(report: &Report) -> Table {
    let levels = match main_level(report) {
        Level::System => &[Level::System, Level::Utterance][..],
        Level::Utterance => &[Level::Utterance],
    };
    let mut columns = vec![Column::name("axis"), Column::name("metric")];
    for level in levels {
        columns.push(Column::number(level.name(), level.name().to_string(), report));
        if report.raters.is_some() {
            let key = format!("{}_raters", level.name());
            columns.push(Column { title: "raters", key, has_interval: false });
        }
    }
    let mut rows = Vec::new();
    for axis in Axis::ALL {
        for n in SHOWN {
            let mut row = vec![Cell::Name(axis.short_name()), Cell::Name(TITLES[n])];
            for level in levels {
                row.push(Cell::metric(report, ALL, axis, *level, n));
                if report.raters.is_some() {
                    row.push(Cell::raters(report, ALL, axis, *level, n));
                }
            }
            rows.push(row);
        }
    }
    let title = format!("Table II: axis x metric, all domains, {}", size(report));
    Table { title, notes: notes(report), columns, rows }
}

impl Table {
    /// For a terminal.
    pub fn text(&self) -> String {
        let cells: Vec<Vec<String>> = self.rows.iter().map(|r| r.iter().map(Cell::text).collect()).collect();
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(n, c)| cells.iter().map(|row| row[n].len()).fold(c.title.len(), usize::max))
            .collect();
        let line = |cells: Vec<&str>| {
            let padded = cells.iter().zip(&widths).enumerate().map(|(n, (cell, width))| {
                if n < NUM_NAMES { format!("{cell:width$}") } else { format!("{cell:>width$}") }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
        };
        let mut text = format!("{}\n\n", self.title);
        text += &line(self.columns.iter().map(|c| c.title).collect());
        for row in self.without_repeats(&cells) {
            text += &line(row);
        }
        self.notes.iter().fold(text + "\n", |text, note| text + note + "\n")
    }

    /// For a document.
    pub fn markdown(&self) -> String {
        let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("**{}**\n\n", self.title);
        text += &line(&self.columns.iter().map(|c| c.title).collect::<Vec<_>>());
        let rules = (0..self.columns.len()).map(|n| if n < NUM_NAMES { "---" } else { "---:" });
        text += &line(&rules.collect::<Vec<_>>());
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(Cell::text).collect();
            text += &line(&cells.iter().map(String::as_str).collect::<Vec<_>>());
        }
        self.notes.iter().fold(text, |text, note| text + "\n" + note + "\n")
    }

    /// For programs: full precision, an interval's ends in columns of their own.
    ///
    /// # Errors
    /// None in practice: it is written to memory.
    pub fn csv(&self) -> Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = self.columns.iter().flat_map(|c| {
            let ends = c.has_interval.then(|| [format!("{}_low", c.key), format!("{}_high", c.key)]);
            core::iter::once(c.key.clone()).chain(ends.into_iter().flatten())
        });
        writer.write_record(header)?;
        for row in &self.rows {
            let cells = row.iter().flat_map(|cell| match cell {
                Cell::Name(name) => vec![csv_name(name)],
                Cell::Group(name) => vec![name.clone()],
                Cell::Number { value, interval } => {
                    let ends = interval.iter().flatten();
                    core::iter::once(value).chain(ends).map(|v| number(*v)).collect()
                }
            });
            writer.write_record(cells)?;
        }
        Ok(writer.into_inner()?)
    }

    /// The cells of each row; a name that stands in the row above is left out.
    fn without_repeats<'a>(&self, cells: &'a [Vec<String>]) -> Vec<Vec<&'a str>> {
        let mut rows: Vec<Vec<&str>> = cells.iter().map(|r| r.iter().map(String::as_str).collect()).collect();
        for n in (1..rows.len()).rev() {
            if cells[n][0] == cells[n - 1][0] {
                rows[n][0] = "";
            }
        }
        rows
    }
}

impl Column {
    fn name(title: &'static str) -> Self {
        Self { title, key: title.to_string(), has_interval: false }
    }

    fn number(title: &'static str, key: String, report: &Report) -> Self {
        Self { title, key, has_interval: report.bootstrap.is_some() }
    }
}

impl Cell {
    /// A metric with its interval.
    fn metric(report: &Report, group: &str, axis: Axis, level: Level, n: usize) -> Self {
        let of =
            |agreement: &Agreement| agreement.metrics(group, axis, level).map_or(f64::NAN, |m| m.values()[n]);
        let interval = report.bootstrap.as_ref().map(|b| [of(&b.low), of(&b.high)]);
        Self::Number { value: of(&report.agreement), interval }
    }

    /// The raters' metric.
    fn raters(report: &Report, group: &str, axis: Axis, level: Level, n: usize) -> Self {
        let metrics = report.raters.as_ref().and_then(|r| r.agreement.metrics(group, axis, level));
        Self::Number { value: metrics.map_or(f64::NAN, |m| m.values()[n]), interval: None }
    }

    fn text(&self) -> String {
        match self {
            Self::Name(name) => (*name).to_string(),
            Self::Group(name) => name.clone(),
            Self::Number { value, .. } if !value.is_finite() => "-".to_string(),
            Self::Number { value, interval: Some([low, high]) } if low.is_finite() => {
                format!("{value:.3} [{low:.2}, {high:.2}]")
            }
            Self::Number { value, .. } => format!("{value:.3}"),
        }
    }
}

/// System level, as the paper, or utterance level where there is no other.
fn main_level(report: &Report) -> Level {
    let has_systems = report.agreement.axes.values().any(|levels| levels.system.is_some());
    if has_systems { Level::System } else { Level::Utterance }
}

fn size(report: &Report) -> String {
    match report.num_systems {
        0 => format!("{} clips", report.num_clips),
        n => format!("{} clips of {n} systems", report.num_clips),
    }
}

fn notes(report: &Report) -> Vec<String> {
    let mut notes = vec!["MSE*: after taking off the mean error (bias-corrected).".to_string()];
    if let Some(b) = &report.bootstrap {
        notes.push(format!(
            "[low, high]: holds {:.0} % of {} resamples of the {}.",
            100.0 * b.confidence,
            b.num_resamples,
            b.unit.name()
        ));
    }
    if let Some(r) = &report.raters {
        let [least, most] = r.num_raters;
        let count = if least == most { format!("{least}") } else { format!("{least} to {most}") };
        notes.push(format!(
            "raters: half of a clip's {count} raters against the other half, mean of {} random splits.",
            r.num_splits
        ));
    }
    notes
}

/// `MSE*` is for people.
fn csv_name(name: &str) -> String {
    TITLES.iter().position(|t| *t == name).map_or(name, |n| Metrics::NAMES[n]).to_string()
}

/// How many columns of names both tables begin with.
const NUM_NAMES: usize = 2;

/// What people read, in the order of [`Metrics::NAMES`].
const TITLES: [&str; NUM_METRICS] = ["MSE", "LCC", "SRCC", "KTAU", "bias", "MSE*"];

/// The metrics shown, by their place in [`Metrics::NAMES`].
const SHOWN: [usize; 5] = [0, 5, 1, SRCC, 3];

const SRCC: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Bootstrap;
    use crate::ceiling::{Raters, Splits};
    use crate::report::Scored;
    use aesa::score::NUM_AXES;
    use serde_json::Value;

    /// Three systems in each of two domains, six clips each, with raters.
    fn report(with_systems: bool, with_rest: bool) -> Report {
        let (mut clips, mut raters) = (Vec::new(), Raters::new());
        for n in 0..36_usize {
            let value = |k: usize| ((n * k) % 11) as f64 / 2.0 + (n % 6) as f64 / 3.0;
            let clip = Scored {
                id: n.to_string(),
                system: with_systems.then(|| (n % 6).to_string()),
                domain: Some(["sound", "speech"][n % 2].to_string()),
                prediction: core::array::from_fn(|axis| value(axis + 3)),
                truth: core::array::from_fn(|axis| value(axis + 4)),
            };
            raters.insert(clip.id.clone(), vec![clip.truth, clip.prediction, [value(9); NUM_AXES]]);
            clips.push(clip);
        }
        let mut report = Report::of("test".to_string(), &clips);
        if with_rest {
            report.bootstrap = Bootstrap { num_resamples: 40, seed: 1 }.intervals(&clips, &report.agreement);
            report.raters = Splits { num_splits: 5, seed: 1 }.ceiling(&clips, &raters).unwrap();
        }
        report
    }

    fn records(table: &Table) -> Vec<std::collections::HashMap<String, String>> {
        let bytes = table.csv().unwrap();
        csv::Reader::from_reader(&bytes[..]).deserialize().map(Result::unwrap).collect()
    }

    #[test]
    fn numbers_equal_those_in_json() {
        for (with_systems, with_rest) in [(true, true), (true, false), (false, true)] {
            let report = report(with_systems, with_rest);
            let json: Value = serde_json::to_value(&report).unwrap();
            let equal = |text: &str, value: &Value, what: &str| {
                assert_eq!(text.parse::<f64>().ok(), value.as_f64(), "{what}");
            };
            let level = if with_systems { "system" } else { "utterance" };
            let rows = records(&domains(&report));
            assert_eq!(rows.len(), 12);
            assert_eq!((rows[0]["domain"].as_str(), rows[11]["domain"].as_str()), ("speech", "all"));
            let domain = |json: &Value, row: &std::collections::HashMap<String, String>| match row["domain"]
                .as_str()
            {
                "all" => json["axes"].clone(),
                name => json["domains"][name].clone(),
            };
            for row in &rows {
                for metric in ["mse", "mse_bias_corrected", "lcc", "srcc", "ktau"] {
                    let of = |json: &Value| domain(json, row)[&row["axis"]][level][metric].clone();
                    assert!(of(&json).is_f64(), "{row:?}");
                    equal(&row[metric], &of(&json), metric);
                    if with_rest {
                        equal(&row[&format!("{metric}_low")], &of(&json["bootstrap"]["low"]), metric);
                        equal(&row[&format!("{metric}_high")], &of(&json["bootstrap"]["high"]), metric);
                    }
                }
                if with_rest {
                    let raters = &domain(&json["raters"], row)[&row["axis"]][level]["srcc"];
                    equal(&row["srcc_raters"], raters, "raters");
                }
            }
            let rows = records(&metrics(&report));
            assert_eq!(rows.len(), 20);
            for row in &rows {
                for level in if with_systems { &["system", "utterance"][..] } else { &["utterance"] } {
                    let of = |json: &Value| json["axes"][&row["axis"]][level][&row["metric"]].clone();
                    equal(&row[*level], &of(&json), level);
                    if with_rest {
                        equal(&row[&format!("{level}_high")], &of(&json["bootstrap"]["high"]), level);
                        equal(&row[&format!("{level}_raters")], &of(&json["raters"]), level);
                    }
                }
            }
        }
    }

    #[test]
    fn text_and_markdown_show_the_same_numbers() {
        let report = report(true, true);
        for table in [domains(&report), metrics(&report)] {
            let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let (text, markdown) = (squeeze(&table.text()), table.markdown());
            for row in table.rows.iter() {
                let cells: Vec<String> = row.iter().map(Cell::text).collect();
                assert!(markdown.contains(&format!("| {} |", cells.join(" | "))), "{markdown}");
                assert!(text.contains(&cells[1..].join(" ")), "{text}");
            }
            assert!(
                text.contains("95 % of 40 resamples of the systems")
                    && text.contains("half of a clip's 3 raters")
            );
        }
        let m = report.agreement.metrics("speech", Axis::Pq, Level::System).unwrap();
        assert!(domains(&report).markdown().contains(&format!("| speech | PQ | {:.3} [", m.mse)));
    }

    #[test]
    fn reports_survive_json() {
        let report = report(true, true);
        let again: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!((again.num_clips, again.num_systems), (36, 6));
        let pairs = [
            (&report.agreement, &again.agreement),
            (&report.bootstrap.as_ref().unwrap().high, &again.bootstrap.as_ref().unwrap().high),
            (&report.raters.as_ref().unwrap().agreement, &again.raters.as_ref().unwrap().agreement),
        ];
        for (a, b) in pairs {
            let values = |a: &Agreement| a.metrics("sound", Axis::Cu, Level::System).unwrap().values();
            // Text to number may move the last digit.
            assert!(values(a).iter().zip(values(b)).all(|(a, b)| (a - b).abs() < 1e-12), "{a:?} {b:?}");
        }
    }
}

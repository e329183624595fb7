//! What an evaluation finds: metrics per axis and domain, their intervals, and the raters' own.

use std::collections::BTreeMap;

use aesa::score::{Axis, NUM_AXES};
use aesa_corpus::labels::Domain;
use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::bootstrap::Intervals;
use crate::ceiling::Ceiling;
use crate::metrics::{Levels, Metrics, mean};
use crate::run::Origin;

/// One clip's scores and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Its id.
    pub id: String,
    /// The system that made it.
    pub system: Option<String>,
    /// Its domain's name.
    pub domain: Option<String>,
    /// Scores of the model, 0 to 10.
    pub prediction: [f64; NUM_AXES],
    /// Labels, 0 to 10.
    pub truth: [f64; NUM_AXES],
}

/// Metrics by the axis's short name.
pub type Axes = BTreeMap<String, Levels>;

/// Metrics per axis over all clips, and per domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Over all clips, by axis.
    pub axes: Axes,
    /// By domain, then by axis; empty where the labels name no domain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<String, Axes>,
}

/// All that an evaluation finds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was compared.
    pub description: String,
    /// How the model scored them (windows or chunks), where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// By which command it was made, and from which model and labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// How many clips were.
    #[serde(default)]
    pub num_clips: usize,
    /// How many systems made them; 0 where they name none.
    #[serde(default)]
    pub num_systems: usize,
    /// The metrics.
    #[serde(flatten)]
    pub agreement: Agreement,
    /// How far the metrics may be off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Intervals>,
    /// How well raters agree with each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raters: Option<Ceiling>,
}

/// The group of all clips, beside those of each domain.
pub const ALL: &str = "all";

impl Agreement {
    /// Compares clips with their labels.
    pub fn of(clips: &[Scored]) -> Self {
        groups(clips).into_iter().map(|(name, clips)| (name, axes(&clips))).collect()
    }

    /// `all`, then the domains: speech, music, sound, and any other by name.
    pub fn group_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.domains.keys().map(String::as_str).collect();
        names.sort_by_key(|name| Domain::ALL.iter().position(|d| d.name() == *name).unwrap_or(usize::MAX));
        names.insert(0, ALL);
        names
    }

    /// The axes of `all` or of a domain.
    pub fn group(&self, name: &str) -> Option<&Axes> {
        if name == ALL { Some(&self.axes) } else { self.domains.get(name) }
    }

    /// Metrics of a group, an axis and a level.
    pub fn metrics(&self, group: &str, axis: Axis, level: Level) -> Option<Metrics> {
        level.of(self.group(group)?.get(axis.short_name())?)
    }

    /// Has the shape of `self`; each number is what `reduce` makes of that number in all samples, those left
    /// out in which it is not defined.
    pub fn reduce(&self, samples: &[Self], reduce: &dyn Fn(Vec<f64>) -> f64) -> Self {
        let metrics = |group: &str, axis: &str, level: Level| {
            let of = |sample: &Self| level.of(sample.group(group)?.get(axis)?);
            let found: Vec<_> = samples.iter().filter_map(|s| Some(of(s)?.values())).collect();
            let finite = |n: usize| found.iter().map(|v| v[n]).filter(|v| v.is_finite()).collect();
            Metrics::from_values(core::array::from_fn(|n| reduce(finite(n))))
        };
        let levels = |group: &str, (axis, own): (&String, &Levels)| {
            let system = own.system.map(|_| metrics(group, axis, Level::System));
            (axis.clone(), Levels { utterance: metrics(group, axis, Level::Utterance), system })
        };
        let groups = self.group_names().into_iter().filter_map(|name| Some((name, self.group(name)?)));
        groups.map(|(name, axes)| (name, axes.iter().map(|axis| levels(name, axis)).collect())).collect()
    }
}

impl<'a> FromIterator<(&'a str, Axes)> for Agreement {
    fn from_iter<T: IntoIterator<Item = (&'a str, Axes)>>(groups: T) -> Self {
        let mut agreement = Self::default();
        for (name, axes) in groups {
            if name == ALL {
                agreement.axes = axes;
            } else {
                agreement.domains.insert(name.to_string(), axes);
            }
        }
        agreement
    }
}

/// What is compared: clips, or the means of systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Single clips.
    Utterance,
    /// Each system's mean over its clips.
    System,
}

impl Level {
    /// Both, in the order of the detailed table.
    pub const ALL: [Self; 2] = [Self::Utterance, Self::System];

    /// `utterance` or `system`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Utterance => "utterance",
            Self::System => "system",
        }
    }

    /// The metrics of this level.
    pub const fn of(self, levels: &Levels) -> Option<Metrics> {
        match self {
            Self::Utterance => Some(levels.utterance),
            Self::System => levels.system,
        }
    }
}

impl Report {
    /// Compares clips with their labels, without intervals and raters.
    pub fn of(description: String, clips: &[Scored]) -> Self {
        let num_systems = by_system(&clips.iter().collect::<Vec<_>>()).len();
        Self {
            description,
            policy: None,
            origin: None,
            num_clips: clips.len(),
            num_systems,
            agreement: Agreement::of(clips),
            bootstrap: None,
            raters: None,
        }
    }

    /// Every group, axis and level with metrics.
    pub fn cells(&self) -> Vec<(&str, Axis, Level, Metrics)> {
        let mut cells = Vec::new();
        for group in self.agreement.group_names() {
            for axis in Axis::ALL {
                for level in Level::ALL {
                    let metrics = self.agreement.metrics(group, axis, level);
                    cells.extend(metrics.map(|m| (group, axis, level, m)));
                }
            }
        }
        cells
    }

    /// Every metric of every group, axis and level, for people.
    pub fn detailed_table(&self) -> String {
        let mut text = format!(
            "{:8} {:4} {:9} {:>8} {:>7} {:>7} {:>7} {:>8} {:>8}\n",
            "domain", "axis", "level", "MSE", "LCC", "SRCC", "KTAU", "bias", "MSE*"
        );
        for (group, axis, level, m) in self.cells() {
            text += &format!(
                "{group:8} {:4} {:9} {:8.4} {:7.4} {:7.4} {:7.4} {:8.4} {:8.4}\n",
                axis.short_name(),
                level.name(),
                m.mse,
                m.lcc,
                m.srcc,
                m.ktau,
                m.bias,
                m.mse_bias_corrected
            );
        }
        text
    }

    /// The same as CSV, with the intervals' ends (`_low`, `_high`) and the raters' metrics where there are any.
    ///
    /// # Errors
    /// None in practice: it is written to memory.
    pub fn csv(&self) -> Result<Vec<u8>> {
        let mut columns: Vec<(String, &Agreement)> = vec![(String::new(), &self.agreement)];
        if let Some(bootstrap) = &self.bootstrap {
            columns.extend([("_low".to_string(), &bootstrap.low), ("_high".to_string(), &bootstrap.high)]);
        }
        if let Some(raters) = &self.raters {
            columns.push(("_raters".to_string(), &raters.agreement));
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut header = ["domain", "axis", "level"].map(str::to_string).to_vec();
        header.extend(columns.iter().flat_map(|(end, _)| Metrics::NAMES.map(|name| format!("{name}{end}"))));
        writer.write_record(header)?;
        for (group, axis, level, _) in self.cells() {
            let mut row = [group, axis.short_name(), level.name()].map(str::to_string).to_vec();
            for (_, agreement) in &columns {
                let metrics = agreement.metrics(group, axis, level);
                row.extend(metrics.map_or([f64::NAN; _], |m| m.values()).map(number));
            }
            writer.write_record(row)?;
        }
        Ok(writer.into_inner()?)
    }
}

/// A number in a CSV file: as many digits as it needs; nothing where it is not defined.
pub fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

/// All clips, and those of each domain.
pub(crate) fn groups(clips: &[Scored]) -> BTreeMap<&str, Vec<&Scored>> {
    let mut groups = BTreeMap::from([(ALL, clips.iter().collect::<Vec<_>>())]);
    for clip in clips {
        if let Some(domain) = &clip.domain {
            groups.entry(domain).or_default().push(clip);
        }
    }
    groups
}

/// The clips of each system; those without one are left out.
pub(crate) fn by_system<'a>(clips: &[&'a Scored]) -> BTreeMap<&'a str, Vec<&'a Scored>> {
    let mut systems: BTreeMap<&str, Vec<&Scored>> = BTreeMap::new();
    for clip in clips {
        if let Some(system) = &clip.system {
            systems.entry(system).or_default().push(clip);
        }
    }
    systems
}

/// Mean prediction and mean truth on an axis.
pub(crate) fn means(clips: &[&Scored], axis: Axis) -> (f64, f64) {
    let of = |scores: fn(&Scored) -> &[f64; NUM_AXES]| {
        mean(&clips.iter().map(|c| scores(c)[axis as usize]).collect::<Vec<_>>())
    };
    (of(|c| &c.prediction), of(|c| &c.truth))
}

fn axes(clips: &[&Scored]) -> Axes {
    let systems: Vec<Option<&str>> = clips.iter().map(|c| c.system.as_deref()).collect();
    let of_axis = |axis: Axis| {
        let prediction: Vec<f64> = clips.iter().map(|c| c.prediction[axis as usize]).collect();
        let truth: Vec<f64> = clips.iter().map(|c| c.truth[axis as usize]).collect();
        (axis.to_string(), Levels::of(&prediction, &truth, &systems))
    };
    Axis::ALL.into_iter().map(of_axis).collect()
}

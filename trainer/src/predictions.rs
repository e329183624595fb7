//! Tables of clips' scores: anyone's, and those that an evaluation leaves behind.
//!
//! CSV with a header. Needed are a column for the clip (`sample_id`, `id`, `data_path` or `path`) and the four axes
//! (`PQ` or `Production_Quality`, and so on), in any order and case. A table that [`to_csv`] wrote also holds `system`,
//! `domain` and the labels (`truth_PQ`, ...), so that it can be measured again by itself, and the `policy` by which a model
//! scored (the same in all rows). Other columns are ignored.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use aesa::score::{Axis, NUM_AXES};
use anyhow::{Context, Result, bail, ensure};

use crate::report::{Scored, number};
use crate::truth::Label;

/// A table of scores.
#[derive(Clone, Debug)]
pub struct Predictions {
    path: PathBuf,
    policy: Option<String>,
    rows: Vec<Row>,
}

/// One clip's scores.
#[derive(Clone, Debug)]
struct Row {
    id: String,
    scores: [f64; NUM_AXES],
    system: Option<String>,
    domain: Option<String>,
    truth: Option<[f64; NUM_AXES]>,
}

impl Predictions {
    /// Reads a table.
    ///
    /// # Errors
    /// Where it cannot be read, misses a column, holds something that is no finite number, or a clip twice.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.display();
        let mut reader = csv::Reader::from_path(path).with_context(|| format!("cannot read {file}"))?;
        let columns = Columns::find(reader.headers()?).with_context(|| format!("{file} is no such table"))?;
        let mut policy = None;
        let mut rows: Vec<Row> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        for (number, record) in reader.records().enumerate() {
            let record = record.with_context(|| format!("{file}: row {}", number + 2))?;
            policy = policy.or_else(|| text(&record, columns.policy?));
            let row = columns.row(&record);
            let row = row.with_context(|| format!("{file}: row {}", number + 2))?;
            if let Some(first) = lines.insert(row.id.clone(), number + 2) {
                bail!("{file}: {} occurs twice, in rows {first} and {}", row.id, number + 2);
            }
            rows.push(row);
        }
        ensure!(!rows.is_empty(), "{file} holds no predictions");
        Ok(Self { path: path.to_path_buf(), policy, rows })
    }

    /// The policy by which the scores were made, where the table says so.
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// Puts each label beside the prediction for its clip.
    ///
    /// A clip is found by its id or, where a table names files (`a/b/ID.wav`), by the file's name.
    ///
    /// # Errors
    /// Where a label has no prediction, or a prediction no label.
    pub fn join(&self, labels: &[Label], labels_name: &str) -> Result<Vec<Scored>> {
        let file = self.path.display();
        let mut by_id: HashMap<&str, usize> = HashMap::new();
        for (n, row) in self.rows.iter().enumerate() {
            by_id.insert(file_stem(&row.id), n);
        }
        by_id.extend(self.rows.iter().enumerate().map(|(n, row)| (row.id.as_str(), n)));
        let find = |label: &Label| by_id.get(label.id.as_str()).copied();
        let missing: Vec<&Label> = labels.iter().filter(|label| find(label).is_none()).collect();
        if let Some(first) = missing.first() {
            bail!(
                "{file} has no prediction for {} of the {} clips in {labels_name}, the first being {}",
                missing.len(),
                labels.len(),
                first.id
            );
        }
        let mut is_used = vec![false; self.rows.len()];
        let mut scored = Vec::with_capacity(labels.len());
        for (label, n) in labels.iter().filter_map(|label| Some((label, find(label)?))) {
            ensure!(!is_used[n], "{file}: {} fits more than one clip of {labels_name}", self.rows[n].id);
            is_used[n] = true;
            scored.push(Scored {
                id: label.id.clone(),
                system: label.system.clone(),
                domain: label.domain.clone(),
                prediction: self.rows[n].scores,
                truth: label.scores,
            });
        }
        let mut unknown = self.rows.iter().zip(&is_used).filter(|(_, used)| !**used).map(|(row, _)| row);
        if let Some(first) = unknown.next() {
            bail!(
                "{file} has predictions for {} clips that {labels_name} does not know, the first being {}",
                1 + unknown.count(),
                first.id
            );
        }
        Ok(scored)
    }

    /// The clips with the labels that the table itself holds.
    ///
    /// # Errors
    /// Where it holds none.
    pub fn into_scored(self) -> Result<Vec<Scored>> {
        let file = self.path.display();
        let scored = |row: Row| {
            Some(Scored {
                truth: row.truth?,
                id: row.id,
                system: row.system,
                domain: row.domain,
                prediction: row.scores,
            })
        };
        self.rows.into_iter().map(scored).collect::<Option<_>>().with_context(|| {
            format!("{file} holds no labels (columns truth_PQ, ...): name them by --truth, or --corpus")
        })
    }
}

/// The table of an evaluation: scores, labels, system and domain of each clip, and the policy, where it is known.
///
/// # Errors
/// None in practice: it is written to memory.
pub fn to_csv(clips: &[Scored], policy: Option<&str>) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let axes = Axis::ALL.map(|a| a.short_name().to_string());
    let truth = Axis::ALL.map(|a| format!("truth_{a}"));
    let names = ["sample_id", "system", "domain"].map(str::to_string);
    let last = policy.map(|_| "policy".to_string());
    writer.write_record(names.iter().chain(&axes).chain(&truth).chain(&last))?;
    for clip in clips {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let scores = clip.prediction.iter().chain(&clip.truth).map(|v| number(*v));
        let row = [clip.id.clone(), text(&clip.system), text(&clip.domain)];
        writer.write_record(row.into_iter().chain(scores).chain(policy.map(str::to_string)))?;
    }
    Ok(writer.into_inner()?)
}

/// Where a table has what.
struct Columns {
    id: usize,
    axes: [usize; NUM_AXES],
    truth: Option<[usize; NUM_AXES]>,
    system: Option<usize>,
    domain: Option<usize>,
    policy: Option<usize>,
}

impl Columns {
    fn find(headers: &csv::StringRecord) -> Result<Self> {
        let headers: Vec<String> =
            headers.iter().map(|h| h.trim().to_lowercase().replace([' ', '-'], "_")).collect();
        let find = |name: &str| headers.iter().position(|h| h == name);
        let id = ["sample_id", "id", "data_path", "path"].into_iter().find_map(find);
        let axis = |axis: Axis| {
            find(&axis.short_name().to_lowercase())
                .or_else(|| find(&axis.name().to_lowercase().replace(' ', "_")))
        };
        let truth = |axis: Axis| find(&format!("truth_{}", axis.short_name().to_lowercase()));
        let mut axes = [0; NUM_AXES];
        for (place, a) in axes.iter_mut().zip(Axis::ALL) {
            *place = axis(a).with_context(|| format!("there is no column {a}"))?;
        }
        let truth: Option<Vec<usize>> = Axis::ALL.into_iter().map(truth).collect();
        Ok(Self {
            id: id.context("there is no column sample_id")?,
            axes,
            truth: truth.and_then(|t| t.try_into().ok()),
            system: find("system"),
            domain: find("domain"),
            policy: find("policy"),
        })
    }

    fn row(&self, record: &csv::StringRecord) -> Result<Row> {
        let text = |column: usize| text(record, column);
        Ok(Row {
            id: text(self.id).context("it names no clip")?,
            scores: scores(record, self.axes)?,
            truth: self.truth.map(|columns| scores(record, columns)).transpose()?,
            system: self.system.and_then(text),
            domain: self.domain.and_then(text),
        })
    }
}

/// A column's text, where there is any.
fn text(record: &csv::StringRecord, column: usize) -> Option<String> {
    Some(record[column].trim().to_string()).filter(|text| !text.is_empty())
}

fn scores(record: &csv::StringRecord, columns: [usize; NUM_AXES]) -> Result<[f64; NUM_AXES]> {
    let mut scores = [0.0; NUM_AXES];
    for (score, column) in scores.iter_mut().zip(columns) {
        let text = record[column].trim();
        let value = text.parse::<f64>().ok().filter(|v| v.is_finite());
        *score = value.with_context(|| format!("{text:?} is no score"))?;
    }
    Ok(scores)
}

/// `ID` of `a/b/ID.wav`.
fn file_stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Predictions> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Predictions::read(file.path())
    }

    fn label(id: &str) -> Label {
        Label { id: id.to_string(), system: None, domain: None, scores: [5.0; NUM_AXES] }
    }

    #[test]
    fn columns_are_found_by_name() {
        let predictions = read("CE,Sample ID,extra,cu,Production_Complexity,PQ\n3,a,x,4,2,1\n").unwrap();
        let scored = predictions.join(&[label("a")], "labels").unwrap();
        assert_eq!((scored[0].prediction, scored[0].truth), ([1.0, 2.0, 3.0, 4.0], [5.0; NUM_AXES]));
    }

    #[test]
    fn clips_are_found_by_file_name_too() {
        let predictions = read("path,PQ,PC,CE,CU\nx/b.wav,1,2,3,4\nc.d,5,6,7,8\n").unwrap();
        let scored = predictions.join(&[label("c.d"), label("b")], "labels").unwrap();
        assert_eq!(scored.iter().map(|s| s.prediction[0]).collect::<Vec<_>>(), [5.0, 1.0]);
        let twice = predictions.join(&[label("c"), label("b"), label("c.d")], "labels").unwrap_err();
        assert!(twice.to_string().contains("fits more than one"), "{twice}");
    }

    #[test]
    fn bad_tables_say_what_is_wrong() {
        for (text, expected) in [
            ("sample_id,PQ,PC,CE\na,1,2,3\n", "no column CU"),
            ("name,PQ,PC,CE,CU\na,1,2,3,4\n", "no column sample_id"),
            ("sample_id,PQ,PC,CE,CU\na,1,2,3,4\nb,1,2,3,x\n", "row 3: \"x\" is no score"),
            ("sample_id,PQ,PC,CE,CU\na,1,2,NaN,4\n", "row 2: \"NaN\" is no score"),
            ("sample_id,PQ,PC,CE,CU\na,1,2,,4\n", "row 2: \"\" is no score"),
            ("sample_id,PQ,PC,CE,CU\na,1,2,3\n", "row 2: "),
            ("id,PQ,PC,CE,CU\na,1,2,3,4\na,1,2,3,4\n", "a occurs twice, in rows 2 and 3"),
            ("id,PQ,PC,CE,CU\n", "holds no predictions"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
        let predictions = read("id,PQ,PC,CE,CU\na,1,2,3,4\nb,1,2,3,4\n").unwrap();
        for (labels, expected) in [
            (
                vec![label("a"), label("b"), label("c")],
                "no prediction for 1 of the 3 clips in labels, the first being c",
            ),
            (vec![label("a")], "for 1 clips that labels does not know, the first being b"),
        ] {
            let error = predictions.join(&labels, "labels").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(predictions.into_scored().unwrap_err().to_string().contains("holds no labels"));
    }

    #[test]
    fn a_written_table_is_read_back_exactly() {
        let clip = |id: &str, system: Option<&str>| Scored {
            id: id.to_string(),
            system: system.map(str::to_string),
            domain: Some("music".to_string()),
            prediction: [0.1 + 0.2, 1.0 / 3.0, 1e-12, 10.0],
            truth: [2.0 / 3.0, 5.0, 0.0, 9.999_999_999_999],
        };
        let clips = [clip("a, \"b\"", Some("x")), clip("c", None)];
        for policy in [None, Some("chunked, 6 steps")] {
            let text = String::from_utf8(to_csv(&clips, policy).unwrap()).unwrap();
            let predictions = read(&text).unwrap();
            assert_eq!(predictions.policy(), policy);
            assert_eq!(predictions.into_scored().unwrap(), clips);
        }
    }
}

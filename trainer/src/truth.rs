//! What predictions are compared with: labels, the raters behind them, and domains.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use aesa::score::NUM_AXES;
use aesa_corpus::labels::{AXIS_COLUMNS, Domain, read_ratings};
use aesa_corpus::manifest;
use anyhow::{Context, Result, ensure};

use crate::ceiling::Raters;
use crate::report::Scored;

/// One clip's labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Its id.
    pub id: String,
    /// The system that made it.
    pub system: Option<String>,
    /// Its domain's name.
    pub domain: Option<String>,
    /// Means of the raters, 0 to 10.
    pub scores: [f64; NUM_AXES],
}

/// The challenge's labels, and every rater's scores where the file has them.
///
/// # Errors
/// Where the file cannot be read.
pub fn read_labels(path: &Path) -> Result<(Vec<Label>, Raters)> {
    let mut raters = Raters::new();
    let labels = read_ratings(path)?.into_iter().map(|rating| {
        if !rating.raters.is_empty() {
            raters.insert(rating.sample_id.clone(), rating.raters);
        }
        Label {
            id: rating.sample_id,
            system: rating.system,
            domain: rating.domain.map(|d| d.name().to_string()),
            scores: rating.scores,
        }
    });
    Ok((labels.collect(), raters))
}

/// Every rater's scores as the challenge's JSONL has them, by id; [`read_labels`] reads them again.
///
/// # Errors
/// None for finite scores.
pub fn raters_to_jsonl(raters: &Raters) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for (id, scores) in raters.iter().collect::<BTreeMap<_, _>>() {
        let mut line = serde_json::Map::from_iter([("data_path".to_string(), id.as_str().into())]);
        for (axis, column) in AXIS_COLUMNS.iter().enumerate() {
            let of_axis: Vec<f64> = scores.iter().map(|scores| scores[axis]).collect();
            line.insert((*column).to_string(), of_axis.into());
        }
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Labels of a corpus's `train.csv`, `validation.csv` or `test.csv` (`split` is the name without `.csv`).
///
/// # Errors
/// Where the table cannot be read.
pub fn read_split(corpus: &Path, split: &str) -> Result<Vec<Label>> {
    let label = |clip: manifest::Clip| Label {
        scores: clip.scores(),
        id: clip.sample_id,
        system: Some(clip.system).filter(|s| !s.is_empty()),
        domain: Some(clip.domain.name().to_string()),
    };
    Ok(manifest::read_clips(corpus.join(format!("{split}.csv")))?.into_iter().map(label).collect())
}

/// Gives clips the domains that a table names: CSV with the columns `domain` (`speech`, `music`, `sound`) and
/// `system` or `sample_id`.
///
/// The challenge's labels name no domain, and a system makes clips of one.
///
/// # Errors
/// Where the table cannot be read or does not know a clip.
pub fn assign_domains(clips: &mut [Scored], table: &Path) -> Result<()> {
    let domains = read_domains(table)?;
    let of = |clip: &Scored| {
        domains.get(clip.id.as_str()).or_else(|| domains.get(clip.system.as_deref()?)).copied()
    };
    let unknown: Vec<&Scored> = clips.iter().filter(|c| of(c).is_none()).collect();
    ensure!(
        unknown.is_empty(),
        "{} names no domain for {} of {} clips, the first being {}",
        table.display(),
        unknown.len(),
        clips.len(),
        unknown[0].id
    );
    for clip in clips {
        clip.domain = of(clip).map(|d| d.name().to_string());
    }
    Ok(())
}

fn read_domains(path: &Path) -> Result<HashMap<String, Domain>> {
    let file = path.display();
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("cannot read {file}"))?;
    let headers = reader.headers()?.clone();
    let column = |name: &str| headers.iter().position(|h| h.trim().eq_ignore_ascii_case(name));
    let key = column("sample_id").or_else(|| column("system"));
    let key = key.with_context(|| format!("{file} has no column system or sample_id"))?;
    let domain = column("domain").with_context(|| format!("{file} has no column domain"))?;
    let mut domains = HashMap::new();
    for (number, record) in reader.records().enumerate() {
        let record = record?;
        let parsed = record[domain].trim().parse::<Domain>();
        let parsed = parsed.map_err(|e| anyhow::anyhow!("{file}: row {}: {e}", number + 2))?;
        let name = record[key].trim().to_string();
        ensure!(domains.insert(name.clone(), parsed).is_none(), "{file}: {name} occurs twice");
    }
    Ok(domains)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_found_by_system_or_clip() {
        let clip = |id: &str, system: &str| Scored {
            id: id.to_string(),
            system: Some(system.to_string()),
            domain: None,
            prediction: [0.0; NUM_AXES],
            truth: [0.0; NUM_AXES],
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        let assign = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            let mut clips = [clip("x1", "x"), clip("y1", "y")];
            assign_domains(&mut clips, file.path())
                .map(|()| clips.map(|c| c.domain.unwrap()))
                .map_err(|e| e.to_string())
        };
        let expected = Ok(["music".to_string(), "speech".to_string()]);
        assert_eq!(assign("system,domain\ny,speech\nx,music\n"), expected);
        assert_eq!(assign("domain,sample_id\nspeech,y1\nmusic,x1\n"), expected);
        for (text, error) in [
            ("system,domain\nx,music\n", "no domain for 1 of 2 clips, the first being y1"),
            ("system,domain\nx,noise\n", "row 2: domain is \"noise\""),
            ("system,domain\nx,music\nx,sound\n", "x occurs twice"),
            ("system,what\nx,music\n", "no column domain"),
            ("name,domain\nx,music\n", "no column system or sample_id"),
        ] {
            let found = assign(text).unwrap_err();
            assert!(found.contains(error), "{text}: {found}");
        }
    }
}

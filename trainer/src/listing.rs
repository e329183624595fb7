//! The clips that a run is to read: which tables name them, where they lie, which are missing.
//!
//! ```text
//! corpus folder ----.
//!                    >--> Listing --> report, refusal, missing.txt --> clips in memory
//! tables and roots -'
//! ```

use core::fmt::Write as _;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use aesa_corpus::manifest;
use aesa_corpus::roots::{Root, find_audio, locate};
use aesa_corpus::table::{RatedClip, read_table};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use tch::Kind;

use crate::dataset::{self, Clip};
use crate::{progress, weights};

/// The clips of a run, not yet read.
#[derive(Debug)]
pub struct Listing {
    /// What the model learns from.
    train: Vec<Listed>,
    /// What decides which epoch is best.
    dev: Vec<Listed>,
    /// Every file that says which clips these are.
    tables: Vec<PathBuf>,
    /// What the report calls the two splits.
    names: [&'static str; 2],
}

/// A clip of a table and its file.
#[derive(Debug)]
struct Listed {
    clip: RatedClip,
    /// The corpus that its path names, else the name of its table or folder.
    corpus: String,
    /// Where it lies, or should; the path as the table writes it where no root tells.
    file: PathBuf,
    /// Why it cannot be read.
    problem: Option<String>,
}

/// The clips of a run in memory.
#[derive(Debug)]
pub struct Clips {
    /// What the model learns from, in half precision.
    pub train: Vec<Clip>,
    /// What decides which epoch is best.
    pub validation: Vec<Clip>,
    /// Ids of the clips that were listed and could not be read.
    pub left_out: Vec<String>,
}

impl Listing {
    /// Lists a corpus folder's `train.csv` and `validation.csv`.
    ///
    /// # Errors
    /// Where a table cannot be read.
    pub fn of_corpus(folder: &Path) -> Result<Self> {
        let tables = ["train.csv", "validation.csv"].map(|name| folder.join(name));
        let name = folder.file_name().map_or("corpus".into(), |name| name.to_string_lossy());
        let list = |table: &Path| -> Result<Vec<Listed>> {
            let clips = manifest::read_clips(table)?.into_iter();
            Ok(clips.map(|clip| Listed::new(clip.into(), table, &name, &[])).collect())
        };
        let (train, dev) = (list(&tables[0])?, list(&tables[1])?);
        let facts = Some(folder.join("corpus.json")).filter(|path| path.exists());
        let tables = tables.into_iter().chain(facts).collect();
        Ok(Self { train, dev, tables, names: ["train", "validation"] })
    }

    /// Lists tables; see [`aesa_corpus::table`] for what they hold and [`Root`] for where their audio lies.
    ///
    /// Clips of `dev` are taken out of `train`, whatever their ids: all of the challenge's training and development
    /// clips are in its lists of every rater's scores.
    ///
    /// # Errors
    /// Where a table cannot be read, an id occurs in two tables of a split, a root's folder is not there, or all clips
    /// of `train` are in `dev`.
    pub fn of_tables(train: &[PathBuf], dev: &[PathBuf], roots: &[Root]) -> Result<Self> {
        for Root { name, folder } in roots {
            ensure!(folder.is_dir(), "--root {name}={}: there is no such folder", folder.display());
        }
        let list = |tables: &[PathBuf]| -> Result<Vec<Listed>> {
            let (mut listed, mut ids) = (Vec::new(), HashSet::new());
            for table in tables {
                let name = table.file_name().unwrap_or_default().to_string_lossy();
                for clip in read_table(table)? {
                    let is_new = ids.insert(clip.sample_id.clone());
                    ensure!(is_new, "{}: another table has {:?}, too", table.display(), clip.sample_id);
                    listed.push(Listed::new(clip, table, &name, roots));
                }
            }
            Ok(listed)
        };
        let (mut learned, validated) = (list(train)?, list(dev)?);
        let num_listed = learned.len();
        let in_dev: HashSet<_> = validated.iter().map(Listed::audio).collect();
        learned.retain(|clip| !in_dev.contains(&clip.audio()));
        ensure!(
            !learned.is_empty(),
            "all clips of --train are in --dev, too: there is nothing to learn from"
        );
        if learned.len() < num_listed {
            let num_shared = num_listed - learned.len();
            eprintln!(
                "{num_shared} of the {num_listed} clips of --train are in --dev, too: training leaves them out"
            );
        }
        let tables = train.iter().chain(dev).cloned().collect();
        Ok(Self { train: learned, dev: validated, tables, names: ["train", "dev"] })
    }

    /// Every file that says which clips these are, in a fixed order.
    pub fn tables(&self) -> &[PathBuf] {
        &self.tables
    }

    /// Reads the clips and reports, per corpus, how many there are and how many are missing.
    ///
    /// `missing.txt` in `out` then names each missing or unreadable clip: file, reason and id, with tabs between them.
    ///
    /// # Errors
    /// Where clips are missing or cannot be read and `allow_missing` is not set, or a split has none left.
    pub fn read(mut self, allow_missing: bool, out: &Path) -> Result<Clips> {
        let list = out.join("missing.txt");
        if list.exists() {
            fs::remove_file(&list).with_context(|| format!("cannot remove {}", list.display()))?;
        }
        for listed in self.train.iter_mut().chain(&mut self.dev) {
            listed.find();
        }
        eprint!("{}", self.report());
        // What is not there shows at once; what cannot be decoded only after all else was.
        self.refuse(allow_missing, &list)?;
        let [train_name, dev_name] = self.names;
        let train = read_clips(&mut self.train, train_name, Kind::Half);
        let validation = read_clips(&mut self.dev, dev_name, Kind::Float);
        self.refuse(allow_missing, &list)?;
        let left_out: Vec<String> =
            self.problems().map(|(listed, _)| listed.clip.sample_id.clone()).collect();
        if !left_out.is_empty() {
            eprintln!("going on without {} clips, listed in {}", left_out.len(), list.display());
        }
        Ok(Clips { train, validation, left_out })
    }

    /// The clips that cannot be read, and why.
    fn problems(&self) -> impl Iterator<Item = (&Listed, &str)> {
        self.train.iter().chain(&self.dev).filter_map(|l| Some((l, l.problem.as_deref()?)))
    }

    /// How many clips of each corpus were found, and how many are missing.
    fn report(&self) -> String {
        let mut counts: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
        let mut total = [0; 4];
        for (split, listed) in [&self.train, &self.dev].into_iter().enumerate() {
            for clip in listed {
                let column = 2 * split + usize::from(clip.problem.is_some());
                counts.entry(&clip.corpus).or_default()[column] += 1;
                total[column] += 1;
            }
        }
        let width = counts.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(10);
        let [train, dev] = self.names;
        let mut text =
            format!("{:width$} {train:>12} {:>9} {dev:>12} {:>9}\n", "corpus", "missing", "missing");
        for (name, [a, b, c, d]) in counts.into_iter().chain([("all", total)]) {
            // Writing to a text cannot fail.
            _ = writeln!(text, "{name:width$} {a:>12} {b:>9} {c:>12} {d:>9}");
        }
        text
    }

    /// Writes the list of missing clips; an error unless the run can go on without them.
    fn refuse(&self, allow_missing: bool, list: &Path) -> Result<()> {
        let mut text = String::new();
        for (listed, problem) in self.problems() {
            _ = writeln!(text, "{}\t{problem}\t{}", listed.file.display(), listed.clip.sample_id);
        }
        if text.is_empty() {
            return Ok(());
        }
        weights::replace(list, |temporary| Ok(fs::write(temporary, &text)?))?;
        let unplaced: BTreeSet<&str> = self
            .problems()
            .filter(|(_, problem)| *problem == NO_ROOT)
            .map(|(l, _)| l.corpus.as_str())
            .collect();
        let mut hint = String::new();
        if !unplaced.is_empty() {
            let names: Vec<&str> = unplaced.into_iter().collect();
            hint = format!("; there is no --root NAME=DIR for {}", names.join(", "));
        }
        for (listed, name) in [(&self.train, self.names[0]), (&self.dev, self.names[1])] {
            if listed.iter().all(|l| l.problem.is_some()) {
                let (count, list) = (listed.len(), list.display());
                bail!("none of the {count} {name} clips can be read, see {list}{hint}");
            }
        }
        if !allow_missing {
            let (missing, all) = (self.problems().count(), self.train.len() + self.dev.len());
            let list = list.display();
            bail!(
                "{missing} of {all} clips are missing or cannot be read, see {list}{hint}; \
                 --allow-missing goes on without them"
            );
        }
        Ok(())
    }
}

impl Listed {
    /// `name` is what the report calls the corpus of a path that names none.
    fn new(clip: RatedClip, table: &Path, name: &str, roots: &[Root]) -> Self {
        let place = locate(&clip.path, roots, table.parent().unwrap_or(Path::new("")));
        let problem = place.file.is_none().then(|| NO_ROOT.to_string());
        Self {
            corpus: place.corpus.unwrap_or_else(|| name.to_string()),
            file: place.file.unwrap_or_else(|| PathBuf::from(&clip.path)),
            problem,
            clip,
        }
    }

    /// Looks whether the file is there.
    fn find(&mut self) {
        if self.problem.is_some() {
            return;
        }
        match find_audio(&self.file) {
            Some(file) => self.file = file,
            None => self.problem = Some("no such file".to_string()),
        }
    }

    /// What is heard: two clips with the same are one.
    fn audio(&self) -> (PathBuf, [Option<u64>; 2]) {
        let file = fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone());
        (file, [self.clip.start_s, self.clip.end_s].map(|time| time.map(f64::to_bits)))
    }
}

/// Reads the clips that are there, and notes why others cannot be read.
fn read_clips(listed: &mut [Listed], name: &str, kind: Kind) -> Vec<Clip> {
    let bar = progress::bar(listed.len() as u64, &format!("{name}: features"));
    let read = |listed: &mut Listed| {
        bar.inc(1);
        if listed.problem.is_some() {
            return None;
        }
        match dataset::read_clip(listed.clip.clone(), &listed.file, kind) {
            Ok(clip) => Some(clip),
            Err(error) => {
                listed.problem = Some(format!("{error:#}"));
                None
            }
        }
    };
    let clips = listed.par_iter_mut().filter_map(read).collect();
    bar.finish_and_clear();
    clips
}

/// The problem of a clip whose corpus has no root.
const NO_ROOT: &str = "no --root for its corpus";

//! The clips that a run is to read: which tables name them, where they lie, which are missing.
//!
//! ```text
//! corpus folder ----.
//!                    >--> Listing --> report, refusal, missing.txt --> clips in memory
//! tables and roots -|
//! audio files ------'
//! ```

use core::fmt::Write as _;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use aesa_corpus::manifest;
use aesa_corpus::roots::{Root, find_audio, locate};
use aesa_corpus::table::{RatedClip, read_table};
use aesa_media::{EXTENSIONS, is_audio_extension};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tch::Kind;
use walkdir::WalkDir;

use crate::ceiling::Raters;
use crate::dataset::{self, Clip};
use crate::{progress, weights};

/// The clips of a run, not yet read.
#[derive(Debug)]
pub struct Listing {
    /// What the model learns from, then what decides which epoch is best; or what it is measured on, alone.
    splits: Vec<Split>,
    /// Every file that says which clips these are.
    tables: Vec<PathBuf>,
}

/// Clips that are read for one purpose.
#[derive(Debug)]
struct Split {
    /// What the report calls it.
    name: &'static str,
    /// How features are kept.
    kind: Kind,
    /// Files are cut into clips of so many steps; `None` where each file, or part of one, is a clip.
    piece_steps: Option<usize>,
    listed: Vec<Listed>,
}

/// A clip of a table and its file.
#[derive(Debug)]
struct Listed {
    clip: RatedClip,
    /// The corpus that its path names, else the name of its table or folder.
    corpus: String,
    /// Where it lies, or should; the path as the table writes it where no root tells.
    file: PathBuf,
    /// Which of the roots told where it lies.
    root: Option<usize>,
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
    /// Where a table cannot be read, or both name a file.
    pub fn of_corpus(folder: &Path) -> Result<Self> {
        let tables = ["train.csv", "validation.csv"].map(|name| folder.join(name));
        let name = folder.file_name().map_or("corpus".into(), |name| name.to_string_lossy());
        let list = |table: &Path| -> Result<Vec<Listed>> {
            let clips = manifest::read_clips(table)?.into_iter();
            Ok(clips.map(|clip| Listed::new(clip.into(), table, &name, &[])).collect())
        };
        let (train, dev) = (list(&tables[0])?, list(&tables[1])?);
        let learned: HashSet<_> = train.iter().map(Listed::audio).collect();
        let shared: Vec<&Listed> = dev.iter().filter(|clip| learned.contains(&clip.audio())).collect();
        if let Some(first) = shared.first() {
            bail!(
                "{} of the {} clips of {} are in train.csv, too, {} for example: what a model learned from cannot tell which \
                 epoch is best",
                shared.len(),
                dev.len(),
                tables[1].display(),
                first.clip.path
            );
        }
        let facts = Some(folder.join("corpus.json")).filter(|path| path.exists());
        let tables = tables.into_iter().chain(facts).collect();
        Ok(Self::of_two(["train", "validation"], [train, dev], tables))
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
        let (mut learned, validated) = (list(train, roots)?, list(dev, roots)?);
        warn_of_idle_roots(roots, &[&learned, &validated]);
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
        Ok(Self::of_two(["train", "dev"], [learned, validated], tables))
    }

    /// Lists tables whose clips a model is measured on.
    ///
    /// # Errors
    /// Where a table cannot be read, an id occurs in two tables, or a root's folder is not there.
    pub fn of_measured(tables: &[PathBuf], roots: &[Root]) -> Result<Self> {
        let listed = list(tables, roots)?;
        warn_of_idle_roots(roots, &[&listed]);
        let measured = Split { name: "clips", kind: Kind::Float, piece_steps: None, listed };
        Ok(Self { splits: vec![measured], tables: tables.to_vec() })
    }

    /// Lists audio that nobody rated: files, and all below folders, to be cut into pieces of `piece_steps` steps. A share
    /// of the files validates, at least one; which, depends on their names alone.
    ///
    /// # Errors
    /// Where a path is not there, a folder cannot be read, or there are not two files.
    pub fn of_audio(paths: &[PathBuf], validation_share: f64, piece_steps: usize) -> Result<Self> {
        let mut listed = BTreeMap::new();
        for path in paths {
            ensure!(path.exists(), "--audio {}: there is no such file or folder", path.display());
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            for entry in WalkDir::new(path).follow_links(true) {
                let file = entry.with_context(|| format!("cannot read {}", path.display()))?.into_path();
                // A file that is named is meant, whatever its name.
                if file.is_file() && (file == *path || is_audio_extension(&file)) {
                    let id = Path::new(&*name).join(file.strip_prefix(path).unwrap_or(&file));
                    listed.insert(file.clone(), Listed::unrated(id.display().to_string(), file, &name));
                }
            }
        }
        let count = listed.len();
        ensure!(count > 0, "no audio files ({}) in what --audio names", EXTENSIONS.join(", "));
        ensure!(count > 1, "--audio names one file; two are needed: one is held out to validate");
        let mut listed: Vec<Listed> = listed.into_values().collect();
        listed.sort_by_cached_key(|listed| Sha256::digest(&listed.clip.sample_id));
        let num_held_out = ((count as f64 * validation_share).ceil() as usize).clamp(1, count - 1);
        let learned = listed.split_off(num_held_out);
        let mut listing = Self::of_two(["train", "held out"], [learned, listed], Vec::new());
        listing.splits.iter_mut().for_each(|split| split.piece_steps = Some(piece_steps));
        Ok(listing)
    }

    /// A split to learn from, kept in half precision, and one to validate on.
    fn of_two(names: [&'static str; 2], [train, dev]: [Vec<Listed>; 2], tables: Vec<PathBuf>) -> Self {
        let train = Split { name: names[0], kind: Kind::Half, piece_steps: None, listed: train };
        let dev = Split { name: names[1], kind: Kind::Float, piece_steps: None, listed: dev };
        Self { splits: vec![train, dev], tables }
    }

    /// Every file that says which clips these are, in a fixed order.
    pub fn tables(&self) -> &[PathBuf] {
        &self.tables
    }

    /// Every file that no table names.
    pub fn unlisted_files(&self) -> Vec<String> {
        let unlisted = self.splits.iter().filter(|split| split.piece_steps.is_some());
        unlisted.flat_map(|split| &split.listed).map(|listed| listed.clip.sample_id.clone()).collect()
    }

    /// Reads the clips to learn from and to validate on; see `read_splits`.
    ///
    /// # Errors
    /// Those of `read_splits`.
    pub fn read(self, allow_missing: bool, out: &Path) -> Result<Clips> {
        let (mut splits, left_out) = self.read_splits(allow_missing, Some(out))?;
        let (validation, train) = (splits.pop(), splits.pop());
        Ok(Clips { train: train.unwrap_or_default(), validation: validation.unwrap_or_default(), left_out })
    }

    /// Reads the clips that a model is measured on, and every rater's scores where the tables have them; see
    /// `read_splits`.
    ///
    /// # Errors
    /// Those of `read_splits`.
    pub fn read_measured(self, allow_missing: bool, out: Option<&Path>) -> Result<(Vec<Clip>, Raters)> {
        let rated = self.splits.iter().flat_map(|split| &split.listed).map(|listed| &listed.clip);
        let raters = rated
            .filter(|clip| !clip.raters.is_empty())
            .map(|clip| (clip.sample_id.clone(), clip.raters.clone()))
            .collect();
        let (splits, _) = self.read_splits(allow_missing, out)?;
        Ok((splits.into_iter().flatten().collect(), raters))
    }

    /// Reads the clips of each split, and gives the ids of those it had to do without; reports, per corpus, how many
    /// there are and how many are missing.
    ///
    /// `missing.txt` in `out` then names each missing or unreadable clip: file, reason and id, with tabs between them.
    /// Without `out` they are named on standard error.
    ///
    /// # Errors
    /// Where clips are missing or cannot be read and `allow_missing` is not set, or a split has none left.
    fn read_splits(
        mut self,
        allow_missing: bool,
        out: Option<&Path>,
    ) -> Result<(Vec<Vec<Clip>>, Vec<String>)> {
        let list = out.map(|out| out.join("missing.txt"));
        if let Some(list) = list.as_ref().filter(|list| list.exists()) {
            fs::remove_file(list).with_context(|| format!("cannot remove {}", list.display()))?;
        }
        for listed in self.splits.iter_mut().flat_map(|split| &mut split.listed) {
            listed.find();
        }
        eprint!("{}", self.report());
        // What is not there shows at once; what cannot be decoded only after all else was.
        self.refuse(allow_missing, list.as_deref())?;
        let splits: Vec<Vec<Clip>> = self.splits.iter_mut().map(Split::read).collect();
        self.refuse(allow_missing, list.as_deref())?;
        let left_out: Vec<String> =
            self.problems().map(|(listed, _)| listed.clip.sample_id.clone()).collect();
        if !left_out.is_empty() {
            let listed = list.map_or(String::new(), |list| format!(", listed in {}", list.display()));
            eprintln!("going on without {} clips{listed}", left_out.len());
        }
        Ok((splits, left_out))
    }

    /// The clips that cannot be read, and why.
    fn problems(&self) -> impl Iterator<Item = (&Listed, &str)> {
        let listed = self.splits.iter().flat_map(|split| &split.listed);
        listed.filter_map(|l| Some((l, l.problem.as_deref()?)))
    }

    /// How many clips of each corpus were found, and how many are missing.
    fn report(&self) -> String {
        let num_columns = 2 * self.splits.len();
        let mut counts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut total = vec![0; num_columns];
        for (split, Split { listed, .. }) in self.splits.iter().enumerate() {
            for clip in listed {
                let column = 2 * split + usize::from(clip.problem.is_some());
                counts.entry(&clip.corpus).or_insert_with(|| vec![0; num_columns])[column] += 1;
                total[column] += 1;
            }
        }
        let width = counts.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(10);
        let mut text = format!("{:width$}", "corpus");
        for Split { name, .. } in &self.splits {
            // Writing to a text cannot fail.
            _ = write!(text, " {name:>12} {:>9}", "missing");
        }
        for (name, columns) in counts.into_iter().chain([("all", total)]) {
            _ = write!(text, "\n{name:width$}");
            for pair in columns.chunks(2) {
                _ = write!(text, " {:>12} {:>9}", pair[0], pair[1]);
            }
        }
        text + "\n"
    }

    /// Writes the list of missing clips; an error unless the run can go on without them.
    fn refuse(&self, allow_missing: bool, list: Option<&Path>) -> Result<()> {
        let mut text = String::new();
        for (listed, problem) in self.problems() {
            _ = writeln!(text, "{}\t{problem}\t{}", listed.file.display(), listed.clip.sample_id);
        }
        if text.is_empty() {
            return Ok(());
        }
        let mut hint = String::new();
        match list {
            Some(list) => {
                if let Some(folder) = list.parent() {
                    fs::create_dir_all(folder)
                        .with_context(|| format!("cannot make {}", folder.display()))?;
                }
                weights::replace(list, |temporary| Ok(fs::write(temporary, &text)?))?;
                hint = format!(", see {}", list.display());
            }
            None => eprint!("{text}"),
        }
        let unplaced: BTreeSet<&str> = self
            .problems()
            .filter(|(_, problem)| *problem == NO_ROOT)
            .map(|(l, _)| l.corpus.as_str())
            .collect();
        if !unplaced.is_empty() {
            let names: Vec<&str> = unplaced.into_iter().collect();
            _ = write!(hint, "; there is no --root NAME=DIR for {}", names.join(", "));
        }
        for Split { name, listed, .. } in &self.splits {
            if listed.iter().all(|l| l.problem.is_some()) {
                let what = if self.splits.len() > 1 { format!("{name} clips") } else { name.to_string() };
                bail!("none of the {} {what} can be read{hint}", listed.len());
            }
        }
        if !allow_missing {
            let all = self.splits.iter().map(|split| split.listed.len()).sum::<usize>();
            bail!(
                "{} of {all} clips are missing or cannot be read{hint}; --allow-missing goes on without them",
                self.problems().count()
            );
        }
        Ok(())
    }
}

/// Lists the clips of tables.
fn list(tables: &[PathBuf], roots: &[Root]) -> Result<Vec<Listed>> {
    for Root { name, folder } in roots {
        ensure!(folder.is_dir(), "--root {name}={}: there is no such folder", folder.display());
    }
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
}

/// Tells of roots that no clip needs: a name that is not as the tables write it, most likely.
fn warn_of_idle_roots(roots: &[Root], splits: &[&[Listed]]) {
    for (n, Root { name, folder }) in roots.iter().enumerate() {
        if !splits.iter().copied().flatten().any(|listed| listed.root == Some(n)) {
            eprintln!("warning: --root {name}={} fits no path of the tables", folder.display());
        }
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
            root: place.root,
            problem,
            clip,
        }
    }

    /// A file that no table names.
    fn unrated(sample_id: String, file: PathBuf, corpus: &str) -> Self {
        let clip = RatedClip::unrated(sample_id);
        Self { clip, corpus: corpus.to_string(), file, root: None, problem: None }
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

impl Split {
    /// Reads the clips that are there, and notes why others cannot be read.
    fn read(&mut self) -> Vec<Clip> {
        let (kind, piece_steps) = (self.kind, self.piece_steps);
        let bar = progress::bar(self.listed.len() as u64, &format!("{}: features", self.name));
        let read = |listed: &mut Listed| {
            bar.inc(1);
            if listed.problem.is_some() {
                return Vec::new();
            }
            let read = match piece_steps {
                Some(steps) => dataset::read_pieces(&listed.clip, &listed.file, kind, steps),
                None => dataset::read_clip(listed.clip.clone(), &listed.file, kind).map(|clip| vec![clip]),
            };
            read.unwrap_or_else(|error| {
                listed.problem = Some(format!("{error:#}"));
                Vec::new()
            })
        };
        let clips = self.listed.par_iter_mut().flat_map_iter(read).collect();
        bar.finish_and_clear();
        clips
    }
}

/// The problem of a clip whose corpus has no root.
const NO_ROOT: &str = "no --root for its corpus";

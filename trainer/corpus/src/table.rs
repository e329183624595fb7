//! Rated clips as a table: the challenge's files, or CSV and Parquet with columns of our own.
//!
//! | column | holds |
//! |---|---|
//! | `path` | the audio file; a relative path begins at the table's folder |
//! | `PQ`, `PC`, `CE`, `CU` | ratings, 0 to 10 |
//! | `sample_id` | unique id; without it the path, with the times where there are any |
//! | `system` | what made the clip |
//! | `domain` | `speech`, `music` or `sound`; without it what the path's folders tell |
//! | `start`, `end` | the part of the file that was rated, in seconds |
//! | `family` | the clips made from one clean mix have the same number |
//!
//! All but the first five may be missing, as a column or in a row. Names are read in any case and order.

use core::fmt;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::labels::{Domain, LabelsError, MAX_RATING, Rating, read_ratings};
use crate::{manifest, parquet_cells};

/// One rated clip.
#[derive(Clone, Debug, PartialEq)]
pub struct RatedClip {
    /// Unique id.
    pub sample_id: String,
    /// The audio file as the table writes it.
    pub path: String,
    /// What the clip holds, where that is known.
    pub domain: Option<Domain>,
    /// The system that made it, where there is one.
    pub system: Option<String>,
    /// The clips made from one clean mix have the same number.
    pub family: Option<u64>,
    /// Ratings, 0 to 10, in the order PQ, PC, CE, CU.
    pub scores: [f64; 4],
    /// Every rater's ratings, where the table has them; else empty.
    pub raters: Vec<[f64; 4]>,
    /// Where the clip begins in the file, in seconds; `None` is the file's start.
    pub start_s: Option<f64>,
    /// Where it ends, in seconds; `None` is the file's end.
    pub end_s: Option<f64>,
}

impl RatedClip {
    /// A whole file under its name, of which nothing else is known; scores are 0.
    pub fn unrated(sample_id: String) -> Self {
        Self {
            path: sample_id.clone(),
            sample_id,
            domain: None,
            system: None,
            family: None,
            scores: [0.0; 4],
            raters: Vec::new(),
            start_s: None,
            end_s: None,
        }
    }
}

impl From<Rating> for RatedClip {
    fn from(rating: Rating) -> Self {
        let Rating { sample_id, path, system, domain, scores, raters } = rating;
        Self { sample_id, path, domain, system, family: None, scores, raters, start_s: None, end_s: None }
    }
}

impl From<manifest::Clip> for RatedClip {
    fn from(clip: manifest::Clip) -> Self {
        let (scores, domain) = (clip.scores(), Some(clip.domain));
        let system = Some(clip.system).filter(|system| !system.is_empty());
        let manifest::Clip { sample_id, path, family, .. } = clip;
        let raters = Vec::new();
        Self { sample_id, path, domain, system, family, scores, raters, start_s: None, end_s: None }
    }
}

/// Why a table could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum TableError {
    /// One of the challenge's files is wrong.
    Labels(LabelsError),
    /// The file cannot be opened, or is not what it begins like.
    Unreadable {
        /// The table.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Columns are missing, or have names that mean nothing here.
    Columns {
        /// The table.
        path: PathBuf,
        /// Columns that it must have and has not.
        missing: Vec<&'static str>,
        /// Columns that it has and that are not known, or that it has twice.
        unknown: Vec<String>,
    },
    /// A value cannot be understood.
    Malformed {
        /// The table.
        path: PathBuf,
        /// Line of a CSV file, row of a Parquet file, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A rating is outside 0..10 or not a number.
    OutOfRange {
        /// The table.
        path: PathBuf,
        /// Line of a CSV file, row of a Parquet file, from 1.
        line: usize,
        /// The axis.
        column: &'static str,
        /// The rating found.
        value: f64,
    },
    /// A clip's times are negative, not numbers, or end before they start.
    Segment {
        /// The table.
        path: PathBuf,
        /// Line of a CSV file, row of a Parquet file, from 1.
        line: usize,
        /// The clip's start, in seconds.
        start_s: f64,
        /// The clip's end, in seconds.
        end_s: f64,
    },
    /// Two clips have the same id.
    Duplicate {
        /// The table.
        path: PathBuf,
        /// Line or row of the second one, from 1.
        line: usize,
        /// The id.
        sample_id: String,
    },
    /// There are no clips.
    Empty {
        /// The table.
        path: PathBuf,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labels(error) => write!(f, "{error}"),
            Self::Unreadable { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Columns { path, missing, unknown } => {
                write!(f, "{}:", path.display())?;
                if !missing.is_empty() {
                    write!(f, " no column {};", missing.join(", "))?;
                }
                if !unknown.is_empty() {
                    write!(f, " unknown or repeated column {};", unknown.join(", "))?;
                }
                let (needed, optional) = COLUMNS.split_at(NUM_NEEDED);
                write!(f, " a table has {} and may have {}", needed.join(", "), optional.join(", "))?;
                write!(
                    f,
                    " (the challenge's files, which have data_path and the axes' full names, are read, too)"
                )
            }
            Self::Malformed { path, line, reason } => write!(f, "{}:{line}: {reason}", path.display()),
            Self::OutOfRange { path, line, column, value } => {
                write!(f, "{}:{line}: {column} is {value}, expected 0 to {MAX_RATING}", path.display())
            }
            Self::Segment { path, line, start_s, end_s } => {
                write!(f, "{}:{line}: start {start_s} s and end {end_s} s make no clip", path.display())
            }
            Self::Duplicate { path, line, sample_id } => {
                write!(f, "{}:{line}: sample id {sample_id:?} occurs twice", path.display())
            }
            Self::Empty { path } => write!(f, "{}: holds no clips", path.display()),
        }
    }
}

impl core::error::Error for TableError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Labels(error) => error.source(),
            _ => None,
        }
    }
}

/// Reads a table: CSV or Parquet with the columns above, or the challenge's CSV or JSONL. What it is shows in its
/// first bytes and its header, not in its name.
///
/// Errors: see [`TableError`]; each names the table and, where it applies, the line.
pub fn read_table(path: impl AsRef<Path>) -> Result<Vec<RatedClip>, TableError> {
    let path = path.as_ref();
    let unreadable = |reason: String| TableError::Unreadable { path: path.to_path_buf(), reason };
    let bytes = std::fs::read(path).map_err(|e| unreadable(format!("cannot be read: {e}")))?;
    let cells = if bytes.starts_with(parquet_cells::MAGIC) {
        parquet_cells::read_cells(path)
            .map_err(|e| unreadable(format!("not a readable Parquet file: {e}")))?
    } else {
        let text = String::from_utf8(bytes).map_err(|_| {
            unreadable("is neither Parquet nor text in UTF-8 (CSV, or the challenge's JSONL)".to_owned())
        })?;
        let text = text.trim_start_matches('\u{feff}');
        let header = text.lines().next().unwrap_or_default();
        if text.trim_start().starts_with('{') || header.split(',').any(|name| name.trim() == "data_path") {
            let ratings = read_ratings(path).map_err(TableError::Labels)?;
            return Ok(ratings.into_iter().map(RatedClip::from).collect());
        }
        csv_cells(path, text)?
    };
    Columns::find(path, &cells.header)?.read(path, &cells)
}

/// A table as text, before its columns are known.
pub(crate) struct Cells {
    /// Names of the columns.
    pub(crate) header: Vec<String>,
    /// Each row with its number, from 1, and one text per column.
    pub(crate) rows: Vec<(usize, Vec<String>)>,
}

fn csv_cells(path: &Path, text: &str) -> Result<Cells, TableError> {
    let malformed = |error: csv::Error| {
        let line = error.position().map_or(1, |position| position.line() as usize);
        TableError::Malformed { path: path.to_path_buf(), line, reason: error.to_string() }
    };
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(malformed)?.iter().map(str::to_owned).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(malformed)?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        rows.push((line, record.iter().map(str::to_owned).collect()));
    }
    Ok(Cells { header, rows })
}

/// Which cell of a row holds what, in the order of [`COLUMNS`].
struct Columns([Option<usize>; COLUMNS.len()]);

impl Columns {
    fn find(path: &Path, header: &[String]) -> Result<Self, TableError> {
        let mut places = [None; COLUMNS.len()];
        let mut unknown = Vec::new();
        for (place, name) in header.iter().enumerate() {
            let name = name.trim();
            match COLUMNS.iter().position(|column| column.eq_ignore_ascii_case(name)) {
                Some(column) if places[column].is_none() => places[column] = Some(place),
                None if IGNORED.contains(&name) => (),
                _ => unknown.push(format!("{name:?}")),
            }
        }
        let missing: Vec<&str> =
            (0..NUM_NEEDED).filter(|n| places[*n].is_none()).map(|n| COLUMNS[n]).collect();
        if missing.is_empty() && unknown.is_empty() {
            Ok(Self(places))
        } else {
            Err(TableError::Columns { path: path.to_path_buf(), missing, unknown })
        }
    }

    fn read(&self, path: &Path, cells: &Cells) -> Result<Vec<RatedClip>, TableError> {
        let mut seen = HashSet::new();
        let mut clips = Vec::with_capacity(cells.rows.len());
        for (line, row) in &cells.rows {
            let clip = self.clip(path, *line, row)?;
            if !seen.insert(clip.sample_id.clone()) {
                let (path, sample_id) = (path.to_path_buf(), clip.sample_id);
                return Err(TableError::Duplicate { path, line: *line, sample_id });
            }
            clips.push(clip);
        }
        if clips.is_empty() {
            return Err(TableError::Empty { path: path.to_path_buf() });
        }
        Ok(clips)
    }

    fn clip(&self, table: &Path, line: usize, row: &[String]) -> Result<RatedClip, TableError> {
        let malformed = |reason: String| TableError::Malformed { path: table.to_path_buf(), line, reason };
        let text = |column: &str| {
            let place = COLUMNS.iter().position(|name| *name == column).and_then(|n| self.0[n])?;
            row.get(place).map(|text| text.trim()).filter(|text| !text.is_empty())
        };
        let number = |column: &str| {
            let parse = |text: &str| {
                text.parse::<f64>().map_err(|_| malformed(format!("{column} is {text:?}, not a number")))
            };
            text(column).map(parse).transpose()
        };
        let path = text("path").ok_or_else(|| malformed("path is empty".to_owned()))?;
        let mut scores = [0.0; 4];
        for (score, column) in scores.iter_mut().zip(AXES) {
            let value = number(column)?.ok_or_else(|| malformed(format!("{column} is empty")))?;
            if !(0.0..=MAX_RATING).contains(&value) {
                return Err(TableError::OutOfRange { path: table.to_path_buf(), line, column, value });
            }
            *score = value;
        }
        let (start_s, end_s) = (number("start")?, number("end")?);
        let (start, end) = (start_s.unwrap_or(0.0), end_s.unwrap_or(f64::INFINITY));
        let is_segment = start.is_finite() && start >= 0.0 && end > start;
        if !is_segment {
            return Err(TableError::Segment { path: table.to_path_buf(), line, start_s: start, end_s: end });
        }
        let domain = match text("domain") {
            Some(text) => Some(text.to_lowercase().parse().map_err(malformed)?),
            // A file's own name may begin like a corpus's by chance.
            None => path.rsplit_once('/').and_then(|(folder, _)| Domain::of_path(folder)),
        };
        // Parquet writers turn a column of whole numbers with gaps into one of fractions.
        let family = match number("family")? {
            Some(value) if value >= 0.0 && value.fract() == 0.0 => Some(value as u64),
            Some(value) => return Err(malformed(format!("family is {value}, not a whole number"))),
            None => None,
        };
        Ok(RatedClip {
            sample_id: text("sample_id").map_or_else(|| default_id(path, start_s, end_s), str::to_owned),
            path: path.to_owned(),
            domain,
            system: text("system").map(str::to_owned),
            family,
            scores,
            raters: Vec::new(),
            start_s,
            end_s,
        })
    }
}

/// The path, with the times where there are any: `talk.wav@3-8`.
fn default_id(path: &str, start_s: Option<f64>, end_s: Option<f64>) -> String {
    let time = |seconds: Option<f64>| seconds.map_or(String::new(), |s| s.to_string());
    match (start_s, end_s) {
        (None, None) => path.to_owned(),
        _ => format!("{path}@{}-{}", time(start_s), time(end_s)),
    }
}

const AXES: [&str; 4] = ["PQ", "PC", "CE", "CU"];

/// The columns that mean something; the first [`NUM_NEEDED`] must be there.
const COLUMNS: [&str; 11] =
    ["path", "PQ", "PC", "CE", "CU", "sample_id", "system", "domain", "start", "end", "family"];
const NUM_NEEDED: usize = 5;

/// Columns that may be there and mean nothing: those of [`manifest::Clip`], and the index that pandas writes.
const IGNORED: [&str; 5] = ["pq_raw", "pc_raw", "processing", "", "__index_level_0__"];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, FloatType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    fn read(text: impl AsRef<[u8]>) -> Result<Vec<RatedClip>, TableError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        fs::write(&path, text).unwrap();
        read_table(&path)
    }

    #[test]
    fn all_columns_in_any_case_and_order() {
        let clips = read(
            "cu,ce,pc,pq,Path,sample_id,system,domain,start,end,family,\n\
             4,3,2,1,a.wav,x,s1,music,0.5,2,7,0\n\
             10,0,2.5,1,\"LibriTTS/a, b.wav\",,,,,,,1\n",
        )
        .unwrap();
        let first = RatedClip {
            sample_id: "x".to_owned(),
            path: "a.wav".to_owned(),
            domain: Some(Domain::Music),
            system: Some("s1".to_owned()),
            family: Some(7),
            scores: [1.0, 2.0, 3.0, 4.0],
            raters: vec![],
            start_s: Some(0.5),
            end_s: Some(2.0),
        };
        let second = RatedClip {
            sample_id: "LibriTTS/a, b.wav".to_owned(),
            path: "LibriTTS/a, b.wav".to_owned(),
            domain: Some(Domain::Speech),
            system: None,
            family: None,
            scores: [1.0, 2.5, 0.0, 10.0],
            raters: vec![],
            start_s: None,
            end_s: None,
        };
        assert_eq!(clips, [first, second]);
    }

    #[test]
    fn parts_of_one_file_have_ids_of_their_own() {
        let clips = read("path,PQ,PC,CE,CU,start,end\na.wav,1,2,3,4,0,2.5\na.wav,1,2,3,4,2.5,\n").unwrap();
        assert_eq!([&clips[0].sample_id, &clips[1].sample_id], ["a.wav@0-2.5", "a.wav@2.5-"]);
        assert_eq!((clips[1].start_s, clips[1].end_s, clips[0].domain), (Some(2.5), None, None));
    }

    #[test]
    fn the_challenges_files_and_a_corpus_folders_are_tables() {
        let csv = "sample_id,data_path,Production_Quality,Production_Complexity,Content_Enjoyment,Content_Usefulness\n\
                   a,/your_path/EARS/p001/x.wav,1,2,3,4\n";
        let clips = read(csv).unwrap();
        assert_eq!(
            (clips[0].path.as_str(), clips[0].domain),
            ("/your_path/EARS/p001/x.wav", Some(Domain::Speech))
        );
        let jsonl = r#"{"data_path":"/your_path/musiccaps/x.wav","Production_Quality":[3,4],"Production_Complexity":[7,6],"Content_Enjoyment":[2,1],"Content_Usefulness":[3,3]}"#;
        assert_eq!(read(jsonl).unwrap()[0].scores, [3.5, 6.5, 1.5, 3.0]);
        assert!(matches!(read("data_path,PQ\na,1\n"), Err(TableError::Labels(_))));
        let corpus = "sample_id,path,domain,system,PQ,PC,CE,CU,pq_raw,pc_raw,family,processing\n\
                      a,b.wav,sound,,1,2,3,4,4.5,1,3,clean\n";
        assert_eq!(read(corpus).unwrap()[0].family, Some(3));
    }

    #[test]
    fn bad_tables_say_what_is_wrong() {
        let header = "path,PQ,PC,CE,CU";
        let cases = [
            ("", "no column path, PQ, PC, CE, CU; a table has path, PQ, PC, CE, CU and may have sample_id,"),
            ("path,PQ,PC,CE\na,1,2,3\n", "no column CU;"),
            ("path,PQ,PC,CE,CU,Strat\na,1,2,3,4,5\n", "unknown or repeated column \"Strat\";"),
            ("path,PQ,PC,CE,CU,pq\na,1,2,3,4,5\n", "unknown or repeated column \"pq\";"),
            ("path,PQ,PC,CE,CU\n", "holds no clips"),
            ("{header}\na,1,2,3,4\nb,1,2,11,4\n", ":3: CE is 11, expected 0 to 10"),
            ("{header}\na,-0.1,2,3,4\n", ":2: PQ is -0.1, expected 0 to 10"),
            ("{header}\na,1,NaN,3,4\n", ":2: PC is NaN, expected 0 to 10"),
            ("{header}\na,1,x,3,4\n", ":2: PC is \"x\", not a number"),
            ("{header}\na,1,,3,4\n", ":2: PC is empty"),
            ("{header}\n,1,2,3,4\n", ":2: path is empty"),
            ("{header}\na,1,2,3\n", ":2: "),
            ("{header}\na,1,2,3,4\na,2,2,3,4\n", ":3: sample id \"a\" occurs twice"),
            ("{header},start,end\na,1,2,3,4,5,5\n", ":2: start 5 s and end 5 s make no clip"),
            ("{header},start,end\na,1,2,3,4,-1,5\n", ":2: start -1 s and end 5 s make no clip"),
            ("{header},start,end\na,1,2,3,4,NaN,5\n", ":2: start NaN s and end 5 s make no clip"),
            (
                "{header},domain\na,1,2,3,4,noise\n",
                ":2: domain is \"noise\", expected speech, music or sound",
            ),
            ("{header},family\na,1,2,3,4,1.5\n", ":2: family is 1.5, not a whole number"),
            ("PAR1 and no more", "not a readable Parquet file"),
        ];
        for (text, expected) in cases {
            let message = read(text.replace("{header}", header)).unwrap_err().to_string();
            assert!(message.contains(expected), "{text:?}: {message}");
        }
        assert!(read([0xff, 0xfe, 0x00]).unwrap_err().to_string().contains("neither Parquet nor text"));
        let message = read_table("/no/such/table.csv").unwrap_err().to_string();
        assert!(message.starts_with("/no/such/table.csv: cannot be read"), "{message}");
    }

    #[test]
    fn parquet_gives_what_csv_gives() {
        let schema = "message clips {
            required binary path (UTF8); optional binary domain (UTF8); required float PQ; required double PC;
            required double CE; required double CU; optional double family; optional double start;
        }";
        let texts = |values: &[&str]| values.iter().map(|v| ByteArray::from(*v)).collect::<Vec<_>>();
        let expected = read(
            "path,domain,PQ,PC,CE,CU,family,start\na.wav,music,4.1,2,3,0,3,\nsub/b.wav,,7.25,2,3.5,10,,1.5\n",
        )
        .unwrap();
        for compression in
            [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())]
        {
            let schema = Arc::new(parse_message_type(schema).unwrap());
            let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
            let mut bytes = Vec::new();
            let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
            let mut group = writer.next_row_group().unwrap();
            for column in 0..8 {
                let mut writer = group.next_column().unwrap().unwrap();
                let doubles = |value: usize| [[2.0, 2.0], [3.0, 3.5], [0.0, 10.0]][value].to_vec();
                match column {
                    0 => writer.typed::<ByteArrayType>().write_batch(
                        &texts(&["a.wav", "sub/b.wav"]),
                        None,
                        None,
                    ),
                    1 => writer.typed::<ByteArrayType>().write_batch(&texts(&["music"]), Some(&[1, 0]), None),
                    2 => writer.typed::<FloatType>().write_batch(&[4.1, 7.25], None, None),
                    3..6 => writer.typed::<DoubleType>().write_batch(&doubles(column - 3), None, None),
                    6 => writer.typed::<DoubleType>().write_batch(&[3.0], Some(&[1, 0]), None),
                    _ => writer.typed::<DoubleType>().write_batch(&[1.5], Some(&[0, 1]), None),
                }
                .unwrap();
                writer.close().unwrap();
            }
            group.close().unwrap();
            writer.close().unwrap();
            assert_eq!(read(&bytes).unwrap(), expected, "{compression}");
            bytes.truncate(bytes.len() - 20);
            assert!(read(&bytes).unwrap_err().to_string().contains("not a readable Parquet file"));
        }
    }
}

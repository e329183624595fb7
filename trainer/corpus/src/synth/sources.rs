//! Source recordings: found in folders, split by origin, decoded once, and cut to ten seconds.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aesa::resample::Resampler;
use walkdir::WalkDir;

use super::config::{Grouping, SourceSet, SynthConfig, UseAs};
use super::draw::Draw;
use super::error::SynthError;
use super::signal::{CLIP_SAMPLES, RATE_HZ, fade, hop_powers, power};
use crate::labels::Domain;

/// File name endings that are taken for audio.
const EXTENSIONS: [&str; 6] = ["wav", "flac", "mp3", "ogg", "m4a", "aac"];

/// Decoded recordings kept in memory, in samples (1 GiB); beyond that they are decoded at each use.
const CACHE_SAMPLES: usize = 1 << 28;

/// Which recordings a clip may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    Train,
    Validation,
}

/// The recordings of one origin within a set.
#[derive(Debug)]
struct Group {
    name: String,
    split: Split,
    files: Vec<PathBuf>,
}

/// A source set with its files.
#[derive(Debug)]
struct Set {
    config: SourceSet,
    groups: Vec<Group>,
}

/// One source of a mix: ten seconds, and how many sources it counts as.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) counts_as: f64,
    pub(crate) samples: Vec<f32>,
}

/// All recordings of a corpus.
pub(crate) struct Library {
    sets: Vec<Set>,
    cache: Mutex<Cache>,
}

/// Decoded recordings.
#[derive(Default)]
struct Cache {
    num_samples: usize,
    recordings: HashMap<PathBuf, Arc<Vec<f32>>>,
}

impl Library {
    /// Finds the files of all source sets and splits their groups.
    ///
    /// Errors: a folder is missing or holds no audio; a domain has none for training or validation.
    pub(crate) fn scan(config: &SynthConfig) -> Result<Self, SynthError> {
        let mut sets = Vec::new();
        for set in &config.sources {
            let groups = groups_of(set, &config.audio.join(&set.folder), config.seed)?;
            sets.push(Set { config: set.clone(), groups });
        }
        Ok(Self { sets, cache: Mutex::default() })
    }

    /// Whether a split has recordings of a domain.
    pub(crate) fn has(&self, domain: Domain, split: Split) -> bool {
        self.candidates(domain, split).next().is_some()
    }

    /// Ten seconds of a drawn recording.
    ///
    /// Errors: the drawn file cannot be decoded, or no recording of the domain is there.
    pub(crate) fn draw(&self, domain: Domain, split: Split, draw: &mut Draw) -> Result<Source, SynthError> {
        let sets: Vec<&Set> = self.candidates(domain, split).collect();
        if sets.is_empty() {
            return Err(SynthError::Config(format!("no {domain} recordings for {split:?}")));
        }
        let weights: Vec<f64> = sets.iter().map(|set| set.config.weight).collect();
        let set = sets[draw.weighted(&weights)];
        let groups: Vec<&Group> = set.groups.iter().filter(|group| group.split == split).collect();
        let sizes: Vec<f64> = groups.iter().map(|group| group.files.len() as f64).collect();
        let group = groups[draw.weighted(&sizes)];
        let (name, samples) = match set.config.use_as {
            UseAs::Excerpt => {
                let path = draw.pick(&group.files);
                let recording = self.read(path)?;
                (display_name(path), excerpt(&faster(&recording, set.config.speed, draw), draw))
            }
            UseAs::Sequence => (format!("{} (sequence)", group.name), self.sequence(group, draw)?),
        };
        Ok(Source { name, counts_as: set.config.counts_as, samples })
    }

    /// The sets with recordings of a domain in a split.
    fn candidates(&self, domain: Domain, split: Split) -> impl Iterator<Item = &Set> {
        self.sets
            .iter()
            .filter(move |set| set.config.domain == domain && set.groups.iter().any(|g| g.split == split))
    }

    /// Recordings of a group one after another, with pauses of 0.1 s to 0.7 s.
    fn sequence(&self, group: &Group, draw: &mut Draw) -> Result<Vec<f32>, SynthError> {
        let mut clip = vec![0.0; (draw.uniform(0.0, 0.4) * RATE_HZ as f64) as usize];
        while clip.len() < CLIP_SAMPLES {
            let mut recording = self.read(&group.files[draw.below(group.files.len())])?.to_vec();
            fade(&mut recording, RATE_HZ / 200);
            let loudness = power(&recording).sqrt().max(1e-4) as f32;
            clip.extend(recording.iter().map(|x| 0.05 * x / loudness));
            let pause = (draw.uniform(0.1, 0.7) * RATE_HZ as f64) as usize;
            clip.resize(clip.len() + pause, 0.0);
        }
        clip.truncate(CLIP_SAMPLES);
        fade(&mut clip, RATE_HZ / 100);
        Ok(clip)
    }

    /// A decoded recording, 16 kHz mono.
    fn read(&self, path: &Path) -> Result<Arc<Vec<f32>>, SynthError> {
        if let Some(samples) =
            self.cache.lock().expect("no thread panics with this lock").recordings.get(path)
        {
            return Ok(Arc::clone(samples));
        }
        let failed = |reason: String| SynthError::Audio { path: path.to_path_buf(), reason };
        let samples = aesa_media::read_mono_16k(path).map_err(|e| failed(e.to_string()))?;
        if samples.is_empty() || samples.iter().any(|x| !x.is_finite()) {
            return Err(failed("holds no finite samples".to_owned()));
        }
        let samples = Arc::new(samples);
        let mut cache = self.cache.lock().expect("no thread panics with this lock");
        if cache.num_samples + samples.len() <= CACHE_SAMPLES {
            cache.num_samples += samples.len();
            cache.recordings.insert(path.to_path_buf(), Arc::clone(&samples));
        }
        Ok(samples)
    }
}

/// The files below a set's folder, by origin, each with its split.
fn groups_of(set: &SourceSet, folder: &Path, seed: u64) -> Result<Vec<Group>, SynthError> {
    if !folder.is_dir() {
        return Err(SynthError::Missing(format!(
            "the source folder {} is not there: set `audio` to the folder that holds it, or edit [[sources]]",
            folder.display()
        )));
    }
    let mut by_name: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|e| SynthError::Io { path: folder.to_path_buf(), source: e.into() })?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy();
        let wanted = set.names.is_empty() || set.names.iter().any(|prefix| name.starts_with(prefix));
        if entry.file_type().is_file() && wanted && is_audio(path) {
            let below = path.strip_prefix(folder).unwrap_or(path);
            by_name.entry(group_name(set.group, below)).or_default().push(path.to_path_buf());
        }
    }
    if by_name.is_empty() {
        return Err(SynthError::Missing(format!(
            "no audio ({}) {}in {}",
            EXTENSIONS.join(", "),
            if set.names.is_empty() { "" } else { "of the given names " },
            folder.display()
        )));
    }
    let for_validation = validation_groups(set, by_name.keys().collect(), seed)?;
    Ok(by_name
        .into_iter()
        .map(|(name, files)| {
            let split = if for_validation.contains(&name) { Split::Validation } else { Split::Train };
            Group { name, split, files }
        })
        .collect())
}

/// Which groups are kept for validation: those named, else a drawn share.
fn validation_groups(set: &SourceSet, names: Vec<&String>, seed: u64) -> Result<Vec<String>, SynthError> {
    if let Some(unknown) = set.validation_groups.iter().find(|group| !names.contains(group)) {
        let some = names.iter().take(8).map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(SynthError::Config(format!(
            "{}: no group {unknown:?} for validation; there are {some}",
            set.folder.display()
        )));
    }
    if !set.validation_groups.is_empty() || names.len() < 2 || set.validation_share <= 0.0 {
        return Ok(set.validation_groups.clone());
    }
    let count = (set.validation_share * names.len() as f64).round().clamp(1.0, names.len() as f64 - 1.0);
    let mut names: Vec<String> = names.into_iter().cloned().collect();
    Draw::new(seed, &format!("split/{}", set.folder.display())).shuffle(&mut names);
    names.truncate(count as usize);
    Ok(names)
}

/// The name of a file's origin; `path` begins below the set's folder.
fn group_name(grouping: Grouping, path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    match grouping {
        Grouping::File => stem,
        Grouping::Folder => path.parent().map(|p| p.display().to_string()).unwrap_or_default(),
        Grouping::FirstPart => stem.split('-').next().unwrap_or_default().to_owned(),
        Grouping::SecondPart => stem.split('_').nth(1).unwrap_or(&stem).to_owned(),
    }
}

/// Whether the name ends like an audio file's.
fn is_audio(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

/// The folder and name of a file, without extension.
fn display_name(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    format!("{folder}/{}", path.file_stem().unwrap_or_default().to_string_lossy())
}

/// The recording at a drawn speed; pitch goes along.
fn faster(recording: &[f32], speed: [f64; 2], draw: &mut Draw) -> Vec<f32> {
    let factor = draw.uniform(speed[0], speed[1]);
    let rate_hz = (RATE_HZ as f64 * factor / 100.0).round() as u32 * 100;
    if rate_hz as usize == RATE_HZ {
        return recording.to_vec();
    }
    resample(recording, rate_hz).unwrap_or_else(|_| recording.to_vec())
}

/// Ten seconds of a recording. A longer one is cut at random, where it is not silent; a shorter one is placed at
/// random in silence or, in half of the cases, repeated.
fn excerpt(recording: &[f32], draw: &mut Draw) -> Vec<f32> {
    let len = recording.len();
    if len > CLIP_SAMPLES {
        let loudest = hop_powers(recording).into_iter().fold(0.0, f64::max);
        for _ in 0..8 {
            let start = draw.below(len - CLIP_SAMPLES + 1);
            let mut part = recording[start..start + CLIP_SAMPLES].to_vec();
            if power(&part) > 1e-4 * loudest {
                fade(&mut part, RATE_HZ / 100);
                return part;
            }
        }
    }
    let mut once = recording[..len.min(CLIP_SAMPLES)].to_vec();
    fade(&mut once, RATE_HZ / 100);
    let mut clip = vec![0.0; CLIP_SAMPLES];
    let room = CLIP_SAMPLES - once.len();
    let repeat = room > 0 && draw.chance(0.5);
    let mut start = if repeat { 0 } else { draw.below(room + 1) };
    loop {
        for (to, from) in clip[start..].iter_mut().zip(&once) {
            *to = *from;
        }
        start += once.len() + (draw.uniform(0.0, 0.5) * RATE_HZ as f64) as usize;
        if !repeat || start >= CLIP_SAMPLES {
            break;
        }
    }
    fade(&mut clip, RATE_HZ / 100);
    clip
}

/// Resamples to 16 kHz with the engine's resampler.
///
/// Errors: the rate is not supported.
pub(crate) fn resample(signal: &[f32], from_hz: u32) -> Result<Vec<f32>, String> {
    let mut resampler = Resampler::new(from_hz).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    resampler.process(signal, &mut out);
    resampler.finish(&mut out);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_from_names() {
        let path = Path::new("001 - Dog bark/3-136288-A.ogg");
        for (grouping, expected) in [
            (Grouping::File, "3-136288-A"),
            (Grouping::Folder, "001 - Dog bark"),
            (Grouping::FirstPart, "3"),
            (Grouping::SecondPart, "3-136288-A"),
        ] {
            assert_eq!(group_name(grouping, path), expected);
        }
        assert_eq!(group_name(Grouping::SecondPart, Path::new("7_jackson_32.wav")), "jackson");
    }

    #[test]
    fn drawn_groups_are_a_share_and_never_all() {
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let drawn = |count: usize| {
            validation_groups(&SourceSet::default(), names[..count].iter().collect(), 1).unwrap().len()
        };
        assert_eq!([drawn(20), drawn(2), drawn(1)], [3, 1, 0]);
        let named = SourceSet { validation_groups: vec!["z".to_owned()], ..SourceSet::default() };
        assert!(validation_groups(&named, names.iter().collect(), 1).is_err());
    }

    #[test]
    fn excerpts_are_ten_seconds_of_the_recording() {
        for seconds in [1, 5, 10, 25] {
            let recording: Vec<f32> =
                (0..seconds * RATE_HZ).map(|n| ((n % 97) as f32 - 48.0) / 97.0).collect();
            for seed in 0..10 {
                let clip = excerpt(&recording, &mut Draw::new(seed, "e"));
                assert_eq!(clip.len(), CLIP_SAMPLES);
                assert!(power(&clip) > 0.002, "{seconds} s, seed {seed}");
            }
        }
    }

    #[test]
    fn missing_folders_are_named() {
        let config = SynthConfig {
            sources: vec![SourceSet { folder: "nowhere".into(), ..SourceSet::default() }],
            ..SynthConfig::default()
        };
        let error = Library::scan(&config).err().map(|e| e.to_string()).unwrap();
        assert!(error.contains("nowhere") && error.contains("[[sources]]"), "{error}");
    }
}

//! Makes clips: source mixes, their processing, their raw labels.

use std::path::{Path, PathBuf};

use super::codec::Codecs;
use super::config::{DegradationWeight, SynthConfig, TestSystem};
use super::degrade::{Kind, Step, describe};
use super::draw::Draw;
use super::error::SynthError;
use super::files::{Record, write_wav};
use super::generators::{SOUND_KINDS, espeak, synthetic_sound};
use super::midi::{Instruments, compose};
use super::mix::{Layout, Mix, mix};
use super::signal::{db_to_gain, peak, scale};
use super::sources::{Library, Source, Split};
use super::textures::{TEXTURE_KINDS, texture};
use super::visqol::Visqol;
use crate::labels::Domain;
use crate::manifest::LadderClip;

/// Draws tried before a clip is given up.
const MAX_ATTEMPTS: usize = 20;

/// Range of the peak level of finished clips, in dBFS.
const PEAK_DB: [f64; 2] = [-25.0, -1.0];

/// Peak level of the clean clip of a ladder, in dBFS; its degraded copies keep the same gain.
const LADDER_PEAK_DB: f64 = -12.0;

/// Everything clips are made from.
pub(crate) struct Studio<'a> {
    pub(crate) config: &'a SynthConfig,
    pub(crate) out: &'a Path,
    pub(crate) fingerprint: String,
    pub(crate) library: Library,
    pub(crate) train_instruments: Option<Instruments>,
    pub(crate) test_instruments: Option<Instruments>,
    pub(crate) codecs: Codecs,
    pub(crate) visqol: Visqol,
    /// ViSQOL of a clip against itself.
    pub(crate) clean_mos: f64,
}

/// Why one draw did not give a clip.
enum Failure {
    /// Another draw may.
    Redraw(String),
    /// Nothing will.
    Stop(SynthError),
}

impl From<SynthError> for Failure {
    fn from(error: SynthError) -> Self {
        Self::Stop(error)
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Redraw(reason)
    }
}

/// Clips that are numbered together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    /// Training clips that the label maps are fitted on.
    Train,
    /// Those of a place in [`SynthConfig::further`].
    Further(usize),
    /// Validation clips.
    Validation,
}

impl Series {
    /// Where their sources come from.
    pub(crate) fn split(self) -> Split {
        match self {
            Self::Train | Self::Further(_) => Split::Train,
            Self::Validation => Split::Validation,
        }
    }

    /// The family of clips from this number on; series in one table share none.
    fn family(self, first: usize) -> u64 {
        let series = if let Self::Further(place) = self { 1 + place } else { 0 };
        (series * 1_000_000_000 + first) as u64
    }

    /// Their folder, and how their names begin.
    pub(crate) fn folder(self) -> String {
        match self {
            Self::Train => "train".to_owned(),
            Self::Further(0) => "further".to_owned(),
            Self::Further(place) => format!("further{}", place + 1),
            Self::Validation => "validation".to_owned(),
        }
    }
}

/// What a clip is called and where it goes.
struct Name {
    sample_id: String,
    path: String,
    system: String,
    family: u64,
    domain: Domain,
}

/// A mix after its degradations, before its level is set.
struct Processed {
    samples: Vec<f32>,
    /// ViSQOL against the clean mix.
    pq_raw: f64,
    /// The degradations, in words.
    processing: String,
}

impl Studio<'_> {
    /// The domains that a split can have.
    pub(crate) fn domains(&self, split: Split) -> Vec<Domain> {
        let generated = |domain| domain == Domain::Music && self.train_instruments.is_some();
        Domain::ALL.into_iter().filter(|d| self.library.has(*d, split) || generated(*d)).collect()
    }

    /// The domains that a series takes in turn.
    fn series_domains(&self, series: Series) -> Vec<Domain> {
        match series {
            Series::Further(place) if !self.config.further[place].domains.is_empty() => {
                self.config.further[place].domains.clone()
            }
            _ => self.domains(series.split()),
        }
    }

    /// The domains that the test set can have.
    pub(crate) fn test_domains(&self) -> Vec<Domain> {
        let there = |domain| match domain {
            Domain::Speech => self.config.test_espeak,
            Domain::Music => self.test_instruments.is_some(),
            Domain::Sound => true,
        };
        Domain::ALL.into_iter().filter(|domain| there(*domain)).collect()
    }

    /// `count` clips of a series (at most `variants`): one clean mix with one degradation at rising severities, or
    /// independent clips, each with its own mix.
    ///
    /// Errors: no draw gives clips, a tool fails, files cannot be written.
    pub(crate) fn family(
        &self,
        series: Series,
        family: usize,
        count: usize,
    ) -> Result<Vec<Record>, SynthError> {
        let (split, folder) = (series.split(), series.folder());
        let domains = self.series_domains(series);
        let domain = domains[family % domains.len()];
        let first = family * self.config.variants;
        let mut names: Vec<Name> = (first..first + count)
            .map(|number| {
                let sample_id = format!("{folder}-{number:06}");
                let path = format!("audio/{folder}/{sample_id}.wav");
                Name { sample_id, path, system: String::new(), family: series.family(first), domain }
            })
            .collect();
        if let Some(records) = self.finished(&names) {
            return Ok(records);
        }
        let (kinds, graded_share, line_share, visqol_seconds) = match series {
            Series::Further(place) => {
                let further = &self.config.further[place];
                (&further.degradations, 1.0, further.line_share, further.visqol_seconds)
            }
            Series::Train | Series::Validation => {
                (&self.config.degradations, self.config.graded_share, 0.0, None)
            }
        };
        let visqol =
            visqol_seconds.map_or(self.visqol, |seconds| Visqol::new(seconds, self.config.visqol_search));
        let is_graded = Draw::new(self.config.seed, &format!("{folder}/{family}")).chance(graded_share);
        if is_graded {
            return self.attempts(&names[0].sample_id, |attempt| {
                let key = format!("{folder}/{family}/{attempt}");
                let mut draw = Draw::new(self.config.seed, &format!("{key}/mix"));
                let mix = self.draw_mix(domain, split, &mut draw)?;
                let mut chains = self.graded_chains(kinds, &key, &mut draw);
                if matches!(chains.last().and_then(|chain| chain.first()), Some(Step::Noise { .. })) {
                    self.on_a_line(line_share, &key, &mut chains);
                }
                let processed = chains.iter().enumerate().map(|(variant, chain)| {
                    let mut draw = Draw::new(self.config.seed, &format!("{key}/apply/{variant}"));
                    self.process(&mix, chain, visqol, &mut draw)
                });
                let processed = processed.collect::<Result<Vec<Processed>, Failure>>()?;
                // One gain for all, as a listener who compares them has it: levels would drown a mild codec's traces.
                let loudest = processed.iter().map(|clip| peak(&clip.samples)).fold(0.0, f64::max);
                let peak_db =
                    Draw::new(self.config.seed, &format!("{key}/level")).uniform(PEAK_DB[0], PEAK_DB[1]);
                let gain = db_to_gain(peak_db) / loudest;
                let clips = names.iter().zip(processed);
                clips.map(|(name, clip)| self.save(name, &mix, clip, gain).map_err(Failure::Stop)).collect()
            });
        }
        for (number, name) in (first..).zip(&mut names) {
            name.family = series.family(number);
        }
        names.iter().map(|name| self.single(split, name)).collect()
    }

    /// A clip with a mix and a chain of its own.
    fn single(&self, split: Split, name: &Name) -> Result<Record, SynthError> {
        self.attempts(&name.sample_id, |attempt| {
            let key = format!("{}/{attempt}", name.sample_id);
            let mut draw = Draw::new(self.config.seed, &key);
            let mix = self.draw_mix(name.domain, split, &mut draw)?;
            let chain = draw_chain(self.config, &key, &mut draw);
            self.finish(name, &mix, &chain, &mut draw)
        })
    }

    /// One clip of a test system.
    ///
    /// Errors: as [`Self::family`].
    pub(crate) fn test_clip(
        &self,
        domain: Domain,
        system: &TestSystem,
        utterance: usize,
    ) -> Result<Record, SynthError> {
        let system_name = format!("{domain}-{}-k{}", system.name, system.sources);
        let sample_id = format!("audiomos2025-track2-sys{system_name}-utt{utterance:03}");
        let path = format!("audio/test/{sample_id}.wav");
        let name = Name { sample_id, path, system: system_name, family: utterance as u64, domain };
        if let Some(mut records) = self.finished(core::slice::from_ref(&name)) {
            return Ok(records.remove(0));
        }
        self.attempts(&name.sample_id, |attempt| {
            let key = format!("test/{}/{utterance}/{attempt}", name.system);
            let mut draw = Draw::new(self.config.seed, &key);
            let sources = self.test_sources(domain, system.sources, &mut draw)?;
            let mix = mix(sources, Layout { range_db: 5.0, extra: 0, partial: 0.0 }, &mut draw)?;
            let chain: Vec<Step> = system
                .chain
                .iter()
                .map(|step| {
                    let severity = (step.severity + draw.uniform(-0.04, 0.04)).clamp(0.0, 1.0);
                    Step::new(step.kind, severity, &mut draw)
                })
                .collect();
            self.finish(&name, &mix, &chain, &mut draw)
        })
    }

    /// One clean mix of validation sources at each step of each ladder.
    ///
    /// Errors: as [`Self::family`].
    pub(crate) fn ladder(&self, index: usize) -> Result<Vec<LadderClip>, SynthError> {
        let domains = self.domains(Split::Validation);
        let domain = domains[index % domains.len()];
        let clip = format!("{domain}-{:02}", index / domains.len());
        let mix = self.attempts(&clip, |attempt| {
            let mut draw = Draw::new(self.config.seed, &format!("ladder/{index}/{attempt}"));
            let sources =
                self.draw_sources(domain, Split::Validation, 1 + index / domains.len() % 3, &mut draw)?;
            let mix = mix(sources, Layout { range_db: 10.0, extra: 0, partial: 0.0 }, &mut draw)?;
            self.visqol.mos(&mix.samples, &mix.samples)?;
            Ok(mix)
        })?;
        let gain = db_to_gain(LADDER_PEAK_DB) / peak(&mix.samples);
        let mut rows = Vec::new();
        for (ladder, step, value, degradation) in super::ladder::steps(index) {
            let mut draw = Draw::new(self.config.seed, &format!("ladder/{index}/{ladder}"));
            let mut samples = match degradation {
                Some(degradation) => degradation.apply(&mix.samples, &mut draw, &self.codecs)?,
                None => mix.samples.clone(),
            };
            scale(&mut samples, gain);
            let path = format!("audio/ladders/{clip}-{ladder}-{step}.wav");
            write_wav(&self.out.join(&path), &samples)?;
            rows.push(LadderClip { ladder: ladder.to_owned(), clip: clip.clone(), step, value, path });
        }
        Ok(rows)
    }

    /// The records of clips that an earlier run finished, if it finished all of them.
    fn finished(&self, names: &[Name]) -> Option<Vec<Record>> {
        names.iter().map(|name| Record::finished(&self.file(name), &self.fingerprint)).collect()
    }

    /// A clip's audio file.
    fn file(&self, name: &Name) -> PathBuf {
        self.out.join(&name.path)
    }

    /// The first result among numbered draws.
    fn attempts<T>(&self, clip: &str, make: impl Fn(usize) -> Result<T, Failure>) -> Result<T, SynthError> {
        let mut last = String::new();
        for attempt in 0..MAX_ATTEMPTS {
            match make(attempt) {
                Ok(made) => return Ok(made),
                Err(Failure::Stop(error)) => return Err(error),
                Err(Failure::Redraw(reason)) => last = reason,
            }
        }
        Err(SynthError::Clip { clip: clip.to_owned(), reason: last })
    }

    /// A clean mix for training or validation.
    fn draw_mix(&self, domain: Domain, split: Split, draw: &mut Draw) -> Result<Mix, Failure> {
        let count = 1 + draw.weighted(&self.config.source_weights);
        let mut sources = self.draw_sources(domain, split, count, draw)?;
        let mut extra = 0;
        let others: Vec<Domain> = self.domains(split).into_iter().filter(|other| *other != domain).collect();
        if !others.is_empty() && draw.chance(self.config.foreign_source) {
            sources.extend(self.draw_sources(*draw.pick(&others), split, 1, draw)?);
            extra = 1;
        }
        let range_db = if draw.chance(self.config.even_share) { 5.0 } else { 20.0 };
        Ok(mix(sources, Layout { range_db, extra, partial: self.config.partial_source }, draw)?)
    }

    /// Sources of one domain. General sounds are recordings or textures. Generated music is one piece with `count` parts; a music mix that begins with a recording
    /// goes on with recordings or parts.
    fn draw_sources(
        &self,
        domain: Domain,
        split: Split,
        count: usize,
        draw: &mut Draw,
    ) -> Result<Vec<Source>, SynthError> {
        if domain == Domain::Sound {
            return (0..count).map(|_| self.draw_sound(split, draw)).collect();
        }
        let instruments = self.train_instruments.as_ref().filter(|_| domain == Domain::Music);
        let Some(instruments) = instruments else {
            return (0..count).map(|_| self.library.draw(domain, split, draw)).collect();
        };
        let recordings = self.library.has(domain, split);
        let generated = !recordings || draw.chance(self.config.midi_share);
        let mut sources = play(instruments, count, draw)?;
        if !generated {
            for (index, source) in sources.iter_mut().enumerate() {
                if index == 0 || draw.chance(0.3) {
                    *source = self.library.draw(domain, split, draw)?;
                }
            }
        }
        Ok(sources)
    }

    /// One general sound: a recording, or a synthesised texture.
    fn draw_sound(&self, split: Split, draw: &mut Draw) -> Result<Source, SynthError> {
        if draw.chance(self.config.texture_share) {
            let kind = *draw.pick(&TEXTURE_KINDS);
            return Ok(Source { name: format!("{kind:?}"), counts_as: 1.0, samples: texture(kind, draw) });
        }
        self.library.draw(Domain::Sound, split, draw)
    }

    /// Sources of the test set's generators.
    fn test_sources(&self, domain: Domain, count: usize, draw: &mut Draw) -> Result<Vec<Source>, SynthError> {
        let source = |name: String, samples| Source { name, counts_as: 1.0, samples };
        match (domain, &self.test_instruments) {
            (Domain::Music, Some(instruments)) => play(instruments, count, draw),
            (Domain::Music, None) => Err(SynthError::Config("no soundfont for the test set".to_owned())),
            (Domain::Speech, _) => {
                (0..count).map(|_| Ok(source("espeak-ng".to_owned(), espeak(draw)?))).collect()
            }
            (Domain::Sound, _) => {
                let mut kinds = SOUND_KINDS;
                draw.shuffle(&mut kinds);
                let one = |kind| source(format!("{kind:?}"), synthetic_sound(kind, draw));
                Ok(kinds.into_iter().cycle().take(count).map(one).collect())
            }
        }
    }

    /// One degradation per variant, at rising severities.
    fn graded_chains(&self, kinds: &[DegradationWeight], key: &str, draw: &mut Draw) -> Vec<Vec<Step>> {
        let variants = self.config.variants;
        let kind = draw_kind(kinds, draw);
        let spread = variants as f64 - 0.3;
        let mut chains: Vec<Vec<Step>> = (0..variants)
            .map(|variant| {
                let severity = (variant as f64 + draw.uniform(0.0, 0.7)) / spread;
                let mut flavour = Draw::new(self.config.seed, &format!("{key}/flavour"));
                vec![Step::new(kind, severity, &mut flavour)]
            })
            .collect();
        if draw.chance(self.config.graded_clean) {
            chains[0].clear();
        }
        chains
    }

    /// With a chance, the same band-pass before everything else in each chain but that of the clean clip.
    fn on_a_line(&self, share: f64, key: &str, chains: &mut [Vec<Step>]) {
        let mut draw = Draw::new(self.config.seed, &format!("{key}/line"));
        if draw.chance(share) {
            let severity = draw.uniform(0.0, 1.0);
            let line = Step::new(Kind::BandPass, severity, &mut draw);
            chains
                .iter_mut()
                .filter(|chain| !chain.is_empty())
                .for_each(|chain| chain.insert(0, line.clone()));
        }
    }

    /// Processes a mix, measures it, sets its level at random and writes audio and record.
    fn finish(&self, name: &Name, mix: &Mix, chain: &[Step], draw: &mut Draw) -> Result<Record, Failure> {
        let clip = self.process(mix, chain, self.visqol, draw)?;
        let gain = db_to_gain(draw.uniform(PEAK_DB[0], PEAK_DB[1])) / peak(&clip.samples);
        Ok(self.save(name, mix, clip, gain)?)
    }

    /// Processes a mix and measures it.
    fn process(
        &self,
        mix: &Mix,
        chain: &[Step],
        visqol: Visqol,
        draw: &mut Draw,
    ) -> Result<Processed, Failure> {
        let mut samples = mix.samples.clone();
        for step in chain {
            samples = step.apply(&samples, draw, &self.codecs)?;
        }
        let pq_raw = match chain {
            [] => self.clean_mos,
            _ => visqol.mos(&mix.samples, &samples)?,
        };
        Ok(Processed { samples, pq_raw, processing: describe(chain) })
    }

    /// Sets the level of a clip and writes audio and record.
    fn save(&self, name: &Name, mix: &Mix, clip: Processed, gain: f64) -> Result<Record, SynthError> {
        let Processed { mut samples, pq_raw, processing } = clip;
        scale(&mut samples, gain);
        let file = self.file(name);
        let record = Record {
            sample_id: name.sample_id.clone(),
            path: name.path.clone(),
            domain: name.domain,
            system: name.system.clone(),
            family: name.family,
            pq_raw,
            pc_raw: mix.effective_sources,
            processing,
            sources: mix.sources.clone(),
            peak_db: 20.0 * peak(&samples).log10(),
            wav_sha256: write_wav(&file, &samples)?,
            fingerprint: self.fingerprint.clone(),
        };
        record.write(&file)?;
        Ok(record)
    }
}

/// None to three different degradations in any order (noise is in the room or on the line).
fn draw_chain(config: &SynthConfig, key: &str, draw: &mut Draw) -> Vec<Step> {
    let count = draw.weighted(&config.chain_weights);
    let mut kinds: Vec<Kind> = Vec::new();
    for _ in 0..4 * count {
        let kind = draw_kind(&config.degradations, draw);
        if kinds.len() < count && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.sort_unstable();
    let mut chain: Vec<Step> =
        kinds.into_iter().map(|kind| Step::new(kind, draw.uniform(0.0, 1.0), draw)).collect();
    Draw::new(config.seed, &format!("{key}/order")).shuffle(&mut chain);
    chain
}

/// A kind by its weight.
fn draw_kind(kinds: &[DegradationWeight], draw: &mut Draw) -> Kind {
    let weights: Vec<f64> = kinds.iter().map(|kind| kind.weight).collect();
    kinds[draw.weighted(&weights)].kind
}

/// A generated piece, each part a source.
fn play(instruments: &Instruments, count: usize, draw: &mut Draw) -> Result<Vec<Source>, SynthError> {
    compose(count, draw)
        .iter()
        .map(|part| Ok(Source { name: part.to_string(), counts_as: 1.0, samples: instruments.render(part)? }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_comes_before_and_after_a_low_pass() {
        let config = SynthConfig::default();
        let chains: Vec<Vec<Step>> = (0..2000)
            .map(|n| {
                let key = format!("clip-{n}");
                draw_chain(&config, &key, &mut Draw::new(config.seed, &key))
            })
            .collect();
        let at = |chain: &[Step], is: fn(&Step) -> bool| chain.iter().position(is);
        let orders: Vec<bool> = chains
            .iter()
            .filter_map(|chain| {
                let noise = at(chain, |step| matches!(step, Step::Noise { .. }))?;
                Some(noise < at(chain, |step| matches!(step, Step::LowPass { .. }))?)
            })
            .collect();
        let first = orders.iter().filter(|noise_first| **noise_first).count();
        assert!(orders.len() > 40 && 4 * first > orders.len() && 4 * first < 3 * orders.len(), "{first}");
        assert!(chains.iter().all(|chain| chain.len() <= 3));
    }
}

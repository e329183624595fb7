//! Clean mixes, and the effective number of sources in them: the raw label of production complexity.

use super::draw::Draw;
use super::signal::{CLIP_SAMPLES, HOP_SAMPLES, RATE_HZ, active_power, fade, hop_powers, peak, scale};
use super::sources::Source;

/// Peak of every clean mix before it is processed, so that processing and ViSQOL see one level.
const MIX_PEAK: f64 = 0.5;

/// A clean mix.
pub(crate) struct Mix {
    /// Ten seconds with peak 0.5.
    pub(crate) samples: Vec<f32>,
    /// See [`effective_sources`].
    pub(crate) effective_sources: f64,
    /// What was mixed, with levels.
    pub(crate) sources: Vec<String>,
}

/// How sources are put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// How far below the first source the others may lie, in dB.
    pub(crate) range_db: f64,
    /// How many, from the end of the list, lie 15 dB to 30 dB below.
    pub(crate) extra: usize,
    /// Chance that a source begins late or ends early.
    pub(crate) partial: f64,
}

/// Mixes sources at drawn levels.
///
/// Errors: the reason, where a source or the mix is silent.
pub(crate) fn mix(mut sources: Vec<Source>, layout: Layout, draw: &mut Draw) -> Result<Mix, String> {
    let Layout { range_db, extra, partial } = layout;
    let num_main = sources.len() - extra.min(sources.len());
    let mut names = Vec::new();
    for (index, source) in sources.iter_mut().enumerate() {
        let loudness = active_power(&source.samples).sqrt();
        if loudness < 1e-5 {
            return Err(format!("source {} is silent", source.name));
        }
        let level_db = match index {
            0 => 0.0,
            _ if index < num_main => -draw.uniform(0.0, range_db),
            _ => -draw.uniform(15.0, 30.0),
        };
        scale(&mut source.samples, super::signal::db_to_gain(level_db) * 0.05 / loudness);
        if num_main > 1 && draw.chance(partial) {
            keep_part(&mut source.samples, draw);
        }
        names.push(format!("{} {level_db:.1}dB", source.name));
    }

    let mut samples = vec![0f32; CLIP_SAMPLES];
    for source in &sources {
        for (sum, x) in samples.iter_mut().zip(&source.samples) {
            *sum += x;
        }
    }
    let gain = MIX_PEAK / peak(&samples);
    if !gain.is_finite() || active_power(&samples) < 1e-9 {
        return Err("the mix is silent".to_owned());
    }
    scale(&mut samples, gain);
    let stems: Vec<(&[f32], f64)> = sources.iter().map(|s| (s.samples.as_slice(), s.counts_as)).collect();
    Ok(Mix { samples, effective_sources: effective_sources(&stems), sources: names })
}

/// Silences a source outside a drawn part of at least 3 s, with fades of 50 ms.
fn keep_part(samples: &mut [f32], draw: &mut Draw) {
    let seconds = samples.len() as f64 / RATE_HZ as f64;
    let length = draw.uniform(3.0_f64.min(seconds), seconds);
    let start = (draw.uniform(0.0, seconds - length) * RATE_HZ as f64) as usize;
    let stop = (start + (length * RATE_HZ as f64) as usize).min(samples.len());
    samples[..start].fill(0.0);
    samples[stop..].fill(0.0);
    fade(&mut samples[start..stop], RATE_HZ / 20);
}

/// The effective number of sources: the exponent of the entropy of their energies over time.
///
/// Each stem comes with the number `c` of equally loud sources that it counts as. In every hop of 100 ms, stem i holds
/// the share `p_i = e_i / sum(e)` of the energy; the hop's number is `exp(sum(p_i * ln(c_i / p_i)))`. The result is the
/// mean over the hops, each weighted by its energy: 1 for a single source, N for N sources that are always equally
/// loud, 0 for silence.
pub(crate) fn effective_sources(stems: &[(&[f32], f64)]) -> f64 {
    let energies: Vec<Vec<f64>> = stems.iter().map(|(samples, _)| hop_powers(samples)).collect();
    let num_hops = CLIP_SAMPLES / HOP_SAMPLES;
    let (mut weighted, mut total) = (0.0, 0.0);
    for hop in 0..num_hops {
        let at = |stem: &Vec<f64>| stem.get(hop).copied().unwrap_or(0.0);
        let sum: f64 = energies.iter().map(at).sum();
        if sum <= 0.0 {
            continue;
        }
        let entropy: f64 = energies
            .iter()
            .zip(stems)
            .map(|(stem, (_, counts_as))| (at(stem) / sum, counts_as))
            .filter(|(share, _)| *share > 0.0)
            .map(|(share, counts_as)| share * (counts_as / share).ln())
            .sum();
        weighted += sum * entropy.exp();
        total += sum;
    }
    if total > 0.0 { weighted / total } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { range_db: 20.0, extra: 0, partial: 0.3 };

    fn tone(gain: f32, from: usize, to: usize) -> Vec<f32> {
        (0..CLIP_SAMPLES)
            .map(|n| if (from..to).contains(&n) { gain * if n % 2 == 0 { 1.0 } else { -1.0 } } else { 0.0 })
            .collect()
    }

    #[test]
    fn effective_number_counts_equal_sources() {
        let (a, quiet) = (tone(0.5, 0, CLIP_SAMPLES), tone(0.005, 0, CLIP_SAMPLES));
        let (first, second) = (tone(0.5, 0, CLIP_SAMPLES / 2), tone(0.5, CLIP_SAMPLES / 2, CLIP_SAMPLES));
        let number = |stems: &[&Vec<f32>]| {
            effective_sources(&stems.iter().map(|s| (s.as_slice(), 1.0)).collect::<Vec<_>>())
        };
        assert!((number(&[&a]) - 1.0).abs() < 1e-9);
        assert!((number(&[&a, &a, &a]) - 3.0).abs() < 1e-9);
        // 40 dB down, a source hardly counts: exp(entropy of 1e-4) = 1.001.
        assert!((number(&[&a, &quiet]) - 1.001).abs() < 1e-3);
        // One after the other is one at a time.
        assert!((number(&[&first, &second]) - 1.0).abs() < 1e-9);
        // Half of the energy (a third of it twice) sounds in pairs: (1 * 1/3 + 2 * 2/3).
        assert!((number(&[&a, &first]) - 5.0 / 3.0).abs() < 1e-9);
        assert!((effective_sources(&[(&a, 4.0)]) - 4.0).abs() < 1e-9);
        assert_eq!(number(&[]), 0.0);
    }

    #[test]
    fn mixes_have_the_agreed_peak_and_refuse_silence() {
        let source = |samples| Source { name: "s".to_owned(), counts_as: 1.0, samples };
        let sources = vec![source(tone(0.1, 0, CLIP_SAMPLES)), source(tone(0.9, 0, 80_000))];
        let mixed = mix(sources, LAYOUT, &mut Draw::new(1, "m")).unwrap();
        assert!((peak(&mixed.samples) - MIX_PEAK).abs() < 1e-6);
        assert!((1.0..=2.0).contains(&mixed.effective_sources));
        assert!(mix(vec![source(vec![0.0; CLIP_SAMPLES])], LAYOUT, &mut Draw::new(1, "m")).is_err());
    }
}

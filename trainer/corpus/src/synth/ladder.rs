//! Gradual degradations of a clean clip, to see whether a model's PQ falls at every step.

use super::degrade::{Colour, Step};

/// Signal-to-noise ratios in dB.
const SNR_DB: [f64; 5] = [40.0, 30.0, 20.0, 10.0, 0.0];

/// Low-pass cut-offs in Hz; the first leaves the clip as it is.
const CUTOFF_HZ: [f64; 4] = [8000.0, 4000.0, 2000.0, 1000.0];

/// MP3 rates in kbit/s; each step lowers ViSQOL by 0.3 or more on the average of the starter's training clips (4.98, 4.67, 4.01,
/// 3.53).
const MP3_KBPS: [u32; 4] = [192, 32, 24, 16];

/// MP3 rates in kbit/s, in smaller steps; between some, ViSQOL itself differs by a few hundredths.
const MP3_FINE_KBPS: [u32; 7] = [192, 96, 64, 48, 32, 24, 16];

/// Clips per ladder set that [`steps`] lists.
pub(crate) const STEPS_PER_CLIP: usize =
    SNR_DB.len() + CUTOFF_HZ.len() + MP3_KBPS.len() + MP3_FINE_KBPS.len();

/// Ladder, step, value and degradation (none = untouched) of every clip made from the clean one with this number. The
/// noise is white for even numbers, pink for odd ones.
pub(crate) fn steps(index: usize) -> Vec<(&'static str, usize, f64, Option<Step>)> {
    let colour = if index.is_multiple_of(2) { Colour::White } else { Colour::Pink };
    let noise = SNR_DB.map(|snr_db| ("noise", snr_db, Some(Step::Noise { colour, snr_db })));
    let low_pass =
        CUTOFF_HZ.map(|hz| ("lowpass", hz, (hz < 8000.0).then_some(Step::LowPass { hz, order: None })));
    let mp3 = MP3_KBPS.map(|kbps| ("mp3", f64::from(kbps), Some(Step::Mp3 { kbps })));
    let mp3_fine = MP3_FINE_KBPS.map(|kbps| ("mp3-fine", f64::from(kbps), Some(Step::Mp3 { kbps })));
    let numbered = |ladder: Vec<(&'static str, f64, Option<Step>)>| {
        ladder
            .into_iter()
            .enumerate()
            .map(|(step, (name, value, degradation))| (name, step, value, degradation))
    };
    [noise.to_vec(), low_pass.to_vec(), mp3.to_vec(), mp3_fine.to_vec()]
        .into_iter()
        .flat_map(numbered)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::codec::{Codecs, ffmpeg_is_there};
    use super::super::draw::Draw;
    use super::super::generators::{SoundKind, synthetic_sound};
    use super::super::visqol::Visqol;
    use super::*;

    #[test]
    fn visqol_falls_at_every_step() {
        let clip = synthetic_sound(SoundKind::Bells, &mut Draw::new(1, "bells"));
        let (visqol, codecs) = (Visqol::new(6.0, 2), Codecs::default());
        let mut last: Option<(&str, f64)> = None;
        for (ladder, step, value, degradation) in steps(0) {
            if ladder.starts_with("mp3") && !ffmpeg_is_there() {
                eprintln!("skipped {ladder} {value}: ffmpeg with libmp3lame is not installed");
                continue;
            }
            let mut draw = Draw::new(1, ladder);
            let out =
                degradation.map_or_else(|| clip.clone(), |d| d.apply(&clip, &mut draw, &codecs).unwrap());
            let mos = visqol.mos(&clip, &out).unwrap();
            eprintln!("{ladder} {value}: {mos:.3}");
            assert_eq!(step == 0, last.is_none_or(|(name, _)| name != ladder));
            if let Some((_, before)) = last.filter(|(name, _)| *name == ladder) {
                assert!(mos < before, "{ladder} {value}: {mos}, before {before}");
            }
            last = Some((ladder, mos));
        }
        assert_eq!(steps(0).len(), STEPS_PER_CLIP);
    }
}

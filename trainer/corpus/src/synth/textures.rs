//! Sounds synthesised for training and validation, of other kinds than the test set's in `generators.rs`.

use core::f64::consts::TAU;

use rustfft::num_complex::Complex64;

use super::degrade::{Colour, noise};
use super::draw::Draw;
use super::signal::{CLIP_SAMPLES, RATE_HZ, db_to_gain, filter, peak, power, scale};

/// A kind of sound that training hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextureKind {
    Plucks,
    Drone,
    Whistle,
    Resonators,
    Bubbles,
    Chatter,
    BandNoise,
    Ratchet,
}

/// All kinds of sound that training hears.
pub(crate) const TEXTURE_KINDS: [TextureKind; 8] = [
    TextureKind::Plucks,
    TextureKind::Drone,
    TextureKind::Whistle,
    TextureKind::Resonators,
    TextureKind::Bubbles,
    TextureKind::Chatter,
    TextureKind::BandNoise,
    TextureKind::Ratchet,
];

/// Ten seconds of one sound with peak 0.5, over a background of pink or white noise 25 dB to 50 dB below it.
pub(crate) fn texture(kind: TextureKind, draw: &mut Draw) -> Vec<f32> {
    let mut sound = match kind {
        TextureKind::Plucks => plucks(draw),
        TextureKind::Drone => drone(draw),
        TextureKind::Whistle => whistle(draw),
        TextureKind::Resonators => resonators(draw),
        TextureKind::Bubbles => bubbles(draw),
        TextureKind::Chatter => chatter(draw),
        TextureKind::BandNoise => band_noise(draw),
        TextureKind::Ratchet => ratchet(draw),
    };
    let floor = power(&sound).sqrt() * db_to_gain(-draw.uniform(25.0, 50.0));
    let colour = *draw.pick(&[Colour::Pink, Colour::White]);
    for (x, background) in sound.iter_mut().zip(noise(CLIP_SAMPLES, colour, draw)) {
        *x += floor as f32 * background;
    }
    let gain = 0.5 / peak(&sound).max(1e-9);
    scale(&mut sound, gain);
    sound
}

/// Seconds as samples, rounded down.
fn samples(seconds: f64) -> usize {
    (seconds * RATE_HZ as f64) as usize
}

/// A waiting time with the given mean (exponential: the events form a Poisson process).
fn wait(mean_s: f64, draw: &mut Draw) -> f64 {
    -mean_s * (1.0 - draw.uniform(0.0, 1.0)).ln()
}

/// Adds `part` times `gain` from sample `start` on, cut at the end of the sound.
fn add(sound: &mut [f32], start: usize, part: &[f32], gain: f64) {
    for (x, y) in sound.iter_mut().skip(start).zip(part) {
        *x += gain as f32 * y;
    }
}

/// A curve over the clip that goes smoothly from knot to knot of a random walk.
struct Walk {
    knots: Vec<f64>,
    step_samples: f64,
}

impl Walk {
    /// A walk that returns to 0 (mean 0, variance 1), with a knot every `step_s` that `value` turns into the curve's.
    fn new(step_s: f64, draw: &mut Draw, value: impl Fn(f64) -> f64) -> Self {
        const KEPT: f64 = 0.8;
        let step_samples = step_s * RATE_HZ as f64;
        let mut position = draw.gauss();
        let knots = (0..(CLIP_SAMPLES as f64 / step_samples) as usize + 2)
            .map(|_| {
                position = KEPT * position + (1.0 - KEPT * KEPT).sqrt() * draw.gauss();
                value(position)
            })
            .collect();
        Self { knots, step_samples }
    }

    /// The curve at sample `n` of the clip.
    fn at(&self, n: usize) -> f64 {
        let position = n as f64 / self.step_samples;
        let index = position as usize;
        let (a, b) = (self.knots[index], self.knots[index + 1]);
        a + (b - a) * smooth_step(position - index as f64)
    }
}

/// From 0 to 1 without a corner at either end.
fn smooth_step(x: f64) -> f64 {
    x * x * (3.0 - 2.0 * x)
}

/// Plucked strings at random times and pitches (harps, zithers, rubber bands).
fn plucks(draw: &mut Draw) -> Vec<f32> {
    let mean_s = 1.0 / draw.log_uniform(1.5, 10.0);
    let (centre, octaves) = (draw.log_uniform(80.0, 1500.0), draw.uniform(0.1, 1.5));
    let damping = draw.log_uniform(0.02, 0.5);
    let decay_s = draw.log_uniform(0.2, 4.0);
    let brightness = draw.uniform(0.1, 1.0);
    let mut sound = vec![0.0; CLIP_SAMPLES];
    let mut at = wait(0.3 * mean_s, draw);
    while at < 10.0 {
        let hz = (centre * (octaves * draw.uniform(-1.0, 1.0)).exp2()).clamp(80.0, 1500.0);
        let string = string(hz, damping, decay_s, brightness, draw);
        let gain = draw.uniform(0.3, 1.0) / power(&string[..samples(0.02)]).sqrt().max(1e-3);
        add(&mut sound, samples(at), &string, gain);
        at += 0.03 + wait(mean_s, draw);
    }
    sound
}

/// A plucked string after Karplus and Strong (1983): a burst of noise in a delay line of one period, whose ends a
/// low-pass joins. The fundamental falls by 60 dB in `decay_s` or faster, the harmonics the faster the higher
/// `damping` is (0 to 0.5). `brightness` (above 0, up to 1) opens the burst's low-pass.
fn string(hz: f64, damping: f64, decay_s: f64, brightness: f64, draw: &mut Draw) -> Vec<f32> {
    let period = RATE_HZ as f64 / hz;
    let kept = 10f64.powf(-3.0 * period / (decay_s * RATE_HZ as f64));
    // The low-pass itself delays by `damping` samples; the part of a sample that remains is interpolated.
    let whole = (period - damping) as usize;
    let part = period - damping - whole as f64;
    let taps =
        [(1.0 - damping) * (1.0 - part), (1.0 - damping) * part + damping * (1.0 - part), damping * part]
            .map(|tap| (kept * tap) as f32);

    let mut low = 0.0;
    let mut wave: Vec<f32> = (0..whole + 2)
        .map(|_| {
            low += brightness * (draw.gauss() - low);
            low as f32
        })
        .collect();
    let mean = wave.iter().sum::<f32>() / wave.len() as f32;
    wave.iter_mut().for_each(|x| *x -= mean);
    for n in wave.len()..wave.len() + samples(decay_s) {
        let back = &wave[n - whole - 2..=n - whole];
        wave.push(taps[2] * back[0] + taps[1] * back[1] + taps[0] * back[2]);
    }
    wave
}

/// Steady partials, each a beating pair of slowly changing strength (hums, organs, bowls, transformers).
fn drone(draw: &mut Draw) -> Vec<f32> {
    let base = draw.log_uniform(50.0, 600.0);
    let stretch = if draw.chance(0.5) { 1.0 } else { draw.uniform(0.8, 1.35) };
    let (tilt, swing_db) = (draw.uniform(0.2, 1.6), draw.uniform(1.0, 9.0));
    let (step_s, beat_hz) = (draw.log_uniform(0.05, 1.5), draw.log_uniform(0.05, 6.0));
    let mut sound = vec![0.0; CLIP_SAMPLES];
    for number in 1..=3 + draw.below(10) {
        let hz = base * (number as f64).powf(stretch);
        if hz > 7500.0 {
            break;
        }
        let level = (number as f64).powf(-tilt) * draw.uniform(0.2, 1.0);
        let walk = Walk::new(step_s, draw, |x| level * db_to_gain(swing_db * x));
        let share = draw.uniform(0.0, 0.9);
        let pair = [hz, hz + beat_hz * draw.uniform(-1.0, 1.0)];
        let mut tones = pair.map(|hz| Complex64::from_polar(1.0, TAU * hz * draw.uniform(0.0, 1.0)));
        let turns = pair.map(|hz| Complex64::from_polar(1.0, TAU * hz / RATE_HZ as f64));
        for (n, x) in sound.iter_mut().enumerate() {
            *x += (walk.at(n) * (tones[0].im + share * tones[1].im)) as f32;
            tones = [tones[0] * turns[0], tones[1] * turns[1]];
        }
    }
    sound
}

/// One or two gliding tones in phrases (birds, people whistling, kettles).
fn whistle(draw: &mut Draw) -> Vec<f32> {
    let mut sound = vec![0.0; CLIP_SAMPLES];
    for _ in 0..1 + draw.below(2) {
        let (centre, octaves) = (draw.log_uniform(500.0, 5000.0), draw.log_uniform(0.03, 0.8));
        let pitch = Walk::new(draw.log_uniform(0.02, 0.6), draw, |x| {
            (centre * (octaves * x).exp2()).clamp(400.0, 6000.0)
        });
        let overtone = if draw.chance(0.5) { draw.uniform(0.02, 0.4) } else { 0.0 };
        let on_s = draw.log_uniform(0.06, 4.0);
        let off_s = on_s.min(0.5) * draw.log_uniform(0.1, 2.0);
        let (edge_s, level) = (draw.log_uniform(0.004, 0.06), draw.uniform(0.3, 1.0));
        let mut phase = draw.uniform(0.0, TAU);
        let mut start = samples(wait(off_s, draw));
        while start < CLIP_SAMPLES {
            let len = samples(2.0 * edge_s + on_s * draw.uniform(0.3, 1.7));
            let gain = level * draw.uniform(0.5, 1.0);
            for (n, x) in sound.iter_mut().enumerate().skip(start).take(len) {
                let hz = pitch.at(n);
                phase += TAU * hz / RATE_HZ as f64;
                let edge = ((n - start).min(start + len - n) as f64 / (edge_s * RATE_HZ as f64)).min(1.0);
                // The overtone fades out before it would pass half the sampling rate.
                let second = overtone * (1.0 - hz / 3800.0).max(0.0);
                *x += (gain * smooth_step(edge) * (phase.sin() + second * (2.0 * phase).sin())) as f32;
            }
            start += len + samples(wait(off_s, draw));
        }
    }
    sound
}

/// White noise through resonances that jump, with a gain that jumps too (scraping, rattling, machinery).
fn resonators(draw: &mut Draw) -> Vec<f32> {
    let source = noise(CLIP_SAMPLES, Colour::White, draw);
    let (hold_s, octaves) = (draw.log_uniform(0.03, 2.0), draw.log_uniform(0.05, 1.2));
    let width = draw.log_uniform(0.005, 0.3);
    let mut sound = vec![0f32; CLIP_SAMPLES];
    for _ in 0..2 + draw.below(7) {
        let (centre, level) = (draw.log_uniform(120.0, 6000.0), draw.log_uniform(0.1, 1.0));
        let (mut last, mut before) = (0.0, 0.0);
        let mut start = 0;
        while start < CLIP_SAMPLES {
            let end = (start + samples(0.005 + wait(hold_s, draw))).min(CLIP_SAMPLES);
            let hz = (centre * (octaves * draw.gauss()).exp2()).clamp(80.0, 7500.0);
            let (a, b, gain) = two_pole(hz, width * hz);
            for (x, white) in sound[start..end].iter_mut().zip(&source[start..end]) {
                let out = level * gain * f64::from(*white) + a * last - b * before;
                (before, last) = (last, out);
                *x += out as f32;
            }
            start = end;
        }
    }
    step_gain(&mut sound, draw);
    sound
}

/// `y[n] = gain x[n] + a y[n - 1] - b y[n - 2]`: a resonance that gives unit power for unit white noise.
fn two_pole(hz: f64, width_hz: f64) -> (f64, f64, f64) {
    let angle = TAU * hz / RATE_HZ as f64;
    let b = (-TAU * width_hz / RATE_HZ as f64).exp();
    let raised = (1.0 + b) / ((1.0 - b) * (1.0 + b * b - 2.0 * b * (2.0 * angle).cos()));
    (2.0 * b.sqrt() * angle.cos(), b, 1.0 / raised.sqrt())
}

/// Multiplies with a gain that jumps at random times, over a few milliseconds each.
fn step_gain(sound: &mut [f32], draw: &mut Draw) {
    let (hold_s, depth_db) = (draw.log_uniform(0.03, 1.0), draw.uniform(3.0, 40.0));
    let follow = 1.0 / (RATE_HZ as f64 * draw.log_uniform(0.001, 0.02));
    let (mut gain, mut target, mut next) = (0.0, 1.0, 0);
    for (n, x) in sound.iter_mut().enumerate() {
        if n >= next {
            target = db_to_gain(-depth_db * draw.uniform(0.0, 1.0));
            next = n + samples(0.01 + wait(hold_s, draw));
        }
        gain += follow * (target - gain);
        *x *= gain as f32;
    }
}

/// Short damped tones of rising pitch at random times (dripping, pouring, boiling).
fn bubbles(draw: &mut Draw) -> Vec<f32> {
    let mean_s = 1.0 / draw.log_uniform(4.0, 200.0);
    let (centre, octaves) = (draw.log_uniform(250.0, 2500.0), draw.uniform(0.1, 1.5));
    let (cycles, rise) = (draw.log_uniform(3.0, 30.0), draw.log_uniform(1.1, 3.0));
    let spread_db = draw.uniform(6.0, 30.0);
    let mut sound = vec![0f32; CLIP_SAMPLES];
    let mut at = wait(mean_s, draw);
    while at < 10.0 {
        let hz = (centre * (octaves * draw.uniform(-1.0, 1.0)).exp2()).clamp(200.0, 3000.0);
        let decay_s = (draw.uniform(0.5, 1.5) * cycles / hz).clamp(0.002, 0.03);
        let gain = db_to_gain(-spread_db * draw.uniform(0.0, 1.0));
        let len = samples(5.0 * decay_s);
        let end_hz = (hz * rise.powf(draw.uniform(0.3, 1.0))).min(6000.0);
        let mut tone = Complex64::new(gain, 0.0);
        let shrink = (-1.0 / (decay_s * RATE_HZ as f64)).exp();
        let mut turn = Complex64::from_polar(shrink, TAU * hz / RATE_HZ as f64);
        let bend = Complex64::from_polar(1.0, TAU * (end_hz - hz) / RATE_HZ as f64 / len as f64);
        for (n, x) in sound.iter_mut().skip(samples(at)).take(len).enumerate() {
            *x += (tone.im * (1.0 - n as f64 / len as f64)) as f32;
            tone *= turn;
            turn *= bend;
        }
        at += wait(mean_s, draw);
    }
    sound
}

/// Frequency-modulated tones in a random rhythm (insects, radio chatter, toys).
fn chatter(draw: &mut Draw) -> Vec<f32> {
    let (centre, octaves) = (draw.log_uniform(200.0, 4000.0), draw.log_uniform(0.05, 1.2));
    let (modulator, modulator_octaves) = (draw.log_uniform(8.0, 1500.0), draw.uniform(0.0, 2.0));
    let most_index = draw.log_uniform(0.3, 20.0);
    let (mean_s, pause_s) = (draw.log_uniform(0.03, 0.4), draw.log_uniform(0.01, 0.25));
    let struck = draw.chance(0.4);
    let mut sound = vec![0f32; CLIP_SAMPLES];
    let mut start = samples(wait(pause_s, draw));
    while start < CLIP_SAMPLES {
        let carrier_hz = (centre * (octaves * draw.gauss()).exp2()).clamp(150.0, 5000.0);
        let modulator_hz = modulator * (modulator_octaves * draw.uniform(-1.0, 1.0)).exp2();
        // Carson's rule: keeps the side bands below half the sampling rate.
        let room = ((7500.0 - carrier_hz) / modulator_hz - 1.0).max(0.0);
        let index = draw.uniform(0.0, most_index).min(room);
        let len = samples((mean_s * draw.log_uniform(0.5, 2.0)).clamp(0.03, 0.4));
        let gain = draw.log_uniform(0.2, 1.0);
        for (n, x) in sound.iter_mut().skip(start).take(len).enumerate() {
            let (t, place) = (n as f64 / RATE_HZ as f64, n as f64 / len as f64);
            let edge = (n.min(len - n) as f64 / 64.0).min(1.0);
            let fall = if struck { (-5.0 * place).exp() } else { 1.0 };
            let phase = TAU * carrier_hz * t + index * fall * (TAU * modulator_hz * t).sin();
            *x = (gain * edge * fall * phase.sin()) as f32;
        }
        start += len + samples(wait(pause_s, draw));
    }
    sound
}

/// Noise of one random spectrum after the other, cross-faded (weather, crowds far away, tape, ventilation).
fn band_noise(draw: &mut Draw) -> Vec<f32> {
    // From white to brown: without a common slope, the means of all clips' spectra are much alike.
    let slope_db = -draw.uniform(0.0, 6.0);
    let mut sound = vec![0f32; CLIP_SAMPLES];
    let mut rise = samples(draw.log_uniform(0.5, 4.0));
    let mut start = 0;
    let mut is_first = true;
    while start < CLIP_SAMPLES {
        let fall = samples(draw.log_uniform(0.5, 4.0));
        let gains = random_spectrum(slope_db, draw);
        let base = noise((rise + fall).min(CLIP_SAMPLES - start), Colour::White, draw);
        let mut piece = filter(&base, |hz| gains[(hz / SPECTRUM_STEP_HZ) as usize]);
        let gain = draw.uniform(0.4, 1.0) / power(&piece).sqrt();
        for (n, x) in piece.iter_mut().enumerate() {
            // Equal powers: the pieces are independent noise.
            let quarter =
                if n < rise { n as f64 / rise as f64 } else { (rise + fall - n) as f64 / fall as f64 };
            *x *= if is_first && n < rise { 1.0 } else { (0.25 * TAU * quarter).sin() as f32 };
        }
        add(&mut sound, start, &piece, gain);
        start += rise;
        rise = fall;
        is_first = false;
    }
    sound
}

/// Frequency per gain of [`random_spectrum`].
const SPECTRUM_STEP_HZ: f64 = 10.0;

/// Gains up to half the sampling rate: smooth over the logarithm of frequency, through 6 to 10 knots of -40 dB to 0 dB,
/// with a slope of `slope_db` per octave.
fn random_spectrum(slope_db: f64, draw: &mut Draw) -> Vec<f64> {
    const LOW_HZ: f64 = 40.0;
    let knots_db: Vec<f64> = (0..6 + draw.below(5)).map(|_| draw.uniform(-40.0, 0.0)).collect();
    let half_rate_hz = RATE_HZ as f64 / 2.0;
    (0..=(half_rate_hz / SPECTRUM_STEP_HZ) as usize)
        .map(|step| {
            let hz = (step as f64 * SPECTRUM_STEP_HZ).max(LOW_HZ);
            let position = (hz / LOW_HZ).ln() / (half_rate_hz / LOW_HZ).ln() * (knots_db.len() - 1) as f64;
            let index = (position as usize).min(knots_db.len() - 2);
            let (a, b) = (knots_db[index], knots_db[index + 1]);
            db_to_gain(a + (b - a) * smooth_step(position - index as f64) + slope_db * (hz / LOW_HZ).log2())
        })
        .collect()
}

/// One or two short grains repeated at a drifting rate, with accents (clockwork, typing, crickets).
fn ratchet(draw: &mut Draw) -> Vec<f32> {
    let (centre, drift) = (draw.log_uniform(3.0, 25.0), draw.log_uniform(0.02, 0.8));
    let rate = Walk::new(draw.uniform(0.3, 2.0), draw, |x| (centre * (drift * x).exp2()).clamp(2.0, 30.0));
    let jitter = draw.log_uniform(0.002, 0.4);
    let grains: Vec<Vec<f32>> = (0..1 + draw.below(2)).map(|_| grain(draw)).collect();
    let has_rests = centre > 10.0 && draw.chance(0.5);
    let accents: Vec<f64> = (0..1 + draw.below(12))
        .map(|beat| match beat > 0 && has_rests && draw.chance(0.4) {
            true => 0.0,
            false => draw.log_uniform(0.15, 1.0),
        })
        .collect();
    let mut sound = vec![0.0; CLIP_SAMPLES];
    let mut at = 0.0;
    for beat in 0.. {
        at += (1.0 + jitter * draw.uniform(-1.0, 1.0)) / rate.at(samples(at));
        if at >= 10.0 {
            break;
        }
        let gain = accents[beat % accents.len()] * draw.uniform(0.8, 1.0);
        add(&mut sound, samples(at), &grains[beat % grains.len()], gain);
    }
    sound
}

/// A short decaying impulse of unit peak: coloured noise, a tone, or both.
fn grain(draw: &mut Draw) -> Vec<f32> {
    let decay_s = draw.log_uniform(0.0015, 0.04);
    let (hz, tonal) = (draw.log_uniform(200.0, 6500.0), *draw.pick(&[0.0, 0.3, 0.9, 1.0]));
    let (a, b, gain) = two_pole(draw.log_uniform(200.0, 6500.0), draw.log_uniform(200.0, 4000.0));
    let attack_s = draw.log_uniform(0.0003, 0.005);
    let (mut last, mut before) = (0.0, 0.0);
    let mut grain: Vec<f32> = (0..samples(7.0 * decay_s))
        .map(|n| {
            let t = n as f64 / RATE_HZ as f64;
            let out = gain * draw.gauss() + a * last - b * before;
            (before, last) = (last, out);
            let envelope = (t / attack_s).min(1.0) * (-t / decay_s).exp();
            (envelope * (tonal * (TAU * hz * t).sin() + (1.0 - tonal) * out)) as f32
        })
        .collect();
    let gain = 1.0 / peak(&grain).max(1e-9);
    scale(&mut grain, gain);
    grain
}

#[cfg(test)]
mod tests {
    use super::super::signal::hop_powers;
    use super::*;

    #[test]
    fn textures_are_finite_audible_and_follow_their_seed() {
        for kind in TEXTURE_KINDS {
            let make = || (0..9).map(|seed| texture(kind, &mut Draw::new(seed, "t"))).collect::<Vec<_>>();
            let sounds = make();
            for (seed, sound) in sounds.iter().enumerate() {
                assert_eq!(sound.len(), CLIP_SAMPLES, "{kind:?} {seed}");
                assert!(sound.iter().all(|x| x.is_finite()), "{kind:?} {seed}");
                assert!((peak(sound) - 0.5).abs() < 1e-3, "{kind:?} {seed}");
                let audible = hop_powers(sound).into_iter().filter(|p| *p > 1e-7).count();
                assert!(audible >= 15, "{kind:?} {seed}: {audible} hops of 100");
            }
            assert!(sounds.windows(2).all(|pair| pair[0] != pair[1]), "{kind:?}");
            assert!(sounds == make(), "{kind:?}");
        }
    }

    #[test]
    fn strings_sound_at_their_pitch() {
        for hz in [97.3, 440.0, 1234.5] {
            let string = string(hz, 0.1, 2.0, 0.5, &mut Draw::new(1, "s"));
            let tail = &string[samples(0.3)..samples(1.3)];
            let strength = |hz: f64| {
                let turn = |n: usize| Complex64::from_polar(1.0, TAU * hz * n as f64 / RATE_HZ as f64);
                tail.iter().enumerate().map(|(n, x)| turn(n) * f64::from(*x)).sum::<Complex64>().norm()
            };
            let best = (-50..=50).max_by(|i, j| {
                let at = |cents: &i32| strength(hz * (f64::from(*cents) / 1200.0).exp2());
                at(i).total_cmp(&at(j))
            });
            assert!(best.is_some_and(|cents| cents.abs() <= 10), "{hz} Hz: {best:?} cents");
        }
    }

    #[test]
    fn resonances_keep_the_power_of_white_noise() {
        let white = noise(CLIP_SAMPLES, Colour::White, &mut Draw::new(1, "w"));
        for (hz, width_hz) in [(150.0, 20.0), (1000.0, 300.0), (6000.0, 100.0)] {
            let (a, b, gain) = two_pole(hz, width_hz);
            let (mut last, mut before) = (0.0, 0.0);
            let out: Vec<f32> = white
                .iter()
                .map(|x| {
                    (before, last) = (last, gain * f64::from(*x) + a * last - b * before);
                    last as f32
                })
                .collect();
            assert!((power(&out) - 1.0).abs() < 0.25, "{hz} Hz: {}", power(&out));
        }
    }
}

//! The four frame scores over the log-mel spectrogram, as an SVG.

use core::fmt::Write;

use aesa::fbank::NUM_MEL_BINS;
use aesa::score::NUM_AXES;
use aesa::{Axis, FrameScore, Scores};

use crate::png::{Picture, data_url};
use crate::spectrogram::Spectrogram;

/// What a plot shows.
pub(crate) struct Plot<'a> {
    /// The clip's name.
    pub(crate) title: &'a str,
    /// Which model, policy and labels made the scores.
    pub(crate) subtitle: &'a str,
    pub(crate) clip_scores: Scores,
    pub(crate) frames: &'a [FrameScore],
    pub(crate) spectrogram: &'a Spectrogram,
}

/// Draws the plot.
pub(crate) fn svg(plot: &Plot<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = draw(&mut out, plot);
    out
}

fn draw(out: &mut String, plot: &Plot<'_>) -> core::fmt::Result {
    let last_s = plot.frames.last().map_or(0.0, FrameScore::end_s);
    let area = Area { duration_s: plot.spectrogram.duration_s().max(last_s) };
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"'DejaVu Sans', Verdana, Arial, sans-serif\" font-size=\"13\" fill=\"#222\">"
    )?;
    writeln!(out, "<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>")?;
    draw_titles(out, plot)?;
    draw_spectrogram(out, plot.spectrogram, &area)?;
    draw_axes(out, &area)?;
    let points = reduce(plot.frames);
    for axis in Axis::ALL {
        draw_curve(out, &points, axis, &area)?;
    }
    draw_legend(out, plot.clip_scores)?;
    writeln!(out, "</svg>")
}

/// The rectangle of the curves.
struct Area {
    duration_s: f64,
}

impl Area {
    fn x(&self, time_s: f64) -> f64 {
        LEFT + time_s / self.duration_s.max(1e-9) * (RIGHT - LEFT)
    }

    fn y(score: f64) -> f64 {
        BOTTOM - score / 10.0 * (BOTTOM - TOP)
    }
}

fn draw_titles(out: &mut String, plot: &Plot<'_>) -> core::fmt::Result {
    let title = escape(plot.title);
    let subtitle = escape(plot.subtitle);
    writeln!(out, "<text x=\"{LEFT}\" y=\"28\" font-size=\"17\" font-weight=\"bold\">{title}</text>")?;
    writeln!(out, "<text x=\"{LEFT}\" y=\"48\" font-size=\"12\" fill=\"#666\">{subtitle}</text>")
}

/// The spectrogram as a picture of one pixel per mel bin and column, stretched to the area.
fn draw_spectrogram(out: &mut String, spectrogram: &Spectrogram, area: &Area) -> core::fmt::Result {
    let width = spectrogram.num_columns();
    if width == 0 {
        return Ok(());
    }
    let pixels = pixels(&spectrogram.columns());
    let url = data_url(&Picture { width, pixels: &pixels, palette: &palette() });
    let (w, h) = (area.x(spectrogram.duration_s()) - LEFT, BOTTOM - TOP);
    writeln!(
        out,
        "<image x=\"{LEFT}\" y=\"{TOP}\" width=\"{w:.2}\" height=\"{h}\" preserveAspectRatio=\"none\" href=\"{url}\"/>"
    )
}

/// Palette indices, `[128, num_columns]` with the highest mel bin on top, from `[num_columns, 128]` log energies.
fn pixels(columns: &[f32]) -> Vec<u8> {
    let width = columns.len() / NUM_MEL_BINS;
    let bin = |x: usize, y: usize| columns[x * NUM_MEL_BINS + y];
    let heard = |y: &usize| *y != SILENT_BIN;
    let loudest = (0..width)
        .flat_map(|x| (0..NUM_MEL_BINS).filter(heard).map(move |y| bin(x, y)))
        .fold(f32::MIN, f32::max)
        // Silence stays white.
        .max(QUIETEST_TOP);
    let index = |value: f32| (255.0 * (1.0 - (loudest - value) / RANGE)).clamp(0.0, 255.0) as u8;
    (0..NUM_MEL_BINS)
        .rev()
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .map(|(x, y)| index(if y == SILENT_BIN { bin(x, y - 1).midpoint(bin(x, y + 1)) } else { bin(x, y) }))
        .collect()
}

/// White to blue-grey: light enough for curves on top to be read.
fn palette() -> [[u8; 3]; 256] {
    core::array::from_fn(|i| {
        let t = i as f32 / 255.0;
        LOUD.map(|loud| (255.0 + (loud - 255.0) * t.powf(1.4)) as u8)
    })
}

fn draw_axes(out: &mut String, area: &Area) -> core::fmt::Result {
    let (w, h) = (RIGHT - LEFT, BOTTOM - TOP);
    for score in 0..=10 {
        let y = Area::y(f64::from(score));
        if score % 2 == 0 {
            writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{score}</text>",
                LEFT - 9.0,
                y + 4.5
            )?;
            writeln!(out, "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#000\" stroke-opacity=\"0.13\"/>")?;
        }
        writeln!(out, "<path d=\"M{LEFT} {y:.1}h-5\" stroke=\"#444\"/>")?;
    }
    let step_s = tick_step(area.duration_s);
    let decimals = usize::from(step_s < 1.0) + usize::from(step_s < 0.1);
    for i in 0..=(area.duration_s / step_s + 1e-9) as usize {
        let time_s = i as f64 * step_s;
        let x = area.x(time_s);
        writeln!(out, "<path d=\"M{x:.1} {BOTTOM}v5\" stroke=\"#444\"/>")?;
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{time_s:.decimals$}</text>",
            BOTTOM + 20.0
        )?;
    }
    for (hz, label) in
        [(250.0, "250 Hz"), (500.0, "500 Hz"), (1000.0, "1 kHz"), (2000.0, "2 kHz"), (4000.0, "4 kHz")]
    {
        let y = BOTTOM - mel_position(hz) * h;
        writeln!(out, "<path d=\"M{RIGHT} {y:.1}h5\" stroke=\"#999\"/>")?;
        writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" fill=\"#777\">{label}</text>",
            RIGHT + 9.0,
            y + 4.0
        )?;
    }
    writeln!(
        out,
        "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{w}\" height=\"{h}\" fill=\"none\" stroke=\"#444\"/>"
    )?;
    let (x, y) = ((LEFT + RIGHT) / 2.0, (TOP + BOTTOM) / 2.0);
    writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">time in seconds</text>",
        BOTTOM + 42.0
    )?;
    writeln!(
        out,
        "<text transform=\"translate(20 {y:.1}) rotate(-90)\" text-anchor=\"middle\">score, 0 to 10</text>"
    )
}

fn draw_curve(out: &mut String, points: &[(f64, Scores)], axis: Axis, area: &Area) -> core::fmt::Result {
    let mut path = String::new();
    for (time_s, scores) in points {
        write!(path, "{:.1},{:.1} ", area.x(*time_s), Area::y(f64::from(scores[axis])))?;
    }
    let path = path.trim_end();
    let colour = COLOURS[axis as usize];
    let style = "fill=\"none\" stroke-linejoin=\"round\" stroke-linecap=\"round\"";
    // A white casing keeps the curve apart from the spectrogram.
    writeln!(
        out,
        "<polyline points=\"{path}\" {style} stroke=\"#fff\" stroke-opacity=\"0.8\" stroke-width=\"4.6\"/>"
    )?;
    writeln!(
        out,
        "<polyline points=\"{path}\" {style} stroke=\"{colour}\" stroke-width=\"2.2\"><title>{}</title></polyline>",
        axis.name()
    )
}

fn draw_legend(out: &mut String, clip: Scores) -> core::fmt::Result {
    for (i, axis) in Axis::ALL.into_iter().enumerate() {
        let x = LEFT + i as f64 * (WIDTH - LEFT) / NUM_AXES as f64;
        let (colour, y) = (COLOURS[i], 72.0);
        writeln!(
            out,
            "<path d=\"M{x:.1} {:.1}h24\" stroke=\"{colour}\" stroke-width=\"4\" stroke-linecap=\"round\"/>",
            y - 4.5
        )?;
        writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{y}\"><tspan font-weight=\"bold\">{axis} {:.2}</tspan> <tspan font-size=\"11\" fill=\"#666\">{}</tspan></text>",
            x + 32.0,
            clip[axis],
            axis.name()
        )?;
    }
    Ok(())
}

/// Frame scores as points in time, neighbours averaged where a curve would have too many.
fn reduce(frames: &[FrameScore]) -> Vec<(f64, Scores)> {
    let group = frames.len().div_ceil(MAX_POINTS).max(1);
    frames
        .chunks(group)
        .map(|group| {
            let middle_s = f64::midpoint(group[0].start_s(), group[group.len() - 1].end_s());
            let mean = |axis: usize| group.iter().map(|f| f.scores.0[axis]).sum::<f32>() / group.len() as f32;
            (middle_s, Scores(core::array::from_fn(mean)))
        })
        .collect()
}

/// The distance of time ticks: 1, 2 or 5 times a power of ten, at most ten ticks.
fn tick_step(duration_s: f64) -> f64 {
    let least = (duration_s / 10.0).max(0.01);
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|m| m * power)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// Where a frequency lies among the mel bins, 0 (20 Hz) to 1 (8 kHz), by HTK's formula, as the front end's filters do.
fn mel_position(hz: f64) -> f64 {
    let mel = |hz: f64| 1127.0 * (1.0 + hz / 700.0).ln();
    (mel(hz) - mel(20.0)) / (mel(8000.0) - mel(20.0))
}

/// Text for XML.
fn escape(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_string(),
            '<' => "&lt;".to_string(),
            '>' => "&gt;".to_string(),
            '"' => "&quot;".to_string(),
            c if c.is_control() => " ".to_string(),
            c => c.to_string(),
        })
        .collect()
}

const WIDTH: f64 = 1040.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 974.0;
const TOP: f64 = 88.0;
const BOTTOM: f64 = 424.0;
const MAX_POINTS: usize = 1_200;

/// Natural log units of energy from white to the darkest shade: about 65 dB.
const RANGE: f32 = 15.0;

/// The top of the scale for silence, in log energy of 16-bit samples.
const QUIETEST_TOP: f32 = 10.0;

/// The mel filter that holds no FFT bin at 16 kHz; drawn as its neighbours.
const SILENT_BIN: usize = 3;

const LOUD: [f32; 3] = [72.0, 92.0, 128.0];

/// For PQ, PC, CE, CU: the palette of Okabe and Ito, told apart with any colour vision.
const COLOURS: [&str; NUM_AXES] = ["#d55e00", "#0072b2", "#009e73", "#a2306d"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for (duration_s, expected) in
            [(0.175, 0.02), (1.0, 0.1), (10.0, 1.0), (10.1, 2.0), (45.0, 5.0), (3600.0, 500.0)]
        {
            assert!(
                (tick_step(duration_s) - expected).abs() < 1e-9,
                "{duration_s}: {}",
                tick_step(duration_s)
            );
        }
    }

    #[test]
    fn long_curves_keep_their_mean_and_their_ends() {
        let frames: Vec<FrameScore> = (0..10_000)
            .map(|i| FrameScore {
                index: i,
                scores: Scores([(i % 10) as f32; 4]),
                has_gap: false,
                is_lost: false,
            })
            .collect();
        let points = reduce(&frames);
        assert!(points.len() <= MAX_POINTS);
        let mean = points.iter().map(|p| p.1.0[0]).sum::<f32>() / points.len() as f32;
        assert!((mean - 4.5).abs() < 0.05, "{mean}");
        assert!(points[points.len() - 1].0 > 1_599.0);
    }

    #[test]
    fn names_cannot_break_the_picture() {
        assert_eq!(escape("a<b>&\"c\"\n"), "a&lt;b&gt;&amp;&quot;c&quot; ");
    }

    #[test]
    fn silence_is_white_and_a_tone_is_dark() {
        let mut columns = vec![-15.9; 4 * NUM_MEL_BINS];
        assert!(pixels(&columns).iter().all(|p| *p == 0));
        columns[2 * NUM_MEL_BINS + 60] = 20.0;
        let pixels = pixels(&columns);
        assert_eq!(pixels[(NUM_MEL_BINS - 1 - 60) * 4 + 2], 255);
        assert_eq!(pixels.iter().filter(|p| **p > 0).count(), 1);
    }
}

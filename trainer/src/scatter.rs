//! Predictions over labels, one panel per axis, as SVG.

use aesa::score::{Axis, NUM_AXES};
use aesa_corpus::labels::Domain;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::metrics::Metrics;
use crate::report::{ALL, Level, Report, Scored, by_system, means};

/// Clips as faint points and systems as large marks, both in their domain's colour, the diagonal, and the
/// correlations of `report`.
///
/// # Errors
/// None in practice: it is drawn to memory.
pub fn svg(clips: &[Scored], report: &Report) -> Result<String> {
    let mut text = String::new();
    draw(&SVGBackend::with_string(&mut text, (WIDTH, HEIGHT)).into_drawing_area(), clips, report)
        .map_err(|e| anyhow!("cannot draw the scatter plot: {e}"))?;
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = core::result::Result<(), Box<dyn core::error::Error>>;

fn draw(root: &Area<'_>, clips: &[Scored], report: &Report) -> Drawn {
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(HEAD);
    draw_head(&head, clips, report)?;
    for (panel, axis) in body.split_evenly((2, 2)).iter().zip(Axis::ALL) {
        draw_panel(panel, axis, clips, report)?;
    }
    root.present()?;
    Ok(())
}

/// What was compared, and what the marks mean.
fn draw_head(area: &Area<'_>, clips: &[Scored], report: &Report) -> Drawn {
    let style = |size: f64| ("sans-serif", size).into_font().color(&INK);
    area.draw_text(&report.description, &style(17.0), (16, 12))?;
    let mut x = 22;
    let mut entry = |name: &str, mark: &dyn Fn(i32) -> Drawn| -> Drawn {
        mark(x)?;
        area.draw_text(name, &style(14.0), (x + 12, 41))?;
        x += 32 + 8 * name.chars().count() as i32;
        Ok(())
    };
    for (name, colour) in legend(clips) {
        entry(name, &|x| Ok(area.draw(&Circle::new((x, 48), 6, colour.filled()))?))?;
    }
    entry("one clip", &|x| Ok(area.draw(&Circle::new((x, 48), CLIP_RADIUS, INK.mix(0.6).filled()))?))?;
    if report.num_systems > 0 {
        entry("mean of a system", &|x| {
            area.draw(&Circle::new((x, 48), SYSTEM_RADIUS, WHITE.filled()))?;
            Ok(area.draw(&Circle::new((x, 48), SYSTEM_RADIUS, INK.stroke_width(1)))?)
        })?;
    }
    Ok(())
}

fn draw_panel(area: &Area<'_>, axis: Axis, clips: &[Scored], report: &Report) -> Drawn {
    let (head, body) = area.split_vertically(PANEL_HEAD);
    let centre =
        |size: f64| ("sans-serif", size).into_font().color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
    let middle = (LEFT + Y_LABELS + PLOT / 2) as i32;
    head.draw_text(&format!("{axis}: {}", axis.name()), &centre(17.0), (middle, 6))?;
    head.draw_text(&caption(report, axis), &centre(13.0), (middle, 28))?;

    let (low, high) = range(clips, axis);
    let mut chart = ChartBuilder::on(&body)
        .margin_left(LEFT)
        .margin_right(RIGHT)
        .margin_top(TOP)
        .margin_bottom(BOTTOM)
        .x_label_area_size(X_LABELS)
        .y_label_area_size(Y_LABELS)
        .build_cartesian_2d(low..high, low..high)?;
    let ticks = (high - low) as usize + 1;
    chart
        .configure_mesh()
        .x_desc("label")
        .y_desc("prediction")
        .x_labels(ticks)
        .y_labels(ticks)
        .x_label_formatter(&|v| format!("{v:.0}"))
        .y_label_formatter(&|v| format!("{v:.0}"))
        .bold_line_style(INK.mix(0.1))
        .light_line_style(TRANSPARENT)
        .axis_style(INK.mix(0.5))
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .draw()?;
    chart.draw_series([PathElement::new([(low, low), (high, high)], INK.mix(0.45).stroke_width(1))])?;
    chart.draw_series(clips.iter().map(|clip| {
        let place = (clip.truth[axis as usize], clip.prediction[axis as usize]);
        Circle::new(place, CLIP_RADIUS, colour(clip).mix(CLIP_OPACITY).filled())
    }))?;
    for clips in by_system(&clips.iter().collect::<Vec<_>>()).values() {
        let (prediction, truth) = means(clips, axis);
        let place = (truth, prediction);
        chart.draw_series([Circle::new(place, SYSTEM_RADIUS, colour(clips[0]).filled())])?;
        chart.draw_series([Circle::new(place, SYSTEM_RADIUS, WHITE.stroke_width(1))])?;
    }
    Ok(())
}

/// `systems: LCC 0.91, SRCC 0.90    clips: ...`
fn caption(report: &Report, axis: Axis) -> String {
    let of = |level: Level, name: &str| {
        let Metrics { lcc, srcc, .. } = report.agreement.metrics(ALL, axis, level)?;
        Some(format!("{name}: LCC {}, SRCC {}", rounded(lcc), rounded(srcc)))
    };
    let levels = [of(Level::System, "systems"), of(Level::Utterance, "clips")];
    levels.into_iter().flatten().collect::<Vec<_>>().join("  \u{b7}  ")
}

fn rounded(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "undefined".to_string() }
}

/// Whole numbers around all values, the same for both directions.
fn range(clips: &[Scored], axis: Axis) -> (f64, f64) {
    let values = || clips.iter().flat_map(|c| [c.truth[axis as usize], c.prediction[axis as usize]]);
    let low = values().fold(f64::INFINITY, f64::min).floor();
    let high = values().fold(f64::NEG_INFINITY, f64::max).ceil();
    if low < high { (low, high) } else { (low - 1.0, low + 1.0) }
}

/// The domains that occur, with their colours.
fn legend(clips: &[Scored]) -> Vec<(&'static str, RGBColor)> {
    let occurs = |d: Domain| clips.iter().any(|c| c.domain.as_deref() == Some(d.name()));
    Domain::ALL.into_iter().filter(|d| occurs(*d)).map(|d| (d.name(), COLOURS[d as usize])).collect()
}

fn colour(clip: &Scored) -> RGBColor {
    let domain = Domain::ALL.into_iter().find(|d| clip.domain.as_deref() == Some(d.name()));
    domain.map_or(NO_DOMAIN, |d| COLOURS[d as usize])
}

/// For speech, music, sound: the palette of Okabe and Ito, told apart with any colour vision.
const COLOURS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];

const NO_DOMAIN: RGBColor = RGBColor(72, 92, 128);

const INK: RGBColor = RGBColor(40, 44, 52);

const CLIP_RADIUS: i32 = 2;
const CLIP_OPACITY: f64 = 0.22;
const SYSTEM_RADIUS: i32 = 5;

/// The plots are squares of this size; around them, from the outside, are margins, labels, and a panel's head.
const PLOT: u32 = 400;
const X_LABELS: u32 = 42;
const Y_LABELS: u32 = 52;
const LEFT: u32 = 14;
const RIGHT: u32 = 24;
const TOP: u32 = 4;
const BOTTOM: u32 = 18;
const PANEL_HEAD: u32 = 48;
const HEAD: u32 = 68;
const WIDTH: u32 = 2 * (LEFT + Y_LABELS + PLOT + RIGHT);
const HEIGHT: u32 = HEAD + NUM_AXES as u32 / 2 * (PANEL_HEAD + TOP + PLOT + X_LABELS + BOTTOM);

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(n: usize, system: Option<String>, domain: Option<&str>) -> Scored {
        Scored {
            id: n.to_string(),
            system,
            domain: domain.map(str::to_string),
            prediction: [(n % 7) as f64 + 0.5; NUM_AXES],
            truth: [(n % 5 + n % 4) as f64; NUM_AXES],
        }
    }

    #[test]
    fn every_clip_and_system_is_drawn() {
        let clips: Vec<Scored> = (0..20).map(|n| clip(n, Some((n % 4).to_string()), Some("music"))).collect();
        let report = Report::of("a < b & c".to_string(), &clips);
        let svg = svg(&clips, &report).unwrap();
        // Clips and systems (a disc and its rim) in four panels; one domain, a clip, and a system in the legend.
        assert_eq!(svg.matches("<circle").count(), 4 * (20 + 2 * 4) + 1 + 1 + 2);
        assert!(svg.contains("a &lt; b &amp; c") && svg.trim_end().ends_with("</svg>"));
        let m = report.agreement.metrics(ALL, Axis::Cu, Level::System).unwrap();
        assert!(svg.contains(&format!("systems: LCC {:.3}, SRCC {:.3}", m.lcc, m.srcc)));
    }

    #[test]
    fn clips_without_system_and_domain_are_drawn_too() {
        let clips = [clip(3, None, None)];
        let svg = svg(&clips, &Report::of("one".to_string(), &clips)).unwrap();
        assert_eq!(svg.matches("<circle").count(), 4 + 1);
        assert!(svg.contains("clips: LCC undefined") && !svg.contains("systems:"));
    }

    #[test]
    fn ranges_are_whole_and_never_empty() {
        let clips: Vec<Scored> = (0..7).map(|n| clip(n, None, None)).collect();
        assert_eq!(range(&clips, Axis::Pq), (0.0, 7.0));
        let same = Scored { prediction: [4.0; 4], truth: [4.0; 4], ..clips[0].clone() };
        assert_eq!(range(&[same], Axis::Pq), (3.0, 5.0));
    }
}

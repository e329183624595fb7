//! Meters of the four axes and their last minute, drawn on the terminal.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, Stderr, stderr};
use std::sync::Once;
use std::time::Instant;
use std::{panic, thread};

use aesa::score::NUM_AXES;
use aesa::{Axis, ClipScore, FrameScore};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis as ChartAxis, Block, Chart, Dataset, Gauge, GraphType, Paragraph};
use ratatui::{Frame, Terminal};

/// The drawing on the terminal, which is as it was before when this is dropped, or after a panic or [`restore`].
///
/// The terminal stays in its usual mode, so ctrl-C stays a signal.
pub(super) struct Live {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    view: View,
    drawn: Option<Instant>,
}

impl Live {
    /// Takes over the screen that standard error is on.
    ///
    /// # Errors
    /// Where it is none.
    pub(super) fn new(notes: Vec<String>) -> io::Result<Self> {
        restore_on_panic();
        IS_DRAWING.store(true, Ordering::Relaxed);
        let start = || {
            execute!(stderr(), EnterAlternateScreen)?;
            Terminal::new(CrosstermBackend::new(stderr()))
        };
        let terminal = start().inspect_err(|_| restore())?;
        Ok(Self { terminal, view: View::new(notes), drawn: None })
    }

    /// The next frame score.
    pub(super) fn push(&mut self, frame: FrameScore) {
        self.view.push(frame);
    }

    /// Draws, but not more often than an eye sees.
    ///
    /// # Errors
    /// Where the terminal has gone.
    pub(super) fn draw(&mut self, now_s: f64, clip: Option<ClipScore>) -> io::Result<()> {
        (self.view.now_s, self.view.clip) = (now_s, clip);
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            self.terminal.draw(|frame| self.view.draw(frame))?;
            self.drawn = Some(Instant::now());
        }
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, if it is taken.
pub(super) fn restore() {
    if IS_DRAWING.swap(false, Ordering::Relaxed) {
        // A terminal that is gone needs nothing.
        _ = execute!(stderr(), LeaveAlternateScreen, Show);
    }
}

static IS_DRAWING: AtomicBool = AtomicBool::new(false);

/// A panic's message would vanish with the screen that it is written to.
fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // A reader's or an audio thread's panic does not end the drawing.
            if thread::current().name() == Some("main") {
                restore();
            }
            tell(info);
        }));
    });
}

/// What is drawn.
#[derive(Debug)]
struct View {
    notes: Vec<String>,
    /// The latest, as many as the chart is wide.
    frames: VecDeque<FrameScore>,
    now_s: f64,
    clip: Option<ClipScore>,
    num_gaps: u64,
}

impl View {
    fn new(notes: Vec<String>) -> Self {
        Self { notes, frames: VecDeque::with_capacity(MAX_FRAMES), now_s: 0.0, clip: None, num_gaps: 0 }
    }

    fn push(&mut self, frame: FrameScore) {
        if self.frames.len() == MAX_FRAMES {
            self.frames.pop_front();
        }
        self.num_gaps += u64::from(frame.is_lost);
        self.frames.push_back(frame);
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [notes, meters, chart, status] = Layout::vertical([
            Constraint::Length(self.notes.len() as u16),
            Constraint::Length(NUM_AXES as u16),
            Constraint::Min(0),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let lines: Vec<Line<'_>> = self.notes.iter().map(|note| Line::raw(note).dim()).collect();
        frame.render_widget(Paragraph::new(lines), notes);
        self.draw_meters(frame, meters);
        self.draw_chart(frame, chart);
        frame.render_widget(Paragraph::new(self.status()), status);
    }

    fn draw_meters(&self, frame: &mut Frame<'_>, area: Rect) {
        let rows: [Rect; NUM_AXES] = Layout::vertical([Constraint::Length(1); NUM_AXES]).areas(area);
        for ((axis, colour), row) in Axis::ALL.into_iter().zip(COLOURS).zip(rows) {
            let columns = [Constraint::Length(26), Constraint::Min(0), Constraint::Length(12)];
            let [name, meter, mean] = Layout::horizontal(columns).areas(row);
            let text = format!("{axis} {}", axis.name());
            frame.render_widget(Paragraph::new(Span::styled(text, Style::new().fg(colour))), name);
            if let Some(latest) = self.frames.back() {
                let score = latest.scores[axis];
                let gauge = Gauge::default()
                    .ratio(f64::from(score / MAX_SCORE).clamp(0.0, 1.0))
                    .label(format!("{score:.1}"))
                    .gauge_style(Style::new().fg(colour).bg(Color::DarkGray));
                frame.render_widget(gauge, meter);
            }
            let mean_text =
                self.clip.map_or_else(String::new, |clip| format!("  mean {:.2}", clip.scores[axis]));
            frame.render_widget(Paragraph::new(mean_text), mean);
        }
    }

    fn draw_chart(&self, frame: &mut Frame<'_>, area: Rect) {
        let end_s = self.frames.back().map_or(0.0, FrameScore::end_s).max(CHART_S);
        let start_s = end_s - CHART_S;
        let curves = Axis::ALL.map(|axis| {
            let points = self.frames.iter().filter(|f| !f.is_lost);
            points.map(|f| (f.start_s(), f64::from(f.scores[axis]))).collect::<Vec<_>>()
        });
        let datasets = curves.iter().zip(COLOURS).map(|(curve, colour)| {
            let style = Style::new().fg(colour);
            Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(style).data(curve)
        });
        let times = [start_s, start_s + CHART_S / 2.0, end_s].map(|s| Line::from(clock(s)));
        let chart = Chart::new(datasets.collect())
            .block(Block::bordered())
            .x_axis(ChartAxis::default().bounds([start_s, end_s]).labels(times))
            .y_axis(ChartAxis::default().bounds([0.0, f64::from(MAX_SCORE)]).labels(["0", "5", "10"]));
        frame.render_widget(chart, area);
    }

    fn status(&self) -> String {
        let frame = match self.frames.back() {
            Some(frame) => format!("scored to {}", clock(frame.end_s())),
            None => "no window is complete yet".to_string(),
        };
        let gaps = match self.num_gaps {
            0 => String::new(),
            gaps => format!(" · {gaps} frames with lost audio"),
        };
        format!("heard {} · {frame}{gaps} · ctrl-C ends", clock(self.now_s))
    }
}

/// `1:02:03`, or `02:03` in the first hour.
fn clock(seconds: f64) -> String {
    let s = seconds as u64;
    let (hours, minutes, seconds) = (s / 3600, s / 60 % 60, s % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}

const MAX_SCORE: f32 = 10.0;

/// What the chart shows.
const CHART_S: f64 = 60.0;

/// The frames of that time, and a bit.
const MAX_FRAMES: usize = 376;

const REDRAW: Duration = Duration::from_millis(100);

const COLOURS: [Color; NUM_AXES] = [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta];

#[cfg(test)]
mod tests {
    use aesa::Scores;
    use ratatui::backend::TestBackend;

    use super::*;

    fn view(num_frames: u64) -> View {
        let mut view = View::new(vec!["model: tiny 3".to_string(), "labels: proxy".to_string()]);
        for index in 0..num_frames {
            let scores = Scores([2.5, 4.0, 7.5, (index % 10) as f32]);
            view.push(FrameScore { index, scores, has_gap: false, is_lost: index == 3 });
        }
        view.now_s = num_frames as f64 * 0.16 + 1.0;
        view.clip = Some(ClipScore { scores: Scores([2.51, 4.02, 7.53, 4.54]), num_steps: num_frames });
        view
    }

    fn drawn(view: &View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let cells = terminal.backend().buffer().content();
        cells.chunks(width.into()).map(|row| row.iter().map(|cell| cell.symbol()).collect()).collect()
    }

    #[test]
    fn meters_chart_and_status_are_drawn() {
        let rows = drawn(&view(100), 100, 30);
        let text = rows.join("\n");
        for expected in [
            "model: tiny 3",
            "labels: proxy",
            "PQ Production Quality",
            "CU Content Usefulness",
            "7.5",
            "mean 7.53",
            "heard 00:17 · scored to 00:16 · 1 frames with lost audio · ctrl-C ends",
            "01:00",
        ] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
        // A quarter, and three quarters, of a meter of 62 columns.
        let filled = |row: &String| row.chars().filter(|c| *c == '█').count();
        assert!((13..=16).contains(&filled(&rows[2])), "{}", rows[2]);
        assert!((43..=47).contains(&filled(&rows[4])), "{}", rows[4]);
        let is_braille = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
        assert!(text.chars().filter(|c| is_braille(*c)).count() > 50, "no curves in\n{text}");
    }

    #[test]
    fn the_chart_rolls_and_holds_a_minute() {
        let long = view(30_000);
        assert_eq!(long.frames.len(), MAX_FRAMES);
        let text = drawn(&long, 100, 30).join("\n");
        for time in ["1:19:00", "1:19:30", "1:20:00"] {
            assert!(text.contains(time), "{time} is missing in\n{text}");
        }
    }

    #[test]
    fn any_size_can_be_drawn() {
        for num_frames in [0, 1, 500] {
            for (width, height) in [(1, 1), (3, 2), (20, 5), (40, 10), (200, 60)] {
                drawn(&view(num_frames), width, height);
            }
        }
        let empty = View::new(Vec::new());
        assert!(drawn(&empty, 80, 20).join("\n").contains("no window is complete yet"));
    }
}

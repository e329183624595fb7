//! A table for people.

use std::io::Write;

use aesa::{Axis, Scores};
use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};

use super::{Outcome, Provenance};
use crate::inputs::Input;

/// All outcomes, then which model made them.
pub(super) fn write(
    out: &mut dyn Write,
    outcomes: &[Outcome],
    has_frames: bool,
    provenance: &Provenance,
) -> anyhow::Result<()> {
    writeln!(out, "{}", clips(outcomes))?;
    if has_frames {
        for outcome in outcomes {
            if let Ok(clip) = &outcome.result {
                writeln!(out, "\n{}", name(&outcome.input))?;
                let mut table = new_table(["start s", "end s", "PQ", "PC", "CE", "CU"]);
                for frame in &clip.frames {
                    let times = [frame.start_s(), frame.end_s()].map(|s| right(format!("{s:.2}")));
                    table.add_row(times.into_iter().chain(score_cells(&frame.scores)));
                }
                writeln!(out, "{table}")?;
            }
        }
    }
    writeln!(out, "{}", provenance.line())?;
    if let Some(note) = provenance.note() {
        writeln!(out, "{note}")?;
    }
    Ok(())
}

fn clips(outcomes: &[Outcome]) -> Table {
    let mut table = new_table(["clip", "seconds", "PQ", "PC", "CE", "CU"]);
    for outcome in outcomes {
        let name = Cell::new(name(&outcome.input));
        match &outcome.result {
            Ok(clip) => {
                let row = [name, right(format!("{:.2}", clip.duration_s))];
                table.add_row(row.into_iter().chain(score_cells(&clip.score.scores)));
            }
            Err(_) => {
                let dash = || right("-".to_string());
                table.add_row([name, right("failed".to_string()), dash(), dash(), dash(), dash()]);
            }
        }
    }
    table
}

fn new_table(header: [&str; 6]) -> Table {
    let mut table = Table::new();
    let line = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(line).bottom_border(line));
    let cells = header.iter().map(|name| match *name {
        "clip" => Cell::new(name),
        name => right(name.to_string()),
    });
    table.set_header(cells);
    table
}

fn score_cells(scores: &Scores) -> impl Iterator<Item = Cell> {
    Axis::ALL.map(|axis| right(format!("{:.2}", scores[axis]))).into_iter()
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// The clip's name, with the part of the file that it is.
fn name(input: &Input) -> String {
    match (input.start_s, input.end_s) {
        (None, None) => input.name.clone(),
        (start, Some(end)) => format!("{} [{} to {end} s]", input.name, start.unwrap_or(0.0)),
        (Some(start), None) => format!("{} [from {start} s]", input.name),
    }
}

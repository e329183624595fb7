//! One step of an LSTM.

use crate::math::{sigmoid, tanh};

/// Moves a cell on: `gates` `[4, cells]` before their nonlinearities, in PyTorch's order (input, forget, cell, output);
/// `cell` and `hidden` `[cells]` are the state.
///
/// ```text
/// cell = sigmoid(f) cell + sigmoid(i) tanh(g);  hidden = sigmoid(o) tanh(cell)
/// ```
///
/// # Panics
/// If the lengths do not fit together.
#[inline(always)]
pub fn lstm_cell(gates: &[f32], cell: &mut [f32], hidden: &mut [f32]) {
    let n = cell.len();
    assert!(gates.len() == 4 * n && hidden.len() == n);
    let (input, rest) = gates.split_at(n);
    let (forget, rest) = rest.split_at(n);
    let (candidate, output) = rest.split_at(n);
    for i in 0..n {
        cell[i] = sigmoid(forget[i]) * cell[i] + sigmoid(input[i]) * tanh(candidate[i]);
        hidden[i] = sigmoid(output[i]) * tanh(cell[i]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_do_what_their_names_say() {
        let (closed, open) = (-50.0, 50.0);
        for (name, gates, cell, expected) in [
            ("remembers", [closed, open, 1.0, open], 0.5, 0.5),
            ("forgets", [closed, closed, 1.0, open], 0.5, 0.0),
            ("takes in", [open, closed, 0.3, open], 0.5, 0.3_f32.tanh()),
        ] {
            let (mut cell, mut hidden) = ([cell], [f32::NAN]);
            lstm_cell(&gates, &mut cell, &mut hidden);
            assert!(
                (cell[0] - expected).abs() < 1e-6 && (hidden[0] - expected.tanh()).abs() < 1e-6,
                "{name}"
            );
        }
        let (mut cell, mut hidden) = ([0.7, 0.1], [f32::NAN; 2]);
        lstm_cell(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, closed, closed], &mut cell, &mut hidden);
        assert_eq!(cell, [0.35, 0.05]);
        assert!(hidden.iter().all(|h| h.abs() < 1e-6));
    }
}

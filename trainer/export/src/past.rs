//! What a graph that scores one chunk takes from the chunks before it, and gives on to the next.
//!
//! Each state is an input `past.NAME` and an output `present.NAME` of the same shape: a runtime feeds the one to the other.
//! A clip begins with zeros everywhere. Source: docs/SPEC.md, "Windows and streams".

use crate::graph::{Dim, Graph, Value, int};

/// The states of a graph under construction; none in a graph that scores whole windows.
pub(crate) struct Past {
    /// How many tokens before the chunk are kept as keys and values; `None` in a graph for whole windows.
    kept_tokens: Option<usize>,
    /// What is added to a score: 0 where there is a key, very little where the clip has not yet begun. `[past + tokens]`
    mask: Option<Value>,
    states: Vec<State>,
}

struct State {
    name: String,
    shape: Vec<usize>,
    present: Value,
}

impl Past {
    /// For a graph that scores whole windows.
    pub(crate) fn none() -> Self {
        Self { kept_tokens: None, mask: None, states: Vec::new() }
    }

    /// For a graph that scores chunks of `tokens` `[tokens, _]` and keeps the keys of so many tokens before.
    pub(crate) fn kept(g: &mut Graph, kept_tokens: usize, tokens: &Value) -> Self {
        let mut past = Self { kept_tokens: Some(kept_tokens), mask: None, states: Vec::new() };
        if kept_tokens > 0 {
            past.mask = Some(past.count_tokens(g, kept_tokens, tokens));
        }
        past
    }

    /// The state that counts the tokens there have been, up to those kept, and the mask that follows from it.
    fn count_tokens(&mut self, g: &mut Graph, kept: usize, tokens: &Value) -> Value {
        let (zero, most, weight) = (g.scalar(0.0), g.scalar(kept as f32), g.scalar(MASKED));
        let before = g.input("past.tokens", &[Dim::Fixed(1)]);
        let index = g.token_index("past.mask.index", tokens, -(kept as i64)); // [past + tokens]
        let index = g.cast_f32("past.mask.index_f32", &index);
        let since_start = g.add("past.mask.since_start", &index, &before);
        let missing = g.node("past.mask.missing", "Min", &[&since_start, &zero], vec![]);
        let mask = g.mul("past.mask", &missing, &weight);
        let count = g.count("past.count", tokens);
        let count = g.cast_f32("past.count_f32", &count);
        let sum = g.add("past.sum", &before, &count);
        let present = g.node("past.kept", "Min", &[&sum, &most], vec![]);
        self.states.push(State { name: "tokens".to_string(), shape: vec![1], present });
        mask
    }

    /// How far before the first token the keys begin.
    pub(crate) fn kept_tokens(&self) -> usize {
        self.kept_tokens.unwrap_or(0)
    }

    /// Whether the graph scores chunks.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept_tokens.is_some()
    }

    /// `x` with the `len` entries before it along `axis`, as they are in `past.NAME`; the last `len` of all are carried on.
    /// `shape` is the state's.
    pub(crate) fn before(
        &mut self,
        g: &mut Graph,
        name: &str,
        x: &Value,
        axis: usize,
        shape: &[usize],
    ) -> Value {
        let len = shape[axis];
        if !self.is_kept() || len == 0 {
            return x.clone();
        }
        let past = self.input(g, name, shape);
        let all = g.node(&format!("{name}.with_past"), "Concat", &[&past, x], vec![int("axis", axis as i64)]);
        let last = g.slice(&format!("{name}.last"), &all, axis, -(len as i64), i64::MAX);
        self.carry(name, shape, last);
        all
    }

    /// As [`before`](Self::before), of keys or values: as many as the policy keeps.
    pub(crate) fn tokens_before(
        &mut self,
        g: &mut Graph,
        name: &str,
        x: &Value,
        axis: usize,
        shape: [usize; 3],
    ) -> Value {
        let mut shape = shape;
        shape[axis] = self.kept_tokens();
        self.before(g, name, x, axis, &shape)
    }

    /// Attention scores `[heads, tokens, past + tokens]` without those of keys that are not there.
    pub(crate) fn masked(&self, g: &mut Graph, name: &str, scores: Value) -> Value {
        match &self.mask {
            Some(mask) => g.add(&format!("{name}.masked"), &scores, mask),
            None => scores,
        }
    }

    /// The input of a state that the caller carries on with [`carry`](Self::carry).
    pub(crate) fn input(&mut self, g: &mut Graph, name: &str, shape: &[usize]) -> Value {
        let dims: Vec<Dim> = shape.iter().map(|n| Dim::Fixed(*n)).collect();
        g.input(&format!("past.{name}"), &dims)
    }

    /// What the next chunk finds under `past.NAME`.
    pub(crate) fn carry(&mut self, name: &str, shape: &[usize], present: Value) {
        self.states.push(State { name: name.to_string(), shape: shape.to_vec(), present });
    }

    /// Makes every state an output.
    pub(crate) fn finish(self, g: &mut Graph) {
        for State { name, shape, present } in self.states {
            let dims: Vec<Dim> = shape.iter().map(|n| Dim::Fixed(*n)).collect();
            g.output(&format!("present.{name}"), &present, &dims);
        }
    }
}

/// What a score loses per token that its key lies before the clip's start: its weight becomes 0.
const MASKED: f32 = 1e4;

//! AESA-Net: the encoder and the head that scores its hidden states.
//!
//! Source: the AESA-Net paper (AudioMOS 2025, track 2), section II; sizes it leaves open are from HAAQI-Net.
//! Letters in shapes: B clips, F fbank frames, T tokens, D the encoder's width, A axes (PQ, PC, CE, CU), S
//! `shared_dim`, H heads.

use aesa::score::{Axis, NUM_AXES};
use aesa_export::{EncoderConfig, HeadConfig, ModelConfig};
use tch::nn::{Init, Path, VarStore};
use tch::{Device, Kind, Tensor};

use crate::attention::Reach;
use crate::beats::Beats;
use crate::chunking::Chunking;
use crate::dropout::Dropout;
use crate::layers::{LayerNorm, Linear, uniform, xavier_normal};
use crate::padding::{self, Padding};
use crate::precision::{full, operand};

/// Encoder and head with their parameters, named `beats.*` and `head.*`.
#[derive(Debug)]
pub struct AesaNet {
    /// All parameters.
    pub store: VarStore,
    /// The encoder.
    pub beats: Beats,
    /// The head.
    pub head: Head,
}

/// What the names of the encoder's parameters begin with.
pub const ENCODER_PREFIX: &str = "beats.";

/// What the names of the head's parameters begin with that say how much each of the encoder's layers counts.
pub const LAYER_PREFIXES: [&str; 2] = ["head.layer_weights", "head.layer_norms."];

impl AesaNet {
    /// A network on the CPU with fresh weights; the seed of `tch::manual_seed` decides them.
    pub fn new(config: &ModelConfig) -> Self {
        Self::on(Device::Cpu, config)
    }

    /// A network on a device, with fresh weights.
    pub fn on(device: Device, config: &ModelConfig) -> Self {
        let store = VarStore::new(device);
        let beats = Beats::new(&(store.root() / "beats"), &config.encoder, None);
        let head = Head::new(&(store.root() / "head"), &config.head, &config.encoder);
        Self { store, beats, head }
    }

    /// Where the parameters are, and where inputs must be.
    pub fn device(&self) -> Device {
        self.store.device()
    }

    /// Scores normalised fbank features `[B, F, 128]`; `padding` says which of their tokens are none, `chunking` what each
    /// may hear (all without it).
    pub fn forward(
        &self,
        features: &Tensor,
        padding: Option<Padding>,
        chunking: Option<Chunking>,
        dropout: Dropout<'_>,
    ) -> Prediction {
        let encoded = self.beats.forward(features, padding.as_ref(), chunking, dropout);
        self.head.forward(&encoded.hidden[1..], padding, chunking, dropout)
    }
}

/// What the head says of a batch of windows.
#[derive(Debug)]
pub struct Prediction {
    /// Score of every token, 0 to 1: `[B, T, A]`.
    pub token_scores: Tensor,
    /// The shared layer's output averaged over tokens, which the triplet loss compares: `[B, S]`.
    pub embedding: Tensor,
    /// Which tokens are none; their scores mean nothing.
    pub padding: Option<Padding>,
}

impl Prediction {
    /// Mean of the token scores, 0 to 1: `[B, A]`.
    pub fn clip_scores(&self) -> Tensor {
        padding::mean(&self.token_scores, self.padding.as_ref())
    }
}

/// The AESA-Net head.
#[derive(Debug)]
pub struct Head {
    layer_norms: Vec<LayerNorm>,
    layer_weights: Tensor,
    adapter: Linear,
    blstm: Blstm,
    shared: Linear,
    branches: Vec<Branch>,
    attention_heads: i64,
    dropout: f64,
}

impl Head {
    /// A head with fresh weights under `path`, for an encoder of the given sizes.
    pub fn new(path: &Path, config: &HeadConfig, encoder: &EncoderConfig) -> Self {
        let (dim, layers) = (encoder.encoder_embed_dim, encoder.encoder_layers);
        let branch = |axis: &Axis| Branch::new(&(path / "branches" / axis.short_name()), config.shared_dim);
        Self {
            layer_norms: (0..layers)
                .filter(|_| config.layer_norm)
                .map(|n| LayerNorm::new(&(path / "layer_norms" / n), dim))
                .collect(),
            layer_weights: path.zeros("layer_weights", &[layers]),
            adapter: Linear::with_default_init(&(path / "adapter"), dim, config.adapter_dim),
            blstm: Blstm::new(&(path / "blstm"), config),
            shared: Linear::with_default_init(&(path / "shared"), 2 * config.lstm_dim, config.shared_dim),
            branches: Axis::ALL.iter().map(branch).collect(),
            attention_heads: config.attention_heads,
            dropout: config.dropout,
        }
    }

    /// Scores the outputs of the encoder's blocks, `[B, T, D]` each.
    pub fn forward(
        &self,
        hidden: &[Tensor],
        padding: Option<Padding>,
        chunking: Option<Chunking>,
        dropout: Dropout<'_>,
    ) -> Prediction {
        let x = self.weighted_sum(hidden); // (B, T, D)
        let x = self.adapter.forward(&x); // (B, T, adapter_dim)
        let x = self.blstm.forward(&full(&x), padding.as_ref(), chunking, dropout.is_on()); // (B, T, 2 * lstm_dim)
        let shared = self.shared.forward(&x); // (B, T, S)
        let embedding = padding::mean(&shared, padding.as_ref()); // (B, S)
        let x = dropout.apply(&shared.relu(), self.dropout); // (B, T, S)
        let token_scores = self.score(&x, padding.as_ref(), chunking); // (B, T, A)
        Prediction { token_scores, embedding, padding }
    }

    /// Sets the branches' biases so that an untrained head says about `mean` (0 to 1, per axis).
    pub fn centre_scores(&mut self, mean: [f64; NUM_AXES]) {
        for (branch, mean) in self.branches.iter_mut().zip(mean) {
            let mean = mean.clamp(0.01, 0.99);
            _ = tch::no_grad(|| branch.score.bias.fill_((mean / (1.0 - mean)).ln()));
        }
    }

    /// Softmax-weighted sum of the normalised layers, `[B, T, D]`.
    fn weighted_sum(&self, hidden: &[Tensor]) -> Tensor {
        let weights = self.layer_weights.softmax(0, Kind::Float).unbind(0);
        let layers = hidden.iter().enumerate().map(|(n, x)| match self.layer_norms.get(n) {
            Some(norm) => norm.forward(x),
            None => x.shallow_clone(),
        });
        layers.zip(&weights).map(|(x, w)| x * w).reduce(|a, b| a + b).expect("an encoder has blocks")
    }

    /// The four branches at once: self-attention, linear, sigmoid. `[B, T, S]` to `[B, T, A]`.
    ///
    /// The branches' matrices are stacked, since four times the heads in one call is faster than four calls.
    fn score(&self, x: &Tensor, padding: Option<&Padding>, chunking: Option<Chunking>) -> Tensor {
        let (heads, axes) = (self.attention_heads, NUM_AXES as i64);
        let stack = |pick: fn(&Branch) -> &Tensor| {
            let parts: Vec<&Tensor> = self.branches.iter().map(pick).collect();
            Tensor::stack(&parts, 0)
        };
        let weight = stack(|b| &b.in_proj_weight).flatten(0, 1); // (A*3S, S)
        let bias = stack(|b| &b.in_proj_bias).flatten(0, 1); // (A*3S)
        let qkv = operand(x).linear(&operand(&weight), Some(&operand(&bias))); // (B, T, A*3S)
        let qkv = qkv.unflatten(2, [axes, 3, heads, -1]).permute([3, 0, 2, 4, 1, 5]); // (3, B, A, H, T, S/H)
        let qkv = qkv.flatten(2, 3).unbind(0); // 3 of (B, A*H, T, S/H)
        let reach = Reach::new(padding, chunking, x.size()[1], x.device());
        let y = reach.attend(&qkv[0], &qkv[1], &qkv[2], None); // (B, A*H, T, S/H)
        let y = y.unflatten(1, [axes, heads]).permute([1, 0, 3, 2, 4]).flatten(3, 4); // (A, B, T, S)
        let (batch, tokens) = (y.size()[1], y.size()[2]);
        let out_weight = stack(|b| &b.out_proj.weight).transpose(1, 2); // (A, S, S)
        let out_bias = stack(|b| &b.out_proj.bias).unsqueeze(1); // (A, 1, S)
        let y = operand(&out_bias).baddbmm(&y.flatten(1, 2), &operand(&out_weight), 1.0, 1.0); // (A, B*T, S)
        let score_weight = stack(|b| &b.score.weight).transpose(1, 2); // (A, S, 1)
        let score_bias = stack(|b| &b.score.bias).unsqueeze(1); // (A, 1, 1)
        let logits = score_bias.baddbmm(&full(&y), &score_weight, 1.0, 1.0); // (A, B*T, 1)
        logits.view([axes, batch, tokens]).permute([1, 2, 0]).sigmoid() // (B, T, A)
    }
}

/// One axis: `torch.nn.MultiheadAttention` and a linear layer to one score.
#[derive(Debug)]
struct Branch {
    in_proj_weight: Tensor,
    in_proj_bias: Tensor,
    out_proj: Linear,
    score: Linear,
}

impl Branch {
    fn new(path: &Path, dim: i64) -> Self {
        let attention = path / "attention";
        let xavier_bound = (6.0 / (4 * dim) as f64).sqrt();
        let in_init = Init::Uniform { lo: -xavier_bound, up: xavier_bound };
        Self {
            in_proj_weight: attention.var("in_proj_weight", &[3 * dim, dim], in_init),
            in_proj_bias: attention.zeros("in_proj_bias", &[3 * dim]),
            out_proj: Linear::new(&(&attention / "out_proj"), dim, dim, uniform(dim)),
            score: Linear::new(&(path / "score"), dim, 1, xavier_normal(dim, 1, 0.5)),
        }
    }
}

/// Bidirectional LSTM, PyTorch's parameters and initialisation (tch's own differs).
#[derive(Debug)]
struct Blstm {
    /// Per layer and direction: `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`.
    parameters: Vec<Tensor>,
    layers: i64,
    dim: i64,
}

impl Blstm {
    fn new(path: &Path, config: &HeadConfig) -> Self {
        let (dim, layers) = (config.lstm_dim, config.lstm_layers);
        let init = uniform(dim);
        let mut parameters = Vec::new();
        for layer in 0..layers {
            let dim_in = if layer == 0 { config.adapter_dim } else { 2 * dim };
            for direction in ["", "_reverse"] {
                let mut add = |name: &str, shape: &[i64]| {
                    parameters.push(path.var(&format!("{name}_l{layer}{direction}"), shape, init));
                };
                add("weight_ih", &[4 * dim, dim_in]);
                add("weight_hh", &[4 * dim, dim]);
                add("bias_ih", &[4 * dim]);
                add("bias_hh", &[4 * dim]);
            }
        }
        Self { parameters, layers, dim }
    }

    /// `[B, T, in]` to `[B, T, 2 * dim]`, states zero at both ends; with chunks the backward state is zero at each
    /// chunk's end, too. There is no dropout between layers.
    ///
    /// Time goes first, since oneDNN's LSTM spends twice as long on clips first.
    fn forward(
        &self,
        x: &Tensor,
        padding: Option<&Padding>,
        chunking: Option<Chunking>,
        train: bool,
    ) -> Tensor {
        if let Some(chunking) = chunking.and_then(|c| c.cutting(x.size()[1])) {
            return self.forward_chunked(x, padding, chunking, train);
        }
        let state = Tensor::zeros([2 * self.layers, x.size()[0], self.dim], (Kind::Float, x.device()));
        let parameters: Vec<&Tensor> = self.parameters.iter().collect();
        if let Some(padding) = padding {
            return padding.packed(x, |data, sizes| {
                let states = [&state, &state];
                Tensor::lstm_data(data, sizes, &states, &parameters, true, self.layers, 0.0, train, true).0
            });
        }
        let x = x.transpose(0, 1).contiguous(); // (T, B, in)
        let y = x.lstm(&[&state, &state], &parameters, true, self.layers, 0.0, train, true, false).0;
        y.transpose(0, 1) // (T, B, 2*dim) to (B, T, 2*dim)
    }

    /// The same, layer by layer: ahead through the whole clip, back through each chunk.
    fn forward_chunked(
        &self,
        x: &Tensor,
        padding: Option<&Padding>,
        chunking: Chunking,
        train: bool,
    ) -> Tensor {
        let mut x = x.shallow_clone();
        for layer in self.parameters.chunks(2 * PARAMETERS) {
            let (ahead, back) = layer.split_at(PARAMETERS);
            // What stands behind a clip's end cannot reach the clip.
            let ahead = self.scan(&x, ahead, train); // (B, T, dim)
            let back = chunking.backwards(&x, padding, |chunks| self.scan(chunks, back, train)); // (B, T, dim)
            x = Tensor::cat(&[ahead, back], 2);
        }
        x
    }

    /// One direction of one layer, from a zero state: `[B, T, in]` to `[B, T, dim]`.
    fn scan(&self, x: &Tensor, parameters: &[Tensor], train: bool) -> Tensor {
        let state = Tensor::zeros([1, x.size()[0], self.dim], (Kind::Float, x.device()));
        let x = x.transpose(0, 1).contiguous(); // (T, B, in)
        let parameters: Vec<&Tensor> = parameters.iter().collect();
        let y = x.lstm(&[&state, &state], &parameters, true, 1, 0.0, train, false, false).0;
        y.transpose(0, 1) // (T, B, dim) to (B, T, dim)
    }
}

/// Parameters of one direction of one layer of the BLSTM.
const PARAMETERS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacked_branches_equal_single_ones() {
        tch::manual_seed(3);
        let net = AesaNet::new(&ModelConfig::tiny());
        let x = Tensor::randn([2, 11, 16], (Kind::Float, Device::Cpu));
        let stacked = net.head.score(&x, None, None);
        for (axis, branch) in net.head.branches.iter().enumerate() {
            let qkv = x.linear(&branch.in_proj_weight, Some(&branch.in_proj_bias)).chunk(3, 2);
            let heads = |y: &Tensor| y.unflatten(2, [4, 4]).transpose(1, 2);
            let weights = heads(&qkv[0]).matmul(&heads(&qkv[1]).transpose(2, 3)) / 2.0;
            let y = weights.softmax(-1, Kind::Float).matmul(&heads(&qkv[2])).transpose(1, 2).flatten(2, 3);
            let expected = branch.score.forward(&branch.out_proj.forward(&y)).sigmoid().squeeze_dim(2);
            let difference = (stacked.select(2, axis as i64) - expected).abs().max().double_value(&[]);
            assert!(difference < 1e-6, "{axis}: {difference}");
        }
    }

    #[test]
    fn an_untrained_head_says_the_mean() {
        let mut net = AesaNet::new(&ModelConfig::tiny());
        net.head.centre_scores([0.7, 0.3, 0.5, 0.5]);
        let features = Tensor::randn([3, 80, 128], (Kind::Float, Device::Cpu));
        let scores = net.forward(&features, None, None, Dropout::Off).clip_scores();
        assert_eq!(scores.size(), [3, 4]);
        assert!((scores.double_value(&[0, 0]) - 0.7).abs() < 0.15);
        assert!((scores.double_value(&[0, 1]) - 0.3).abs() < 0.15);
    }

    #[test]
    fn a_clip_scores_the_same_alone_and_in_a_batch() {
        let net = AesaNet::new(&ModelConfig::tiny());
        let features = Tensor::randn([3, 80, 128], (Kind::Float, Device::Cpu));
        let together = net.forward(&features, None, None, Dropout::Off).token_scores;
        let alone = net.forward(&features.narrow(0, 1, 1), None, None, Dropout::Off).token_scores;
        assert!((together.narrow(0, 1, 1) - alone).abs().max().double_value(&[]) < 1e-5);
    }

    /// The largest difference between clips of a batch and the same clips alone, over their own tokens.
    fn difference(batch: &Tensor, alone: &[Tensor]) -> f64 {
        let of = |(n, alone): (usize, &Tensor)| {
            let own = batch.get(n as i64).narrow(0, 0, alone.size()[1]);
            (own - alone.get(0)).abs().max().double_value(&[])
        };
        alone.iter().enumerate().map(of).fold(0.0, f64::max)
    }

    #[test]
    fn no_stage_hears_the_padding_of_a_batch() {
        check_padding(None);
    }

    #[test]
    fn no_stage_hears_the_padding_of_a_batch_in_chunks() {
        // The last has clips that end chunks before the batch does: padding that attends to padding alone.
        for (steps, left_steps) in [(2, 3), (3, 3), (5, 0), (1, 0)] {
            check_padding(Some(Chunking { steps, left_steps }));
        }
    }

    fn check_padding(chunking: Option<Chunking>) {
        tch::manual_seed(1);
        let net = AesaNet::new(&ModelConfig::tiny());
        let steps = [3_i64, 7, 1, 5];
        let clips: Vec<Tensor> =
            steps.iter().map(|n| Tensor::randn([1, 16 * n, 128], (Kind::Float, Device::Cpu))).collect();
        let longest = 16 * 7;
        let pad = |clip: &Tensor| clip.pad([0, 0, 0, longest - clip.size()[1]], "constant", f64::NAN);
        let batch = Tensor::cat(&clips.iter().map(pad).collect::<Vec<_>>(), 0);
        let padding = || Padding::of(&steps.map(|n| 8 * n), Device::Cpu);

        // Positional convolution and attention, block by block.
        let together = net.beats.forward(&batch, padding().as_ref(), chunking, Dropout::Off).hidden;
        let alone: Vec<Vec<Tensor>> =
            clips.iter().map(|c| net.beats.forward(c, None, chunking, Dropout::Off).hidden).collect();
        for (layer, together) in together.iter().enumerate() {
            let alone: Vec<Tensor> = alone.iter().map(|hidden| hidden[layer].shallow_clone()).collect();
            assert!(difference(together, &alone) < 1e-5, "hidden state {layer}");
        }
        // The BLSTM and the branches' attention.
        let x = Tensor::randn([4, 56, 16], (Kind::Float, Device::Cpu));
        let part = |n: usize| x.narrow(0, n as i64, 1).narrow(1, 0, 8 * steps[n]);
        let padded = x.copy();
        for (n, steps) in steps.into_iter().enumerate() {
            _ = padded.narrow(0, n as i64, 1).narrow(1, 8 * steps, 56 - 8 * steps).fill_(f64::NAN);
        }
        let y = net.head.blstm.forward(&padded, padding().as_ref(), chunking, false);
        let alone: Vec<Tensor> =
            (0..4).map(|n| net.head.blstm.forward(&part(n), None, chunking, false)).collect();
        assert!(difference(&y, &alone) < 1e-5, "BLSTM");
        // Other numbers, but numbers: minus infinity is added to the logits of padded keys, and 0 times a padded value is
        // summed up, so that NaN would stay. What comes here is finite, since the encoder zeroes its padding first of all.
        let y = net.head.score(&x, padding().as_ref(), chunking);
        let alone: Vec<Tensor> = (0..4).map(|n| net.head.score(&part(n), None, chunking)).collect();
        assert!(difference(&y, &alone) < 1e-5, "branches");
        // All of it, with the means.
        let y = net.forward(&batch, padding(), chunking, Dropout::Off);
        for (n, clip) in clips.iter().enumerate() {
            let alone = net.forward(clip, None, chunking, Dropout::Off);
            let close =
                |a: &Tensor, b: &Tensor| (a.get(n as i64) - b.get(0)).abs().max().double_value(&[]) < 1e-5;
            assert!(
                close(&y.clip_scores(), &alone.clip_scores()) && close(&y.embedding, &alone.embedding),
                "clip {n}"
            );
        }
    }

    #[test]
    fn gradients_equal_differences() {
        let mut config = ModelConfig::tiny();
        config.head.dropout = 0.0;
        let net = AesaNet::new(&config);
        // No random numbers: other tests draw from the same generator at the same time.
        let wave = |like: &Tensor, phase: f64| {
            let n = Tensor::arange(like.numel() as i64, (Kind::Float, Device::Cpu));
            (n * 0.7 + phase).sin().view_as(like)
        };
        let mut parameters: Vec<_> = net.store.variables().into_iter().collect();
        parameters.sort_by(|a, b| a.0.cmp(&b.0));
        for (n, (_, parameter)) in parameters.iter_mut().enumerate() {
            let values = wave(parameter, n as f64) * 0.3;
            tch::no_grad(|| parameter.copy_(&values));
        }
        let empty = Tensor::zeros([3, 16, 24], (Kind::Float, Device::Cpu));
        let hidden = [wave(&empty, 0.0), wave(&empty, 1.0)];
        let loss =
            || net.head.forward(&hidden, None, None, Dropout::PerClip).token_scores.square().sum(Kind::Float);
        loss().backward();
        for name in [
            "adapter.weight",
            "blstm.weight_hh_l0_reverse",
            "blstm.weight_ih_l1",
            "branches.PC.attention.in_proj_weight",
        ] {
            let mut w = net.store.variables()[&format!("head.{name}")].shallow_clone();
            // The way on which the gradient says most.
            let direction = w.grad().sign();
            let expected = (w.grad() * &direction).sum(Kind::Float).double_value(&[]);
            let at = |step: f64, w: &mut Tensor| {
                tch::no_grad(|| {
                    *w += &direction * step;
                    let value = loss().double_value(&[]);
                    *w -= &direction * step;
                    value
                })
            };
            let difference = (at(1e-2, &mut w) - at(-1e-2, &mut w)) / 2e-2;
            // A sum of 37 in f32 is off by some 4e-6, the difference of two by 2e-4 after the division; its curve by less.
            assert!(
                (difference - expected).abs() < 2e-3 + 0.02 * expected.abs(),
                "{name}: {difference} {expected}"
            );
        }
    }

    #[test]
    fn parameters_have_their_published_names() {
        let names = AesaNet::new(&ModelConfig::tiny()).store.variables();
        for name in [
            "beats.patch_embedding.weight",
            "beats.encoder.pos_conv.0.weight_g",
            "beats.encoder.layers.1.self_attn.grep_a",
            "head.layer_norms.1.weight",
            "head.blstm.weight_hh_l1_reverse",
            "head.branches.CU.attention.in_proj_weight",
            "head.branches.PQ.score.bias",
        ] {
            assert!(names.contains_key(name), "{name}");
        }
    }
}

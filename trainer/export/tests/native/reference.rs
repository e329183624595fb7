//! The network in f64, as docs/SPEC.md says it: the whole clip at once, an explicit mask, no state, nothing combined.

use aesa_export::{ModelConfig, Tensors};

type Rows = Vec<Vec<f64>>;

/// Who sees whom: chunks of `chunk_tokens`, each token its own chunk and `left_chunks` before.
#[derive(Clone, Copy)]
pub(crate) struct Mask {
    pub(crate) chunk_tokens: usize,
    pub(crate) left_chunks: usize,
}

impl Mask {
    fn sees(&self, query: usize, key: usize) -> bool {
        let (query, key) = (query / self.chunk_tokens, key / self.chunk_tokens);
        key <= query && key + self.left_chunks >= query
    }

    fn is_chunk_end(&self, token: usize) -> bool {
        (token + 1).is_multiple_of(self.chunk_tokens)
    }
}

/// Frame scores of features `[16 * steps, 128]`.
pub(crate) fn frame_scores(config: &ModelConfig, t: &Tensors, features: &[f32], mask: Mask) -> Vec<[f64; 4]> {
    let net = Net { config, t, mask };
    let x = net.patches(features);
    let mut x = net.positioned(&x);
    let mut sum: Rows = x.iter().map(|row| vec![0.0; row.len()]).collect();
    let weights: Vec<f64> = net.vector("head.layer_weights").iter().map(|w| w.exp()).collect();
    for layer in 0..config.encoder.encoder_layers {
        x = net.block(layer, &x);
        let share = weights[layer as usize] / weights.iter().sum::<f64>();
        let normed = if config.head.layer_norm {
            net.norm(&format!("head.layer_norms.{layer}"), &x)
        } else {
            x.clone()
        };
        sum.iter_mut().zip(normed).for_each(|(s, x)| s.iter_mut().zip(x).for_each(|(s, x)| *s += share * x));
    }
    let mut y = net.linear("head.adapter", &sum);
    for layer in 0..config.head.lstm_layers {
        y = net.blstm(layer, &y);
    }
    let mut y = net.linear("head.shared", &y);
    y.iter_mut().flatten().for_each(|v| *v = v.max(0.0));
    let tokens: Vec<Vec<f64>> = ["PQ", "PC", "CE", "CU"].iter().map(|axis| net.branch(axis, &y)).collect();
    let mean = |axis: usize, step: usize| tokens[axis][step * 8..][..8].iter().sum::<f64>() / 8.0 * 10.0;
    (0..y.len() / 8).map(|step| core::array::from_fn(|axis| mean(axis, step))).collect()
}

struct Net<'a> {
    config: &'a ModelConfig,
    t: &'a Tensors,
    mask: Mask,
}

impl Net<'_> {
    fn vector(&self, name: &str) -> Vec<f64> {
        self.t.0[name].data.iter().map(|v| f64::from(*v)).collect()
    }

    fn patches(&self, features: &[f32]) -> Rows {
        let e = &self.config.encoder;
        let weight = self.vector("beats.patch_embedding.weight");
        let token = |i: usize| {
            let (step, band) = (i / 8, i % 8);
            let pixel = |k: usize| f64::from(features[(step * 16 + k / 16) * 128 + band * 16 + k % 16]);
            let channel = |c: usize| (0..256).map(|k| weight[c * 256 + k] * pixel(k)).sum();
            (0..e.embed_dim as usize).map(channel).collect()
        };
        let x = self.norm("beats.layer_norm", &(0..features.len() / 256).map(token).collect());
        if e.embed_dim == e.encoder_embed_dim { x } else { self.linear("beats.post_extract_proj", &x) }
    }

    fn positioned(&self, x: &Rows) -> Rows {
        let e = &self.config.encoder;
        let (taps, group) = (e.conv_pos as usize, (e.encoder_embed_dim / e.conv_pos_groups) as usize);
        let (v, g) = (
            self.vector("beats.encoder.pos_conv.0.weight_v"),
            self.vector("beats.encoder.pos_conv.0.weight_g"),
        );
        let bias = self.vector("beats.encoder.pos_conv.0.bias");
        let norms: Vec<f64> = (0..taps)
            .map(|tap| v.iter().skip(tap).step_by(taps).map(|v| v * v).sum::<f64>().sqrt())
            .collect();
        let value = |t: usize, out: usize| {
            let chunk_end = (t / self.mask.chunk_tokens + 1) * self.mask.chunk_tokens;
            let mut sum = bias[out];
            for tap in 0..taps {
                let source = (t + tap).checked_sub(taps / 2).filter(|s| *s < chunk_end.min(x.len()));
                let Some(source) = source else { continue };
                for c in 0..group {
                    let weight = v[(out * group + c) * taps + tap] * g[tap] / norms[tap];
                    sum += weight * x[source][out / group * group + c];
                }
            }
            x[t][out] + gelu(sum)
        };
        let y: Rows = (0..x.len()).map(|t| (0..x[t].len()).map(|out| value(t, out)).collect()).collect();
        if e.layer_norm_first { y } else { self.norm("beats.encoder.layer_norm", &y) }
    }

    fn block(&self, layer: i64, x: &Rows) -> Rows {
        let e = &self.config.encoder;
        let name = |part: &str| format!("beats.encoder.layers.{layer}.{part}");
        let feed = |x: &Rows| {
            let mut inner = self.linear(&name("fc1"), x);
            inner.iter_mut().flatten().for_each(|v| *v = gelu(*v));
            self.linear(&name("fc2"), &inner)
        };
        if e.layer_norm_first {
            let x = add(
                x,
                1.0,
                &self.attention(&name("self_attn"), &self.norm(&name("self_attn_layer_norm"), x)),
            );
            return add(&x, 1.0, &feed(&self.norm(&name("final_layer_norm"), &x)));
        }
        let alpha = if e.deep_norm { (2.0 * e.encoder_layers as f64).powf(0.25) } else { 1.0 };
        let x =
            self.norm(&name("self_attn_layer_norm"), &add(x, alpha, &self.attention(&name("self_attn"), x)));
        self.norm(&name("final_layer_norm"), &add(&x, alpha, &feed(&x)))
    }

    fn attention(&self, name: &str, x: &Rows) -> Rows {
        let e = &self.config.encoder;
        let (heads, dim) =
            (e.encoder_attention_heads as usize, (e.encoder_embed_dim / e.encoder_attention_heads) as usize);
        let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|part| self.linear(&format!("{name}.{part}"), x));
        let mut y: Rows = x.iter().map(|_| Vec::new()).collect();
        for head in 0..heads {
            let part = |row: &Vec<f64>| row[head * dim..(head + 1) * dim].to_vec();
            let (q, k, v): (Rows, Rows, Rows) =
                (q.iter().map(part).collect(), k.iter().map(part).collect(), v.iter().map(part).collect());
            let bias = |i: usize, j: usize| self.position_bias(name, head, &q[i], j as i64 - i as i64);
            attend(&q, &k, &v, self.mask, bias).into_iter().zip(&mut y).for_each(|(part, y)| y.extend(part));
        }
        self.linear(&format!("{name}.out_proj"), &y)
    }

    fn position_bias(&self, name: &str, head: usize, query: &[f64], distance: i64) -> f64 {
        let e = &self.config.encoder;
        if !e.relative_position_embedding {
            return 0.0;
        }
        let table = self.vector("beats.encoder.layers.0.self_attn.relative_attention_bias.weight");
        let bucket = bucket(distance, e.num_buckets, e.max_distance);
        let bias = table[bucket as usize * e.encoder_attention_heads as usize + head];
        if !e.gru_rel_pos {
            return bias;
        }
        let eight = &self.linear(&format!("{name}.grep_linear"), &vec![query.to_vec()])[0];
        let (a, b) = (sigmoid(eight[..4].iter().sum()), sigmoid(eight[4..].iter().sum()));
        (a * (b * self.vector(&format!("{name}.grep_a"))[head] - 1.0) + 2.0) * bias
    }

    fn blstm(&self, layer: i64, x: &Rows) -> Rows {
        let mut y = self.lstm(&format!("l{layer}"), x, (0..x.len()).collect(), |_| false);
        let backward = self.lstm(&format!("l{layer}_reverse"), x, (0..x.len()).rev().collect(), |t| {
            self.mask.is_chunk_end(t)
        });
        y.iter_mut().zip(backward).for_each(|(y, back)| y.extend(back));
        y
    }

    /// One direction: tokens in the given order, from zero where `restarts` says so.
    fn lstm(&self, suffix: &str, x: &Rows, order: Vec<usize>, restarts: impl Fn(usize) -> bool) -> Rows {
        let cells = self.config.head.lstm_dim as usize;
        let [w, r, bi, bh] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
            .map(|p| self.vector(&format!("head.blstm.{p}_{suffix}")));
        let (mut h, mut c) = (vec![0.0; cells], vec![0.0; cells]);
        let mut y = vec![Vec::new(); x.len()];
        for t in order {
            if restarts(t) {
                (h, c) = (vec![0.0; cells], vec![0.0; cells]);
            }
            let inputs = x[t].len();
            let gate = |g: usize| {
                let own: f64 = (0..inputs).map(|i| w[g * inputs + i] * x[t][i]).sum();
                own + (0..cells).map(|i| r[g * cells + i] * h[i]).sum::<f64>() + bi[g] + bh[g]
            };
            let gates: Vec<f64> = (0..4 * cells).map(gate).collect();
            for i in 0..cells {
                c[i] = sigmoid(gates[cells + i]) * c[i] + sigmoid(gates[i]) * gates[2 * cells + i].tanh();
                h[i] = sigmoid(gates[3 * cells + i]) * c[i].tanh();
            }
            y[t].clone_from(&h);
        }
        y
    }

    /// Token scores, 0 to 1.
    fn branch(&self, axis: &str, x: &Rows) -> Vec<f64> {
        let (heads, width) =
            (self.config.head.attention_heads as usize, self.config.head.shared_dim as usize);
        let (name, dim) = (format!("head.branches.{axis}"), width / heads);
        let weight = self.vector(&format!("{name}.attention.in_proj_weight"));
        let bias = self.vector(&format!("{name}.attention.in_proj_bias"));
        let qkv = affine(&weight, &bias, x);
        let mut y: Rows = x.iter().map(|_| Vec::new()).collect();
        for head in 0..heads {
            let part = |which: usize| -> Rows {
                qkv.iter().map(|row| row[which * width + head * dim..][..dim].to_vec()).collect()
            };
            let found = attend(&part(0), &part(1), &part(2), self.mask, |_, _| 0.0);
            found.into_iter().zip(&mut y).for_each(|(part, y)| y.extend(part));
        }
        let y = self.linear(&format!("{name}.attention.out_proj"), &y);
        self.linear(&format!("{name}.score"), &y).iter().map(|logit| sigmoid(logit[0])).collect()
    }

    fn linear(&self, name: &str, x: &Rows) -> Rows {
        affine(&self.vector(&format!("{name}.weight")), &self.vector(&format!("{name}.bias")), x)
    }

    fn norm(&self, name: &str, x: &Rows) -> Rows {
        let (weight, bias) = (self.vector(&format!("{name}.weight")), self.vector(&format!("{name}.bias")));
        let normed = |row: &Vec<f64>| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / row.len() as f64;
            let value = |(i, v): (usize, &f64)| (v - mean) / (variance + 1e-5).sqrt() * weight[i] + bias[i];
            row.iter().enumerate().map(value).collect()
        };
        x.iter().map(normed).collect()
    }
}

/// Scaled dot-product attention of one head with what `bias` adds per query and key.
fn attend(q: &Rows, k: &Rows, v: &Rows, mask: Mask, bias: impl Fn(usize, usize) -> f64) -> Rows {
    let scale = (q[0].len() as f64).sqrt();
    let one = |i: usize| {
        let keys: Vec<usize> = (0..k.len()).filter(|j| mask.sees(i, *j)).collect();
        let dot = |j: usize| q[i].iter().zip(&k[j]).map(|(q, k)| q * k).sum::<f64>();
        let weights: Vec<f64> = keys.iter().map(|j| (dot(*j) / scale + bias(i, *j)).exp()).collect();
        let sum: f64 = weights.iter().sum();
        (0..v[0].len())
            .map(|d| keys.iter().zip(&weights).map(|(j, w)| w * v[*j][d]).sum::<f64>() / sum)
            .collect()
    };
    (0..q.len()).map(one).collect()
}

fn affine(weight: &[f64], bias: &[f64], x: &Rows) -> Rows {
    let row = |x: &Vec<f64>| {
        let out = |(row, bias): (&[f64], &f64)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias;
        weight.chunks_exact(x.len()).zip(bias).map(out).collect()
    };
    x.iter().map(row).collect()
}

fn add(x: &Rows, alpha: f64, y: &Rows) -> Rows {
    x.iter().zip(y).map(|(x, y)| x.iter().zip(y).map(|(x, y)| alpha * x + y).collect()).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `erf` by its series, which is exact enough in f64 for the sizes that occur here.
fn gelu(x: f64) -> f64 {
    let z = (x / core::f64::consts::SQRT_2).clamp(-5.0, 5.0);
    let (mut term, mut sum) = (z, z);
    for n in 1..200 {
        term *= -z * z / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    x / 2.0 * (1.0 + 2.0 / core::f64::consts::PI.sqrt() * sum)
}

/// As in the official code, in f32: half of the buckets per side, half of those exact, the rest logarithmic.
fn bucket(distance: i64, num_buckets: i64, max_distance: i64) -> i64 {
    let (side, exact) = (num_buckets / 2, num_buckets / 4);
    let start = if distance > 0 { side } else { 0 };
    let size = distance.abs();
    if size < exact {
        return start + size;
    }
    let octaves = (size as f32 / exact as f32).ln() / ((max_distance as f64 / exact as f64).ln() as f32);
    start + (exact + (octaves * (side - exact) as f32) as i64).min(side - 1)
}

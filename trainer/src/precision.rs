//! bf16 for the operands of matrix products, as PyTorch's autocast has it: tch's switches CUDA alone, and to f16.
//!
//! Within [`Precision::scope`] of [`Precision::Bfloat16`] the linear layers, the convolutions and the attention of encoder and
//! head take their operands in bf16 and give bf16. Everything else is f32: the weights that the optimiser holds (they are
//! cast where they are used), the residual stream, norms, position bias, softmax (inside the attention's kernel), the LSTM
//! (its state adds up rounding over hundreds of tokens, and it is small), the last product to one logit per axis (a
//! logit of 2 in bf16 is off by up to 0.004), sigmoid, means, losses. bf16 has f32's range: no loss needs scaling.

use core::cell::Cell;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// The operands of matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As the weights are.
    #[default]
    Float32,
    /// Eight bits of mantissa, the range of f32.
    Bfloat16,
}

thread_local! {
    static CURRENT: Cell<Precision> = const { Cell::new(Precision::Float32) };
}

impl Precision {
    /// Does `work` with the products of this thread's networks in this precision. Outside of any scope it is f32; of nested
    /// scopes the inner one counts.
    pub fn scope<T>(self, work: impl FnOnce() -> T) -> T {
        let _outer = Restore(CURRENT.replace(self));
        work()
    }
}

/// Ends a scope, also where its work panics.
struct Restore(Precision);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// A tensor as a matrix product takes it.
pub(crate) fn operand(x: &Tensor) -> Tensor {
    match CURRENT.get() {
        Precision::Float32 => x.shallow_clone(),
        Precision::Bfloat16 => x.to_kind(Kind::BFloat16),
    }
}

/// A product's result as everything else takes it: f32.
pub(crate) fn full(x: &Tensor) -> Tensor {
    x.to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use aesa_export::ModelConfig;
    use tch::Device;

    use super::*;
    use crate::adam::AdamW;
    use crate::chunking::Chunking;
    use crate::dropout::Dropout;
    use crate::model::AesaNet;
    use crate::padding::Padding;

    /// A network and three clips of 5, 7 and 2 steps, padded.
    fn problem() -> (AesaNet, Tensor) {
        let mut config = ModelConfig::tiny();
        config.head.dropout = 0.0;
        let net = AesaNet::new(&config);
        (net, Tensor::randn([3, 112, 128], (Kind::Float, Device::Cpu)))
    }

    fn scores(net: &AesaNet, features: &Tensor, chunking: Option<Chunking>) -> Tensor {
        net.forward(features, Padding::of(&[40, 56, 16], Device::Cpu), chunking, Dropout::PerClip)
            .clip_scores()
    }

    #[test]
    fn bfloat16_is_near_float32_and_ends_with_its_scope() {
        let (net, features) = problem();
        for chunking in [None, Some(Chunking { steps: 2, left_steps: 2 })] {
            let exact = scores(&net, &features, chunking);
            let coarse = Precision::Bfloat16.scope(|| {
                assert_eq!(operand(&features).kind(), Kind::BFloat16);
                Precision::Float32.scope(|| assert_eq!(scores(&net, &features, chunking), exact));
                scores(&net, &features, chunking)
            });
            assert_eq!(coarse.kind(), Kind::Float);
            // Scores are 0 to 1. Some ten products of operands off by up to 1 / 256 each follow one another.
            let apart = (&coarse - &exact).abs().max().double_value(&[]);
            assert!(apart > 0.0 && apart < 0.01, "{apart}");
            assert_eq!(scores(&net, &features, chunking), exact);
        }
    }

    #[test]
    fn a_scope_ends_where_its_work_panics() {
        let panic = std::panic::catch_unwind(|| Precision::Bfloat16.scope(|| panic!("in the scope")));
        assert!(panic.is_err() && CURRENT.get() == Precision::Float32);
    }

    #[test]
    fn gradients_point_the_same_way() {
        let (net, features) = problem();
        let target = Tensor::from_slice(&[0.2f32, 0.4, 0.6, 0.8]);
        let gradients = |precision: Precision| -> Vec<(String, Tensor)> {
            let mut parameters: Vec<_> = net.store.variables().into_iter().collect();
            parameters.sort_by(|a, b| a.0.cmp(&b.0));
            parameters.iter_mut().for_each(|(_, parameter)| parameter.zero_grad());
            let loss =
                precision.scope(|| (scores(&net, &features, None) - &target).square().sum(Kind::Float));
            loss.backward();
            parameters.into_iter().map(|(name, p)| (name, p.grad().copy())).collect()
        };
        let (exact, coarse) = (gradients(Precision::Float32), gradients(Precision::Bfloat16));
        let mut sums = [0.0; 3];
        for ((name, a), (_, b)) in exact.iter().zip(&coarse) {
            assert_eq!(b.kind(), Kind::Float, "{name}");
            assert!(b.isfinite().all().int64_value(&[]) == 1, "{name}");
            let dot = |x: &Tensor, y: &Tensor| (x * y).sum(Kind::Double).double_value(&[]);
            for (sum, part) in sums.iter_mut().zip([dot(a, b), dot(a, a), dot(b, b)]) {
                *sum += part;
            }
        }
        let cosine = sums[0] / (sums[1] * sums[2]).sqrt();
        assert!(cosine > 0.999, "{cosine}");
        assert!((sums[2] / sums[1]).sqrt() > 0.97 && (sums[2] / sums[1]).sqrt() < 1.03, "{sums:?}");
    }

    #[test]
    fn a_network_learns_as_fast() {
        let learn = |precision: Precision| {
            let mut config = ModelConfig::tiny();
            config.head.dropout = 0.0;
            let net = AesaNet::new(&config);
            // No random numbers: other tests draw from the same generator at the same time.
            let wave = |like: &Tensor, pace: f64| {
                let n = Tensor::arange(like.numel() as i64, (Kind::Float, Device::Cpu));
                (n * pace).sin().view_as(like)
            };
            for (_, mut parameter) in net.store.variables() {
                tch::no_grad(|| parameter.copy_(&(wave(&parameter, 0.7) * 0.3)));
            }
            let features = wave(&Tensor::zeros([4, 48, 128], (Kind::Float, Device::Cpu)), 0.37);
            let target = wave(&Tensor::zeros([4, 4], (Kind::Float, Device::Cpu)), 1.3) * 0.3 + 0.5;
            let mut optimiser = AdamW::new(&net.store, 0.0, 0.0);
            let losses: Vec<f64> = (0..60)
                .map(|_| {
                    let loss = precision.scope(|| {
                        let scores = net.forward(&features, None, None, Dropout::PerClip).clip_scores();
                        (scores - &target).square().mean(Kind::Float)
                    });
                    optimiser.step(&loss, 1.0, |_| 3e-3);
                    loss.double_value(&[])
                })
                .collect();
            (losses[0], losses[losses.len() - 1])
        };
        let (exact, coarse) = (learn(Precision::Float32), learn(Precision::Bfloat16));
        println!("float32 {exact:?}, bfloat16 {coarse:?}");
        assert!((coarse.0 - exact.0).abs() < 0.02 * exact.0, "{exact:?} {coarse:?}");
        assert!(exact.1 < 0.5 * exact.0, "{exact:?}");
        assert!(coarse.1 < 0.5 * coarse.0, "{coarse:?}");
        assert!((coarse.1 - exact.1).abs() < 0.1 * exact.0, "{exact:?} {coarse:?}");
    }
}

//! Adam with decoupled weight decay (AdamW), whose state can be saved: libtorch's own cannot, through tch.
//!
//! Sources: Kingma and Ba 2015; Loshchilov and Hutter 2019. The same update as `torch.optim.AdamW`.

use anyhow::{Context, Result};
use tch::nn::VarStore;
use tch::{Kind, Tensor};

use crate::weights::NamedTensors;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPS: f64 = 1e-8;

/// The optimiser of all parameters that learn.
#[derive(Debug)]
pub struct AdamW {
    parameters: Vec<Parameter>,
    weight_decay: f64,
    steps_done: usize,
}

/// A parameter and the running means of its gradient.
#[derive(Debug)]
struct Parameter {
    name: String,
    tensor: Tensor,
    mean: Tensor,
    mean_square: Tensor,
}

impl AdamW {
    /// An optimiser of the store's parameters that require a gradient.
    pub fn new(store: &VarStore, weight_decay: f64) -> Self {
        let mut parameters: Vec<Parameter> = store
            .variables()
            .into_iter()
            .filter(|(_, tensor)| tensor.requires_grad())
            .map(|(name, tensor)| {
                let zeros = || tensor.detach().zeros_like();
                Parameter { name, mean: zeros(), mean_square: zeros(), tensor }
            })
            .collect();
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        Self { parameters, weight_decay, steps_done: 0 }
    }

    /// Steps taken so far.
    pub fn steps_done(&self) -> usize {
        self.steps_done
    }

    /// One step down the gradient of `loss`. The gradient is first scaled to a norm of at most `clip_norm`, where that is
    /// not 0. `rate` gives the learning rate of a parameter by its name.
    pub fn step(&mut self, loss: &Tensor, clip_norm: f64, rate: impl Fn(&str) -> f64) {
        for parameter in &mut self.parameters {
            parameter.tensor.zero_grad();
        }
        loss.backward();
        tch::no_grad(|| self.update(clip_norm, rate));
    }

    fn update(&mut self, clip_norm: f64, rate: impl Fn(&str) -> f64) {
        self.steps_done += 1;
        let shrink = if clip_norm > 0.0 { self.shrink(clip_norm) } else { 1.0 };
        let correction = 1.0 - BETA_1.powi(self.steps_done as i32);
        let square_correction = (1.0 - BETA_2.powi(self.steps_done as i32)).sqrt();
        for Parameter { name, tensor, mean, mean_square } in &mut self.parameters {
            let gradient = tensor.grad();
            if !gradient.defined() {
                continue;
            }
            let gradient = if shrink < 1.0 { gradient * shrink } else { gradient };
            let rate = rate(name);
            _ = mean.lerp_(&gradient, 1.0 - BETA_1);
            _ = mean_square.g_mul_scalar_(BETA_2).addcmul_(&(&gradient * (1.0 - BETA_2)), &gradient);
            let spread = mean_square.sqrt() / square_correction + EPS;
            if self.weight_decay > 0.0 {
                _ = tensor.g_mul_scalar_(1.0 - rate * self.weight_decay);
            }
            _ = tensor.addcdiv_(&(&*mean * (-rate / correction)), &spread);
        }
    }

    /// The factor that brings the norm of the whole gradient down to `largest`.
    fn shrink(&self, largest: f64) -> f64 {
        let gradients = self.parameters.iter().map(|p| p.tensor.grad()).filter(Tensor::defined);
        let norms: Vec<Tensor> = gradients.map(|g| g.norm()).collect();
        largest / (Tensor::stack(&norms, 0).norm().double_value(&[]) + 1e-6)
    }

    /// Everything that the next steps depend on, beside the parameters.
    pub fn state(&self) -> NamedTensors {
        let means = self.parameters.iter().flat_map(|p| {
            [("mean", &p.mean), ("mean_square", &p.mean_square)]
                .map(|(what, t)| (format!("{what}.{}", p.name), t.copy()))
        });
        let steps = Tensor::from_slice(&[self.steps_done as i64]);
        means.chain([("steps_done".to_owned(), steps)]).collect()
    }

    /// Goes on from [`Self::state`].
    ///
    /// # Errors
    /// Where a tensor is missing or of another shape.
    pub fn load_state(&mut self, state: &NamedTensors) -> Result<()> {
        let get = |name: &str| state.get(name).with_context(|| format!("the optimiser's state lacks {name}"));
        for Parameter { name, mean, mean_square, .. } in &mut self.parameters {
            for (what, tensor) in [("mean", mean), ("mean_square", mean_square)] {
                let saved = get(&format!("{what}.{name}"))?;
                anyhow::ensure!(
                    saved.size() == tensor.size(),
                    "the optimiser's {what} of {name} has another shape"
                );
                tensor.copy_(&saved.to_kind(Kind::Float));
            }
        }
        self.steps_done = get("steps_done")?.int64_value(&[0]) as usize;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;
    use tch::nn::{self, OptimizerConfig};

    use super::*;

    /// A store with one parameter, and a loss that pulls each of its values elsewhere.
    fn problem() -> (VarStore, Tensor) {
        let store = VarStore::new(Device::Cpu);
        let w = store.root().var("w", &[5], nn::Init::Const(1.0));
        (store, w)
    }

    fn loss(w: &Tensor) -> Tensor {
        let goal = Tensor::from_slice(&[-3.0f32, 0.0, 0.5, 1.0, 40.0]);
        ((w - goal) * Tensor::from_slice(&[1.0f32, 0.1, 10.0, 1.0, 3.0])).square().sum(Kind::Float)
    }

    #[test]
    fn steps_equal_libtorchs() {
        let ((ours, a), (theirs, b)) = (problem(), problem());
        let mut adam = AdamW::new(&ours, 0.05);
        let mut reference = nn::AdamW { wd: 0.05, ..nn::AdamW::default() }.build(&theirs, 0.0).unwrap();
        for step in 0..50 {
            let rate = 0.01 * f64::from(1 + step % 7);
            reference.set_lr(rate);
            adam.step(&loss(&a), 2.0, |_| rate);
            reference.backward_step_clip_norm(&loss(&b), 2.0);
        }
        assert!((&a - &b).abs().max().double_value(&[]) < 1e-6, "{a} {b}");
        assert!((&a - 1.0).abs().max().double_value(&[]) > 0.1);
    }

    #[test]
    fn a_loaded_state_goes_on_alike() {
        let (store, w) = problem();
        let mut adam = AdamW::new(&store, 0.0);
        (0..5).for_each(|_| adam.step(&loss(&w), 0.0, |_| 0.1));
        let (copy, v) = problem();
        tch::no_grad(|| v.shallow_clone().copy_(&w));
        let mut resumed = AdamW::new(&copy, 0.0);
        resumed.load_state(&adam.state()).unwrap();
        for _ in 0..5 {
            adam.step(&loss(&w), 0.0, |_| 0.1);
            resumed.step(&loss(&v), 0.0, |_| 0.1);
        }
        assert_eq!(w, v);
        assert_eq!(resumed.steps_done(), 10);
        assert!(resumed.load_state(&NamedTensors::new()).is_err());
    }
}

//! Adam with decoupled weight decay (AdamW), whose state can be saved: libtorch's own cannot, through tch.
//!
//! Sources: Kingma and Ba 2015; Loshchilov and Hutter 2019. The same update as `torch.optim.AdamW`. The running mean of the
//! parameters is Polyak and Juditsky's (1992) idea in its exponential form.

use anyhow::{Context, Result};
use tch::nn::VarStore;
use tch::{Kind, Tensor};

use crate::weights::NamedTensors;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPS: f64 = 1e-8;

/// In step n the running mean of the parameters keeps at most n / (n + this) of itself.
const AVERAGE_WARMUP: f64 = 10.0;

/// The optimiser of all parameters that learn.
#[derive(Debug)]
pub struct AdamW {
    parameters: Vec<Parameter>,
    weight_decay: f64,
    average_decay: f64,
    steps_done: usize,
}

/// A parameter and the running means of its gradient.
#[derive(Debug)]
struct Parameter {
    name: String,
    tensor: Tensor,
    mean: Tensor,
    mean_square: Tensor,
    /// The parameter's own running mean, where one is kept.
    average: Option<Tensor>,
}

impl AdamW {
    /// An optimiser of the store's parameters that require a gradient. Where `average_decay` is not 0 it keeps their
    /// running mean, which forgets that share less than all of itself per step; see [`Self::averaged`].
    pub fn new(store: &VarStore, weight_decay: f64, average_decay: f64) -> Self {
        let mut parameters: Vec<Parameter> = store
            .variables()
            .into_iter()
            .filter(|(_, tensor)| tensor.requires_grad())
            .map(|(name, tensor)| {
                let zeros = || tensor.detach().zeros_like();
                let average = (average_decay > 0.0).then(|| tensor.detach().copy());
                Parameter { name, mean: zeros(), mean_square: zeros(), average, tensor }
            })
            .collect();
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        Self { parameters, weight_decay, average_decay, steps_done: 0 }
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
        let shrink = (clip_norm > 0.0).then(|| self.shrink(clip_norm));
        let correction = 1.0 - BETA_1.powi(self.steps_done as i32);
        let square_correction = (1.0 - BETA_2.powi(self.steps_done as i32)).sqrt();
        let average_share = self.average_share();
        for Parameter { name, tensor, mean, mean_square, average } in &mut self.parameters {
            let gradient = tensor.grad();
            if !gradient.defined() {
                continue;
            }
            let gradient = shrink.as_ref().map_or(gradient.shallow_clone(), |factor| gradient * factor);
            let rate = rate(name);
            _ = mean.lerp_(&gradient, 1.0 - BETA_1);
            _ = mean_square.g_mul_scalar_(BETA_2).addcmul_(&(&gradient * (1.0 - BETA_2)), &gradient);
            let spread = mean_square.sqrt() / square_correction + EPS;
            if self.weight_decay > 0.0 {
                _ = tensor.g_mul_scalar_(1.0 - rate * self.weight_decay);
            }
            _ = tensor.addcdiv_(&(&*mean * (-rate / correction)), &spread);
            if let Some(average) = average {
                _ = average.lerp_(tensor, average_share);
            }
        }
    }

    /// What the newest parameters count in their running mean; more in the first steps, so that the start is soon forgotten.
    fn average_share(&self) -> f64 {
        let steps = self.steps_done as f64;
        1.0 - self.average_decay.min(steps / (steps + AVERAGE_WARMUP))
    }

    /// Does `work` while the parameters are their running means, where those are kept.
    pub fn averaged<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.swap();
        let result = work();
        self.swap();
        result
    }

    /// Ends with the parameters as their running means, where those are kept.
    pub fn keep_average(mut self) {
        self.swap();
    }

    fn swap(&mut self) {
        for Parameter { tensor, average, .. } in &mut self.parameters {
            if let Some(average) = average {
                let newest = tensor.detach().copy();
                tch::no_grad(|| tensor.copy_(average));
                average.copy_(&newest);
            }
        }
    }

    /// The factor that brings the norm of the whole gradient down to `largest`, or 1: `[]`, on the parameters' device,
    /// so that nobody has to wait for it.
    fn shrink(&self, largest: f64) -> Tensor {
        let gradients = self.parameters.iter().map(|p| p.tensor.grad()).filter(Tensor::defined);
        let norms: Vec<Tensor> = gradients.map(|g| g.norm()).collect();
        let norm = Tensor::stack(&norms, 0).norm().to_kind(Kind::Double);
        (Tensor::from(largest) / (norm + 1e-6)).clamp_max(1.0).to_kind(Kind::Float)
    }

    /// Everything that the next steps depend on, beside the parameters.
    pub fn state(&self) -> NamedTensors {
        let means = self.parameters.iter().flat_map(|p| {
            let average = p.average.iter().map(|average| ("average", average));
            let all = [("mean", &p.mean), ("mean_square", &p.mean_square)].into_iter().chain(average);
            all.map(|(what, t)| (format!("{what}.{}", p.name), t.copy()))
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
        for Parameter { name, mean, mean_square, average, .. } in &mut self.parameters {
            let average = average.as_mut().map(|average| ("average", average));
            for (what, tensor) in [("mean", mean), ("mean_square", mean_square)].into_iter().chain(average) {
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
        let mut adam = AdamW::new(&ours, 0.05, 0.0);
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
        let mut adam = AdamW::new(&store, 0.0, 0.9);
        (0..5).for_each(|_| adam.step(&loss(&w), 0.0, |_| 0.1));
        let (copy, v) = problem();
        tch::no_grad(|| v.shallow_clone().copy_(&w));
        let mut resumed = AdamW::new(&copy, 0.0, 0.9);
        resumed.load_state(&adam.state()).unwrap();
        for _ in 0..5 {
            adam.step(&loss(&w), 0.0, |_| 0.1);
            resumed.step(&loss(&v), 0.0, |_| 0.1);
        }
        assert_eq!(w, v);
        assert_eq!(adam.averaged(|| w.copy()), resumed.averaged(|| v.copy()));
        assert_eq!(resumed.steps_done(), 10);
        assert!(resumed.load_state(&NamedTensors::new()).is_err());
    }

    #[test]
    fn the_running_mean_takes_turns_with_the_newest() {
        let (store, w) = problem();
        let mut adam = AdamW::new(&store, 0.0, 0.5);
        let mut expected = w.detach().copy();
        for step in 1..=30 {
            adam.step(&loss(&w), 0.0, |_| 0.1);
            // At first the warm-up keeps less than half.
            let kept = (f64::from(step) / (f64::from(step) + AVERAGE_WARMUP)).min(0.5);
            expected = expected * kept + w.detach() * (1.0 - kept);
        }
        let newest = w.detach().copy();
        let averaged = adam.averaged(|| w.detach().copy());
        assert!((&averaged - &expected).abs().max().double_value(&[]) < 1e-5, "{averaged} {expected}");
        assert!((&averaged - &newest).abs().max().double_value(&[]) > 1e-3);
        assert_eq!(w, newest);
        let (plain_store, v) = problem();
        assert_eq!(AdamW::new(&plain_store, 0.0, 0.0).averaged(|| v.copy()), v);
    }
}

//! Clips of several lengths in one batch: shorter ones are padded at the end, and nothing may hear the padding.
//!
//! Four places would: the positional convolution (padded tokens are zeroed, as beyond the end of a clip alone), the
//! attention (padded keys are masked), the backward LSTM (it runs over packed clips) and every mean over tokens.

use tch::{Device, Kind, Tensor};

use crate::upload::upload;

/// Which tokens of a batch `[B, T]` are padding.
#[derive(Debug)]
pub struct Padding {
    /// Tokens of each clip.
    lengths: Vec<i64>,
    /// Which tokens are padding: `[B, T, 1]`, bool.
    is_padding: Tensor,
    /// 0 for a clip's own tokens, minus infinity for padding: `[B, 1, 1, T]`.
    key_mask: Tensor,
}

impl Padding {
    /// The padding, for tensors on `device`, of clips with these numbers of tokens; `None` where all have the same.
    pub fn of(lengths: &[i64], device: Device) -> Option<Self> {
        let longest = lengths.iter().copied().max()?;
        if lengths.iter().all(|length| *length == longest) {
            return None;
        }
        let position = Tensor::arange(longest, (Kind::Int64, device)).unsqueeze(0); // (1, T)
        let ends = upload(&Tensor::from_slice(lengths), device).unsqueeze(1); // (B, 1)
        let is_padding = position.ge_tensor(&ends); // (B, T)
        let key_mask = is_padding.to_kind(Kind::Float).zero_().masked_fill(&is_padding, f64::NEG_INFINITY); // (B, T)
        let (is_padding, key_mask) = (is_padding.unsqueeze(2), key_mask.unsqueeze(1).unsqueeze(1));
        Some(Self { lengths: lengths.to_vec(), is_padding, key_mask })
    }

    /// Tokens of each clip.
    pub fn lengths(&self) -> &[i64] {
        &self.lengths
    }

    /// `[B, T, D]` with zeros in place of padded tokens, whatever they are: 0 times NaN would be NaN.
    pub fn zero(&self, x: &Tensor) -> Tensor {
        x.masked_fill(&self.is_padding, 0.0)
    }

    /// What is added to attention logits `[B, H, T, T]`: `[B, 1, 1, T]`.
    pub fn key_mask(&self) -> &Tensor {
        &self.key_mask
    }

    /// Mean over each clip's own tokens: `[B, T, D]` to `[B, D]`.
    pub fn mean(&self, x: &Tensor) -> Tensor {
        let counts = upload(&Tensor::from_slice(&self.lengths).to_kind(Kind::Float), x.device()).unsqueeze(1); // (B, 1)
        self.zero(x).sum_dim_intlist([1].as_slice(), false, Kind::Float) / counts
    }

    /// Runs `lstm` over the clips without their padding. It gets `[sum of lengths, D]`, packed, and the sizes of its
    /// steps, and gives `[sum of lengths, E]`; all is `[B, T, D]` to `[B, T, E]`, padded tokens zero.
    pub fn packed(&self, x: &Tensor, lstm: impl FnOnce(&Tensor, &Tensor) -> Tensor) -> Tensor {
        let mut order: Vec<i64> = (0..self.lengths.len() as i64).collect();
        order.sort_by_key(|clip| -self.lengths[*clip as usize]);
        let mut places = vec![0; order.len()];
        order.iter().zip(0_i64..).for_each(|(clip, place)| places[*clip as usize] = place);
        let sorted: Vec<i64> = order.iter().map(|clip| self.lengths[*clip as usize]).collect();

        let x = x.index_select(0, &upload(&Tensor::from_slice(&order), x.device()));
        // The lengths and the sizes of steps stay on the CPU, wherever `x` is.
        let (data, sizes) = x.internal_pack_padded_sequence(&Tensor::from_slice(&sorted), true);
        let y = lstm(&data, &sizes);
        let (y, _) = Tensor::internal_pad_packed_sequence(&y, &sizes, true, 0.0, x.size()[1]);
        y.index_select(0, &upload(&Tensor::from_slice(&places), y.device()))
    }
}

/// Mean over tokens, `[B, T, D]` to `[B, D]`.
pub fn mean(x: &Tensor, padding: Option<&Padding>) -> Tensor {
    match padding {
        Some(padding) => padding.mean(x),
        None => x.mean_dim(1, false, Kind::Float),
    }
}

/// Stacks tensors along a new dimension; those shorter in `dim` get zeros at its end.
pub fn stack(parts: &[Tensor], new_dim: i64, dim: usize) -> Tensor {
    let longest = parts.iter().map(|part| part.size()[dim]).max().unwrap_or(0);
    let padded: Vec<Tensor> = parts
        .iter()
        .map(|part| {
            if part.size()[dim] == longest {
                return part.shallow_clone();
            }
            let behind = 2 * (part.dim() - 1 - dim); // pad() counts from the last dimension
            let mut amounts = vec![0; behind + 2];
            amounts[behind + 1] = longest - part.size()[dim];
            part.pad(&amounts, "constant", 0.0)
        })
        .collect();
    Tensor::stack(&padded, new_dim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lengths_need_no_padding() {
        assert!(Padding::of(&[], Device::Cpu).is_none());
        assert!(Padding::of(&[8, 8], Device::Cpu).is_none());
        assert!(Padding::of(&[8, 16], Device::Cpu).is_some());
    }

    #[test]
    fn means_and_zeros_leave_the_padding_out() {
        let padding = Padding::of(&[1, 3], Device::Cpu).unwrap();
        let x = Tensor::from_slice(&[1.0f32, f32::NAN, f32::NAN, 1.0, 2.0, 6.0]).view([2, 3, 1]);
        assert_eq!(Vec::<f32>::try_from(padding.mean(&x).flatten(0, 1)).unwrap(), [1.0, 3.0]);
        assert_eq!(
            Vec::<f32>::try_from(padding.zero(&x).flatten(0, 2)).unwrap(),
            [1.0, 0.0, 0.0, 1.0, 2.0, 6.0]
        );
        let mask = Vec::<f32>::try_from(padding.key_mask().flatten(0, 3)).unwrap();
        assert_eq!(mask, [0.0, f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn packing_keeps_clips_in_their_places() {
        let padding = Padding::of(&[2, 4, 3], Device::Cpu).unwrap();
        let x = Tensor::randn([3, 4, 5], (Kind::Float, Device::Cpu));
        let x = x.masked_fill(&padding.is_padding, f64::NAN);
        let y = padding.packed(&x, |data, _| {
            assert_eq!(data.size(), [9, 5]);
            data * 2.0
        });
        assert_eq!(y, padding.zero(&x) * 2.0);
    }
}

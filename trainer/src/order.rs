//! An epoch's batches: which clips lie together, in which order, and which part of each is heard.

use anyhow::Result;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use crate::config::{ChunkConfig, TrainConfig};
use crate::dataset::Clip;
use crate::inputs::{Batch, Crop, Inputs};

/// Which clips an epoch takes in which order, and all else that is random in its batches.
pub(crate) struct Order {
    clips: Vec<usize>,
    batch_size: usize,
    /// The longest crop, in steps.
    steps: usize,
    /// Whether the clips of one family stay together and are cropped alike.
    keeps_families: bool,
    chunks: ChunkConfig,
    rng: Pcg64,
}

impl Order {
    /// Decides the order of an epoch, in crops of at most `steps`.
    pub(crate) fn new(config: &TrainConfig, clips: &[Clip], steps: usize, rng: &mut Pcg64) -> Self {
        let keeps_families = config.rank_weight > 0.0;
        let mut families: Vec<Vec<usize>> = Vec::new();
        for (index, clip) in clips.iter().enumerate() {
            let kin = |family: &&mut Vec<usize>| keeps_families && clip.is_kin(&clips[family[0]]);
            match families.last_mut().filter(kin) {
                Some(family) => family.push(index),
                None => families.push(vec![index]),
            }
        }
        families.shuffle(rng);
        Self {
            clips: families.into_iter().flatten().collect(),
            batch_size: config.batch_size,
            steps,
            keeps_families,
            chunks: config.chunks.clone(),
            // Of its own: batches are made ahead of what the loss draws.
            rng: Pcg64::from_rng(rng),
        }
    }

    /// The batches, each made when it is asked for.
    pub(crate) fn batches(
        mut self,
        inputs: Inputs,
        clips: &[Clip],
    ) -> impl Iterator<Item = Result<Batch>> + Send + use<> {
        let clips: Vec<Clip> = clips.iter().map(Clip::share).collect();
        let batches: Vec<Vec<usize>> = self.clips.chunks(self.batch_size).map(<[usize]>::to_vec).collect();
        batches.into_iter().map(move |batch| {
            let chunking = self.chunks.draw(&mut self.rng);
            let crops = self.crops(&batch, &inputs, &clips);
            inputs.batch(&clips, crops, chunking, &mut self.rng)
        })
    }

    /// A random crop of each clip of a batch.
    fn crops(&mut self, batch: &[usize], inputs: &Inputs, clips: &[Clip]) -> Vec<Crop> {
        let mut crops: Vec<Crop> = Vec::with_capacity(batch.len());
        for &clip in batch {
            let random = inputs.random_crop(clip, clips[clip].num_steps(), self.steps, &mut self.rng);
            let kin =
                crops.last().filter(|last| self.keeps_families && clips[clip].is_kin(&clips[last.clip]));
            let alike = kin.filter(|last| last.start + last.steps <= clips[clip].num_steps());
            crops.push(alike.map_or(random, |last| Crop { clip, ..*last }));
        }
        crops
    }
}

#[cfg(test)]
mod tests {
    use aesa_corpus::labels::Domain;
    use aesa_export::ModelConfig;
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::model::AesaNet;

    /// Five families of three clips, four steps each.
    fn clips() -> Vec<Clip> {
        let clip = |n: u64| Clip {
            id: format!("{n}"),
            domain: Some(Domain::Music),
            system: None,
            family: Some(n / 3),
            targets: [5.0; 4],
            features: Tensor::full([64, 128], n as f64, (Kind::Float, Device::Cpu)),
        };
        (0..15).map(clip).collect()
    }

    fn batches(config: &TrainConfig, seed: u64) -> Vec<Batch> {
        let clips = clips();
        let inputs = Inputs::new(config, &AesaNet::new(&config.model), &clips, None).unwrap();
        let order = Order::new(config, &clips, 2, &mut Pcg64::seed_from_u64(seed));
        order.batches(inputs, &clips).collect::<Result<_>>().unwrap()
    }

    #[test]
    fn an_epoch_takes_each_clip_once_and_families_alike() {
        let config = TrainConfig {
            model: ModelConfig::tiny(),
            freeze_encoder: false,
            batch_size: 6,
            rank_weight: 1.0,
            ..TrainConfig::default()
        };
        let epoch = batches(&config, 1);
        assert_eq!(epoch.iter().map(|b| b.crops.len()).collect::<Vec<_>>(), [6, 6, 3]);
        let crops: Vec<Crop> = epoch.iter().flat_map(|batch| batch.crops.clone()).collect();
        let mut taken: Vec<usize> = crops.iter().map(|crop| crop.clip).collect();
        for family in crops.chunks(3) {
            assert!(family.iter().all(|c| c.clip / 3 == family[0].clip / 3 && c.start == family[0].start));
        }
        assert!(crops.iter().any(|c| c.start != crops[0].start), "{crops:?}");
        taken.sort_unstable();
        assert_eq!(taken, (0..15).collect::<Vec<_>>());
        // The features are those of the clip.
        for (batch, row, crop) in
            epoch.iter().flat_map(|b| b.crops.iter().enumerate().map(move |(row, crop)| (b, row, crop)))
        {
            let part = batch.data.get(row as i64);
            assert_eq!(part.size(), [32, 128]);
            assert!(part.eq(crop.clip as f64).all().int64_value(&[]) == 1);
        }

        let again: Vec<Crop> = batches(&config, 1).into_iter().flat_map(|batch| batch.crops).collect();
        let other: Vec<Crop> = batches(&config, 2).into_iter().flat_map(|batch| batch.crops).collect();
        assert!(again == crops && other != crops);
        let alone = TrainConfig { rank_weight: 0.0, ..config };
        let alone: Vec<Crop> = batches(&alone, 1).into_iter().flat_map(|batch| batch.crops).collect();
        assert!(alone.chunks(3).any(|three| three.iter().any(|crop| crop.clip / 3 != three[0].clip / 3)));
    }
}

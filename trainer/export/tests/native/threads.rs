//! Several threads give the scores of one, to the last bit.

use aesa::Scores;
use aesa::native::{Kernels, Model, Threads};
use aesa_export::{ModelConfig, Storage};

use super::common::{features, file, score};
use super::tiny_with;

const STORAGES: [Storage; 3] = [Storage::F32, Storage::Int8, Storage::Int8Attention];

/// Threads that share even the smallest chunk.
fn threads(count: usize) -> Threads {
    Threads::new(count).unwrap().with_least_work(0)
}

fn score_by(threads: &Threads, model: &Model<'_>, features: &[f32]) -> Vec<Scores> {
    let (mut stream, mut scores) = (model.stream().with_threads(threads), Vec::new());
    stream.push(features, |s| scores.push(s)).unwrap();
    stream.finish(|s| scores.push(s));
    // Once more, in memory that the first clip left.
    let (whole, mut again) = (features.len() / 2048 * 2048, Vec::new());
    stream.push(&features[..whole], |s| again.push(s)).unwrap();
    stream.finish(|s| again.push(s));
    assert_eq!(again, scores);
    scores
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let configs = [
        ("tiny", ModelConfig::tiny()),
        ("starter", ModelConfig::starter()),
        ("smallest", ModelConfig::smallest()),
        ("norm first", tiny_with(|c| (c.encoder.layer_norm_first, c.encoder.deep_norm) = (true, false))),
        (
            "long odd kernel, no bias",
            tiny_with(|c| {
                (c.encoder.conv_pos, c.encoder.relative_position_embedding) = (61, false);
            }),
        ),
        (
            "no norms in the head, three LSTMs",
            tiny_with(|c| (c.head.layer_norm, c.head.lstm_layers) = (false, 3)),
        ),
    ];
    // A whole window and a short one; chunks whose tokens no number of threads divides, and a short last one.
    let chunks = [None, Some((6, 12)), Some((5, 7)), Some((1, 3)), Some((11, 0))];
    let crews = [1, 2, 3, 7].map(threads);
    for (name, config) in &configs {
        let num_steps = if config.encoder.encoder_embed_dim > 100 { 62 + 9 } else { 62 + 27 };
        let features = features(16 * num_steps + 5);
        for (storage, chunks) in STORAGES.into_iter().flat_map(|s| chunks.map(|c| (s, c))) {
            let file = file(config, storage, chunks);
            let model = Model::from_bytes(&file).unwrap();
            let alone = score(&model, &features, &[1000]);
            assert_eq!(alone.len(), num_steps);
            for crew in &crews {
                let together = score_by(crew, &model, &features);
                assert_eq!(together, alone, "{name} {storage:?} {chunks:?}: {} threads", crew.count());
            }
        }
    }
}

#[test]
fn every_table_of_kernels_is_split_alike() {
    // Wide enough for products that wide networks take.
    let mut config = ModelConfig::tiny();
    (config.encoder.encoder_embed_dim, config.encoder.embed_dim) = (264, 40);
    (config.encoder.encoder_ffn_embed_dim, config.encoder.encoder_layers) = (520, 1);
    let features = features(16 * 17);
    for (storage, kernels) in STORAGES.into_iter().flat_map(|s| Kernels::supported().map(move |k| (s, k))) {
        let file = file(&config, storage, None);
        let model = Model::with_kernels(&file, kernels).unwrap();
        let alone = score(&model, &features, &[1000]);
        for count in [2, 3, 7] {
            assert_eq!(
                score_by(&threads(count), &model, &features),
                alone,
                "{} {storage:?} {count}",
                kernels.name()
            );
        }
    }
}

#[test]
fn clips_share_a_pool() {
    let file = file(&ModelConfig::tiny(), Storage::Int8, Some((6, 12)));
    let model = Model::from_bytes(&file).unwrap();
    let clips: Vec<Vec<f32>> = (0..5).map(|i| features(16 * (30 + 7 * i))).collect();
    let threads = threads(3);
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            clips.iter().map(|clip| scope.spawn(|| score_by(&threads, &model, clip))).collect();
        for (clip, worker) in clips.iter().zip(workers) {
            assert_eq!(worker.join().unwrap(), score(&model, clip, &[1000]));
        }
    });
}

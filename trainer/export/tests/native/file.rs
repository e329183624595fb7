//! Damaged and foreign files: an error, never a panic.

use aesa::Policy;
use aesa::model::{KEY_NUM_PARAMETERS, ModelInfo, ModelInfoError};
use aesa::native::format::{ENTRY_BYTES, HEADER_BYTES, checksum, offset};
use aesa::native::{AlignedBytes, Model, ModelError};
use aesa_export::{ExportError, ExportOptions, ModelConfig, Storage, tiny_info, write_aesa, write_onnx_with};

use crate::common::{features, file, score, weights};

fn refusal(bytes: &[u8]) -> ModelError {
    Model::from_bytes(&AlignedBytes::from(bytes)).map(|_| ()).expect_err("the file must be refused")
}

/// A copy, changed, with its checksum put right.
fn edited(file: &[u8], edit: impl FnOnce(&mut AlignedBytes)) -> AlignedBytes {
    let mut copy = AlignedBytes::from(file);
    edit(&mut copy);
    if copy.len() >= HEADER_BYTES {
        let sum = checksum(&copy).to_le_bytes();
        copy[offset::CHECKSUM..][..4].copy_from_slice(&sum);
    }
    copy
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    let mut file = file(&ModelConfig::smallest(), Storage::Int8, Some((1, 1)));
    for bit in 0..file.len() * 8 {
        file[bit / 8] ^= 1 << (bit % 8);
        let error = Model::from_bytes(&file).map(|_| ()).expect_err("a damaged file must be refused");
        let expected = match bit / 8 {
            0..8 => matches!(error, ModelError::NotAModel),
            8..12 => matches!(error, ModelError::Version { .. }),
            16..24 => matches!(error, ModelError::Length { .. }),
            _ => matches!(error, ModelError::Checksum),
        };
        assert!(expected, "bit {bit}: {error}");
        file[bit / 8] ^= 1 << (bit % 8);
    }
    Model::from_bytes(&file).unwrap();
}

#[test]
fn every_truncation_is_an_error() {
    let file = file(&ModelConfig::smallest(), Storage::Int8, Some((1, 1)));
    for len in 0..file.len() {
        let error = refusal(&file[..len]);
        let header_is_whole = len >= HEADER_BYTES;
        assert_eq!(header_is_whole, matches!(error, ModelError::Length { .. }), "{len} bytes: {error}");
    }
    refusal(&[&file[..], &[0]].concat());
}

/// With the checksum and the length put right, as someone with intent would: an error or a model that runs, never a panic.
#[test]
fn made_up_files_never_panic() {
    let small = file(&ModelConfig::smallest(), Storage::Int8, Some((1, 1)));
    let wide = file(&ModelConfig::smallest(), Storage::F32, None);
    let mut random = Random(1);
    let (mut num_models, mut kinds) = (0, std::collections::BTreeSet::new());
    for round in 0..60_000 {
        let file = if round % 2 == 0 { &small } else { &wide };
        let tables = file.len().min(HEADER_BYTES + 40 * ENTRY_BYTES);
        let damaged = edited(file, |copy| {
            for _ in 0..=random.next(3) {
                // Sizes, then the table and metadata, then all.
                let end = [HEADER_BYTES, tables, file.len()][random.next(3)];
                let at = offset::NUM_TENSORS + random.next(end - offset::NUM_TENSORS);
                copy[at] = match random.next(3) {
                    0 => random.next(256) as u8,
                    1 => copy[at] ^ 1 << random.next(8),
                    _ => [0, 1, 0x7f, 0x80, 0xff][random.next(5)],
                };
            }
        });
        match Model::from_bytes(&damaged) {
            Ok(model) => {
                num_models += 1;
                // Whatever it says of itself, it runs: weights and sizes are of one piece.
                if model.memory_required().ram_bytes() < 1 << 22 {
                    let scores = score(&model, &features(32), &[16]);
                    assert!(scores.len() <= 2);
                }
                model.metadata().for_each(|(key, value)| assert!(key.len() + value.len() < file.len()));
                let _ = model.info();
            }
            Err(error) => {
                kinds.insert(
                    error.to_string().chars().take_while(|c| !c.is_ascii_digit()).collect::<String>(),
                );
            }
        }
    }
    println!("{num_models} models; refused for {kinds:#?}");
    assert!(num_models > 1000 && kinds.len() > 8);
}

#[test]
fn random_bytes_are_refused() {
    let mut random = Random(2);
    for len in 0..2000 {
        let bytes: Vec<u8> = (0..len).map(|_| random.next(256) as u8).collect();
        assert_eq!(refusal(&bytes), ModelError::NotAModel);
    }
}

#[test]
fn bytes_at_an_odd_address_are_refused() {
    let file = file(&ModelConfig::smallest(), Storage::Int8, Some((1, 1)));
    let mut shifted = AlignedBytes::zeros(file.len() + 1);
    shifted[1..].copy_from_slice(&file);
    assert_eq!(Model::from_bytes(&shifted[1..]).map(|_| ()), Err(ModelError::Alignment));
}

#[test]
fn each_refusal_says_why() {
    let file = file(&ModelConfig::smallest(), Storage::F32, Some((2, 1)));
    let word = |at: usize, value: u32| {
        let edited = edited(&file, |copy| copy[at..at + 4].copy_from_slice(&value.to_le_bytes()));
        Model::from_bytes(&edited).map(|_| ()).unwrap_err()
    };
    let size = |i: usize, value: u32| word(offset::SIZES + 4 * i, value);
    assert!(matches!(size(1, 0), ModelError::Sizes { rule: "every size is 1 to 8192" }));
    assert!(matches!(size(2, 25), ModelError::Sizes { rule: "there are 1 to 24 blocks" }));
    assert!(matches!(size(4, 3), ModelError::Sizes { rule: "heads divide the width" }));
    assert!(matches!(size(8, 64), ModelError::Sizes { rule: "all flags are known" }));
    assert!(matches!(size(14, 5), ModelError::Sizes { .. }), "both policies");
    assert!(matches!(size(15, 0), ModelError::Sizes { .. }), "no policy");
    assert!(matches!(size(0, 3), ModelError::Tensor { entry: 0 }), "another shape than the table's");
    assert!(matches!(word(offset::RESERVED, 1), ModelError::Sizes { .. }));
    assert!(matches!(word(offset::NUM_TENSORS, u32::MAX), ModelError::Tensor { .. }));
    assert!(matches!(word(offset::METADATA_BYTES, u32::MAX), ModelError::Metadata));
    assert!(matches!(word(HEADER_BYTES, 7), ModelError::Tensor { entry: 0 }), "kind");
    assert!(matches!(word(HEADER_BYTES + 4, 2), ModelError::Storage { entry: 0 }), "element type");
    assert!(matches!(word(HEADER_BYTES + 16, 0), ModelError::Tensor { entry: 0 }), "offset");
    let first = u64::from_le_bytes(file[HEADER_BYTES + 16..][..8].try_into().unwrap()) as usize;
    assert!(matches!(word(first, f32::NAN.to_bits()), ModelError::NotFinite { entry: 0 }));
}

#[test]
fn metadata_says_what_the_file_is() {
    let config = ModelConfig::smallest();
    for (storage, chunks) in [(Storage::F32, None), (Storage::Int8, Some((6, 12)))] {
        let file = file(&config, storage, chunks);
        let model = Model::from_bytes(&file).unwrap();
        let policy = match chunks {
            None => tiny_info().policy,
            Some((chunk_steps, left_steps)) => Policy::Chunked { chunk_steps, left_steps },
        };
        assert_eq!(model.info().unwrap(), ModelInfo { policy, ..tiny_info() });
        assert_eq!(model.is_int8(), storage == Storage::Int8);
        let find = |key: &str| model.metadata().find(|(k, _)| *k == key).map(|(_, value)| value);
        let num_parameters: usize = weights(&config).0.values().map(|t| t.data.len()).sum();
        assert_eq!(find(KEY_NUM_PARAMETERS), Some(num_parameters.to_string().as_str()));
        let policy = [find("aesa.policy"), find("aesa.chunk_steps"), find("aesa.left_steps")];
        match chunks {
            None => assert_eq!(policy, [Some("windowed"), None, None]),
            Some(_) => assert_eq!(policy, [Some("chunked"), Some("6"), Some("12")]),
        }
    }
}

#[test]
fn metadata_of_another_policy_than_the_headers_are_refused() {
    let file = file(&ModelConfig::smallest(), Storage::Int8, Some((1, 1)));
    let at = file.windows(16).position(|bytes| bytes == b"aesa.left_steps1").unwrap() + 15;
    let model = edited(&file, |copy| copy[at] = b'2');
    let refused = Model::from_bytes(&model).unwrap().info();
    assert_eq!(refused, Err(ModelInfoError::Contradiction { key: "aesa.policy" }));
}

#[test]
fn sizes_beyond_the_engine_are_not_written() {
    let mut config = ModelConfig::smallest();
    config.head.lstm_layers = 5;
    let error = write_aesa(&config, &weights(&config), &tiny_info(), Storage::Int8).unwrap_err();
    assert!(matches!(
        error,
        ExportError::Native(ModelError::Sizes { rule: "there are 1 to 4 BLSTM layers" })
    ));
}

#[test]
fn attention_in_int8_is_for_the_native_engine() {
    let config = ModelConfig::smallest();
    let [exact, int8] = [Storage::Int8, Storage::Int8Attention].map(|storage| file(&config, storage, None));
    // Keys and values in int8, and their scales.
    let scratch = |file: &[u8]| Model::from_bytes(file).unwrap().memory_required().scratch_bytes;
    assert!(exact.len() == int8.len() && scratch(&exact) < scratch(&int8));
    let options = ExportOptions { storage: Storage::Int8Attention, ..ExportOptions::default() };
    let error = write_onnx_with(&config, &weights(&config), &tiny_info(), &options).unwrap_err();
    assert!(matches!(error, ExportError::Config { .. }), "{error}");
}

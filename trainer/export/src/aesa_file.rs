//! The bytes of `model.aesa`: tensors in order, each as f32 or int8, then header and checksum.

use aesa::native::format::{
    ALIGNMENT, ENTRY_BYTES, Entry, FORMAT_VERSION, HEADER_BYTES, Kind, MAGIC, Sizes, checksum, dtype, offset,
};

use crate::linear::Linear;
use crate::storage::{Storage, quantised_rows};
use crate::tensors::to_le_bytes;

/// A file being put together.
#[derive(Default)]
pub(crate) struct AesaFile {
    tensors: Vec<Tensor>,
}

struct Tensor {
    kind: Kind,
    index: usize,
    dtype: u8,
    rows: usize,
    cols: usize,
    data: Vec<u8>,
    scales: Vec<u8>,
}

impl AesaFile {
    /// Adds an f32 tensor of rows of `cols`.
    pub(crate) fn floats(&mut self, kind: Kind, index: usize, cols: usize, data: &[f32]) {
        let (rows, data) = (data.len() / cols, to_le_bytes(data));
        self.tensors.push(Tensor { kind, index, dtype: dtype::F32, rows, cols, data, scales: Vec::new() });
    }

    /// Adds a linear map's weights.
    pub(crate) fn weights(&mut self, kind: Kind, index: usize, map: &Linear, storage: Storage) {
        self.groups(kind, index, core::slice::from_ref(map), storage);
    }

    /// Adds the weights of linear maps of one size, one after another.
    pub(crate) fn groups(&mut self, kind: Kind, index: usize, maps: &[Linear], storage: Storage) {
        let outputs = maps[0].outputs();
        if storage == Storage::F32 {
            let data: Vec<f32> = maps.iter().flat_map(Linear::transposed_weight).collect();
            return self.floats(kind, index, outputs, &data);
        }
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        for map in maps {
            let (integers, of_rows) = quantised_rows(&map.weight, map.inputs);
            data.extend(integers.iter().map(|v| *v as u8));
            scales.extend(of_rows);
        }
        let (rows, cols, scales) = (scales.len(), maps[0].inputs, to_le_bytes(&scales));
        self.tensors.push(Tensor { kind, index, dtype: dtype::I8, rows, cols, data, scales });
    }

    /// The whole file.
    pub(crate) fn finish(self, sizes: &Sizes, metadata: &[(String, String)]) -> Vec<u8> {
        let metadata: Vec<u8> = metadata.iter().flat_map(pair_bytes).collect();
        let table_bytes = self.tensors.len() * ENTRY_BYTES;
        let mut file = vec![0; HEADER_BYTES + table_bytes];
        file.extend(&metadata);
        for (i, tensor) in self.tensors.iter().enumerate() {
            let data = append(&mut file, &tensor.data);
            let scales = if tensor.scales.is_empty() { 0 } else { append(&mut file, &tensor.scales) };
            let entry = Entry {
                kind: tensor.kind as u16,
                index: tensor.index as u16,
                dtype: tensor.dtype,
                rows: tensor.rows as u32,
                cols: tensor.cols as u32,
                offset: data,
                scales,
            };
            file[HEADER_BYTES + i * ENTRY_BYTES..][..ENTRY_BYTES].copy_from_slice(&entry.to_bytes());
        }
        pad(&mut file);
        let num_bytes = file.len() as u64;
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(offset::VERSION, &FORMAT_VERSION.to_le_bytes());
        put(offset::FILE_BYTES, &num_bytes.to_le_bytes());
        put(offset::NUM_TENSORS, &(self.tensors.len() as u32).to_le_bytes());
        put(offset::METADATA_BYTES, &(metadata.len() as u32).to_le_bytes());
        for (i, size) in sizes.to_array().iter().enumerate() {
            put(offset::SIZES + 4 * i, &size.to_le_bytes());
        }
        let checksum = checksum(&file);
        file[offset::CHECKSUM..][..4].copy_from_slice(&checksum.to_le_bytes());
        file
    }
}

/// The lengths of key and value, u16 each, then both.
///
/// # Panics
/// If one is longer than 65535 bytes.
fn pair_bytes((key, value): &(String, String)) -> Vec<u8> {
    let length = |text: &String| u16::try_from(text.len()).expect("metadata is short").to_le_bytes();
    [&length(key), &length(value), key.as_bytes(), value.as_bytes()].concat()
}

/// Appends `bytes` at the next aligned place, and tells it.
fn append(file: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    pad(file);
    let start = file.len() as u64;
    file.extend(bytes);
    start
}

fn pad(file: &mut Vec<u8>) {
    file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
}

//! Named f32 arrays, as a model file holds them.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::ExportError;

/// An f32 array.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Elements, row-major.
    pub data: Vec<f32>,
}

/// A model's tensors by name: a BEATs checkpoint's names under `beats.`, the head's under `head.`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors(pub BTreeMap<String, Tensor>);

impl Tensors {
    /// Reads all tensors of a safetensors file.
    ///
    /// # Errors
    /// [`ExportError::Safetensors`] if the bytes are no such file, [`ExportError::NotF32`] for any other element type.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, ExportError> {
        let file = SafeTensors::deserialize(bytes)?;
        let mut tensors = Self::default();
        for (name, view) in file.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(ExportError::NotF32 { name: name.to_string() });
            }
            let (words, _) = view.data().as_chunks::<4>();
            let data = words.iter().map(|w| f32::from_le_bytes(*w)).collect();
            tensors.insert(name, view.shape(), data);
        }
        Ok(tensors)
    }

    /// Writes all tensors as a safetensors file.
    ///
    /// # Errors
    /// [`ExportError::Safetensors`] if a tensor's data does not fill its shape.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, ExportError> {
        let bytes: Vec<Vec<u8>> = self.0.values().map(|t| to_le_bytes(&t.data)).collect();
        let mut views = Vec::with_capacity(bytes.len());
        for ((name, tensor), data) in self.0.iter().zip(&bytes) {
            views.push((name.as_str(), TensorView::new(Dtype::F32, tensor.shape.clone(), data)?));
        }
        Ok(safetensors::serialize(views, None)?)
    }

    /// Adds or replaces a tensor; `data` is row-major.
    pub fn insert(&mut self, name: &str, shape: &[usize], data: Vec<f32>) {
        self.0.insert(name.to_string(), Tensor { shape: shape.to_vec(), data });
    }

    /// The data of the tensor `name`, row-major, which must have this `shape` and finite elements.
    ///
    /// # Errors
    /// [`ExportError::Missing`], [`ExportError::Shape`] or [`ExportError::NotFinite`].
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<&[f32], ExportError> {
        let tensor = self.0.get(name).ok_or_else(|| ExportError::Missing { name: name.to_string() })?;
        if tensor.shape != shape || tensor.data.len() != shape.iter().product::<usize>() {
            return Err(ExportError::Shape {
                name: name.to_string(),
                expected: shape.to_vec(),
                actual: tensor.shape.clone(),
            });
        }
        if !tensor.data.iter().all(|v| v.is_finite()) {
            return Err(ExportError::NotFinite { name: name.to_string() });
        }
        Ok(&tensor.data)
    }
}

/// The values' bytes, little-endian.
pub(crate) fn to_le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

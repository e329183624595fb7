//! Models, as C sees them.

use core::ffi::c_char;
use core::ptr;
use std::ffi::CString;
use std::sync::Arc;

use aesa::{Labels, Policy};
use aesa_runtime::Model;

use crate::error::{Failure, guarded};
use crate::pointers;
use crate::status::AesaStatus;
use crate::types::AesaModelInfo;

/// A loaded model. Any number of scorers may use it, in any threads; they keep what they need when the handle is freed.
pub struct AesaModel {
    pub(crate) model: Arc<Model>,
    id: CString,
    version: CString,
}

impl AesaModel {
    fn new(model: Model) -> Self {
        let text = |text: &str| CString::new(text.replace('\0', " ")).unwrap_or_default();
        let (id, version) = (text(&model.info().id), text(&model.info().version));
        Self { model: Arc::new(model), id, version }
    }

    fn info(&self) -> AesaModelInfo {
        let info = self.model.info();
        AesaModelInfo {
            id: self.id.as_ptr(),
            version: self.version.as_ptr(),
            labels: match info.labels {
                Labels::Human => c"human".as_ptr(),
                Labels::Proxy => c"proxy".as_ptr(),
            },
            runtime: match self.model.engine().name() {
                "tract" => c"tract".as_ptr(),
                _ => c"native".as_ptr(),
            },
            policy: match info.policy {
                Policy::Windowed { .. } => c"windowed".as_ptr(),
                Policy::Chunked { .. } => c"chunked".as_ptr(),
            },
            max_steps: info.policy.max_steps() as u32,
        }
    }
}

/// Loads a `model.aesa` or (where tract is built in) a `model.onnx`; which it is shows in its contents. The file is read
/// once. `path` is UTF-8. `*model` is the new handle, or null after an error: AESA_STATUS_READ, AESA_STATUS_MODEL, or an
/// argument's.
///
/// # Safety
/// `path` is null or a text that ends with a zero; `model` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_model_load(path: *const c_char, model: *mut *mut AesaModel) -> AesaStatus {
    let load = || {
        // SAFETY: this function's own condition.
        let path = unsafe { pointers::text(path, "path") }?;
        Ok(Model::open(path)?)
    };
    // SAFETY: this function's own condition.
    unsafe { create(model, load) }
}

/// aesa_model_load for a file's bytes, which are copied.
///
/// # Safety
/// `bytes` is null or points to `num_bytes` bytes; `model` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_model_from_bytes(
    bytes: *const u8,
    num_bytes: usize,
    model: *mut *mut AesaModel,
) -> AesaStatus {
    let load = || {
        pointers::check(bytes, "bytes")?;
        // SAFETY: this function's own condition.
        Ok(Model::from_bytes(unsafe { pointers::values(bytes, num_bytes, "bytes") }?)?)
    };
    // SAFETY: this function's own condition.
    unsafe { create(model, load) }
}

/// The starter model inside the library; AESA_STATUS_UNSUPPORTED where it was built without.
///
/// # Safety
/// `model` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_model_starter(model: *mut *mut AesaModel) -> AesaStatus {
    // SAFETY: this function's own condition.
    unsafe { create(model, starter) }
}

/// What a model says of itself, for `*info`.
///
/// # Safety
/// `model` is null or a handle that has not been freed; `info` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_model_info(model: *const AesaModel, info: *mut AesaModelInfo) -> AesaStatus {
    guarded(|| {
        // SAFETY: this function's own conditions.
        unsafe { pointers::put(info, pointers::borrow(model, "model")?.info(), "info") }?;
        Ok(AesaStatus::Ok)
    })
}

/// Frees a model; null is nothing to do. Its scorers go on. No call may use the handle now or later, which cannot be
/// noticed.
///
/// # Safety
/// `model` is null or a handle that has not been freed and that no other thread is using.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aesa_model_free(model: *mut AesaModel) {
    guarded(|| {
        if !model.is_null() {
            // SAFETY: the handle came from Box::into_raw in `create`, and it is its owner's last use.
            drop(unsafe { Box::from_raw(model) });
        }
        Ok(AesaStatus::Ok)
    });
}

/// Puts a new handle, or null, where the caller wants it.
///
/// # Safety
/// `out` is null or may be written.
unsafe fn create(out: *mut *mut AesaModel, load: impl FnOnce() -> Result<Model, Failure>) -> AesaStatus {
    guarded(|| {
        // SAFETY: this function's own condition.
        unsafe { pointers::put(out, ptr::null_mut(), "model") }?;
        let model = Box::new(AesaModel::new(load()?));
        // SAFETY: this function's own condition.
        unsafe { pointers::put(out, Box::into_raw(model), "model") }?;
        Ok(AesaStatus::Ok)
    })
}

#[cfg(feature = "starter")]
fn starter() -> Result<Model, Failure> {
    Ok(Model::starter()?)
}

#[cfg(not(feature = "starter"))]
fn starter() -> Result<Model, Failure> {
    Err(Failure::new(AesaStatus::Unsupported, "this library was built without the starter model"))
}

const _: () = {
    const fn is_shared_by_threads<T: Send + Sync>() {}
    is_shared_by_threads::<AesaModel>();
};

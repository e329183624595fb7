//! The way from main memory to the device, on which nobody waits.

use tch::{Device, Tensor};

/// A tensor of main memory on a device.
///
/// A copy to a GPU is queued behind the work that the GPU has still to do, and this returns at once; a plain
/// `to_device` would wait for all of it. The copy is taken from page-locked memory, which libtorch keeps until it is done.
pub(crate) fn upload(x: &Tensor, device: Device) -> Tensor {
    if device.is_cuda() && x.device() == Device::Cpu {
        x.pin_memory(device).to_device_(device, x.kind(), true, false)
    } else {
        x.to_device(device)
    }
}

//! The default input device, by cpal.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use aesa::AudioSpec;
use anyhow::{Context, anyhow};
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{Device, ErrorKind, FromSample, InputCallbackInfo, Sample, SampleFormat, SizedSample};
use cpal::{StreamInstant, SupportedStreamConfig};

use super::error::StreamError;
use super::source::Event;

/// A microphone at its own rate and number of channels; listens from `start` until it is dropped.
pub(super) struct Microphone {
    device: Device,
    config: SupportedStreamConfig,
    stream: Option<cpal::Stream>,
}

impl Microphone {
    /// The system's default input.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn open() -> anyhow::Result<Self> {
        let device =
            cpal::default_host().default_input_device().ok_or_else(|| anyhow!("there is no microphone"))?;
        let config = device.default_input_config().context("the microphone tells no format")?;
        Ok(Self { device, config, stream: None })
    }

    /// How its audio is laid out.
    pub(super) fn spec(&self) -> AudioSpec {
        let (sample_rate_hz, num_channels) = (self.config.sample_rate(), self.config.channels());
        AudioSpec { sample_rate_hz, num_channels: num_channels.into() }
    }

    /// Sends what it hears.
    ///
    /// # Errors
    /// Where the device refuses.
    pub(super) fn start(
        &mut self,
        sender: SyncSender<Event>,
        is_stopped: Arc<AtomicBool>,
    ) -> anyhow::Result<()> {
        let has_xrun = Arc::new(AtomicBool::new(false));
        let ear = Ear { sender, is_stopped, has_xrun, spec: self.spec(), num_lost: 0, next_capture: None };
        let stream = match self.config.sample_format() {
            SampleFormat::I16 => self.build::<i16>(ear),
            SampleFormat::I32 => self.build::<i32>(ear),
            SampleFormat::F32 => self.build::<f32>(ear),
            SampleFormat::U8 => self.build::<u8>(ear),
            format => return Err(anyhow!("the microphone's sample format {format} is not supported")),
        };
        let stream = stream.context("the microphone cannot be opened")?;
        stream.play().context("the microphone does not start")?;
        self.stream = Some(stream);
        Ok(())
    }

    fn build<S>(&self, mut ear: Ear) -> Result<cpal::Stream, cpal::Error>
    where
        S: SizedSample,
        f32: FromSample<S>,
    {
        let (sender, has_xrun) = (ear.sender.clone(), ear.has_xrun.clone());
        let on_error = move |error: cpal::Error| match error.kind() {
            ErrorKind::Xrun => has_xrun.store(true, Ordering::Relaxed),
            ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => {}
            _ => _ = sender.send(Event::Failed(StreamError::Microphone(error))),
        };
        let on_data = move |data: &[S], info: &InputCallbackInfo| ear.hear(data, info);
        self.device.build_input_stream(self.config.config(), on_data, on_error, None)
    }
}

/// What runs on the audio thread.
struct Ear {
    sender: SyncSender<Event>,
    is_stopped: Arc<AtomicBool>,
    /// The device has dropped something before the next samples.
    has_xrun: Arc<AtomicBool>,
    spec: AudioSpec,
    /// Samples per channel lost since the last that were sent.
    num_lost: u64,
    /// When the next samples are due, if none are dropped.
    next_capture: Option<StreamInstant>,
}

impl Ear {
    fn hear<S: SizedSample>(&mut self, data: &[S], info: &InputCallbackInfo)
    where
        f32: FromSample<S>,
    {
        if self.is_stopped.load(Ordering::Relaxed) {
            return;
        }
        let num_samples = (data.len() / self.spec.num_channels) as u64;
        let rate_hz = f64::from(self.spec.sample_rate_hz);
        let capture = info.timestamp().capture;
        if self.has_xrun.swap(false, Ordering::Relaxed) {
            // How much was dropped only the clock knows; at least something was.
            let late = self.next_capture.map_or(0.0, |due| capture.duration_since(due).as_secs_f64());
            self.num_lost += ((late * rate_hz).round() as u64).max(1);
        }
        self.next_capture = Some(capture + core::time::Duration::from_secs_f64(num_samples as f64 / rate_hz));
        self.send(data, num_samples);
    }

    /// Sends samples, or counts them as lost where scoring cannot keep up: an audio thread must not wait.
    fn send<S: SizedSample>(&mut self, data: &[S], num_samples: u64)
    where
        f32: FromSample<S>,
    {
        if self.num_lost > 0 && self.sender.try_send(Event::Lost(self.num_lost)).is_ok() {
            self.num_lost = 0;
        }
        let samples = || data.iter().map(|s| f32::from_sample(*s)).collect();
        let is_heard = self.num_lost == 0
            && !matches!(self.sender.try_send(Event::Samples(samples())), Err(TrySendError::Full(_)));
        if !is_heard {
            self.num_lost += num_samples;
        }
    }
}

/// Some seconds of the usual 10 ms buffers: longer than any window takes to score where scoring keeps up at all.
pub(super) const QUEUE_CHUNKS: usize = 512;

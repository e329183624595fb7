//! One audio file, or a segment of one, decoded packet by packet.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::Path;

use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_FLAC, CODEC_ID_MP3};
use symphonia::core::codecs::audio::{AudioCodecId, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::core::units::Duration;

use crate::error::{MediaError, cause};

/// File name extensions of the supported formats, in lower case.
pub const EXTENSIONS: [&str; 11] =
    ["wav", "wave", "aif", "aiff", "flac", "mp3", "ogg", "oga", "m4a", "mp4", "aac"];

/// Whether the path ends in one of [`EXTENSIONS`], in any case.
pub fn is_audio_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// An open audio file that hands out its samples chunk by chunk.
///
/// Samples are interleaved f32, integers scaled by their full range to [-1, 1). A chunk is what one packet of the
/// codec decodes to; its size carries no meaning. Encoder delay and padding are cut off where the container
/// tells their lengths (MP3 with an Info tag, OGG/Vorbis). Of AAC, the first frame (1024 samples) is cut off: each frame
/// completes the one before it, so that no encoder puts audio there. Its padding stays.
///
/// Nothing is skipped in silence: a damaged packet is an error, and so is a file that ends before its header
/// says. OGG, AAC in ADTS and MP3 without an Info tag do not say how long they are, so the loss of their end
/// cannot be seen.
pub struct AudioFile {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track_id: u32,
    rate_hz: u32,
    num_channels: usize,
    /// Samples per channel that the header promises, and how many of them may be missing.
    promise: Option<Promise>,
    /// The header's own idea of the length, which may be an estimate.
    header_samples: Option<u64>,
    trims_end: bool,
    /// Samples per channel, `[start, end)`.
    segment: (u64, u64),
    /// Samples per channel decoded so far.
    num_decoded: u64,
    samples: Vec<f32>,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// `samples` holds a packet not yet handed out.
    Ready,
    Reading,
    Done,
}

/// How many samples per channel a file must have.
#[derive(Clone, Copy)]
struct Promise {
    num_samples: u64,
    tolerance: u64,
}

impl AudioFile {
    /// Opens a file and decodes its first packet.
    ///
    /// # Errors
    /// [`MediaError::Read`], [`MediaError::EmptyFile`], [`MediaError::UnknownFormat`], [`MediaError::Header`],
    /// [`MediaError::NoAudioTrack`], [`MediaError::UnsupportedCodec`], [`MediaError::NoSamples`], or whatever
    /// is wrong with the first packet.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        Self::open_samples(path, |_| Ok((0, u64::MAX)))
    }

    /// Opens the part of a file from `start_s` to `end_s` seconds; `None` is the start or the end of the file.
    ///
    /// The part is cut exactly at the samples nearest to these times; what lies before it is decoded and dropped,
    /// so that a segment's samples equal those of the whole file. An `end_s` past the end of the file is its end.
    ///
    /// # Errors
    /// As [`AudioFile::open`], and [`MediaError::Segment`] where the times make no segment. A start past the end
    /// of the file gives [`MediaError::NoSamples`] when read.
    pub fn open_segment(path: &Path, start_s: Option<f64>, end_s: Option<f64>) -> Result<Self, MediaError> {
        let (start, end) = (start_s.unwrap_or(0.0), end_s.unwrap_or(f64::INFINITY));
        let is_segment = start.is_finite() && start >= 0.0 && end > start;
        if !is_segment {
            return Err(MediaError::Segment { start_s: start, end_s: end });
        }
        Self::open_samples(path, |rate_hz| {
            let index = |time_s: f64| (time_s * f64::from(rate_hz)).round() as u64;
            if index(start) >= index(end) {
                return Err(MediaError::Segment { start_s: start, end_s: end });
            }
            Ok((index(start), index(end)))
        })
    }

    /// Samples per second and channel.
    pub fn sample_rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// How many channels are interleaved in a chunk.
    pub fn num_channels(&self) -> usize {
        self.num_channels
    }

    /// Length of the file, or of the segment, as the header tells it: exact or an estimate, depending on the format.
    pub fn duration_s(&self) -> Option<f64> {
        let (start, end) = self.segment;
        let total = self.header_samples?;
        Some(self.seconds(end.min(total).saturating_sub(start)))
    }

    /// The next samples, interleaved `[num_samples, num_channels]`; `None` at the end.
    ///
    /// # Errors
    /// [`MediaError::Decode`], [`MediaError::Truncated`], [`MediaError::SpecChange`], [`MediaError::Read`], and
    /// [`MediaError::NoSamples`] where a segment starts past the end of the file. After an error the file is at its end.
    pub fn next_chunk(&mut self) -> Result<Option<&[f32]>, MediaError> {
        loop {
            match self.state {
                State::Done => return Ok(None),
                State::Ready => self.state = State::Reading,
                State::Reading => {
                    if self.num_decoded >= self.segment.1 {
                        self.state = State::Done;
                        return Ok(None);
                    }
                    let is_packet = self.decode_packet().inspect_err(|_| self.state = State::Done)?;
                    if !is_packet {
                        self.state = State::Done;
                        self.check_end()?;
                        return Ok(None);
                    }
                }
            }
            let inside = self.inside_segment();
            if !inside.is_empty() {
                return Ok(Some(&self.samples[inside]));
            }
        }
    }

    fn open_samples(
        path: &Path,
        segment: impl FnOnce(u32) -> Result<(u64, u64), MediaError>,
    ) -> Result<Self, MediaError> {
        let format = probe(path)?;
        let track = format.default_track(TrackType::Audio).ok_or(MediaError::NoAudioTrack)?;
        let params =
            track.codec_params.as_ref().and_then(|params| params.audio()).ok_or(MediaError::NoAudioTrack)?;
        let options = AudioDecoderOptions::default().verify(params.codec == CODEC_ID_FLAC);
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(params, &options)
            .map_err(|e| MediaError::UnsupportedCodec { cause: cause(&e) })?;
        let is_tagged = track.padding.is_some();
        let is_aac = params.codec == CODEC_ID_AAC;
        let mut file = Self {
            track_id: track.id,
            rate_hz: 0,
            num_channels: 0,
            promise: promise(track, params.codec, format.format_info().short_name),
            header_samples: header_samples(track, params.sample_rate),
            // Without a tag the MP3 reader only guesses the length, and cutting by a guess would lose samples.
            trims_end: params.codec != CODEC_ID_MP3 || is_tagged,
            segment: (0, u64::MAX),
            num_decoded: 0,
            samples: Vec::new(),
            state: State::Ready,
            decoder,
            format,
        };
        while file.samples.is_empty() {
            if !file.decode_packet()? {
                file.check_end()?;
                return Err(MediaError::NoSamples);
            }
        }
        let lead = if is_aac { file.num_decoded } else { 0 };
        let (start, end) = segment(file.rate_hz)?;
        file.segment = (start.saturating_add(lead), end.saturating_add(lead));
        Ok(file)
    }

    /// Decodes one packet into `samples`; `false` at the end of the file.
    fn decode_packet(&mut self) -> Result<bool, MediaError> {
        let Some(mut packet) = self.next_packet()? else {
            self.samples.clear();
            return Ok(false);
        };
        if !self.trims_end {
            packet.trim_end = Duration::ZERO;
        }
        let at_s = self.seconds(self.num_decoded);
        let audio = match self.decoder.decode(&packet) {
            Ok(audio) => audio,
            Err(e) => return Err(MediaError::Decode { at_s, cause: cause(&e) }),
        };
        let actual = (audio.spec().rate(), audio.spec().channels().count());
        if self.rate_hz == 0 {
            (self.rate_hz, self.num_channels) = actual;
        }
        let expected = (self.rate_hz, self.num_channels);
        if actual != expected {
            return Err(MediaError::SpecChange { at_s, expected, actual });
        }
        if actual.0 == 0 || actual.1 == 0 {
            return Err(MediaError::Header { cause: "no sample rate or no channels".to_string() });
        }
        audio.copy_to_vec_interleaved(&mut self.samples);
        self.num_decoded += (self.samples.len() / self.num_channels) as u64;
        Ok(true)
    }

    /// The track's next packet; `None` at the end of the file.
    fn next_packet(&mut self) -> Result<Option<Packet>, MediaError> {
        loop {
            let at_s = self.seconds(self.num_decoded);
            match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track_id => return Ok(Some(packet)),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(SymphoniaError::IoError(e)) if e.kind() == ErrorKind::UnexpectedEof => {
                    return self.unexpected_end(at_s);
                }
                Err(SymphoniaError::IoError(e)) => return Err(MediaError::Read(e)),
                Err(SymphoniaError::ResetRequired) => {
                    let cause = "a second stream is chained to the first".to_string();
                    return Err(MediaError::Decode { at_s, cause });
                }
                Err(e) => return Err(MediaError::Decode { at_s, cause: cause(&e) }),
            }
        }
    }

    /// The bytes ran out where a packet should be: the end of a stream of unknown length, or a truncated file.
    fn unexpected_end(&self, at_s: f64) -> Result<Option<Packet>, MediaError> {
        if matches!(self.format.format_info().short_name, "wave" | "aiff") && self.header_samples.is_none() {
            return Ok(None);
        }
        let expected_s = self.header_samples.map(|n| self.seconds(n)).filter(|s| *s > at_s);
        Err(MediaError::Truncated { actual_s: at_s, expected_s })
    }

    /// Checks at the end of the file that all of it was there.
    fn check_end(&mut self) -> Result<(), MediaError> {
        let actual_s = self.seconds(self.num_decoded);
        if let Some(promise) = self.promise
            && self.num_decoded + promise.tolerance < promise.num_samples
        {
            let expected_s = Some(self.seconds(promise.num_samples));
            return Err(MediaError::Truncated { actual_s, expected_s });
        }
        if self.decoder.finalize().verify_ok == Some(false) {
            let cause = "the samples do not match the file's own checksum".to_string();
            return Err(MediaError::Decode { at_s: actual_s, cause });
        }
        if self.num_decoded <= self.segment.0 {
            return Err(MediaError::NoSamples);
        }
        Ok(())
    }

    /// The range of `samples` that lies inside the segment.
    fn inside_segment(&self) -> core::ops::Range<usize> {
        let num = (self.samples.len() / self.num_channels) as u64;
        let first = self.num_decoded - num;
        let index =
            |at: u64| at.clamp(first, self.num_decoded).saturating_sub(first) as usize * self.num_channels;
        index(self.segment.0)..index(self.segment.1)
    }

    fn seconds(&self, num_samples: u64) -> f64 {
        num_samples as f64 / f64::from(self.rate_hz.max(1))
    }
}

/// Finds the container format of a file.
fn probe(path: &Path) -> Result<Box<dyn FormatReader>, MediaError> {
    let mut file = File::open(path).map_err(MediaError::Read)?;
    let metadata = file.metadata().map_err(MediaError::Read)?;
    if metadata.is_dir() {
        return Err(MediaError::Read(ErrorKind::IsADirectory.into()));
    }
    if metadata.is_file() && metadata.len() == 0 {
        return Err(MediaError::EmptyFile);
    }
    let has_signature = has_signature(&mut file).map_err(MediaError::Read)?;
    let mut hint = Hint::new();
    if let Some(extension) = path.extension().and_then(|e| e.to_str()) {
        hint.with_extension(&extension.to_ascii_lowercase());
    }
    let stream = MediaSourceStream::new(Box::new(file), MediaSourceStreamOptions::default());
    symphonia::default::get_probe()
        .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|e| MediaError::from_probe(e, has_signature))
}

/// Whether a file begins like one of the supported containers; leaves it at its start.
fn has_signature(file: &mut File) -> std::io::Result<bool> {
    let mut start = Vec::new();
    file.take(12).read_to_end(&mut start)?;
    file.rewind()?;
    let signatures: [(usize, &[u8]); 6] =
        [(0, b"RIFF"), (0, b"FORM"), (0, b"fLaC"), (0, b"OggS"), (0, b"ID3"), (4, b"ftyp")];
    Ok(signatures.iter().any(|(at, signature)| start.get(*at..).is_some_and(|s| s.starts_with(signature))))
}

/// Samples per channel, by the header.
fn header_samples(track: &Track, rate_hz: Option<u32>) -> Option<u64> {
    track.num_frames.or_else(|| {
        let seconds = track.time_base?.calc_time(track.duration?.timestamp_from(Default::default())?)?;
        Some((seconds.as_secs_f64() * f64::from(rate_hz?)).round() as u64)
    })
}

/// What the container states for certain about its length.
fn promise(track: &Track, codec: AudioCodecId, format: &str) -> Option<Promise> {
    let num_samples = track.num_frames?;
    match format {
        "wave" | "aiff" | "flac" => Some(Promise { num_samples, tolerance: 0 }),
        // Encoders differ by a frame in what they count; a frame is at most 1152 samples.
        _ if codec == CODEC_ID_MP3 && track.padding.is_some() => {
            Some(Promise { num_samples, tolerance: 1152 })
        }
        _ => None,
    }
}

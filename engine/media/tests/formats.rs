//! Files of every supported format, damaged ones, and segments. Compressed formats are made by ffmpeg; their tests
//! print why and pass where it is not installed.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aesa_media::{AudioFile, MediaError, read_mono_16k};
use tempfile::TempDir;

const RATE_HZ: u32 = 44_100;
const NUM_SAMPLES: usize = 3 * RATE_HZ as usize + 123;

/// A chord of three tones, a different one in each channel: easy to align, no two moments alike.
fn tone(index: usize, channel: usize) -> f32 {
    let t = index as f32 / RATE_HZ as f32;
    let chirp = (core::f32::consts::TAU * (200.0 + 100.0 * channel as f32 + 150.0 * t) * t).sin();
    0.3 * chirp + 0.2 * (core::f32::consts::TAU * 1_234.5 * t).sin()
}

fn write_wav(path: &Path, num_samples: usize, num_channels: u16) {
    let spec = hound::WavSpec {
        channels: num_channels,
        sample_rate: RATE_HZ,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for i in 0..num_samples {
        for channel in 0..usize::from(num_channels) {
            writer.write_sample((tone(i, channel) * 32_767.0) as i16).unwrap();
        }
    }
    writer.finalize().unwrap();
}

fn read_all(mut file: AudioFile) -> Result<Vec<f32>, MediaError> {
    let mut samples = Vec::new();
    while let Some(chunk) = file.next_chunk()? {
        assert!(!chunk.is_empty());
        samples.extend_from_slice(chunk);
    }
    assert!(file.next_chunk()?.is_none(), "the end stays the end");
    Ok(samples)
}

fn read(path: &Path) -> Result<Vec<f32>, MediaError> {
    read_all(AudioFile::open(path)?)
}

/// Encodes the test tone; `None` where ffmpeg is missing. Under qemu's user mode a missing program starts and leaves with
/// 127, as in a shell.
fn encode(dir: &TempDir, name: &str, arguments: &[&str]) -> Option<PathBuf> {
    let wav = dir.path().join("source.wav");
    if !wav.exists() {
        write_wav(&wav, NUM_SAMPLES, 2);
    }
    let path = dir.path().join(name);
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-i"])
        .arg(&wav)
        .args(arguments)
        .arg(&path)
        .status();
    match status {
        Ok(status) if status.success() => Some(path),
        Ok(status) if status.code() == Some(127) => {
            println!("skipped: ffmpeg is missing");
            None
        }
        Ok(status) => panic!("ffmpeg failed on {name}: {status}"),
        Err(e) => {
            println!("skipped: ffmpeg cannot be run ({e})");
            None
        }
    }
}

/// Signal-to-error ratio of the left channel in dB.
fn snr_db(decoded: &[f32]) -> f64 {
    let (mut signal, mut error) = (0.0, 1e-12);
    for (i, chunk) in decoded.chunks_exact(2).enumerate().skip(2_000).take(100_000) {
        let expected = f64::from(tone(i, 0));
        signal += expected * expected;
        error += (expected - f64::from(chunk[0])).powi(2);
    }
    10.0 * (signal / error).log10()
}

#[test]
fn wav_samples_are_the_written_ones() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("two.wav");
    write_wav(&path, 1_000, 2);
    let file = AudioFile::open(&path).unwrap();
    assert_eq!((file.sample_rate_hz(), file.num_channels()), (RATE_HZ, 2));
    assert!((file.duration_s().unwrap() - 1_000.0 / 44_100.0).abs() < 1e-9);
    let samples = read_all(file).unwrap();
    let expected: Vec<f32> = (0..1_000)
        .flat_map(|i| [tone(i, 0), tone(i, 1)])
        .map(|x| f32::from((x * 32_767.0) as i16) / 32_768.0)
        .collect();
    assert_eq!(samples, expected);
}

#[test]
fn every_format_decodes_to_the_source() {
    let dir = TempDir::new().unwrap();
    // Lossless formats keep the 16-bit rounding (about 87 dB for this signal); lossy ones at these rates come well above 25 dB,
    // which a shift by a single sample would bring down to about 18 dB.
    let cases: [(&str, &[&str], f64, bool); 9] = [
        ("f32.wav", &["-c:a", "pcm_f32le"], 80.0, true),
        ("s24.wav", &["-c:a", "pcm_s24le"], 80.0, true),
        ("a.aiff", &[], 80.0, true),
        ("a.flac", &[], 80.0, true),
        ("a.mp3", &["-b:a", "256k"], 25.0, true),
        ("a.ogg", &["-c:a", "libvorbis", "-q:a", "8"], 25.0, true),
        // AAC loses its priming samples (1024 with ffmpeg's encoder) and keeps its padding.
        ("a.m4a", &["-b:a", "256k"], 25.0, false),
        ("a.aac", &["-b:a", "256k"], 25.0, false),
        ("adpcm.wav", &["-c:a", "adpcm_ms"], 25.0, false),
    ];
    for (name, arguments, least_db, has_length) in cases {
        let Some(path) = encode(&dir, name, arguments) else { return };
        let samples = read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let db = snr_db(&samples);
        let num = samples.len() / 2;
        println!("{name}: {num} samples, {db:.1} dB");
        assert!(db > least_db, "{name}: {db:.1} dB");
        if has_length {
            assert_eq!(num, NUM_SAMPLES, "{name}");
        } else {
            assert!((NUM_SAMPLES..=NUM_SAMPLES + 4_096).contains(&num), "{name}: {num}");
        }
    }
}

#[test]
fn mp3_without_a_length_tag_keeps_its_end() {
    let dir = TempDir::new().unwrap();
    let Some(path) = encode(&dir, "vbr.mp3", &["-q:a", "2", "-write_xing", "0"]) else { return };
    let num = read(&path).unwrap().len() / 2;
    assert!(num >= NUM_SAMPLES, "{num}");
}

#[test]
fn wav_of_unknown_length_ends_with_its_bytes() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("stream.wav");
    write_wav(&path, 10_000, 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4..8].fill(0xff);
    bytes[40..44].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&path).unwrap().len(), 10_000);
}

#[test]
fn truncated_files_are_errors() {
    let dir = TempDir::new().unwrap();
    let cases: [(&str, &[&str]); 6] = [
        ("t.wav", &[]),
        ("t.aiff", &[]),
        ("t.flac", &[]),
        ("t.mp3", &[]),
        ("t.m4a", &["-movflags", "+faststart"]),
        ("tail.m4a", &[]),
    ];
    for (name, arguments) in cases {
        let Some(path) = encode(&dir, name, arguments) else { return };
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() * 2 / 3]).unwrap();
        let error = read(&path).expect_err(name);
        println!("{name}: {error}");
        // Without its index, M4A has no audio at all to show, and AIFF is not opened beyond its end.
        let is_expected = match name {
            "t.aiff" | "tail.m4a" => matches!(error, MediaError::Header { .. }),
            _ => matches!(error, MediaError::Truncated { .. } | MediaError::Decode { .. }),
        };
        assert!(is_expected, "{name}: {error}");
    }
}

#[test]
fn damage_in_the_middle_is_an_error() {
    let dir = TempDir::new().unwrap();
    let cases: [(&str, &[&str]); 3] = [("d.flac", &[]), ("d.mp3", &[]), ("d.m4a", &[])];
    for (name, arguments) in cases {
        let Some(path) = encode(&dir, name, arguments) else { return };
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 3_000].fill(0x55);
        fs::write(&path, &bytes).unwrap();
        println!("{name}: {}", read(&path).expect_err(name));
    }
}

#[test]
fn what_is_not_audio_says_so() {
    let dir = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let missing = read(&dir.path().join("missing.wav")).unwrap_err();
    assert_eq!(missing.to_string(), "the file does not exist");
    assert!(matches!(read(dir.path()).unwrap_err(), MediaError::Read(_)));
    assert!(matches!(read(&write("empty.wav", b"")).unwrap_err(), MediaError::EmptyFile));
    let text = b"To whom it may concern: this is a letter.\n".repeat(100);
    assert!(matches!(read(&write("text.wav", &text)).unwrap_err(), MediaError::UnknownFormat));
    let header_only = dir.path().join("none.wav");
    write_wav(&header_only, 0, 1);
    assert!(matches!(read(&header_only).unwrap_err(), MediaError::NoSamples));
}

#[test]
fn unsupported_codecs_say_so() {
    let dir = TempDir::new().unwrap();
    for (name, arguments) in [
        ("gsm.wav", &["-c:a", "g722"][..]),
        ("a.opus", &["-c:a", "libopus", "-ar", "48000"]),
        ("alac.m4a", &["-c:a", "alac"]),
    ] {
        let Some(path) = encode(&dir, name, arguments) else { return };
        let error = read(&path).expect_err(name);
        println!("{name}: {error}");
        let is_expected = matches!(
            error,
            MediaError::UnsupportedCodec { .. } | MediaError::UnknownFormat | MediaError::NoAudioTrack
        );
        assert!(is_expected, "{name}: {error:?}");
    }
}

#[test]
fn segments_are_cut_on_samples() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("long.wav");
    write_wav(&path, NUM_SAMPLES, 2);
    let whole = read(&path).unwrap();
    let cases = [
        (Some(0.5), Some(1.25)),
        (None, Some(0.001)),
        (Some(2.9), None),
        (Some(1.0), Some(1e9)),
        (None, None),
    ];
    for (start_s, end_s) in cases {
        let file = AudioFile::open_segment(&path, start_s, end_s).unwrap();
        let duration_s = file.duration_s().unwrap();
        let first = (start_s.unwrap_or(0.0) * f64::from(RATE_HZ)).round() as usize;
        let last = end_s.map_or(NUM_SAMPLES, |s| (s * f64::from(RATE_HZ)).round() as usize).min(NUM_SAMPLES);
        assert!((duration_s - (last - first) as f64 / f64::from(RATE_HZ)).abs() < 1e-9);
        assert_eq!(read_all(file).unwrap(), whole[2 * first..2 * last], "{start_s:?}..{end_s:?}");
    }
    let bad = [
        (Some(-1.0), None),
        (Some(2.0), Some(1.0)),
        (Some(1.0), Some(1.0)),
        (Some(f64::NAN), None),
        (None, Some(f64::NAN)),
    ];
    for (start_s, end_s) in bad {
        let error = AudioFile::open_segment(&path, start_s, end_s).err().unwrap();
        assert!(matches!(error, MediaError::Segment { .. }), "{start_s:?}..{end_s:?}");
    }
    let past_end = AudioFile::open_segment(&path, Some(5.0), Some(6.0)).unwrap();
    assert!(matches!(read_all(past_end).unwrap_err(), MediaError::NoSamples));
}

#[test]
fn mono_is_the_mean_of_the_channels_at_16_khz() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("stereo.wav");
    write_wav(&path, NUM_SAMPLES, 2);
    let mono = read_mono_16k(&path).unwrap();
    assert_eq!(mono.len(), (NUM_SAMPLES * 16_000).div_ceil(RATE_HZ as usize));
    // The tones lie far below 8 kHz, so resampling only interpolates them.
    for (i, &sample) in mono.iter().enumerate().take(40_000).skip(1_000) {
        let t = i as f32 / 16_000.0;
        let chirp = |channel: f32| (core::f32::consts::TAU * (200.0 + 100.0 * channel + 150.0 * t) * t).sin();
        let expected = 0.15 * (chirp(0.0) + chirp(1.0)) + 0.2 * (core::f32::consts::TAU * 1_234.5 * t).sin();
        assert!((sample - expected).abs() < 2e-3, "sample {i}: {sample}, expected {expected}");
    }
}

//! `aesa stream`, which has to give what `aesa score` gives.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout};
use std::thread;

use super::*;

/// A process that takes raw PCM from this test.
pub(super) struct Stream {
    pub(super) child: Child,
    lines: BufReader<ChildStdout>,
}

impl Stream {
    pub(super) fn start(place: &Place, model: &str, arguments: &[&str]) -> Self {
        let mut command = place.command("stream");
        command.args(["--model", model, "--quiet"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    pub(super) fn next_line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "half a line: {line:?}");
        serde_json::from_str(&line).unwrap()
    }
}

/// Everything that a command gives for these bytes on its standard input, which are written `step` at a time.
pub(super) fn output_of(command: &mut Command, bytes: Vec<u8>, step: usize) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        // A command that refuses its arguments does not read.
        _ = bytes.chunks(step).try_for_each(|chunk| stdin.write_all(chunk));
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn stream(place: &Place, arguments: &[&str], bytes: Vec<u8>) -> Output {
    output_of(
        place.command("stream").args(["--model", "tiny.onnx", "--quiet"]).args(arguments),
        bytes,
        10_001,
    )
}

/// A WAV file's samples as they are stored, with its rate and channels as arguments.
pub(super) fn raw(path: &Path) -> (Vec<u8>, [String; 4]) {
    let mut wav = hound::WavReader::open(path).unwrap();
    let spec = wav.spec();
    assert_eq!((spec.bits_per_sample, spec.sample_format), (16, hound::SampleFormat::Int));
    let bytes = wav.samples::<i16>().flat_map(|s| s.unwrap().to_le_bytes()).collect();
    let (rate, channels) = (spec.sample_rate.to_string(), spec.channels.to_string());
    (bytes, ["--rate".to_string(), rate, "--channels".to_string(), channels])
}

/// Noise at 16 kHz, mono, s16le.
pub(super) fn noise(num_samples: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) as i16 / 4).to_le_bytes()
    };
    (0..num_samples).flat_map(|_| next()).collect()
}

/// Asserts that a stream's lines have the very scores of `aesa score --frames --format jsonl` for one clip.
pub(super) fn assert_same_scores(streamed: &Output, scored: &Output) {
    assert_code(streamed, 0);
    assert_code(scored, 0);
    let (mut frames, clip) = (lines(streamed), &lines(scored)[0]);
    let last = frames.pop().unwrap();
    let expected = clip["frames"].as_array().unwrap();
    assert_eq!(frames.len(), expected.len());
    for (frame, expected) in frames.iter().zip(expected) {
        for key in ["start_s", "end_s", "PQ", "PC", "CE", "CU"] {
            assert_eq!(frame[key], expected[key], "{key} of {frame}");
        }
        assert_eq!((&frame["gap"], &frame["lost"]), (&false.into(), &false.into()));
    }
    for axis in ["PQ", "PC", "CE", "CU"] {
        assert_eq!(last["scores"][axis], clip[axis], "{axis} of the clip");
    }
    assert_eq!(last["num_frames"], frames.len());
    assert_eq!(last["num_lost_frames"], 0);
}

#[test]
fn the_starter_models_scores_of_a_golden_clip_are_the_files() {
    let place = Place::new();
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/starter");
    // In chunks, unless windows are asked for.
    let cases: [(&str, &[&str], &str, Value); 2] = [
        ("model.aesa", &[], "chunked", Value::Null),
        ("model.onnx", &["--hop", "9.92"], "windowed", 9.92.into()),
    ];
    for (file, options, policy, hop_s) in cases {
        for name in ["rain.wav", "siren.wav"] {
            let path = starter.join("golden").join(name);
            let mut score = place.command("score");
            score.arg("--model").arg(starter.join(file)).args(["--frames", "--format", "jsonl"]).arg(&path);
            let (bytes, spec) = raw(&path);
            let streamed = output_of(place.command("stream").args(options).args(spec), bytes, 4096);
            assert_same_scores(&streamed, &score.output().unwrap());
            assert!(stderr(&streamed).contains("labels: proxy"), "{}", stderr(&streamed));
            let last = lines(&streamed).pop().unwrap();
            assert_eq!(
                (&last["model"]["id"], &last["model"]["labels"]),
                (&"starter".into(), &"proxy".into())
            );
            assert_eq!((&last["policy"]["name"], &last["policy"]["hop_s"]), (&policy.into(), &hop_s));
            assert!(last["note"].as_str().unwrap().contains("labels: proxy"));
        }
    }
}

#[test]
fn windows_and_tail_of_a_long_stereo_clip_are_the_files() {
    let place = Place::new();
    let path = place.wav("a.wav", 25 * RATE_HZ as usize, 3);
    let scored = place.score(&["--frames", "--format", "jsonl", "a.wav"]);
    let (bytes, spec) = raw(&path);
    let spec: Vec<&str> = spec.iter().map(String::as_str).collect();
    assert_same_scores(&stream(&place, &spec, bytes.clone()), &scored);
    let floats = bytes.as_chunks().0.iter().map(|b| f32::from(i16::from_le_bytes(*b)) / 32_768.0);
    let floats: Vec<u8> = floats.flat_map(f32::to_le_bytes).collect();
    assert_same_scores(&stream(&place, &[&spec[..], &["--format", "f32le"]].concat(), floats), &scored);
}

#[test]
fn how_the_bytes_come_changes_nothing() {
    let place = Place::new();
    let arguments = ["stream", "--model", "tiny.onnx", "--hop", "1", "--look-ahead", "0.5", "--rate", "8000"];
    let output = |step| {
        let output = output_of(place.command(arguments[0]).args(&arguments[1..]), noise(40_000), step);
        assert_code(&output, 0);
        output.stdout
    };
    let expected = output(80_000);
    for step in [7, 333, 16_384] {
        assert_eq!(output(step), expected, "{step} bytes at a time");
    }
    let text = String::from_utf8(expected).unwrap();
    // 5 s are 498 frames of 10 ms: 31 steps.
    assert_eq!(text.lines().count(), 31 + 1);
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["policy"]["hop_s"], &last["policy"]["look_ahead_s"]), (&0.96.into(), &0.64.into()));
    assert_eq!(last["duration_s"], 5.0);
}

#[test]
fn frames_come_while_the_input_goes_on() {
    let place = Place::new();
    let mut stream = Stream::start(&place, "tiny.onnx", &["--hop", "0.48", "--look-ahead", "0.48"]);
    // Windows of 62 steps at a hop of 3 end at 5 and 8: with 3 steps of look-ahead that is five frames.
    stream.write(&noise(8 * 2560 + 240));
    for i in 0..5 {
        assert_eq!(stream.next_line()["start_s"], f64::from(i) * 2560.0 / 16_000.0);
    }
    // The next window brings the next three.
    stream.write(&noise(3 * 2560));
    for i in 5..8 {
        assert_eq!(stream.next_line()["start_s"], f64::from(i) * 2560.0 / 16_000.0);
    }
    drop(stream.child.stdin.take());
    assert_eq!(
        core::iter::repeat_with(|| stream.next_line()).position(|line| line["scores"].is_object()),
        Some(3)
    );
    assert!(stream.child.wait().unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_stream_with_its_score() {
    let place = Place::new();
    for signal in ["-INT", "-TERM"] {
        let mut stream = Stream::start(&place, "tiny.onnx", &["--hop", "0.96"]);
        stream.write(&noise(48_000));
        // Its input stays open; the first line says that it listens, and has taken up the signals before.
        stream.next_line();
        // The shell's own: small containers have no program of that name.
        let kill = format!("kill {signal} {}", stream.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success());
        let clip =
            core::iter::repeat_with(|| stream.next_line()).find(|line| line["scores"].is_object()).unwrap();
        assert!(clip["num_frames"].as_u64().unwrap() >= 1, "{clip}");
        assert_eq!(stream.child.wait().unwrap().code(), Some(0), "{signal}");
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut stream.child.stderr.take().unwrap(), &mut rest).unwrap();
        assert_eq!(rest, "", "{signal}");
    }
}

#[test]
fn a_reader_that_has_gone_ends_it_quietly() {
    let place = Place::new();
    let mut command = place.command("stream");
    command.args(["--model", "tiny.onnx", "--quiet", "--hop", "0.96"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    // It stops reading before all is written.
    let mut stdin = child.stdin.take().unwrap();
    let written = (0..100).try_for_each(|_| stdin.write_all(&noise(16_000)));
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 0);
    assert_eq!(stderr(&output), "");
}

#[test]
fn bad_input_is_told_and_what_came_before_it_is_scored() {
    let place = Place::new();
    let mut odd = noise(20_000);
    odd.push(1);
    let floats = |samples: [f32; 4]| samples.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>();
    let mut nan = floats([0.1; 4]).repeat(2_500);
    nan.extend(floats([0.1, 0.1, f32::NAN, 0.1]));
    nan.extend(floats([0.1; 4]).repeat(2_500));
    type Case<'a> = (&'a str, &'a [&'a str], Vec<u8>, &'a str, bool);
    let cases: [Case<'_>; 6] = [
        ("an odd byte", &[], odd, "within a sample: 1 of 2 bytes", true),
        ("half a pair", &["--channels", "2"], noise(20_001), "within a sample: 2 of 4 bytes", true),
        ("NaN", &["--format", "f32le"], nan, "sample 10002 is not a finite number", true),
        ("nothing", &[], Vec::new(), "no audio came in", false),
        ("one byte", &[], vec![0], "within a sample: 1 of 2 bytes", false),
        ("too little", &[], noise(2_799), "too short: 2799 samples", false),
    ];
    for (name, arguments, bytes, reason, is_scored) in cases {
        let output = stream(&place, arguments, bytes);
        assert_code(&output, 1);
        assert_eq!(stderr(&output).lines().count(), 1, "{name}: {}", stderr(&output));
        assert!(stderr(&output).starts_with("aesa: ") && stderr(&output).contains(reason), "{name}");
        let last = lines(&output).pop();
        assert_eq!(last.is_some_and(|line| line["scores"]["PQ"].is_f64()), is_scored, "{name}");
    }
}

#[test]
fn options_that_cannot_be_are_code_2() {
    let place = Place::new();
    for (arguments, reason) in [
        (["--hop", "0.1"], "the hop has to be at least 1"),
        (["--look-ahead", "3"], "both together at most 62"),
        (["--look-ahead=-1", "--quiet"], "not a time"),
        (["--hop", "NaN"], "not a time"),
        (["--rate", "100"], "sample rate 100 Hz is outside"),
        (["--channels", "0"], "channels"),
        (["--format", "s24"], "s16le"),
        (["--model", "none.onnx"], "none.onnx"),
        (["--threads", "0"], "--threads"),
        (["--threads=2", "--model=tiny.onnx"], "--threads 2: a model in ONNX is scored on one thread"),
    ] {
        let output = output_of(place.command("stream").args(arguments), noise(16_000), 1000);
        assert_code(&output, 2);
        assert!(stderr(&output).contains(reason), "{arguments:?}: {}", stderr(&output));
    }
    let output = output_of(place.command("stream").arg("--live"), noise(16_000), 1000);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("no terminal"), "{}", stderr(&output));
}

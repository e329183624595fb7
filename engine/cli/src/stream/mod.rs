//! `aesa stream`: scores while the audio comes in, in constant memory.
//!
//! ```text
//! source.rs: reader thread, signals --> pcm.rs: samples --> scorer --> lines.rs: JSON lines
//! microphone.rs (feature) ---------------------------------'  '-----> live.rs: meters and a chart
//! ```

mod error;
mod lines;
mod live;
#[cfg(feature = "microphone")]
mod microphone;
mod pcm;
mod source;

use core::num::{NonZeroU16, NonZeroUsize};
use std::io::{self, IsTerminal, Write, stderr, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::Receiver;

use aesa::{AudioSpec, Policy, Scorer, ScorerError, WindowPolicy};
use aesa_runtime::{Model, Session};
use anyhow::{Context, bail};
use clap::Args;

use self::error::StreamError;
use self::lines::Summary;
use self::live::Live;
use self::pcm::{Decoder, PcmFormat};
use self::source::Event;
use crate::EXIT_SOME_FAILED;
use crate::model;
use crate::output::Provenance;

/// Arguments of `aesa stream`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StreamArgs {
    /// Samples per second and channel [default: 16000].
    #[arg(short, long, value_name = "HZ")]
    rate: Option<u32>,
    /// Channels, interleaved; they are averaged [default: 1].
    #[arg(short, long, value_name = "N")]
    channels: Option<NonZeroU16>,
    /// How samples are stored.
    #[arg(short, long, value_enum, default_value = "s16le")]
    format: PcmFormat,
    /// Listen to the microphone instead of standard input, at its own rate and number of channels.
    #[cfg(feature = "microphone")]
    #[arg(long, conflicts_with_all = ["rate", "channels", "format"])]
    microphone: bool,
    /// Model file, ONNX or model.aesa; the starter model inside this program if none is given, in chunks of 0.96 s or, with
    /// --hop or --look-ahead, in windows.
    #[arg(short, long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Windows: time from one to the next, rounded down to steps of 0.16 s [default: the model's window, 9.92 s].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    hop: Option<f64>,
    /// Windows: audio to hear after a frame before it is scored, rounded up to steps of 0.16 s [default: 0].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    look_ahead: Option<f64>,
    /// Threads for one window or chunk of a model.aesa; any number gives the same scores. For a large model: the starter's chunks are
    /// too small to share.
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    /// Draw meters and a rolling chart on the terminal (standard error); lines only where standard output is no terminal.
    #[arg(long)]
    live: bool,
    /// No notes; errors are still told.
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "Examples:
  arecord -f S16_LE -r 16000 -t raw | aesa stream
  ffmpeg -loglevel error -i talk.mp3 -f s16le -ac 1 -ar 16000 - | aesa stream > scores.jsonl
  ffmpeg -loglevel error -re -i talk.mp3 -f f32le -ac 2 -ar 48000 - |
      aesa stream --rate 48000 --channels 2 --format f32le --live
  ffmpeg -loglevel error -i talk.mp3 -f s16le -ac 1 -ar 16000 - | aesa stream --hop 0.96 --look-ahead 0.96

One JSON line per frame of 160 ms as soon as its scores are final: {\"start_s\", \"end_s\", \"PQ\", \"PC\", \"CE\", \"CU\", \"gap\",
\"lost\"}, where `gap` says that audio was lost in what the model heard for it, and `lost` that it was lost in the frame
itself. The last line has the clip's `scores`, the mean of all frames that are not lost, and which model and policy made
them.

A model for chunks (the starter, unless asked for windows) carries its state from chunk to chunk: a score comes at most one
chunk after its frame began (plus 15 ms, and what resampling takes), and the cost per second stays that of a file. In windows
a score comes at most hop + look-ahead after its frame began (plus the same), and a window is scored once per hop: a smaller
hop costs more. A model for windows gives without --hop and --look-ahead (the starter: with --hop 9.92) the scores of
`aesa score`, to the last bit. Memory does not grow with time.

End the input, or stop with ctrl-C (SIGINT, SIGTERM): the clip's line is still written. A second ctrl-C ends at once.

Exit code: 0 if the clip was scored, also after ctrl-C or where the reader of the output has gone; 1 if the input was
too short, or ended in an error (its reason is on standard error; what came before is still scored); 2 if nothing could
be done (wrong use, no model); 130 after a second ctrl-C.";

/// Runs the command.
pub(crate) fn run(args: &StreamArgs) -> anyhow::Result<ExitCode> {
    let mut source = args.source()?;
    if args.live && !stderr().is_terminal() {
        bail!("--live draws on standard error, which is no terminal");
    }
    let model = args.model()?;
    let provenance = Provenance::new(&model);
    let windows = args.windows(model.info().policy)?;
    let mut scorer = Scorer::new(model.session(), source.spec())?;
    if let Some(windows) = windows {
        scorer = scorer.with_policy(windows)?;
    }
    let mut notes = vec![provenance.line(), timing(&scorer, windows)];
    notes.extend(provenance.note().map(str::to_string));
    if !args.quiet && !args.live {
        // Nobody is left to tell if stderr is closed.
        notes.iter().for_each(|note| _ = writeln!(stderr(), "aesa: {note}"));
    }
    let mut stream = Stream {
        decoder: Decoder::new(args.format, scorer.spec().num_channels),
        lines: !args.live || !stdout().is_terminal(),
        live: args.live.then(|| Live::new(notes)).transpose()?,
        num_frames: 0,
        scorer,
    };
    let events = source.start()?;
    let problem = stream.follow(&events)?;
    let ended = stream.finish()?;
    // The terminal is itself again before anything is told.
    drop(stream.live.take());
    let problem = match (problem, ended) {
        (problem, Ok(summary)) => {
            lines::write_clip(&mut stdout(), &summary, &provenance, windows)?;
            problem
        }
        (problem, Err(error)) => problem.or(Some(error)),
    };
    let Some(problem) = problem else { return Ok(ExitCode::SUCCESS) };
    _ = writeln!(stderr(), "aesa: {problem}");
    Ok(ExitCode::from(EXIT_SOME_FAILED))
}

impl StreamArgs {
    /// The model to stream through.
    fn model(&self) -> anyhow::Result<Model> {
        let model = match (&self.model, self.hop.or(self.look_ahead)) {
            (None, None) => model::starter_in_chunks(),
            (path, _) => model::load(path.as_deref()),
        }?;
        model::with_threads(model, self.threads)
    }

    /// How windows follow one another, for a model that hears in windows.
    fn windows(&self, policy: Policy) -> anyhow::Result<Option<WindowPolicy>> {
        match policy {
            Policy::Windowed { window_steps } => {
                let hop_s = self.hop.unwrap_or(WindowPolicy::without_overlap(window_steps).hop_s());
                Ok(Some(WindowPolicy::from_seconds(hop_s, self.look_ahead.unwrap_or(0.0))))
            }
            Policy::Chunked { chunk_steps, .. } => {
                if self.hop.is_some() || self.look_ahead.is_some() {
                    let chunk_s = WindowPolicy::without_overlap(chunk_steps).hop_s();
                    bail!(
                        "--hop and --look-ahead are for models that hear in windows; this one hears in chunks of \
                         {chunk_s:.2} s"
                    );
                }
                Ok(None)
            }
        }
    }

    fn source(&self) -> anyhow::Result<Source> {
        #[cfg(feature = "microphone")]
        if self.microphone {
            return Ok(Source::Microphone(microphone::Microphone::open()?));
        }
        if stdin().is_terminal() {
            bail!(
                "standard input is a terminal: raw PCM has to come through a pipe or from a file; see --help"
            );
        }
        Ok(Source::Stdin(AudioSpec {
            sample_rate_hz: self.rate.unwrap_or(AudioSpec::MONO_16K.sample_rate_hz),
            num_channels: self.channels.map_or(1, |n| n.get().into()),
        }))
    }
}

/// Where the audio comes from.
enum Source {
    Stdin(AudioSpec),
    #[cfg(feature = "microphone")]
    Microphone(microphone::Microphone),
}

impl Source {
    fn spec(&self) -> AudioSpec {
        match self {
            Self::Stdin(spec) => *spec,
            #[cfg(feature = "microphone")]
            Self::Microphone(microphone) => microphone.spec(),
        }
    }

    /// Begins to listen; a microphone does so until `self` is dropped.
    fn start(&mut self) -> anyhow::Result<Receiver<Event>> {
        let num_events = match self {
            Self::Stdin(_) => source::QUEUE_CHUNKS,
            #[cfg(feature = "microphone")]
            Self::Microphone(_) => microphone::QUEUE_CHUNKS,
        };
        let queue = source::queue(num_events);
        let (events, sender, is_stopped) = queue.context("signals cannot be handled")?;
        match self {
            Self::Stdin(_) => source::read(stdin(), sender, is_stopped),
            #[cfg(feature = "microphone")]
            Self::Microphone(microphone) => microphone.start(sender, is_stopped)?,
        }
        Ok(events)
    }
}

/// A stream on its way from samples to scores.
struct Stream<'m> {
    decoder: Decoder,
    scorer: Scorer<Session<'m>>,
    /// Whether each frame has its line on standard output.
    lines: bool,
    live: Option<Live>,
    num_frames: u64,
}

impl Stream<'_> {
    /// Scores until the input ends or the user stops it; returns what was wrong with the input, if anything.
    ///
    /// # Errors
    /// Where the output cannot be written.
    fn follow(&mut self, events: &Receiver<Event>) -> io::Result<Option<StreamError>> {
        for event in events {
            let result = match event {
                Event::Bytes(bytes) => accept(&mut self.scorer, self.decoder.decode(&bytes)),
                #[cfg(feature = "microphone")]
                Event::Samples(samples) => accept(&mut self.scorer, &samples),
                #[cfg(feature = "microphone")]
                Event::Lost(num_samples) => self.scorer.gap(num_samples).map_err(StreamError::from),
                Event::Failed(error) => Err(error),
                Event::End => return Ok(self.incomplete_sample()),
                Event::Stop => return Ok(None),
            };
            self.show()?;
            if let Err(error) = result {
                return Ok(Some(error));
            }
        }
        Ok(None)
    }

    /// Scores what is left.
    ///
    /// # Errors
    /// Where the output cannot be written.
    fn finish(&mut self) -> io::Result<Result<Summary, StreamError>> {
        let result = self.scorer.finish();
        self.show()?;
        Ok(match result {
            Ok(clip) => Ok(Summary { clip, num_frames: self.num_frames, duration_s: self.duration_s() }),
            Err(ScorerError::TooShort { .. }) if self.scorer.num_samples() == 0 => Err(StreamError::NoAudio),
            Err(error) => Err(error.into()),
        })
    }

    /// Hands out the frames that are ready.
    fn show(&mut self) -> io::Result<()> {
        while let Some(frame) = self.scorer.next_frame() {
            self.num_frames += 1;
            if self.lines {
                lines::write_frame(&mut stdout(), &frame)?;
            }
            if let Some(live) = &mut self.live {
                live.push(frame);
            }
        }
        let (now_s, clip) = (self.duration_s(), self.scorer.clip_score_so_far());
        self.live.as_mut().map_or(Ok(()), |live| live.draw(now_s, clip))
    }

    /// What an input that ends within a sample is told.
    fn incomplete_sample(&self) -> Option<StreamError> {
        let (num_bytes, group_bytes) = (self.decoder.num_left_over(), self.decoder.group_bytes());
        (num_bytes > 0).then_some(StreamError::IncompleteSample { num_bytes, group_bytes })
    }

    fn duration_s(&self) -> f64 {
        self.scorer.num_samples() as f64 / f64::from(self.scorer.spec().sample_rate_hz)
    }
}

/// Scores samples; of a chunk that is not all numbers, what comes before, so that how it was cut does not matter.
fn accept(scorer: &mut Scorer<Session<'_>>, samples: &[f32]) -> Result<(), StreamError> {
    let result = scorer.accept_waveform(samples);
    if let Err(ScorerError::NonFinite { index }) = result {
        let num_good = (index - scorer.num_samples()) as usize * scorer.spec().num_channels;
        scorer.accept_waveform(&samples[..num_good])?;
    }
    Ok(result?)
}

/// How long scores take to come, for people.
fn timing(scorer: &Scorer<Session<'_>>, windows: Option<WindowPolicy>) -> String {
    match windows {
        Some(windows) => {
            format!("hop: {:.2} s · look-ahead: {:.2} s", windows.hop_s(), windows.look_ahead_s())
        }
        None => {
            let latency_s = scorer.latency_samples() as f64 / f64::from(scorer.spec().sample_rate_hz);
            format!("chunk: {:.2} s · latency: {latency_s:.2} s", scorer.policy().hop_s())
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}"))?;
    if seconds >= 0.0 && seconds.is_finite() { Ok(seconds) } else { Err("not a time".to_string()) }
}

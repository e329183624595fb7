//! What happens to a stream: audio comes in, its input ends, the user stops it.

use core::sync::atomic::{AtomicBool, Ordering};
use std::io::{ErrorKind, Read};
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::error::StreamError;
use super::live;

/// The next thing that happened.
#[derive(Debug)]
pub(super) enum Event {
    /// Bytes of raw PCM, cut anywhere.
    Bytes(Vec<u8>),
    /// Interleaved samples.
    #[cfg(feature = "microphone")]
    Samples(Vec<f32>),
    /// So many samples per channel were lost here.
    #[cfg(feature = "microphone")]
    Lost(u64),
    /// The input has ended.
    End,
    /// Nothing more can come.
    Failed(StreamError),
    /// SIGINT or SIGTERM; audio read before comes before.
    Stop,
}

/// Where events come out, where audio goes in, and the mark that says when to send no more.
type Queue = (Receiver<Event>, SyncSender<Event>, Arc<AtomicBool>);

/// The queue of events, with a sender for the audio and the mark that says when to send no more. SIGINT and SIGTERM
/// are handled from now on: the first ends the stream, the second the program.
///
/// It holds `num_events`; where that is short, a slow receiver slows the reader down.
///
/// # Errors
/// Where the system refuses the handler.
pub(super) fn queue(num_events: usize) -> Result<Queue, ctrlc::Error> {
    let (sender, events) = sync_channel(num_events);
    let is_stopped = Arc::new(AtomicBool::new(false));
    let (stop_sender, stop) = (sender.clone(), is_stopped.clone());
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            // Whoever insists does not want to wait for the last window.
            live::restore();
            process::exit(EXIT_INTERRUPTED);
        }
        let sender = stop_sender.clone();
        // The queue may be full, and a second signal must be heard meanwhile.
        thread::spawn(move || _ = sender.send(Event::Stop));
    })?;
    Ok((events, sender, is_stopped))
}

/// Reads in a thread of its own, because a read cannot be interrupted.
pub(super) fn read(
    mut input: impl Read + Send + 'static,
    sender: SyncSender<Event>,
    is_stopped: Arc<AtomicBool>,
) {
    thread::spawn(move || {
        while !is_stopped.load(Ordering::Relaxed) {
            let mut bytes = vec![0; CHUNK_BYTES];
            let event = match input.read(&mut bytes) {
                Ok(0) => Event::End,
                Ok(num_bytes) => {
                    bytes.truncate(num_bytes);
                    Event::Bytes(bytes)
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Event::Failed(StreamError::Read(error)),
            };
            let is_last = !matches!(event, Event::Bytes(_));
            // Nobody listens any more once the stream has ended.
            if sender.send(event).is_err() || is_last {
                break;
            }
        }
    });
}

const CHUNK_BYTES: usize = 16 << 10;

/// A queue for [`read`].
pub(super) const QUEUE_CHUNKS: usize = 4;

/// What a shell reports for a program that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

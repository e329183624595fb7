//! Nothing unwinds into C: errors and panics become codes, and the thread keeps the words of the last one.
//!
//! The message is the thread's and not a handle's because loading a model can fail, too, before there is a handle.

use core::any::Any;
use core::cell::RefCell;
use core::ffi::c_char;
use core::fmt::Display;
use core::panic::AssertUnwindSafe;
use std::ffi::CString;
use std::panic::catch_unwind;

use aesa::ScorerError;
use aesa_runtime::{LoadError, SessionError};

use crate::status::AesaStatus;

/// A code and its explanation.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: AesaStatus,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: AesaStatus, message: impl Display) -> Self {
        Self { status, message: message.to_string() }
    }

    fn panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self::new(
            AesaStatus::Internal,
            format_args!("a bug in aesa: {}", text.unwrap_or("a panic without words")),
        )
    }
}

impl From<ScorerError<SessionError>> for Failure {
    fn from(error: ScorerError<SessionError>) -> Self {
        let status = match &error {
            ScorerError::TooShort { .. } => AesaStatus::TooShort,
            ScorerError::SampleRate { .. } | ScorerError::Channels { .. } => AesaStatus::InvalidArgument,
            ScorerError::Policy { .. } | ScorerError::NotWindowed { .. } => AesaStatus::InvalidArgument,
            ScorerError::IncompleteSample { .. } | ScorerError::NonFinite { .. } => AesaStatus::Audio,
            ScorerError::AllLost { .. } => AesaStatus::AllLost,
            ScorerError::Network(_) | ScorerError::BadScore { .. } => AesaStatus::Network,
            ScorerError::Finished => AesaStatus::Finished,
            _ => AesaStatus::Internal,
        };
        Self::new(status, error)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let status =
            if matches!(error, LoadError::Read { .. }) { AesaStatus::Read } else { AesaStatus::Model };
        Self::new(status, error)
    }
}

/// Does the work of a function that C calls; remembers the message of a failure.
pub(crate) fn guarded(work: impl FnOnce() -> Result<AesaStatus, Failure>) -> AesaStatus {
    // What a panic leaves half done is behind a lock, which is then poisoned, or belongs to nobody any more.
    let result =
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(Failure::panic(&*payload)));
    result.unwrap_or_else(|failure| {
        remember(failure.message);
        failure.status
    })
}

/// The message of the last call on this thread that failed; empty if none has. Never null; lives until the next call on
/// this thread that fails, and no longer than the thread.
#[unsafe(no_mangle)]
pub extern "C" fn aesa_last_error() -> *const c_char {
    // At a thread's end its message may be gone already.
    LAST_MESSAGE.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

fn remember(message: String) {
    let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
    // At a thread's end there is nobody left to ask for it.
    let _ = LAST_MESSAGE.try_with(|last| *last.borrow_mut() = message);
}

thread_local! {
    static LAST_MESSAGE: RefCell<CString> = RefCell::default();
}

#[cfg(test)]
mod tests {
    use core::ffi::CStr;

    use super::*;

    fn last_message() -> String {
        // SAFETY: the pointer is never null, and no call fails on this thread while it is read.
        unsafe { CStr::from_ptr(aesa_last_error()) }.to_str().unwrap().to_string()
    }

    #[test]
    fn a_panic_is_a_code_with_its_words() {
        assert_eq!(last_message(), "");
        assert_eq!(guarded(|| panic!("seven of {}", 9)), AesaStatus::Internal);
        assert_eq!(last_message(), "a bug in aesa: seven of 9");
        assert_eq!(guarded(|| std::panic::panic_any(5)), AesaStatus::Internal);
        assert_eq!(last_message(), "a bug in aesa: a panic without words");
    }

    #[test]
    fn messages_stay_on_their_thread_and_until_the_next() {
        let fail = |words: &str| guarded(|| Err(Failure::new(AesaStatus::Model, words)));
        assert_eq!(fail("one\0two"), AesaStatus::Model);
        assert_eq!(guarded(|| Ok(AesaStatus::None)), AesaStatus::None);
        assert_eq!(last_message(), "one two");
        assert_eq!(std::thread::spawn(last_message).join().unwrap(), "");
    }
}

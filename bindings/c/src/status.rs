//! The codes that functions answer with.

use core::ffi::{CStr, c_char};

/// What a function answers. Errors are negative; numbers keep their meaning in later versions, which may have more of them.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AesaStatus {
    /// Done.
    Ok = 0,
    /// No error, but nothing to give yet: no frame is ready, or no score so far.
    None = 1,
    /// A pointer is null that may not be.
    NullArgument = -1,
    /// A size, rate, number of channels, policy, path or alignment that cannot be.
    InvalidArgument = -2,
    /// The file cannot be read.
    Read = -3,
    /// The bytes are no model, or a damaged one, or one that this library cannot run.
    Model = -4,
    /// The library was built without what was asked for.
    Unsupported = -5,
    /// Half a sample, or values that are not finite. Nothing of the chunk was taken; the clip can go on.
    Audio = -6,
    /// The clip ended before its first 175 ms were complete.
    TooShort = -7,
    /// Audio was lost in every step of the clip.
    AllLost = -8,
    /// The clip has ended, by finish or by an error; reset begins another.
    Finished = -9,
    /// The network failed; the clip has ended.
    Network = -10,
    /// The scorer is in a call on another thread.
    Busy = -11,
    /// A bug in aesa, caught. The handle answers so from then on: free it.
    Internal = -12,
}

impl AesaStatus {
    const ALL: [(Self, &'static CStr); 14] = [
        (Self::Ok, c"ok"),
        (Self::None, c"nothing yet"),
        (Self::NullArgument, c"null argument"),
        (Self::InvalidArgument, c"invalid argument"),
        (Self::Read, c"the file cannot be read"),
        (Self::Model, c"not a usable model"),
        (Self::Unsupported, c"not built in"),
        (Self::Audio, c"unusable audio"),
        (Self::TooShort, c"too short"),
        (Self::AllLost, c"all audio was lost"),
        (Self::Finished, c"the clip has ended"),
        (Self::Network, c"the network failed"),
        (Self::Busy, c"in use on another thread"),
        (Self::Internal, c"a bug in aesa"),
    ];
}

/// A code in a few English words; any number may be asked for. Lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn aesa_status_text(status: i32) -> *const c_char {
    let known = AesaStatus::ALL.into_iter().find(|(code, _)| *code as i32 == status);
    known.map_or(c"unknown status", |(_, text)| text).as_ptr()
}

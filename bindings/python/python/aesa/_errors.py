"""What can go wrong; every class is an AesaError and the built-in exception nearest to it."""


class AesaError(Exception):
    """Any failure that aesa names. A wrong type is a plain TypeError."""


class ModelError(AesaError, ValueError):
    """The bytes are no model, a damaged one, or one that this build cannot run."""


class FileError(AesaError, OSError):
    """A model or an audio file cannot be read; `filename` and, where the system gave one, `errno` say more."""


class AudioError(AesaError, ValueError):
    """Audio that cannot be scored: its rate, its shape, a value that is not finite."""


class TooShortError(AudioError):
    """The clip ended before its first 175 ms were complete."""


class AllLostError(AudioError):
    """Audio was lost in every frame of the clip."""


class DecodeError(AudioError):
    """An audio file is damaged, cut short or of a kind that is not supported."""


class PolicyError(AesaError, ValueError):
    """Hop and look-ahead that the model's windows cannot give, or for a model that hears in chunks."""


class StreamError(AesaError, RuntimeError):
    """The stream cannot take this call now: it has ended, is closed, or is in a call on another thread."""


class NetworkError(AesaError, RuntimeError):
    """The network failed; the clip has ended."""

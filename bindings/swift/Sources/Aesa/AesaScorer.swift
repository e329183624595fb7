import Foundation
#if canImport(AVFAudio)
import AVFAudio
#endif

/// Scores one clip or stream at a time: samples in, a `Frame` for every 160 ms and the `Clip`'s scores out.
///
/// How the audio is cut into chunks never changes a score. A call from a second thread waits until the first one's has
/// ended. What fails throws an `AesaError`.
public final class AesaScorer: Sendable {
    /// Samples per second and channel of what `accept` takes.
    public let sampleRateHz: Int
    /// Interleaved channels of what `accept` takes; they are averaged.
    public let numChannels: Int
    private let scorer: Scorer

    /// A scorer at the start of a clip.
    ///
    /// - Throws: `AesaError.InvalidArgument` for a rate or number of channels that cannot be.
    public init(_ model: Model, sampleRateHz: Int = 16_000, numChannels: Int = 1) throws {
        scorer = try model.scorer(sampleRateHz: Int32(clamping: sampleRateHz), numChannels: Int32(clamping: numChannels))
        self.sampleRateHz = sampleRateHz
        self.numChannels = numChannels
    }

    /// A scorer for a windowed model that gives scores every `hopSteps` steps of 160 ms, `lookAheadSteps` after their frame.
    ///
    /// - Throws: `AesaError.InvalidArgument`, also for a model that hears a clip in chunks.
    public init(_ model: Model, sampleRateHz: Int, numChannels: Int, hopSteps: Int, lookAheadSteps: Int) throws {
        scorer = try model.scorerWithHop(
            sampleRateHz: Int32(clamping: sampleRateHz), numChannels: Int32(clamping: numChannels),
            hopSteps: Int32(clamping: hopSteps), lookAheadSteps: Int32(clamping: lookAheadSteps))
        self.sampleRateHz = sampleRateHz
        self.numChannels = numChannels
    }

    /// Takes the next chunk of interleaved 16-bit samples.
    ///
    /// - Throws: `AesaError.Audio` for a chunk that does not hold a sample of every channel to its end (nothing is taken
    ///   then); `AesaError.Finished` after the clip's end.
    public func accept(_ samples: [Int16]) throws {
        try samples.withUnsafeBytes { try scorer.acceptI16(interleaved: Self.shared($0)) }
    }

    /// Takes the next chunk of interleaved floats, full scale 1.
    ///
    /// - Throws: `AesaError.Audio` as for 16-bit samples, and for values that are not finite; `AesaError.Finished` after the
    ///   clip's end.
    public func accept(_ samples: [Float]) throws {
        try samples.withUnsafeBytes { try scorer.acceptF32(interleaved: Self.shared($0)) }
    }

    #if canImport(AVFAudio)
    /// Takes the next chunk from `AVSpeechSynthesizer`, `AVAudioEngine` or `AVAudioFile`, of 16-bit or float samples in this
    /// scorer's channels.
    ///
    /// - Throws: `AesaError.InvalidArgument` for a buffer of other samples, channels or rate; those of the other `accept`s.
    public func accept(_ buffer: AVAudioPCMBuffer) throws {
        let format = buffer.format
        guard Int(format.channelCount) == numChannels, Int(format.sampleRate) == sampleRateHz else {
            throw AesaError.InvalidArgument(message: "\(format) is not what this scorer was made for")
        }
        if let channels = buffer.floatChannelData {
            try accept(interleaved(channels, of: buffer))
        } else if let channels = buffer.int16ChannelData {
            try accept(interleaved(channels, of: buffer))
        } else {
            throw AesaError.InvalidArgument(message: "\(format): 16-bit or float samples are needed")
        }
    }

    private func interleaved<S>(_ channels: UnsafePointer<UnsafeMutablePointer<S>>, of buffer: AVAudioPCMBuffer) -> [S] {
        let numSamples = Int(buffer.frameLength)
        if buffer.format.isInterleaved || numChannels == 1 {
            return Array(UnsafeBufferPointer(start: channels[0], count: numSamples * numChannels))
        }
        return (0..<numSamples * numChannels).map { channels[$0 % numChannels][$0 / numChannels] }
    }
    #endif

    /// Marks the next samples of every channel as lost; frames that touch them are no part of the clip's scores.
    public func gap(numSamples: Int64) throws {
        try scorer.gap(numSamples: numSamples)
    }

    /// The frames that have become ready, in order; each is given once, and final.
    public func nextFrames() throws -> [Frame] {
        try scorer.nextFrames()
    }

    /// Ends the clip; `nextFrames` has its last frames then.
    ///
    /// - Throws: `AesaError.TooShort` before the clip's first 175 ms were complete, `AesaError.AllLost` where audio was lost in
    ///   every step, `AesaError.Finished` the second time.
    public func finish() throws -> Clip {
        try scorer.finish()
    }

    /// Forgets the clip; the next chunk is the start of another.
    public func reset() throws {
        try scorer.reset()
    }

    /// The clip's scores so far; nil before its first frame.
    public func clipSoFar() throws -> Clip? {
        try scorer.clipSoFar()
    }

    /// The longest wait from a frame's start until its scores come out, in seconds of audio.
    public func latencySeconds() throws -> Double {
        Double(try scorer.latencySamples()) / Double(sampleRateHz)
    }

    /// The bytes where they lie, for as long as a call; the library counts them in 32 bits.
    private static func shared(_ bytes: UnsafeRawBufferPointer) throws -> Data {
        guard let start = bytes.baseAddress, bytes.count > 0 else { return Data() }
        guard bytes.count <= Int(Int32.max) else {
            throw AesaError.InvalidArgument(message: "a chunk of \(bytes.count) bytes is longer than 2 GiB")
        }
        return Data(bytesNoCopy: UnsafeMutableRawPointer(mutating: start), count: bytes.count, deallocator: .none)
    }
}

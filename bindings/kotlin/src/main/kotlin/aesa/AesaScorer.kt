package aesa

import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * Scores one clip or stream at a time: samples in, a [Frame] for every 160 ms and the [Clip]'s scores out.
 *
 * How the audio is cut into chunks never changes a score. A call from a second thread waits until the first one's has
 * ended. What fails throws an [AesaException]; a call after [close] throws [IllegalStateException].
 *
 * @throws AesaException.InvalidArgument for a rate or number of channels that cannot be
 */
class AesaScorer private constructor(
    private val scorer: Scorer,
    /** Samples per second and channel of what [accept] takes. */
    val sampleRateHz: Int,
    /** Interleaved channels of what [accept] takes; they are averaged. */
    val numChannels: Int,
) : AutoCloseable {
    /** What the samples of a chunk are copied to, for the library to read in place; grows to the longest chunk. */
    private var shared: ByteBuffer = direct(0)

    /** A scorer at the start of a clip. [model] may be closed before it. */
    @JvmOverloads
    constructor(model: Model, sampleRateHz: Int = 16_000, numChannels: Int = 1) :
        this(model.scorer(sampleRateHz, numChannels), sampleRateHz, numChannels)

    /**
     * A scorer for a windowed [model] that gives scores every [hopSteps] steps of 160 ms, [lookAheadSteps] after their frame.
     *
     * @throws AesaException.InvalidArgument also for a model that hears a clip in chunks
     */
    constructor(model: Model, sampleRateHz: Int, numChannels: Int, hopSteps: Int, lookAheadSteps: Int) :
        this(model.scorerWithHop(sampleRateHz, numChannels, hopSteps, lookAheadSteps), sampleRateHz, numChannels)

    /**
     * Takes the next chunk of interleaved 16-bit samples.
     *
     * @throws AesaException.Audio for a chunk that does not hold a sample of every channel to its end; nothing is taken then
     * @throws AesaException.Finished after the clip's end
     */
    @JvmOverloads
    @Synchronized
    fun accept(samples: ShortArray, offset: Int = 0, length: Int = samples.size - offset) {
        val bytes = room(length, Short.SIZE_BYTES)
        bytes.asShortBuffer().put(samples, offset, length)
        scorer.acceptI16(bytes)
    }

    /**
     * Takes the next chunk of interleaved floats, full scale 1.
     *
     * @throws AesaException.Audio as for 16-bit samples, and for values that are not finite
     * @throws AesaException.Finished after the clip's end
     */
    @JvmOverloads
    @Synchronized
    fun accept(samples: FloatArray, offset: Int = 0, length: Int = samples.size - offset) {
        val bytes = room(length, Float.SIZE_BYTES)
        bytes.asFloatBuffer().put(samples, offset, length)
        scorer.acceptF32(bytes)
    }

    /** Takes the next chunk of 16-bit samples as little-endian bytes, as `AudioRecord` and `AudioInputStream` give them. */
    @JvmOverloads
    @Synchronized
    fun acceptPcm16(bytes: ByteArray, offset: Int = 0, length: Int = bytes.size - offset) {
        val room = room(length, Byte.SIZE_BYTES)
        room.duplicate().put(bytes, offset, length)
        scorer.acceptI16(room)
    }

    /**
     * Takes what remains in a buffer of 16-bit samples, little-endian; of a direct buffer without copying it. The
     * buffer's position moves to its limit if all was well.
     */
    @Synchronized
    fun acceptPcm16(buffer: ByteBuffer) {
        if (buffer.isDirect) {
            // A slice, since the library is given the address of a buffer's first byte, wherever its position is.
            scorer.acceptI16(buffer.slice())
        } else {
            val room = room(buffer.remaining(), Byte.SIZE_BYTES)
            room.duplicate().put(buffer.duplicate())
            scorer.acceptI16(room)
        }
        (buffer as Buffer).position(buffer.limit())
    }

    /** Marks the next [numSamples] samples of every channel as lost; frames that touch them are no part of the clip's scores. */
    fun gap(numSamples: Long) = scorer.gap(numSamples)

    /** The frames that have become ready, in order; each is given once, and final. */
    fun nextFrames(): List<Frame> = scorer.nextFrames()

    /**
     * Ends the clip; [nextFrames] has its last frames then.
     *
     * @throws AesaException.TooShort before the clip's first 175 ms were complete
     * @throws AesaException.AllLost where audio was lost in every step
     * @throws AesaException.Finished the second time
     */
    fun finish(): Clip = scorer.finish()

    /** Forgets the clip; the next chunk is the start of another. */
    fun reset() = scorer.reset()

    /** The clip's scores so far; null before its first frame. */
    val clipSoFar: Clip? get() = scorer.clipSoFar()

    /** The longest wait from a frame's start until its scores come out, in seconds of audio. */
    val latencySeconds: Double get() = scorer.latencySamples().toDouble() / sampleRateHz

    /** Frees the native scorer; a call that is under way in another thread ends first. */
    override fun close() = scorer.close()

    private fun room(length: Int, valueBytes: Int): ByteBuffer {
        val numBytes = Math.multiplyExact(length, valueBytes)
        if (shared.capacity() < numBytes) shared = direct(numBytes)
        // As a Buffer: before API level 28 Android has no such methods of ByteBuffer's own.
        val buffer: Buffer = shared
        buffer.clear()
        buffer.limit(numBytes)
        return shared
    }

    private companion object {
        fun direct(numBytes: Int): ByteBuffer = ByteBuffer.allocateDirect(numBytes).order(ByteOrder.nativeOrder())
    }
}

package aesa

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow

/**
 * The frames of a stream of 16-bit chunks, as they become ready. Each collection is a clip of its own: it begins with
 * [AesaScorer.reset], and the end of [chunks] finishes the clip, whose scores [AesaScorer.clipSoFar] has then.
 *
 * The scoring runs where the flow is collected: `flowOn(Dispatchers.Default)` takes it off the main thread. Errors of the
 * scorer end the flow as the [AesaException] that they are.
 */
fun AesaScorer.frames(chunks: Flow<ShortArray>): Flow<Frame> = framesOf(chunks) { accept(it) }

/** [frames] of float chunks, full scale 1. */
@JvmName("framesOfFloats")
fun AesaScorer.frames(chunks: Flow<FloatArray>): Flow<Frame> = framesOf(chunks) { accept(it) }

/** [frames] of chunks of 16-bit samples as little-endian bytes. */
@JvmName("framesOfPcm16")
fun AesaScorer.frames(chunks: Flow<ByteArray>): Flow<Frame> = framesOf(chunks) { acceptPcm16(it) }

private fun <T> AesaScorer.framesOf(chunks: Flow<T>, accept: (T) -> Unit): Flow<Frame> = flow {
    reset()
    chunks.collect { chunk ->
        accept(chunk)
        nextFrames().forEach { emit(it) }
    }
    finish()
    nextFrames().forEach { emit(it) }
}

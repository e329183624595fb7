package aesa

import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.asFlow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOf
import kotlinx.coroutines.flow.flowOn
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking

class FramesTest {
    private val clip = expected.clips.first { it.num_channels == 1 }
    private val chunks: Flow<ShortArray> = clip.samples.toList().chunked(1000) { it.toShortArray() }.asFlow()

    @Test
    fun aFlowIsScoredAsAClip() = runBlocking {
        clip.scorer().use { scorer ->
            // Collecting again begins again.
            repeat(2) {
                val frames = scorer.frames(chunks).toList()
                assertScored(clip, Scored(frames, scorer.clipSoFar!!))
            }
            val first = scorer.frames(chunks).toList()
            assertEquals(first, scorer.frames(chunks.map { it.toFloats() }).toList())
            assertEquals(first, scorer.frames(chunks.map { it.toBytes() }).toList())
            assertEquals(first, scorer.frames(chunks).flowOn(Dispatchers.Default).toList())
        }
    }

    @Test
    fun framesComeWhileTheStreamGoesOn() = runBlocking {
        clip.scorer().use { scorer ->
            var chunksTaken = 0
            val frame = scorer.frames(chunks.onEach { chunksTaken++ }).take(1).toList().single()
            assertEquals(0.0, frame.startS)
            assertTrue(1000 * (chunksTaken - 1) <= scorer.latencySeconds * clip.sample_rate_hz, "$chunksTaken chunks")
            // A flow that was given up does not spoil the next.
            assertEquals(clip.num_steps, scorer.frames(chunks).toList().size)
        }
    }

    @Test
    fun errorsEndTheFlow() = runBlocking<Unit> {
        AesaScorer(starter).use { scorer ->
            assertFailsWith<AesaException.TooShort> { scorer.frames(flowOf(ShortArray(100))).toList() }
            assertFailsWith<AesaException.Audio> { scorer.frames(flowOf(floatArrayOf(Float.NaN))).toList() }
            val broken = flow<ShortArray> { throw java.io.IOException("the microphone is gone") }
            assertFailsWith<java.io.IOException> { scorer.frames(broken).toList() }
        }
    }
}

package aesa

import java.nio.ByteBuffer
import java.util.concurrent.Callable
import java.util.concurrent.Executors
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNotEquals
import kotlin.test.assertNull
import kotlin.test.assertTrue

class ScorerTest {
    private val clip = expected.clips.first { it.num_channels == 2 }

    @Test
    fun conformanceInWholeClipsAndPieces() {
        assertTrue(expected.clips.size >= 4)
        for (clip in expected.clips) clip.scorer().use { scorer ->
            scorer.accept(clip.samples)
            assertScored(clip, scorer.end())
            scorer.reset()
            assertScored(clip, scorer.scoreInPieces(clip.samples))
        }
    }

    @Test
    fun everyKindOfChunkGivesTheSameScores() = clip.scorer().use { scorer ->
        val bytes = clip.samples.toBytes()
        fun scored(accept: () -> Unit): Scored {
            scorer.reset()
            accept()
            return scorer.end()
        }
        val expected = scored { scorer.accept(clip.samples) }
        assertEquals(expected, scored { scorer.accept(clip.samples.toFloats()) })
        assertEquals(expected, scored { scorer.acceptPcm16(bytes) })
        assertEquals(expected, scored { scorer.acceptPcm16(ByteBuffer.wrap(bytes)) })
        // The address of a direct buffer is not that of its position.
        val direct = ByteBuffer.allocateDirect(bytes.size + 6).position(6).put(bytes).position(6)
        assertEquals(expected, scored { scorer.acceptPcm16(direct) })
        assertEquals(0, direct.remaining())
    }

    @Test
    fun framesComeWithinTheLatency() = AesaScorer(starter).use { scorer ->
        assertEquals(starter.info().windowS, scorer.latencySeconds, 0.2)
        assertNull(scorer.clipSoFar)
        assertEquals(listOf(), scorer.nextFrames())
        val seconds = (2 * scorer.latencySeconds).toInt() + 1
        repeat(10 * seconds) { scorer.accept(ShortArray(1600) { (it * it % 2000).toShort() }) }
        val frames = scorer.nextFrames()
        assertTrue(frames.isNotEmpty() && frames.last().startS + scorer.latencySeconds >= seconds - 0.16)
        assertEquals(frames.size.toLong(), scorer.clipSoFar?.numFrames)
        assertEquals(listOf(), scorer.nextFrames())
    }

    @Test
    fun theModelMayBeClosedFirst() {
        val model = Model.starter()
        val scorer = AesaScorer(model, clip.sample_rate_hz, clip.num_channels)
        model.close()
        scorer.use { assertScored(clip, it.scoreInPieces(clip.samples)) }
    }

    @Test
    fun lostAudioIsMarked() = AesaScorer(starter).use { scorer ->
        scorer.accept(ShortArray(16_000))
        scorer.gap(1600)
        scorer.accept(ShortArray(16_000))
        val scored = scorer.end()
        assertTrue(scored.frames.any { it.isLost } && scored.frames.any { it.hasGap && !it.isLost })
        assertEquals(scored.frames.count { !it.isLost }.toLong(), scored.clip.numFrames)
    }

    @Test
    fun twoScorersInTwoThreads() {
        val threads = Executors.newFixedThreadPool(2)
        val alone = expected.clips.map { clip -> clip.scorer().use { it.scoreInPieces(clip.samples) } }
        val jobs = List(2) {
            Callable {
                List(5) { expected.clips.map { clip -> clip.scorer().use { it.scoreInPieces(clip.samples) } } }
            }
        }
        threads.invokeAll(jobs).forEach { job -> job.get().forEach { assertEquals(alone, it) } }
        threads.shutdown()
    }

    @Test
    fun oneScorerInTwoThreadsTakesTurns() = AesaScorer(starter).use { scorer ->
        val threads = Executors.newFixedThreadPool(2)
        val jobs = List(2) { Callable { repeat(100) { scorer.accept(ShortArray(1600)) } } }
        threads.invokeAll(jobs).forEach { it.get() }
        threads.shutdown()
        val scored = scorer.end()
        assertEquals(124, scored.frames.size)
        assertEquals(124, scored.clip.numFrames)
    }

    @Test
    fun closedMeansClosed() {
        val scorer = AesaScorer(starter)
        scorer.close()
        scorer.close()
        for (call in listOf<() -> Unit>(
            { scorer.accept(ShortArray(16)) },
            { scorer.accept(FloatArray(16)) },
            { scorer.acceptPcm16(ByteArray(16)) },
            { scorer.nextFrames() },
            { scorer.finish() },
            { scorer.reset() },
            { scorer.gap(1) },
            { scorer.clipSoFar },
            { scorer.latencySeconds },
        )) assertFailsWith<IllegalStateException> { call() }
        val model = Model.starter()
        model.close()
        assertFailsWith<IllegalStateException> { AesaScorer(model) }
        assertFailsWith<IllegalStateException> { model.info() }
    }

    @Test
    fun closingDuringCallsInAnotherThread() = repeat(20) {
        val scorer = AesaScorer(starter)
        val thread = Executors.newSingleThreadExecutor()
        val end = thread.submit(Callable {
            assertFailsWith<IllegalStateException> { while (true) scorer.accept(ShortArray(16_000)) }
        })
        Thread.sleep(5)
        scorer.close()
        end.get()
        thread.shutdown()
    }

    @Test
    fun badAudioIsToldAndNotTaken() = clip.scorer().use { scorer ->
        scorer.accept(clip.samples, 0, 20_000)
        for (value in listOf(Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY)) {
            val chunk = FloatArray(2000).also { it[1234] = value }
            val error = assertFailsWith<AesaException.Audio> { scorer.accept(chunk) }
            assertTrue("not a finite number" in error.message.orEmpty(), error.message)
        }
        assertFailsWith<AesaException.Audio> { scorer.accept(ShortArray(3)) }
        for (bytes in 1..3) assertFailsWith<AesaException.Audio> { scorer.acceptPcm16(ByteArray(bytes)) }
        val direct = ByteBuffer.allocateDirect(3)
        assertFailsWith<AesaException.Audio> { scorer.acceptPcm16(direct) }
        assertEquals(3, direct.remaining())
        scorer.accept(ShortArray(0))
        scorer.accept(clip.samples, 20_000)
        assertScored(clip, scorer.end())
    }

    @Test
    fun rangesOutsideAnArray() = AesaScorer(starter).use { scorer ->
        assertFailsWith<RuntimeException> { scorer.accept(ShortArray(16), 0, -1) }
        assertFailsWith<ArithmeticException> { scorer.accept(FloatArray(16), 0, Int.MAX_VALUE) }
        for ((offset, length) in listOf(-1 to 4, 0 to 17, 16 to 1, 4 to 100)) {
            assertFailsWith<IndexOutOfBoundsException> { scorer.accept(ShortArray(16), offset, length) }
            assertFailsWith<IndexOutOfBoundsException> { scorer.accept(FloatArray(16), offset, length) }
            assertFailsWith<IndexOutOfBoundsException> { scorer.acceptPcm16(ByteArray(16), offset, length) }
        }
    }

    @Test
    fun theEndOfAClip() = AesaScorer(starter).use { scorer ->
        assertFailsWith<AesaException.TooShort> { scorer.finish() }
        scorer.reset()
        scorer.accept(ShortArray(2000))
        val tooShort = assertFailsWith<AesaException.TooShort> { scorer.finish() }
        assertTrue("2000 samples" in tooShort.message.orEmpty(), tooShort.message)
        scorer.reset()
        scorer.gap(32_000)
        assertFailsWith<AesaException.AllLost> { scorer.finish() }
        scorer.reset()
        scorer.accept(ShortArray(16_000))
        scorer.finish()
        assertFailsWith<AesaException.Finished> { scorer.finish() }
        assertFailsWith<AesaException.Finished> { scorer.accept(ShortArray(16_000)) }
        assertFailsWith<AesaException.Finished> { scorer.gap(1) }
        scorer.reset()
        scorer.accept(ShortArray(16_000))
        assertNotEquals(0, scorer.finish().numFrames)
    }

    @Test
    fun argumentsThatCannotBe() {
        for ((rate, channels) in listOf(0 to 1, -16_000 to 1, 1000 to 1, Int.MAX_VALUE to 1, 16_000 to 0, 16_000 to -1)) {
            val error = assertFailsWith<AesaException.InvalidArgument>("$rate $channels") { AesaScorer(starter, rate, channels) }
            assertTrue(error.message.orEmpty().isNotBlank())
        }
        val isChunked = starter.info().policy == "chunked"
        if (isChunked) assertFailsWith<AesaException.InvalidArgument> { AesaScorer(starter, 16_000, 1, 6, 6) }
        assertFailsWith<AesaException.InvalidArgument> { AesaScorer(starter, 16_000, 1, 1000, 0) }
        assertFailsWith<AesaException.InvalidArgument> { AesaScorer(starter, 16_000, 1, -1, 0) }
        AesaScorer(starter).use { scorer ->
            assertFailsWith<AesaException.InvalidArgument> { scorer.gap(-1) }
            assertFailsWith<AesaException.InvalidArgument> { scorer.gap(Long.MAX_VALUE) }
        }
    }
}

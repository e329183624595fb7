package aesa

import com.google.gson.Gson
import java.io.File
import javax.sound.sampled.AudioSystem
import kotlin.math.abs
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** The project's folder. */
val root = File(System.getProperty("aesa.root"))

/** One model for all tests. */
val starter: Model by lazy { Model.starter() }

/** What tests/conformance/expected.json holds. */
class Expected(val clips: List<ExpectedClip>)

@Suppress("PropertyName") // The file's own names.
class ExpectedClip(
    val file: String,
    val sample_rate_hz: Int,
    val num_channels: Int,
    val num_steps: Int,
    val tolerance: Double,
    val clip: List<Double>,
    val frames: List<List<Double>>,
) {
    val samples: ShortArray get() = readWav(root.resolve("tests/conformance/clips/$file"))

    fun scorer() = AesaScorer(starter, sample_rate_hz, num_channels)
}

val expected: Expected by lazy {
    root.resolve("tests/conformance/expected.json").reader().use { Gson().fromJson(it, Expected::class.java) }
}

/** Everything that a scorer said of a clip. */
data class Scored(val frames: List<Frame>, val clip: Clip)

/** Ends a clip whose frames are all still to be taken. */
fun AesaScorer.end(): Scored {
    val clip = finish()
    return Scored(nextFrames(), clip)
}

/** Scores a clip, handed over in pieces. */
fun AesaScorer.scoreInPieces(samples: ShortArray, size: Int = 1000): Scored {
    val frames = mutableListOf<Frame>()
    for (start in samples.indices step size) {
        accept(samples, start, minOf(size, samples.size - start))
        frames += nextFrames()
    }
    val clip = finish()
    return Scored(frames + nextFrames(), clip)
}

/** The samples of a 16-bit WAV, interleaved. */
fun readWav(file: File): ShortArray = AudioSystem.getAudioInputStream(file).use { audio ->
    check(audio.format.sampleSizeInBits == 16 && !audio.format.isBigEndian)
    audio.readAllBytes().toShorts()
}

fun ByteArray.toShorts() = ShortArray(size / 2) { (this[2 * it].toInt() and 0xff or (this[2 * it + 1].toInt() shl 8)).toShort() }

fun ShortArray.toBytes() = ByteArray(2 * size) { (this[it / 2].toInt() shr 8 * (it % 2)).toByte() }

fun ShortArray.toFloats() = FloatArray(size) { this[it] / 32_768f }

fun assertScored(expected: ExpectedClip, actual: Scored) {
    assertEquals(expected.num_steps, actual.frames.size, expected.file)
    assertEquals(expected.num_steps.toLong(), actual.clip.numFrames, expected.file)
    actual.frames.forEachIndexed { index, frame ->
        assertEquals(0.16 * index, frame.startS, 1e-9)
        assertEquals(0.16, frame.durationS, 1e-9)
        assertTrue(!frame.hasGap && !frame.isLost)
        assertNear(expected.frames[index], frame.scores, expected.tolerance, "${expected.file}, frame $index")
    }
    assertNear(expected.clip, actual.clip.scores, expected.tolerance, expected.file)
}

private fun assertNear(expected: List<Double>, actual: Scores, tolerance: Double, what: String) {
    val difference = expected.zip(listOf(actual.pq, actual.pc, actual.ce, actual.cu)).maxOf { (e, a) -> abs(e - a) }
    assertTrue(difference <= tolerance, "$what: off by $difference")
}

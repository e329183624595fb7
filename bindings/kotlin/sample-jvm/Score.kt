// Scores the speech that comes as WAV on standard input, while it comes:
//   espeak-ng --stdout "How do I sound?" | java ... aesa.sample.ScoreKt
package aesa.sample

import aesa.AesaException
import aesa.AesaScorer
import aesa.Frame
import aesa.Model
import javax.sound.sampled.AudioFormat
import javax.sound.sampled.AudioInputStream
import javax.sound.sampled.AudioSystem
import javax.sound.sampled.UnsupportedAudioFileException
import kotlin.system.exitProcess

fun main() {
    try {
        AudioSystem.getAudioInputStream(System.`in`.buffered()).use { score(it) }
    } catch (error: UnsupportedAudioFileException) {
        fail("standard input is no WAV: ${error.message}")
    } catch (error: AesaException) {
        fail(error.message)
    }
}

private fun score(audio: AudioInputStream) {
    val format = audio.format
    if (format.encoding != AudioFormat.Encoding.PCM_SIGNED || format.sampleSizeInBits != 16 || format.isBigEndian) {
        fail("16-bit PCM is needed, not $format")
    }
    Model.starter().use { model ->
        AesaScorer(model, format.sampleRate.toInt(), format.channels).use { scorer ->
            while (true) {
                // What is left of the last sample of a stream that was cut off is no sample.
                val chunk = audio.readNBytes(1024 * format.frameSize)
                scorer.acceptPcm16(chunk, 0, chunk.size - chunk.size % format.frameSize)
                scorer.nextFrames().forEach { print(it) }
                if (chunk.size < 1024 * format.frameSize) break
            }
            val clip = scorer.finish()
            scorer.nextFrames().forEach { print(it) }
            println("clip: PQ %.2f  PC %.2f  CE %.2f  CU %.2f".format(clip.scores.pq, clip.scores.pc, clip.scores.ce, clip.scores.cu))
        }
    }
}

private fun print(frame: Frame) = with(frame.scores) {
    println("%5.2f s: PQ %.2f  PC %.2f  CE %.2f  CU %.2f".format(frame.startS, pq, pc, ce, cu))
}

private fun fail(message: String?): Nothing {
    System.err.println(message)
    exitProcess(1)
}

package aesa.sample

import aesa.AesaException
import aesa.AesaScorer
import aesa.Model
import aesa.Scores
import android.app.Activity
import android.media.AudioFormat
import android.os.Bundle
import android.speech.tts.TextToSpeech
import android.speech.tts.UtteranceProgressListener
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
import java.io.File

/** Has the phone's text-to-speech say a sentence into a file, and shows the scores while it is made. */
class MainActivity : Activity() {
    private lateinit var speech: TextToSpeech
    private lateinit var result: TextView
    private val model by lazy { Model.starter() }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val text = EditText(this).apply { setText("How do I sound? I should like to know.") }
        val button = Button(this).apply { this.text = "Speak and score"; isEnabled = false }
        result = TextView(this)
        speech = TextToSpeech(this) { status -> button.isEnabled = status == TextToSpeech.SUCCESS }
        speech.setOnUtteranceProgressListener(Meter())
        button.setOnClickListener {
            speech.synthesizeToFile(text.text, Bundle(), File(cacheDir, "speech.wav"), "speech")
        }
        setContentView(LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            listOf(text, button, result).forEach(::addView)
        })
    }

    override fun onDestroy() {
        speech.shutdown()
        super.onDestroy()
    }

    /** Scores what the engine makes as it comes; the callbacks of one utterance come one after another. */
    private inner class Meter : UtteranceProgressListener() {
        private var scorer: AesaScorer? = null

        override fun onStart(id: String) {}

        override fun onBeginSynthesis(id: String, sampleRateHz: Int, format: Int, numChannels: Int) {
            scorer?.close()
            scorer = null
            if (format != AudioFormat.ENCODING_PCM_16BIT) return show("audio format $format: 16-bit PCM is needed")
            scorer = telling { AesaScorer(model, sampleRateHz, numChannels) }
        }

        override fun onAudioAvailable(id: String, audio: ByteArray) {
            val scorer = scorer ?: return
            telling {
                scorer.acceptPcm16(audio)
                scorer.nextFrames().lastOrNull()?.let { show("%.1f s: %s".format(it.startS, it.scores.text())) }
            }
        }

        override fun onDone(id: String) {
            val scorer = scorer ?: return
            telling { show("clip: " + scorer.finish().scores.text()) }
            scorer.close()
            this.scorer = null
        }

        @Deprecated("asked for by the class")
        override fun onError(id: String) = show("the speech engine failed")
    }

    private fun <T> telling(work: () -> T): T? = try {
        work()
    } catch (error: AesaException) {
        show(error.message.orEmpty())
        null
    }

    private fun show(message: String) = runOnUiThread { result.text = message }

    private fun Scores.text() = "PQ %.2f  PC %.2f  CE %.2f  CU %.2f".format(pq, pc, ce, cu)
}

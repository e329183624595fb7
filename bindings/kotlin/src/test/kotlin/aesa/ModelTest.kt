package aesa

import kotlin.random.Random
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class ModelTest {
    private val file = root.resolve("models/starter/model.aesa")

    private fun scoresOf(model: Model): Scored {
        val clip = expected.clips.first()
        return AesaScorer(model, clip.sample_rate_hz, clip.num_channels).use { it.scoreInPieces(clip.samples) }
    }

    @Test
    fun builtInFromAFileAndFromBytes() {
        val scored = scoresOf(starter)
        Model.open(file.path).use { assertEquals(scored, scoresOf(it)) }
        Model.fromBytes(file.readBytes()).use {
            assertEquals(scored, scoresOf(it))
            assertEquals(starter.info(), it.info())
        }
    }

    @Test
    fun whatItSaysOfItself() {
        val info = starter.info()
        assertEquals("starter", info.id)
        assertEquals("native", info.engine)
        assertTrue(info.labels in listOf("human", "proxy"))
        assertTrue(info.version.isNotEmpty() && info.policy in listOf("chunked", "windowed") && info.windowS > 0.1)
        assertTrue(version().matches(Regex("""\d+\.\d+\.\d+.*""")))
    }

    @Test
    fun filesThatAreNoModels() {
        val missing = assertFailsWith<AesaException.Read> { Model.open("/no/such/model.aesa") }
        assertTrue("/no/such/model.aesa" in missing.message.orEmpty(), missing.message)
        assertFailsWith<AesaException.Read> { Model.open("") }
        val readme = assertFailsWith<AesaException.Model> { Model.open(root.resolve("README.md").path) }
        assertTrue("README.md" in readme.message.orEmpty(), readme.message)
        assertFailsWith<AesaException.Model> { Model.fromBytes(ByteArray(0)) }
        assertFailsWith<AesaException.Model> { Model.fromBytes(ByteArray(4096) { it.toByte() }) }
    }

    @Test
    fun damagedModels() {
        val bytes = file.readBytes()
        for (size in listOf(1, 8, 64, 1000, bytes.size / 2, bytes.size - 1)) {
            assertFailsWith<AesaException.Model>("$size bytes") { Model.fromBytes(bytes.copyOf(size)) }
        }
        val random = Random(6)
        repeat(50) {
            val damaged = bytes.copyOf().also { it[random.nextInt(it.size)] = random.nextInt().toByte() }
            // A byte may happen to be what it was, or one that nobody reads: no crash is all that can be asked.
            try {
                Model.fromBytes(damaged).close()
            } catch (_: AesaException.Model) {
            }
        }
    }
}

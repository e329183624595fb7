/** On the audio thread: hands the microphone's samples, mono, to the worker's port; null after the last. */
class Recorder extends AudioWorkletProcessor {
  #out;
  #block = new Float32Array(BLOCK_SAMPLES);
  #filled = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data.out) this.#out = data.out;
      else this.#end();
    };
  }

  process([[channel]]) {
    if (channel && this.#out) this.#take(channel);
    return true;
  }

  #take(channel) {
    this.#block.set(channel, this.#filled);
    this.#filled += channel.length;
    if (this.#filled + channel.length > this.#block.length) this.#flush();
  }

  #flush() {
    const samples = this.#block.slice(0, this.#filled);
    this.#out.postMessage(samples, [samples.buffer]);
    this.#filled = 0;
  }

  #end() {
    this.#flush();
    this.#out.postMessage(null);
    this.#out = undefined;
  }
}

/** Whole blocks of 128. */
const BLOCK_SAMPLES = 2048;

registerProcessor("recorder", Recorder);

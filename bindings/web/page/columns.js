/** A picture's columns of log-mel frames, as brightness from 0 to 255, the highest mel bin on top. */
export class Columns {
  #numBins;
  #framesPerColumn;
  #sums;
  #count = 0;

  constructor(numBins, framesPerColumn) {
    this.#numBins = numBins;
    this.#framesPerColumn = framesPerColumn;
    this.#sums = new Float32Array(numBins);
  }

  /** Takes `[frames, bins]`, gives the columns that they complete, `[columns, bins]`; what is left over waits for more. */
  push(frames) {
    const numBins = this.#numBins;
    const numFrames = frames.length / numBins;
    const out = new Uint8ClampedArray(Math.floor((this.#count + numFrames) / this.#framesPerColumn) * numBins);
    let column = 0;
    for (let frame = 0; frame < numFrames; frame++) {
      for (let bin = 0; bin < numBins; bin++) this.#sums[bin] += frames[frame * numBins + bin];
      this.#count += 1;
      if (this.#count === this.#framesPerColumn) this.#write(out, numBins * column++);
    }
    return out;
  }

  #write(out, at) {
    const sums = this.#sums;
    // No bin of the FFT falls into this mel band.
    sums[SILENT_BIN] = (sums[SILENT_BIN - 1] + sums[SILENT_BIN + 1]) / 2;
    for (let bin = 0; bin < sums.length; bin++) {
      const level = (sums[bin] / this.#count - QUIET) / (LOUD - QUIET);
      out[at + sums.length - 1 - bin] = 255 * level;
    }
    sums.fill(0);
    this.#count = 0;
  }
}

const SILENT_BIN = 3;

/** Natural logarithms of mel energies (16-bit scale) that are drawn as nothing and as the darkest colour. */
const QUIET = 6;
const LOUD = 24;

/**
 * Perceptual audio scores in the browser and in Node: index.d.ts says what each call takes, gives and throws.
 *
 * The engine is in aesa_web_bg.wasm, the model that ships is, too. This file is what JavaScript sees of it: checked arguments,
 * plain objects for answers, one kind of error.
 */
import start, * as engine from "./aesa_web.js";
import { AesaError, asAesaError } from "./error.js";

export { AesaError };

/** The axes, in the order used everywhere. */
export const AXES = Object.freeze(["PQ", "PC", "CE", "CU"]);

/** Seconds from one frame to the next. */
export const STEP_S = 0.16;

/** Numbers in a row of LogMel. */
export const NUM_MEL_BINS = 128;

/** A model; it never changes, and any number of scorers may use it. */
export class Aesa {
  #inner;

  /** For `Aesa.load` alone. */
  constructor(token, inner) {
    if (token !== PRIVATE) throw new AesaError("argument", "a model comes from Aesa.load()");
    this.#inner = inner;
  }

  static async load(bytes, { wasm } = {}) {
    if (bytes !== undefined) bytes = asBytes(bytes);
    await started(wasm);
    const inner = guarded(() => (bytes ? engine.Model.fromBytes(bytes) : engine.Model.starter()));
    return new Aesa(PRIVATE, inner);
  }

  get info() {
    const m = this.inner(PRIVATE);
    const policy = m.chunkSteps
      ? { name: "chunked", chunkSteps: m.chunkSteps, leftSteps: m.leftSteps }
      : { name: "windowed", windowSteps: m.windowSteps };
    return { id: m.id, version: m.version, labels: m.labels, weights: m.weights, policy };
  }

  free() {
    this.#inner?.free();
    this.#inner = undefined;
  }

  /** What the engine knows the model as; for this file alone. */
  inner(token) {
    return token === PRIVATE ? alive(this.#inner, "model") : undefined;
  }
}

/** Scores one clip or stream at a time. */
export class Scorer {
  #inner;

  constructor(model, sampleRate, channels, { hopSteps, lookAheadSteps } = {}) {
    if (!(model instanceof Aesa)) throw new AesaError("argument", "the first argument is no model of Aesa.load()");
    const inner = model.inner(PRIVATE);
    const layout = [asCount(sampleRate, "sampleRate"), asCount(channels, "channels")];
    this.#inner = guarded(() => {
      if (hopSteps === undefined && lookAheadSteps === undefined) return new engine.Scorer(inner, ...layout);
      const policy = [asCount(hopSteps, "hopSteps"), asCount(lookAheadSteps ?? 0, "lookAheadSteps")];
      return engine.Scorer.withPolicy(inner, ...layout, ...policy);
    });
  }

  accept(samples) {
    const inner = this.#alive();
    const accept = acceptOf(samples);
    return frames(guarded(() => inner[accept](samples)));
  }

  gap(numSamples) {
    const inner = this.#alive();
    if (!Number.isSafeInteger(numSamples) || numSamples < 0) {
      throw new AesaError("argument", `numSamples is ${numSamples}: a whole number from 0 on is needed`);
    }
    return frames(guarded(() => inner.gap(numSamples)));
  }

  finish() {
    const inner = this.#alive();
    const row = guarded(() => inner.finish());
    return { ...clip(row), frames: frames(guarded(() => inner.frames())) };
  }

  get clipSoFar() {
    const row = guarded(() => this.#alive().clipSoFar());
    return row && clip(row);
  }

  get latencySamples() {
    return this.#alive().latencySamples;
  }

  reset() {
    const inner = this.#alive();
    guarded(() => inner.reset());
  }

  free() {
    this.#inner?.free();
    this.#inner = undefined;
  }

  #alive() {
    return alive(this.#inner, "scorer");
  }
}

/** The log-mel energies that a scorer computes of the same samples: for pictures of what the model hears. */
export class LogMel {
  #inner;

  constructor(sampleRate, channels) {
    if (!hasStarted) throw new AesaError("argument", "Aesa.load() comes before the first LogMel");
    const layout = [asCount(sampleRate, "sampleRate"), asCount(channels, "channels")];
    this.#inner = guarded(() => new engine.LogMel(...layout));
  }

  accept(samples) {
    const inner = this.#alive();
    const accept = acceptOf(samples);
    return guarded(() => inner[accept](samples));
  }

  finish() {
    const inner = this.#alive();
    return guarded(() => inner.finish());
  }

  reset() {
    const inner = this.#alive();
    guarded(() => inner.reset());
  }

  free() {
    this.#inner?.free();
    this.#inner = undefined;
  }

  #alive() {
    return alive(this.#inner, "LogMel");
  }
}

/** The module, once for all models. A start that failed may be tried again. */
let starting;
let hasStarted = false;
let isBroken = false;

async function started(wasm) {
  starting ??= source(wasm).then((module_or_path) => start({ module_or_path }));
  try {
    await starting;
    hasStarted = true;
  } catch (error) {
    starting = undefined;
    throw new AesaError("wasm", `the WebAssembly module cannot be started: ${error?.message ?? error}`, { cause: error });
  }
}

/** Where the module is: as the caller says, else beside this file. Node's fetch reads no files. */
async function source(wasm = new URL("aesa_web_bg.wasm", import.meta.url)) {
  if (!(wasm instanceof URL) || wasm.protocol !== "file:") return wasm;
  const { readFile } = await import(/* @vite-ignore */ /* webpackIgnore: true */ "node:fs/promises");
  return readFile(wasm);
}

/** Calls the engine. After a panic its memory is not to be trusted: nothing calls it again. */
function guarded(call) {
  if (isBroken) throw new AesaError("internal", "the engine had a bug or no memory left; load the page (the worker) anew");
  try {
    return call();
  } catch (error) {
    const known = asAesaError(error);
    isBroken ||= known.kind === "internal";
    throw known;
  }
}

function alive(inner, what) {
  if (!inner) throw new AesaError("freed", `the ${what} has been freed`);
  return inner;
}

function asCount(value, name) {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) return value;
  throw new AesaError("argument", `${name} is ${String(value)}: a whole number from 0 on is needed`);
}

function typeOf(value) {
  return ArrayBuffer.isView(value) ? value[Symbol.toStringTag] : undefined;
}

function asBytes(bytes) {
  const tag = Object.prototype.toString.call(bytes);
  if (tag === "[object ArrayBuffer]" || tag === "[object SharedArrayBuffer]") return new Uint8Array(bytes);
  if (ArrayBuffer.isView(bytes)) return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  throw new AesaError("argument", "a model is an ArrayBuffer, or a view of one");
}

/** Which of the engine's functions takes such samples. */
function acceptOf(samples) {
  const type = typeOf(samples);
  if (type === "Float32Array") return "acceptF32";
  if (type === "Int16Array") return "acceptI16";
  throw new AesaError("argument", "samples are a Float32Array or an Int16Array");
}

function frames(rows) {
  const frames = [];
  for (let at = 0; at < rows.length; at += FRAME_NUMBERS) {
    const [index, PQ, PC, CE, CU, flags] = rows.subarray(at, at + FRAME_NUMBERS);
    const time = { index, startS: (index * 4) / 25, endS: ((index + 1) * 4) / 25 };
    frames.push({ ...time, scores: { PQ, PC, CE, CU }, hasGap: (flags & 1) !== 0, isLost: (flags & 2) !== 0 });
  }
  return frames;
}

function clip([numSteps, PQ, PC, CE, CU]) {
  return { numSteps, scores: { PQ, PC, CE, CU } };
}

const PRIVATE = Symbol("aesa");

/** Numbers of a frame, as src/scorer.rs packs them. */
const FRAME_NUMBERS = 6;

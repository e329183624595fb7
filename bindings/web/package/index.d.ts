/**
 * Perceptual audio scores in the browser and in Node.
 *
 * Every call may throw an {@link AesaError}.
 */

/** Production Quality, Production Complexity, Content Enjoyment, Content Usefulness. */
export type Axis = "PQ" | "PC" | "CE" | "CU";

/** The axes, in the order used everywhere. */
export const AXES: readonly ["PQ", "PC", "CE", "CU"];

/** Seconds from one frame to the next: 0.16. */
export const STEP_S: number;

/** Numbers in a row of {@link LogMel}: 128. */
export const NUM_MEL_BINS: number;

/** A score per axis, 0 to 10. */
export type Scores = Readonly<Record<Axis, number>>;

/** The scores of 160 ms. */
export interface Frame {
  /** Which frame of the clip, from 0. */
  readonly index: number;
  /** When it begins, in seconds from the clip's start. */
  readonly startS: number;
  /** When it ends. */
  readonly endS: number;
  readonly scores: Scores;
  /** Lost audio lies in what the network heard for it. */
  readonly hasGap: boolean;
  /** It touches lost audio itself, and is left out of the clip's scores. */
  readonly isLost: boolean;
}

/** The scores of a clip: the mean of its frames. */
export interface Clip {
  readonly scores: Scores;
  /** How many frames they are the mean of. */
  readonly numSteps: number;
}

/** How a model hears a clip: in windows, or in chunks that carry their state. A step is 160 ms. */
export type Policy =
  | { readonly name: "windowed"; readonly windowSteps: number }
  | { readonly name: "chunked"; readonly chunkSteps: number; readonly leftSteps: number };

/** What a model says of itself. */
export interface ModelInfo {
  readonly id: string;
  readonly version: string;
  /** Where its training labels came from: people, or computed stand-ins. */
  readonly labels: "human" | "proxy";
  /** The numbers that its linear maps are computed in. */
  readonly weights: "int8" | "f32";
  readonly policy: Policy;
}

/** A model; it never changes, and any number of scorers may use it. */
export class Aesa {
  private constructor();
  /**
   * Starts the WebAssembly module, once, and loads a model.
   *
   * @param bytes of a `model.aesa`; the starter model, which is inside the module, if absent
   * @param options `wasm`: the module, where it does not lie beside this file as a bundler's output
   * @throws AesaError of kind `wasm`, `argument`, `model`, `model-info` or `model-unsupported`
   */
  static load(
    bytes?: ArrayBuffer | ArrayBufferView,
    options?: { wasm?: URL | Response | Promise<Response> | ArrayBuffer | WebAssembly.Module },
  ): Promise<Aesa>;
  readonly info: ModelInfo;
  /** Gives its memory back; scorers keep what they need. Without it that happens some time after the last use. */
  free(): void;
}

/** Another hop and look-ahead of a windowed model, in steps of 160 ms. */
export interface WindowOptions {
  hopSteps: number;
  /** 0 if absent. */
  lookAheadSteps?: number;
}

/** Scores one clip or stream at a time. How the audio is cut never changes a number. */
export class Scorer {
  /**
   * @param sampleRate 4000 to 768000 Hz
   * @param channels 1 or more; they are averaged
   * @throws AesaError of kind `argument`, `sample-rate`, `channels`, `policy`, `not-windowed` or `freed`
   */
  constructor(model: Aesa, sampleRate: number, channels: number, options?: WindowOptions);
  /**
   * Takes the next samples, any number of them, channels interleaved, full scale 1 (Int16Array: 32768).
   *
   * @returns the frames that are ready, in order of time; they are final
   * @throws AesaError of kind `argument`, `incomplete-sample` or `non-finite`, with nothing taken, so that the clip can go on;
   * `network` or `bad-score`, which end it; `finished` after its end; `freed`
   */
  accept(samples: Float32Array | Int16Array): Frame[];
  /**
   * Marks so many samples of every channel as lost on their way; time goes on.
   *
   * @throws AesaError of kind `argument`, `network`, `bad-score`, `finished` or `freed`
   */
  gap(numSamples: number): Frame[];
  /**
   * Ends the clip.
   *
   * @returns its scores, and its last frames
   * @throws AesaError of kind `too-short` (below 175 ms), `all-lost`, `network`, `bad-score`, `finished` or `freed`
   */
  finish(): Clip & { readonly frames: Frame[] };
  /** The clip's scores so far; undefined before the first frame. */
  readonly clipSoFar: Clip | undefined;
  /** The longest wait for a frame: samples per channel from its start until it comes out. */
  readonly latencySamples: number;
  /** Forgets the clip; the next samples begin another. */
  reset(): void;
  /** Gives its memory back. Without it that happens some time after the last use. */
  free(): void;
}

/** The log-mel energies that a scorer computes of the same samples: for pictures of what the model hears. */
export class LogMel {
  /** After the first `Aesa.load()`. @throws AesaError of kind `argument`, `sample-rate` or `channels` */
  constructor(sampleRate: number, channels: number);
  /**
   * Takes samples as {@link Scorer.accept} does; values that it refuses count as 0.
   *
   * @returns natural logarithms, `[frames, 128]`, a frame every 10 ms, the lowest mel bin first
   */
  accept(samples: Float32Array | Int16Array): Float32Array;
  /** Ends the clip: its last frames. The next samples begin another. */
  finish(): Float32Array;
  /** Forgets the clip. */
  reset(): void;
  /** Gives its memory back. */
  free(): void;
}

/** What went wrong. */
export type AesaErrorKind =
  | "argument"
  | "freed"
  | "wasm"
  | "model"
  | "model-info"
  | "model-unsupported"
  | "sample-rate"
  | "channels"
  | "policy"
  | "not-windowed"
  | "incomplete-sample"
  | "non-finite"
  | "finished"
  | "too-short"
  | "all-lost"
  | "network"
  | "bad-score"
  /** A bug in aesa, or memory ran out: the module answers nothing else from then on. */
  | "internal";

/** What every call throws: an Error with its kind. */
export class AesaError extends Error {
  readonly kind: AesaErrorKind;
}

/**
 * Where the scoring happens, so that the page never waits for it.
 *
 * Takes `load`, `start`, `samples`, `finish`; answers `model`, `scored`, `clip`, `error`. Every message of a clip carries its `id`: what is
 * left of a clip that was given up is thrown away.
 */
import { Aesa, AesaError, LogMel, NUM_MEL_BINS, Scorer } from "./aesa/index.js";
import { Columns } from "./columns.js";

let model;
let clip;

const handlers = {
  async load({ bytes }) {
    const loaded = await Aesa.load(bytes);
    model?.free();
    model = loaded;
    postMessage({ type: "model", info: model.info });
  },

  start({ id, sampleRate, channels, framesPerColumn, port }) {
    clip?.scorer.free();
    clip?.logMel.free();
    clip = undefined;
    const [scorer, logMel] = [new Scorer(model, sampleRate, channels), new LogMel(sampleRate, channels)];
    clip = { id, sampleRate, channels, scorer, logMel, columns: new Columns(NUM_MEL_BINS, framesPerColumn), numSamples: 0, busyMs: 0 };
    if (port) port.onmessage = ({ data }) => handle(data ? { type: "samples", id, planes: [data] } : { type: "finish", id });
  },

  samples({ id, planes }) {
    if (id !== clip?.id) return;
    const samples = interleaved(planes);
    const began = performance.now();
    const frames = clip.scorer.accept(samples);
    clip.busyMs += performance.now() - began;
    clip.numSamples += planes[0].length;
    const columns = clip.columns.push(clip.logMel.accept(samples));
    const seconds = clip.numSamples / clip.sampleRate;
    postMessage({ type: "scored", id, frames, columns, seconds, soFar: clip.scorer.clipSoFar }, [columns.buffer]);
  },

  finish({ id }) {
    if (id !== clip?.id) return;
    const began = performance.now();
    const { frames, scores, numSteps } = clip.scorer.finish();
    const busyS = (clip.busyMs + performance.now() - began) / 1000;
    const columns = clip.columns.push(clip.logMel.finish());
    const seconds = clip.numSamples / clip.sampleRate;
    const { sampleRate } = clip;
    postMessage({ type: "clip", id, frames, columns, scores, numSteps, seconds, sampleRate, busyS }, [columns.buffer]);
  },
};

async function handle(message) {
  try {
    await handlers[message.type](message);
  } catch (error) {
    const kind = error instanceof AesaError ? error.kind : "internal";
    if (message.type !== "load") clip = undefined;
    postMessage({ type: "error", id: message.id, during: message.type, kind, message: error.message });
  }
}

function interleaved(planes) {
  if (planes.length === 1) return planes[0];
  const samples = new Float32Array(planes.length * planes[0].length);
  planes.forEach((plane, channel) => {
    for (let i = 0; i < plane.length; i++) samples[i * planes.length + channel] = plane[i];
  });
  return samples;
}

addEventListener("message", ({ data }) => handle(data));

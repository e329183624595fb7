/** The npm package as a user of Node installs it: target/web/user holds the packed one. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";

import { assertConforms, clips, root, samplesOf, target } from "./clips.mjs";

const path = createRequire(`${target}/user/`).resolve("aesa");
const { AXES, Aesa, AesaError, LogMel, NUM_MEL_BINS, STEP_S, Scorer } = await import(pathToFileURL(path));
const starterBytes = readFileSync(`${root}models/starter/model.aesa`);
const model = await Aesa.load();

/** Fails unless `call` throws an AesaError of that kind whose message has those words. */
function throwsKind(call, kind, words) {
  assert.throws(call, (error) => {
    assert.ok(error instanceof AesaError && error instanceof Error, error);
    assert.equal(error.name, "AesaError");
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, words);
    return true;
  });
}

async function rejectsKind(promise, kind, words) {
  const result = await promise.then(() => () => {}, (error) => () => { throw error; });
  throwsKind(result, kind, words);
}

function score(model, clip, samples, piece) {
  const scorer = new Scorer(model, clip.sample_rate_hz, clip.num_channels);
  const frames = [];
  for (let at = 0; at < samples.length; at += piece) frames.push(...scorer.accept(samples.subarray(at, at + piece)));
  const end = scorer.finish();
  scorer.free();
  return { ...end, frames: [...frames, ...end.frames] };
}

for (const clip of clips) {
  test(`conformance: ${clip.file}`, async (t) => {
    const samples = samplesOf(clip);
    const floats = Float32Array.from(samples, (x) => x / 32768);
    const fromFile = await Aesa.load(starterBytes);
    for (const each of [samples, floats]) {
      for (const piece of [each.length, 1000]) {
        const largest = assertConforms(clip, score(model, clip, each, piece));
        assertConforms(clip, score(fromFile, clip, each, piece));
        t.diagnostic(`${each.constructor.name}, pieces of ${piece}: largest difference ${largest.toExponential(1)}`);
      }
    }
  });
}

test("what a model says of itself", async () => {
  const { id, labels, weights, policy } = model.info;
  assert.deepEqual([id, labels, weights, policy.name], ["starter", "proxy", "int8", "chunked"]);
  assert.deepEqual((await Aesa.load(starterBytes.buffer.slice(starterBytes.byteOffset, starterBytes.byteOffset + starterBytes.length))).info, model.info);
  assert.deepEqual([[...AXES], STEP_S, NUM_MEL_BINS], [["PQ", "PC", "CE", "CU"], 0.16, 128]);
});

test("a bad model", async () => {
  const damaged = Uint8Array.from(starterBytes);
  damaged[400_000] ^= 1;
  await rejectsKind(Aesa.load(new TextEncoder().encode("# not a model")), "model-unsupported", /not a model\.aesa/);
  await rejectsKind(Aesa.load(new Uint8Array(0)), "model-unsupported", /not a model\.aesa/);
  await rejectsKind(Aesa.load(damaged), "model", /checksum/i);
  await rejectsKind(Aesa.load(starterBytes.subarray(0, 1000)), "model", /./);
  await rejectsKind(Aesa.load("models/starter/model.aesa"), "argument", /ArrayBuffer/);
  await rejectsKind(Aesa.load(null), "argument", /ArrayBuffer/);
  throwsKind(() => new Aesa(), "argument", /Aesa\.load/);
});

test("arguments that cannot be", () => {
  throwsKind(() => new Scorer(model, 0, 1), "sample-rate", /0 Hz/);
  throwsKind(() => new Scorer(model, 1_000_000, 1), "sample-rate", /1000000 Hz/);
  throwsKind(() => new Scorer(model, 16000, 0), "channels", /0 channels/);
  for (const bad of [-1, 1.5, NaN, Infinity, 2 ** 32, "16000", null, undefined, {}, 16000n]) {
    throwsKind(() => new Scorer(model, bad, 1), "argument", /sampleRate/);
    throwsKind(() => new Scorer(model, 16000, bad), "argument", /channels/);
  }
  throwsKind(() => new Scorer(undefined, 16000, 1), "argument", /no model/);
  throwsKind(() => new Scorer({}, 16000, 1), "argument", /no model/);
  throwsKind(() => new Scorer(model, 16000, 1, { hopSteps: 1 }), "not-windowed", /chunks/);
  const scorer = new Scorer(model, 16000, 2);
  for (const bad of [undefined, null, [0, 0], new Float64Array(2), new ArrayBuffer(8), "", 7]) {
    throwsKind(() => scorer.accept(bad), "argument", /Float32Array/);
  }
  for (const bad of [-1, 0.5, NaN, Infinity, "1", undefined]) throwsKind(() => scorer.gap(bad), "argument", /numSamples/);
});

test("bad audio takes nothing, and the clip goes on", () => {
  const [clip, samples] = [clips[0], samplesOf(clips[0])];
  const floats = Float32Array.from(samples, (x) => x / 32768);
  const scorer = new Scorer(model, clip.sample_rate_hz, clip.num_channels);
  const frames = [];
  for (let at = 0; at < floats.length; at += 20_000) {
    const piece = floats.subarray(at, at + 20_000);
    for (const value of [NaN, Infinity, 1e30]) {
      const bad = Float32Array.from(piece);
      bad[bad.length - 1] = value;
      throwsKind(() => scorer.accept(bad), "non-finite", /not a finite number/);
    }
    throwsKind(() => scorer.accept(new Float32Array(clip.num_channels + 1)), "incomplete-sample", /cannot be split/);
    frames.push(...scorer.accept(piece));
  }
  const end = scorer.finish();
  assertConforms(clip, { ...end, frames: [...frames, ...end.frames] });
});

test("the order of calls", () => {
  const scorer = new Scorer(model, 16000, 1);
  throwsKind(() => scorer.finish(), "too-short", /0 samples/);
  throwsKind(() => scorer.accept(new Int16Array(160)), "finished", /ended/);
  throwsKind(() => scorer.finish(), "finished", /ended/);
  throwsKind(() => scorer.gap(5), "finished", /ended/);
  scorer.reset();
  assert.equal(scorer.clipSoFar, undefined);
  assert.deepEqual(scorer.accept(new Int16Array(0)), []);
  assert.equal(scorer.accept(new Int16Array(32_000)).length, 12);
  assert.equal(scorer.clipSoFar.numSteps, 12);
  assert.equal(scorer.finish().numSteps, 12);
  scorer.reset();
  assert.ok(scorer.latencySamples >= 0.96 * 16000 && scorer.latencySamples < 1.1 * 16000);
  scorer.free();
  scorer.free();
  for (const call of [() => scorer.accept(new Int16Array(2)), () => scorer.finish(), () => scorer.reset(), () => scorer.clipSoFar, () => scorer.latencySamples, () => scorer.gap(1)]) {
    throwsKind(call, "freed", /scorer has been freed/);
  }
});

test("scorers outlive their model", async () => {
  const own = await Aesa.load(starterBytes);
  const [clip, samples] = [clips[0], samplesOf(clips[0])];
  const scorer = new Scorer(own, clip.sample_rate_hz, clip.num_channels);
  own.free();
  own.free();
  throwsKind(() => own.info, "freed", /model has been freed/);
  throwsKind(() => new Scorer(own, 16000, 1), "freed", /model has been freed/);
  const frames = scorer.accept(samples);
  const end = scorer.finish();
  assertConforms(clip, { ...end, frames: [...frames, ...end.frames] });
});

/** The starter's weights as a windowed model: its policy is another, in the header and in metadata of the same length. */
function windowed(windowSteps) {
  const bytes = Buffer.from(starterBytes);
  const [numTensors, length] = [bytes.readUInt32LE(24), bytes.readUInt32LE(28)];
  const [begin, pairs] = [128 + 32 * numTensors, []];
  for (let at = begin; at < begin + length; ) {
    const [key, value] = [bytes.readUInt16LE(at), bytes.readUInt16LE(at + 2)];
    pairs.push([bytes.toString("utf8", at + 4, at + 4 + key), bytes.toString("utf8", at + 4 + key, at + 4 + key + value)]);
    at += 4 + key + value;
  }
  const of = new Map(pairs.filter(([key]) => !["aesa.chunk_steps", "aesa.left_steps"].includes(key)));
  of.set("aesa.policy", "windowed").set("aesa.window_steps", `${windowSteps}`);
  const size = () => [...of].reduce((sum, [key, value]) => sum + 4 + key.length + value.length, 0);
  of.set("aesa.id", "windowed".padEnd("windowed".length + length - size() + of.get("aesa.id").length - "windowed".length, "-"));
  assert.equal(size(), length);
  let at = begin;
  for (const [key, value] of of) {
    at = bytes.writeUInt16LE(value.length, bytes.writeUInt16LE(key.length, at));
    at += bytes.write(key + value, at);
  }
  [windowSteps, 0, 0, 0].forEach((number, i) => bytes.writeUInt32LE(number, [88, 92, 96, 12][i]));
  bytes.writeUInt32LE(crc32(bytes), 12);
  return bytes;
}

/** IEEE 802.3, bit by bit. */
function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

test("a windowed model, and its hops", async () => {
  const windows = await Aesa.load(windowed(20));
  assert.deepEqual(windows.info.policy, { name: "windowed", windowSteps: 20 });
  const [clip, samples] = [clips[2], samplesOf(clips[2])];
  const of = (options, piece) => {
    const scorer = new Scorer(windows, clip.sample_rate_hz, clip.num_channels, options);
    const frames = [];
    for (let at = 0; at < samples.length; at += piece) frames.push(...scorer.accept(samples.subarray(at, at + piece)));
    const [live, end] = [frames.length, scorer.finish()];
    assert.equal(end.numSteps, clip.num_steps);
    return { live, latency: scorer.latencySamples, frames: [...frames, ...end.frames] };
  };
  const [whole, hops] = [of(undefined, samples.length), of({ hopSteps: 2, lookAheadSteps: 1 }, 1000)];
  assert.deepEqual([whole.live, whole.latency, hops.latency], [0, 20 * 2560 + 240, 3 * 2560 + 240]);
  assert.ok(hops.live >= clip.num_steps - 3, `${hops.live}`);
  assert.deepEqual(of({ hopSteps: 20 }, 777).frames, whole.frames);
  assert.deepEqual(of({ hopSteps: 2, lookAheadSteps: 1 }, samples.length).frames, hops.frames);
  assert.notDeepEqual(hops.frames, whole.frames);
  throwsKind(() => new Scorer(windows, 16000, 1, { hopSteps: 0 }), "policy", /hop of 0/);
  throwsKind(() => new Scorer(windows, 16000, 1, { hopSteps: 20, lookAheadSteps: 1 }), "policy", /look-ahead of 1/);
  throwsKind(() => new Scorer(windows, 16000, 1, { hopSteps: 1.5 }), "argument", /hopSteps/);
  throwsKind(() => new Scorer(windows, 16000, 1, { lookAheadSteps: 1 }), "argument", /hopSteps/);
  await rejectsKind(Aesa.load(windowed(2000)), "model", /./);
});

test("lost audio is marked", () => {
  const scorer = new Scorer(model, 16000, 1);
  const frames = [...scorer.accept(new Int16Array(32_000)), ...scorer.gap(16_000), ...scorer.accept(new Int16Array(32_000))];
  const end = scorer.finish();
  frames.push(...end.frames);
  const lost = frames.filter((frame) => frame.isLost);
  assert.ok(lost.length >= 6 && lost.length <= 9 && lost.every((frame) => frame.hasGap), `${lost.length}`);
  assert.equal(end.numSteps, frames.length - lost.length);
  scorer.reset();
  scorer.gap(32_000);
  throwsKind(() => scorer.finish(), "all-lost", /lost/);
});

test("the log-mel energies are those of any cut", () => {
  const [clip, samples] = [clips[0], samplesOf(clips[0])];
  const of = (piece) => {
    const logMel = new LogMel(clip.sample_rate_hz, clip.num_channels);
    const rows = [];
    for (let at = 0; at < samples.length; at += piece) rows.push(...logMel.accept(samples.subarray(at, at + piece)));
    rows.push(...logMel.finish());
    logMel.free();
    throwsKind(() => logMel.finish(), "freed", /LogMel has been freed/);
    return rows;
  };
  const whole = of(samples.length);
  const seconds = samples.length / clip.num_channels / clip.sample_rate_hz;
  assert.equal(whole.length, NUM_MEL_BINS * (Math.floor((Math.ceil(seconds * 16000) - 400) / 160) + 1));
  assert.deepEqual(of(5000), whole);
  const spread = Math.max(...whole) - Math.min(...whole.filter((_, i) => i % NUM_MEL_BINS !== 3));
  assert.ok(spread > 5 && whole.every(Number.isFinite), `${spread}`);
  throwsKind(() => new LogMel(1, 1), "sample-rate", /1 Hz/);
  throwsKind(() => new LogMel(16000, 0), "channels", /0 channels/);
});

test("two scorers in two threads", async () => {
  const code = `
    import { parentPort, workerData } from "node:worker_threads";
    const { Aesa, Scorer } = await import(workerData.url);
    const scorer = new Scorer(await Aesa.load(), workerData.rate, workerData.channels);
    const frames = scorer.accept(workerData.samples);
    const end = scorer.finish();
    parentPort.postMessage({ ...end, frames: [...frames, ...end.frames] });`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  const results = clips.map((clip) => new Promise((resolve, reject) => {
    const workerData = { url: pathToFileURL(path).href, rate: clip.sample_rate_hz, channels: clip.num_channels, samples: samplesOf(clip) };
    const worker = new Worker(url, { workerData });
    worker.once("message", resolve);
    worker.once("error", reject);
  }));
  (await Promise.all(results)).forEach((result, i) => assertConforms(clips[i], result));
});

test("a panic ends the module with its words", async () => {
  const { asAesaError, rememberPanic } = await import(new URL("error.js", pathToFileURL(path)));
  rememberPanic("panicked at a.rs:1:2: six of nine");
  const error = asAesaError(new WebAssembly.RuntimeError("unreachable"));
  throwsKind(() => { throw error; }, "internal", /six of nine/);
  assert.equal(asAesaError(error), error);
  throwsKind(() => { throw asAesaError(new RangeError("no memory")); }, "internal", /no memory/);
});

test("the module's bytes can be the caller's", async () => {
  const other = await import(`${pathToFileURL(path)}?other`);
  const wasm = readFileSync(new URL("aesa_web_bg.wasm", pathToFileURL(path)));
  assert.equal((await other.Aesa.load(undefined, { wasm })).info.id, "starter");
});

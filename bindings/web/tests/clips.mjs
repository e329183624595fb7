/** The conformance clips: their samples, and the scores that every way into aesa gives them. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../../", import.meta.url));
export const target = `${process.env.CARGO_TARGET_DIR ?? `${root}target`}/web`;

const { clips } = JSON.parse(readFileSync(`${root}tests/conformance/expected.json`, "utf8"));
assert.ok(clips.length >= 4 && clips.every((clip) => clip.tolerance < 1e-3));
export { clips };

export function pathOf(clip) {
  return `${root}tests/conformance/clips/${clip.file}`;
}

/** The interleaved samples of a 16-bit PCM WAV file, with its rate and channels. */
export function readWav(path) {
  const bytes = readFileSync(path);
  let format;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const [id, size] = [bytes.toString("latin1", at, at + 4), bytes.readUInt32LE(at + 4)];
    if (id === "fmt ") format = { channels: bytes.readUInt16LE(at + 10), sampleRate: bytes.readUInt32LE(at + 12) };
    if (id === "data") {
      const data = bytes.buffer.slice(bytes.byteOffset + at + 8, bytes.byteOffset + at + 8 + size);
      return { ...format, samples: new Int16Array(data) };
    }
    at += 8 + size + (size % 2);
  }
  throw new Error(`${path}: no samples`);
}

/** The clip's samples, with the rate and channels that expected.json names. */
export function samplesOf(clip) {
  const { sampleRate, channels, samples } = readWav(pathOf(clip));
  assert.deepEqual([sampleRate, channels], [clip.sample_rate_hz, clip.num_channels]);
  return samples;
}

/** Fails where a frame is missing, or a score is farther off than the tolerance. Gives the largest difference. */
export function assertConforms(expected, { frames, scores, numSteps }) {
  assert.equal(numSteps, expected.num_steps);
  assert.equal(frames.length, expected.frames.length);
  let largest = 0;
  const compare = (actual, wanted, what) => {
    ["PQ", "PC", "CE", "CU"].forEach((axis, i) => {
      const difference = Math.abs(actual[axis] - wanted[i]);
      assert.ok(difference <= expected.tolerance, `${expected.file}, ${what}, ${axis}: ${actual[axis]}, not ${wanted[i]}`);
      largest = Math.max(largest, difference);
    });
  };
  frames.forEach((frame, i) => {
    assert.equal(frame.index, i);
    assert.ok(Math.abs(frame.startS - 0.16 * i) < 1e-9 && Math.abs(frame.endS - 0.16 * (i + 1)) < 1e-9);
    assert.deepEqual([frame.hasGap, frame.isLost], [false, false]);
    compare(frame.scores, expected.frames[i], `frame ${i}`);
  });
  compare(scores, expected.clip, "clip");
  return largest;
}

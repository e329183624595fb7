/** What the page reads of files itself: sample rates in headers, and WAV. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { sampleRateOf } from "../page/rate.js";
import { decodeWav } from "../page/wav.js";
import { clips, pathOf, readWav, root, target } from "./clips.mjs";

const lacks = (program) => spawnSync(program, ["-version"]).error && `${program} is not installed`;
const bufferOf = (path) => new Uint8Array(readFileSync(path)).buffer;

test("sample rates are those that ffprobe finds", { skip: lacks("ffprobe") }, () => {
  const folders = ["models/starter/golden", "tests/golden/codecs", "tests/conformance/clips"].map((folder) => `${root}${folder}`);
  const paths = folders.flatMap((folder) => readdirSync(folder).map((name) => `${folder}/${name}`));
  const audio = paths.filter((path) => /\.(wav|flac|ogg|mp3|m4a|aac|opus)$/.test(path));
  const rates = new Set();
  for (const path of audio) {
    const expected = Number(execFileSync("ffprobe", ["-v", "error", "-select_streams", "a:0", "-show_entries", "stream=sample_rate", "-of", "csv=p=0", path]));
    assert.equal(sampleRateOf(bufferOf(path)), expected, path);
    rates.add(expected);
  }
  assert.ok(audio.length >= 12 && rates.size >= 4, `${audio.length} files, ${[...rates]}`);
});

test("rates of every codec", { skip: lacks("ffmpeg") }, () => {
  const source = pathOf(clips[0]);
  for (const [name, rate] of [["a.mp3", 22050], ["a.mp3", 11025], ["a.mp3", 32000], ["a.flac", 96000], ["a.ogg", 24000], ["a.m4a", 32000], ["a.aac", 22050], ["a.wav", 11025]]) {
    const path = `${target}/${name}`;
    const codec = name.endsWith("ogg") ? ["-c:a", "libvorbis"] : [];
    execFileSync("ffmpeg", ["-y", "-v", "error", "-i", source, "-ar", rate, ...codec, path]);
    assert.equal(sampleRateOf(bufferOf(path)), rate, `${name} ${rate}`);
  }
});

test("headers that end early or mean nothing", () => {
  for (const path of [pathOf(clips[0]), ...["mp3", "ogg", "flac", "m4a", "aac", "opus"].map((e) => `${root}tests/golden/codecs/speech.${e}`)]) {
    const whole = bufferOf(path);
    for (let length = 0; length < 300; length++) {
      const rate = sampleRateOf(whole.slice(0, length));
      assert.ok(rate === undefined || (rate >= 4000 && rate <= 96000), `${path} ${length}: ${rate}`);
      decodeWav(whole.slice(0, length));
    }
  }
  assert.equal(sampleRateOf(bufferOf(`${root}README.md`)), undefined);
  assert.equal(decodeWav(bufferOf(`${root}README.md`)), undefined);
});

test("WAV samples are those of the file", () => {
  for (const clip of clips) {
    const { sampleRate, channels, samples } = readWav(pathOf(clip));
    const wav = decodeWav(bufferOf(pathOf(clip)));
    assert.deepEqual([wav.sampleRate, wav.planes.length, wav.planes[0].length], [sampleRate, channels, samples.length / channels]);
    samples.forEach((x, i) => assert.equal(wav.planes[i % channels][Math.floor(i / channels)], x / 32768));
  }
});

test("WAV of every format that is read here", () => {
  const of = (tag, bits, write, extensible) => {
    const bytes = new ArrayBuffer(12 + 8 + (extensible ? 40 : 16) + 8 + 2 * (bits / 8));
    const view = new DataView(bytes);
    const text = (at, words) => [...words].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
    text(0, "RIFF");
    text(8, "WAVEfmt ");
    view.setUint32(16, extensible ? 40 : 16, true);
    view.setUint16(20, extensible ? 0xfffe : tag, true);
    view.setUint16(22, 2, true);
    view.setUint32(24, 12345, true);
    view.setUint16(34, bits, true);
    if (extensible) view.setUint16(44, tag, true);
    const data = extensible ? 60 : 36;
    text(data, "data");
    view.setUint32(data + 4, 2 * (bits / 8), true);
    write(view, data + 8);
    return decodeWav(bytes);
  };
  const check = (wav, left, right) => assert.deepEqual([wav.sampleRate, ...wav.planes.map((p) => [...p])], [12345, [left], [right]]);
  for (const extensible of [false, true]) {
    check(of(1, 16, (v, at) => (v.setInt16(at, -32768, true), v.setInt16(at + 2, 16384, true)), extensible), -1, 0.5);
    check(of(1, 24, (v, at) => [0, 0, 0x80, 1, 0, 0x40].forEach((b, i) => v.setUint8(at + i, b)), extensible), -1, 0.5 + 2 ** -23);
    check(of(1, 32, (v, at) => (v.setInt32(at, -(2 ** 31), true), v.setInt32(at + 4, 2 ** 30, true)), extensible), -1, 0.5);
    check(of(3, 32, (v, at) => (v.setFloat32(at, -1.5, true), v.setFloat32(at + 4, 0.25, true)), extensible), -1.5, 0.25);
    assert.equal(of(2, 16, () => {}, extensible), undefined);
  }
});

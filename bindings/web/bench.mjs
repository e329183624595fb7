#!/usr/bin/env node
/**
 * bench.mjs [--node] [--chromium] [FOLDER...]: seconds of audio per second that the starter model scores, by packages that build.sh made
 * (target/web/aesa and, where it is there, target/web/aesa-scalar), in Node and in Chromium's worker; both unless one is named.
 * Chromium is driven by what `npm ci` puts into tests/node_modules.
 *
 * Each package in turn scores six seconds of a made-up sound, again and again, in pieces of 20 ms; the fastest and the median of all
 * rounds are printed. On a shared machine the fastest is the one that nobody interrupted. Every round's scores are compared with the
 * first's of the first package: a build that computes something else is an error.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import process from "node:process";
import { pathToFileURL } from "node:url";

import { target } from "./tests/clips.mjs";
import { serve } from "./tests/server.mjs";

/** In a worker or in Node: `{ times, scores }` of `rounds` rounds, milliseconds. Stands alone: it is sent to the browser as text. */
async function measure(url, sampleRate, channels, rounds) {
  const { Aesa, Scorer } = await import(url);
  const scorer = new Scorer(await Aesa.load(), sampleRate, channels);
  // A chord whose parts fade in and out, and noise; the generator is xorshift32's.
  let state = 1;
  const noise = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state / 2 ** 31;
  };
  const samples = Float32Array.from({ length: 6 * sampleRate * channels }, (_, i) => {
    const t = Math.floor(i / channels) / sampleRate;
    const chord = [220, 277.2, 329.6, 1760].reduce((sum, hz, k) => sum + Math.sin(6.2832 * hz * t) * Math.sin(t * (k + 1)) ** 2, 0);
    return 0.1 * chord + 0.02 * noise();
  });
  const piece = (sampleRate / 50) * channels;
  const times = [];
  let scores;
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    for (let at = 0; at < samples.length; at += piece) scorer.accept(samples.subarray(at, at + piece));
    scores = Object.values(scorer.finish().scores);
    times.push(performance.now() - began);
    scorer.reset();
  }
  return { times, scores };
}

async function inNode(folder, ...rest) {
  return measure(pathToFileURL(`${folder}/index.js`).href, ...rest);
}

async function chromium(folders) {
  const { default: puppeteer } = await import(pathToFileURL(createRequire(new URL("tests/", import.meta.url)).resolve("puppeteer-core")));
  const server = await serve({ ...Object.fromEntries(folders.map((folder, i) => [`/${i}/`, folder])), "/": `${target}/site` });
  const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-background-networking"] });
  const page = await browser.newPage();
  // A page of that origin without the page's own work.
  await page.goto(`${server.url}style.css`);
  const run = (folder, ...rest) => {
    const code = `${measure}; measure(...${JSON.stringify([`${server.url}${folders.indexOf(folder)}/index.js`, ...rest])}).then(postMessage);`;
    return page.evaluate((code) => new Promise((resolve, reject) => {
      const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(event.message));
    }), code);
  };
  return { run, version: await browser.version(), close: () => Promise.all([browser.close(), server.close()]) };
}

const AUDIO = [
  { name: "16 kHz mono", spec: [16_000, 1] },
  { name: "48 kHz stereo", spec: [48_000, 2] },
];
const ROUNDS = 15;
const TURNS = 4;

async function compare(where, run, folders) {
  for (const { name, spec } of AUDIO) {
    const times = folders.map(() => []);
    let expected;
    for (let turn = 0; turn < TURNS; turn++) {
      for (const [i, folder] of folders.entries()) {
        const result = await run(folder, ...spec, ROUNDS);
        expected ??= result.scores;
        // A resampler with other instructions may round otherwise.
        const near = result.scores.every((score, axis) => Math.abs(score - expected[axis]) <= (spec[0] === 16_000 ? 0 : 0.02));
        if (!near) throw new Error(`${folder} scores ${result.scores}, not ${expected}`);
        // The first rounds are the compiler's.
        times[i].push(...result.times.slice(3));
      }
    }
    for (const [i, folder] of folders.entries()) {
      const sorted = times[i].toSorted((a, b) => a - b);
      const speed = (ms) => (6000 / ms).toFixed(0).padStart(5);
      console.log(`${where}  ${name.padEnd(14)} ${folder.split("/").at(-1).padEnd(14)} fastest ${speed(sorted[0])}  median ${speed(sorted[sorted.length >> 1])}`);
    }
  }
}

const args = process.argv.slice(2);
const named = args.filter((arg) => !arg.startsWith("--"));
const folders = named.length > 0 ? named : [`${target}/aesa`, `${target}/aesa-scalar`].filter((folder) => existsSync(folder));
const both = !args.includes("--node") && !args.includes("--chromium");
console.log(`${os.cpus()[0].model}, ${os.cpus().length} cores, load ${os.loadavg()[0].toFixed(1)}; times as fast as real time`);
if (both || args.includes("--node")) await compare(`Node ${process.versions.node}`, inNode, folders);
if (both || args.includes("--chromium")) {
  const { run, version, close } = await chromium(folders);
  await compare(version.replace("Headless", "").split(".")[0], run, folders);
  await close();
}

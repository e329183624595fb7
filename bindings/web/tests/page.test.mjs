/** The page in a real Chromium: CHROMIUM names it, target/web/site is what build.sh made. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { after, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";

import puppeteer from "puppeteer-core";

import { assertConforms, clips, pathOf, readWav, root, samplesOf, target } from "./clips.mjs";
import { serve } from "./server.mjs";

const WAIT = { timeout: 60_000 };
const scratch = `${target}/page-test`;
const spoken = clips.find((clip) => clip.file.startsWith("speech"));
let browser, page, server, elsewhere, asked;

before(async () => {
  mkdirSync(scratch, { recursive: true });
  server = await serve({ "/tests/": fileURLToPath(new URL(".", import.meta.url)), "/": `${target}/site` });
  elsewhere = await serve({ "/": scratch });
  browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream",
      `--use-file-for-fake-audio-capture=${pathOf(spoken)}`,
      "--disable-background-networking",
      "--autoplay-policy=no-user-gesture-required",
    ],
  });
});

after(async () => {
  await browser?.close();
  await server?.close();
  await elsewhere?.close();
});

/** A fresh page with the model loaded; `seen` in it holds what the page told. */
beforeEach(() => open({ width: 1200, height: 900 }));

async function open(viewport) {
  await page?.close();
  page = await browser.newPage();
  await page.setViewport(viewport);
  asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.evaluateOnNewDocument(() => {
    window.seen = [];
    document.addEventListener("aesa", ({ detail }) => window.seen.push({ ...detail, columns: detail.columns?.length }));
  });
  await page.goto(server.url);
  await page.waitForFunction(() => window.seen.some((s) => s.type === "model"), WAIT);
}

async function choose(id, path) {
  const input = await page.$(id);
  await page.evaluate(() => (window.seen.length = 0));
  await input.uploadFile(path);
}

/** Waits for the clip's end: `{ frames, scores, numSteps, seconds, columns }`. What came before it began may be of another. */
async function clipEnd() {
  await page.waitForFunction(() => window.seen.some((s) => s.type === "clip" || s.type === "error"), WAIT);
  const seen = await page.evaluate(() => window.seen);
  const last = seen.at(-1);
  assert.equal(last.type, "clip", JSON.stringify(last));
  const own = seen.slice(seen.findIndex((s) => s.id === last.id));
  assert.ok(own.every((s) => s.id === last.id));
  const sum = (key) => own.filter((s) => s[key]).map((s) => s[key]);
  return { ...last, frames: sum("frames").flat(), columns: sum("columns").reduce((a, b) => a + b, 0), messages: own.length };
}

const status = () => page.$eval("#status", (e) => ({ text: e.textContent, isError: e.classList.contains("error") }));
const shown = (which) => page.$$eval("#scores dd", (all, at) => all.filter((_, i) => i % 2 === at).map((e) => e.textContent), which === "clip" ? 1 : 0);
const inOrder = ({ PQ, PC, CE, CU }) => [PQ, PC, CE, CU].map((x) => x.toFixed(2));

async function failsWith(words) {
  await page.waitForFunction(() => document.querySelector("#status.error"), WAIT);
  const { text } = await status();
  assert.match(text, words);
}

/** Lets a file fall on the page, as a file manager does. */
async function drop(path, name) {
  await page.evaluate(() => (window.seen.length = 0));
  await page.evaluate((base64, name) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
  }, readFileSync(path).toString("base64"), name);
}

/** Colours that the plot has beside white and grey: those of curves. */
function colours() {
  return page.$eval("#plot", (canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const found = new Set();
    for (let i = 0; i < data.length; i += 4) found.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
    return [...found];
  });
}

for (const clip of clips) {
  test(`a file that is chosen: ${clip.file}`, async (t) => {
    await choose("#file", pathOf(clip));
    const result = await clipEnd();
    t.diagnostic(`largest difference ${assertConforms(clip, result).toExponential(1)}`);
    assert.deepEqual(await shown("clip"), inOrder(result.scores));
    assert.deepEqual(await shown("now"), inOrder(result.frames.at(-1).scores));
    // A column per 10 ms: the spectrogram is as long as the clip, but for the last 25 ms.
    assert.ok(Math.abs(result.columns / 128 - (result.seconds * 100 - 2)) <= 2, `${result.columns / 128}`);
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    const drawn = await colours();
    for (const curve of [0xd55e00, 0x0072b2, 0x009e73, 0xa2306d]) assert.ok(drawn.includes(curve), curve.toString(16));
    const label = await page.$eval("#plot", (e) => e.ariaLabel);
    assert.ok(label.includes(`PQ ${result.scores.PQ.toFixed(2)}`), label);
  });
}

test("files that are dropped, one after the other", async () => {
  for (const clip of clips) {
    await drop(pathOf(clip), clip.file);
    assertConforms(clip, await clipEnd());
    assert.equal(await page.$eval("#title", (e) => e.textContent), clip.file);
  }
});

test("other formats are scored at their own rate", async () => {
  for (const name of ["speech.flac", "speech.mp3", "speech.ogg", "speech.m4a", "speech.aac"]) {
    await drop(`${root}tests/golden/codecs/${name}`, name);
    const { numSteps } = await clipEnd();
    const { sampleRate } = await page.evaluate(() => window.seen.findLast((s) => s.type === "clip"));
    assert.equal(sampleRate, 48_000, name);
    assert.ok(numSteps > 5, name);
  }
});

test("the page says what the model's labels are", async () => {
  assert.match(await page.$eval("#model", (e) => e.textContent), /model: starter .* labels: proxy/);
  assert.ok(await page.$eval("#proxy", (e) => e.offsetHeight > 0));
});

test("the microphone is scored live", async (t) => {
  await page.evaluate(() => (window.seen.length = 0));
  await page.click("#microphone");
  const numFrames = () => page.evaluate(() => window.seen.reduce((sum, s) => sum + (s.frames?.length ?? 0), 0));
  const reach = (least) => page.waitForFunction((n) => window.seen.reduce((sum, s) => sum + (s.frames?.length ?? 0), 0) >= n, WAIT, least);
  await reach(6);
  const early = await numFrames();
  assert.match((await status()).text, /^Listening/);
  assert.notDeepEqual(await shown("now"), ["–", "–", "–", "–"]);
  assert.notDeepEqual(await shown("clip"), ["–", "–", "–", "–"]);
  await reach(early + 24);
  assert.ok(!(await page.evaluate(() => window.seen.some((s) => s.type === "clip"))));
  await page.click("#microphone");
  const live = await clipEnd();
  assert.deepEqual(live.frames.map((frame) => frame.index), live.frames.map((_, i) => i));
  assert.ok(live.messages > 20 && live.numSteps >= 30, `${live.messages} messages, ${live.numSteps} steps`);
  // The device repeats the clip; it is resampled and starts anywhere, so the scores are near those of the file, and far from silence's.
  const away = Math.abs(live.scores.PQ - spoken.clip[0]);
  t.diagnostic(`PQ ${live.scores.PQ.toFixed(2)} of the microphone, ${spoken.clip[0].toFixed(2)} of the file`);
  assert.ok(away < 1.5, `${away}`);
  assert.equal(await page.$eval("#microphone", (e) => e.textContent), "Use the microphone");
  await choose("#file", pathOf(clips[0]));
  assertConforms(clips[0], await clipEnd());
});

test("a file takes the microphone's place at once", async () => {
  await page.click("#microphone");
  await page.waitForFunction(() => window.seen.some((s) => s.frames?.length), WAIT);
  await choose("#file", pathOf(clips[0]));
  assertConforms(clips[0], await clipEnd());
  assert.equal(await page.$eval("#microphone", (e) => e.getAttribute("aria-pressed")), "false");
});

test("a microphone that is refused is told", async () => {
  await page.evaluate(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
  });
  await page.click("#microphone");
  await failsWith(/permission was not given/);
});

test("nothing leaves the page's origin, nothing is asked for after loading", async () => {
  const loaded = server.requests.length;
  assert.ok(loaded > 0 && asked.length > 5, `${asked}`);
  await choose("#file", pathOf(clips[0]));
  assertConforms(clips[0], await clipEnd());
  await page.evaluate(() => (window.seen.length = 0));
  await page.click("#microphone");
  await page.waitForFunction(() => window.seen.some((s) => s.frames?.length), WAIT);
  await page.click("#microphone");
  assert.ok((await clipEnd()).numSteps >= 6);
  assert.deepEqual(server.requests.slice(loaded), []);
  for (const url of asked) assert.ok(url.startsWith(server.url) || /^(data|blob):/.test(url), url);
});

test("the page and its worker may not connect to anywhere else", async () => {
  const attempt = (url) => fetch(url).then(() => "got through", (error) => error.name);
  const own = `${server.url}style.css`;
  const other = `${elsewhere.url}nothing`;
  writeFileSync(`${scratch}/nothing`, "");
  assert.equal(await (await fetch(other)).text(), "");
  const asked = elsewhere.requests.length;
  const [worker] = page.workers();
  for (const place of [page, worker]) {
    assert.equal(await place.evaluate(attempt, own), "got through");
    assert.equal(await place.evaluate(attempt, other), "TypeError");
  }
  const image = (url) => new Promise((done) => Object.assign(new Image(), { onload: () => done("got through"), onerror: () => done("refused"), src: url }));
  assert.equal(await page.evaluate(image, other), "refused");
  assert.equal(elsewhere.requests.length, asked);
});

test("a broken file is told, and the page goes on", async () => {
  await drop(`${root}README.md`, "broken.wav");
  await failsWith(/broken\.wav cannot be decoded/);
  const wav = readFileSync(pathOf(clips[0]));
  writeFileSync(`${scratch}/cut.wav`, wav.subarray(0, 20));
  await choose("#file", `${scratch}/cut.wav`);
  await failsWith(/cut\.wav cannot be decoded/);
  writeFileSync(`${scratch}/empty.wav`, "");
  await choose("#file", `${scratch}/empty.wav`);
  await failsWith(/empty\.wav cannot be decoded/);
  await choose("#file", pathOf(clips[1]));
  assertConforms(clips[1], await clipEnd());
  assert.equal((await status()).isError, false);
});

test("a clip that is too short is told", async () => {
  const wav = readFileSync(pathOf(spoken));
  const data = wav.indexOf("data");
  const short = Buffer.from(wav.subarray(0, data + 8 + 4000));
  short.writeUInt32LE(4000, data + 4);
  short.writeUInt32LE(short.length - 8, 4);
  writeFileSync(`${scratch}/short.wav`, short);
  await choose("#file", `${scratch}/short.wav`);
  await failsWith(/short\.wav: too short: at least 175 ms/);
});

test("a bad model is told, and the one before stays", async () => {
  const damaged = readFileSync(`${root}models/starter/model.aesa`);
  damaged[300_000] ^= 4;
  writeFileSync(`${scratch}/damaged.aesa`, damaged);
  for (const [path, words] of [[`${root}README.md`, /Not a usable model: not a model\.aesa/], [`${scratch}/damaged.aesa`, /Not a usable model: .*checksum/i]]) {
    await choose("#model-file", path);
    await failsWith(words);
  }
  await choose("#file", pathOf(clips[0]));
  assertConforms(clips[0], await clipEnd());
});

test("another model's file is taken", async () => {
  await choose("#model-file", `${root}models/starter/model.aesa`);
  await page.waitForFunction(() => window.seen.some((s) => s.type === "model"), WAIT);
  await choose("#file", pathOf(clips[0]));
  assertConforms(clips[0], await clipEnd());
});

test("two scorers in two workers", async () => {
  const jobs = clips.map((clip) => ({
    url: `${server.url}aesa/index.js`,
    sampleRate: clip.sample_rate_hz,
    channels: clip.num_channels,
    samples: Array.from(samplesOf(clip)),
  }));
  const results = await page.evaluate((jobs) => Promise.all(jobs.map((job) => new Promise((resolve, reject) => {
    const worker = new Worker("tests/two.worker.mjs", { type: "module" });
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = reject;
    worker.postMessage({ ...job, samples: Int16Array.from(job.samples) });
  }))), jobs);
  results.forEach((result, i) => assertConforms(clips[i], result));
});

test("the README's quick start in a page", async (t) => {
  const folder = `${scratch}/quick`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  symlinkSync(`${target}/aesa`, `${folder}/aesa`);
  writeFileSync(`${folder}/quick.html`, readFileSync(`${root}bindings/web/README.md`, "utf8").match(/```html\n(.*?)```/s)[1]);
  const quick = await serve({ "/": folder });
  t.after(() => quick.close());
  await page.goto(`${quick.url}quick.html`);
  await page.waitForFunction(() => document.getElementById("file").onchange, WAIT);
  // The page decodes at 48 kHz. Of a clip at 16 kHz that takes the upper edge of the band away, which the model hears.
  const clip = clips.find((clip) => clip.sample_rate_hz > 32_000);
  await (await page.$("#file")).uploadFile(pathOf(clip));
  await page.waitForFunction(() => document.getElementById("out").textContent.includes("clip: PQ"), WAIT);
  const lines = (await page.$eval("#out", (e) => e.textContent)).trim().split("\n");
  assert.equal(lines.length, clip.num_steps + 1);
  assert.ok(Math.abs(Number(lines.at(-1).slice("clip: PQ ".length)) - clip.clip[0]) < 0.1, lines.at(-1));
});

test("the page answers while it scores", async (t) => {
  // A minute of noise at 48 kHz, stereo.
  const [rate, seconds] = [48_000, 60];
  const { samples } = readWav(pathOf(clips[0]));
  const wav = Buffer.alloc(44 + rate * seconds * 4);
  Buffer.from("RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0\0\0\0\0\0\0\0\0\x04\0\x10\0data", "latin1").copy(wav);
  wav.writeUInt32LE(wav.length - 8, 4);
  wav.writeUInt32LE(rate, 24);
  wav.writeUInt32LE(rate * 4, 28);
  wav.writeUInt32LE(wav.length - 44, 40);
  for (let i = 0; i < rate * seconds * 2; i++) wav.writeInt16LE(samples[i % samples.length], 44 + 2 * i);
  writeFileSync(`${scratch}/minute.wav`, wav);
  await choose("#file", `${scratch}/minute.wav`);
  await page.waitForFunction(() => window.seen.some((s) => s.type === "scored"), WAIT);
  // Each question is answered between the worker's messages, not after the last one.
  let answers = 0;
  while (!(await page.evaluate(() => window.seen.some((s) => s.type === "clip")))) answers += 1;
  const { numSteps, seconds: length, busyS } = await clipEnd();
  assert.equal(numSteps, 374);
  t.diagnostic(`${answers} answers; ${(length / busyS).toFixed(0)} times real time on a shared machine`);
  assert.ok(answers >= 5, `${answers}`);
  assert.ok(length / busyS > 2, `${length / busyS} times real time`);
});

test("a phone's width holds the page", async () => {
  await open({ width: 360, height: 740, deviceScaleFactor: 2, hasTouch: true, isMobile: true });
  await choose("#file", pathOf(clips[0]));
  await clipEnd();
  const { wide, small } = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth,
    small: [...document.querySelectorAll(".button")].filter((e) => e.offsetHeight < 36).length,
  }));
  assert.ok(wide <= 360, `${wide}`);
  assert.equal(small, 0);
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${scratch}/phone.png`, fullPage: true });
});

if (process.env.SCREENSHOTS) {
  test("pictures to look at", async () => {
    for (const name of ["speech.flac", "music.ogg"]) {
      await drop(`${root}models/starter/golden/${name}`, name);
      await clipEnd();
      await page.screenshot({ path: `${scratch}/${name}.png`, fullPage: true });
    }
    await page.click("#microphone");
    await new Promise((done) => setTimeout(done, 35_000));
    await page.screenshot({ path: `${scratch}/microphone.png`, fullPage: true });
  });
}

/**
 * The page: a file or the microphone in, curves and numbers out. The work is done in worker.js; what it says is also told to whoever
 * listens for the event `aesa` on the document.
 */
import { CURVES, Plot, framesPerColumn } from "./plot.js";
import { sampleRateOf } from "./rate.js";
import { decodeWav } from "./wav.js";

const byId = (id) => document.getElementById(id);
const plot = new Plot(byId("plot"));
const player = byId("player");
const numbers = Object.fromEntries(CURVES.map((curve) => [curve.axis, addCard(curve)]));
const worker = startWorker();
const recorderUrl = fetchRecorder();

/** What is being scored, or was: `{ id, name, stop?, sendNext?, frames }`. */
let clip;
let lastId = 0;
let hasModel = false;

/** A clip's place on the page; what was there before is given up. */
function begin(name, { spanS, isLive, sampleRate, channels, port }) {
  clip?.stop?.();
  clip = { id: ++lastId, name, isLive, frames: [] };
  const perColumn = framesPerColumn(spanS);
  plot.begin({ spanS, isLive, framesPerColumn: perColumn });
  byId("title").textContent = name;
  showScores("now");
  showScores("clip");
  const start = { type: "start", id: clip.id, sampleRate, channels, framesPerColumn: perColumn, port };
  worker.postMessage(start, port ? [port] : []);
  return clip;
}

async function scoreFile(file) {
  clip?.stop?.();
  clip = undefined;
  const attempt = ++lastId;
  showPlayer();
  say(`Decoding ${file.name} …`);
  let audio;
  try {
    audio = await decode(await file.arrayBuffer());
  } catch (error) {
    if (attempt === lastId) fail(`${file.name} cannot be decoded: this browser knows no such format, or the file is damaged.`);
    console.info(error);
    return;
  }
  if (attempt !== lastId) return;
  const { sampleRate, planes } = audio;
  const duration = planes[0].length / sampleRate;
  const run = begin(file.name, { spanS: Math.max(duration, 0.5), isLive: false, sampleRate, channels: planes.length });
  run.duration = duration;
  showPlayer(file);
  run.sendNext = sender(run, audio);
  run.sendNext();
}

/** The file's own samples, at its own rate where its header is understood. */
async function decode(bytes) {
  const wav = decodeWav(bytes);
  if (wav) return wav;
  const context = contextOf(sampleRateOf(bytes)) ?? contextOf(48000);
  const audio = await context.decodeAudioData(bytes);
  const planes = Array.from({ length: audio.numberOfChannels }, (_, channel) => audio.getChannelData(channel));
  return { sampleRate: audio.sampleRate, planes };
}

function contextOf(rate) {
  try {
    return rate && new OfflineAudioContext(1, 1, rate);
  } catch {
    // A rate that this browser does not decode to.
    return undefined;
  }
}

/** Sends the next two seconds each time it is called: one message is under way at a time, so a clip can be given up. */
function sender(run, { sampleRate, planes }) {
  const step = 2 * sampleRate;
  let at = 0;
  return () => {
    if (at >= planes[0].length) {
      run.sendNext = undefined;
      worker.postMessage({ type: "finish", id: run.id });
      return;
    }
    const parts = planes.map((plane) => plane.slice(at, at + step));
    at += step;
    worker.postMessage({ type: "samples", id: run.id, planes: parts }, parts.map((part) => part.buffer));
  };
}

async function listen() {
  clip?.stop?.();
  const attempt = ++lastId;
  let stream;
  showPlayer();
  say("Waiting for the microphone …");
  try {
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio });
    if (attempt === lastId) await record(stream);
    else stream.getTracks().forEach((track) => track.stop());
  } catch (error) {
    stream?.getTracks().forEach((track) => track.stop());
    fail(`The microphone cannot be used: ${REASONS[error.name] ?? error.message}.`);
  }
}

/** What runs on the audio thread, fetched with the page: nothing is asked for later. */
async function fetchRecorder() {
  const response = await fetch(new URL("recorder.js", import.meta.url));
  return URL.createObjectURL(await response.blob());
}

/** The samples go from the audio thread straight to the worker: a busy page loses none. */
async function record(stream) {
  const context = new AudioContext();
  await context.resume();
  await context.audioWorklet.addModule(await recorderUrl);
  const recorder = new AudioWorkletNode(context, "recorder", { channelCount: 1, channelCountMode: "explicit" });
  const { port1, port2 } = new MessageChannel();
  const run = begin("Microphone", { spanS: LIVE_S, isLive: true, sampleRate: context.sampleRate, channels: 1, port: port2 });
  recorder.port.postMessage({ out: port1 }, [port1]);
  context.createMediaStreamSource(stream).connect(recorder).connect(context.destination);
  const button = byId("microphone");
  button.setAttribute("aria-pressed", "true");
  button.textContent = "Stop";
  run.stop = () => {
    run.stop = undefined;
    recorder.port.postMessage({ end: true });
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Use the microphone";
    stream.getTracks().forEach((track) => track.stop());
    setTimeout(() => context.close(), 500);
  };
}

const answers = {
  model({ info }) {
    hasModel = true;
    const policy =
      info.policy.name === "chunked" ? `chunks of ${info.policy.chunkSteps} steps` : `windows of ${info.policy.windowSteps} steps`;
    byId("model").textContent = `model: ${info.id} ${info.version} · ${info.weights}, ${policy} of 160 ms · labels: ${info.labels}`;
    byId("proxy").hidden = info.labels !== "proxy";
    byId("file").disabled = byId("microphone").disabled = false;
    say("Ready.");
  },

  scored(scored) {
    show(scored);
    if (scored.soFar) showScores("clip", scored.soFar.scores);
    // Screen readers speak each new status: a stream's does not change.
    say(clip.isLive ? "Listening …" : `Scored ${scored.seconds.toFixed(1)} of ${clip.duration.toFixed(1)} s …`);
    clip.sendNext?.();
  },

  clip(result) {
    show(result);
    showScores("clip", result.scores);
    const speed = (result.seconds / result.busyS).toFixed(0);
    say(`Scored ${result.seconds.toFixed(1)} s of audio in ${result.busyS.toFixed(2)} s, ${speed} times as fast as it plays.`);
    const text = CURVES.map(({ axis }) => `${axis} ${result.scores[axis].toFixed(2)}`).join(", ");
    byId("plot").setAttribute("aria-label", `Spectrogram with the four scores over time. ${clip.name}: ${text}.`);
  },

  error({ during, kind, message }) {
    if (during === "load") return fail(kind === "wasm" ? `${message}.` : `Not a usable model: ${message}.`);
    clip.stop?.();
    fail(`${clip.name}: ${kind === "too-short" ? TOO_SHORT : message}.`);
  },
};

function show(scored) {
  plot.add(scored);
  clip.frames.push(...scored.frames);
  if (clip.isLive && clip.frames.length > 1000) clip.frames.splice(0, 500);
  showNow();
}

/** The numbers of the frame under the cursor; the latest, where there is none. */
function showNow(timeS) {
  const first = clip?.frames[0]?.index ?? 0;
  const frame = timeS === undefined ? clip?.frames.at(-1) : clip?.frames[Math.floor(timeS / 0.16) - first];
  showScores("now", frame?.scores);
}

function showScores(which, scores) {
  for (const { axis } of CURVES) numbers[axis][which].textContent = scores ? scores[axis].toFixed(2) : "–";
}

function addCard({ axis, name, dash }) {
  const card = document.createElement("li");
  card.style.setProperty("--colour", `var(--${axis})`);
  card.innerHTML = `
    <h2>${axis}
      <svg viewBox="0 0 36 10" aria-hidden="true">
        <line x1="0" y1="5" x2="36" y2="5" stroke="var(--${axis})" stroke-width="3" stroke-dasharray="${dash.join(" ")}"/>
      </svg>
      <span>${name}</span>
    </h2>
    <dl><div><dt>now</dt><dd>–</dd></div><div><dt>clip</dt><dd>–</dd></div></dl>`;
  byId("scores").append(card);
  const [now, clip] = card.querySelectorAll("dd");
  return { now, clip };
}

function say(text, className = "status") {
  const status = byId("status");
  status.className = className;
  if (status.textContent !== text) status.textContent = text;
}

function fail(text) {
  say(text, "status error");
}

/** The file, to be listened to, or nothing. */
function showPlayer(file) {
  if (player.src) URL.revokeObjectURL(player.src);
  player.hidden = !file;
  if (file) player.src = URL.createObjectURL(file);
  else player.removeAttribute("src");
}

/** A worker of a blob keeps to the page's Content-Security-Policy; one of a file would have none. */
function startWorker() {
  const code = `import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`;
  const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
  worker.onerror = () => fail("The engine cannot be started: this browser lacks WebAssembly with SIMD, or the page is incomplete.");
  worker.onmessage = ({ data }) => {
    if (data.id !== undefined && data.id !== clip?.id) return;
    answers[data.type](data);
    document.dispatchEvent(new CustomEvent("aesa", { detail: data }));
  };
  return worker;
}

function followPlayer() {
  if (clip && !clip.isLive && !player.hidden) {
    plot.cursor = player.currentTime;
    showNow(player.currentTime);
    if (!player.paused) requestAnimationFrame(followPlayer);
  }
}

function listenToThePage() {
  byId("file").addEventListener("change", ({ target }) => {
    if (target.files[0]) scoreFile(target.files[0]);
    target.value = "";
  });
  byId("microphone").addEventListener("click", () => (clip?.stop ? clip.stop() : listen()));
  byId("model-file").addEventListener("change", async ({ target }) => {
    const bytes = await target.files[0]?.arrayBuffer();
    if (bytes) worker.postMessage({ type: "load", bytes }, [bytes]);
    target.value = "";
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  addEventListener("dragleave", () => document.body.classList.remove("dragging"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    const file = event.dataTransfer.files[0];
    if (file && hasModel) scoreFile(file);
  });
  player.addEventListener("play", followPlayer);
  player.addEventListener("seeked", followPlayer);
  byId("plot").addEventListener("pointermove", ({ clientX }) => {
    const timeS = plot.timeAt(clientX);
    if (!clip?.frames.length || timeS === undefined || !player.paused) return;
    plot.cursor = timeS;
    showNow(timeS);
  });
  byId("plot").addEventListener("pointerleave", () => {
    if (!player.paused) return;
    plot.cursor = undefined;
    showNow();
  });
  byId("plot").addEventListener("click", ({ clientX }) => {
    const timeS = plot.timeAt(clientX);
    if (!player.hidden && timeS !== undefined) player.currentTime = timeS;
  });
}

/** Seconds of the microphone that are in sight. */
const LIVE_S = 30;

const TOO_SHORT = "too short: at least 175 ms of audio are needed";

/** What a refused microphone is about, in words. */
const REASONS = {
  NotAllowedError: "permission was not given",
  NotFoundError: "there is none",
  NotReadableError: "another program has it",
};

byId("file").disabled = byId("microphone").disabled = true;
listenToThePage();
worker.postMessage({ type: "load" });

/** The picture: four curves over the spectrogram, on one canvas. */

/** Name, colour and dashes of each axis: colours alone would leave some readers out. */
export const CURVES = [
  { axis: "PQ", name: "Production Quality", dash: [] },
  { axis: "PC", name: "Production Complexity", dash: [9, 4] },
  { axis: "CE", name: "Content Enjoyment", dash: [2, 3] },
  { axis: "CU", name: "Content Usefulness", dash: [10, 3, 2, 3] },
];

/** Columns of the spectrogram that a picture holds, about the pixels of a wide screen. */
export const NUM_COLUMNS = 1500;

/** Frames of 10 ms in a column, so that a clip of so many seconds fits. */
export function framesPerColumn(seconds) {
  return Math.max(1, Math.ceil((seconds * 100) / NUM_COLUMNS));
}

export class Plot {
  #canvas;
  #picture = Object.assign(document.createElement("canvas"), { width: 2 * NUM_COLUMNS, height: NUM_BINS });
  /** All but the cursor, as last drawn. */
  #base = document.createElement("canvas");
  #isStale = true;
  #isScheduled = false;
  #cursorS;

  #spanS = 10;
  #isLive = false;
  #columnS = 0.01;
  #numColumns = 0;
  #frames = [];
  #seconds = 0;

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#changed()).observe(canvas);
  }

  /** Another clip: a file's whole length, or for a live stream the latest `spanS` seconds. */
  begin({ spanS, isLive, framesPerColumn }) {
    Object.assign(this.#picture, { width: 2 * NUM_COLUMNS });
    this.#spanS = spanS;
    this.#isLive = isLive;
    this.#columnS = framesPerColumn / 100;
    this.#numColumns = 0;
    this.#frames = [];
    this.#seconds = 0;
    this.#cursorS = undefined;
    this.#changed();
  }

  /** What the worker has scored: frames, and columns of 128 levels. */
  add({ frames, columns, seconds }) {
    this.#seconds = seconds;
    this.#frames.push(...frames);
    const context = this.#picture.getContext("2d");
    const count = columns.length / NUM_BINS;
    if (count > 0) context.putImageData(coloured(columns, count), this.#room(count), 0);
    this.#numColumns += count;
    // An hour and more of a microphone: what lies before the picture is not needed any more.
    if (this.#isLive && this.#frames.length > 1000) this.#frames.splice(0, 500);
    this.#changed();
  }

  /** A line at a time of the clip, in seconds; none if undefined. */
  set cursor(timeS) {
    this.#cursorS = timeS;
    this.#schedule();
  }

  /** The time at a place of the window; undefined beside the curves. */
  timeAt(clientX) {
    const box = this.#canvas.getBoundingClientRect();
    const { left, right } = this.#area(box.width, box.height);
    const share = (clientX - box.left - left) / (right - left);
    return share >= 0 && share <= 1 ? this.#startS + share * this.#spanS : undefined;
  }

  /** Where new columns go: the picture holds twice what is seen, and its later half moves to the front when it is full. */
  #room(count) {
    const x = this.#numColumns - this.#shifted;
    if (x + count <= 2 * NUM_COLUMNS) return x;
    const context = this.#picture.getContext("2d");
    context.globalCompositeOperation = "copy";
    context.drawImage(this.#picture, -NUM_COLUMNS, 0);
    context.globalCompositeOperation = "source-over";
    this.#shifts += 1;
    return x - NUM_COLUMNS;
  }

  #shifts = 0;

  get #shifted() {
    if (this.#numColumns === 0) this.#shifts = 0;
    return this.#shifts * NUM_COLUMNS;
  }

  get #startS() {
    return this.#isLive ? Math.max(0, this.#seconds - this.#spanS) : 0;
  }

  #changed() {
    this.#isStale = true;
    this.#schedule();
  }

  #schedule() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => {
      this.#isScheduled = false;
      this.#draw();
    });
  }

  #area(width, height) {
    return { left: 28, right: width - 64, top: 12, bottom: height - 26 };
  }

  #draw() {
    const canvas = this.#canvas;
    const [ratio, width, height] = [window.devicePixelRatio || 1, canvas.clientWidth, canvas.clientHeight];
    if (width === 0) return;
    const area = this.#area(width, height);
    if (this.#isStale) {
      this.#isStale = false;
      for (const each of [canvas, this.#base]) {
        Object.assign(each, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
      }
      const context = this.#base.getContext("2d");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      this.#drawSpectrogram(context, area);
      this.#drawGrid(context, area);
      for (const curve of CURVES) this.#drawCurve(context, area, curve);
      this.#drawLabels(context, area);
    }
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(this.#base, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.#cursorS !== undefined) this.#drawCursor(context, area);
  }

  #x(timeS, { left, right }) {
    return left + ((timeS - this.#startS) / this.#spanS) * (right - left);
  }

  #y(score, { top, bottom }) {
    return bottom - (score / 10) * (bottom - top);
  }

  #drawSpectrogram(context, area) {
    const { left, right, top, bottom } = area;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, right + 100, bottom + 100);
    const first = Math.max(0, Math.round(this.#startS / this.#columnS) - this.#shifted);
    const shown = this.#numColumns - this.#shifted - first;
    if (shown <= 0) return;
    const startS = (first + this.#shifted) * this.#columnS;
    const [from, to] = [this.#x(startS, area), this.#x(startS + shown * this.#columnS, area)];
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#picture, first, 0, shown, NUM_BINS, from, top, Math.min(to, right) - from, bottom - top);
  }

  #drawGrid(context, area) {
    const { left, right, top, bottom } = area;
    context.font = FONT;
    context.lineWidth = 1;
    context.strokeStyle = "rgb(23 33 46 / 14%)";
    context.fillStyle = "#54606f";
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let score = 0; score <= 10; score += 2) {
      const y = Math.round(this.#y(score, area)) + 0.5;
      line(context, left, y, right, y);
      context.fillText(score, left - 7, y);
    }
    context.textAlign = "left";
    for (const kHz of [0.5, 1, 2, 4, 8]) {
      const y = bottom - ((mel(1000 * kHz) - mel(20)) / (mel(8000) - mel(20))) * (bottom - top);
      line(context, right, y, right + 4, y);
      context.fillText(`${kHz} kHz`, right + 7, y);
    }
    context.textAlign = "center";
    context.textBaseline = "top";
    const step = tickStep(this.#spanS, (right - left) / 70);
    for (let time = Math.ceil(this.#startS / step) * step; time <= this.#startS + this.#spanS + 1e-6; time += step) {
      const x = Math.round(this.#x(time, area)) + 0.5;
      line(context, x, bottom, x, bottom + 5);
      context.fillText(clock(time, step), Math.min(Math.max(x, left + 8), right - 12), bottom + 8);
    }
  }

  /** Straight lines through the middles of the steps; where a pixel holds several steps, through their mean. */
  #points(axis, area) {
    const frames = this.#frames;
    const per = Math.max(1, Math.floor((this.#spanS / 0.16 / (area.right - area.left)) * 2));
    const points = [];
    for (let i = 0; i < frames.length; i += per) {
      const group = frames.slice(i, i + per);
      const mean = group.reduce((sum, frame) => sum + frame.scores[axis], 0) / group.length;
      points.push([this.#x((group[0].startS + group.at(-1).endS) / 2, area), this.#y(mean, area)]);
    }
    return points;
  }

  #drawCurve(context, area, { axis, dash }) {
    const { left, right, top, bottom } = area;
    const points = this.#points(axis, area);
    if (points.length === 0) return;
    if (points.length === 1) points.push([points[0][0] + 3, points[0][1]]);
    context.save();
    context.beginPath();
    context.rect(left, top - 4, right - left, bottom - top + 8);
    context.clip();
    context.beginPath();
    points.forEach(([x, y]) => context.lineTo(x, y));
    context.lineJoin = "round";
    context.strokeStyle = "rgb(255 255 255 / 85%)";
    context.lineWidth = 6;
    context.stroke();
    context.strokeStyle = colourOf(axis);
    context.lineWidth = 2.5;
    context.setLineDash(dash);
    context.stroke();
    context.restore();
  }

  /** Each curve's name at its end, moved apart where curves meet. */
  #drawLabels(context, area) {
    const last = this.#frames.at(-1);
    if (!last) return;
    const x = Math.min(this.#x(last.endS, area) + 4, area.right - 24);
    const labels = CURVES.map(({ axis }) => ({ axis, y: this.#y(last.scores[axis], area) }));
    labels.sort((a, b) => a.y - b.y);
    const highest = area.top + 8;
    labels.forEach((label, i) => (label.y = Math.max(label.y, i === 0 ? highest : labels[i - 1].y + LABEL_HEIGHT)));
    const excess = labels.at(-1).y - (area.bottom - 6);
    if (excess > 0) labels.forEach((label) => (label.y -= excess));
    context.font = `700 ${FONT}`;
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.lineWidth = 4;
    context.strokeStyle = "#fff";
    for (const { axis, y } of labels) {
      context.strokeText(axis, x, y);
      context.fillStyle = colourOf(axis);
      context.fillText(axis, x, y);
    }
  }

  #drawCursor(context, area) {
    const x = this.#x(this.#cursorS, area);
    if (x < area.left || x > area.right) return;
    context.strokeStyle = "#17212e";
    context.lineWidth = 1.5;
    line(context, x, area.top, x, area.bottom);
  }
}

function colourOf(axis) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${axis}`).trim();
}

function line(context, fromX, fromY, toX, toY) {
  context.beginPath();
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
  context.stroke();
}

/** `[columns, bins]` of levels as a picture. */
function coloured(columns, count) {
  const image = new ImageData(count, NUM_BINS);
  for (let x = 0; x < count; x++) {
    for (let y = 0; y < NUM_BINS; y++) {
      image.data.set(PALETTE[columns[x * NUM_BINS + y]], 4 * (y * count + x));
    }
  }
  return image;
}

/** HTK's mel scale, which the bins lie on from 20 Hz to 8 kHz. */
function mel(hz) {
  return 1127 * Math.log(1 + hz / 700);
}

/** The least customary step that leaves at most `most` ticks. */
function tickStep(span, most) {
  const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
  return steps.find((step) => span / step <= most) ?? 7200;
}

function clock(time, step) {
  if (step < 1) return `${time.toFixed(1)} s`;
  if (time < 60 && step < 60) return `${Math.round(time)} s`;
  const [minutes, seconds] = [Math.floor(Math.round(time) / 60), Math.round(time) % 60];
  return `${minutes}:${String(seconds).padStart(2, "0")}`;
}

/** Mel bins of a column. */
const NUM_BINS = 128;

/** White to blue-grey: light enough for curves on top to be read. */
const PALETTE = Array.from({ length: 256 }, (_, i) => {
  const share = (i / 255) ** 1.4;
  return [...[72, 92, 128].map((loud) => 255 + (loud - 255) * share), 255];
});

const FONT = '12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif';
const LABEL_HEIGHT = 14;

/**
 * WAV files with whole or f32 samples, read here: their numbers reach the scorer as they are. Browsers' decoders may scale 16-bit samples by
 * other factors above and below zero, and refuse some rates.
 */

/** `{ sampleRate, planes }`, a Float32Array per channel; undefined for what is to be left to the browser. */
export function decodeWav(buffer) {
  const view = new DataView(buffer);
  const id = (at) => String.fromCharCode(...new Uint8Array(buffer, at, 4));
  if (buffer.byteLength < 12 || id(0) !== "RIFF" || id(8) !== "WAVE") return undefined;
  let format;
  for (let at = 12; at + 8 <= buffer.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    const room = buffer.byteLength - at - 8;
    if (id(at) === "fmt " && size >= 16 && room >= size) format = formatAt(view, at + 8, size);
    // A file that ends early keeps what it has, as players have it; a recorder that was killed leaves such.
    if (id(at) === "data") return format && { sampleRate: format.sampleRate, planes: planes(view, at + 8, Math.min(size, room), format) };
    at += 8 + size + (size % 2);
  }
  return undefined;
}

function formatAt(view, at, size) {
  const tag = view.getUint16(at, true);
  // The extensible format has the tag at the head of its identifier.
  const kind = tag === 0xfffe && size >= 26 ? view.getUint16(at + 24, true) : tag;
  const [channels, sampleRate, bits] = [view.getUint16(at + 2, true), view.getUint32(at + 4, true), view.getUint16(at + 14, true)];
  const read = READERS[`${kind}/${bits}`];
  return read && channels > 0 ? { channels, sampleRate, bytes: bits / 8, read } : undefined;
}

function planes(view, begin, size, { channels, bytes, read }) {
  const length = Math.floor(size / (channels * bytes));
  return Array.from({ length: channels }, (_, channel) => {
    const plane = new Float32Array(length);
    for (let i = 0; i < length; i++) plane[i] = read(view, begin + (i * channels + channel) * bytes);
    return plane;
  });
}

/** Full scale 1, by format tag (1 whole numbers, 3 floating point) and bits. */
const READERS = {
  "1/16": (view, at) => view.getInt16(at, true) / 2 ** 15,
  "1/24": (view, at) => ((view.getInt16(at + 1, true) << 8) | view.getUint8(at)) / 2 ** 23,
  "1/32": (view, at) => view.getInt32(at, true) / 2 ** 31,
  "3/32": (view, at) => view.getFloat32(at, true),
};

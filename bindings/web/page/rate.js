/**
 * The sample rate that a file says it has. Browsers decode to whatever rate they are asked for and tell nobody the file's own; scores
 * are to be those of the file's own samples.
 */

/** In Hz; undefined for a format that is not known here. */
export function sampleRateOf(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  try {
    const id = text(bytes, 0, 4);
    if (id === "RIFF" && text(bytes, 8, 4) === "WAVE") return ofWav(bytes, view);
    if (id === "fLaC") return ofFlac(view, 8);
    if (id === "OggS") return ofOgg(bytes, view);
    if (text(bytes, 4, 4) === "ftyp") return ofMp4(bytes, view);
    return ofMpeg(bytes);
  } catch (error) {
    // A header that ends early: the decoder has the words for it.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function ofWav(bytes, view) {
  for (let at = 12; at + 8 <= bytes.length; ) {
    if (text(bytes, at, 4) === "fmt ") return view.getUint32(at + 12, true);
    const size = view.getUint32(at + 4, true);
    at += 8 + size + (size % 2);
  }
  return undefined;
}

/** STREAMINFO at `at`: 20 bits from its eleventh byte on. */
function ofFlac(view, at) {
  return view.getUint32(at + 10) >>> 12;
}

/** The first packet, after the page's header and its table of segments. */
function ofOgg(bytes, view) {
  const at = 27 + view.getUint8(26);
  if (text(bytes, at, 7) === "\x01vorbis") return view.getUint32(at + 12, true);
  if (text(bytes, at, 8) === "OpusHead") return 48000;
  if (text(bytes, at, 5) === "\x7fFLAC") return ofFlac(view, at + 17);
  return undefined;
}

/** The sample entry `mp4a`, which holds the rate in 16.16 bits. */
function ofMp4(bytes, view) {
  for (let at = bytes.indexOf(0x6d); at >= 0; at = bytes.indexOf(0x6d, at + 1)) {
    if (text(bytes, at, 4) === "mp4a") return view.getUint16(at + 28) || undefined;
  }
  return undefined;
}

/** MP3, or AAC in ADTS frames: the first frame's header, behind an ID3v2 tag if there is one. */
function ofMpeg(bytes) {
  let at = 0;
  if (text(bytes, 0, 3) === "ID3") {
    at = 10 + bytes.subarray(6, 10).reduce((size, byte) => size * 128 + (byte & 0x7f), 0);
  }
  for (const end = Math.min(bytes.length - 4, at + 65536); at < end; at++) {
    if (bytes[at] !== 0xff || (bytes[at + 1] & 0xe0) !== 0xe0) continue;
    const [version, layer] = [(bytes[at + 1] >> 3) & 3, (bytes[at + 1] >> 1) & 3];
    if (layer === 0 && (bytes[at + 1] & 0xf0) === 0xf0) return AAC_RATES_HZ[(bytes[at + 2] >> 2) & 15];
    const rate = MP3_RATES_HZ[(bytes[at + 2] >> 2) & 3];
    if (version !== 1 && layer !== 0 && rate) return version === 3 ? rate : version === 2 ? rate / 2 : rate / 4;
  }
  return undefined;
}

function text(bytes, at, length) {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

/** ISO/IEC 14496-3, samplingFrequencyIndex. */
const AAC_RATES_HZ = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

/** ISO/IEC 11172-3, MPEG-1; MPEG-2 and 2.5 have a half and a quarter. */
const MP3_RATES_HZ = [44100, 48000, 32000];

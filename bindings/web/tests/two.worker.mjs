/** Scores one clip with a module of its own; the page of page.test.mjs starts several of it. */
addEventListener("message", async ({ data: { url, sampleRate, channels, samples } }) => {
  const { Aesa, Scorer } = await import(url);
  const scorer = new Scorer(await Aesa.load(), sampleRate, channels);
  const frames = [];
  for (let at = 0; at < samples.length; at += 1000) frames.push(...scorer.accept(samples.subarray(at, at + 1000)));
  const end = scorer.finish();
  postMessage({ ...end, frames: [...frames, ...end.frames] });
});

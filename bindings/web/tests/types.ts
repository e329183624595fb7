// Compiles where the package's types are what they should be; never runs.
import { AXES, Aesa, AesaError, LogMel, NUM_MEL_BINS, STEP_S, Scorer } from "aesa";
import type { AesaErrorKind, Axis, Clip, Frame, ModelInfo } from "aesa";

const model: Aesa = await Aesa.load();
await Aesa.load(new ArrayBuffer(8), { wasm: new URL("https://example.org/aesa.wasm") });
const info: ModelInfo = model.info;
const steps: number = info.policy.name === "chunked" ? info.policy.chunkSteps : info.policy.windowSteps;
const scorer = new Scorer(model, 48000, 2, { hopSteps: steps });
const frames: Frame[] = [...scorer.accept(new Float32Array(2)), ...scorer.accept(new Int16Array(2)), ...scorer.gap(3)];
const end: Clip & { readonly frames: Frame[] } = scorer.finish();
const axis: Axis = AXES[0];
const score: number = end.scores[axis] + (scorer.clipSoFar?.scores.PQ ?? 0) + frames[0]!.startS + NUM_MEL_BINS * STEP_S;
const columns: Float32Array = new LogMel(16000, 1).accept(new Float32Array(score));
function kindOf(error: unknown): AesaErrorKind | undefined {
  return error instanceof AesaError ? error.kind : undefined;
}

// @ts-expect-error a model comes from Aesa.load()
new Aesa();
// @ts-expect-error samples are typed arrays
scorer.accept([0, 0]);
// @ts-expect-error scores do not change
end.scores.PQ = 3;
// @ts-expect-error no such axis
end.scores.XY;
export { columns, kindOf };

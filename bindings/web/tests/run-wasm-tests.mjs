/**
 * run-wasm-tests.mjs MODULE.wasm: runs a Rust test program that was built for wasm32-unknown-unknown.
 *
 * That target has no standard output and aborts in a panic, so the program says two things only: it returns 0 when all of its tests
 * passed, and traps in the first that does not; the trap's stack names it.
 */
import { readFile } from "node:fs/promises";
import process from "node:process";

Error.stackTraceLimit = 200;
const { instance } = await WebAssembly.instantiate(await readFile(process.argv[2]), {});
try {
  const status = instance.exports.main(0, 0);
  if (status !== 0) throw new Error(`exit status ${status}`);
} catch (error) {
  const frames = error.stack.split("\n").filter((line) => !/3std|4core|__rust|CscryIWmpr/.test(line));
  console.error(frames.join("\n"));
  process.exit(1);
}

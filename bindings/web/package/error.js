/** What every call of the package throws: an Error whose `kind` programs can tell apart; index.d.ts lists them. */
export class AesaError extends Error {
  constructor(kind, message, options) {
    super(message, options);
    this.name = "AesaError";
    this.kind = kind;
  }
}

/** The words of a panic in the engine, until the trap that follows it is caught. */
let panicMessage;

export function rememberPanic(message) {
  panicMessage = message;
}

/** What the engine threw, as an AesaError. */
export function asAesaError(error) {
  if (error instanceof AesaError) return error;
  const words = panicMessage ?? String(error?.message ?? error);
  panicMessage = undefined;
  return new AesaError("internal", `a bug in aesa, or no memory was left: ${words}`, { cause: error });
}

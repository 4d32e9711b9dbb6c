// Waiting for an answer, not longer than one wants to.

/** Settles as `call` does, or rejects when `signal` aborts; what becomes of the call then is nobody's concern. */
export function within<T>(call: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new Error("no answer in time", { cause: signal.reason }));
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    call.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** A clock that cannot be set, and timers of any length. */

/** Return a reading of a clock that cannot be set, in seconds. */
export function now(): number {
  return performance.now() / 1000;
}

/** Call a function after some seconds; at most after those that timers take, about 24 days. */
export function runAfter(seconds: number, call: () => void): ReturnType<typeof setTimeout> {
  return setTimeout(call, Math.min(seconds * 1000, 2 ** 31 - 1));
}

const calls: (() => void)[] = [];
let channel: MessageChannel | undefined;

/** Call a function after everything that is ready. This is no timer, which pages in the background delay. */
export function runSoon(call: () => void): void {
  const { setImmediate } = globalThis as { setImmediate?: (call: () => void) => unknown };
  if (setImmediate) {
    setImmediate(call);
    return;
  }
  if (!channel) {
    channel = new MessageChannel();
    channel.port1.onmessage = () => calls.shift()?.();
  }
  calls.push(call);
  channel.port2.postMessage(undefined);
}

/** Wait. Throws the signal's reason when it is aborted. */
export function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = runAfter(seconds, () => {
      signal?.removeEventListener("abort", abort);
      resolve();
    });
    signal?.addEventListener("abort", abort, { once: true });
  });
}

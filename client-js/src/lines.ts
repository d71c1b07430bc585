/** A response that is read line by line while it arrives. */

import { errorOf, FanmailError, OutcomeUnknown, ServerFault } from "./errors.js";
import type { Exchange } from "./exchange.js";
import type { Request } from "./http_call.js";
import { complete, Deadline, joined, open } from "./transport.js";

const LINE_END = 0x0a;

/** A stream of lines. Close it. */
export class Lines {
  readonly #exchange: Exchange;
  readonly #base: string;
  readonly #method: string;
  readonly #deadline: Deadline;
  readonly #complete: Uint8Array[] = [];
  /** The parts of a line whose end has not arrived. */
  #begun: Uint8Array[] = [];
  #begunBytes = 0;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;

  private constructor(exchange: Exchange, method: string, signal: AbortSignal | undefined) {
    this.#exchange = exchange;
    this.#base = exchange.baseUrls.current;
    this.#method = method;
    this.#deadline = new Deadline(signal);
  }

  /** Send a request once. Throws the error of an unsuccessful response, and the signal's reason when it is aborted. */
  static async open(exchange: Exchange, request: Request, signal: AbortSignal | undefined): Promise<Lines> {
    const lines = new Lines(exchange, request.method, signal);
    try {
      await lines.#open(request);
      return lines;
    } catch (error) {
      lines.close();
      throw lines.#explain(error);
    }
  }

  async #open(request: Request): Promise<void> {
    const { transport, timeout } = this.#exchange;
    this.#deadline.restart(timeout);
    const response = await open(transport, this.#base, request, this.#deadline);
    if ("reason" in response) throw errorOf(response, request.method);
    if (response.status !== 200 || !response.body) {
      throw errorOf(await complete(transport, response), request.method);
    }
    this.#reader = response.body.getReader();
  }

  /**
   * Return the next line without its end.
   *
   * Throws `OutcomeUnknown` when the response ends or nothing arrives for `silence` seconds, `ServerFault` for a line
   * over the limit, and the signal's reason when it is aborted.
   */
  async read(silence: number): Promise<Uint8Array> {
    for (;;) {
      const line = this.#complete.shift();
      if (line) return line;
      try {
        await this.#readPart(silence);
      } catch (error) {
        throw this.#explain(error);
      }
    }
  }

  /** The time between two calls does not count as silence. */
  async #readPart(silence: number): Promise<void> {
    this.#deadline.restart(silence);
    const part = await this.#reader?.read();
    this.#deadline.pause();
    if (!part || part.done) throw new OutcomeUnknown(`${this.#base}: the stream has ended`);
    let start = 0;
    for (let end; (end = part.value.indexOf(LINE_END, start)) >= 0; start = end + 1) {
      this.#begin(part.value.subarray(start, end));
      this.#complete.push(joined(this.#begun, this.#begunBytes));
      this.#begun = [];
      this.#begunBytes = 0;
    }
    this.#begin(part.value.subarray(start));
  }

  #begin(part: Uint8Array): void {
    this.#begun.push(part);
    this.#begunBytes += part.length;
    const { maxResponseBytes } = this.#exchange.transport;
    if (this.#begunBytes > maxResponseBytes) {
      throw new ServerFault(`a line of the stream has more than ${maxResponseBytes} bytes (maxResponseBytes)`);
    }
  }

  /** End the request. */
  close(): void {
    this.#deadline.close();
  }

  #explain(error: unknown): unknown {
    const known =
      error instanceof FanmailError ? error : errorOf(this.#deadline.explain(this.#base, error), this.#method);
    this.#exchange.switchIfDown(this.#base, known);
    return known;
  }
}

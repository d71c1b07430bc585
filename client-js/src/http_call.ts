/** HTTP requests and responses as values, and `Call`: one call of the HTTP API, without I/O. */

/** A header: its name, and its value as text that is sent as UTF-8. */
export type Field = readonly [name: string, value: string];

/** A request, independent of the base URL that it is sent to. */
export interface Request {
  readonly method: string;
  /** Percent-encoded path and query, beginning with a slash. */
  readonly target: string;
  readonly headers?: readonly Field[];
  readonly body?: Uint8Array;
}

/** A complete response. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

/** The reason why there is no complete response. */
export interface NoAnswer {
  /** Whether the server may have received the request. If false, the request was certainly not executed. */
  readonly sent: boolean;
  readonly reason: string;
}

/** One call of the HTTP API. */
export interface Call<T> {
  readonly request: Request;
  /** Return the result that a 2xx response carries. Whatever it throws becomes a `ServerFault`. */
  readonly parse: (answer: Answer) => T;
  /** Whether the request may be sent again when its outcome is unknown. */
  readonly repeatable: boolean;
  /** Whether to add an idempotency key, which makes the call repeatable. */
  readonly wantsKey?: boolean;
  /** Whether 404 in response to a repeat means that an earlier try was executed. */
  readonly goneIsDone?: boolean;
  /** Seconds that the response may take longer than usual, for long polls. */
  readonly extraTimeout?: number;
}

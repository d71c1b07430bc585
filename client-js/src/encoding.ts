/** Encoding of paths, queries, headers and bodies. */

import { BadRequest } from "./errors.js";
import type { Field } from "./http_call.js";

/** Headers that the server keeps with a message, beside Content-Type and those of `KEPT_PREFIXES`. */
const KEPT = new Set(["content-encoding", "content-language", "traceparent", "tracestate"]);
const KEPT_PREFIXES = ["meta-", "ce-"];
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Visible characters, with blanks and tabs between them only. */
const HEADER_VALUE = /^(?:[^\u0000- \u007f]+(?:[ \t]+[^\u0000- \u007f]+)*)?$/;
/** The most characters that one call of `String.fromCharCode` gets: all of them are arguments. */
const CHUNK = 8192;

const LONE_SURROGATES = /\p{Surrogate}/gu;

const encoder = new TextEncoder();

/** Return names as segments of a path, each with a leading slash. Throws `BadRequest` for what no URL can carry. */
export function encodePath(...names: readonly string[]): string {
  return names.map((name) => `/${segment(name)}`).join("");
}

function segment(name: string): string {
  try {
    if (!["", ".", ".."].includes(name)) return encodeURIComponent(name);
  } catch {
    // a lone surrogate
  }
  throw new BadRequest(`${JSON.stringify(name)} is not a legal name`, { code: "bad-name" });
}

/** Return a text with U+FFFD in place of each lone surrogate, as `TextEncoder` does. */
export function wellFormed(text: string): string {
  return text.replace(LONE_SURROGATES, "\ufffd");
}

/** Return a query with its question mark, without parameters that are undefined; "" if there are none. */
export function encodeQuery(parameters: Readonly<Record<string, string | number | undefined>>): string {
  const given = Object.entries(parameters).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${queryValue(name, value)}`],
  );
  return given.length ? `?${given.join("&")}` : "";
}

/** Numbers are written in decimal notation, as the server accepts no exponents. */
function queryValue(name: string, value: string | number): string {
  if (typeof value === "string") return encodeURIComponent(value);
  if (!Number.isFinite(value)) throw new TypeError(`${name} is not a finite number`);
  return Number.isInteger(value) && Math.abs(value) < 1e21 ? String(value) : value.toFixed(6).replace(/\.?0+$/, "");
}

/** Return a header if HTTP can carry it. Otherwise throws TypeError, with a text that does not contain the value. */
export function checkedHeader(name: string, value: string): Field {
  if (!HEADER_NAME.test(name)) throw new TypeError(`${JSON.stringify(name)} is not a header name`);
  if (!HEADER_VALUE.test(value)) {
    throw new TypeError(`the value of header ${name} has a control character or a blank at one end`);
  }
  return [name, value];
}

/** Return the headers of a message. Throws TypeError for one that the server would not keep. */
export function messageHeaders(
  type: string | undefined,
  headers: Readonly<Record<string, string>> | undefined,
): Field[] {
  const fields = Object.entries(headers ?? {}).map(([name, value]) => checkedHeader(name, value));
  for (const [name] of fields) {
    const lower = name.toLowerCase();
    if (!KEPT.has(lower) && !KEPT_PREFIXES.some((prefix) => lower.startsWith(prefix))) {
      throw new TypeError(`${name} does not travel with a message: name it Meta-${name}, or use the option type`);
    }
  }
  return type ? [checkedHeader("Content-Type", type), ...fields] : fields;
}

/** Return a header's value for `fetch`, which sends one byte per character: the characters are the bytes of UTF-8. */
export function headerBytes(value: string): string {
  return binaryString(encoder.encode(value));
}

/** Return a body as bytes; a text as UTF-8. */
export function bodyBytes(body: Uint8Array | string): Uint8Array {
  return typeof body === "string" ? encoder.encode(body) : body;
}

/** Return messages as frames, each of which is 4 bytes of big-endian length and the message. */
export function packFrames(bodies: readonly Uint8Array[]): Uint8Array {
  const packed = new Uint8Array(bodies.reduce((size, body) => size + 4 + body.length, 0));
  const view = new DataView(packed.buffer);
  let position = 0;
  for (const body of bodies) {
    view.setUint32(position, body.length);
    packed.set(body, position + 4);
    position += 4 + body.length;
  }
  return packed;
}

/** Return base64 of bytes. */
export function toBase64(bytes: Uint8Array): string {
  return btoa(binaryString(bytes));
}

/** Return the bytes of base64. Throws if it is malformed. */
export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
}

function binaryString(bytes: Uint8Array): string {
  let text = "";
  for (let start = 0; start < bytes.length; start += CHUNK) {
    text += String.fromCharCode(...bytes.subarray(start, start + CHUNK));
  }
  return text;
}

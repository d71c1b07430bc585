/** Client of Fanmail, an HTTP publish/subscribe server with a queue per subscriber. */

export { batches } from "./batching.js";
export { Client } from "./client.js";
export {
  BadRequest,
  CursorLost,
  Denied,
  type ErrorFacts,
  FanmailError,
  KeyReused,
  LeaseLost,
  LeasesOut,
  NoSubscription,
  NotFound,
  OutcomeUnknown,
  Refused,
  ServerFault,
  TooLarge,
  Unavailable,
} from "./errors.js";
export {
  type Acknowledged,
  type DeadLetters,
  type Fetched,
  type Gap,
  Message,
  type MessageFields,
  type Published,
  type SubscriptionStatus,
  type Worked,
} from "./message.js";
export type {
  CallOptions,
  ClientOptions,
  DeadOptions,
  FetchOptions,
  Handler,
  PublishOptions,
  ReadOptions,
  ReceiveOptions,
  StreamOptions,
  SubscriptionSettings,
  WorkOptions,
} from "./options.js";
export type { RetryOptions } from "./retry.js";
export type { WebSocketClass, WebSocketLike } from "./session/connection.js";
export type { SessionReadOptions } from "./session/reads.js";
export { Session, type SessionOptions } from "./session/session.js";

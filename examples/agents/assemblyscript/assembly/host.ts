// The core ABI, which passes bytes in linear memory, behind functions that take and return texts.

import { member, quote } from "./json";

@external("caxton", "send_message")
declare function send_message(ptr: usize, len: i32): i32;
@external("caxton", "log")
declare function log_line(level: i32, ptr: usize, len: i32): void;
@external("caxton", "store_data")
declare function store_data(key: usize, keyLen: i32, data: usize, dataLen: i32): i32;
@external("caxton", "load_data")
declare function load_data(key: usize, keyLen: i32, buffer: usize, bufferLen: i32): i32;
@external("caxton", "delete_data")
declare function delete_data(key: usize, keyLen: i32): i32;
@external("caxton", "set_timer")
declare function set_timer(after: i64): i32;

/** The size of the buffer for stored values: more than any value that this agent stores. */
const VALUE_BYTES: i32 = 4096;

export const INFO: i32 = 2;

export const OK: i32 = 0;
/** The result code of a turn that ends in error: what it sent and stored has no effect. */
export const ERROR: i32 = 1;

export function alloc(len: i32): usize {
  return heap.alloc(len);
}

/** Reads a message from the buffer that `alloc` returned, and frees the buffer. */
export function take(ptr: usize, len: i32): string {
  const json = String.UTF8.decodeUnsafe(ptr, len);
  heap.free(ptr);
  return json;
}

/** Sends a message, and returns whether the host accepted it. */
export function send(json: string): bool {
  const bytes = String.UTF8.encode(json);
  return send_message(changetype<usize>(bytes), bytes.byteLength) == 0;
}

export function log(level: i32, line: string): void {
  const bytes = String.UTF8.encode(line);
  log_line(level, changetype<usize>(bytes), bytes.byteLength);
}

/** Stores a value, and returns whether the host accepted it. */
export function stateSet(key: string, value: string): bool {
  const k = String.UTF8.encode(key);
  const v = String.UTF8.encode(value);
  return store_data(changetype<usize>(k), k.byteLength, changetype<usize>(v), v.byteLength) == 0;
}

export function stateGet(key: string): string | null {
  const k = String.UTF8.encode(key);
  const buffer = new ArrayBuffer(VALUE_BYTES);
  const at = changetype<usize>(buffer);
  const length = load_data(changetype<usize>(k), k.byteLength, at, VALUE_BYTES);
  return length < 0 || length > VALUE_BYTES ? null : String.UTF8.decodeUnsafe(at, length);
}

export function stateDelete(key: string): void {
  const k = String.UTF8.encode(key);
  delete_data(changetype<usize>(k), k.byteLength);
}

/** Sets a timer that fires once. Returns its id, or a negative error code. */
export function setTimer(millis: i64): i32 {
  return set_timer(millis * 1000);
}

/** Replies to the message of this turn, in its conversation. `more` are further members, each after a comma. */
export function answer(message: string, performative: string, content: string, more: string = ""): i32 {
  const replyTo = member(message, "reply_to");
  const sender = replyTo === null ? member(message, "sender") : replyTo;
  if (sender === null) return ERROR;
  const draft =
    `{"performative":"${performative}","receiver":${sender}` +
    copied(message, "conversation_id", "conversation_id") +
    copied(message, "reply_with", "in_reply_to") +
    copied(message, "protocol", "protocol") +
    `${more},"content":${content}}`;
  return send(draft) ? OK : ERROR;
}

/** Copies a member of this turn's message to the reply, after a comma. Empty if the member is absent. */
function copied(message: string, from: string, to: string): string {
  const value = member(message, from);
  return value === null ? "" : `,"${to}":${value}`;
}

export function because(reason: string): string {
  return `{"reason":${quote(reason)}}`;
}

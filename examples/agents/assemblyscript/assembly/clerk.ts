// Does small tasks on request, the same as the clerks in other languages. README.md lists them.

import { ERROR, OK, answer, because, send, setTimer, stateGet, stateSet, take } from "./host";
import { countMember, member, textMember } from "./json";

export { alloc as caxton_alloc } from "./host";

export function agent_init(): i32 {
  return stateSet("starts", (starts() + 1).toString()) ? OK : ERROR;
}

export function handle_timer(id: i32): i32 {
  return stateSet("memory", `{"timer":${id}}`) ? OK : ERROR;
}

export function handle_message(ptr: usize, len: i32): i32 {
  const message = take(ptr, len);
  if (textMember(message, "performative") != "request") return OK;
  const task = member(message, "content");
  const name = textMember(task, "do");
  if (name == "reply") return inform(message, said(task));
  if (name == "send") return pass(message, task);
  if (name == "remember") return stateSet("memory", said(task)) ? inform(message, said(task)) : ERROR;
  if (name == "recall") return inform(message, recalled());
  if (name == "starts") return inform(message, starts().toString());
  if (name == "timer") return inform(message, setTimer(countMember(task, "ms")).toString());
  if (name == "trap") {
    const attempt = countMember(message, "delivery_attempt");
    if (attempt > countMember(task, "times")) return inform(message, attempt.toString());
    lose(message);
    unreachable();
  }
  if (name == "fail") {
    lose(message);
    return ERROR;
  }
  return answer(message, "not_understood", because("no such task"));
}

function inform(message: string, content: string): i32 {
  return answer(message, "inform", content);
}

function pass(message: string, task: string | null): i32 {
  const to = member(task, "to");
  if (to === null) return answer(message, "not_understood", because("send needs `to`"));
  if (!send(`{"performative":"inform","receiver":${to},"content":${said(task)}}`)) return ERROR;
  return inform(message, "true");
}

/** Stores a value and sends a reply in a turn that fails afterwards: nobody must ever see them. */
function lose(message: string): void {
  stateSet("memory", '"lost"');
  inform(message, '"lost"');
}

function said(task: string | null): string {
  const value = member(task, "say");
  return value === null ? "null" : value;
}

function recalled(): string {
  const value = stateGet("memory");
  return value === null ? "null" : value;
}

function starts(): i64 {
  const value = stateGet("starts");
  return value === null ? 0 : I64.parseInt(value);
}

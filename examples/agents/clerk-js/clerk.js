// Does small tasks on request, the same as the clerks in other languages. README.md lists them.

import { reply, send } from "caxton:agent/messaging@1.0.0";
import { get, set } from "caxton:agent/state@1.0.0";
import { setOnce } from "caxton:agent/timer@1.0.0";

export const handler = {
  init() {
    remember("starts", (recall("starts") ?? 0) + 1);
  },

  handle(message) {
    if (message.performative !== "request") return;
    const task = message.content.tag === "json" ? JSON.parse(message.content.val) : null;
    switch (task?.do) {
      case "reply":
        return inform(task.say);
      case "send":
        send(draft("inform", task.to, task.say));
        return inform(true);
      case "remember":
        remember("memory", task.say);
        return inform(task.say);
      case "recall":
        return inform(recall("memory"));
      case "starts":
        return inform(recall("starts"));
      case "timer":
        return inform(setOnce(task.ms * 1000));
      case "trap":
        if (message.deliveryAttempt > task.times) return inform(message.deliveryAttempt);
        lose();
        // Throwing a text or an Error would end the turn in error. Throwing anything else is a trap.
        throw { why: "as told" };
      case "fail":
        lose();
        throw task.reason;
      default:
        return reply("not-understood", json({ reason: "no such task" }));
    }
  },
};

export const lifecycle = {
  timer(id) {
    remember("memory", { timer: id });
  },

  shutdown() {},
};

/** Stores a value and sends a reply in a turn that fails afterwards: nobody must ever see them. */
function lose() {
  remember("memory", "lost");
  inform("lost");
}

function inform(value) {
  reply("inform", json(value));
}

function json(value) {
  return { tag: "json", val: JSON.stringify(value ?? null) };
}

function draft(performative, receiver, value) {
  return {
    performative,
    receivers: [receiver],
    content: json(value),
    conversationId: null,
    replyWith: null,
    inReplyTo: null,
    replyBy: null,
    protocol: null,
    ontology: null,
    language: null,
    replyTo: null,
    extensions: [],
  };
}

// There is no TextEncoder here. JSON can be written in pure ASCII, in which each character is one byte.

function remember(key, value) {
  const escape = (unit) => "\\u" + unit.charCodeAt(0).toString(16).padStart(4, "0");
  const text = JSON.stringify(value ?? null).replace(/[^\x00-\x7f]/g, escape);
  set(key, Uint8Array.from(text, (character) => character.charCodeAt(0)));
}

function recall(key) {
  const stored = get(key);
  return stored === null ? null : JSON.parse(String.fromCharCode(...stored));
}

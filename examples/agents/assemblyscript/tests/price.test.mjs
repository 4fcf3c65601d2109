// Passes a cfp to the module, with a minimal host, and checks the price that it proposes.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const module = await WebAssembly.compile(await readFile(new URL("../build/seller_as.wasm", import.meta.url)));

async function price(content, receiver) {
  const sent = [];
  const text = (ptr, len) => Buffer.from(instance.exports.memory.buffer, ptr, len).toString();
  const caxton = {
    send_message: (ptr, len) => (sent.push(JSON.parse(text(ptr, len))), 0),
    log: () => {},
    store_data: () => 0,
    load_data: () => -1,
    delete_data: () => 0,
  };
  const instance = await WebAssembly.instantiate(module, { caxton });
  const cfp = {
    message_id: "m-1",
    performative: "cfp",
    sender: "agent_00000000000000b0",
    receiver,
    conversation_id: "c",
    reply_with: "c.0",
    delivery_attempt: 2,
    content: { item: "widgets", quantity: 100, ...content },
  };
  const bytes = Buffer.from(JSON.stringify(cfp));
  const ptr = instance.exports.caxton_alloc(bytes.length);
  new Uint8Array(instance.exports.memory.buffer, ptr, bytes.length).set(bytes);
  assert.equal(instance.exports.handle_message(ptr, bytes.length), 0);
  assert.equal(sent.length, 1);
  assert.equal(sent[0].performative, "propose");
  return sent[0].content.price;
}

test("the price comes from the name in the cfp", async () => {
  for (const [seller, expected] of [["alder", 11.31], ["birch", 8.65], ["cedar", 8.12]]) {
    assert.equal(await price({ seller }, "agent_0123abcd"), expected);
    assert.equal(await price({ seller }, ["agent_0123abcd"]), expected);
  }
});

test("without a name the price comes from the first receiver", async () => {
  assert.equal(await price({}, ["alder", "birch"]), 11.31);
  for (const seller of [null, 7, ["cedar"], { a: "b" }]) {
    assert.equal(await price({ seller }, "birch"), 8.65);
  }
});

// The same seller as the one in Rust, in another language and over the other interface: the core ABI.
//
// There is one difference: it crashes at the first delivery of each cfp, after it has logged a line, stored a
// quote and sent a proposal at a ruinous price. The log keeps the line, but the quote and the proposal have no
// effect. The second delivery looks for the quote, refuses if it finds it, and proposes at the right price.

import { ERROR, INFO, OK, answer, because, log, stateDelete, stateGet, stateSet, take } from "./host";
import { countMember, firstText, member, quote, text, textMember } from "./json";

export { alloc as caxton_alloc } from "./host";

/** The most units that one order may have. */
const CAPACITY_UNITS: i64 = 1000;
/** The ruinous price, which must never leave this agent. */
const RUINOUS_PRICE_IN_CENTS: i64 = 1;

export function handle_message(ptr: usize, len: i32): i32 {
  const message = take(ptr, len);
  const performative = textMember(message, "performative");
  if (performative === null) return ERROR;
  if (performative == "cfp") return propose(message);
  if (performative == "accept_proposal") return deliver(message);
  // The proposal was rejected, could not be delivered, or was not understood.
  if (performative == "reject_proposal") return forget(message);
  if (performative == "failure" || performative == "not_understood") return forget(message);
  // A proposal binds until the buyer decides. By FIPA's rules, this `failure` means that it was not cancelled.
  if (performative == "cancel") return answer(message, "failure", because("a proposal binds"));
  if (asks(performative)) return answer(message, "not_understood", because("unsupported_act"));
  // All other acts ask for nothing.
  return OK;
}

function asks(performative: string): bool {
  return (
    performative == "request" ||
    performative == "request_when" ||
    performative == "request_whenever" ||
    performative == "query_if" ||
    performative == "query_ref" ||
    performative == "subscribe" ||
    performative == "propose" ||
    performative == "proxy" ||
    performative == "propagate"
  );
}

function propose(message: string): i32 {
  const content = member(message, "content");
  const item = textMember(content, "item");
  const quantity = countMember(content, "quantity");
  if (item === null || quantity < 1) {
    const reason = "a cfp has item, a text, and quantity, a whole number above 0";
    return answer(message, "not_understood", because(reason));
  }
  if (quantity > CAPACITY_UNITS) {
    return answer(message, "refuse", `{"reason":"more than we have","available":${CAPACITY_UNITS}}`);
  }

  const id = textMember(message, "message_id");
  const replyWith = "propose-" + (id === null ? "" : id);
  if (countMember(message, "delivery_attempt") == 1) {
    log(INFO, "crashing on purpose at the first delivery");
    stateSet("quote/" + replyWith, quoteOf(item, quantity, RUINOUS_PRICE_IN_CENTS));
    offer(message, replyWith, item, quantity, RUINOUS_PRICE_IN_CENTS);
    unreachable();
  }
  if (stateGet("quote/" + replyWith) !== null) {
    return answer(message, "refuse", because("a turn that crashed has left something behind"));
  }

  // The receiver is this agent's id, which is new in every deploy. The name that the buyer uses is in `seller`.
  let name = textMember(content, "seller");
  if (name === null) name = firstText(member(message, "receiver"));
  const price = priceInCents(name === null ? "" : name);
  if (!stateSet("quote/" + replyWith, quoteOf(item, quantity, price))) return ERROR;
  return offer(message, replyWith, item, quantity, price);
}

function offer(message: string, replyWith: string, item: string, quantity: i64, price: i64): i32 {
  const content =
    `{"item":${quote(item)},"quantity":${quantity},"price":${units(price)},"available":${CAPACITY_UNITS}}`;
  return answer(message, "propose", content, `,"reply_with":${quote(replyWith)}`);
}

function deliver(message: string): i32 {
  const key = quoteKey(message);
  if (key === null) return answer(message, "failure", because("no such proposal"));
  const stored = stateGet(key);
  if (stored === null) return answer(message, "failure", because("no such proposal"));
  const before = stateGet("orders");
  const order = 1 + (before === null ? 0 : I64.parseInt(before));
  if (!stateSet("orders", order.toString())) return ERROR;
  stateDelete(key);

  const item = member(stored, "item");
  const quantity = countMember(stored, "quantity");
  const price = countMember(stored, "price_in_cents");
  if (item === null) return ERROR;
  log(INFO, `order ${order}: ${quantity} ${text(item)!}`);
  const content =
    `{"status":"done","order":${order},"item":${item},"quantity":${quantity},` +
    `"price":${units(price)},"total":${units(price * quantity)}}`;
  return answer(message, "inform", content);
}

/** Deletes the quote of a proposal that binds no more. The message that ended it gets no reply. */
function forget(message: string): i32 {
  const key = quoteKey(message);
  if (key !== null) stateDelete(key);
  return OK;
}

/** The key of the quote to which a decision belongs. */
function quoteKey(message: string): string | null {
  const replyWith = textMember(message, "in_reply_to");
  return replyWith === null ? null : "quote/" + replyWith;
}

function quoteOf(item: string, quantity: i64, price: i64): string {
  return `{"item":${quote(item)},"quantity":${quantity},"price_in_cents":${price}}`;
}

/** A price from 8.00 to 11.99, by the 32-bit FNV-1a hash of the name. */
function priceInCents(name: string): i64 {
  const bytes = Uint8Array.wrap(String.UTF8.encode(name));
  let hash: u32 = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i++) {
    hash = (hash ^ bytes[i]) * 0x01000193;
  }
  return 800 + <i64>(hash % 400);
}

/** Cents as a JSON number. */
function units(cents: i64): string {
  const rest = cents % 100;
  return `${cents / 100}.${rest < 10 ? "0" : ""}${rest}`;
}

// The part of JSON that an agent needs: to find a member of an object, to read a text, and to write one. A found
// value is returned as its JSON text, so that a found object can be searched in turn. A search in null finds
// nothing.

const QUOTE: i32 = 0x22;
const BACKSLASH: i32 = 0x5c;

/** The JSON text of a member of an object. Null if there is none, if it is `null`, or if this is not an object. */
export function member(json: string | null, name: string): string | null {
  if (json === null) return null;
  let at = skipBlank(json, 0);
  if (at >= json.length || json.charCodeAt(at) != 0x7b /* { */) return null;
  at = skipBlank(json, at + 1);
  while (at < json.length && json.charCodeAt(at) == QUOTE) {
    const keyEnd = skipValue(json, at);
    const key = text(json.substring(at, keyEnd));
    at = skipBlank(json, keyEnd);
    if (at >= json.length || json.charCodeAt(at) != 0x3a /* : */) return null;
    at = skipBlank(json, at + 1);
    const end = skipValue(json, at);
    if (key !== null && key == name) {
      const value = json.substring(at, end);
      return value == "null" ? null : value;
    }
    at = skipBlank(json, end);
    if (at >= json.length || json.charCodeAt(at) != 0x2c /* , */) return null;
    at = skipBlank(json, at + 1);
  }
  return null;
}

/** The text of a member; null if the member is anything else. */
export function textMember(json: string | null, name: string): string | null {
  return text(member(json, name));
}

/** The number in a member: whole, with at most 15 digits; -1 if the member is anything else. */
export function countMember(json: string | null, name: string): i64 {
  const value = member(json, name);
  if (value === null || value.length == 0 || value.length > 15) return -1;
  let number: i64 = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    number = number * 10 + digit;
  }
  return number;
}

/** The first text of an array of texts; of a text, the text itself. */
export function firstText(json: string | null): string | null {
  if (json === null) return null;
  if (json.length == 0 || json.charCodeAt(0) != 0x5b /* [ */) return text(json);
  const at = skipBlank(json, 1);
  return text(json.substring(at, skipValue(json, at)));
}

/** The text in a JSON string, with its escapes resolved; null if there are no quotes around it. */
export function text(json: string | null): string | null {
  if (json === null) return null;
  const last = json.length - 1;
  if (last < 1 || json.charCodeAt(0) != QUOTE || json.charCodeAt(last) != QUOTE) return null;
  let out = "";
  let from = 1;
  for (let i = 1; i < last; i++) {
    if (json.charCodeAt(i) != BACKSLASH) continue;
    out += json.substring(from, i);
    i++;
    const c = json.charCodeAt(i);
    if (c == 0x75 /* u */) {
      if (i + 4 >= last) return null;
      // Each half of a surrogate pair is one UTF-16 unit, and so is a char code here, so pairs need no special care.
      out += String.fromCharCode(<i32>parseInt(json.substring(i + 1, i + 5), 16));
      i += 4;
    } else if (c == 0x6e /* n */) {
      out += "\n";
    } else if (c == 0x74 /* t */) {
      out += "\t";
    } else if (c == 0x72 /* r */) {
      out += "\r";
    } else if (c == 0x62 /* b */) {
      out += "\b";
    } else if (c == 0x66 /* f */) {
      out += "\f";
    } else {
      out += String.fromCharCode(c);
    }
    from = i + 1;
  }
  return out + json.substring(from, last);
}

/** A text as a JSON string. */
export function quote(value: string): string {
  let out = '"';
  let from = 0;
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (c >= 0x20 && c != QUOTE && c != BACKSLASH) continue;
    out += value.substring(from, i);
    if (c < 0x20) out += "\\u00" + (c < 0x10 ? "0" : "1") + (c & 15).toString(16);
    else out += "\\" + String.fromCharCode(c);
    from = i + 1;
  }
  return out + value.substring(from) + '"';
}

function skipBlank(json: string, at: i32): i32 {
  while (at < json.length) {
    const c = json.charCodeAt(at);
    if (c != 0x20 && c != 0x0a && c != 0x0d && c != 0x09) break;
    at++;
  }
  return at;
}

/** The end of the JSON value that begins at `at`. */
function skipValue(json: string, at: i32): i32 {
  let depth = 0;
  while (at < json.length) {
    const c = json.charCodeAt(at);
    if (c == QUOTE) {
      at++;
      while (at < json.length && json.charCodeAt(at) != QUOTE) {
        at += json.charCodeAt(at) == BACKSLASH ? 2 : 1;
      }
      at++;
      if (depth == 0) return at < json.length ? at : json.length;
      continue;
    }
    if (c == 0x7b || c == 0x5b) {
      depth++;
    } else if (c == 0x7d || c == 0x5d) {
      if (depth == 0) return at;
      depth--;
      if (depth == 0) return at + 1;
    } else if (depth == 0 && (c == 0x2c || c == 0x20 || c == 0x0a || c == 0x0d || c == 0x09)) {
      return at;
    }
    at++;
  }
  return json.length;
}

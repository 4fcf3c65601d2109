//! Requests whose head the HTTP parser cannot read. The parser answers them itself, with a status and no body, and hands them to no
//! service. Here its response gets the envelope on its way to the client.

use actix_web::http::StatusCode;

use super::failure::Failure;
use crate::api::trace::Trace;

/// The parser's response is shorter than this: a status line and the headers `content-length`, `connection` and `date`.
const HEAD_BYTES: usize = 256;

/// If these bytes end with a response of the parser itself: the same bytes, with the envelope in that response.
///
/// The responses of this server always have a `traceparent`. Their bodies cannot be mistaken for the parser's response either: a
/// head ends with line breaks, which no JSON text has behind a status line, because it would be in a string.
pub(super) fn explain(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail = bytes.len().saturating_sub(HEAD_BYTES);
    let begin = b"HTTP/1.1 ";
    let at = tail + bytes[tail..].windows(begin.len()).rposition(|window| window == begin)?;
    let head = std::str::from_utf8(&bytes[at..]).ok()?;
    if !head.contains("\r\ncontent-length: 0\r\n") || head.contains("\r\ntraceparent: ") {
        return None;
    }
    let failure = match head.get(begin.len()..begin.len() + 3)? {
        "400" => Failure::unreadable(StatusCode::BAD_REQUEST),
        "408" => Failure::unreadable(StatusCode::REQUEST_TIMEOUT),
        "431" => Failure::unreadable(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        _ => return None,
    };
    let mut explained = bytes[..at].to_vec();
    explained.extend(failure.as_last_response(Trace::new()).bytes());
    Some(explained)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_of_the_parser_gets_the_envelope_and_no_other_response_changes() {
        let own = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ntraceparent: 00-1-2-01\r\n\r\n";
        let parser = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\ndate: x\r\n\r\n";
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let explained = String::from_utf8(explain(format!("{before}{parser}").as_bytes()).unwrap()).unwrap();
        let (_, response) = explained.split_once(before).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], "INVALID_REQUEST");
        for other in [
            own,
            before,
            "",
            "\r\n\r\n",
            &parser.replace("400", "204"),
            &parser[..60],
        ] {
            assert_eq!(explain(other.as_bytes()), None, "{other}");
        }
    }
}

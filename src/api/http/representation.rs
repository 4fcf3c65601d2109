//! What the headers say of a body (RFC 9110, section 8), and what this server reads. A header that changes the meaning of the bytes
//! is refused by name, because to ignore it would take them for something else.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use mime::Mime;

use super::failure::Failure;
use crate::error::{Error, Result};
use crate::json::cut;

const CONTENT_TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");

/// Refuses a body that is coded, or a part of something larger.
pub(crate) fn plain(headers: &HeaderMap) -> Result<(), Failure> {
    if let Some(coding) = unlike(headers, &header::CONTENT_ENCODING, &["identity"]) {
        return Err(Failure::coded_body(&coding));
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        let problem = "names a part of a body, and a request must send the whole";
        return Err(Error::invalid("Content-Range", problem).into());
    }
    Ok(())
}

/// Refuses a body that is not JSON. No content type counts as JSON, and so does the one that `curl -d` writes by itself.
pub(crate) fn json(headers: &HeaderMap) -> Result<(), Failure> {
    let is_json = |media: &Mime| {
        let known = [mime::APPLICATION_JSON, mime::APPLICATION_WWW_FORM_URLENCODED];
        known.iter().any(|known| known.essence_str() == media.essence_str()) || media.suffix() == Some(mime::JSON)
    };
    let Some(given) = only(headers, &header::CONTENT_TYPE)? else {
        return Ok(());
    };
    match media(given) {
        Some(media) if is_json(&media) => utf8(&media, "Content-Type"),
        _ => Err(Failure::unsupported_media(
            "Content-Type",
            &shown(given),
            "application/json",
        )),
    }
}

/// Whether the body is a form in parts.
pub(crate) fn is_form(headers: &HeaderMap) -> Result<bool, Failure> {
    let Some(given) = only(headers, &header::CONTENT_TYPE)? else {
        return Ok(false);
    };
    match media(given) {
        Some(media) if media.type_() == mime::MULTIPART && media.subtype() != mime::FORM_DATA => {
            let expected = "multipart/form-data or application/json";
            Err(Failure::unsupported_media("Content-Type", &shown(given), expected))
        }
        Some(media) => Ok(media.type_() == mime::MULTIPART),
        None => Ok(false),
    }
}

/// Refuses a part of a form whose bytes are coded, or whose text is not UTF-8.
pub(crate) fn part(headers: &HeaderMap, name: &str) -> Result<(), Failure> {
    let named = |header: &str| format!("{header} of the part {name}");
    if let Some(coding) = unlike(headers, &header::CONTENT_ENCODING, &["identity"]) {
        return Err(Failure::unsupported_media(
            &named("Content-Encoding"),
            &coding,
            "left out",
        ));
    }
    // RFC 7578, section 4.7: nobody should write the header, and these values change nothing.
    if let Some(coding) = unlike(headers, &CONTENT_TRANSFER_ENCODING, &["7bit", "8bit", "binary"]) {
        return Err(Failure::unsupported_media(
            &named("Content-Transfer-Encoding"),
            &coding,
            "binary or left out",
        ));
    }
    match only(headers, &header::CONTENT_TYPE)?.and_then(media) {
        Some(media) if name == "config" => utf8(&media, &named("Content-Type")),
        _ => Ok(()),
    }
}

/// Refuses expectations that this server does not meet. It meets `100-continue`, before it reads the body.
pub(super) fn expected(headers: &HeaderMap) -> Result<(), Failure> {
    match unlike(headers, &header::EXPECT, &["100-continue"]) {
        Some(other) => Err(Failure::expectation(&other)),
        None => Ok(()),
    }
}

/// Whether `Accept` names this media type, and not as one that is refused (`q=0`).
pub(crate) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let names = |range: &str| {
        let media = range.trim().parse::<Mime>().ok();
        media.is_some_and(|media| {
            let refused = media
                .get_param("q")
                .is_some_and(|q| q.as_str().parse().is_ok_and(|q: f32| q <= 0.0));
            media.essence_str() == wanted && !refused
        })
    };
    let values = headers.get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(names)
}

/// The first entry of a header's lists that is none of `known`.
fn unlike(headers: &HeaderMap, name: &HeaderName, known: &[&str]) -> Option<String> {
    let mut entries = headers
        .get_all(name)
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|entry| cut(&String::from_utf8_lossy(entry.trim_ascii()).to_lowercase()));
    entries.find(|entry| !entry.is_empty() && !known.contains(&entry.as_str()))
}

/// The value of a header that has one. Two different ones would leave the choice to chance.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Failure> {
    let mut values = headers.get_all(name);
    let first = values.next();
    if values.any(|other| Some(other) != first) {
        return Err(Error::invalid(title(name), "is given more than once, with different values").into());
    }
    Ok(first)
}

fn title(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

fn shown(value: &HeaderValue) -> String {
    cut(&String::from_utf8_lossy(value.as_bytes()))
}

fn media(value: &HeaderValue) -> Option<Mime> {
    value.to_str().ok()?.parse().ok()
}

fn utf8(media: &Mime, field: &str) -> Result<(), Failure> {
    match media.get_param(mime::CHARSET) {
        Some(charset)
            if !["utf-8", "us-ascii"]
                .iter()
                .any(|known| charset.as_str().eq_ignore_ascii_case(known)) =>
        {
            let given = format!("charset={}", cut(charset.as_str()));
            Err(Failure::unsupported_media(field, &given, "in UTF-8"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let request = pairs
            .iter()
            .fold(TestRequest::default(), |request, pair| request.append_header(*pair));
        request.to_http_request().headers().clone()
    }

    fn refused(result: Result<(), Failure>) -> Option<String> {
        result.err().map(|failure| failure.to_string())
    }

    #[test]
    fn json_is_what_says_so_and_what_says_nothing() {
        let json = |media: &'static str| refused(json(&headers(&[("content-type", media)])));
        assert_eq!(refused(super::json(&headers(&[]))), None);
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/merge-patch+json",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(json(good), None, "{good}");
        }
        for bad in [
            "application/xml",
            "text/plain",
            "multipart/form-data; boundary=x",
            "json",
            "",
        ] {
            assert!(json(bad).unwrap().contains("Content-Type"), "{bad}");
        }
        assert!(
            json("application/json; charset=utf-16")
                .unwrap()
                .contains("charset=utf-16")
        );
        let two = headers(&[("content-type", "application/json"), ("content-type", "text/plain")]);
        assert!(refused(super::json(&two)).unwrap().contains("more than once"));
    }

    #[test]
    fn a_body_that_is_coded_or_a_part_is_named() {
        let plain = |pair| refused(plain(&headers(&[pair])));
        assert_eq!(plain(("content-encoding", "identity")), None);
        assert!(plain(("content-encoding", "identity, GZIP")).unwrap().contains("gzip"));
        assert!(
            plain(("content-range", "bytes 0-1/2"))
                .unwrap()
                .contains("Content-Range")
        );
        let expected = |pair| refused(expected(&headers(&[pair])));
        assert_eq!(expected(("expect", "100-Continue")), None);
        assert!(expected(("expect", "200-ok")).unwrap().contains("200-ok"));
        let part = |pair, name| refused(part(&headers(&[pair]), name));
        assert_eq!(part(("content-transfer-encoding", "Binary"), "wasm"), None);
        let coded = part(("content-transfer-encoding", "base64"), "wasm").unwrap();
        assert!(coded.contains("Content-Transfer-Encoding of the part wasm"), "{coded}");
        assert!(part(("content-encoding", "gzip"), "config").unwrap().contains("gzip"));
        assert_eq!(part(("content-type", "text/plain; charset=latin1"), "wasm"), None);
        assert!(part(("content-type", "text/plain; charset=latin1"), "config").is_some());
    }

    #[test]
    fn an_accepted_type_is_named_in_any_spelling() {
        let problem = "application/problem+json";
        let accepts = |accept| accepts(&headers(&[("accept", accept)]), problem);
        assert!(accepts("application/problem+json"));
        assert!(accepts("text/html, Application/Problem+JSON; q=0.5"));
        assert!(!accepts("application/problem+json;q=0"));
        assert!(!accepts("application/json, */*"));
    }
}

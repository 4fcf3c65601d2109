//! What a browser asks before it lets a page use this server (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! The [`guard`](super::guard) decides which origins may. Here a browser is told about those, and about no others.

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

const METHODS: &str = "GET, HEAD, POST, PUT, DELETE";
/// The headers of requests that this server reads and that a page may not send without asking.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, Traceparent, Tracestate, X-Caxton-Token";
/// The headers of responses that a page may not read unless it is told.
const RESPONSE_HEADERS: &str = "Accept-Encoding, Allow, Location, Retry-After, Traceparent";
/// How long a browser may remember the answer, in seconds.
const REMEMBERED: &str = "600";

/// Whether the request is the question of a browser whether it may send another one.
pub(super) fn is_preflight(head: &RequestHead) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(header::ORIGIN)
        && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight. It is the same for all paths: the request itself learns whether a path has its method.
pub(super) fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, REMEMBERED))
        .finish()
}

/// Lets the page of an allowed origin read a response.
pub(super) fn share(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(RESPONSE_HEADERS),
    );
}

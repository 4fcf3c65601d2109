//! The middleware around every request: the guard, what browsers are told, the trace, and the bodies of errors.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _};
use tracing::Instrument as _;

use super::failure::{Failure, PROBLEM_JSON};
use super::{cors, guard, representation};
use crate::api::trace::Trace;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The outermost middleware. Errors of handlers and extractors have no body yet (see [`Failure`]) and get it here.
pub(crate) async fn edge(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let trace = Trace::of(request.headers().get_all(TRACEPARENT).map(HeaderValue::as_bytes));
    let origin = request.headers().get(header::ORIGIN).cloned();
    let as_problem = representation::accepts(request.headers(), PROBLEM_JSON);
    request.extensions_mut().insert(trace);
    let span = tracing::info_span!("request", trace_id = %trace, method = %request.method(), path = request.path());
    let guarded = guard::check(request.head());
    let shared = origin.filter(|_| guarded.is_ok());
    let checked = guarded.map_err(Failure::from);
    let response = match checked.and_then(|()| representation::expected(request.headers())) {
        Ok(()) if cors::is_preflight(request.head()) => request.into_response(cors::preflight()),
        Ok(()) => next.call(request).instrument(span).await?.map_into_boxed_body(),
        Err(refused) => request.error_response(refused),
    };
    let mut response = match Failure::of(response.response()) {
        Some(failure) => response.into_response(failure.render(trace, as_problem)),
        None => response,
    };
    // A WebSocket is no response that a page reads.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // Also without an origin: a cache must not give the response to a page.
        let vary = HeaderValue::from_static("Origin");
        response.headers_mut().append(header::VARY, vary);
        if let Some(origin) = shared {
            cors::share(response.headers_mut(), origin);
        }
    }
    if let Ok(value) = HeaderValue::try_from(trace.traceparent()) {
        response.headers_mut().insert(TRACEPARENT, value);
    }
    Ok(response)
}

/// The trace of a request, which [`edge`] put among its extensions.
pub(crate) fn trace(extensions: &Extensions) -> Trace {
    extensions.get().copied().unwrap_or_else(Trace::new)
}

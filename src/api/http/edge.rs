//! The middleware around every request: the guard, the trace, and the bodies of errors.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _};
use tracing::Instrument as _;

use super::failure::{Failure, PROBLEM_JSON};
use super::{guard, representation};
use crate::api::trace::Trace;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The outermost middleware. Errors of handlers and extractors have no body yet (see [`Failure`]) and get it here.
pub(crate) async fn edge(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let trace = Trace::continuing(
        request
            .headers()
            .get(TRACEPARENT)
            .and_then(|header| header.to_str().ok()),
    );
    let as_problem = representation::accepts(request.headers(), PROBLEM_JSON);
    request.extensions_mut().insert(trace);
    let span = tracing::info_span!("request", trace_id = %trace, method = %request.method(), path = request.path());
    let checked = guard::check(request.head()).map_err(Failure::from);
    let response = match checked.and_then(|()| representation::expected(request.headers())) {
        Ok(()) => next.call(request).instrument(span).await?.map_into_boxed_body(),
        Err(refused) => request.error_response(refused),
    };
    let mut response = match Failure::of(response.response()) {
        Some(failure) => response.into_response(failure.render(trace, as_problem)),
        None => response,
    };
    if let Ok(value) = HeaderValue::try_from(trace.traceparent()) {
        response.headers_mut().insert(TRACEPARENT, value);
    }
    Ok(response)
}

/// The trace of a request, which [`edge`] put among its extensions.
pub(crate) fn trace(extensions: &Extensions) -> Trace {
    extensions.get().copied().unwrap_or_else(Trace::new)
}

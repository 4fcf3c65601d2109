//! What every request passes, in and out: the guard, the trace, and the form of errors.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest};
use tracing::Instrument as _;

use super::failure::{Failure, accepts_problem};
use super::guard;
use crate::api::trace::Trace;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The outermost middleware. Handlers and extractors leave errors half done (see [`Failure`]); here they get their body.
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
    let as_problem = accepts_problem(request.headers());
    request.extensions_mut().insert(trace);
    let span = tracing::info_span!("request", trace_id = %trace, method = %request.method(), path = request.path());
    let response = match guard::check(request.head()) {
        Ok(()) => next.call(request).instrument(span).await?.map_into_boxed_body(),
        Err(refused) => request.error_response(Failure::from(refused)),
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

/// The trace of a request, which [`edge`] gave it.
pub(crate) fn trace(request: &HttpRequest) -> Trace {
    request.extensions().get::<Trace>().copied().unwrap_or_else(Trace::new)
}

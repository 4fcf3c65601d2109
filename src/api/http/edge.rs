//! The middleware around every request: the guard, what browsers are told, the trace, the bodies of errors, and the end of what is
//! in progress when the server stops.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpResponse, web};
use bytes::Bytes;
use tracing::Instrument as _;

use super::failure::{Failure, PROBLEM_JSON};
use super::front::Front;
use super::{cors, guard, representation};
use crate::api::connections::{Connection, InProgress};
use crate::api::stopping::{self, Stopping};
use crate::api::trace::Trace;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Answers as long as the process does, also while the server stops.
const HEALTH: &str = "/healthz";

/// The outermost middleware. Errors of handlers and extractors have no body yet (see [`Failure`]) and get it here.
pub(crate) async fn edge(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (in_progress, count) = (
        request.conn_data::<Connection>().map(Connection::begin),
        Count::new(request.method()),
    );
    let stopping = request
        .app_data::<web::Data<Front>>()
        .map(|front| front.stopping.clone());
    let trace = Trace::of(request.headers().get_all(TRACEPARENT).map(HeaderValue::as_bytes));
    let origin = request.headers().get(header::ORIGIN).cloned();
    let as_problem = representation::accepts(request.headers(), PROBLEM_JSON);
    request.extensions_mut().insert(trace);
    let span = tracing::info_span!("request", trace_id = %trace, method = %request.method(), path = request.path());
    let guarded = guard::check(request.head());
    let sharing = Sharing(origin.filter(|_| guarded.is_ok()));
    let checked = guarded.map_err(Failure::from);
    let late = stopping.as_ref().is_some_and(Stopping::has_begun) && request.path() != HEALTH;
    let response = match checked.and_then(|()| representation::expected(request.headers())) {
        Ok(()) if late => request.error_response(Failure::from(stopping::unavailable())),
        Ok(()) if cors::is_preflight(request.head()) => request.into_response(cors::preflight()),
        Ok(()) => {
            let handled = next.call(request).instrument(span);
            let Some(handled) = unless_overdue(handled, stopping.as_ref()).await else {
                let cut_off = Failure::from(stopping::unavailable()).render(trace, as_problem);
                count.answered(None, cut_off.status());
                let cut_off = finish(cut_off, trace, sharing, true);
                return Err(InternalError::from_response("cut off", cut_off).into());
            };
            handled?.map_into_boxed_body()
        }
        Err(refused) => request.error_response(refused),
    };
    let response = match Failure::of(response.response()) {
        Some(failure) => response.into_response(failure.render(trace, as_problem)),
        None => response,
    };
    let stops = stopping.as_ref().is_some_and(Stopping::has_begun);
    let (request, response) = response.into_parts();
    count.answered(request.match_pattern(), response.status());
    let response = finish(response, trace, sharing, stops);
    let response = match in_progress {
        Some(in_progress) => response.map_body(|_, body| BoxBody::new(Sending { body, in_progress })),
        None => response,
    };
    Ok(ServiceResponse::new(request, response))
}

/// The count of one request.
struct Count {
    method: &'static str,
    began: Instant,
}

impl Count {
    /// A method that no route has counts as `other`, and a path that is no route as `none`, so that clients cannot make up labels.
    fn new(method: &Method) -> Self {
        const METHODS: [Method; 5] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
        let known = METHODS.iter().find(|known| *known == method);
        Self {
            method: known.map_or("other", Method::as_str),
            began: Instant::now(),
        }
    }

    fn answered(self, route: Option<String>, status: StatusCode) {
        let (method, route) = (self.method, route.unwrap_or_else(|| "none".to_owned()));
        let code = status.as_str().to_owned();
        metrics::histogram!("caxton_http_request_seconds", "method" => method, "route" => route.clone())
            .record(self.began.elapsed());
        metrics::counter!("caxton_http_requests_total", "method" => method, "route" => route, "code" => code)
            .increment(1);
    }
}

/// None: the server stops, and the time of what is in progress is over.
async fn unless_overdue<T>(handled: impl Future<Output = T>, stopping: Option<&Stopping>) -> Option<T> {
    let Some(stopping) = stopping else {
        return Some(handled.await);
    };
    tokio::select! {
        biased;
        handled = handled => Some(handled),
        () = stopping.overdue() => None,
    }
}

/// The origin of the page that may read the response, if a page asked and the guard lets it.
struct Sharing(Option<HeaderValue>);

/// Adds what every response has.
fn finish(mut response: HttpResponse, trace: Trace, sharing: Sharing, stops: bool) -> HttpResponse {
    // A WebSocket is no response that a page reads.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // Also without an origin: a cache must not give the response to a page.
        let vary = HeaderValue::from_static("Origin");
        response.headers_mut().append(header::VARY, vary);
        if let Some(origin) = sharing.0 {
            cors::share(response.headers_mut(), origin);
        }
    }
    if let Ok(value) = HeaderValue::try_from(trace.traceparent()) {
        response.headers_mut().insert(TRACEPARENT, value);
    }
    if stops && response.status().as_u16() != 101 {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    response
}

/// The trace of a request, which [`edge`] put among its extensions.
pub(crate) fn trace(extensions: &Extensions) -> Trace {
    extensions.get().copied().unwrap_or_else(Trace::new)
}

/// A body, whose request is in progress until the body is sent.
struct Sending {
    body: BoxBody,
    #[allow(dead_code, reason = "it counts until it is dropped")]
    in_progress: InProgress,
}

impl MessageBody for Sending {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

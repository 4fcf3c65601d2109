//! What every call has around it besides [`edge`](super::edge): the end of what is in progress when the server stops, and the count.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use tokio::sync::watch;
use tonic::codegen::Service as _;
use tonic::{Code, Status};

use super::edge::Edge;
use super::status::status;
use crate::api::connections::InProgress;
use crate::api::stopping::{self, Stopping};
use crate::api::trace::Trace;
use crate::error::Error;

/// The services of the front.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) services: Edge,
    pub(super) stopping: Stopping,
    /// True when streams are to end: after the last health status was sent.
    pub(super) streams_end: watch::Receiver<bool>,
    /// The time in which the body of a request must have arrived.
    pub(super) body_time: Duration,
}

impl Calls {
    pub(super) async fn answer(&self, request: Request<Incoming>, in_progress: InProgress) -> Response<Sending> {
        let count = Count::new(request.uri().path());
        let response = if self.stopping.has_begun() {
            stopped().into_http()
        } else {
            self.handle(request).await
        };
        let count = count.seen(response.headers());
        response.map(|body| Sending {
            body,
            streams_end: Streams::Open(self.streams_end.clone()),
            count,
            in_progress,
        })
    }

    async fn handle(&self, request: Request<Incoming>) -> Response<tonic::body::Body> {
        let request = request.map(|body| tonic::body::Body::new(InTime::new(body, self.body_time)));
        let mut services = self.services.clone();
        tokio::select! {
            biased;
            response = services.call(request) => response.unwrap_or_else(|never| match never {}),
            () = self.stopping.overdue() => stopped().into_http(),
        }
    }
}

/// The count of one call. A call whose status is never seen was cancelled, or its connection broke.
struct Count {
    method: String,
    began: Instant,
    code: Code,
}

impl Count {
    fn new(path: &str) -> Self {
        Self {
            method: path.to_owned(),
            began: Instant::now(),
            code: Code::Cancelled,
        }
    }

    /// Counts the call if its status is among these headers or trailers.
    fn seen(mut self, headers: &HeaderMap) -> Option<Self> {
        let Some(code) = headers.get(Status::GRPC_STATUS) else {
            return Some(self);
        };
        self.code = Code::from_bytes(code.as_bytes());
        None
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        // Only a method that does not exist is unimplemented. Its name is the client's, and must not become a label.
        let method = if self.code == Code::Unimplemented {
            "none".to_owned()
        } else {
            std::mem::take(&mut self.method)
        };
        metrics::histogram!("caxton_grpc_call_seconds", "method" => method.clone()).record(self.began.elapsed());
        metrics::counter!("caxton_grpc_calls_total", "method" => method, "code" => format!("{:?}", self.code))
            .increment(1);
    }
}

fn stopped() -> Status {
    status(&stopping::unavailable(), Trace::new())
}

/// The body of a request, which must arrive in time.
struct InTime {
    body: Incoming,
    time: Duration,
    over: Pin<Box<tokio::time::Sleep>>,
}

impl InTime {
    fn new(body: Incoming, time: Duration) -> Self {
        let over = Box::pin(tokio::time::sleep(time));
        Self { body, time, over }
    }
}

impl Body for InTime {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(Box::new(error)))));
        }
        self.over.as_mut().poll(context).map(|()| {
            let problem = format!("did not arrive within {} s (`limits.body_time`)", self.time.as_secs());
            Some(Err(status(&Error::invalid("body", problem), Trace::new())))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response. Its call is in progress until it is sent. When the server stops, a body that waits for its next message
/// ends with that status.
pub(super) struct Sending {
    body: tonic::body::Body,
    streams_end: Streams,
    /// None: the status of the call was seen, and counted.
    count: Option<Count>,
    #[allow(dead_code, reason = "it counts until it is dropped")]
    in_progress: InProgress,
}

enum Streams {
    Open(watch::Receiver<bool>),
    /// The body waits, and so does this.
    Waiting(BoxFuture<'static, ()>),
    Ended,
}

impl Streams {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Self::Open(end) = self {
            let mut end = end.clone();
            *self = Self::Waiting(Box::pin(async move {
                let _ = end.wait_for(|end| *end).await; // an error means that the front is gone
            }));
        }
        match self {
            Self::Waiting(end) => end.as_mut().poll(context),
            Self::Open(_) | Self::Ended => Poll::Pending,
        }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if matches!(self.streams_end, Streams::Ended) {
            return Poll::Ready(None);
        }
        let frame = if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            frame
        } else {
            ready!(self.streams_end.poll_end(context));
            self.streams_end = Streams::Ended;
            let mut trailers = HeaderMap::new();
            Some(stopped().add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
        };
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.count = self.count.take().and_then(|count| count.seen(trailers));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

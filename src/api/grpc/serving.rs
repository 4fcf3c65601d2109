//! The connections of gRPC: accepted, counted, served and closed.

use std::convert::Infallible;
use std::io::{self, Cursor};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::calls::Calls;
use crate::api::connections::{Connection, Connections};
use crate::api::limits;
use crate::api::stopping::Stopping;

/// Concurrent calls of one connection.
const STREAMS: u32 = 256;
/// Flow-control windows. With the default, a module of tens of megabytes would wait for a round trip every 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// How often an idle connection is pinged, and the timeout of the ping.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
/// The bytes with which each client of HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// How long no connection is accepted after an attempt that failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(500);

/// Serves until the front stops and its connections have closed. Dropping it closes them.
pub(super) async fn serve(listener: TcpListener, connections: &Arc<Connections>, calls: &Calls, stopping: &Stopping) {
    let mut open = JoinSet::new();
    let accepting = async {
        loop {
            tokio::select! {
                tcp = accept(&listener) => {
                    // A connection for which there is no place is dropped.
                    if let Some(connection) = connections.admit() {
                        open.spawn(converse(tcp, connection, calls.clone()));
                    }
                }
                Some(_) = open.join_next() => {}
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stopping.begun() => {}
    }
    connections.stop();
    while open.join_next().await.is_some() {}
}

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => return tcp,
            // The client has gone already.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) => {}
            Err(error) => {
                tracing::warn!(%error, "gRPC cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves one connection until its client closes it, or the front wants it to be closed.
async fn converse(tcp: TcpStream, connection: Connection, calls: Calls) {
    let _ = tcp.set_nodelay(true); // slower without, and no reason to refuse the client
    let (mut read, write) = tcp.into_split();
    let mut preface = [0; PREFACE_BYTES];
    tokio::select! {
        read = read.read_exact(&mut preface) => {
            if read.is_err() {
                return;
            }
        }
        () = connection.ended() => return,
    }
    connection.spoke();
    let io = TokioIo::new(tokio::io::join(Cursor::new(preface).chain(read), write));
    let counted = connection.clone();
    let service = service_fn(move |request| {
        let (calls, in_progress) = (calls.clone(), counted.begin());
        async move { Ok::<_, Infallible>(calls.answer(request, in_progress).await) }
    });
    let mut served = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(limits::MOST_METADATA_BYTES)
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_ANSWER)
            .serve_connection(io, service)
    );
    tokio::select! {
        ended = &mut served => return report(ended),
        () = connection.ended() => served.as_mut().graceful_shutdown(),
    }
    // The client is told that no more calls are taken, and closes. A call that it made just before is still answered.
    if let Ok(ended) = tokio::time::timeout(limits::LINGER, served).await {
        report(ended);
    }
}

fn report(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a gRPC connection broke");
    }
}

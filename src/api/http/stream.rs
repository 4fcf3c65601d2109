//! A TCP connection of a client, which the front can end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::unreadable;
use crate::api::connections::Connection;
use crate::api::limits;

/// When the front wants the connection to be closed, reads end as if the client had closed it. A response on its way is still
/// written.
#[derive(Debug)]
pub(super) struct Stream {
    tcp: TcpStream,
    connection: Connection,
    heard: bool,
    /// The last response, if the request before it could not be read.
    last: Option<Last>,
}

/// A response after which the connection closes, though the client may still be sending.
#[derive(Debug)]
struct Last {
    /// What is left to be written.
    rest: Vec<u8>,
    /// Until then the rest of what the client sends is awaited.
    until: Pin<Box<Sleep>>,
}

impl Stream {
    pub(super) const fn new(tcp: TcpStream, connection: Connection) -> Self {
        Self {
            tcp,
            connection,
            heard: false,
            last: None,
        }
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Writes the last response, and then reads what the client still sends: a socket that is closed while unread bytes wait in it is
    /// reset, and the client may then not see the response.
    fn poll_last(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(last) = &mut self.last else {
            return Poll::Ready(Ok(()));
        };
        if self.connection.poll_ended(context).is_ready() || last.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut tcp = Pin::new(&mut self.tcp);
        while !last.rest.is_empty() {
            let written = ready!(tcp.as_mut().poll_write(context, &last.rest))?;
            last.rest.drain(..written);
        }
        ready!(tcp.as_mut().poll_shutdown(context))?;
        loop {
            let mut unread = [0; 4 << 10];
            let mut unread = ReadBuf::new(&mut unread);
            ready!(tcp.as_mut().poll_read(context, &mut unread))?;
            if unread.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.connection.poll_ended(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.tcp).poll_read(context, into);
        if !self.heard && !into.filled().is_empty() {
            self.heard = true;
            self.connection.spoke();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.last.is_none() {
            self.last = unreadable::explain(bytes).map(|rest| Last {
                rest,
                until: Box::pin(tokio::time::sleep(limits::LINGER)),
            });
        }
        if self.last.is_some() {
            // The parser's connection ends as soon as its bytes are taken, so they are taken at the end.
            return self.poll_last(context).map_ok(|()| bytes.len());
        }
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

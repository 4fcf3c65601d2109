//! A TCP connection of a client, which the front can end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

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
    /// What is left of the last response, if the request before it could not be read.
    last: Option<Vec<u8>>,
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

    /// Writes what is left of the last response.
    fn poll_last(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.last.as_mut().filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut self.tcp).poll_write(context, rest))?;
            rest.drain(..written);
        }
        Poll::Ready(Ok(()))
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
        ready!(self.poll_last(context))?;
        if let Some(explained) = unreadable::explain(bytes) {
            self.last = Some(explained);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_last(context))?;
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_last(context))?;
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

/// A socket that is closed while unread bytes wait in it is reset, and the client may then not see the response. So the rest of what
/// it sends is read first.
impl Drop for Stream {
    fn drop(&mut self) {
        let (Some(last), Ok(runtime)) = (self.last.take(), Handle::try_current()) else {
            return;
        };
        let Ok(tcp) = socket2::SockRef::from(&self.tcp).try_clone() else {
            return;
        };
        let connection = self.connection.clone();
        runtime.spawn(async move {
            let closing = async {
                let mut tcp = TcpStream::from_std(tcp.into())?;
                tcp.write_all(&last).await?;
                tcp.shutdown().await?;
                let mut unread = [0; 4 << 10];
                while tcp.read(&mut unread).await? > 0 {}
                io::Result::Ok(())
            };
            // Whether it came in time and whether the client was still there changes nothing here.
            let _ = tokio::time::timeout(limits::LINGER, closing).await;
            drop(connection);
        });
    }
}

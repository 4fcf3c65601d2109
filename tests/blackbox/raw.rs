//! Bytes over a connection, for what no client library writes.

use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::harness::PATIENCE;

pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) async fn open(client: &Client) -> Self {
        let url: Url = client.base().parse().unwrap();
        let address = (url.host_str().unwrap(), url.port().unwrap());
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next bytes, exactly this many.
    pub(crate) async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut bytes)).await;
        read.expect("the server sends something")
            .expect("the connection is open");
        bytes
    }

    /// Everything until the server closes the connection.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await;
        read.expect("the server closes").expect("it closes in order");
        bytes
    }

    /// Everything until these bytes, with them.
    pub(crate) async fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            bytes.extend(self.read(1).await);
        }
        bytes
    }
}

//! A socket without an HTTP client in between: for requests that no client would send.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::PATIENCE;
use super::answer::Answer;

pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Raw {
    pub async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            received: Vec::new(),
        }
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Writes as far as the peer takes it.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Says that nothing more will come.
    pub async fn end(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Whether more came; false at the end of the connection, however it ended.
    async fn more(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.received);
        let read = tokio::time::timeout(PATIENCE, read).await;
        matches!(read.expect("the peer says or ends something"), Ok(length) if length > 0)
    }

    /// Waits until the peer ends the connection, whatever it says before.
    pub async fn until_end(&mut self) {
        while self.more().await {}
    }

    /// The next answer, or nothing at the end of the connection.
    pub async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, length)) = parse(&self.received) {
                self.received.drain(..length);
                return Some(answer);
            }
            if !self.more().await {
                assert!(self.received.is_empty(), "half an answer");
                return None;
            }
        }
    }

    /// Waits for the end of the connection and gives what was said before.
    pub async fn until_closed(mut self) -> Vec<u8> {
        while self.more().await {}
        self.received
    }
}

/// The first answer in `bytes` and its length, once it is whole.
fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next().unwrap()[9..12].parse().unwrap();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        headers.append(
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_str(value.trim()).unwrap(),
        );
    }
    let start = end + 4;
    let length: usize = headers
        .get("content-length")
        .map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    let body = bytes.get(start..start + length)?.to_vec().into();
    let answer = Answer {
        status,
        headers,
        body,
    };
    // An interim answer (RFC 9110 15.2) has neither length nor body.
    Some((answer, start + length))
}

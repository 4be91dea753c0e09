//! The bytes beneath a connection: TCP, or TLS over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connection::OpenError;
use super::{ApiRoot, Settings};

/// HTTP/2 over TLS, as ALPN names it (RFC 9113 3.2).
const HTTP2: &[u8] = b"h2";

/// What HTTP/2 is spoken over.
pub(super) enum Transport {
    /// In clear, by prior knowledge.
    Plain(TcpStream),
    /// In a box, so that a connection in clear has no room for it.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Opens a connection to the host of `root`, at whichever of its addresses answers first, over TLS
/// where the scheme says so (TS 33.501 13.1).
pub(super) async fn connect(root: &ApiRoot, settings: &Settings) -> Result<Transport, OpenError> {
    let stream = TcpStream::connect((root.host(), root.port()))
        .await
        .map_err(OpenError::Connect)?;
    // A request is one small write that must not wait for the acknowledgement of the last one.
    stream.set_nodelay(true).map_err(OpenError::Connect)?;
    let Some(name) = root.tls_name() else {
        return Ok(Transport::Plain(stream));
    };
    let config = settings.tls.clone().ok_or(OpenError::NoTls)?;
    let stream = TlsConnector::from(config)
        .connect(name.clone(), stream)
        .await
        .map_err(OpenError::Tls)?;
    // A server that knows nothing of ALPN takes whatever is spoken for HTTP/1.1.
    if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
        return Err(OpenError::NotHttp2);
    }
    Ok(Transport::Tls(Box::new(stream)))
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

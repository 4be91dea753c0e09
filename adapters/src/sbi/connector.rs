//! The bytes beneath a connection. TLS joins here: what it gives only has to read and write.

use std::io;

use tokio::net::TcpStream;

use super::ApiRoot;

/// What HTTP/2 is spoken over.
pub(super) type Transport = TcpStream;

/// Opens a TCP connection to the host of `root`, at whichever of its addresses answers first.
pub(super) async fn connect(root: &ApiRoot) -> io::Result<Transport> {
    let stream = TcpStream::connect((root.host(), root.port())).await?;
    // A request is one small write that must not wait for the acknowledgement of the last one.
    stream.set_nodelay(true)?;
    Ok(stream)
}

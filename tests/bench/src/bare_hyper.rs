//! A contender: hyper with nothing behind it. Reads each request to its end and gives every one
//! the same answer.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::Result;

/// The answer to give, and where.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    /// `name: value`; `content-length` and `date` come by themselves.
    #[arg(long = "header")]
    headers: Vec<String>,
    #[arg(long)]
    body: String,
}

/// Serves until it is killed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut answer = Response::new(Full::from(arguments.body.clone()));
    *answer.headers_mut() = headers(&arguments.headers)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(arguments.listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream, answer.clone()));
        }
    })
}

async fn serve(stream: TcpStream, answer: Response<Full<Bytes>>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            // A request that breaks off gets no answer anyway.
            let _ = request.into_body().collect().await;
            Ok::<_, Infallible>(answer)
        }
    });
    // How a connection ends is the load generator's business.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn headers(lines: &[String]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or("a header without a colon")?;
        headers.insert(name.parse::<HeaderName>()?, HeaderValue::from_str(value)?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lines_are_read() {
        let headers = headers(&["content-type: a/b".to_owned()]).unwrap();
        assert_eq!(headers.get("content-type").unwrap(), "a/b");
        assert!(super::headers(&["x".to_owned()]).is_err());
    }
}

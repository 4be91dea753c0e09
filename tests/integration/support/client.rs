//! A consumer: one request after the other over HTTP/1.1 or HTTP/2, every answer checked.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pei_bridge::api::Version;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::PATIENCE;
use super::answer::Answer;

pub const RETRIEVE_IDENTIFIER: &str = "/device-identifier/v0.1.0/retrieve-identifier";
pub const RETRIEVE_TYPE: &str = "/device-identifier/v0.1.0/retrieve-type";

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: Method,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Ask {
    /// An operation of a version.
    pub fn of(version: &str, operation: &str, body: &Value) -> Self {
        Self::identifier(body).path(&format!("/device-identifier/{version}/{operation}"))
    }

    /// The version and the operation that the path names, where it names any.
    pub fn target(&self) -> Option<(&'static str, &'static str)> {
        let path = self.path.split('?').next()?;
        let (version, operation) = path.strip_prefix("/device-identifier/")?.split_once('/')?;
        let version = Version::named(version)?;
        let mut operations = version.operations().iter().map(|it| it.as_str());
        let operation = operations.find(|it| *it == operation)?;
        Some((version.as_str(), operation))
    }

    /// `retrieve-identifier` of v0.1.0
    pub fn identifier(body: &Value) -> Self {
        Self {
            method: Method::POST,
            path: RETRIEVE_IDENTIFIER.to_owned(),
            headers: vec![("content-type", "application/json".to_owned())],
            body: Bytes::from(body.to_string()),
        }
    }

    /// `retrieve-type` of v0.1.0
    pub fn device_type(body: &Value) -> Self {
        Self::identifier(body).path(RETRIEVE_TYPE)
    }

    /// The body of a request for the first named subscriber, as good as any.
    pub fn any() -> Self {
        Self::identifier(&serde_json::json!({"phoneNumber": "123456789"}))
    }

    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a line, beside one of the same name where there is one.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With this token.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(it, _)| *it != name);
        self
    }

    /// The correlator that an answer has to repeat, if it was given and is one.
    pub fn correlator(&self) -> Option<&str> {
        let mut given = self.headers.iter().filter(|(it, _)| *it == "x-correlator");
        let (_, value) = given.next()?;
        given.next().is_none().then_some(value.as_str())
    }

    fn request(&self, uri: String) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method.clone()).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(Full::new(self.body.clone())).unwrap()
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// A connection that is kept.
pub struct Connection {
    sender: Sender,
    to: SocketAddr,
}

impl Connection {
    pub async fn http1(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self {
            sender: Sender::Http1(sender),
            to,
        }
    }

    /// With prior knowledge.
    pub async fn http2(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self {
            sender: Sender::Http2(sender),
            to,
        }
    }

    /// What ALPN says, over TLS that is there.
    pub async fn tls(stream: TlsStream<TcpStream>, to: SocketAddr) -> Result<Self, hyper::Error> {
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let sender = if http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        };
        Ok(Self { sender, to })
    }

    /// Sends it and checks the answer.
    pub async fn send(&mut self, ask: &Ask) -> Answer {
        let answer = self.try_send(ask).await.expect("an answer");
        answer.check(ask);
        answer
    }

    /// The answer, unless the connection ends without one.
    pub async fn try_send(&mut self, ask: &Ask) -> Result<Answer, hyper::Error> {
        tokio::time::timeout(PATIENCE * 2, async {
            let response = self.response(ask).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body,
            })
        })
        .await
        .expect("an answer in time")
    }

    /// The head, with the body still to come. Dropped, it gives the request up.
    async fn response(&mut self, ask: &Ask) -> Result<http::Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                let mut request = ask.request(ask.path.clone());
                if !request.headers().contains_key("host") {
                    let host = self.to.to_string().parse().unwrap();
                    request.headers_mut().insert("host", host);
                }
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                let uri = format!("http://{}{}", self.to, ask.path);
                sender.ready().await?;
                sender.send_request(ask.request(uri)).await
            }
        }
    }
}

impl Clone for Connection {
    /// HTTP/2 only: another handle for streams beside the others.
    fn clone(&self) -> Self {
        let Sender::Http2(sender) = &self.sender else {
            panic!("HTTP/1.1 has one request at a time");
        };
        Self {
            sender: Sender::Http2(sender.clone()),
            to: self.to,
        }
    }
}

/// Status and text of a page that is not CAMARA's.
pub async fn get(from: SocketAddr, path: &str) -> (u16, String) {
    exchange(from, Method::GET, path, "").await
}

/// What `/metrics` says, without the fractions of measured times: among their digits, anything is
/// found sooner or later.
pub async fn metrics_without_fractions(admin: SocketAddr) -> String {
    let (_, metrics) = get(admin, "/metrics").await;
    let whole = |line: &str| match line.rsplit_once(' ') {
        Some((sample, value)) if !line.starts_with('#') => {
            let whole = value.split_once('.').map_or(value, |(whole, _)| whole);
            format!("{sample} {whole}\n")
        }
        _ => format!("{line}\n"),
    };
    metrics.lines().map(whole).collect()
}

/// One request with JSON or nothing, unchecked.
pub async fn exchange(to: SocketAddr, method: Method, path: &str, body: &str) -> (u16, String) {
    let ask = Ask::any()
        .method(method)
        .path(path)
        .body(body.to_owned())
        .without("content-type");
    let answer = Connection::http1(to).await.try_send(&ask).await.unwrap();
    (
        answer.status,
        String::from_utf8(answer.body.to_vec()).unwrap(),
    )
}

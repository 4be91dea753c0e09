//! HTTP to issuers: small answers, in time, from exactly the address that was asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;

use crate::config::IssuerUrl;

/// One exchange, connecting included. Requests have deadlines of their own on top.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// A hundred keys with certificate chains.
const MAX_ANSWER: usize = 1024 * 1024;
/// Below what servers and load balancers keep connections for.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Why an issuer did not answer. Says nothing of what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// No connection, no TLS, or an answer that broke off.
    #[error("cannot be reached: {}", root(.0))]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    /// The exchange took too long.
    #[error("did not answer within {} s", EXCHANGE_TIMEOUT.as_secs())]
    TimedOut,
    /// Nobody waits for its answer any longer.
    #[error("did not answer in the time that requests have")]
    GivenUp,
    /// Anything but 200. Redirects are not followed: keys come from where the operator says.
    #[error("answered {}", .0.as_u16())]
    Status(StatusCode),
    /// The body broke off or is longer than any that we want.
    #[error("sent a body that broke off or is too long")]
    Body,
    /// The answer is not what was asked for.
    #[error("{0}")]
    Unusable(&'static str),
    /// A file of keys cannot be read.
    #[error("{0}")]
    File(#[from] std::io::Error),
}

/// The innermost cause: "connection refused" instead of "client error".
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// A client for all issuers; connections are kept and shared.
#[derive(Clone)]
pub(super) struct IssuerClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl IssuerClient {
    pub(super) fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(EXCHANGE_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(HttpsConnector::from((tcp, tls)));
        Self(client)
    }

    /// The body of a 200 to a GET.
    pub(super) async fn get(&self, url: &IssuerUrl) -> Result<Bytes, FetchError> {
        self.exchange(request(Method::GET, url, Full::default()))
            .await
    }

    /// The body of a 200 to a form.
    pub(super) async fn post_form(
        &self,
        url: &IssuerUrl,
        authorization: Option<HeaderValue>,
        form: String,
    ) -> Result<Bytes, FetchError> {
        let mut request = request(Method::POST, url, Full::from(form));
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        if let Some(authorization) = authorization {
            headers.insert(http::header::AUTHORIZATION, authorization);
        }
        self.exchange(request).await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, FetchError> {
        let exchange = async {
            let response = self.0.request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
            Ok(body.await.map_err(|_| FetchError::Body)?.to_bytes())
        };
        tokio::time::timeout(EXCHANGE_TIMEOUT, exchange)
            .await
            .unwrap_or(Err(FetchError::TimedOut))
    }
}

fn request(method: Method, url: &IssuerUrl, body: Full<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = url.uri().clone();
    request
        .headers_mut()
        .insert(ACCEPT, HeaderValue::from_static("application/json"));
    request
}

/// What an issuer says of itself (`OpenID` Connect Discovery 1.0, 3; RFC 8414 2).
#[derive(Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) jwks_uri: Option<IssuerUrl>,
    pub(super) introspection_endpoint: Option<IssuerUrl>,
}

impl Metadata {
    /// Where the metadata of an issuer are.
    pub(super) fn url(issuer: &str) -> Result<IssuerUrl, crate::config::UrlError> {
        let issuer = issuer.trim_end_matches('/');
        IssuerUrl::parse(&format!("{issuer}/.well-known/openid-configuration"))
    }

    /// Fetches them. They must be those of `issuer`, to the letter (Discovery 4.3): else one
    /// issuer of a host could speak for another.
    pub(super) async fn fetch(
        client: &IssuerClient,
        url: &IssuerUrl,
        issuer: &str,
    ) -> Result<Self, FetchError> {
        let metadata: Self = serde_json::from_slice(&client.get(url).await?)
            .map_err(|_| FetchError::Unusable("its metadata cannot be read"))?;
        if metadata.issuer == issuer {
            Ok(metadata)
        } else {
            Err(FetchError::Unusable("its metadata name another issuer"))
        }
    }
}

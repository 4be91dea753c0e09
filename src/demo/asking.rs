//! Asking: each question over HTTP as a consumer would, its answer compared with the expected one.

use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::DemoError;
use super::questions::{Credentials, Question};

/// Between two looks at a bridge that is not ready yet.
const READY_PAUSE: Duration = Duration::from_millis(20);

/// What the issuer of the simulated core gave.
pub(super) struct Tokens {
    good: String,
    of_first: String,
    expired: String,
}

/// An answer that is not the expected one, or none.
#[derive(Debug, thiserror::Error)]
pub enum Unexpected {
    /// The bridge did not get ready.
    #[error("the bridge was not ready in time")]
    NotReady,
    /// The issuer of the simulated core gave no token.
    #[error("no token from the simulated core")]
    NoToken,
    /// The bridge could not be asked.
    #[error("{0}: no answer")]
    NoAnswer(&'static str),
    /// The answer is another one.
    #[error("{0}: not the expected answer, which is {1}")]
    Other(&'static str, &'static str),
}

impl Question {
    fn path(&self) -> String {
        format!("/device-identifier/{}/{}", self.version, self.operation)
    }

    fn token<'a>(&self, tokens: &'a Tokens) -> Option<&'a str> {
        match self.credentials {
            Credentials::Good => Some(&tokens.good),
            Credentials::OfFirst => Some(&tokens.of_first),
            Credentials::Expired => Some(&tokens.expired),
            Credentials::None => None,
        }
    }

    /// A command line that asks it.
    pub(super) fn curl(&self, api: SocketAddr, tokens: &Tokens) -> impl fmt::Display {
        let token = self.token(tokens).map_or_else(String::new, |token| {
            format!(" -H 'authorization: Bearer {token}'")
        });
        format!(
            "# {}\ncurl -s http://{api}{} -H 'content-type: application/json'{token} -d '{}'",
            self.about,
            self.path(),
            self.body
        )
    }

    /// Asks it and gives the answer where it is the expected one.
    async fn ask(&self, api: SocketAddr, tokens: &Tokens) -> Result<String, Unexpected> {
        let mut request = Request::post(self.path())
            .header("host", api.to_string())
            .header("content-type", "application/json");
        if let Some(token) = self.token(tokens) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request
            .body(Full::from(self.body))
            .map_err(|_| Unexpected::NoAnswer(self.about))?;
        let (status, body) = exchange(api, request)
            .await
            .ok_or(Unexpected::NoAnswer(self.about))?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if status == self.status && has_members(&text, self.expected) {
            Ok(text)
        } else {
            Err(Unexpected::Other(self.about, self.expected))
        }
    }
}

/// Asks every one of the questions and prints it with its answer; ends at the first that is not as
/// expected.
pub(super) async fn ask_all(
    questions: &[&Question],
    api: SocketAddr,
    tokens: &Tokens,
) -> Result<(), DemoError> {
    for question in questions {
        writeln!(io::stdout(), "{}", question.curl(api, tokens))?;
        let answer = question.ask(api, tokens).await?;
        writeln!(io::stdout(), "{answer}\n")?;
    }
    writeln!(
        io::stdout(),
        "{} questions, every answer as expected",
        questions.len()
    )?;
    Ok(())
}

impl Tokens {
    /// Tokens of the demo's consumer, from the issuer beside the simulated core.
    pub(super) async fn fetch(control: SocketAddr) -> Result<Self, Unexpected> {
        let fetch = async |more: &str| {
            let token = fetch_token(control, more).await;
            token.ok_or(Unexpected::NoToken)
        };
        Ok(Self {
            good: fetch(&format!("expires_in={GOOD_FOR}")).await?,
            of_first: fetch(&format!("expires_in={GOOD_FOR}&{FIRST_HINT}")).await?,
            expired: fetch(&format!("expires_in={EXPIRED_FOR}")).await?,
        })
    }
}

/// Seconds for which the demo's token is good: a working day.
const GOOD_FOR: i32 = 8 * 60 * 60;
/// Beyond any leeway.
const EXPIRED_FOR: i32 = -3600;

/// Makes a token name the first subscriber's device.
const FIRST_HINT: &str = "login_hint=tel:%2B123456789";
/// Every operation, as a form writes them.
const SCOPES: &str = "device-identifier:retrieve-identifier%20device-identifier:retrieve-type%20\
    device-identifier:retrieve-ppid%20device-identifier:match-identifier";

async fn fetch_token(control: SocketAddr, more: &str) -> Option<String> {
    let form = format!("grant_type=client_credentials&client_id=demo&scope={SCOPES}&{more}");
    let request = Request::post("/oidc/token")
        .header("host", control.to_string())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::from(form))
        .ok()?;
    let (status, body) = exchange(control, request).await?;
    let answer: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let token = answer.get("access_token")?.as_str()?.to_owned();
    (status == StatusCode::OK).then_some(token)
}

/// Looks at `/readyz` until it is 200.
pub(super) async fn wait_until_ready(
    admin: SocketAddr,
    longest: Duration,
) -> Result<(), Unexpected> {
    let end = Instant::now() + longest;
    while Instant::now() < end {
        let request = Request::builder()
            .method(Method::GET)
            .uri("/readyz")
            .header("host", admin.to_string())
            .body(Full::default())
            .map_err(|_| Unexpected::NotReady)?;
        if exchange(admin, request)
            .await
            .is_some_and(|(status, _)| status == StatusCode::OK)
        {
            return Ok(());
        }
        tokio::time::sleep(READY_PAUSE).await;
    }
    Err(Unexpected::NotReady)
}

/// One request over a connection of its own.
async fn exchange(to: SocketAddr, request: Request<Full<Bytes>>) -> Option<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(to).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.ok()?;
    let status = response.status();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    connection.abort();
    Some((status, body))
}

/// Whether the object `text` has the members of `expected` with their values, and none of those
/// that are `null` there.
fn has_members(text: &str, expected: &str) -> bool {
    let read = |text| serde_json::from_str::<serde_json::Map<_, _>>(text);
    let (Ok(object), Ok(expected)) = (read(text), read(expected)) else {
        return false;
    };
    expected.iter().all(|(name, value)| match object.get(name) {
        None => value.is_null(),
        Some(found) => match value.get("hexDigits").and_then(serde_json::Value::as_u64) {
            Some(length) => found.as_str().is_some_and(|text| is_hex(text, length)),
            None => found == value,
        },
    })
}

fn is_hex(text: &str, length: u64) -> bool {
    u64::try_from(text.len()) == Ok(length)
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

//! A core that answers each request as its test says, and remembers what it was asked.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapters::sbi::{ApiRoot, Client, Metrics, NfType, Settings};
use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Empty where the request has none.
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What becomes of one request.
pub(crate) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    },
    Reset(Reason),
    /// The head and a part of the body, then this reset.
    HalfBody(Reason),
    /// Nothing, until the client goes away.
    Hang,
    /// This, after a while.
    Later(Duration, Box<Reply>),
}

impl Reply {
    /// JSON with this status.
    pub(crate) fn json(status: u16, body: impl Into<String>) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self::Answer {
            status,
            headers,
            body: Bytes::from(body.into()),
        }
    }

    /// A status and nothing else.
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.retain(|(known, _)| *known != name);
            headers.push((name, value.to_owned()));
        }
        self
    }
}

#[derive(Default)]
struct Seen {
    asked: Mutex<Vec<Asked>>,
    resets: Mutex<Vec<Reason>>,
    /// Streams now, and the most there ever were.
    open: Mutex<(usize, usize)>,
}

/// The scripted core; ends with everything it serves when it is dropped.
pub(crate) struct Core {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

impl Core {
    /// Serves `reply`, which is told what is asked and how many requests came before.
    pub(crate) async fn start(
        reply: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_at(
            "127.0.0.1:0".parse().unwrap(),
            h2::server::Builder::new(),
            reply,
        )
        .await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        builder: h2::server::Builder,
        reply: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let reply = Arc::new(reply);
        let mut tasks = JoinSet::new();
        let in_task = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, reply, builder) =
                    (Arc::clone(&in_task), Arc::clone(&reply), builder.clone());
                connections.spawn(serve(stream, builder, seen, reply));
            }
        });
        Self {
            address,
            seen,
            _tasks: tasks,
        }
    }

    pub(crate) fn root(&self) -> ApiRoot {
        format!("http://{}", self.address).parse().unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.seen.asked.lock().unwrap().clone()
    }

    pub(crate) fn resets(&self) -> Vec<Reason> {
        self.seen.resets.lock().unwrap().clone()
    }

    pub(crate) fn most_streams(&self) -> usize {
        self.seen.open.lock().unwrap().1
    }
}

async fn serve(
    stream: TcpStream,
    builder: h2::server::Builder,
    seen: Arc<Seen>,
    script: Arc<impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static>,
) {
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        {
            let mut open = seen.open.lock().unwrap();
            *open = (open.0 + 1, open.1.max(open.0 + 1));
        }
        let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
        streams.spawn(async move {
            let (head, mut stream) = request.into_parts();
            let mut body = Vec::new();
            while let Some(Ok(chunk)) = stream.data().await {
                body.extend_from_slice(&chunk);
            }
            let asked = Asked {
                method: head.method.to_string(),
                path: head.uri.path_and_query().unwrap().to_string(),
                headers: head.headers,
                body: String::from_utf8(body).unwrap(),
            };
            let before = {
                let mut all = seen.asked.lock().unwrap();
                all.push(asked.clone());
                all.len() - 1
            };
            play(script(&asked, before), respond, &seen).await;
            seen.open.lock().unwrap().0 -= 1;
        });
    }
}

async fn play(reply: Reply, mut respond: SendResponse<Bytes>, seen: &Seen) {
    match reply {
        Reply::Answer {
            status,
            headers,
            body,
        } => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let empty = body.is_empty();
            if let Ok(mut stream) = respond.send_response(response.body(()).unwrap(), empty)
                && !empty
            {
                let _ = stream.send_data(body, true);
            }
        }
        Reply::Reset(reason) => respond.send_reset(reason),
        Reply::HalfBody(reason) => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream
                .send_data(Bytes::from_static(b"{\"pei\":"), false)
                .unwrap();
            // The part has to be on its way before the reset overtakes it.
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.send_reset(reason);
        }
        Reply::Later(wait, reply) => {
            tokio::time::sleep(wait).await;
            Box::pin(play(*reply, respond, seen)).await;
        }
        Reply::Hang => {
            if let Ok(reason) = poll_fn(|cx| respond.poll_reset(cx)).await {
                seen.resets.lock().unwrap().push(reason);
            }
        }
    }
}

/// Settings that do not make a test wait.
pub(crate) fn quick() -> Settings {
    Settings {
        connections_per_endpoint: 1,
        ..Settings::default()
    }
}

pub(crate) fn metrics() -> (prometheus::Registry, Metrics) {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    (registry, metrics)
}

pub(crate) fn client(nf: NfType, roots: Vec<ApiRoot>, settings: &Settings) -> Client {
    Client::new(nf, roots, settings, metrics().1)
}

/// The connections that take requests.
pub(crate) fn ready(registry: &prometheus::Registry) -> usize {
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    let line = text
        .lines()
        .find_map(|line| line.split_once(r#"state="ready"} "#))
        .unwrap();
    line.1.parse().unwrap()
}

/// A deadline that only a fault reaches.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Waits, generously, for what has to come.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < limit, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// An address at which nobody listens.
pub(crate) async fn vacant() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

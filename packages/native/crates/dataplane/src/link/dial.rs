//! Links that this process opens.

use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::engine::Engine;
use crate::error::{Code, Error, Result};
use crate::link::body::{AckBody, SliceBody};
use crate::link::frames::{Frames, read_replies, with_sources};
use crate::link::inlet::Inlet;
use crate::link::mailbox::Mailbox;
use crate::link::party::is_party;
use crate::link::socket::Socket;
use crate::link::table::OnPanic;
use crate::link::{AckSender, CallBody, Outlet, PARTY_KEY, PULL_PATH, PUSH_PATH, Status};
use crate::lock;
use crate::options::PlaneOptions;
use crate::tls;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Push only: the peer dials back for its own slices.
    Rank,
    /// Push and Pull: nobody can dial this process.
    Owner,
}

pub(crate) struct Dial {
    pub(crate) link: String,
    pub(crate) address: String,
    pub(crate) party: String,
    pub(crate) kind: Kind,
    pub(crate) deadline: Duration,
}

/// Tells the caller how dialling went: once, even if the plane goes away before.
pub(crate) struct Done(Option<Box<dyn FnOnce(Result<()>) + Send>>);

impl Done {
    pub(crate) fn new(done: Box<dyn FnOnce(Result<()>) + Send>) -> Done {
        Done(Some(done))
    }

    fn tell(mut self, result: Result<()>) {
        self.0.take().into_iter().for_each(|done| done(result.clone()));
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        let cancelled = || Err(Error::new(Code::Cancelled, "the link was replaced or its plane closed"));
        self.0.take().into_iter().for_each(|done| done(cancelled()));
    }
}

/// Opens a link and keeps it until it breaks. `id` is its place in the table.
pub(crate) async fn dial(engine: Arc<Engine>, dial: Dial, id: u64, done: Done) {
    let Dial { link, address, deadline, .. } = &dial;
    let _on_panic = OnPanic { engine: &engine, link, id };
    let connected = timeout(*deadline, connect(&engine, &dial)).await.unwrap_or_else(|_| {
        let message = format!("link {link}: {address} did not answer within {} ms", deadline.as_millis());
        Err(Error::new(Code::Deadline, message))
    });
    match connected {
        Ok(connected) => {
            if lock(&engine.links).finish_dial(link, id, connected.outlet.clone()) {
                done.tell(Ok(()));
                let reason = connected.run(&engine).await;
                engine.link_lost(link, id, &reason.message);
            }
        }
        Err(error) => {
            engine.dial_failed(link, id);
            done.tell(Err(error));
        }
    }
}

struct Connected {
    outlet: Arc<Outlet>,
    push: Frames,
    pull: Option<(Inlet, Frames)>,
    connection: Connection,
    /// Kept, because the connection ends when nobody can make requests on it.
    requests: SendRequest<CallBody>,
}

/// The task that moves a connection's bytes; dropping it closes the socket.
struct Connection(JoinHandle<Status>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connect(engine: &Arc<Engine>, dial: &Dial) -> Result<Connected> {
    if !is_party(&dial.party) {
        let message =
            format!("{PARTY_KEY}: {:?}, expected rank/<index>/<member> or owner/<index>/<job>/<session>", dial.party);
        return Err(Error::new(Code::Config, message));
    }
    let (socket, sharing) = match Socket::by_unix(&dial.address, engine.options.transport, engine.arena.as_ref()).await
    {
        Some(found) => found,
        None => (by_tcp(engine, dial).await?, None),
    };
    let refusal = socket.refusal();
    let lost = |reason: String| match refusal.get() {
        Some(refusal) => unauthenticated(dial, refusal),
        None => lost(dial, &reason),
    };
    let scheme = if engine.tls.is_some() && !socket.is_unix() { "https" } else { "http" };
    let origin = format!("{scheme}://{}", dial.address);
    let counted = engine.traffic.count_connection(socket.is_unix(), sharing.is_some());
    let (mut requests, connection) =
        builder(&engine.options).handshake(TokioIo::new(socket)).await.map_err(|error| lost(with_sources(&error)))?;
    let connection = Connection(tokio::spawn(async move {
        let reason =
            connection.await.map_or_else(|error| with_sources(&error), |()| "the connection was closed".into());
        drop(counted);
        Status::new(Status::UNAVAILABLE, reason)
    }));

    let patience = engine.options.slow_peer_timeout;
    let outlet = Arc::new(Outlet::waiting());
    outlet.attach();
    let slices = SliceBody::new(outlet.clone(), engine, sharing.clone(), None);
    let push = call(&mut requests, dial, format!("{origin}{PUSH_PATH}"), CallBody::Slices(slices));
    let push = Frames::new(push.await.map_err(|status| lost(status.message))?, patience);
    let pull = match dial.kind {
        Kind::Rank => None,
        Kind::Owner => {
            let acks = Arc::new(Mailbox::new());
            let inlet = Inlet::new(engine.clone(), AckSender::new(acks.clone()), sharing, true);
            let pull =
                call(&mut requests, dial, format!("{origin}{PULL_PATH}"), CallBody::Acks(AckBody::new(acks, None)));
            Some((inlet, Frames::new(pull.await.map_err(|status| lost(status.message))?, patience)))
        }
    };
    Ok(Connected { outlet, push, pull, connection, requests })
}

/// With TLS where there are certificates; without, strangers on the way could read and answer.
async fn by_tcp(engine: &Engine, dial: &Dial) -> Result<Socket> {
    if engine.tls.is_none() && !engine.options.insecure && !is_loopback(&dial.address) {
        let expected = "expected TLS, or insecure if all who reach it are trusted";
        let message = format!("link {} to {}: plaintext beyond loopback, {expected}", dial.link, dial.address);
        return Err(Error::new(Code::Config, message));
    }
    let lost = |error: io::Error| lost(dial, &error.to_string());
    let socket = Socket::by_tcp(&dial.address).await.map_err(lost)?;
    let Some(tls) = &engine.tls else { return Ok(socket) };
    socket.secured(tls, &dial.address).await.map_err(|error| match tls::refusal(&error) {
        Some(refusal) => unauthenticated(dial, &refusal),
        None => lost(error),
    })
}

/// Names are taken at their word: only `localhost` is known to mean this host.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    host == "localhost" || address.is_some_and(|address| address.to_canonical().is_loopback())
}

fn lost(dial: &Dial, reason: &str) -> Error {
    Error::new(Code::PeerLost, format!("link {} to {}: {reason}", dial.link, dial.address))
}

fn unauthenticated(dial: &Dial, refusal: &str) -> Error {
    Error::new(Code::Unauthenticated, format!("link {} to {}: {refusal}", dial.link, dial.address))
}

fn builder(options: &PlaneOptions) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(options.stream_window_bytes)
        .initial_connection_window_size(options.connection_window_bytes)
        .max_frame_size(options.frame_bytes)
        .keep_alive_interval(options.silent_peer_timeout / 2)
        .keep_alive_timeout(options.silent_peer_timeout / 2)
        .keep_alive_while_idle(true);
    builder
}

/// Opens a call and waits until the peer has taken it.
async fn call(
    requests: &mut SendRequest<CallBody>,
    dial: &Dial,
    uri: String,
    body: CallBody,
) -> std::result::Result<Incoming, Status> {
    let broken = |error: hyper::Error| Status::new(Status::UNAVAILABLE, with_sources(&error));
    let invalid = |error: http::Error| Status::new(Status::INVALID_ARGUMENT, error.to_string());
    let request = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header(PARTY_KEY, HeaderValue::try_from(&dial.party).map_err(|error| invalid(error.into()))?)
        .body(body)
        .map_err(invalid)?;
    requests.ready().await.map_err(broken)?;
    let response = requests.send_request(request).await.map_err(broken)?;
    match Status::from_headers(response.headers()) {
        Some(status) => Err(status),
        None if !response.status().is_success() => {
            Err(Status::new(Status::UNAVAILABLE, format!("HTTP status {}", response.status())))
        }
        None => Ok(response.into_body()),
    }
}

impl Connected {
    /// Reads what comes until the link breaks; returns why.
    async fn run(self, engine: &Engine) -> Status {
        let Connected { outlet, mut push, pull, mut connection, requests: _requests } = self;
        let push = async {
            match read_replies(engine, &outlet, &mut push).await {
                Ok(()) => push.ending(),
                Err(status) => status,
            }
        };
        let pull = async {
            let Some((mut inlet, mut frames)) = pull else { return pending().await };
            match inlet.read(&mut frames).await {
                Ok(()) => frames.ending(),
                Err(status) => status,
            }
        };
        let reason = tokio::select! {
            // First the connection: when it breaks, its calls break too, and say less of why.
            biased;
            ended = &mut connection.0 => {
                ended.unwrap_or_else(|_| Status::new(Status::UNAVAILABLE, "the connection's task ended"))
            }
            status = push => status,
            status = pull => status,
        };
        outlet.cut(reason.clone());
        reason
    }
}

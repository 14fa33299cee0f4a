//! Links that peers open.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::engine::Engine;
use crate::link::body::{AckBody, SliceBody};
use crate::link::frames::{Frames, read_replies};
use crate::link::inlet::Inlet;
use crate::link::mailbox::Mailbox;
use crate::link::party::is_party;
use crate::link::socket::{Listener, Socket};
use crate::link::table::OnPanic;
use crate::link::{AckSender, CallBody, CallEnd, CallKind, PARTY_KEY, PULL_PATH, PUSH_PATH, Sharing, Status};
use crate::lock;
use crate::options::PlaneOptions;

/// Out of descriptors: wait for some to be freed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Accepts connections until the runtime ends.
pub(crate) async fn serve(engine: Arc<Engine>, listener: Listener) {
    let connections = Arc::new(Semaphore::new(engine.options.connection_limit));
    loop {
        let permit = connections.clone().acquire_owned().await.expect("never closed");
        match listener.accept().await {
            Ok(Some(socket)) => {
                let engine = engine.clone();
                tokio::spawn(async move {
                    serve_connection(engine, socket).await;
                    drop(permit);
                });
            }
            Ok(None) => (),
            Err(_) => sleep(ACCEPT_BACKOFF).await,
        }
    }
}

/// Calls that began and ended on one connection.
struct Activity {
    connection: u64,
    /// What both ends of it read in place.
    sharing: Option<Arc<Sharing>>,
    began: AtomicU64,
    ended: AtomicU64,
}

async fn serve_connection(engine: Arc<Engine>, socket: Socket) {
    let patience = engine.options.slow_peer_timeout;
    let socket = match &engine.tls {
        Some(tls) => timeout(patience, socket.accepted(tls)).await.ok().flatten(),
        None => Some(socket),
    };
    let Some(socket) = socket else { return };
    let accepted = timeout(patience, socket.accept_sharing(engine.arena.as_ref())).await;
    let Ok(Ok(sharing)) = accepted else { return };
    let socket = socket.expecting_preface(patience);
    let _counted = engine.traffic.count_connection(socket.is_unix(), sharing.is_some());
    let connection = lock(&engine.links).new_id();
    let activity = Arc::new(Activity { connection, sharing, began: AtomicU64::new(0), ended: AtomicU64::new(0) });
    let service = {
        let (engine, activity) = (engine.clone(), activity.clone());
        service_fn(move |request| {
            activity.began.fetch_add(1, Ordering::Relaxed);
            let response = answer(&engine, request, ActiveCall(activity.clone()));
            async move { Ok::<_, Infallible>(response) }
        })
    };
    let mut connection = std::pin::pin!(builder(&engine.options).serve_connection(TokioIo::new(socket), service));
    let mut idle = interval(patience);
    idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
    idle.tick().await;
    let mut began_before = 0;
    let mut told_to_go = false;
    loop {
        tokio::select! {
            // How it ended is known to its calls, if there were any.
            _ = &mut connection => return,
            _ = idle.tick() => {
                // Its calls cannot be ended one by one: nothing reaches such a peer.
                if lock(&engine.links).is_stalled(activity.connection, patience) {
                    return;
                }
                let began = activity.began.load(Ordering::Relaxed);
                if began == began_before && activity.ended.load(Ordering::Relaxed) == began {
                    // It had as long again to read that and go.
                    if told_to_go {
                        return;
                    }
                    connection.as_mut().graceful_shutdown();
                    told_to_go = true;
                }
                began_before = began;
            }
        }
    }
}

fn builder(options: &PlaneOptions) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(options.stream_window_bytes)
        .initial_connection_window_size(options.connection_window_bytes)
        .max_frame_size(options.frame_bytes)
        .max_concurrent_streams(options.stream_limit)
        .keep_alive_interval(options.silent_peer_timeout / 2)
        .keep_alive_timeout(options.silent_peer_timeout / 2);
    builder
}

/// A call that has begun; dropped with its response.
pub(super) struct ActiveCall(Arc<Activity>);

impl Drop for ActiveCall {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

fn answer(engine: &Arc<Engine>, request: Request<Incoming>, active: ActiveCall) -> Response<CallBody> {
    match open(engine, request, active) {
        Ok(body) => {
            let mut response = Response::new(body);
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            response
        }
        Err(status) => status.into_response(),
    }
}

fn open(engine: &Arc<Engine>, request: Request<Incoming>, active: ActiveCall) -> Result<CallBody, Status> {
    let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    if request.method() != Method::POST || !request.headers().get("content-type").is_some_and(is_grpc) {
        return Err(Status::new(Status::UNIMPLEMENTED, "expected a gRPC call"));
    }
    let open = match request.uri().path() {
        PUSH_PATH => open_push,
        PULL_PATH => open_pull,
        path => return Err(Status::new(Status::UNIMPLEMENTED, format!("unknown method {path}"))),
    };
    let party = request.headers().get(PARTY_KEY).and_then(|value| value.to_str().ok());
    let Some(party) = party.filter(|party| is_party(party)) else {
        let message =
            format!("{PARTY_KEY}: {party:?}, expected rank/<index>/<member> or owner/<index>/<job>/<session>");
        return Err(Status::new(Status::INVALID_ARGUMENT, message));
    };
    let party = party.to_string();
    Ok(open(engine, party, Frames::new(request.into_body(), engine.options.slow_peer_timeout), active))
}

/// Slices come in, acks go out.
fn open_push(engine: &Arc<Engine>, link: String, mut frames: Frames, active: ActiveCall) -> CallBody {
    let acks = Arc::new(Mailbox::new());
    let id = enter(engine, &link, &active, CallKind::Push(acks.clone()));
    let mut inlet = Inlet::new(engine.clone(), AckSender::new(acks.clone()), active.0.sharing.clone(), false);
    let body = AckBody::new(acks.clone(), Some(CallEnd::new(engine.clone(), link.clone(), id, active)));
    spawn_reader(engine, link, id, async move {
        let read = inlet.read(&mut frames).await;
        read.inspect_err(|status| acks.finish(status.clone()))
    });
    CallBody::Acks(body)
}

/// Acks come in, slices go out.
fn open_pull(engine: &Arc<Engine>, link: String, mut frames: Frames, active: ActiveCall) -> CallBody {
    let outlet = lock(&engine.links).attach(&link);
    let id = enter(engine, &link, &active, CallKind::Pull(outlet.clone()));
    let sharing = active.0.sharing.clone();
    let end = CallEnd::new(engine.clone(), link.clone(), id, active);
    let body = SliceBody::new(outlet.clone(), engine, sharing, Some(end));
    let reads_for = engine.clone();
    spawn_reader(engine, link, id, async move {
        let read = read_replies(&reads_for, &outlet, &mut frames).await;
        read.inspect_err(|status| outlet.cut(status.clone()))
    });
    CallBody::Slices(body)
}

fn enter(engine: &Engine, link: &str, active: &ActiveCall, kind: CallKind) -> u64 {
    let (id, replaced) = lock(&engine.links).enter(link, active.0.connection, kind);
    replaced.end(Status::new(Status::ABORTED, "replaced by a new call of the same party"));
    id
}

/// Reads what a peer sends on a call. That it stops sending does not end the call: it may still want the answers.
fn spawn_reader(
    engine: &Arc<Engine>,
    link: String,
    id: u64,
    read: impl Future<Output = Result<(), Status>> + Send + 'static,
) {
    let mut links = lock(&engine.links);
    let (reads_for, name) = (engine.clone(), link.clone());
    let task = tokio::spawn(async move {
        let _on_panic = OnPanic { engine: &reads_for, link: &name, id };
        if let Err(status) = read.await {
            reads_for.link_lost(&name, id, &status.message);
        }
    });
    links.set_reader(&link, id, task.abort_handle());
}

//! A stock gRPC client (tonic) and the messages of the proto.

use std::future::{Ready, ready};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;
use ulysses_dataplane::{Party, Receive, Region, Role, StepRegistration, Tensor};

use super::{DEADLINE, Process, owner, rank, registration, whole};

#[derive(Clone, PartialEq, prost::Message)]
pub struct StepKey {
    #[prost(string, tag = "1")]
    pub job: String,
    #[prost(string, tag = "2")]
    pub session: String,
    #[prost(uint64, tag = "3")]
    pub call: u64,
    #[prost(int32, tag = "4")]
    pub pass: i32,
    #[prost(uint32, tag = "5")]
    pub attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PartyMessage {
    #[prost(int32, tag = "1")]
    pub role: i32,
    #[prost(uint32, tag = "2")]
    pub index: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Slice {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(message, optional, tag = "2")]
    pub step: Option<StepKey>,
    #[prost(message, optional, tag = "3")]
    pub source: Option<PartyMessage>,
    #[prost(message, optional, tag = "4")]
    pub destination: Option<PartyMessage>,
    #[prost(int32, tag = "5")]
    pub tensor: i32,
    #[prost(uint32, tag = "6")]
    pub segment: u32,
    #[prost(uint64, tag = "7")]
    pub offset_bytes: u64,
    #[prost(uint64, tag = "8")]
    pub segment_bytes: u64,
    #[prost(message, optional, tag = "9")]
    pub shared: Option<SharedRows>,
    #[prost(bytes = "vec", tag = "15")]
    pub payload: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct SharedRows {
    #[prost(uint64, tag = "1")]
    pub offset_bytes: u64,
    #[prost(uint64, tag = "2")]
    pub rows: u64,
    #[prost(uint64, tag = "3")]
    pub row_bytes: u64,
    #[prost(uint64, tag = "4")]
    pub row_stride_bytes: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ErrorMessage {
    #[prost(string, tag = "1")]
    pub code: String,
    #[prost(string, tag = "2")]
    pub message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Ack {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(message, optional, tag = "2")]
    pub step: Option<StepKey>,
    #[prost(message, optional, tag = "3")]
    pub source: Option<PartyMessage>,
    #[prost(message, optional, tag = "4")]
    pub destination: Option<PartyMessage>,
    #[prost(uint64, tag = "5")]
    pub bytes: u64,
    #[prost(message, optional, tag = "6")]
    pub error: Option<ErrorMessage>,
}

/// PushRequest and PullResponse.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SliceEnvelope {
    #[prost(message, optional, tag = "1")]
    pub slice: Option<Slice>,
}

/// PushResponse and PullRequest.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AckEnvelope {
    #[prost(message, optional, tag = "1")]
    pub ack: Option<Ack>,
    #[prost(uint64, tag = "2")]
    pub released: u64,
}

pub const PARTY: &str = "owner/0/job/session";

pub fn party(party: Party) -> Option<PartyMessage> {
    let role = if party.role == Role::Rank { 1 } else { 2 };
    Some(PartyMessage { role, index: party.index })
}

pub fn step(call: u64) -> Option<StepKey> {
    Some(StepKey { job: "job".into(), session: "session".into(), call, pass: 1, attempt: 0 })
}

/// A slice of the only segment of q, from owner 0 to rank 0.
pub fn slice(call: u64, offset: usize, segment_bytes: usize, payload: &[u8]) -> SliceEnvelope {
    SliceEnvelope {
        slice: Some(Slice {
            epoch: 1,
            step: step(call),
            source: party(owner(0)),
            destination: party(rank(0)),
            tensor: 1,
            segment: 0,
            offset_bytes: offset as u64,
            segment_bytes: segment_bytes as u64,
            shared: None,
            payload: payload.to_vec(),
        }),
    }
}

pub struct Stock {
    runtime: Runtime,
    channel: Channel,
}

type Opened<Out, In> = Result<(UnboundedSender<Out>, Streaming<In>), Status>;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn endpoint(to: &Process) -> Endpoint {
    Endpoint::from_shared(format!("http://{}", to.address())).unwrap()
}

/// Gives its socket to the one connection that it is asked for.
struct Connected(Option<UnixStream>);

impl Service<Uri> for Connected {
    type Response = TokioIo<tokio::net::UnixStream>;
    type Error = std::io::Error;
    type Future = Ready<std::io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let socket = self.0.take().expect("one connection");
        socket.set_nonblocking(true).unwrap();
        ready(tokio::net::UnixStream::from_std(socket).map(TokioIo::new))
    }
}

impl Stock {
    pub fn connect(to: &Process) -> Stock {
        let (runtime, endpoint) = (runtime(), endpoint(to));
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Stock { runtime, channel }
    }

    /// Over a socket that is connected already.
    pub fn over(socket: UnixStream, to: &Process) -> Stock {
        let runtime = runtime();
        let channel = runtime.block_on(endpoint(to).connect_with_connector(Connected(Some(socket)))).unwrap();
        Stock { runtime, channel }
    }

    pub fn open<Out, In>(&self, method: &'static str, party: Option<&'static str>) -> Opened<Out, In>
    where
        Out: prost::Message + Default + 'static,
        In: prost::Message + Default + 'static,
    {
        let (sender, receiver) = unbounded_channel();
        let mut request = Request::new(UnboundedReceiverStream::new(receiver));
        if let Some(party) = party {
            request.metadata_mut().insert("ulysses-party", party.parse().unwrap());
        }
        let response = self.within(async {
            let mut client = Grpc::new(self.channel.clone());
            client.ready().await.unwrap();
            client.streaming(request, PathAndQuery::from_static(method), ProstCodec::default()).await
        })?;
        Ok((sender, response.into_inner()))
    }

    pub fn push(&self) -> (UnboundedSender<SliceEnvelope>, Streaming<AckEnvelope>) {
        self.open("/ulysses.v1.TensorPlaneService/Push", Some(PARTY)).unwrap()
    }

    pub fn pull(&self) -> (UnboundedSender<AckEnvelope>, Streaming<SliceEnvelope>) {
        self.open("/ulysses.v1.TensorPlaneService/Pull", Some(PARTY)).unwrap()
    }

    pub fn within<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await.expect("in time") })
    }

    pub fn next<In>(&self, stream: &mut Streaming<In>) -> Result<Option<In>, Status> {
        self.within(stream.message())
    }
}

/// Registers a step of rank 0 that gets `bytes` from owner 0.
pub fn expect(at: &Process, call: u64, bytes: usize) -> Region {
    let received = at.pool.allocate(bytes).unwrap();
    let receives = vec![Receive { source: owner(0), tensor: Tensor::Q, segments: vec![whole(&received)] }];
    at.plane.register_step(StepRegistration { receives, ..registration(call, rank(0)) }).unwrap();
    received
}

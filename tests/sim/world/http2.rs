//! Clients and origins of HTTP/2: the library's own over a scripted peer, and frames by hand for what it would never
//! send.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Host, Peer, World};

/// A peer as the library wants it.
struct PeerIo(Peer);

impl AsyncRead for PeerIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let octets = ready!(self.0.poll_some(cx, into.remaining()))?;
        into.put_slice(&octets);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PeerIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_send(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.finish();
        Poll::Ready(Ok(()))
    }
}

/// A client that keeps the rules.
pub struct Http2 {
    requests: SendRequest<Bytes>,
}

/// What came of a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

impl Answer {
    pub fn text(&self) -> String {
        super::text(&self.body)
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A request with these fields.
pub fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::builder().method(method).uri(format!("http://a{path}"));
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}

impl Http2 {
    /// Sends a request, which has content if `more`.
    pub async fn send(&mut self, request: Request<()>, more: bool) -> (ResponseFuture, SendStream<Bytes>) {
        std::future::poll_fn(|cx| self.requests.poll_ready(cx)).await.unwrap();
        self.requests.send_request(request, !more).unwrap()
    }

    /// The answer to a request without content.
    pub async fn ask(&mut self, request: Request<()>) -> Answer {
        let (response, _) = self.send(request, false).await;
        answer(response).await.unwrap()
    }

    /// The answer to `GET`.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask(request("GET", path, &[])).await
    }

    /// Whether the server takes an extended CONNECT.
    pub fn may_connect(&self) -> bool {
        self.requests.is_extended_connect_protocol_enabled()
    }

    /// Whether the connection still takes requests.
    pub async fn is_open(&mut self) -> bool {
        std::future::poll_fn(|cx| self.requests.poll_ready(cx)).await.is_ok()
    }
}

/// The whole answer, or why there is none.
pub async fn answer(response: ResponseFuture) -> Result<Answer, Option<Reason>> {
    let response = response.await.map_err(|error| error.reason())?;
    let (head, mut content) = response.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = content.data().await {
        let chunk = chunk.map_err(|error| error.reason())?;
        content.flow_control().release_capacity(chunk.len()).unwrap();
        body.extend(chunk);
    }
    let trailers = content.trailers().await.map_err(|error| error.reason())?.unwrap_or_default();
    Ok(Answer { status: head.status.as_u16(), fields: head.headers, body, trailers })
}

impl World {
    /// A client of the listener `public` that speaks HTTP/2.
    pub async fn http2(&self) -> Http2 {
        self.http2_with(|_| {}).await
    }

    /// The same with settings of its own.
    pub async fn http2_with(&self, settings: impl FnOnce(&mut Builder)) -> Http2 {
        let mut builder = Builder::new();
        settings(&mut builder);
        let (requests, connection) = builder.handshake(PeerIo(self.client())).await.unwrap();
        self.spawn(async move {
            let _ = connection.await;
        });
        Http2 { requests }
    }

    /// The same on a connection that something was said on before.
    pub async fn http2_on(&self, peer: Peer) -> Http2 {
        let (requests, connection) = Builder::new().handshake(PeerIo(peer)).await.unwrap();
        self.spawn(async move {
            let _ = connection.await;
        });
        Http2 { requests }
    }

    /// A client that writes frames by hand, after the preface and empty settings.
    pub async fn frames(&self) -> Frames {
        let peer = self.client();
        let frames = Frames { peer, received: Vec::new() };
        frames.peer.send(PREFACE).await;
        frames.send(SETTINGS, 0, 0, b"").await;
        frames
    }
}

/// A request as an origin of HTTP/2 gets it, and the way to answer it.
pub type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// Answers with this status and content.
pub fn respond(mut to: SendResponse<Bytes>, status: u16, fields: &[(&str, &str)], content: &str) {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    let mut sending = to.send_response(response.body(()).unwrap(), content.is_empty()).unwrap();
    if !content.is_empty() {
        sending.send_data(Bytes::copy_from_slice(content.as_bytes()), true).unwrap();
    }
}

/// The whole content of a request, and its trailers; what came of it where it was reset.
pub async fn content(mut from: RecvStream) -> Result<(Vec<u8>, HeaderMap), Option<Reason>> {
    let mut all = Vec::new();
    while let Some(chunk) = from.data().await {
        let chunk = chunk.map_err(|error| error.reason())?;
        from.flow_control().release_capacity(chunk.len()).unwrap();
        all.extend(chunk);
    }
    Ok((all, from.trailers().await.map_err(|error| error.reason())?.unwrap_or_default()))
}

impl World {
    /// Lets an origin that speaks HTTP/2 serve each request to `address` with `serve`, all at once.
    pub fn http2_origin<F: Future<Output = ()> + 'static>(
        &self,
        address: &str,
        serve: impl Fn(Asked) -> F + 'static,
    ) -> Rc<Host> {
        self.http2_origin_with(address, |_| {}, serve)
    }

    /// The same with settings of its own.
    pub fn http2_origin_with<F: Future<Output = ()> + 'static>(
        &self,
        address: &str,
        settings: impl Fn(&mut server::Builder) + 'static,
        serve: impl Fn(Asked) -> F + 'static,
    ) -> Rc<Host> {
        let (serve, world) = (Rc::new(serve), self.clone());
        let settings = Rc::new(settings);
        self.origin(address, move |peer| {
            let (serve, world, settings) = (serve.clone(), world.clone(), settings.clone());
            async move {
                let mut builder = server::Builder::new();
                settings(&mut builder);
                let Ok(mut connection) = builder.handshake(PeerIo(peer)).await else { return };
                while let Some(Ok(asked)) = connection.accept().await {
                    world.spawn(serve(asked));
                }
            }
        })
    }
}

impl Frames {
    /// An origin's side of a connection that a client of HTTP/2 has begun; after its preface and ours.
    pub async fn of_origin(mut peer: Peer) -> Self {
        peer.read_exactly(PREFACE.len()).await;
        let frames = Self { peer, received: Vec::new() };
        frames.send(SETTINGS, 0, 0, b"").await;
        frames
    }
}

pub const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code at `from`, as RST_STREAM (0) and GOAWAY (4) have it.
    pub fn code(&self, from: usize) -> Reason {
        u32::from_be_bytes(self.payload[from..from + 4].try_into().unwrap()).into()
    }
}

/// A frame to send.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block, every field literal and never indexed.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        assert!(text.len() < 127);
        [&[text.len() as u8], text.as_bytes()].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0x10], text(name), text(value)].concat()).collect()
}

/// The block of a plain GET with these fields behind.
pub fn get(fields: &[(&str, &str)]) -> Vec<u8> {
    block(&[&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")], fields].concat())
}

/// A client that writes frames by hand.
pub struct Frames {
    pub peer: Peer,
    received: Vec<u8>,
}

impl Frames {
    pub async fn send(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.peer.send(frame(kind, flags, stream, payload)).await;
    }

    /// The next frame; none at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((head, rest)) = self.received.split_first_chunk::<9>() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if rest.len() >= length {
                    let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
                    let frame = Frame { kind: head[3], flags: head[4], stream, payload: rest[..length].to_vec() };
                    self.received.drain(..9 + length);
                    return Some(frame);
                }
            }
            match self.peer.read_some(usize::MAX).await {
                Ok(octets) if !octets.is_empty() => self.received.extend(octets),
                _ => return None,
            }
        }
    }

    /// The next frame of a kind; those before it are passed over.
    pub async fn of_kind(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// With what code the stream was reset.
    pub async fn reset_of(&mut self, stream: u32) -> Reason {
        loop {
            let frame = self.of_kind(RST_STREAM).await.expect("a reset should come");
            if frame.stream == stream {
                return frame.code(0);
            }
        }
    }

    /// With what code the connection was ended.
    pub async fn goaway(&mut self) -> Reason {
        self.of_kind(GOAWAY).await.expect("a GOAWAY should come").code(4)
    }
}

/// The outcome, unless so much time passes before.
pub async fn within<F: Future>(world: &World, time: std::time::Duration, future: F) -> Option<F::Output> {
    let (mut future, mut alarm) = (std::pin::pin!(future), std::pin::pin!(world.sleep(time)));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => alarm.as_mut().poll(cx).map(|()| None),
    })
    .await
}

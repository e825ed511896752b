//! A scripted end of a connection: a client, or an origin's side of one.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Inner;
use super::executor::Half;
use super::link::{self, Link, Outcome, Side};
use super::message::{Message, NoBody, parse};

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order.
    Finished,
    Reset,
}

/// A scripted end of a connection.
pub struct Peer {
    inner: Rc<Inner>,
    link: Rc<Link>,
    side: Side,
    ahead: Vec<u8>,
    let_go: Cell<bool>,
}

impl Peer {
    pub fn new(inner: &Rc<Inner>, link: &Rc<Link>, side: Side) -> Self {
        Self { inner: inner.clone(), link: link.clone(), side, ahead: Vec::new(), let_go: Cell::new(false) }
    }

    /// The link itself, for its figures and faults.
    pub fn link(&self) -> &Rc<Link> {
        &self.link
    }

    fn now(&self) -> u64 {
        self.inner.executor.now()
    }

    /// Writes all of it; a peer that has gone is no failure of the test.
    pub async fn send(&self, octets: impl AsRef<[u8]>) {
        let _ = self.try_send(octets).await;
    }

    /// Writes all of it, or says what happened.
    pub async fn try_send(&self, octets: impl AsRef<[u8]>) -> io::Result<()> {
        let octets = octets.as_ref();
        let mut from = 0;
        while from < octets.len() {
            from += poll_fn(|cx| self.poll_send(cx, &octets[from..])).await?;
        }
        Ok(())
    }

    /// Writes as much of it as there is room for.
    pub fn poll_send(&self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.link.write(self.side, self.now(), octets) {
            Outcome::Done(result) => Poll::Ready(result),
            Outcome::Later(at) => {
                self.link.watch(self.side, Half::Writing, cx.waker());
                link::look_at(&self.inner.executor, &self.link, self.side, Half::Writing, at);
                Poll::Pending
            }
        }
    }

    /// Reads what has arrived, at most `max` octets.
    pub async fn read_some(&mut self, max: usize) -> io::Result<Vec<u8>> {
        poll_fn(|cx| self.poll_some(cx, max)).await
    }

    /// The same as a poll.
    pub fn poll_some(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Vec<u8>>> {
        if !self.ahead.is_empty() {
            let count = max.min(self.ahead.len());
            return Poll::Ready(Ok(self.ahead.drain(..count).collect()));
        }
        let mut out = Vec::new();
        match self.link.read(self.side, self.now(), max, &mut out) {
            Outcome::Done(result) => Poll::Ready(result.map(|_| out)),
            Outcome::Later(at) => {
                self.link.watch(self.side, Half::Reading, cx.waker());
                link::look_at(&self.inner.executor, &self.link, self.side, Half::Reading, at);
                Poll::Pending
            }
        }
    }

    /// Reads up to and including `needle`.
    pub async fn read_until(&mut self, needle: &str) -> String {
        let mut all = Vec::new();
        loop {
            if let Some(at) = find(&all, needle.as_bytes()) {
                self.put_back(&mut all, at + needle.len());
                return text(&all);
            }
            match self.read_some(usize::MAX).await {
                Ok(octets) if !octets.is_empty() => all.extend(octets),
                end => panic!("no {needle:?} but {end:?} after {:?}", text(&all)),
            }
        }
    }

    fn put_back(&mut self, all: &mut Vec<u8>, from: usize) {
        let rest = all.split_off(from);
        self.ahead.splice(0..0, rest);
    }

    /// Reads exactly so many octets.
    pub async fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.read_some(count - all.len()).await {
                Ok(octets) if !octets.is_empty() => all.extend(octets),
                end => panic!("{} of {count} octets, then {end:?}", all.len()),
            }
        }
        all
    }

    /// Reads to the end of the stream.
    pub async fn rest(&mut self) -> (Vec<u8>, Ended) {
        let mut all = Vec::new();
        loop {
            match self.read_some(usize::MAX).await {
                Ok(octets) if octets.is_empty() => return (all, Ended::Finished),
                Ok(octets) => all.extend(octets),
                Err(_) => return (all, Ended::Reset),
            }
        }
    }

    /// Reads to the end of the stream, as text.
    pub async fn rest_text(&mut self) -> String {
        text(&self.rest().await.0)
    }

    /// Whether the stream ends here, without another octet.
    pub async fn closes(&mut self) -> bool {
        self.rest().await.0.is_empty()
    }

    /// One message, a head and its content; a stream that ends before its end gives an incomplete one.
    async fn message(&mut self, no_body: NoBody) -> Option<Message> {
        let mut all = std::mem::take(&mut self.ahead);
        let mut ended = false;
        loop {
            if let Some((message, used)) = parse(&all, no_body, ended) {
                self.ahead = all.split_off(used);
                return Some(message);
            }
            if ended {
                return None;
            }
            match self.read_some(usize::MAX).await {
                Ok(octets) if !octets.is_empty() => all.extend(octets),
                _ => ended = true,
            }
        }
    }

    /// The next response, to a request whose method lets it have content.
    pub async fn response(&mut self) -> Message {
        self.message(NoBody::ByStatus).await.expect("a response should arrive")
    }

    /// The next response, if there is one.
    pub async fn maybe_response(&mut self) -> Option<Message> {
        self.message(NoBody::ByStatus).await
    }

    /// The next response, to a HEAD request.
    pub async fn response_to_head(&mut self) -> Message {
        self.message(NoBody::Always).await.expect("a response should arrive")
    }

    /// The next request; none when the stream ends first.
    pub async fn request(&mut self) -> Option<Message> {
        self.message(NoBody::UnlessFramed).await
    }

    /// The head of the next request, up to the empty line.
    pub async fn request_head(&mut self) -> Message {
        let head = self.read_until("\r\n\r\n").await;
        parse(head.as_bytes(), NoBody::Always, true).expect("a whole head").0
    }

    /// Ends the sending direction.
    pub fn finish(&self) {
        self.link.finish(self.side, self.now());
    }

    /// Lets every further write of the other side fail, while what we send still arrives.
    pub fn take_no_more(&self) {
        self.link.finish(1 - self.side, self.now());
    }

    /// Closes with a reset.
    pub fn reset(self) {
        self.let_go.set(true);
        self.link.reset(self.side, self.now());
    }

    /// Lets time pass.
    pub async fn sleep(&self, time: Duration) {
        self.inner.sleep(time.as_nanos() as u64).await;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if !self.let_go.get() {
            self.link.close(self.side, self.inner.executor.now());
        }
    }
}

/// Where `needle` begins in `all`.
pub fn find(all: &[u8], needle: &[u8]) -> Option<usize> {
    all.windows(needle.len()).position(|window| window == needle)
}

/// Octets as text, for messages.
pub fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

//! The upstream of the quickstart: answers every request with what arrived.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::routing::any;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::bounded::Bounded;

/// Where the quickstart expects it, unless somebody else is there.
const ADDRESS: &str = "127.0.0.1:9902";
/// How long `/slow` takes.
const SLOW: Duration = Duration::from_secs(1);

/// A socket for the demo upstream; the kernel chooses the port if the usual one is taken.
pub fn bind() -> io::Result<TcpListener> {
    let listener = TcpListener::bind(ADDRESS).or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(Bounded::new(listener), router()).await
}

fn router() -> Router {
    Router::new().route("/slow", any(slow)).fallback(echo).layer(DefaultBodyLimit::disable())
}

async fn echo(request: Request) -> Json<Value> {
    let mut headers = Map::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        match headers.get_mut(name.as_str()) {
            Some(Value::String(before)) => before.extend([", ", &*value]),
            _ => drop(headers.insert(name.as_str().to_owned(), Value::String(value.into_owned()))),
        }
    }
    Json(json!({
        "hello": "this is the demo upstream behind Tidegate",
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "query": request.uri().query(),
        "headers": headers,
    }))
}

async fn slow(request: Request) -> Json<Value> {
    tokio::time::sleep(SLOW).await;
    echo(request).await
}

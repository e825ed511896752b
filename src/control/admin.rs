//! The API for operators: metrics, health, status, reload and drain. Who may call it stands in [`super::guard`].

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::timeout;

use super::bounded::Bounded;
use super::drain::DrainSwitch;
use super::guard::{self, Call, Denial, Rules};
use super::outcome::{Outcome, Trigger};
use super::reload::Reloads;
use super::shared::{Phase, Shared};
use super::status;
use crate::config::{BindAddress, Switched};
use crate::observe::{Registry, render_expiries};

/// No call has a body that is looked at.
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// The permissions of a Unix socket: they say who may call.
const SOCKET_MODE: u32 = 0o660;
/// How long a call may take; a reload that takes longer goes on without whoever asked.
const CALL_MAX: Duration = Duration::from_secs(60);

/// Sent with every answer: nothing here is for frames, caches or scripts.
const SECURITY_FIELDS: [(HeaderName, HeaderValue); 6] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

const INDEX: &str = "Tidegate admin API\n\nGET  /metrics\nGET  /healthz\nGET  /readyz\nGET  /status\n\
                     POST /config/reload\nPOST /drain\n";

/// What the calls act on.
#[derive(Clone)]
pub(super) struct AdminState {
    pub shared: Arc<Shared>,
    pub reloads: Reloads,
    pub drain: DrainSwitch,
    /// Whether it is reached by a Unix socket.
    pub unix: bool,
}

/// The admin API's socket.
pub(super) enum AdminSocket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// The socket could not be had.
#[derive(Debug, thiserror::Error)]
#[error("admin.bind: cannot listen on {address}: {cause}{}", hint(cause))]
pub(super) struct AdminBindError {
    address: String,
    #[source]
    cause: io::Error,
}

fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => "; choose another address for `admin.bind`, or write `admin: off`",
        _ => "",
    }
}

/// Opens the socket, unless the API is off.
pub(super) async fn bind(address: &Switched<BindAddress>) -> Result<Option<AdminSocket>, AdminBindError> {
    let Switched::On(address) = address else { return Ok(None) };
    let socket = match address {
        BindAddress::Ip(ip) => bind_tcp(*ip).map(AdminSocket::Tcp),
        BindAddress::Unix(path) => bind_unix(path).await.map(|listener| AdminSocket::Unix(listener, path.clone())),
    };
    socket.map(Some).map_err(|cause| AdminBindError { address: address.to_string(), cause })
}

fn bind_tcp(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    // The standard library sets SO_REUSEADDR and nothing that would share the port.
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn bind_unix(path: &std::path::Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    // Not the standard library's connect: it waits where somebody listens and accepts nothing.
    if is_socket && UnixStream::connect(path).await.is_err_and(refused) {
        // Left behind by a process that was killed.
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

impl AdminSocket {
    /// Where it listens, as an operator would write it.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string()),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(..))
    }

    /// The socket file to remove in the end.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, path) => Some(path.clone()),
        }
    }
}

/// Serves for ever.
pub(super) async fn serve(socket: AdminSocket, state: AdminState) -> io::Result<()> {
    let router = router(state);
    match socket {
        AdminSocket::Tcp(listener) => axum::serve(Bounded::new(listener), router).await,
        AdminSocket::Unix(listener, _) => axum::serve(Bounded::new(listener), router).await,
    }
}

fn router(state: AdminState) -> Router {
    Router::new()
        .route("/", get(async || INDEX))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/status", get(show_status))
        .route("/config/reload", post(reload))
        .route("/drain", post(drain))
        .fallback(async || (StatusCode::NOT_FOUND, "there is nothing here; GET / lists what there is\n"))
        .layer(from_fn_with_state(state.clone(), admit))
        .with_state(state)
}

/// Checks the call, bounds it, and gives every answer its fields.
async fn admit(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let mut response = match check(&state, &request) {
        Err(denial) => deny(denial),
        Ok(()) if body_is_too_large(request.headers()) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Ok(()) => bounded(next.run(request)).await,
    };
    response.headers_mut().extend(SECURITY_FIELDS);
    response
}

fn check(state: &AdminState, request: &Request) -> Result<(), Denial> {
    let snapshot = state.shared.current();
    // A start needs a sound `admin`, and so does every reload.
    let Some(admin) = &snapshot.config.admin.value else { return Err(Denial::Host) };
    let hosts: Vec<&str> = admin.hosts.iter().map(|host| host.as_str()).collect();
    let rules = Rules { hosts: &hosts, token: admin.token.as_ref().map(|token| token.as_str()), unix: state.unix };
    let field = |name: HeaderName| text(request.headers(), &name);
    let call = Call {
        path: request.uri().path(),
        mutating: !matches!(*request.method(), Method::GET | Method::HEAD),
        host: request.uri().authority().map(|authority| authority.as_str()).or(field(header::HOST)),
        origin: field(header::ORIGIN),
        fetch_site: field(HeaderName::from_static("sec-fetch-site")),
        authorization: field(header::AUTHORIZATION),
    };
    guard::check(&call, &rules)
}

/// The one value of a field; one that is no text, or is there twice, reads as one that nobody would send.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(if values.next().is_some() { "" } else { first.to_str().unwrap_or("") })
}

fn deny(denial: Denial) -> Response {
    let status = StatusCode::from_u16(denial.status()).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = (status, format!("{denial}\n")).into_response();
    if denial == Denial::Token {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"admin\""));
    }
    response
}

fn body_is_too_large(headers: &HeaderMap) -> bool {
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    chunked || length.is_some_and(|length| length > BODY_BYTES_MAX)
}

async fn bounded(answer: impl Future<Output = Response>) -> Response {
    match timeout(CALL_MAX, answer).await {
        Ok(response) => response,
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, "this takes too long; see /status\n").into_response(),
    }
}

async fn metrics(State(state): State<AdminState>) -> Response {
    let render = move || {
        let mut text = String::new();
        state.shared.registry.render(&mut text);
        render_expiries(state.shared.current().expiries().into_iter(), &mut text);
        text
    };
    // Thousands of routes take a while, and a snapshot being compiled holds their names.
    match tokio::task::spawn_blocking(render).await {
        Ok(text) => ([(header::CONTENT_TYPE, Registry::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn readyz(State(state): State<AdminState>) -> Response {
    match state.shared.phase() {
        Phase::Ready => "ready\n".into_response(),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

async fn show_status(State(state): State<AdminState>) -> Response {
    Json(status::status(&state.shared)).into_response()
}

async fn reload(State(state): State<AdminState>) -> Response {
    match state.reloads.ask_and_wait(Trigger::Api).await {
        Some(outcome) => (reload_status(&outcome), Json(&*outcome)).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "too many reloads wait already\n").into_response(),
    }
}

/// A configuration with findings is the caller's matter; what the machine refuses is a conflict with it.
fn reload_status(outcome: &Outcome) -> StatusCode {
    match outcome {
        Outcome { adopted: true, .. } => StatusCode::OK,
        Outcome { problem: Some(_), .. } => StatusCode::CONFLICT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

async fn drain(State(state): State<AdminState>) -> Response {
    let began = state.drain.press(&state.shared);
    (StatusCode::ACCEPTED, Json(json!({ "draining": true, "began": began }))).into_response()
}

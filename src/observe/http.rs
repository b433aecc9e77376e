//! `/metrics`, `/healthz` and `/readyz`, by axum on a thread of its own (`http`) with a current-thread runtime: no call
//! and no packet ever waits for a scrape.
//!
//! Whoever connects costs little: at most `MAX_CONNECTIONS` at once, each for at most `CONNECTION_LIFE`.

use std::{
    io,
    net::SocketAddr,
    os::unix::net::UnixStream as StdUnixStream,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
    serve::Listener,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixStream},
    time::Sleep,
};

use super::{health::Health, metrics::Registry};

/// Connections at once; one more is closed as soon as it is accepted.
const MAX_CONNECTIONS: usize = 64;
/// How long one may last; Prometheus opens another.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("cannot listen for metrics on {addr}: {source}")]
    Bind { addr: SocketAddr, source: io::Error },
    #[error("cannot start the metrics thread: {0}")]
    Start(#[from] io::Error),
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    addr: SocketAddr,
    /// Closing it ends the thread.
    stop: Option<StdUnixStream>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Pages {
    registry: Arc<Registry>,
    health: Arc<Health>,
}

impl HttpServer {
    /// Binds at once, so that an address in use is an error here and not a line in a log.
    pub fn start(addr: SocketAddr, registry: Arc<Registry>, health: Arc<Health>) -> Result<Self, HttpError> {
        let bind_error = |source| HttpError::Bind { addr, source };
        let listener = std::net::TcpListener::bind(addr).map_err(bind_error)?;
        listener.set_nonblocking(true).map_err(bind_error)?;
        let addr = listener.local_addr().map_err(bind_error)?;
        let (stop, stopped) = StdUnixStream::pair()?;
        stopped.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let pages = Pages { registry, health };
        let thread = thread::Builder::new().name("http".into()).spawn(move || {
            if let Err(error) = runtime.block_on(serve(listener, stopped, pages)) {
                tracing::error!(%error, "metrics and health are no longer served");
            }
        })?;
        Ok(HttpServer { addr, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens; the port is the kernel's choice if 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panicked server has nothing left to close.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, stopped: StdUnixStream, pages: Pages) -> io::Result<()> {
    let listener = Bounded { inner: TcpListener::from_std(listener)?, open: Arc::default() };
    let stopped = UnixStream::from_std(stopped)?;
    let app = Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(pages);
    let server = axum::serve(listener, app).into_future();
    let stop = async move {
        // Readable once the other end is gone.
        let _ = stopped.readable().await;
    };
    // Not a graceful shutdown: an idle connection would hold the process for as long as it likes.
    let mut server = std::pin::pin!(server);
    let mut stop = std::pin::pin!(stop);
    std::future::poll_fn(|context| {
        if stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        server.as_mut().poll(context)
    })
    .await
}

async fn index() -> &'static str {
    "tandem\n\n/metrics  Prometheus metrics\n/healthz  200 while this process works\n/readyz   200 while it takes calls\n"
}

async fn metrics(State(pages): State<Pages>) -> Response {
    match pages.registry.page() {
        Ok(page) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz(State(pages): State<Pages>) -> Response {
    match pages.health.alive() {
        Ok(()) => "alive\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn readyz(State(pages): State<Pages>) -> Response {
    let objections = pages.health.objections();
    if objections.is_empty() {
        return "ready\n".into_response();
    }
    let lines: String = objections.iter().map(|reason| format!("{reason}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

/// A listener that admits a bounded number of connections.
struct Bounded {
    inner: TcpListener,
    open: Arc<AtomicUsize>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, addr) = Listener::accept(&mut self.inner).await;
            if self.open.fetch_add(1, Ordering::Relaxed) < MAX_CONNECTIONS {
                let end = Box::pin(tokio::time::sleep(CONNECTION_LIFE));
                return (Connection { stream, end, open: self.open.clone() }, addr);
            }
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection that is counted while it is open, and cut at the end of its life.
struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    open: Arc<AtomicUsize>,
}

impl Connection {
    fn over(&mut self, context: &mut Context<'_>) -> bool {
        self.end.as_mut().poll(context).is_ready()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream as StdTcpStream,
        time::Instant,
    };

    use super::*;
    use crate::base::clock::Monotonic;

    fn start() -> (HttpServer, Arc<Health>) {
        let health = Arc::new(Health::new(Monotonic::start()));
        let server =
            HttpServer::start(SocketAddr::from(([127, 0, 0, 1], 0)), Arc::new(Registry::new()), health.clone())
                .unwrap();
        (server, health)
    }

    fn get(addr: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = StdTcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    #[test]
    fn pages_answer_and_readiness_gives_its_reasons() {
        let (server, health) = start();
        assert_eq!(get(server.addr(), "/healthz"), (200, "alive\n".into()));
        assert_eq!(get(server.addr(), "/readyz"), (503, "start: tandem is starting\n".into()));
        health.started();
        assert_eq!(get(server.addr(), "/readyz"), (200, "ready\n".into()));
        let (status, page) = get(server.addr(), "/metrics");
        assert_eq!(status, 200);
        assert!(page.contains("# TYPE process_resident_memory_bytes gauge\n"), "{page}");
        assert_eq!(get(server.addr(), "/nothing").0, 404);
    }

    #[test]
    fn an_address_in_use_is_an_error_at_start() {
        let (server, health) = start();
        let error = HttpServer::start(server.addr(), Arc::new(Registry::new()), health).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot listen for metrics on {}: Address already in use (os error 98)", server.addr())
        );
    }

    #[test]
    fn too_many_connections_are_closed_and_the_first_still_served() {
        let (server, _health) = start();
        let mut idle: Vec<StdTcpStream> =
            (0..MAX_CONNECTIONS).map(|_| StdTcpStream::connect(server.addr()).unwrap()).collect();
        let mut extra = StdTcpStream::connect(server.addr()).unwrap();
        extra.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(extra.read(&mut [0; 1]), Ok(0) | Err(_)), "the extra connection was served");
        let first = &mut idle[0];
        first.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        first.write_all(b"GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        first.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        drop(idle);
    }

    #[test]
    fn dropping_it_ends_the_thread_though_a_connection_idles() {
        let (server, _health) = start();
        let idle = StdTcpStream::connect(server.addr()).unwrap();
        assert_eq!(get(server.addr(), "/healthz").0, 200);
        let start = Instant::now();
        drop(server);
        assert!(start.elapsed() < Duration::from_secs(5));
        drop(idle);
    }
}

//! What a cloud tells a machine about itself, for a machine in QEMU: user data and tags, for whoever shows a token first
//! (IMDSv2). A thread of its own, until the handle is dropped.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{sys::in_netns, topology::METADATA};

const TOKEN: &str = "a-token-of-the-laboratory";

pub struct Metadata {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Metadata {
    /// `user_data` for the machine, and the name that its tag `tandem:node` has.
    pub fn serve(namespace: &str, user_data: String, node: &'static str) -> Result<Self> {
        let listener = in_netns(namespace, || TcpListener::bind(SocketAddr::new(METADATA, 80)))
            .with_context(|| format!("no socket at {METADATA}"))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                match listener.accept() {
                    // One that asks for nonsense, or goes, is the machine's own matter.
                    Ok((stream, _)) => drop(answer(stream, &user_data, node)),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(20)),
                    Err(_) => return,
                }
            }
        });
        Ok(Metadata { stop, thread: Some(thread) })
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(stream: TcpStream, user_data: &str, node: &str) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(&stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut token = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("x-aws-ec2-metadata-token")
        {
            token = Some(value.trim().to_owned());
        }
    }
    let (status, body) = page(&request, token.as_deref(), user_data, node);
    write!(
        &stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn page<'a>(request: &str, token: Option<&str>, user_data: &'a str, node: &'a str) -> (&'static str, &'a str) {
    let mut words = request.split(' ');
    match (words.next(), words.next()) {
        (Some("PUT"), Some("/latest/api/token")) => ("200 OK", TOKEN),
        (Some("GET"), _) if token != Some(TOKEN) => ("401 Unauthorized", ""),
        (Some("GET"), Some("/latest/user-data")) => ("200 OK", user_data),
        (Some("GET"), Some("/latest/meta-data/tags/instance/tandem:node")) => ("200 OK", node),
        _ => ("404 Not Found", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_without_the_token() {
        let ask = |request, token| page(request, token, "#tandem", "n").0;
        assert_eq!(ask("PUT /latest/api/token HTTP/1.1", None), "200 OK");
        assert_eq!(ask("GET /latest/user-data HTTP/1.1", None), "401 Unauthorized");
        assert_eq!(ask("GET /latest/user-data HTTP/1.1", Some("stale")), "401 Unauthorized");
        assert_eq!(page("GET /latest/user-data HTTP/1.1", Some(TOKEN), "#tandem", "n"), ("200 OK", "#tandem"));
        assert_eq!(ask("GET /latest/meta-data/ami-id HTTP/1.1", Some(TOKEN)), "404 Not Found");
    }
}

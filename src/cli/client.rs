//! The asking end of the admin socket: one request, one answer, within a time. Blocking.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::observe::admin::{AdminRequest, AdminResponse, Answer};

/// How long a running tandem may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than the longest listing.
const ANSWER_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no tandem runs here: {0} does not exist (if its admin.socket is elsewhere, say --socket PATH)")]
    Absent(PathBuf),
    #[error("no tandem runs here: nobody listens on {0}, which is left from one that died")]
    Dead(PathBuf),
    #[error("{0} may be used only by the user that runs tandem, and by root")]
    Forbidden(PathBuf),
    #[error("tandem did not answer on {path} within {} s: see its log", patience.as_secs())]
    Silent { path: PathBuf, patience: Duration },
    #[error("tandem closed {0} without an answer: it has too many admin connections, or just ended")]
    Closed(PathBuf),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("what answers on {0} is no tandem of this version")]
    Foreign(PathBuf),
    /// What tandem itself said.
    #[error("{0}")]
    Refused(String),
}

#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    patience: Duration,
}

impl Client {
    pub fn new(path: &Path) -> Self {
        Client { path: path.to_owned(), patience: PATIENCE }
    }

    pub fn ask(&self, request: &AdminRequest) -> Result<Answer, ClientError> {
        let line = self.exchange(request).map_err(|error| self.explain(error))?;
        if !line.ends_with(b"\n") {
            return Err(ClientError::Closed(self.path.clone()));
        }
        match serde_json::from_slice(&line) {
            Ok(AdminResponse::Ok(answer)) => Ok(answer),
            Ok(AdminResponse::Error(sentence)) => Err(ClientError::Refused(sentence)),
            Err(_) => Err(self.foreign()),
        }
    }

    /// For an answer of another kind than the request asks for.
    pub fn foreign(&self) -> ClientError {
        ClientError::Foreign(self.path.clone())
    }

    fn exchange(&self, request: &AdminRequest) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = Vec::new();
        BufReader::new(stream.take(ANSWER_BYTES)).read_until(b'\n', &mut answer)?;
        Ok(answer)
    }

    fn explain(&self, source: io::Error) -> ClientError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::NotFound => ClientError::Absent(path),
            io::ErrorKind::ConnectionRefused => ClientError::Dead(path),
            io::ErrorKind::PermissionDenied => ClientError::Forbidden(path),
            // A time-out of a blocking socket is EAGAIN, socket(7).
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Silent { path, patience: self.patience }
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Closed(path),
            _ => ClientError::Io { path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener, thread};

    use super::*;
    use crate::{
        base::Time,
        observe::admin::{AdminServer, DrainState},
    };

    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tandem-client-{name}-{}.sock", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    fn drain() -> AdminRequest {
        AdminRequest::Drain { deadline_s: None }
    }

    #[test]
    fn an_answer_and_a_refusal_come_through() {
        let path = path("both");
        let mut server = AdminServer::bind(&path).unwrap();
        let asking = thread::spawn(move || {
            let client = Client::new(&path);
            (client.ask(&drain()), client.ask(&AdminRequest::CallsShow { id: "c9".into() }))
        });
        while !asking.is_finished() {
            server.poll(Time::from_secs(1), &mut |request| match request {
                AdminRequest::Drain { .. } => {
                    AdminResponse::Ok(Answer::Drain(DrainState { calls: 1, deadline_s: 600 }))
                }
                _ => AdminResponse::Error("no call has the id c9".into()),
            });
            thread::sleep(Duration::from_millis(1));
        }
        let (answer, refusal) = asking.join().unwrap();
        assert_eq!(answer.unwrap(), Answer::Drain(DrainState { calls: 1, deadline_s: 600 }));
        assert_eq!(refusal.unwrap_err().to_string(), "no call has the id c9");
    }

    #[test]
    fn whoever_is_not_there_is_told_in_a_sentence() {
        let path = path("absent");
        let ask = || Client { path: path.clone(), patience: Duration::from_millis(100) }.ask(&drain()).unwrap_err();
        let shown = path.display();
        assert_eq!(
            ask().to_string(),
            format!(
                "no tandem runs here: {shown} does not exist (if its admin.socket is elsewhere, say --socket PATH)"
            )
        );
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(ask().to_string(), format!("tandem did not answer on {shown} within 0 s: see its log"));
        drop(listener);
        assert_eq!(
            ask().to_string(),
            format!("no tandem runs here: nobody listens on {shown}, which is left from one that died")
        );
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn whoever_speaks_otherwise_is_no_tandem() {
        let path = path("foreign");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            for answer in ["HTTP/1.1 400 Bad Request\r\n", "{\"ok\":{\"dr"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let client = Client::new(&path);
        assert!(matches!(client.ask(&drain()), Err(ClientError::Foreign(_))));
        assert!(matches!(client.ask(&drain()), Err(ClientError::Closed(_))));
        server.join().unwrap();
        fs::remove_file(&path).unwrap();
    }
}

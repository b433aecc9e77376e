//! The server against clients that behave and clients that do not. Time is the test's.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream as Client,
};

use super::*;
use crate::observe::admin::{Answer, DrainState};

struct Fixture {
    server: AdminServer,
    path: PathBuf,
    handled: Vec<AdminRequest>,
    now: Time,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tandem-admin-{name}-{}.sock", std::process::id()));
        let _ = fs::remove_file(&path);
        let server = AdminServer::bind(&path).unwrap();
        Fixture { server, path, handled: Vec::new(), now: Time::from_secs(1) }
    }

    fn client(&self) -> Client {
        let client = Client::connect(&self.path).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client
    }

    fn poll(&mut self) {
        let handled = &mut self.handled;
        self.server.poll(self.now, &mut |request| {
            handled.push(request.clone());
            match request {
                AdminRequest::Drain { deadline_s } => {
                    AdminResponse::Ok(Answer::Drain(DrainState { calls: 2, deadline_s: deadline_s.unwrap_or(600) }))
                }
                // Larger than any socket buffer.
                AdminRequest::CallsShow { .. } => AdminResponse::Error("x".repeat(4_000_000)),
                _ => AdminResponse::Error("no".into()),
            }
        });
    }

    fn open(&self) -> usize {
        self.server.connections.iter().flatten().count()
    }
}

fn line(client: &Client) -> String {
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).unwrap();
    line
}

/// What the client reads now: nothing more comes, and the server closed.
fn is_closed(mut client: &Client) -> bool {
    matches!(client.read(&mut [0; 1]), Ok(0))
        || matches!(client.write(b"x"), Err(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

#[test]
fn a_request_in_pieces_is_answered_once_it_is_whole() {
    let mut fixture = Fixture::new("pieces");
    let mut client = fixture.client();
    for piece in [r#"{"command":"dr"#, r#"ain","deadline_s":"#, "30}"] {
        client.write_all(piece.as_bytes()).unwrap();
        fixture.poll();
        assert!(fixture.handled.is_empty());
    }
    client.write_all(b"\n").unwrap();
    fixture.poll();
    assert_eq!(line(&client), "{\"ok\":{\"drain\":{\"calls\":2,\"deadline_s\":30}}}\n");
    assert_eq!(fixture.handled, [AdminRequest::Drain { deadline_s: Some(30) }]);
}

#[test]
fn several_requests_on_one_connection_are_answered_in_order() {
    let mut fixture = Fixture::new("several");
    let mut client = fixture.client();
    client.write_all(b"{\"command\":\"drain\"}\nnonsense\n{\"command\":\"drain\",\"deadline_s\":1}\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    fixture.poll();
    let lines: Vec<String> = BufReader::new(&client).lines().map(Result::unwrap).collect();
    assert_eq!(lines[0], r#"{"ok":{"drain":{"calls":2,"deadline_s":600}}}"#);
    assert!(lines[1].starts_with(r#"{"error":"not a request that this tandem knows: "#), "{}", lines[1]);
    assert_eq!(lines[2], r#"{"ok":{"drain":{"calls":2,"deadline_s":1}}}"#);
    assert_eq!(lines.len(), 3);
    assert_eq!(fixture.open(), 0, "the connection was closed after its last answer");
}

#[test]
fn a_long_answer_waits_for_its_reader_and_holds_up_nobody() {
    let mut fixture = Fixture::new("long");
    let mut slow = fixture.client();
    // The second request must not be handled before the first answer has left: answers do not pile up.
    slow.write_all(b"{\"command\":\"calls.show\",\"id\":\"a\"}\n{\"command\":\"calls.show\",\"id\":\"b\"}\n").unwrap();
    fixture.poll();
    assert_eq!(fixture.handled.len(), 1);
    let mut quick = fixture.client();
    quick.write_all(b"{\"command\":\"drain\"}\n").unwrap();
    fixture.poll();
    assert!(line(&quick).starts_with("{\"ok\""));
    let reader = std::thread::spawn(move || {
        BufReader::new(&slow).lines().take(2).map(|line| line.unwrap().len()).collect::<Vec<_>>()
    });
    while !reader.is_finished() {
        fixture.poll();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(reader.join().unwrap(), [4_000_012, 4_000_012]);
    assert_eq!(fixture.handled.len(), 3);
}

#[test]
fn a_request_too_long_is_refused_and_its_connection_closed() {
    let mut fixture = Fixture::new("too-long");
    let mut client = fixture.client();
    client.write_all(&vec![b'x'; REQUEST_BYTES]).unwrap();
    fixture.poll();
    assert_eq!(line(&client), "{\"error\":\"a request is a line of at most 4096 bytes\"}\n");
    assert!(is_closed(&client));
    assert!(fixture.handled.is_empty());
}

#[test]
fn one_connection_too_many_is_closed() {
    let mut fixture = Fixture::new("many");
    let clients: Vec<Client> = (0..MAX_CONNECTIONS).map(|_| fixture.client()).collect();
    fixture.poll();
    let extra = fixture.client();
    fixture.poll();
    assert!(is_closed(&extra));
    assert_eq!(fixture.open(), MAX_CONNECTIONS);
    drop(clients);
    fixture.poll();
    assert_eq!(fixture.open(), 0);
}

#[test]
fn who_sends_no_request_is_cut_off_though_bytes_trickle() {
    let mut fixture = Fixture::new("idle");
    let mut client = fixture.client();
    fixture.poll();
    fixture.now += IDLE - Duration::from_millis(1);
    client.write_all(b"{").unwrap();
    fixture.poll();
    assert_eq!(fixture.open(), 1);
    fixture.now += Duration::from_millis(1);
    fixture.poll();
    assert_eq!(fixture.open(), 0);
    assert!(is_closed(&client));
}

#[test]
fn events_of_a_poll_lead_to_an_answer() {
    let mut fixture = Fixture::new("events");
    let mut poll = mio::Poll::new().unwrap();
    fixture.server.register(poll.registry(), 100).unwrap();
    assert!(fixture.server.owns(Token(100)) && fixture.server.owns(Token(100 + MAX_CONNECTIONS)));
    assert!(!fixture.server.owns(Token(99)) && !fixture.server.owns(Token(101 + MAX_CONNECTIONS)));
    let path = fixture.path.clone();
    let client = std::thread::spawn(move || {
        let mut client = Client::connect(path).unwrap();
        client.write_all(b"{\"command\":\"drain\"}\n").unwrap();
        line(&client)
    });
    let mut events = mio::Events::with_capacity(8);
    while !client.is_finished() {
        poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
        if events.iter().any(|event| fixture.server.owns(event.token())) {
            fixture.poll();
        }
    }
    assert_eq!(client.join().unwrap(), "{\"ok\":{\"drain\":{\"calls\":2,\"deadline_s\":600}}}\n");
}

#[test]
fn the_socket_is_private_and_goes_with_its_server() {
    let fixture = Fixture::new("private");
    let mode = fs::metadata(&fixture.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let path = fixture.path.clone();
    drop(fixture);
    assert!(!path.exists());
}

#[test]
fn a_dead_ones_socket_is_replaced_and_a_live_ones_is_not() {
    let path = std::env::temp_dir().join(format!("tandem-admin-stale-{}.sock", std::process::id()));
    let _ = fs::remove_file(&path);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the dead one left its file");
    let first = AdminServer::bind(&path).unwrap();
    let error = AdminServer::bind(&path).unwrap_err();
    assert!(matches!(error, AdminError::InUse(_)), "{error}");
    drop(first);
    fs::write(&path, "precious").unwrap();
    assert!(matches!(AdminServer::bind(&path).unwrap_err(), AdminError::NoSocket(_)));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
}

//! Requests and WebSocket messages as bytes; expected statuses from RFC 9110, RFC 9112 and RFC 6455, the names from rtpengine's
//! documentation.

use tungstenite::protocol::Role;

use super::*;

/// Says what it was asked, and how.
fn echo(bytes: &Bytes, dress: Dress) -> Option<Bytes> {
    (!bytes.is_empty()).then(|| format!("{dress:?} {}", String::from_utf8_lossy(bytes)).into())
}

struct Talk {
    web: Web,
    incoming: BytesMut,
    outgoing: Vec<u8>,
}

impl Talk {
    fn new() -> Talk {
        Talk { web: Web::default(), incoming: BytesMut::new(), outgoing: Vec::new() }
    }

    /// What is sent back to these bytes; and what is to follow.
    fn says(&mut self, bytes: &[u8]) -> (Vec<u8>, Step) {
        self.incoming.extend_from_slice(bytes);
        loop {
            let step = self.web.step(&mut self.incoming, &mut self.outgoing, &mut echo);
            if step != Step::Again {
                return (std::mem::take(&mut self.outgoing), step);
            }
        }
    }

    fn text(&mut self, text: &str) -> (String, Step) {
        let (bytes, step) = self.says(text.as_bytes());
        (String::from_utf8(bytes).unwrap(), step)
    }
}

fn post(path: &str, kind: &str, more: &str, body: &str) -> String {
    let len = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: h:1\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n{more}\r\n{body}")
}

fn answered(kind: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn upgrade(more: &str) -> String {
    // RFC 6455 §1.3: its own example of a key.
    format!(
        "GET / HTTP/1.1\r\nHost: h:1\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const PROTOCOL: &str = "Sec-WebSocket-Protocol: other, ng.rtpengine.com\r\n";

#[test]
fn requests_are_answered_one_after_another_wherever_they_are_cut() {
    let all = post("/ng", TYPE, "", "1 x")
        + &post("/ng-plain", "application/json; charset=utf-8", "", "{}")
        + "GET /ping HTTP/1.1\r\n\r\n";
    let expected = answered(TYPE, "Cookie 1 x") + &answered(JSON_TYPE, "Plain {}") + &answered("text/plain", "pong");
    assert_eq!(Talk::new().text(&all), (expected.clone(), Step::Wait));
    for cut in 0..all.len() {
        let mut talk = Talk::new();
        let (mut heard, _) = talk.text(&all[..cut]);
        heard += &talk.text(&all[cut..]).0;
        assert_eq!(heard, expected, "cut at {cut}");
    }
}

#[test]
fn a_standby_says_so_and_carries_nothing_out() {
    for request in
        [post("/ng", TYPE, "", "1 x"), "GET /ping HTTP/1.1\r\n\r\n".into(), upgrade(&format!("{VERSION}{PROTOCOL}"))]
    {
        let mut talk = Talk::new();
        talk.web.stand_by(true);
        let (heard, step) = talk.text(&request);
        assert!(heard.starts_with("HTTP/1.1 503 ") && !heard.contains("Cookie 1 x"), "{heard}");
        assert_eq!(step, Step::Close);
    }
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on_once() {
    let request = post("/ng", TYPE, "Expect: 100-continue\r\n", "1 xy");
    let (head, body) = request.split_at(request.len() - 4);
    let mut talk = Talk::new();
    assert_eq!(talk.text(head), ("HTTP/1.1 100 Continue\r\n\r\n".into(), Step::Wait));
    assert_eq!(talk.text(&body[..1]), (String::new(), Step::Wait));
    assert_eq!(talk.text(&body[1..]), (answered(TYPE, "Cookie 1 xy"), Step::Wait));
}

#[test]
fn a_connection_ends_where_its_client_says_so() {
    for request in
        [post("/ng", TYPE, "Connection: close\r\n", "1 x"), post("/ng", TYPE, "", "1 x").replace("/1.1", "/1.0")]
    {
        let (heard, step) = Talk::new().text(&request);
        assert!(heard.contains("\r\nConnection: close\r\n") && heard.ends_with("Cookie 1 x"), "{heard}");
        assert_eq!(step, Step::Close);
    }
}

#[test]
fn what_is_no_request_of_ours_is_refused_with_its_status() {
    let too_long = "x".repeat(NG_HTTP_HEAD_BYTES);
    for (request, status) in [
        ("\u{1}\r\n\r\n".to_owned(), 400),
        (post("/ng", TYPE, "", ""), 400),
        (post("/ng", TYPE, "Content-Length: 9\r\n", "1 x"), 400),
        (post("/ng", TYPE, "", "1 x").replace("Length: 3", "Length: +3"), 400),
        (post("/ng", TYPE, "Origin: http://elsewhere\r\n", "1 x"), 403),
        (post("/ng", TYPE, "Origin: null\r\n", "1 x"), 403),
        (post("/cli", "text/plain", "", "list"), 404),
        ("GET /ng HTTP/1.1\r\n\r\n".into(), 405),
        (post("/ping", TYPE, "", "1 x"), 405),
        (format!("POST /ng HTTP/1.1\r\nContent-Type: {TYPE}\r\n\r\n"), 411),
        (post("/ng", TYPE, "Transfer-Encoding: chunked\r\n", "1 x"), 411),
        (post("/ng", TYPE, "", "1 x").replace("Length: 3", "Length: 65508"), 413),
        (post("/ng", TYPE, "", "1 x").replace("Length: 3", "Length: 99999999999999999999"), 413),
        (post("/ng", "text/plain", "", "1 x"), 415),
        (post("/ng", JSON_TYPE, "", "1 {}"), 415),
        (format!("GET /ping HTTP/1.1\r\nX: {too_long}"), 431),
        (format!("GET /ping HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(NG_HTTP_HEADERS + 1)), 431),
        (upgrade(PROTOCOL), 426),
        (upgrade(VERSION), 400),
        (upgrade(&format!("{VERSION}{PROTOCOL}")).replace("Bub25jZQ==", "B"), 400),
        (upgrade(&format!("{VERSION}{PROTOCOL}Origin: http://elsewhere\r\n")), 403),
        (upgrade(&format!("{VERSION}{PROTOCOL}")).replacen("GET", "POST", 1), 405),
    ] {
        let (heard, step) = Talk::new().text(&request);
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{heard}");
        assert!(heard.contains("\r\nConnection: close\r\n"), "{heard}");
        assert_eq!(step, Step::Close, "{request}");
    }
    let same = post("/ng", TYPE, "Origin: http://h:1\r\n", "1 x");
    assert_eq!(Talk::new().text(&same), (answered(TYPE, "Cookie 1 x"), Step::Wait), "a page of its own");
}

/// After the upgrade, with a client of the library's.
fn websocket(protocol: &str) -> (Talk, WebSocket<Pipe>) {
    let mut talk = Talk::new();
    let (heard, step) = talk.text(&upgrade(&format!("{VERSION}Sec-WebSocket-Protocol: other, {protocol}\r\n")));
    assert!(heard.starts_with("HTTP/1.1 101 "), "{heard}");
    // RFC 6455 §1.3: the answer to its example.
    assert!(heard.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{heard}");
    assert!(heard.contains(&format!("\r\nSec-WebSocket-Protocol: {protocol}\r\n")), "{heard}");
    assert_eq!(step, Step::Wait);
    (talk, WebSocket::from_raw_socket(Pipe::default(), Role::Client, None))
}

/// What the client hears to what it wrote.
fn exchange(talk: &mut Talk, client: &mut WebSocket<Pipe>) -> (Vec<Message>, Step) {
    client.flush().unwrap();
    let (heard, step) = talk.says(&std::mem::take(&mut client.get_mut().outgoing));
    client.get_mut().incoming.extend_from_slice(&heard);
    (std::iter::from_fn(|| client.read().ok()).collect(), step)
}

#[test]
fn websocket_messages_are_answered_in_kind() {
    let (mut talk, mut client) = websocket("ng.rtpengine.com");
    client.write(Message::text("1 {}")).unwrap();
    client.write(Message::binary(b"2 de".to_vec())).unwrap();
    client.write(Message::Ping(Bytes::from_static(b"p"))).unwrap();
    let expected = vec![
        Message::text("Cookie 1 {}"),
        Message::binary(b"Cookie 2 de".to_vec()),
        Message::Pong(Bytes::from_static(b"p")),
    ];
    assert_eq!(exchange(&mut talk, &mut client), (expected, Step::Wait));
    let (mut talk, mut client) = websocket("ng-plain.rtpengine.com");
    client.write(Message::text("{}")).unwrap();
    assert_eq!(exchange(&mut talk, &mut client), (vec![Message::text("Plain {}")], Step::Wait));
    client.close(None).unwrap();
    let (heard, step) = exchange(&mut talk, &mut client);
    assert!(matches!(heard.as_slice(), [Message::Close(_)]) && step == Step::Close, "{heard:?} {step:?}");
}

#[test]
fn a_websocket_message_that_is_too_long_or_unmasked_ends_its_connection_with_the_reason() {
    for (frame, code) in [
        // RFC 6455 §5.2: binary, masked, 65,508 bytes to come; the same unmasked with one byte.
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xe4, 0, 0, 0, 0][..], 1009u16),
        (&[0x82, 1, 0][..], 1002),
    ] {
        let (mut talk, _) = websocket("ng.rtpengine.com");
        let (heard, step) = talk.says(frame);
        assert_eq!((heard[0], &heard[2..4], step), (0x88, &code.to_be_bytes()[..], Step::Close));
    }
}

#[test]
fn a_websocket_of_a_host_that_is_the_standby_now_ends_with_the_next_message() {
    let (mut talk, mut client) = websocket("ng.rtpengine.com");
    talk.web.stand_by(true);
    client.write(Message::text("1 {}")).unwrap();
    let (heard, step) = exchange(&mut talk, &mut client);
    let [Message::Close(Some(frame))] = heard.as_slice() else { panic!("{heard:?}") };
    // IANA's registry of WebSocket close codes: try again later.
    assert_eq!((u16::from(frame.code), step), (1013, Step::Close));
}

#[test]
fn many_messages_at_once_wait_where_they_are_bounded() {
    let (mut talk, mut client) = websocket("ng.rtpengine.com");
    for _ in 0..2_000 {
        client.write(Message::text("1 {}")).unwrap();
    }
    client.flush().unwrap();
    talk.incoming.extend_from_slice(&std::mem::take(&mut client.get_mut().outgoing));
    for _ in 0..10 {
        assert_eq!(talk.web.step(&mut talk.incoming, &mut talk.outgoing, &mut echo), Step::Again);
        talk.incoming.extend_from_slice(b"more");
    }
    assert!(talk.incoming.len() >= 40 - 4, "what comes meanwhile is not taken before its turn");
}

//! RFC 4475 §3.1.1, §3.3 and §3.4: messages that a parser must accept, and what it must understand by them.

use super::*;

#[test]
fn s3_1_1_1_a_short_tortuous_invite() {
    let message = parse(
        &(r#"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0
TO :
 sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n
from   : "J Rosenberg \\\""       <sip:jdrosen@example.com>
  ;
  tag = 98asjd8
MaX-fOrWaRdS: 0068
Call-ID: wsinv.ndaksdj@192.0.2.1
Content-Length   : 150
cseq: 0009
  INVITE
Via  : SIP  /   2.0
 /UDP
    192.0.2.2;branch=390skdjuw
s :
NewFangledHeader:   newfangled value
 continued newfangled value
UnknownHeaderWithUnusualValue: ;;,,;;,;
Content-Type: application/sdp
Route:
 <sip:services.example.com;lr;unknownwith=value;unknown-no-value>
v:  SIP  / 2.0  / TCP     spindle.example.com   ;
  branch  =   z9hG4bK9ikj8  ,
 SIP  /    2.0   / UDP  192.168.255.111   ; branch=
 z9hG4bK30239
m:"Quoted string \"\"" <sip:jdrosen@example.com> ; newparam =
      newvalue ;
  secondparam ; q = 0.33

"#
        .to_owned()
            + SDP),
    );
    let uri = message.uri().unwrap();
    assert_eq!((uri.user.as_deref(), uri.params.get("unknownparam")), (Some("vivekg"), Some(None)));
    assert_eq!(message.to().unwrap().tag(), Some("1918181833n"));
    let from = message.from().unwrap();
    assert_eq!((from.display.as_deref(), from.tag()), (Some(r#"J Rosenberg \""#), Some("98asjd8")));
    assert_eq!(message.max_forwards(), Some(68));
    assert_eq!(message.call_id(), Some("wsinv.ndaksdj@192.0.2.1"));
    assert_eq!(message.cseq().unwrap(), CSeq { seq: 9, method: Method::Invite });
    let vias = message.vias().unwrap();
    let seen: Vec<_> = vias.iter().map(|v| (v.transport.as_str(), v.host.to_string(), v.branch().unwrap())).collect();
    assert_eq!(
        seen,
        [
            ("UDP", "192.0.2.2".to_owned(), "390skdjuw"),
            ("TCP", "spindle.example.com".to_owned(), "z9hG4bK9ikj8"),
            ("UDP", "192.168.255.111".to_owned(), "z9hG4bK30239"),
        ]
    );
    assert_eq!(message.headers.get(&HeaderName::Subject), Some(""));
    let unknown = |name: &str| message.headers.get(&HeaderName::from(name));
    assert_eq!(unknown("newfangledheader"), Some("newfangled value continued newfangled value"));
    assert_eq!(unknown("UnknownHeaderWithUnusualValue"), Some(";;,,;;,;"));
    let route = &message.routes().unwrap()[0].uri;
    assert!(route.is_loose_router());
    assert_eq!((route.params.value("unknownwith"), route.params.get("unknown-no-value")), (Some("value"), Some(None)));
    let contact = &message.contacts().unwrap()[0];
    assert_eq!(contact.display.as_deref(), Some(r#"Quoted string """#));
    assert_eq!(contact.params.value("newparam"), Some("newvalue"));
    assert_eq!(contact.params.get("secondparam"), Some(None));
    assert_eq!(contact.params.value("q"), Some("0.33"));
    assert_eq!(message.body.len(), 150);
}

#[test]
fn s3_1_1_2_wide_range_of_valid_characters() {
    let message = parse(concat!(
        "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*",
        ":&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0\n",
        "Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\n",
        "To: \"BEL:\\\u{7} NUL:\\\0 DEL:\\\u{7f}\" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>\n",
        "From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>",
        ";fromParam''~+*_!.-%=\"работающий\";tag=_token~1'+`*%!-.\n",
        "Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{\n",
        "CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~\n",
        "Max-Forwards: 255\n",
        "extensionHeader-!.%*+_`'~:\u{feff}大停電\n",
        "Content-Length: 0\n\n"
    ));
    assert_eq!(message.method(), Some(&Method::Other("!interesting-Method0123456789_*+`.%indeed'~".into())));
    let uri = message.uri().unwrap();
    assert_eq!(uri.user.as_deref(), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(uri.password.as_deref(), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    assert_eq!(uri.host, Host::Name("example.com".into()));
    assert_eq!(message.top_via().unwrap().branch(), Some("z9hG4bK-.!%66*_+`'~"));
    assert_eq!(message.to().unwrap().display.as_deref(), Some("BEL:\u{7} NUL:\0 DEL:\u{7f}"));
    let from = message.from().unwrap();
    assert_eq!(from.display.as_deref(), Some("token1~` token2'+_ token3*%!.-"));
    assert_eq!(from.tag(), Some("_token~1'+`*%!-."));
    assert_eq!(from.params.value("fromParam''~+*_!.-%").map(unquote).as_deref(), Some("работающий"));
    assert_eq!(message.call_id(), Some("intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"));
    let extension = HeaderName::from("extensionHeader-!.%*+_`'~");
    assert_eq!(message.headers.get(&extension), Some("\u{feff}大停電"));
    // Written and read again, the display name is the same.
    assert_eq!(NameAddr::parse(&message.to().unwrap().to_string()).unwrap(), message.to().unwrap());
}

#[test]
fn s3_1_1_3_valid_use_of_the_percent_escaping_mechanism() {
    let message = parse(
        &("INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0
To: sip:%75se%72@example.com
From: <sip:I%20have%20spaces@example.net>;tag=938
Max-Forwards: 87
i: esc01.239409asdfakjkn23onasd0-3234
CSeq: 234234 INVITE
Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdjuw
C: application/sdp
Contact:
  <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>
Content-Length: 150

"
        .to_owned()
            + SDP),
    );
    let uri = message.uri().unwrap();
    assert_eq!(unescape(uri.user.as_deref().unwrap()), b"sips:user@example.com");
    assert_eq!(uri.host, Host::Name("example.net".into()));
    assert!(message.to().unwrap().uri.equivalent(&Uri::parse("sip:user@example.com").unwrap()));
    let contact = &message.contacts().unwrap()[0].uri;
    assert_eq!(contact.params.value("n%61me").map(unescape).as_deref(), Some(&b"value%41"[..]));
}

#[test]
fn s3_1_1_4_escaped_nulls_in_uris() {
    let message = parse(
        "REGISTER sip:example.com SIP/2.0
To: sip:null-%00-null@example.com
From: sip:null-%00-null@example.com;tag=839923423
Max-Forwards: 70
Call-ID: escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd
CSeq: 14398234 REGISTER
Via: SIP/2.0/UDP host5.example.com;branch=z9hG4bKkdjuw
Contact: <sip:%00@host5.example.com>
Contact: <sip:%00%00@host5.example.com>
L:0

",
    );
    let contacts = message.contacts().unwrap();
    assert!(!contacts[0].uri.equivalent(&contacts[1].uri));
    assert_eq!(unescape(contacts[1].uri.user.as_deref().unwrap()), [0, 0]);
}

#[test]
fn s3_1_1_5_use_of_percent_when_it_is_not_an_escape() {
    let message = parse(
        r#"RE%47IST%45R sip:registrar.example.com SIP/2.0
To: "%Z%45" <sip:resource@example.com>
From: "%Z%45" <sip:resource@example.com>;tag=f232jadfj23
Call-ID: esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf
Via: SIP/2.0/TCP host.example.com;branch=z9hG4bK209%fzsnel234
CSeq: 29344 RE%47IST%45R
Max-Forwards: 70
Contact: <sip:alias1@host1.example.com>
C%6Fntact: <sip:alias2@host2.example.com>
Contact: <sip:alias3@host3.example.com>
l: 0

"#,
    );
    assert_eq!(message.method(), Some(&Method::Other("RE%47IST%45R".into())));
    assert_eq!(message.to().unwrap().display.as_deref(), Some("%Z%45"));
    assert_eq!(message.contacts().unwrap().len(), 2);
}

#[test]
fn s3_1_1_6_message_with_no_lws_between_display_name_and_bracket() {
    let message = parse(
        "OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: caller<sip:caller@example.com>;tag=323
Max-Forwards: 70
Call-ID: lwsdisp.1234abcd@funky.example.com
CSeq: 60 OPTIONS
Via: SIP/2.0/UDP funky.example.com;branch=z9hG4bKkdjuw
l: 0

",
    );
    assert_eq!(message.from().unwrap().display.as_deref(), Some("caller"));
}

#[test]
fn s3_1_1_7_long_values_in_header_fields() {
    // The RFC's message, its repetitions written as such.
    let vias: String = (1..=33).rev().map(|n| format!("Via: SIP/2.0/TCP sip{n}.example.com\n")).collect();
    let (name, long) = ("amazinglylongcallername".repeat(5), "long".repeat(50));
    let message = parse(&format!(
        "INVITE sip:user@example.com SIP/2.0
To: \"I have a user name of {extreme} proportion\"<sip:user@example.com:6000;unknownparam1=very{long}value;longparam{names}=shortvalue;very{long}ParameterNameWithNoValue>
F: sip:{name}@example.net;tag=12{tag}424;unknownheaderparam{names}=unknowheaderparam{values};unknownValuelessparam{names}
Call-ID: longreq.one{really}longcallid
CSeq: 3882340 INVITE
Unknown-{long}-Name: unknown-{long}-value; unknown-{long}-parameter-name = unknown-{long}-parameter-value
{vias}Via: SIP/2.0/TCP host.example.com;received=192.0.2.5;branch=very{long}branchvalue
Max-Forwards: 70
Contact: <sip:{name}@host5.example.net>
Content-Type: application/sdp
l: 150

{SDP}",
        extreme = "extreme".repeat(10),
        names = "name".repeat(25),
        values = "value".repeat(15),
        tag = "982".repeat(50),
        really = "really".repeat(20),
    ));
    assert_eq!(message.vias().unwrap().len(), 34);
    assert_eq!(message.to().unwrap().uri.port, Some(6000));
    assert_eq!(message.from().unwrap().tag().map(str::len), Some(155));
    assert_eq!(message.vias().unwrap()[33].received(), Some("192.0.2.5".parse().unwrap()));
}

#[test]
fn s3_1_1_8_extra_trailing_octets_in_a_udp_datagram() {
    let message = parse(
        "REGISTER sip:example.com SIP/2.0
To: sip:j.user@example.com
From: sip:j.user@example.com;tag=43251j3j324
Max-Forwards: 8
I: dblreq.0ha0isndaksdj99sdfafnl3lk233412
Contact: sip:j.user@host.example.com
CSeq: 8 REGISTER
Via: SIP/2.0/UDP 192.0.2.125;branch=z9hG4bKkdjuw23492
Content-Length: 0


INVITE sip:joe@example.com SIP/2.0
t: sip:joe@example.com
From: sip:caller@example.net;tag=141334
Max-Forwards: 8
Call-ID: dblreq.0ha0isnda977644900765@192.0.2.15
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.15;branch=z9hG4bKkdjuw380234
Content-Type: application/sdp
Content-Length: 150

",
    );
    assert_eq!(message.method(), Some(&Method::Register));
    assert!(message.body.is_empty());
}

#[test]
fn s3_1_1_9_semicolon_separated_parameters_in_uri_user_part() {
    let message = parse(
        "OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0
To: sip:j_user@example.com
From: sip:caller@example.org;tag=33242
Max-Forwards: 3
Call-ID: semiuri.0ha0isndaksdj
CSeq: 8 OPTIONS
Accept: application/sdp, application/pkcs7-mime,
        multipart/mixed, multipart/signed,
        message/sip, message/sipfrag
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKkdjuw
l: 0

",
    );
    let uri = message.uri().unwrap();
    assert_eq!(uri.user.as_deref(), Some("user;par=u%40example.net"));
    assert!(uri.params.is_empty());
    assert_eq!(message.tokens(&HeaderName::Accept).count(), 6);
}

#[test]
fn s3_1_1_10_varied_and_unknown_transport_types() {
    let message = parse(
        "OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: <sip:caller@example.com>;tag=323
Max-Forwards: 70
Call-ID:  transports.kijh4akdnaqjkwendsasfdj
Accept: application/sdp
CSeq: 60 OPTIONS
Via: SIP/2.0/UDP t1.example.com;branch=z9hG4bKkdjuw
Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf
Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bK2980unddj
Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en
Via: SIP/2.0/TCP t5.example.com;branch=z9hG4bK0a9idfnee
l: 0

",
    );
    let transports: Vec<_> = message.vias().unwrap().into_iter().map(|v| v.transport).collect();
    assert_eq!(transports, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

#[test]
fn s3_1_1_11_a_body_of_any_octets() {
    // The RFC's multipart body carries a signature; for the parser it is octets, empty lines and NUL among them.
    let body = b"--7a9cbec02ceef655\r\nContent-Type: text/plain\r\n\r\nHello\r\n\r\n\x30\x82\x01\x52\x06\x09\x00\xff";
    let head = format!(
        "MESSAGE sip:kumiko@example.org SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-;rport
Max-Forwards: 70
Route: <sip:127.0.0.1:5080>
Identity: r5mwreLuyDRYBi/0TiPwEsY3rEVsk/G2WxhgTV1PF7hHuLIK0YWVKZhKv9Mj8UeXqkMVbnVq37CD+813gvYjcBUaZngQmXc9WNZSDNGCzA+fWl9MEUHWIZo1CeJebdY/XlgKeTa0Olvq0rt70Q5jiSfbqMJmQFteeivUhkMWYUA=
Contact: <sip:fluffy@127.0.0.1:5070>
To: <sip:kumiko@example.org>
From: <sip:fluffy@example.com>;tag=2fb0dcc9
Call-ID: 3d9485ad0c49859b@Zmx1ZmZ5LW1hYy0xNi5sb2NhbA..
CSeq: 1 MESSAGE
Content-Transfer-Encoding: binary
Content-Type: multipart/mixed;boundary=7a9cbec02ceef655
Date: Sat, 15 Oct 2005 04:44:56 GMT
User-Agent: SIPimp.org/0.2.5 (curses)
Content-Length: {}

",
        body.len()
    );
    let mut bytes = wire(&head);
    bytes.extend_from_slice(body);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.body, body[..]);
    assert!(message.content_is("multipart/mixed"));
    assert_eq!(message.headers.get(&HeaderName::Date), Some("Sat, 15 Oct 2005 04:44:56 GMT"));
}

#[test]
fn s3_1_1_12_unusual_reason_phrase() {
    let message = parse(
        "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое
Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923
Call-ID: unreason.1234ksdfak3j2erwedfsASdf
CSeq: 35 INVITE
From: sip:user@example.com;tag=11141343
To: sip:user@example.edu;tag=2229
Content-Length: 0
Contact: <sip:user@host198.example.com>

",
    );
    let reason = "= 2**3 * 5**2 но сто девяносто девять - простое".to_owned();
    assert_eq!(message.start, Start::Response { status: 200, reason });
}

#[test]
fn s3_1_1_13_empty_reason_phrase() {
    let message = parse(concat!(
        "SIP/2.0 100 \n",
        "Via: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe\n",
        "Call-ID: noreason.asndj203insdf99223ndf\n",
        "CSeq: 35 INVITE\n",
        "From: <sip:user@example.com>;tag=39ansfi3\n",
        "To: <sip:user@example.edu>;tag=902jndnke3\n",
        "Content-Length: 0\n",
        "Contact: <sip:user@host105.example.com>\n\n",
    ));
    assert_eq!(message.start, Start::Response { status: 100, reason: String::new() });
}

#[test]
fn s3_2_2_and_later_what_only_the_layers_above_can_judge_is_parsed() {
    // RFC 4475 §3.3.3's To and From, §3.3.5, §3.3.6, §3.3.7, §3.3.10, §3.3.11, §3.3.12 to §3.3.15: valid as syntax.
    let message = parse(
        "REGISTER sip:example.com SIP/2.0
To: isbn:2983792873
From: <http://www.example.com>;tag=3234233
Call-ID: unksm2.daksdj@hyphenated-host.example.com
CSeq: 234902 REGISTER
Max-Forwards: 70
Via: SIP/2.0/UDP 192.0.2.21:5060;branch=z9hG4bKkdjuw
Contact: <name:John_Smith>
l: 0

",
    );
    assert_eq!(message.to().unwrap().uri.scheme, Scheme::Other("isbn".into()));
    assert_eq!(message.contacts().unwrap()[0].uri.opaque, "John_Smith");

    for extra in [
        "Require: nothingSupportsThis, nothingSupportsThisEither",
        "Proxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis",
        "Content-Type: application/unknownformat",
        "Authorization: NoOneKnowsThisScheme opaque-data=here",
        "Accept: text/nobodyKnowsThis",
        "Contact: sip:+19725552222@gw1.example.net;unknownparam",
        "Contact: <sip:+19725552222@gw1.example.net;unknownparam>",
        "M: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>",
        "Contact: *",
    ] {
        parse(&format!(
            "REGISTER sip:example.com SIP/2.0
To: sip:j.user@example.com
From: sip:j.user@example.com;tag=87321hj23128
Max-Forwards: 8
Call-ID: regaut01.0ha0isndaksdj
CSeq: 9338 REGISTER
Via: SIP/2.0/TCP 192.0.2.253;branch=z9hG4bKkdjuw
{extra}
Content-Length:0

"
        ));
    }
}

#[test]
fn s3_3_13_a_url_parameter_is_not_a_contact_parameter() {
    let outside = NameAddr::parse("sip:+19725552222@gw1.example.net;unknownparam").unwrap();
    let inside = NameAddr::parse("<sip:+19725552222@gw1.example.net;unknownparam>").unwrap();
    assert!(outside.params.contains("unknownparam") && outside.uri.params.is_empty());
    assert!(inside.uri.params.contains("unknownparam") && inside.params.is_empty());
}

#[test]
fn s3_3_10_response_with_a_broadcast_via() {
    let message = parse(
        "SIP/2.0 200 OK
Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923
Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23
Call-ID: bcast.0384840201234ksdfak3j2erwedfsASdf
CSeq: 35 INVITE
From: sip:user@example.com;tag=11141343
To: sip:user@example.edu;tag=2229
Content-Length: 0
Contact: <sip:user@host28.example.com>

",
    );
    assert_eq!(message.vias().unwrap().len(), 2);
}

#[test]
fn s3_3_11_max_forwards_of_zero() {
    let message = parse(
        "OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: sip:caller@example.net;tag=3ghsd41
Call-ID: zeromf.jfasdlfnm2o2l43r5u0asdfas
CSeq: 39234321 OPTIONS
Via: SIP/2.0/UDP host1.example.com;branch=z9hG4bKkdjuw2349i
Max-Forwards: 0
Content-Length: 0

",
    );
    assert_eq!(message.max_forwards(), Some(0));
}

#[test]
fn s3_4_1_invite_with_rfc_2543_syntax() {
    let message = parse(
        "INVITE sip:UserB@example.com SIP/2.0
Via: SIP/2.0/UDP iftgw.example.com
From: <sip:+13035551111@ift.client.example.net;user=phone>
Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>
To: sip:+16505552222@ss1.example.net;user=phone
Call-ID: inv2543.1717@ift.client.example.com
CSeq: 56 INVITE
Content-Type: application/sdp

v=0
o=mhandley 29739 7272939 IN IP4 192.0.2.5
s=-
c=IN IP4 192.0.2.5
t=0 0
m=audio 49217 RTP/AVP 0
",
    );
    assert_eq!(message.top_via().unwrap().branch(), None);
    assert_eq!(message.from().unwrap().tag(), None);
    assert_eq!(message.max_forwards(), None);
    assert!(message.body.ends_with(b"RTP/AVP 0\r\n"));
}

//! Offer, answer, re-offer, delete: what is told, and what call control is asked to do.

use super::*;
use crate::flow::PtOp;

#[test]
fn an_answered_call_flows_both_ways_and_an_offer_alone_lets_nothing_through() {
    let mut rig = rig();
    let to_b = rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0 101")));
    assert!(to_b.contains("c=IN IP4 198.18.1.10"), "{to_b}");
    assert!(rig.plans(Side::A).is_empty(), "nothing flows before the answer");
    let to_a = rig.told(t(2), &answer("f", "t", sdp("192.0.2.2:5000", "0 101")));
    assert_ne!(port(&to_a), port(&to_b));
    let [plan] = &rig.plans(Side::A)[..] else { panic!("one plan from A") };
    assert_eq!(plan.out_destination, addr("192.0.2.2:5000"));
    assert_eq!(plan.out_source.port(), port(&to_b), "B hears it from the port it was told");
    let reply = rig.send(t(3), &command("delete", "f", "t"));
    assert_eq!(text(&reply, "result"), "ok");
    assert!(reply.get("tags").is_some() && reply.get("totals").is_some());
    assert_eq!((rig.engine.sessions(), rig.ng.in_progress()), (0, 0));
}

#[test]
fn g711_is_converted_where_transcode_and_mask_ask_for_it() {
    let mut rig = rig();
    let flags: Vec<Value> = vec!["codec-mask-PCMU".into(), "codec-transcode-PCMA".into()];
    let to_b = rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0")).with("flags", flags));
    assert!(to_b.contains("RTP/AVP 8\r\n"), "{to_b}");
    let to_a = rig.told(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "8")));
    assert!(to_a.contains("RTP/AVP 0\r\n"), "{to_a}");
    assert_eq!(rig.plans(Side::A)[0].rules[0].op, PtOp::MuToA);
    assert_eq!(rig.plans(Side::B)[0].rules[0].op, PtOp::AToMu);
}

#[test]
fn interfaces_and_families_choose_the_addresses() {
    let mut rig = rig();
    let direction: Vec<Value> = vec!["a".into(), "out".into()];
    let bridged = offer("f", "", sdp("192.0.2.1:4000", "0")).with("direction", direction).with("address family", "IP6");
    let to_b = rig.told(t(1), &bridged);
    assert!(to_b.contains("c=IN IP6 2001:db8::10\r\n"), "{to_b}");
    let to_a = rig.told(t(1), &answer("f", "t", sdp("[2001:db8::2]:5000", "0")));
    assert!(to_a.contains("c=IN IP4 198.18.1.10\r\n"), "{to_a}");
    let unknown: Vec<Value> = vec!["a".into(), "nowhere".into()];
    let wrong = offer("g", "", sdp("192.0.2.1:4000", "0")).with("direction", unknown);
    assert_eq!(rig.fails(t(1), &wrong), "no interface is called \"nowhere\"");
    assert_eq!(rig.engine.sessions(), 1, "what failed holds no port");
    let direction: Vec<Value> = vec!["a".into(), "out".into()];
    let told = rig.told(t(1), &offer("g", "", sdp("192.0.2.1:4000", "0")).with("direction", direction));
    assert!(told.contains("c=IN IP4 203.0.113.9\r\n"), "peers are told the advertised address: {told}");
}

#[test]
fn a_later_offer_of_either_side_keeps_the_ports_and_takes_effect_with_its_answer() {
    let mut rig = rig();
    let to_b = rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0")));
    let to_a = rig.told(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "0")));
    let again = rig.told(t(2), &offer("t", "f", sdp("192.0.2.2:5008", "0")));
    assert_eq!(port(&again), port(&to_a), "A keeps the port it knows");
    assert_eq!(rig.plans(Side::A)[0].out_destination, addr("192.0.2.2:5000"), "not before the answer");
    let back = rig.told(t(2), &answer("t", "f", sdp("192.0.2.1:4000", "0")));
    assert_eq!(port(&back), port(&to_b));
    assert_eq!(rig.plans(Side::A)[0].out_destination, addr("192.0.2.2:5008"));
    assert_eq!(rig.engine.sessions(), 1);
}

#[test]
fn a_late_offer_comes_from_the_callee() {
    let mut rig = rig();
    rig.told(t(1), &offer("t", "f", sdp("192.0.2.2:5000", "0")));
    rig.told(t(1), &answer("t", "f", sdp("192.0.2.1:4000", "0")));
    assert_eq!(rig.plans(Side::A)[0].out_destination, addr("192.0.2.1:4000"));
    rig.send(t(2), &command("delete", "f", "t"));
    assert_eq!(rig.engine.sessions(), 0);
}

#[test]
fn a_command_that_comes_again_is_answered_again_and_not_carried_out_twice() {
    let mut rig = rig();
    let mut bytes = b"same ".to_vec();
    bencode::write_dictionary(&offer("f", "", sdp("192.0.2.1:4000", "0")), &mut bytes);
    let first = rig.raw(t(1), &bytes).unwrap();
    assert_eq!(rig.raw(t(2), &bytes), Some(first));
    assert_eq!((rig.ng.counters.calls, rig.ng.counters.repeated), (1, 1));
}

#[test]
fn sections_are_carried_refused_or_opaque_each_apart() {
    let mut rig = rig();
    let more =
        "m=video 4100 RTP/AVP 96 97\r\na=rtpmap:96 H264/90000\r\na=rtpmap:97 H264/90000\r\nm=image 4200 udptl t38\r\n";
    let to_b = rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0") + more));
    assert!(to_b.contains("m=image 0 udptl t38"), "{to_b}");
    assert_eq!(rig.engine.sessions(), 2);
    let more = "m=video 5100 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\nm=image 0 udptl t38\r\n";
    let to_a = rig.told(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "0") + more));
    assert!(to_a.contains("RTP/AVP 97\r\n") && to_a.contains("m=image 0"), "{to_a}");
    let video = rig.plans(Side::A).into_iter().find(|plan| plan.out_destination == addr("192.0.2.2:5100")).unwrap();
    assert_eq!(video.rules.iter().map(|r| (r.pt_in, r.pt_out)).collect::<Vec<_>>(), [(97, 97)], "numbers stay");
}

#[test]
fn a_section_that_is_refused_later_falls_silent() {
    let mut rig = rig();
    let video = |port: u16| format!("m=video {port} RTP/AVP 96\r\n");
    rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0") + &video(4100)));
    rig.told(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "0") + &video(5100)));
    assert_eq!(rig.plans(Side::A).iter().filter(|plan| plan.out_destination.is_some()).count(), 2);
    rig.told(t(2), &offer("f", "t", sdp("192.0.2.1:4000", "0") + &video(0)));
    rig.told(t(2), &answer("f", "t", sdp("192.0.2.2:5000", "0") + &video(0)));
    let flowing: Vec<_> = rig.plans(Side::A).into_iter().filter_map(|plan| plan.out_destination).collect();
    assert_eq!(flowing, [addr("192.0.2.2:5000").unwrap()]);
}

#[test]
fn what_needs_keys_of_tandems_own_is_refused_and_sdes_passes_between_the_ends() {
    let mut rig = rig();
    let secure = |at: &str, more: &str| sdp(at, "0").replace("RTP/AVP", "RTP/SAVP") + more;
    let keys = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n";
    let to_plain = offer("f", "", secure("192.0.2.1:4000", keys)).with("transport-protocol", "RTP/AVP");
    assert_eq!(rig.fails(t(1), &to_plain), "RTP/AVP is not there: media is neither encrypted nor decrypted");
    let to_secure = offer("f", "", sdp("192.0.2.1:4000", "0")).with("transport-protocol", "RTP/SAVP");
    assert!(rig.fails(t(1), &to_secure).starts_with("RTP/SAVP is not there"));
    let dtls = sdp("192.0.2.1:4000", "0").replace("RTP/AVP", "UDP/TLS/RTP/SAVPF");
    assert!(rig.fails(t(1), &offer("f", "", dtls)).starts_with("UDP/TLS/RTP/SAVPF is not there"));
    assert_eq!(rig.ng.in_progress(), 0);
    let told = rig.told(t(1), &offer("f", "", secure("192.0.2.1:4000", keys)));
    assert!(told.contains(keys) && told.contains("RTP/SAVP 0"), "{told}");
    rig.told(t(1), &answer("f", "t", secure("192.0.2.2:5000", keys)));
    assert_eq!(rig.plans(Side::A)[0].rules[0].op, PtOp::Relay);
}

#[test]
fn where_the_message_came_from_holds_if_it_is_asked_for() {
    let mut rig = rig();
    let from: Vec<Value> = vec!["IP4".into(), "203.0.113.77".into()];
    let flags: Vec<Value> = vec!["SIP source address".into()];
    let nat = offer("f", "", sdp("10.0.0.1:4000", "0")).with("received from", from).with("flags", flags);
    rig.told(t(1), &nat);
    rig.told(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "0")));
    assert_eq!(rig.plans(Side::B)[0].out_destination, addr("203.0.113.77:4000"));
}

#[test]
fn rtcp_shares_a_port_with_each_side_apart() {
    let mut rig = rig();
    let mux = || sdp("192.0.2.1:4000", "0") + "a=rtcp-mux\r\n";
    let demux: Vec<Value> = vec!["demux".into()];
    let to_b = rig.told(t(1), &offer("f", "", mux()).with("rtcp-mux", demux));
    assert!(!to_b.contains("rtcp-mux"), "{to_b}");
    let to_a = rig.told(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "0")));
    assert!(to_a.contains("a=rtcp-mux\r\n") && to_a.contains(&format!("a=rtcp:{}\r\n", port(&to_a))), "{to_a}");
    let rtcp: Vec<_> =
        rig.engine.flows().filter(|f| f.class == FlowClass::Rtcp).map(|f| (f.side, f.local.port())).collect();
    assert!(rtcp.contains(&(Side::A, port(&to_a))), "{rtcp:?}");
    assert!(rtcp.contains(&(Side::B, port(&to_b) + 1)), "{rtcp:?}");
}

#[test]
fn a_marked_description_that_comes_back_is_left_alone() {
    let mut rig = rig();
    let flags = || -> Vec<Value> { vec!["loop protect".into()] };
    let told = rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0")).with("flags", flags()));
    assert!(told.contains("a=tandem:0000000000000007\r\n"), "{told}");
    let again = command("offer", "x", "").with("call-id", "other").with("sdp", told.clone()).with("flags", flags());
    assert_eq!(rig.told(t(1), &again), told);
    assert_eq!(rig.engine.sessions(), 1);
}

#[test]
fn answers_that_do_not_fit_change_nothing() {
    let mut rig = rig();
    assert_eq!(rig.fails(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "0"))), "unknown call-id");
    rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0")));
    assert_eq!(rig.fails(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "8"))), "no codec in common");
    let two = sdp("192.0.2.2:5000", "0") + "m=video 0 RTP/AVP 96\r\n";
    assert_eq!(rig.fails(t(1), &answer("f", "t", two)), "the answer has 2 media sections, the offer had 1");
    assert_eq!(rig.fails(t(1), &answer("x", "t", sdp("192.0.2.2:5000", "0"))), "an answer without an offer");
    assert!(rig.plans(Side::A).is_empty());
    rig.told(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "0")));
}

#[test]
fn an_answer_that_comes_again_waits_anew_for_who_was_not_heard_yet() {
    let mut rig = rig();
    rig.told(t(1), &offer("f", "", sdp("192.0.2.1:4000", "0")));
    rig.told(t(1), &answer("f", "t", sdp("192.0.2.2:5000", "0")));
    assert!(rig.plans(Side::B)[0].candidates, "the window is open after the early answer");
    (1..20).for_each(|second| (0..60).for_each(|n| rig.tick(t(second) + std::time::Duration::from_millis(n * 16))));
    assert!(!rig.plans(Side::B)[0].candidates, "media.latching.window_ms has passed");
    rig.told(t(20), &answer("f", "t", sdp("192.0.2.2:5000", "0")));
    assert!(rig.plans(Side::B)[0].candidates && !rig.plans(Side::A)[0].candidates, "for the answerer alone");
    assert_eq!(rig.plans(Side::A)[0].out_destination, addr("192.0.2.2:5000"));
}

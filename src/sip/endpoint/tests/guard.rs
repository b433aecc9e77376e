//! The guard at the endpoint: what is an offence, what happens on connections, and that bans cross to another host.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::harness::*;
use crate::sip::{
    endpoint::Endpoint,
    guard::{Gate, Offence},
    message::HeaderName,
};

fn bans(net: &Net) -> Vec<(String, Option<Offence>)> {
    net.endpoint.bans(net.now).iter().map(|ban| (ban.net.to_string(), ban.offence)).collect()
}

#[test]
fn strangers_who_keep_calling_and_those_who_send_rubbish_are_banned() {
    let mut net = Net::new();
    for _ in 0..19 {
        let invite = net.invite(NOBODY, "100");
        net.send(NOBODY, &invite);
        net.response_to(NOBODY, 403);
    }
    assert_eq!(bans(&net), []);
    let invite = net.invite(NOBODY, "100");
    net.send(NOBODY, &invite);
    assert_eq!(bans(&net), [("203.0.113.9/32".to_owned(), Some(Offence::UnknownCaller))]);
    let rubbish = SocketAddr::new([203, 0, 113, 10].into(), 5060);
    for _ in 0..20 {
        net.send_bytes(Net::udp(rubbish), b"INVITE this is not SIP\r\n\r\n");
    }
    let all = net.endpoint.bans(net.now);
    assert_eq!((all.len(), net.endpoint.ban_counts()), (2, (2, 0)));
    assert!(!net.endpoint.admits(net.now, rubbish.ip()));
    assert_eq!(all[0].until_ms - all[0].since_ms, 3_600_000);
    assert_eq!(all[0].since_ms, EPOCH_MS);
}

#[test]
fn a_trunk_may_send_what_it_likes() {
    let mut net = Net::new();
    for _ in 0..100 {
        net.send_bytes(Net::udp(A), b"INVITE this is not SIP\r\n\r\n");
        let mut invite = net.invite(A, "999");
        invite.headers.push(HeaderName::UserAgent, "friendly-scanner");
        assert!(net.endpoint.admits(net.now, A.ip()) && net.endpoint.heeds(net.now, A.ip(), &invite.write()));
    }
    assert_eq!(bans(&net), []);
    let up = call_up(&mut net);
    take_down(&mut net, &up, 2);
}

#[test]
fn a_scanner_on_a_connection_is_met_with_silence() {
    let mut net = Net::new();
    let flow = Net::tcp(NOBODY, 4);
    for _ in 0..20 {
        let mut invite = net.invite(NOBODY, "100");
        invite.headers.push(HeaderName::UserAgent, "friendly-scanner");
        net.send_on(flow, &invite);
    }
    net.nothing_to(NOBODY);
    assert_eq!(net.endpoint.guard_counters().scanner, 20);
    assert!(net.endpoint.shuts_out(net.now, NOBODY.ip()));
    let invite = net.invite(NOBODY, "100");
    net.send_on(flow, &invite);
    net.nothing_to(NOBODY);
    assert_eq!(net.endpoint.guard_counters().banned, 1);
    assert_eq!(net.endpoint.next_deadline(), None, "bans wake nobody");
}

#[test]
fn bans_cross_to_the_host_that_takes_over() {
    let mut net = Net::new();
    net.endpoint.ban(net.now, "203.0.113.0/24".parse().unwrap(), Some(Duration::from_secs(100))).unwrap();
    let saved = net.endpoint.save(net.now);
    let config = Arc::new(toml::from_str(CONFIG).unwrap());
    // The other host's clock shows something else; the ban has as long to go.
    net.now = crate::base::Time::from_secs(3);
    net.endpoint = Endpoint::from_shadow(config, [9; 32], net.now, EPOCH_MS, &saved);
    assert!(!net.endpoint.admits(net.now, NOBODY.ip()));
    let ban = &net.endpoint.bans(net.now)[0];
    assert_eq!((ban.since_ms, ban.until_ms), (EPOCH_MS, EPOCH_MS + 100_000));
    net.pass(99_000);
    assert!(!net.endpoint.admits(net.now, NOBODY.ip()));
    net.pass(1_000);
    assert!(net.endpoint.admits(net.now, NOBODY.ip()));
}

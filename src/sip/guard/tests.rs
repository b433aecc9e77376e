//! The guard as a whole: who is let in, who earns a ban, and that no trunk is ever touched.

use super::*;

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let text = r#"
        port = []
        [[address]]
        name = "a"
        port = "p"
        local = "198.18.0.1"
        [media]
        [sip]
        listen = []
        [[trunk]]
        name = "office"
        from = ["198.18.0.0/24", "2001:db8:0:7::5/128"]
        address = "a"
        [[trunk]]
        name = "carrier"
        address = "a"
        destinations = ["sip:198.18.1.2:5070;transport=tcp"]
    "#;
    let mut config: Config = toml::from_str(text).unwrap();
    change(&mut config);
    config
}

fn guard() -> Guard {
    Guard::new(&config(|_| ()))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

const SCAN: &[u8] = b"OPTIONS sip:100@198.18.0.1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n";
const START: Time = Time::from_secs(10_000);

fn after(s: u64) -> Time {
    START + Duration::from_secs(s)
}

#[test]
fn a_scanner_is_ignored_and_then_banned_for_the_time_that_is_configured() {
    let mut guard = guard();
    let scanner = ip("203.0.113.9");
    for _ in 0..20 {
        assert!(guard.admits(START, scanner));
        assert!(!guard.heeds(START, scanner, SCAN));
    }
    assert!(!guard.admits(START, scanner), "banned before anything is looked at");
    assert!(guard.admits(START, ip("203.0.113.10")), "its neighbour is not");
    assert!(guard.shuts_out(START, scanner));
    assert_eq!((guard.counters.scanner, guard.counters.banned, guard.counters.bans), (20, 1, [1, 0, 0, 0]));
    let bans: Vec<_> = guard.bans(START).map(|(net, ban)| (*net, ban.offence, ban.until)).collect();
    assert_eq!(bans, [(net("203.0.113.9/32"), Some(Offence::Scanner), after(3_600))]);
    assert!(!guard.admits(after(3_599), scanner));
    assert!(guard.admits(after(3_600), scanner));
    assert_eq!(guard.bans(after(3_600)).count(), 0);
}

#[test]
fn offences_that_are_spread_out_earn_no_ban() {
    let mut guard = guard();
    for n in 0..100 {
        guard.offends(after(n * 4), ip("203.0.113.9"), Offence::UnknownCaller);
    }
    assert_eq!(guard.bans(after(400)).count(), 0);
    for _ in 0..20 {
        guard.offends(after(500), ip("203.0.113.9"), Offence::UnknownCaller);
    }
    assert_eq!(guard.bans(after(500)).count(), 1);
}

#[test]
fn whoever_sends_too_much_is_cut_and_then_banned() {
    let mut guard = guard();
    let source = ip("203.0.113.9");
    let admitted = (0..1_000).filter(|_| guard.admits(START, source)).count();
    assert_eq!(admitted, 40);
    assert_eq!((guard.counters.source_limit, guard.counters.banned), (20, 940));
    assert_eq!(guard.counters.bans, [0, 0, 0, 1]);
}

#[test]
fn an_ipv6_host_is_its_64_but_a_trunk_in_it_is_known() {
    let mut guard = guard();
    let host = |n: u16| ip(&format!("2001:db8:0:7::{n:x}"));
    let admitted = (0x10..0x300).filter(|n| guard.admits(START, host(*n))).count();
    assert_eq!(admitted, 40);
    assert_eq!(guard.bans(START).next().map(|(net, _)| *net), Some(net("2001:db8:0:7::/64")));
    assert!((0..5_000).all(|_| guard.admits(START, host(5))), "a trunk's address");
    // An IPv4 address on a dual-stack socket is the same source.
    assert!(guard.admits(START, ip("::ffff:198.18.0.9")) && guard.counters.trunk_limit == 0);
    assert!(!guard.shuts_out(START, host(5)) && guard.shuts_out(START, host(0x10)));
}

#[test]
fn trunks_are_never_banned_nor_limited_with_the_strangers() {
    let mut guard = guard();
    for trunk in [ip("198.18.0.77"), ip("198.18.1.2")] {
        for _ in 0..5_000 {
            assert!(guard.admits(START, trunk));
            assert!(guard.heeds(START, trunk, SCAN));
            guard.offends(START, trunk, Offence::Malformed);
        }
    }
    assert_eq!(guard.bans(START).count(), 0);
    // Even when strangers have used up what is theirs.
    for n in 0..100_000u32 {
        let stranger = IpAddr::from(std::net::Ipv4Addr::from(0xcb00_0000 + n));
        let _ = guard.admits(START, stranger) && guard.heeds(START, stranger, b"");
    }
    assert!(guard.counters.strangers_limit > 0);
    assert!(guard.admits(START, ip("198.18.0.77")));
}

#[test]
fn a_trunk_has_its_own_limit_where_one_is_set() {
    let mut guard = Guard::new(&config(|c| c.sip.protection.trunk_per_s = 100));
    let admitted = (0..1_000).filter(|_| guard.admits(START, ip("198.18.0.77"))).count();
    assert_eq!((admitted, guard.counters.trunk_limit), (100, 900));
    assert!(guard.admits(START, ip("198.18.0.78")), "of each address");
    assert_eq!(guard.bans(START).count(), 0);
}

#[test]
fn all_strangers_together_are_bounded_and_so_is_what_is_kept_of_them() {
    let mut guard = guard();
    let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(0x0100_0000 + n));
    let heeded =
        (0..200_000).filter(|n| guard.admits(START, address(*n)) && guard.heeds(START, address(*n), b"")).count();
    assert_eq!(heeded, 1_000);
    assert!(guard.of_source.sources() <= SIP_SOURCES);
    for n in 0..200_000 {
        for _ in 0..20 {
            guard.offends(after(10), address(n), Offence::Scanner);
        }
    }
    assert!(guard.ban_counts().0 <= crate::base::limits::SIP_BANS);
    // All of it runs out.
    guard.tidy(after(20_000));
    assert_eq!(guard.ban_counts(), (0, 0));
}

#[test]
fn the_operator_bans_networks_and_lifts_bans() {
    let mut guard = guard();
    let ban = guard.ban(START, net("203.0.113.7/24"), Some(Duration::from_secs(60))).unwrap();
    assert_eq!((ban.offence, ban.until), (None, after(60)));
    assert!(!guard.admits(START, ip("203.0.113.200")));
    assert!(!guard.admits(after(59), ip("203.0.113.200")) && guard.admits(after(60), ip("203.0.113.200")));
    // As long as the configuration says.
    assert_eq!(guard.ban(START, net("203.0.113.0/24"), None).unwrap().until, after(3_600));
    assert_eq!(guard.ban_counts(), (0, 1), "the same network once");
    assert_eq!(guard.unban(net("203.0.113.0/25")), None, "only what is banned");
    assert!(guard.unban(net("203.0.113.9/24")).is_some());
    assert!(guard.admits(START, ip("203.0.113.200")));
    // Never a trunk: by its own address not at all, within a wider network not in effect.
    assert_eq!(guard.ban(START, net("198.18.0.9/32"), None), Err(BanError::Trunk(net("198.18.0.9/32"))));
    guard.ban(START, net("198.18.0.0/15"), None).unwrap();
    assert!(guard.admits(START, ip("198.18.0.9")) && !guard.admits(START, ip("198.19.0.9")));
}

#[test]
fn whom_we_ask_may_answer() {
    let mut guard = guard();
    let peer = ip("203.0.113.50");
    guard.vouch(START, peer);
    assert!((0..1_000).all(|_| guard.admits(START, peer) && guard.heeds(START, peer, SCAN)));
    assert_eq!((1..1_000).filter(|_| guard.admits(after(3_600), peer)).count(), 40, "for an hour");
    for n in 0..100_000u32 {
        guard.vouch(START, IpAddr::from(std::net::Ipv4Addr::from(0xcb00_0000 + n)));
    }
    assert!(guard.vouched.len() <= SIP_VOUCHED);
}

#[test]
fn bans_outlive_the_process() {
    let mut guard = guard();
    guard.ban(START, net("203.0.113.0/24"), None).unwrap();
    for _ in 0..20 {
        guard.offends(START, ip("192.0.2.66"), Offence::Malformed);
    }
    let mut next = Guard::new(&config(|_| ()));
    for net in guard.book().networks() {
        let written = serde_json::to_string(guard.book().get(net).unwrap()).unwrap();
        next.book_mut().put(net, serde_json::from_str(&written).unwrap());
    }
    assert!(!next.admits(START, ip("203.0.113.1")) && !next.admits(START, ip("192.0.2.66")));
    assert_eq!(next.ban_counts(), (1, 1));
}

#[test]
fn switched_off_it_lets_everything_through() {
    let mut guard = Guard::new(&config(|c| c.sip.protection.enabled = false));
    let source = ip("203.0.113.9");
    assert!((0..10_000).all(|_| guard.admits(START, source) && guard.heeds(START, source, SCAN)));
    assert_eq!(guard.ban(START, net("203.0.113.9/32"), None), Err(BanError::Disabled));
    assert_eq!(guard.counters, GuardCounters::default());
}

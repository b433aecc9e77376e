//! Addresses, routes, neighbours and the exception device against the real kernel, in namespaces of our own.

#![allow(clippy::unwrap_used, clippy::panic)]

mod netns;

use std::{
    net::IpAddr,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use netns::{Inside, Lab, attempt, inside, possible, run};
use tandem::{
    base::{Time, clock::Monotonic, ids::PortId},
    config::{KernelRoute, Port},
    io::{
        exception::Exception,
        netlink::{Addresses, Hop, NeighbourEvent, Neighbours, Resolution, Unreachable},
    },
};

const PORT: PortId = PortId(0);

fn port(exception: &str, addresses: &[&str], routes: &[(&str, &str)]) -> Port {
    Port {
        name: "wan".into(),
        device: String::new(),
        device_args: String::new(),
        exception: exception.into(),
        mtu: 1500,
        rx_descriptors: 64,
        tx_descriptors: 64,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        routes: routes
            .iter()
            .map(|(to, via)| KernelRoute { to: to.parse().unwrap(), via: via.parse().unwrap() })
            .collect(),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ifindex(interface: &str) -> u32 {
    run("cat", &[&format!("/sys/class/net/{interface}/ifindex")]).trim().parse().unwrap()
}

/// Polls until an event satisfies `wanted`; all events seen until then.
fn wait_for(
    neighbours: &mut Neighbours,
    limit: Duration,
    wanted: impl Fn(&NeighbourEvent) -> bool,
) -> Vec<NeighbourEvent> {
    let (clock, start) = (Monotonic::start(), Instant::now());
    let mut events = Vec::new();
    while !events.iter().any(&wanted) {
        assert!(start.elapsed() < limit, "not seen within {limit:?}; seen: {events:?}");
        neighbours.poll(clock.now(), &mut |event| events.push(event));
        std::thread::sleep(Duration::from_millis(10));
    }
    events
}

#[test]
fn next_hops_follow_the_kernel() {
    let Some(lab) = inside() else {
        if possible("next_hops_follow_the_kernel") {
            Lab::lay("hop", 2).run_inside("next_hops_follow_the_kernel");
        }
        return;
    };
    lab.in_b("ip addr add 198.18.0.2/24 dev b0");
    lab.in_b("ip addr add 2001:db8::2/64 dev b0 nodad");
    let a0 = ifindex("a0");
    addresses_and_routes(a0);
    resolution(&lab, a0);
}

fn addresses_and_routes(a0: u32) {
    let port = port(
        "a0",
        &["198.18.0.1/24", "2001:db8::1/64"],
        &[
            ("198.18.9.0/24", "198.18.0.2"),
            ("2001:db8:9::/64", "2001:db8::2"),
            ("198.18.8.0/24", "203.0.113.1"),
            ("0.0.0.0/0", "198.18.0.2"),
        ],
    );
    let mut addresses = Addresses::open().unwrap();
    let refused = addresses.set_up(a0, &port);
    let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].starts_with("port `wan`: the route to 198.18.8.0/24 via 203.0.113.1 could not be set: ")
            && refused[0].ends_with("(its next hop lies in no network of this port)"),
        "{refused:?}"
    );
    let shown = run("ip", &["-o", "addr", "show", "dev", "a0"]);
    assert!(shown.contains("198.18.0.1/24") && shown.contains("2001:db8::1/64"), "{shown}");
    let v6 = shown.lines().find(|l| l.contains("2001:db8::1/64")).unwrap();
    assert!(v6.contains("nodad") && !v6.contains("tentative"), "IPv6 answers at once: {v6}");
    let routes = run("ip", &["route"]) + &run("ip", &["-6", "route"]);
    assert!(routes.contains("198.18.9.0/24 via 198.18.0.2 dev a0"), "{routes}");
    assert!(routes.contains("2001:db8:9::/64 via 2001:db8::2 dev a0"), "{routes}");
    assert!(routes.contains("default via 198.18.0.2 dev a0"), "{routes}");

    // Again: addresses are no error; a route that is there is told, and stays.
    let again = addresses.set_up(a0, &port);
    assert_eq!(again.len(), 4, "{again:?}");
    assert!(again.iter().all(|e| e.to_string().contains("the route to")), "{again:?}");
    // A floating address comes and goes.
    addresses.add(a0, "198.18.0.200/24".parse().unwrap()).unwrap();
    assert!(run("ip", &["-o", "addr", "show", "dev", "a0"]).contains("198.18.0.200/24"));
    for _ in 0..2 {
        addresses.remove(a0, "198.18.0.200/24".parse().unwrap()).unwrap();
        addresses.remove(a0, "2001:db8::77/64".parse().unwrap()).unwrap();
    }
    assert!(!run("ip", &["-o", "addr", "show", "dev", "a0"]).contains("198.18.0.200/24"));
    run("ip", &["route", "del", "default"]);
}

fn resolution(lab: &Inside, a0: u32) {
    // A second interface, which is no port.
    run("ip", &["addr", "add", "198.19.0.1/24", "dev", "a1"]);
    // So that a dead peer is noticed within seconds.
    for (key, value) in
        [("base_reachable_time_ms", "1000"), ("delay_first_probe_time", "1"), ("interval_probe_time_ms", "500")]
    {
        for family in ["ipv4", "ipv6"] {
            std::fs::write(format!("/proc/sys/net/{family}/neigh/a0/{key}"), value).unwrap();
        }
    }
    let mut neighbours = Neighbours::open(vec![(a0, PORT)]).unwrap();
    assert!(neighbours.as_raw_fd() >= 0 && neighbours.is_empty());
    let now = Time::from_secs(1);
    let unreachable = |n: &mut Neighbours, text: &str| match n.resolve(now, ip(text)) {
        Resolution::Unreachable(why) => why,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(unreachable(&mut neighbours, "203.0.113.5"), Unreachable::NoRoute);
    assert_eq!(unreachable(&mut neighbours, "2001:db8:ffff::5"), Unreachable::NoRoute);
    assert_eq!(unreachable(&mut neighbours, "198.18.0.1"), Unreachable::Local);
    assert_eq!(unreachable(&mut neighbours, "127.0.0.1"), Unreachable::Local);
    assert_eq!(unreachable(&mut neighbours, "224.0.0.1"), Unreachable::NotUnicast);
    assert_eq!(unreachable(&mut neighbours, "198.18.0.255"), Unreachable::NotUnicast);
    assert_eq!(unreachable(&mut neighbours, "198.19.0.2"), Unreachable::OtherInterface);
    assert!(neighbours.is_empty(), "what leads nowhere is not followed");

    let peer = lab.mac_in_b("b0");
    for (near, beyond) in [("198.18.0.2", "198.18.9.77"), ("2001:db8::2", "2001:db8:9::77")] {
        let hop = Hop { port: PORT, ip: ip(near) };
        if let Resolution::Pending { hop: asked } = neighbours.resolve(now, ip(near)) {
            assert_eq!(asked, hop);
            wait_for(&mut neighbours, Duration::from_secs(5), |e| *e == NeighbourEvent::Found { hop, mac: peer });
        }
        let resolved = Resolution::Resolved { hop, mac: peer };
        assert_eq!(neighbours.resolve(now, ip(near)), resolved);
        assert_eq!(neighbours.resolve(now, ip(beyond)), resolved, "behind the gateway");
    }
    assert_eq!(neighbours.len(), 2);
    let shown = run("ip", &["neigh", "show", "dev", "a0"]);
    assert_eq!(shown.matches("managed").count(), 2, "{shown}");

    // A hop that does not answer is pending, and stays so.
    let silent = Hop { port: PORT, ip: ip("198.18.0.3") };
    assert_eq!(neighbours.resolve(now, silent.ip), Resolution::Pending { hop: silent });
    // Routes: many changes, one event.
    neighbours.poll(now, &mut |_| ());
    run("ip", &["route", "add", "198.18.5.0/24", "via", "198.18.0.2"]);
    run("ip", &["route", "add", "198.18.6.0/24", "via", "198.18.0.2"]);
    let changed = |e: &NeighbourEvent| *e == NeighbourEvent::RoutesChanged;
    let events = wait_for(&mut neighbours, Duration::from_secs(1), changed);
    assert_eq!(events.iter().filter(|e| changed(e)).count(), 1);

    // The peer gets another MAC and speaks: one event, and that MAC from now on.
    let hop = Hop { port: PORT, ip: ip("198.18.0.2") };
    let moved = [2, 0, 0, 0, 0, 0x99];
    lab.in_b("ip link set b0 address 02:00:00:00:00:99");
    lab.in_b("ping -c 1 -W 1 198.18.0.1");
    wait_for(&mut neighbours, Duration::from_secs(10), |e| *e == NeighbourEvent::Found { hop, mac: moved });
    assert_eq!(neighbours.resolve(now, hop.ip), Resolution::Resolved { hop, mac: moved });

    // Somebody deletes the neighbour: it is lost for a moment and comes back by itself.
    run("ip", &["neigh", "del", "198.18.0.2", "dev", "a0"]);
    wait_for(&mut neighbours, Duration::from_secs(5), |e| *e == NeighbourEvent::Found { hop, mac: moved });
    // The peer dies, without any traffic of ours: the kernel notices, because it manages the neighbour.
    lab.in_b("ip addr del 198.18.0.2/24 dev b0");
    wait_for(&mut neighbours, Duration::from_secs(30), |e| *e == NeighbourEvent::Lost { hop });
    assert_eq!(neighbours.resolve(now, hop.ip), Resolution::Pending { hop });
    // And comes back, asked by the kernel itself.
    lab.in_b("ip addr add 198.18.0.2/24 dev b0");
    wait_for(&mut neighbours, Duration::from_secs(30), |e| *e == NeighbourEvent::Found { hop, mac: moved });

    neighbours.forget(hop);
    neighbours.forget(silent);
    assert_eq!(neighbours.len(), 1);
    let shown = run("ip", &["neigh", "show", "dev", "a0"]);
    assert_eq!(shown.matches("managed").count(), 1, "{shown}");
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]))).sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    !((folded & 0xFFFF) + (folded >> 16)) as u16
}

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 0x20];

/// RFC 826: who has 198.18.0.1, tell 198.18.0.9.
fn arp_request() -> Vec<u8> {
    let header = [&[0xFF; 6][..], &THEIRS, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &THEIRS].concat();
    [&header[..], &[198, 18, 0, 9], &[0; 6], &[198, 18, 0, 1]].concat()
}

/// RFC 792: an echo request from 198.18.0.9, which the kernel knows by then.
fn echo_request() -> Vec<u8> {
    let mut icmp = [&[8, 0, 0, 0, 0x12, 0x34, 0, 1][..], b"is anyone there?"].concat();
    let sum = checksum(&icmp).to_be_bytes();
    icmp[2..4].copy_from_slice(&sum);
    let mut ipv4 = vec![0x45, 0, 0, 20 + icmp.len() as u8, 0, 0, 0, 0, 64, 1, 0, 0, 198, 18, 0, 9, 198, 18, 0, 1];
    let sum = checksum(&ipv4).to_be_bytes();
    ipv4[10..12].copy_from_slice(&sum);
    [&OURS[..], &THEIRS, &[8, 0], &ipv4, &icmp].concat()
}

/// RFC 4861 §4.3: a neighbour solicitation for 2001:db8::1 from 2001:db8::9, to the solicited-node group.
fn solicitation() -> Vec<u8> {
    let address = |last: u8| -> Vec<u8> { [&[0x20, 0x01, 0x0D, 0xB8][..], &[0; 11], &[last]].concat() };
    let group = [&[0xFF, 2][..], &[0; 9], &[1, 0xFF, 0, 0, 1]].concat();
    let mut icmp = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &address(1), &[1, 1], &THEIRS].concat();
    // RFC 4443 §2.3: the pseudo-header counts.
    let pseudo = [&address(9)[..], &group, &[0, 0, 0, icmp.len() as u8, 0, 0, 0, 58], &icmp].concat();
    let sum = checksum(&pseudo).to_be_bytes();
    icmp[2..4].copy_from_slice(&sum);
    let ipv6 = [&[0x60, 0, 0, 0, 0, icmp.len() as u8, 58, 255][..], &address(9), &group].concat();
    [&[0x33, 0x33, 0xFF, 0, 0, 1][..], &THEIRS, &[0x86, 0xDD], &ipv6, &icmp].concat()
}

/// Writes `question`, again every quarter of a second, as neighbours repeat themselves (RFC 4861 §7.2.2), and reads until
/// a frame satisfies `answer`. The kernel joins an address's solicited-node group a moment after it has the address.
fn ask(device: &mut Exception, question: &[u8], answer: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut buffer = vec![0; device.frame_bytes()];
    for _ in 0..20 {
        assert!(device.write(question));
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_millis(250) {
            match device.read(&mut buffer).unwrap() {
                Some(frame) if answer(frame) => return frame.to_vec(),
                Some(_) => {}
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
    panic!("the kernel did not answer")
}

#[test]
fn the_kernel_answers_on_the_exception_device() {
    if inside().is_none() {
        if possible("the_kernel_answers_on_the_exception_device") {
            Lab::lay("tap", 0).run_inside("the_kernel_answers_on_the_exception_device");
        }
        return;
    }
    let mut device = Exception::open(PORT, "wan", "tan0", OURS, 1400).unwrap();
    assert_eq!((device.name(), device.ifindex()), ("tan0", ifindex("tan0")));
    let shown = run("ip", &["link", "show", "tan0"]);
    assert!(shown.contains("mtu 1400") && shown.contains("02:00:00:00:00:10") && shown.contains("UP"), "{shown}");
    let port = port("tan0", &["198.18.0.1/24", "2001:db8::1/64"], &[]);
    let refused = Addresses::open().unwrap().set_up(device.ifindex(), &port);
    assert!(refused.is_empty(), "{refused:?}");

    let reply = ask(&mut device, &arp_request(), |f| f.get(12..22) == Some(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]));
    assert_eq!(
        (&reply[..6], &reply[6..12], &reply[22..32]),
        (&THEIRS[..], &OURS[..], &[&OURS[..], &[198, 18, 0, 1]].concat()[..])
    );
    let pong = ask(&mut device, &echo_request(), |f| f.get(12..14) == Some(&[8, 0]) && f.get(23) == Some(&1));
    assert_eq!((pong[34], &pong[42..]), (0, &b"is anyone there?"[..]));
    assert_eq!(checksum(&pong[34..]), 0, "frames leave the kernel with their checksums filled in");
    let advert = ask(&mut device, &solicitation(), |f| f.get(12..14) == Some(&[0x86, 0xDD]) && f.get(54) == Some(&136));
    assert_eq!(advert[80..86], OURS, "RFC 4861 §4.4: the target's link-layer address");

    assert!(!device.write(&[1, 2, 3]), "no Ethernet header");
    let busy = Exception::open(PORT, "wan", "tan0", OURS, 1400).err().unwrap().to_string();
    assert!(busy.starts_with("port `wan`: the exception device `tan0` could not be made: "), "{busy}");
    assert!(busy.contains("is tandem running already?"), "{busy}");
    let long = Exception::open(PORT, "wan", "a-name-of-sixteen", OURS, 1400).err().unwrap().to_string();
    assert!(long.contains("1 to 15 characters"), "{long}");
    drop(device);
    assert!(!attempt("ip", &["link", "show", "tan0"]).status.success(), "it is gone with its owner");
}

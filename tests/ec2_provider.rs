//! The address provider `ec2` through the real SDK, against moto's server with the corrections of `tests/moto/`: each way
//! claims, confirms and moves back; what an API that is slow, away, throttling, forbidding or half done makes of it.
//!
//! Runs with `cargo test --features ec2 --test ec2_provider`; needs Python 3, and PyPI once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "moto/cloud.rs"]
mod cloud;

use std::{
    collections::BTreeSet,
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use cloud::Cloud;
use serde_json::json;
use tandem::ha::{
    generation::Generation,
    provider::{
        Floating, Place, Provider, ProviderError,
        ec2::{Choice, Ec2, PERMISSIONS, Settings, Target, Way},
    },
};

const FIRST: &str = "10.0.1.100";
const SECOND: &str = "10.0.1.101";
const PUBLIC: &str = "203.0.113.10";
const OTHER_PUBLIC: &str = "203.0.113.11";
const OVERLAY: &str = "198.51.100.7";
const OVERLAY6: &str = "2001:db8:ffff::7";

/// Two hosts; `a` has everything.
fn world() -> Cloud {
    Cloud::new(&json!({
        "vpc": "10.0.0.0/16",
        "hosts": {
            "a": {"subnet": "10.0.1.0/24", "mac": "02:00:00:00:00:0a", "addresses": ["10.0.1.10", FIRST, SECOND]},
            "b": {"subnet": "10.0.1.0/24", "mac": "02:00:00:00:00:0b", "addresses": ["10.0.1.11", "10.0.1.12"]},
        },
        "elastic": {PUBLIC: ["a", "10.0.1.10"], OTHER_PUBLIC: ["a", FIRST]},
        "routes": {"198.51.100.7/32": "a", "2001:db8:ffff::7/128": "a"},
        "tables": 2,
        "source_dest_check": false,
    }))
}

fn floating(local: &str) -> Floating {
    Floating { name: local.into(), local: local.parse().unwrap(), advertise: None }
}

fn mac(host: &str) -> Choice {
    Choice::Mac([2, 0, 0, 0, 0, if host == "a" { 0x0a } else { 0x0b }])
}

fn secondary(host: &str, addresses: &[&str]) -> Vec<Target> {
    let of = |address: &&str| Target { floating: floating(address), interface: mac(host), way: Way::Secondary };
    addresses.iter().map(of).collect()
}

/// The Elastic IP, onto the address of the host that ends in its own way.
fn elastic(cloud: &Cloud, host: &str, public: &str, local: &str) -> Target {
    let allocation = cloud.text(&format!("/elastic/{public}"));
    let floating = Floating { advertise: Some(public.parse().unwrap()), ..floating(local) };
    Target { floating, interface: mac(host), way: Way::Elastic { allocation } }
}

fn routes(cloud: &Cloud, host: &str) -> Vec<Target> {
    let tables = vec![cloud.text("/tables/0"), cloud.text("/tables/1")];
    let of = |local: &str, destination: &str| Target {
        floating: floating(local),
        interface: mac(host),
        way: Way::Route { tables: tables.clone(), destination: destination.parse().unwrap() },
    };
    vec![of(OVERLAY, "198.51.100.7/32"), of(OVERLAY6, "2001:db8:ffff::7/128")]
}

fn settings(cloud: &Cloud, host: &str, targets: Vec<Target>) -> Settings {
    Settings {
        region: None,
        endpoint: Some(cloud.base.clone()),
        metadata: Some(cloud.text(&format!("/hosts/{host}/metadata"))),
        attempt: Duration::from_secs(1),
        attempts: 4,
        targets,
    }
}

fn provider(cloud: &Cloud, host: &str, targets: Vec<Target>) -> Ec2 {
    Ec2::new(settings(cloud, host, targets)).unwrap()
}

fn claim(provider: &mut Ec2) -> Result<(), ProviderError> {
    provider.claim(&Generation { number: 7, node: "b".into() })
}

fn places(provider: &mut Ec2) -> Vec<Place> {
    provider.confirm().unwrap().into_iter().map(|(_, place)| place).collect()
}

fn refusal(result: Result<(), ProviderError>) -> (String, Option<String>) {
    match result {
        Err(ProviderError::Refused { what, missing }) => (what, missing),
        other => panic!("{other:?}"),
    }
}

#[test]
fn secondary_addresses_move_together_and_back() {
    let cloud = world();
    let (mut a, mut b) = (
        provider(&cloud, "a", secondary("a", &[FIRST, SECOND])),
        provider(&cloud, "b", secondary("b", &[FIRST, SECOND])),
    );
    assert_eq!(places(&mut a), [Place::Here, Place::Here]);
    assert_eq!(places(&mut b), vec![Place::Elsewhere(cloud.interface("a")); 2]);
    cloud.seen();
    claim(&mut b).unwrap();
    assert_eq!(cloud.actions(), ["AssignPrivateIpAddresses"]);
    assert_eq!([cloud.host_of(FIRST), cloud.host_of(SECOND)], ["b", "b"]);
    assert_eq!(places(&mut b), [Place::Here, Place::Here]);
    assert_eq!(places(&mut a), vec![Place::Elsewhere(cloud.interface("b")); 2]);
    // Again, although it is done: nothing changes and nothing is wrong.
    claim(&mut b).unwrap();
    assert_eq!(places(&mut b), [Place::Here, Place::Here]);
    claim(&mut a).unwrap();
    assert_eq!([cloud.host_of(FIRST), cloud.host_of(SECOND)], ["a", "a"]);
    assert_eq!(places(&mut b), vec![Place::Elsewhere(cloud.interface("a")); 2]);
}

#[test]
fn an_elastic_ip_moves_onto_the_other_hosts_own_address() {
    let cloud = world();
    let mut a = provider(&cloud, "a", vec![elastic(&cloud, "a", PUBLIC, "10.0.1.10")]);
    // Not the primary address: the one that the configuration names.
    let mut b = provider(&cloud, "b", vec![elastic(&cloud, "b", PUBLIC, "10.0.1.12")]);
    assert_eq!(places(&mut b), [Place::Elsewhere(format!("{} at 10.0.1.10", cloud.interface("a")))]);
    for _ in 0..2 {
        claim(&mut b).unwrap();
        assert_eq!(places(&mut b), [Place::Here]);
    }
    assert_eq!(places(&mut a), [Place::Elsewhere(format!("{} at 10.0.1.12", cloud.interface("b")))]);
    assert_eq!(cloud.host_of(PUBLIC), "b");
    claim(&mut a).unwrap();
    assert_eq!((places(&mut a), cloud.host_of(PUBLIC).as_str()), (vec![Place::Here], "a"));
}

#[test]
fn a_route_moves_in_every_table_for_both_families() {
    let cloud = world();
    let (mut a, mut b) = (provider(&cloud, "a", routes(&cloud, "a")), provider(&cloud, "b", routes(&cloud, "b")));
    assert_eq!(places(&mut b), vec![Place::Elsewhere(cloud.interface("a")); 2]);
    for _ in 0..2 {
        claim(&mut b).unwrap();
        assert_eq!(places(&mut b), [Place::Here, Place::Here]);
    }
    assert_eq!([cloud.host_of(OVERLAY), cloud.host_of(OVERLAY6)], ["b", "b"]);
    claim(&mut a).unwrap();
    assert_eq!(places(&mut a), [Place::Here, Place::Here]);
    assert_eq!(places(&mut b), vec![Place::Elsewhere(cloud.interface("a")); 2]);
}

#[test]
fn the_api_has_answered_before_the_address_has_moved() {
    let cloud = world();
    let mut b = provider(&cloud, "b", secondary("b", &[FIRST]));
    cloud.faults(&json!({"visible_ms": 700}));
    assert_eq!(places(&mut b), [Place::Elsewhere(cloud.interface("a"))]);
    let begun = Instant::now();
    claim(&mut b).unwrap();
    assert_eq!(places(&mut b), [Place::Elsewhere(cloud.interface("a"))]);
    assert!(begun.elapsed() < Duration::from_millis(700), "{:?}", begun.elapsed());
    while places(&mut b) != [Place::Here] {
        assert!(begun.elapsed() < Duration::from_secs(5), "it never moved");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
}

#[test]
fn a_slow_api_ends_the_call_within_the_attempts() {
    let cloud = world();
    let targets = secondary("b", &[FIRST]);
    let mut settings = settings(&cloud, "b", targets);
    (settings.attempt, settings.attempts) = (Duration::from_millis(400), 2);
    let mut b = Ec2::new(settings).unwrap();
    places(&mut b);
    cloud.faults(&json!({"delay_ms": {"*": 5000}}));
    let begun = Instant::now();
    let error = claim(&mut b).unwrap_err();
    assert!(matches!(&error, ProviderError::Unreachable(what) if what.contains("2 attempts")), "{error:?}");
    assert!(b.rehearse().is_err() && b.confirm().is_err());
    // A claim and what it looks at afterwards, a rehearsal of three calls, a confirmation: six calls of two attempts.
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert!(begun.elapsed() > Duration::from_millis(2 * 400), "{:?}", begun.elapsed());
}

#[test]
fn an_answer_that_came_too_late_moved_the_address_all_the_same() {
    let cloud = world();
    let mut settings = settings(&cloud, "b", secondary("b", &[FIRST]));
    (settings.attempt, settings.attempts) = (Duration::from_millis(400), 2);
    let mut b = Ec2::new(settings).unwrap();
    places(&mut b);
    cloud.faults(&json!({"delay_ms": {"AssignPrivateIpAddresses": 500}}));
    claim(&mut b).unwrap();
    assert_eq!(places(&mut b), [Place::Here]);
}

#[test]
fn an_api_that_is_away_is_given_up_within_seconds() {
    let cloud = world();
    // One port where nobody listens, and one where somebody takes connections and says nothing.
    let (closed, silent) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    for endpoint in [format!("http://127.0.0.1:{port}"), format!("http://{}", silent.local_addr().unwrap())] {
        let mut settings = settings(&cloud, "b", secondary("b", &[FIRST]));
        settings.endpoint = Some(endpoint.clone());
        (settings.attempt, settings.attempts) = (Duration::from_millis(300), 3);
        let mut b = Ec2::new(settings).unwrap();
        let begun = Instant::now();
        let error = claim(&mut b).unwrap_err();
        assert!(matches!(error, ProviderError::Unreachable(_)), "{endpoint}: {error:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{endpoint}: {:?}", begun.elapsed());
    }
}

#[test]
fn throttling_is_tried_again() {
    let cloud = world();
    let mut b = provider(&cloud, "b", secondary("b", &[FIRST]));
    places(&mut b);
    cloud.seen();
    cloud.faults(&json!({
        "fail": [{"action": "AssignPrivateIpAddresses", "code": "RequestLimitExceeded", "status": 503, "times": 2}],
    }));
    claim(&mut b).unwrap();
    assert_eq!(cloud.actions(), ["AssignPrivateIpAddresses"; 3]);
    assert_eq!(cloud.host_of(FIRST), "b");
}

#[test]
fn a_partial_move_says_so_and_the_next_claim_completes_it() {
    let cloud = world();
    let targets = vec![elastic(&cloud, "b", PUBLIC, "10.0.1.11"), elastic(&cloud, "b", OTHER_PUBLIC, "10.0.1.12")];
    let stuck = cloud.text(&format!("/elastic/{OTHER_PUBLIC}"));
    let mut b = provider(&cloud, "b", targets);
    cloud.faults(&json!({"fail": [{
        "action": "AssociateAddress", "match": {"AllocationId": stuck}, "code": "InternalError", "status": 500, "times": 4,
    }]}));
    match claim(&mut b) {
        Err(ProviderError::Partial { moved: 1, all: 2, what }) => {
            assert!(what.contains("ec2:AssociateAddress: InternalError"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!([cloud.host_of(PUBLIC), cloud.host_of(OTHER_PUBLIC)], ["b", "a"]);
    assert!(matches!(places(&mut b).as_slice(), [Place::Here, Place::Elsewhere(_)]));
    claim(&mut b).unwrap();
    assert_eq!(places(&mut b), [Place::Here, Place::Here]);
}

#[test]
fn a_missing_permission_is_named_by_the_rehearsal_and_by_the_claim() {
    let cloud = world();
    let ways = [
        (secondary("b", &[FIRST]), vec!["ec2:AssignPrivateIpAddresses", "ec2:DescribeNetworkInterfaces"]),
        (vec![elastic(&cloud, "b", PUBLIC, "10.0.1.11")], vec!["ec2:AssociateAddress", "ec2:DescribeAddresses"]),
        (routes(&cloud, "b"), vec!["ec2:DescribeNetworkInterfaces", "ec2:DescribeRouteTables", "ec2:ReplaceRoute"]),
    ];
    for (targets, needed) in ways {
        cloud.faults(&json!({}));
        let mut b = provider(&cloud, "b", targets);
        b.rehearse().unwrap();
        for permission in &needed {
            cloud.faults(&json!({"deny": [permission]}));
            assert_eq!(refusal(b.rehearse()).1.as_deref(), Some(*permission));
        }
        cloud.faults(&json!({"deny": needed}));
        let changes: Vec<&str> = needed.iter().copied().filter(|name| !name.contains("Describe")).collect();
        assert_eq!(refusal(claim(&mut b)).1.as_deref(), Some(changes[0]));
        let named = refusal(b.rehearse()).1.unwrap();
        // Without a description there is nothing harmless that AssignPrivateIpAddresses could be asked for.
        let described = needed.iter().copied().filter(|name| *name != "ec2:AssignPrivateIpAddresses");
        assert_eq!(named, described.collect::<Vec<_>>().join(", "));
    }
}

#[test]
fn a_rehearsal_changes_nothing() {
    let cloud = world();
    let mut targets = secondary("b", &[SECOND]);
    targets.push(elastic(&cloud, "b", PUBLIC, "10.0.1.11"));
    targets.extend(routes(&cloud, "b"));
    let mut b = provider(&cloud, "b", targets);
    b.rehearse().unwrap();
    for address in [SECOND, PUBLIC, OVERLAY, OVERLAY6] {
        assert_eq!(cloud.host_of(address), "a", "{address}");
    }
    assert_eq!([cloud.host_of("10.0.1.10"), cloud.host_of("10.0.1.11")], ["a", "b"]);
    // What changes things is asked as a dry run, but for the one that has none.
    for one in cloud.seen() {
        let action = one["action"].as_str().unwrap_or("Describe");
        let harmless = action.starts_with("Describe") || action == "AssignPrivateIpAddresses";
        assert!(harmless || one["dry"] == true, "{one}");
    }
}

#[test]
fn what_is_called_is_what_the_policy_allows() {
    let cloud = world();
    for mut targets in [secondary("b", &[FIRST]), vec![elastic(&cloud, "b", PUBLIC, "10.0.1.11")], routes(&cloud, "b")]
    {
        targets.iter_mut().for_each(|target| target.interface = Choice::Id(cloud.interface("b")));
        let mut b = provider(&cloud, "b", targets);
        b.rehearse().unwrap();
        claim(&mut b).unwrap();
        assert!(places(&mut b).iter().all(|place| *place == Place::Here));
    }
    let called: BTreeSet<String> = cloud.actions().iter().map(|action| format!("ec2:{action}")).collect();
    assert_eq!(called, PERMISSIONS.map(str::to_owned).into());
}

#[test]
fn the_metadata_service_is_asked_with_a_token_only() {
    let cloud = world();
    let mut b = provider(&cloud, "b", secondary("b", &[FIRST]));
    places(&mut b);
    let seen = cloud.seen();
    let asked: Vec<_> = seen.iter().filter(|one| one.get("metadata").is_some()).collect();
    assert_eq!((&asked[0]["metadata"], &asked[0]["method"]), (&json!("latest/api/token"), &json!("PUT")));
    let (tokens, rest): (Vec<_>, Vec<_>) = asked.into_iter().partition(|one| one["metadata"] == "latest/api/token");
    assert!(tokens.iter().all(|one| one["method"] == "PUT"), "{tokens:?}");
    assert!(rest.len() >= 5 && rest.iter().all(|one| one["token"] == true), "{rest:?}");
    // The API was called by the role whose credentials came from there.
    assert!(seen.iter().filter(|one| one.get("action").is_some()).all(|one| one["host"] == "b"), "{seen:?}");
}

#[test]
fn an_instance_that_cannot_do_it_says_why() {
    let cloud = world();
    let mut b = provider(&cloud, "b", secondary("b", &[FIRST]));
    cloud.faults(&json!({"role": false}));
    assert!(refusal(b.rehearse()).0.contains("no IAM role"));
    cloud.faults(&json!({"metadata_status": 403}));
    let begun = Instant::now();
    // Switched off, or an answer that may change: in both cases soon.
    assert!(b.rehearse().is_err());
    cloud.faults(&json!({"metadata_ms": 3000}));
    assert!(matches!(b.rehearse(), Err(ProviderError::Unreachable(_))));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    cloud.faults(&json!({}));
    b.rehearse().unwrap();

    let mut strange = secondary("b", &[FIRST]);
    strange[0].interface = Choice::Id(cloud.interface("a"));
    let what = refusal(claim(&mut provider(&cloud, "b", strange))).0;
    assert!(what.contains(&cloud.interface("a")) && what.contains("on this instance"), "{what}");
    assert_eq!(cloud.host_of(FIRST), "a");
}

#[test]
fn a_route_target_that_checks_destinations_is_refused_before_it_matters() {
    let cloud = Cloud::new(&json!({
        "vpc": "10.0.0.0/16",
        "hosts": {"b": {"subnet": "10.0.1.0/24", "mac": "02:00:00:00:00:0b", "addresses": ["10.0.1.11"]}},
        "routes": {"198.51.100.7/32": "b", "2001:db8:ffff::7/128": "b"},
        "tables": 2,
        "source_dest_check": true,
    }));
    let what = refusal(provider(&cloud, "b", routes(&cloud, "b")).rehearse()).0;
    assert!(what.contains("source/destination check"), "{what}");
}

#[test]
fn a_route_that_does_not_exist_is_no_reason_to_try_for_long() {
    let cloud = world();
    let mut targets = routes(&cloud, "b");
    targets.truncate(1);
    targets[0].way =
        Way::Route { tables: vec![cloud.text("/tables/0")], destination: "198.51.100.8/32".parse().unwrap() };
    let mut b = provider(&cloud, "b", targets);
    assert_eq!(places(&mut b), [Place::Nowhere]);
    cloud.seen();
    let what = refusal(claim(&mut b)).0;
    assert!(what.contains("There is no route defined for '198.51.100.8/32'"), "{what}");
    assert_eq!(cloud.actions().iter().filter(|action| *action == "ReplaceRoute").count(), 1);
}

//! Expectations worked out by hand from the published figures; the working stands beside each.

use super::{
    instances::C5N,
    traffic::{Codec, MixError},
    *,
};

/// G.711 in packets of 20 ms over IPv4 without RTCP: 100 packets/s each way for a call.
fn model() -> Model {
    Model {
        traffic: Traffic {
            ptime_ms: 20,
            codecs: "g711=100".parse().unwrap(),
            ipv6: false,
            rtcp_per_mille: 0,
            mean_call_s: 180,
        },
        port_pairs_per_address: 20_000,
        cycles_per_packet: 200,
        transcode_cycles: 100,
        core_mhz: 3_000,
        reserved_cores: 2,
        headroom_percent: 0,
        internet_gateway: false,
        packets_per_s: None,
    }
}

fn with(change: impl FnOnce(&mut Model)) -> Model {
    let mut model = model();
    change(&mut model);
    model
}

fn mixed(mix: &str) -> Model {
    with(|model| model.traffic.codecs = mix.parse().unwrap())
}

fn instance(name: &str) -> &'static Instance {
    Instance::named(name).unwrap()
}

fn carries(model: &Model, name: &str) -> (u64, Resource) {
    let plan = model.plan(instance(name), None);
    (plan.carries, plan.binds_first)
}

#[test]
fn the_published_example() {
    // Issue and DESIGN: 5 Mpps each way are 50,000 two-leg calls of 20 ms. The frame of 160 bytes of G.711 is 214 bytes
    // (14 + 20 + 8 + 12 + 160); 5 M × 214 × 8 = 8.56 Gb/s.
    let plan = model().plan(instance("c5n.18xlarge"), Some(50_000));
    assert_eq!((plan.carries, plan.binds_first, plan.instances), (50_000, Resource::Packets, Some(1)));
    assert_eq!((plan.packets_per_s, plan.bits_per_s), (5_000_000, 8_560_000_000));
    // 100,000 pairs in use; 50,000 / 180 calls end each second and leave two pairs for 10 s: 5,555.6 more.
    assert_eq!((plan.port_pairs, plan.budget(Resource::Addresses).needs, plan.interfaces), (105_556, Some(6), 1));
    // One call more takes a second instance.
    let plan = model().plan(instance("c5n.18xlarge"), Some(50_001));
    assert_eq!((plan.instances, plan.calls_each), (Some(2), 25_001));
}

#[test]
fn what_each_resource_of_the_largest_would_carry() {
    let plan = model().plan(instance("c5n.18xlarge"), None);
    let calls = |resource| plan.budget(resource).calls;
    // 18 cores on a node less 2 are 16 workers; 128 entries divide evenly.
    assert_eq!(plan.budget(Resource::Cores).offers, 16);
    // 3 GHz / 200 cycles = 15 Mpps a worker, 16 of them 240 Mpps, at 100 packets/s a call.
    assert_eq!(calls(Resource::Cores), 2_400_000);
    assert_eq!(calls(Resource::Queues), 160_000);
    assert_eq!(calls(Resource::Packets), 50_000);
    // 100 Gb/s / (100 × 214 × 8 = 171,200 b/s) = 584,112.1.
    assert_eq!(calls(Resource::Bandwidth), 584_112);
    // 8 ports × 50 addresses pass tandem's 256; 256 × 20,000 pairs / (2 × 190 / 180) = 2,425,263.2.
    assert_eq!(plan.budget(Resource::Addresses).offers, 256);
    assert_eq!(calls(Resource::Addresses), 2_425_263);
}

#[test]
fn the_family() {
    let model = model();
    // Packets by the share of 72 vCPUs: 5 M × 8 / 72 = 555,555, at 100 packets/s a call.
    assert_eq!(carries(&model, "c5n.2xlarge"), (5_555, Resource::Packets));
    // 5 M × 16 / 72 = 1,111,111.
    assert_eq!(carries(&model, "c5n.4xlarge"), (11_111, Resource::Packets));
    assert_eq!(carries(&model, "c5n.9xlarge"), (25_000, Resource::Packets));
    assert_eq!(carries(&model, "c5n.metal"), (50_000, Resource::Packets));
    // One core and two: none is left beside the slow path's and the other one.
    assert_eq!(carries(&model, "c5n.large"), (0, Resource::Cores));
    assert_eq!(carries(&model, "c5n.xlarge"), (0, Resource::Cores));
    assert_eq!(model.plan(instance("c5n.large"), Some(1)).instances, None);
    // With one reserved, a worker fits: 5 M × 4 / 72 = 277,777.
    assert_eq!(carries(&with(|model| model.reserved_cores = 1), "c5n.xlarge"), (2_777, Resource::Packets));
}

#[test]
fn a_fleet() {
    let takes = |name| {
        let plan = model().plan(instance(name), Some(100_000));
        (plan.instances.unwrap(), plan.calls_each)
    };
    assert_eq!(takes("c5n.18xlarge"), (2, 50_000));
    assert_eq!(takes("c5n.9xlarge"), (4, 25_000));
    // 18 × 5,555 = 99,990: a nineteenth. 100,000 / 19 = 5,263.2.
    assert_eq!(takes("c5n.2xlarge"), (19, 5_264));
}

#[test]
fn assumed_packet_rates_are_no_higher_than_the_reported_ones() {
    // amzn-drivers issue 138: about 5 Mpps on c5n.9xlarge, 2.5 on c5n.4xlarge; in and out together is the careful reading.
    assert!(2 * instance("c5n.9xlarge").packets_per_s() <= 5_000_000);
    assert!(2 * instance("c5n.4xlarge").packets_per_s() <= 2_500_000);
}

#[test]
fn queues_share_a_table_of_128_entries() {
    let workers = |calls| model().plan(instance("c5n.18xlarge"), Some(calls)).workers;
    // The busiest of 5 queues has 26 entries: 5 M × 26 / 128 = 1,015,625 is too much for it. Of 6: 22, 859,375.
    assert_eq!(workers(50_000), Some(6));
    // 4.9 M × 26 / 128 = 995,312.5.
    assert_eq!(workers(49_000), Some(5));
    // 4 divides 128: exactly 1 M each.
    assert_eq!(workers(40_000), Some(4));
    assert_eq!(workers(40_001), Some(5));
}

#[test]
fn slow_packets_make_cores_bind() {
    // 3 GHz / 20,000 cycles = 150,000 packets/s a worker; 16 of them 2.4 Mpps.
    let slow = with(|model| model.cycles_per_packet = 20_000);
    assert_eq!(carries(&slow, "c5n.18xlarge"), (24_000, Resource::Cores));
    // 24,000 calls keep all 16 busy.
    assert_eq!(slow.plan(instance("c5n.18xlarge"), Some(24_000)).workers, Some(16));
    // 6 workers: the busiest has 22 of 128 entries; 150,000 × 128 / 22 = 872,727.3.
    assert_eq!(carries(&slow, "c5n.4xlarge"), (8_727, Resource::Cores));
}

#[test]
fn transcoding_costs_cycles_for_its_share_of_packets() {
    let cores = |mix: &str| mixed(mix).plan(instance("c5n.18xlarge"), None).budget(Resource::Cores).calls;
    // 300 cycles: 10 Mpps a worker, 16 of them, 100 packets/s a call.
    assert_eq!(cores("g711-transcoded=100"), 1_600_000);
    // Half of them: 250 cycles, 12 Mpps.
    assert_eq!(cores("g711=50,g711-transcoded=50"), 1_920_000);
}

#[test]
fn frames_by_codec_and_address_family() {
    let bits = |model: Model| model.traffic.bits_per_s().of(1);
    // 100 packets/s × 8 × (54 + payload) bytes.
    assert_eq!(bits(model()), 171_200);
    assert_eq!(bits(mixed("g722=100")), 171_200);
    assert_eq!(bits(mixed("g729=100")), 800 * 74);
    assert_eq!(bits(mixed("33=100")), 800 * 87);
    assert_eq!(bits(mixed("g711=50,g729=50")), 800 * 144);
    assert_eq!(bits(with(|model| model.traffic.ipv6 = true)), 800 * 234);
}

#[test]
fn other_packet_times() {
    let at = |ptime_ms| with(|model| model.traffic.ptime_ms = ptime_ms);
    assert_eq!(at(10).traffic.packets_per_s().of(1), 200);
    // 66.7, rounded up; three calls are 200 without a rest.
    assert_eq!(at(30).traffic.packets_per_s().of(1), 67);
    assert_eq!(at(30).traffic.packets_per_s().of(3), 200);
    assert_eq!(carries(&at(10), "c5n.18xlarge").0, 25_000);
    assert_eq!(carries(&at(30), "c5n.18xlarge").0, 75_000);
    assert_eq!(carries(&at(60), "c5n.18xlarge").0, 150_000);
    // 60 ms are 480 bytes: 33.3 packets/s × 8 × 534 = 142,400 b/s.
    assert_eq!(at(60).traffic.bits_per_s().of(1), 142_400);
    // G.729 has frames of 10 ms: 30 bytes in 30 ms, 84 with headers; three calls have 200 packets/s.
    let g729 = with(|model| {
        model.traffic.ptime_ms = 30;
        model.traffic.codecs = "g729=100".parse().unwrap();
    });
    assert_eq!(g729.traffic.bits_per_s().of(3), 200 * 8 * 84);
}

#[test]
fn rtcp_takes_its_share() {
    let rtcp = with(|model| model.traffic.rtcp_per_mille = 4);
    // 100 packets/s and 0.4 of RTCP: 5 M / 100.4 = 49,800.8.
    assert_eq!(carries(&rtcp, "c5n.18xlarge").0, 49_800);
    // An RTCP frame is 14 + 20 + 8 + 84 = 126 bytes: 10 calls have 4 of them a second.
    assert_eq!(rtcp.traffic.bits_per_s().of(10), 1_712_000 + 4 * 8 * 126);
    // 1,004 packets × 200 cycles.
    assert_eq!(rtcp.traffic.cycles_per_s(200, 100).of(10), 200_800);
}

#[test]
fn a_gateway_halves_or_caps_the_bandwidth() {
    let gateway = |size| instance(&format!("c5n.{size}")).bits_per_s(true) / 1_000_000_000;
    // From 32 vCPUs on, half, or 5 Gb/s if that is more; below, 5 Gb/s; never more than the instance has.
    assert_eq!(["large", "xlarge", "2xlarge", "4xlarge"].map(gateway), [3, 5, 5, 5]);
    assert_eq!(["9xlarge", "18xlarge", "metal"].map(gateway), [25, 50, 50]);
}

#[test]
fn few_ports_make_addresses_bind() {
    // 15 addresses on each of 3 interfaces, one pair each: 45 pairs. A call has 2 and 2 × 10 / 180 rest: 21.3 calls.
    let narrow = with(|model| model.port_pairs_per_address = 1);
    assert_eq!(carries(&narrow, "c5n.2xlarge"), (21, Resource::Addresses));
    let plan = narrow.plan(instance("c5n.2xlarge"), Some(21));
    // 21 × 2 × 190 / 180 = 44.3.
    assert_eq!((plan.budget(Resource::Addresses).needs, plan.interfaces), (Some(45), 3));
}

#[test]
fn headroom_and_a_measured_rate() {
    // 80 % of 5 M.
    assert_eq!(carries(&with(|model| model.headroom_percent = 20), "c5n.18xlarge").0, 40_000);
    let measured = with(|model| model.packets_per_s = Some(1_500_000));
    assert_eq!(carries(&measured, "c5n.4xlarge").0, 15_000);
}

/// What an instance is said to carry fits it, and one call more does not, wherever that is looked up.
#[test]
fn what_is_carried_and_what_is_needed_agree() {
    for change in [1, 7, 200, 9_999, 50_000] {
        let model = with(|model| {
            model.cycles_per_packet = change;
            model.traffic.ptime_ms = 30;
            model.traffic.rtcp_per_mille = change % 11;
        });
        for instance in &C5N {
            let carries = model.plan(instance, None).carries;
            let fits = |calls| {
                let budgets = model.budgets(instance, calls);
                budgets.iter().all(|budget| budget.needs.is_some_and(|needs| needs <= budget.offers))
            };
            assert!(carries == 0 || fits(carries), "{} at {carries}", instance.name);
            assert!(!fits(carries + 1), "{} at {carries} and one more", instance.name);
        }
    }
}

#[test]
fn mixes() {
    let mix = |text: &str| text.parse::<traffic::CodecMix>();
    assert_eq!(mix("g711=70, g711-transcoded=20,g729=10").unwrap().to_string(), "g711=70,g711-transcoded=20,g729=10");
    assert_eq!(mix("g711=60,g729=50"), Err(MixError::Sum(110)));
    assert_eq!(mix("g711"), Err(MixError::Share("g711".into())));
    assert_eq!(mix("g711=x"), Err(MixError::Share("g711=x".into())));
    assert_eq!(mix("opus=100"), Err(MixError::Codec("opus".into())));
    assert_eq!(mix("0=100"), Err(MixError::Codec("0".into())));
    assert_eq!("1440".parse(), Ok(Codec::Payload(1_440)));
    assert_eq!("1441".parse::<Codec>(), Err(MixError::Codec("1441".into())));
}

#[test]
fn each_plan_tells_what_was_assumed() {
    let told = model().assumptions().join("\n");
    for word in ["200 cycles on a packet, assumed", "3000 MHz", "5000000 packets/s", "no headroom", "not published"] {
        assert!(told.contains(word), "{word} is not in:\n{told}");
    }
}

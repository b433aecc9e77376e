//! The page as a whole: expected text written by hand after Prometheus' "Text-based format" 0.0.4.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::control::{LegReport, StreamReport};

fn page(sources: Vec<Arc<dyn Source>>) -> String {
    let registry = Registry::default();
    sources.into_iter().for_each(|source| registry.add(source));
    registry.page().unwrap()
}

#[test]
fn counters_and_gauges_of_several_sources_share_a_family() {
    let worker = |worker: &'static str, packets: u64| {
        Arc::new(move |sink: &mut MetricSink| {
            sink.count(&families::RX_PACKETS, &[("port", "a\"b\\c"), ("worker", worker)], packets);
            sink.count_each(
                &families::DROPPED_PACKETS,
                &[("port", "edge"), ("worker", worker)],
                "reason",
                [("no_flow", 7), ("source", 0)],
            );
        })
    };
    let levels = Arc::new(|sink: &mut MetricSink| sink.gauge(&families::RING_ENTRIES, &[("ring", "punt0")], 1.5));
    assert_eq!(
        page(vec![worker("0", 10), worker("1", 20), levels]),
        r#"# HELP tandem_dropped_packets_total Packets dropped, each for one reason.
# TYPE tandem_dropped_packets_total counter
tandem_dropped_packets_total{port="edge",worker="0",reason="no_flow"} 7
tandem_dropped_packets_total{port="edge",worker="0",reason="source"} 0
tandem_dropped_packets_total{port="edge",worker="1",reason="no_flow"} 7
tandem_dropped_packets_total{port="edge",worker="1",reason="source"} 0
# HELP tandem_ring_entries Entries that wait in a ring.
# TYPE tandem_ring_entries gauge
tandem_ring_entries{ring="punt0"} 1.5
# HELP tandem_rx_packets_total Packets received.
# TYPE tandem_rx_packets_total counter
tandem_rx_packets_total{port="a\"b\\c",worker="0"} 10
tandem_rx_packets_total{port="a\"b\\c",worker="1"} 20
"#
    );
}

#[test]
fn a_histogram_is_cumulative_and_ends_with_infinity() {
    let histogram = Histogram::new(&[0.1, 0.5, 1.0]);
    // A value on a bound belongs to it ("le"): 0.1 → first, 0.3 and 0.5 → second, 2 → above all.
    [0.1, 0.3, 0.5, 2.0, f64::NAN].into_iter().for_each(|value| histogram.observe(value));
    let source = move |sink: &mut MetricSink| sink.histogram(&families::SLOW_LOOP, &[], &histogram);
    assert_eq!(
        page(vec![Arc::new(source)]),
        r#"# HELP tandem_slow_loop_seconds Time of one round of the slow path's loop, waiting excluded.
# TYPE tandem_slow_loop_seconds histogram
tandem_slow_loop_seconds_bucket{le="0.1"} 2
tandem_slow_loop_seconds_bucket{le="0.5"} 4
tandem_slow_loop_seconds_bucket{le="1"} 4
tandem_slow_loop_seconds_bucket{le="+Inf"} 5
tandem_slow_loop_seconds_sum 2.9
tandem_slow_loop_seconds_count 5
"#
    );
}

#[test]
fn allowances_of_ena_are_told_apart() {
    let source = |sink: &mut MetricSink| sink.xstats("edge", [("rx_good_packets", 5), ("pps_allowance_exceeded", 3)]);
    let page = page(vec![Arc::new(source)]);
    assert!(page.contains("\ntandem_port_allowance_exceeded_total{port=\"edge\",allowance=\"pps\"} 3\n"), "{page}");
    assert!(page.contains("\ntandem_port_xstat{port=\"edge\",xstat=\"rx_good_packets\"} 5\n"), "{page}");
}

#[test]
fn the_audio_of_ended_calls_is_distributed() {
    let calls = Arc::new(CallMetrics::default());
    let stream = |packets, lost, jitter_ms| StreamReport { packets, lost, jitter_ms, ..Default::default() };
    let leg = |rtp| LegReport { rtp, ..Default::default() };
    // 3 of 300 lost: 0.01. The other side sent nothing and is not counted.
    calls.media(&[leg(stream(297, 3, 1.5)), leg(stream(0, 0, 0.0))]);
    // RFC 3550 §A.3: duplicates can make the loss negative; that is none.
    calls.media(&[leg(stream(10, -2, 200.0)), leg(stream(0, 0, 0.0))]);
    let page = page(vec![calls]);
    for line in [
        "tandem_call_jitter_seconds_bucket{le=\"0.001\"} 0",
        "tandem_call_jitter_seconds_bucket{le=\"0.002\"} 1",
        "tandem_call_jitter_seconds_bucket{le=\"0.16\"} 1",
        "tandem_call_jitter_seconds_count 2",
        "tandem_call_loss_ratio_bucket{le=\"0\"} 1",
        "tandem_call_loss_ratio_bucket{le=\"0.005\"} 1",
        "tandem_call_loss_ratio_bucket{le=\"0.01\"} 2",
        "tandem_call_loss_ratio_count 2",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

#[test]
fn what_another_counted_keeps_its_bounds_and_sum() {
    use crate::sip::endpoint::{Durations, SETUP_BOUNDS_MS};
    assert_eq!(SETUP_BOUNDS_MS.map(|ms| ms as f64 / 1e3), histogram::SETUP_SECONDS);
    let mut setup = Durations::default();
    [300, 700, 700, 500_000].into_iter().for_each(|ms| setup.note(Duration::from_millis(ms)));
    let source = move |sink: &mut MetricSink| {
        let histogram = Histogram::of(histogram::SETUP_SECONDS, &setup.buckets, setup.sum_ms);
        sink.histogram(&families::CALL_SETUP, &[], &histogram);
    };
    let page = page(vec![Arc::new(source)]);
    for line in [
        "tandem_call_setup_seconds_bucket{le=\"0.2\"} 0",
        "tandem_call_setup_seconds_bucket{le=\"0.5\"} 1",
        "tandem_call_setup_seconds_bucket{le=\"1\"} 3",
        "tandem_call_setup_seconds_bucket{le=\"120\"} 3",
        "tandem_call_setup_seconds_bucket{le=\"+Inf\"} 4",
        "tandem_call_setup_seconds_sum 501.7",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

#[test]
fn the_process_tells_its_memory() {
    let page = Registry::new().page().unwrap();
    let resident = page.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
    assert!(resident.parse::<f64>().unwrap() > 1e6, "{resident}");
    assert!(page.contains(concat!("tandem_build_info{version=\"", env!("TANDEM_VERSION"), "\"} 1\n")));
}

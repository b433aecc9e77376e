//! Many calls at once: none fails, nothing is sent twice, nothing is left.

use super::harness::*;

#[test]
fn three_thousand_calls_in_progress() {
    let mut net = Net::with(|config| config.sip.max_calls = 10_000);
    let mut ups = Vec::new();
    for group in 0..300 {
        for _ in 0..10 {
            ups.push(call_up(&mut net));
        }
        assert_eq!(net.endpoint.in_progress(), (group + 1) * 10);
        net.pass(25);
    }
    assert_eq!((net.endpoint.counters().answered, net.endpoint.counters().retransmissions_out), (3_000, 0));
    for up in &ups {
        let bye = net.in_dialog(&up.a, "BYE", 2);
        net.send(A, &bye);
    }
    let byes = net.take(B);
    assert_eq!(byes.len(), 3_000);
    for bye in &byes {
        net.send(B, &respond(B, bye, 200, "", None));
    }
    assert_eq!(net.records.len(), 3_000);
    net.take(A);
    net.run_out();
}

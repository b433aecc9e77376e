//! How the packets travel: IPv6, TCP, fragments.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    lab::{End, Lab},
    law::Law,
    runner::{BOTH, Scenario, XDP},
    sipp::Phone,
    topology::{CALLEE, CALLEE6, CALLER, CALLER6, TANDEM_A6, sip_uri},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("ipv4_ipv6", "an IPv4 caller and an IPv6 callee hear each other", ipv4_ipv6).on(BOTH),
        Scenario::new("ipv6_ipv4", "an IPv6 caller and an IPv4 callee hear each other", ipv6_ipv4),
        Scenario::new("ipv6_ipv6", "IPv6 on both sides", ipv6_ipv6).with_stand_in(),
        Scenario::new("sip_tcp", "SIP over TCP on both sides", sip_tcp)
            .on(BOTH)
            .prepared(|plan| plan.setup.destinations = vec![sip_uri(CALLEE, true)])
            .with_stand_in(),
        Scenario::new("large_message", "SIP messages larger than the MTU, in fragments over UDP", large_message)
            .on(XDP)
            .with_stand_in(),
    ]
}

/// Three seconds of speech both ways between these phones, judged.
fn talk(lab: &mut Lab<'_>, caller: Phone, callee: Phone) -> Result<String> {
    let mu = lab.speech(Law::Mu, Duration::from_secs(3))?;
    let a = lab.speech(Law::A, Duration::from_secs(3))?;
    lab.call(&caller.plays(&mu).with("talk_ms", 3_500), &callee.plays(&a))?;
    let there = lab.demand_perfect(End::Near, 1, &lab.expect(Law::Mu, Law::A, None))?;
    let back = lab.demand_perfect(End::Far, 1, &lab.expect(Law::A, Law::Mu, None))?;
    Ok(format!("there: {there}; back: {back}"))
}

/// The trunk of IPv6 destinations has the prefix 6.
fn dial6(mut phone: Phone) -> Phone {
    phone.dial = "60".to_owned();
    phone
}

fn ipv4_ipv6(lab: &mut Lab<'_>) -> Result<String> {
    let caller = dial6(lab.caller(Law::Mu));
    talk(lab, caller, Phone::callee(CALLEE6, Law::A))
}

fn ipv6_ipv4(lab: &mut Lab<'_>) -> Result<String> {
    let callee = lab.callee(Law::A);
    talk(lab, Phone::caller(CALLER6, TANDEM_A6, Law::Mu), callee)
}

fn ipv6_ipv6(lab: &mut Lab<'_>) -> Result<String> {
    let target = if lab.is_stand_in() { CALLEE6 } else { TANDEM_A6 };
    talk(lab, dial6(Phone::caller(CALLER6, target, Law::Mu)), Phone::callee(CALLEE6, Law::A))
}

fn sip_tcp(lab: &mut Lab<'_>) -> Result<String> {
    let (mut caller, mut callee) = (lab.caller(Law::Mu), lab.callee(Law::A));
    (caller.tcp, callee.tcp) = (true, true);
    let found = talk(lab, caller, callee)?;
    for end in End::BOTH {
        let udp = lab.tap(end).book().count(|message| message.text.contains("SIP/2.0/UDP"));
        ensure!(udp == 0, "{udp} messages at the {end:?} end speak of UDP");
    }
    Ok(found)
}

fn large_message(lab: &mut Lab<'_>) -> Result<String> {
    let padding = "tandem".repeat(500);
    let caller = Phone { scenario: "caller_large", ..lab.caller(Law::Mu) }.with("padding", &padding);
    let callee = Phone { scenario: "callee_large", ..lab.callee(Law::A) }.with("padding", &padding);
    let found = talk(lab, caller, callee)?;
    for (end, sender) in [(End::Near, CALLER), (End::Far, CALLEE)] {
        let book = lab.tap(end).book();
        let large = book.count(|message| message.outgoing && message.from.ip() == sender && message.text.len() > 2_000);
        ensure!(book.reassembled > 0 && large > 0, "no large message left the {end:?} end in fragments");
    }
    Ok(found)
}

//! Trunks: their limits, the choice among their destinations, OPTIONS, and destinations that are host names.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    lab::{End, Lab, Plan},
    law::Law,
    process::{Running, command_in},
    runner::Scenario,
    sipp::{Phone, Sipp},
    topology::{CALLEE, CALLEE6, NOBODY, SECOND},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "trunk_limits",
            "one call more from a trunk gets 503 with Retry-After, one more to a trunk goes to the next of the route",
            limits,
        )
        .prepared(limited)
        .within(Duration::from_secs(40)),
        Scenario::new("trunk_choice", "destinations in turn, by weight, by priority and by calls in progress", choice)
            .prepared(choosing)
            .within(Duration::from_secs(60)),
        Scenario::new(
            "trunk_health",
            "OPTIONS take a silent destination down, calls pass it over, and bring it up again",
            health,
        )
        .prepared(asking)
        .within(Duration::from_secs(60)),
        Scenario::new(
            "trunk_names",
            "destinations by NAPTR, SRV, A and AAAA from a DNS server; the next server when one fails; the DNS may die",
            names,
        )
        .prepared(named)
        .needing("dnsmasq")
        .within(Duration::from_secs(60)),
    ]
}

fn trunk(name: &str, prefix: &str, keys: &str) -> String {
    format!(
        "\n[[trunk]]\nname = \"{name}\"\naddress = \"b4\"\n{keys}\n\n[[route]]\nprefix = \"{prefix}\"\nto = [\"{name}\"]\n"
    )
}

fn at(ip: std::net::IpAddr, port: u16) -> String {
    format!("sip:{}", SocketAddr::new(ip, port))
}

fn phone(base: Phone, name: &str, port: u16, calls: u32) -> Phone {
    let media_port = base.media_port + (port - 5_060) * 20;
    Phone { name: name.to_owned(), port, media_port, calls, limit: Duration::from_secs(20), ..base }
}

/// Which destination each call was tried at first, and what else was tried, in the order of the records.
fn attempts(lab: &mut Lab<'_>, called: &str) -> Result<Vec<Vec<String>>> {
    let records = lab.appliance()?.records()?;
    let of = |record: &serde_json::Value| {
        let attempts = record["attempts"].as_array().cloned().unwrap_or_default();
        attempts.iter().map(|each| each["destination"].as_str().unwrap_or("?").to_owned()).collect::<Vec<_>>()
    };
    Ok(records
        .iter()
        .filter(|record| record["called"].as_str().is_some_and(|n| n.starts_with(called)))
        .map(of)
        .collect())
}

fn limited(plan: &mut Plan) {
    plan.setup.trunk_keys = ["limits = { max_calls_in = 2 }", "limits = { max_calls_out = 1 }"].map(String::from);
    plan.setup.extra = format!(
        "\n[[trunk]]\nname = \"backup\"\naddress = \"b4\"\ndestinations = [\"{}\"]\n\
         \n[[route]]\nprefix = \"77\"\nto = [\"callee\", \"backup\"]\n",
        at(SECOND, 5_060)
    );
}

fn limits(lab: &mut Lab<'_>) -> Result<String> {
    let callee = phone(lab.callee(Law::A), "callee", 5_060, 2);
    let backup = phone(Phone::callee(SECOND, Law::A), "backup", 5_060, 1);
    let mut there = [lab.start_waiting(End::Far, &callee)?, lab.start_waiting(End::Far, &backup)?];
    let caller = |lab: &Lab<'_>, name: &str, port| Phone {
        dial: "77".to_owned(),
        ..phone(lab.caller(Law::Mu), name, port, 1).with("talk_ms", 2_500).with("ring_ms", 50)
    };
    let first = caller(lab, "first", 5_060);
    let second = caller(lab, "second", 5_070);
    let mut here = Vec::new();
    for phone in [&first, &second] {
        here.push(lab.start(End::Near, phone)?);
        std::thread::sleep(Duration::from_millis(700));
    }
    let third = caller(lab, "third", 5_080).scenario("caller_refused").with("status", "503");
    lab.start(End::Near, &third)?.finish()?;
    let told = lab
        .tap(End::Near)
        .book()
        .message(|m| m.is_response(503, "INVITE"))
        .and_then(|m| m.header("Retry-After").map(str::to_owned));
    ensure!(told.is_some(), "the 503 does not say when to come again");
    let trunks = lab.appliance()?.ask(&["trunks"])?;
    here.iter_mut().try_for_each(Sipp::finish)?;
    // The counts went down with the calls.
    lab.start(End::Near, &caller(lab, "fourth", 5_060))?.finish()?;
    there.iter_mut().try_for_each(Sipp::finish)?;
    let samples = lab.appliance()?.metrics()?;
    for (labels, wanted) in [("caller\",direction=\"in", 1.0), ("callee\",direction=\"out", 1.0)] {
        let name = format!("tandem_trunk_refused_total{{trunk=\"{labels}\",limit=\"max_calls\"}}");
        let counted = samples.iter().find(|(at, _)| *at == name).map(|(_, value)| *value);
        ensure!(counted == Some(wanted), "{name} is {counted:?}, not {wanted}; `tandem trunks` said {trunks}");
    }
    Ok(format!(
        "the second call went to the next trunk, the third got 503 with Retry-After {}",
        told.unwrap_or_default()
    ))
}

fn choosing(plan: &mut Plan) {
    let (one, two) = (at(CALLEE, 5_060), at(SECOND, 5_060));
    plan.setup.extra = [
        trunk("turn", "81", &format!("policy = \"round_robin\"\ndestinations = [\"{one}\", \"{two}\"]")),
        trunk(
            "weighted",
            "82",
            &format!(
                "policy = \"weighted\"\ndestinations = [{{ uri = \"{one}\", weight = 3 }}, {{ uri = \"{two}\", weight = 1 }}]"
            ),
        ),
        trunk("prior", "83", &format!("destinations = [{{ uri = \"{one}\", priority = 2 }}, \"{two}\"]")),
        trunk(
            "least",
            "84",
            &format!("policy = \"least_calls\"\ndestinations = [\"{}\", \"{}\"]", at(CALLEE, 5_081), at(SECOND, 5_081)),
        ),
    ]
    .concat();
}

fn choice(lab: &mut Lab<'_>) -> Result<String> {
    // Busy, both of them, for as long as it takes: who was asked is what matters.
    let busy =
        |base: Phone, name: &str| phone(base.scenario("callee_refuses").with("status", "486"), name, 5_060, 10_000);
    let _one = lab.start_waiting(End::Far, &busy(lab.callee(Law::A), "one"))?;
    let _two = lab.start_waiting(End::Far, &busy(Phone::callee(SECOND, Law::A), "two"))?;
    const WEIGHTED: u32 = 120;
    for (dial, calls, name) in [("81", 6, "turn"), ("82", WEIGHTED, "weighted"), ("83", 2, "prior")] {
        let mut caller =
            phone(lab.caller(Law::Mu), name, 5_060, calls).scenario("caller_refused").with("status", "486");
        (caller.dial, caller.rate) = (dial.to_owned(), 60);
        lab.start(End::Near, &caller)?.finish()?;
    }
    let firsts = |lab: &mut Lab<'_>, called| -> Result<Vec<String>> {
        Ok(attempts(lab, called)?.into_iter().filter_map(|tried| tried.into_iter().next()).collect())
    };
    let one = at(CALLEE, 5_060);
    let turn = firsts(lab, "81")?;
    ensure!(turn.len() == 6 && turn.windows(2).all(|pair| pair[0] != pair[1]), "not in turn: {turn:?}");
    let weighted = firsts(lab, "82")?.iter().filter(|to| **to == one).count();
    // Three of four: 90 of 120, with a standard deviation of 4.7; four of these either way.
    ensure!((71..=109).contains(&weighted), "{weighted} of {WEIGHTED} calls went to the one with three quarters");
    let prior = firsts(lab, "83")?;
    ensure!(prior == [at(SECOND, 5_060), at(SECOND, 5_060)], "the lowest priority is not first: {prior:?}");
    // One call at each: the second goes to the one that has none.
    let callee = phone(lab.callee(Law::A), "least_one", 5_081, 1);
    let second = phone(Phone::callee(SECOND, Law::A), "least_two", 5_081, 1);
    let mut there = [lab.start_waiting(End::Far, &callee)?, lab.start_waiting(End::Far, &second)?];
    let mut caller = phone(lab.caller(Law::Mu), "least", 5_060, 2).with("talk_ms", 2_000);
    (caller.dial, caller.rate) = ("84".to_owned(), 1);
    lab.start(End::Near, &caller)?.finish()?;
    there.iter_mut().try_for_each(Sipp::finish)?;
    Ok(format!("in turn; {weighted} of {WEIGHTED} by a weight of three quarters; by priority; by calls in progress"))
}

fn asking(plan: &mut Plan) {
    let health = "health = { interval_s = 1, down_after = 2, up_after = 2 }\nno_reply_ms = 4000";
    let destinations = format!("destinations = [\"{}\", \"{}\"]", at(SECOND, 5_090), at(CALLEE, 5_090));
    let lost = format!("destinations = [\"{}\"]", at(NOBODY, 5_090));
    plan.setup.extra =
        trunk("asked", "85", &format!("{destinations}\n{health}")) + &trunk("lost", "86", &format!("{lost}\n{health}"));
}

/// Waits until `tandem trunks` says that this destination is up, or down.
fn wait_up(lab: &mut Lab<'_>, uri: &str, up: bool) -> Result<()> {
    let mut last = serde_json::Value::Null;
    for _ in 0..120 {
        last = lab.appliance()?.ask(&["trunks"])?;
        let rows = last["rows"].as_array().or(last.as_array()).cloned().unwrap_or_default();
        let mut destinations = rows.iter().flat_map(|row| row["destinations"].as_array().cloned().unwrap_or_default());
        if destinations.any(|each| each["uri"].as_str() == Some(uri) && each["up"].as_bool() == Some(up)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("{uri} is not {} after 6 s: {last}", if up { "up" } else { "down" })
}

fn health(lab: &mut Lab<'_>) -> Result<String> {
    let asked = |base: Phone, name: &str| phone(base.scenario("callee_asked"), name, 5_090, 10_000);
    let _one = lab.start_waiting(End::Far, &asked(lab.callee(Law::A), "alive"))?;
    wait_up(lab, &at(CALLEE, 5_090), true)?;
    wait_up(lab, &at(SECOND, 5_090), false)?;
    wait_up(lab, &at(NOBODY, 5_090), false)?;
    let call = |lab: &Lab<'_>, name: &str| {
        let mut caller = phone(lab.caller(Law::Mu), name, 5_060, 1).with("talk_ms", 200);
        caller.dial = "85".to_owned();
        lab.start(End::Near, &caller)?.finish()
    };
    call(lab, "while_down")?;
    let _two = lab.start_waiting(End::Far, &asked(Phone::callee(SECOND, Law::A), "back"))?;
    wait_up(lab, &at(SECOND, 5_090), true)?;
    call(lab, "when_up")?;
    let tried = attempts(lab, "85")?;
    ensure!(tried == [[at(CALLEE, 5_090)], [at(SECOND, 5_090)]], "the calls were tried at {tried:?}");
    let samples = lab.appliance()?.metrics()?;
    let changes = samples.iter().filter(|(name, _)| {
        name.starts_with("tandem_trunk_destination_changes_total") && name.contains(&at(SECOND, 5_090))
    });
    let changes: Vec<f64> = changes.map(|(_, value)| *value).collect();
    ensure!(changes == [1.0, 1.0], "once down and once up, but counted are {changes:?}");
    Ok("a refused and a silent one went down; the call went past it at once; it came up and got the next call".into())
}

const DNS_PORT: u16 = 5_300;

fn named(plan: &mut Plan) {
    plan.setup.sip_keys = "dns = [\"127.0.0.1:5300\"]";
    plan.setup.extra = trunk("srv", "87", "destinations = [\"sip:carrier.lab\"]\nno_reply_ms = 1000")
        + &trunk("tcp", "88", "destinations = [\"sip:stream.lab\"]")
        + &trunk("aaaa", "89", "destinations = [\"sip:six.lab:5060\"]").replace("\"b4\"", "\"b6\"");
}

/// RFC 3263 §4: NAPTR says which transport, SRV which host and port, A or AAAA which address.
fn names(lab: &mut Lab<'_>) -> Result<String> {
    let mut dns = serve_names(lab)?;
    let (callee, second) = (CALLEE.to_string(), SECOND.to_string());
    // The first of the two servers refuses the port.
    let two = phone(Phone::callee(SECOND, Law::A), "two", 5_093, 2);
    let mut two_runs = lab.start_waiting(End::Far, &two)?;
    let call = |lab: &Lab<'_>, name: &str, dial: &str| {
        let mut caller = phone(lab.caller(Law::Mu), name, 5_060, 1).with("talk_ms", 200);
        caller.dial = dial.to_owned();
        lab.start(End::Near, &caller)?.finish().with_context(|| name.to_owned())
    };
    call(lab, "by_srv", "87")?;
    let mut tcp = phone(lab.callee(Law::A), "stream", 5_094, 1);
    tcp.tcp = true;
    let mut tcp_runs = lab.start_waiting(End::Far, &tcp)?;
    call(lab, "by_tcp", "88")?;
    let mut six = lab.start_waiting(End::Far, &phone(Phone::callee(CALLEE6, Law::A), "six", 5_060, 1))?;
    call(lab, "by_aaaa", "89")?;
    // Records live 2 s: they are kept while nobody answers.
    dns.signal(libc::SIGTERM)?;
    dns.wait(Duration::from_secs(5))?;
    std::thread::sleep(Duration::from_secs(3));
    call(lab, "without_dns", "87")?;
    [&mut two_runs, &mut tcp_runs, &mut six].into_iter().try_for_each(Sipp::finish)?;
    let far = lab.tap(End::Far).book();
    let tried: Vec<String> = far
        .messages
        .iter()
        .filter(|m| !m.outgoing && m.is_request("INVITE"))
        .map(|m| m.start_line().to_owned())
        .collect();
    drop(far);
    ensure!(tried.iter().all(|line| line.contains(".lab")), "the Request-URI names the host (RFC 3263 §4): {tried:?}");
    Ok(format!("SRV past {callee}:5092 to {second}:5093, NAPTR to TCP, AAAA; and again 3 s after the DNS server died"))
}

fn serve_names(lab: &Lab<'_>) -> Result<Running> {
    let mut command = command_in(Some(&lab.ground.tandem.name), "dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--no-hosts",
        "--no-resolv",
        "--conf-file=/dev/null",
        "--user=root",
        "--pid-file=",
    ]);
    command.args([
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--local-ttl=2",
        "--log-facility=-",
        "--log-queries",
    ]);
    command.args([
        &format!("--port={DNS_PORT}"),
        "--naptr-record=carrier.lab,10,10,s,SIP+D2U,,_sip._udp.carrier.lab",
        "--srv-host=_sip._udp.carrier.lab,one.lab,5092,1,1",
        "--srv-host=_sip._udp.carrier.lab,two.lab,5093,2,1",
        "--naptr-record=stream.lab,10,10,s,SIP+D2T,,_sip._tcp.stream.lab",
        "--srv-host=_sip._tcp.stream.lab,one.lab,5094,1,1",
        &format!("--host-record=one.lab,{CALLEE}"),
        &format!("--host-record=two.lab,{SECOND}"),
        &format!("--host-record=six.lab,{CALLEE6}"),
    ]);
    let running = Running::start("dnsmasq", command, lab.room.join("dnsmasq.log"))?;
    // tandem asks as soon as it starts, which was before; it asks again after a second.
    std::thread::sleep(Duration::from_millis(2_500));
    Ok(running)
}

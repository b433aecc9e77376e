//! Kamailio as an independent peer: in front of tandem, as docs/trunks.md has it, and behind it, as a registrar that forks.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    kamailio::Kamailio,
    lab::{End, Lab, Plan, source_root},
    law::Law,
    process::run,
    runner::Scenario,
    script::{NO_BODY, Script},
    sipp::{Phone, Sipp},
    topology::{CALLEE, CALLER, SECOND, TANDEM_A, TANDEM_B},
    verdict::judge,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "kamailio_front",
            "Kamailio in front, as docs/kamailio.cfg has it: record-routes, probes by OPTIONS, passes over a tandem that is gone",
            front,
        )
        .prepared(before)
        .needing("kamailio")
        .within(Duration::from_secs(60)),
        Scenario::new(
            "kamailio_fork",
            "Kamailio behind, over TCP: two registered phones ring, one answers, the other is cancelled",
            fork,
        )
        .prepared(|plan| plan.setup.destinations = vec![format!("sip:{BEHIND};transport=tcp")])
        .needing("kamailio")
        .within(Duration::from_secs(60)),
        Scenario::new(
            "kamailio_digest",
            "Kamailio's auth module challenges a registration and a call by SHA-256, and takes what tandem answers",
            digest,
        )
        .prepared(with_account)
        .needing("kamailio")
        .within(Duration::from_secs(60)),
        Scenario::new(
            "kamailio_tls",
            "a trunk to Kamailio over TLS, both ways, each side shows its certificate; one that names another host is refused",
            tls,
        )
        .prepared(over_tls)
        .needing("kamailio")
        .within(Duration::from_secs(60)),
    ]
}

fn over_tls(plan: &mut Plan) {
    plan.files = certificates;
    plan.setup.destinations = vec![format!("sip:{BEHIND};transport=tls")];
    plan.setup.trunk_keys[1] = "tls = { ca = \"{room}/ca.pem\", peer_names = [\"kamailio.lab\"] }".into();
    plan.setup.extra = format!(
        "\n[[sip.listen]]\naddress = \"b4\"\ntransports = [\"tls\"]\n\
         \n[sip.tls]\ncertificate = \"{{room}}/tandem.pem\"\nkey = \"{{room}}/tandem.key\"\n\
         \n[[trunk]]\nname = \"near\"\naddress = \"a4\"\ndestinations = [\"sip:{CALLER}\"]\n\
         \n[[route]]\nprefix = \"79\"\nfrom = \"callee\"\nto = [\"near\"]\n"
    );
}

/// An authority and what it signed: tandem's certificate, Kamailio's, and another host's.
fn certificates(room: &Path) -> Result<()> {
    let at = |file: &str| room.join(file).display().to_string();
    let make = |name: &str, more: &[&str]| {
        let (key, out, subject) = (at(&format!("{name}.key")), at(&format!("{name}.pem")), format!("/CN={name}"));
        let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        args.extend(["-days", "2", "-subj", &subject, "-keyout", &key, "-out", &out]);
        args.extend(more);
        run("openssl", &args).map(drop)
    };
    make("ca", &[])?;
    let (ca, key) = (at("ca.pem"), at("ca.key"));
    for (name, names) in [
        ("tandem", format!("DNS:tandem.lab,IP:{TANDEM_B}")),
        ("kamailio", format!("DNS:kamailio.lab,IP:{BEHIND}")),
        ("stranger", "DNS:stranger.lab".to_owned()),
    ] {
        let names = format!("subjectAltName={names}");
        let leaf = ["-CA", &ca, "-CAkey", &key, "-addext", &names, "-addext", "basicConstraints=critical,CA:FALSE"];
        make(name, &leaf)?;
    }
    Ok(())
}

/// Kamailio, showing this certificate and asking for one wherever it can.
fn kamailio_with(lab: &Lab<'_>, certificate: &str) -> Result<Kamailio> {
    let room = lab.room.display();
    let each = format!(
        "method = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\nca_list = {room}/ca.pem\n\
         private_key = {room}/{certificate}.key\ncertificate = {room}/{certificate}.pem\n"
    );
    std::fs::write(lab.room.join("kamailio_tls.cfg"), format!("[server:default]\n{each}\n[client:default]\n{each}"))?;
    let text =
        registrar(lab, "")?.replace(&format!("\"sip:{TANDEM_B}\""), &format!("\"sip:{TANDEM_B}:5061;transport=tls\""));
    Kamailio::start(&lab.ground.callee, &lab.room, &format!("kamailio_{certificate}"), (BEHIND, &text), &["WITH_TLS"])
}

fn tls(lab: &mut Lab<'_>) -> Result<String> {
    let kamailio = kamailio_with(lab, "kamailio")?;
    register(lab, &[CALLEE])?;
    let mu = lab.speech(Law::Mu, Duration::from_secs(2))?;
    let a = lab.speech(Law::A, Duration::from_secs(2))?;
    let phone = lab.callee(Law::A).plays(&a);
    lab.call(&lab.caller(Law::Mu).plays(&mu).with("talk_ms", 2_500), &phone)?;
    // What lies between tandem and Kamailio cannot be read: calls are known by their media.
    let heard = {
        let (near, far) = (lab.tap(End::Near).book(), lab.tap(End::Far).book());
        let readable = far.messages.len();
        ensure!(readable == 0, "{readable} messages could be read between tandem and Kamailio");
        let said = near.dialogs.by_call_id.values().find_map(|dialog| dialog.said.first());
        let said = said.context("the caller made no offer")?.rtp;
        let arrived = far.of_port(false, SocketAddr::new(CALLEE, phone.media_port + 4));
        judge(&near.of_port(true, said), &arrived, &lab.expect(Law::Mu, Law::A, None))
    };
    ensure!(heard.is_perfect() && heard.sent > 0, "{heard}");
    // The other way Kamailio connects, and shows its certificate because tandem asks for it.
    let mut near = Phone::callee(CALLER, Law::Mu);
    near.name = "near".into();
    let mut near_runs = lab.start_waiting(End::Near, &near)?;
    let mut inward = Phone::caller(SECOND, BEHIND, Law::A).with("talk_ms", 500);
    (inward.name, inward.dial) = ("inward".into(), "79".into());
    lab.start(End::Far, &inward)?.finish()?;
    near_runs.finish()?;
    drop(kamailio);
    lab.ground.callee.ip(&["addr", "del", &format!("{BEHIND}/24"), "dev", "eth0"])?;
    let _stranger = kamailio_with(lab, "stranger")?;
    let mut refused = lab.caller(Law::Mu).scenario("caller_refused").with("status", "503");
    refused.name = "refused".into();
    lab.start(End::Near, &refused)?.finish().context("a certificate that names another host")?;
    // The figures are those of a quarter of a second before.
    std::thread::sleep(Duration::from_millis(500));
    let samples = lab.appliance()?.metrics()?;
    let handshakes = |direction: &str, done: bool| {
        let counted = samples.iter().filter(|(name, _)| {
            name.starts_with("tandem_tls_handshakes_total{")
                && name.contains(&format!("direction=\"{direction}\""))
                && name.contains("result=\"done\"") == done
        });
        counted.map(|(_, value)| *value).sum::<f64>()
    };
    let seen = [handshakes("out", true), handshakes("in", true), handshakes("out", false)];
    ensure!(seen.iter().all(|count| *count >= 1.0), "handshakes made, taken and refused: {seen:?}");
    Ok(format!("both ways with certificates of both sides, another host's refused; {heard}"))
}

const PASSWORD: &str = "zanzibar-7";

fn with_account(plan: &mut Plan) {
    plan.setup.destinations = vec![format!("sip:{BEHIND}")];
    plan.setup.trunk_keys[1] =
        "auth = { username = \"tandem\", password = \"zanzibar-7\", realm = \"kamailio.lab\" }\n\
         register = { registrar = \"sip:198.18.2.5\", aor = \"sip:tandem@198.18.2.5\", retry_s = 1, retry_max_s = 1 }"
            .into();
}

fn digest(lab: &mut Lab<'_>) -> Result<String> {
    let text = registrar(lab, PASSWORD)?;
    let _kamailio = Kamailio::start(&lab.ground.callee, &lab.room, "kamailio", (BEHIND, &text), &["WITH_AUTH"])?;
    // tandem registers by itself; the phone is no trunk, and Kamailio asks it for nothing.
    lab.tap(End::Far).wait("a registration that Kamailio takes", Duration::from_secs(10), |book| {
        book.message(|message| message.outgoing && message.is_response(200, "REGISTER")).map(|_| ())
    })?;
    register(lab, &[CALLEE])?;
    let mu = lab.speech(Law::Mu, Duration::from_secs(2))?;
    let a = lab.speech(Law::A, Duration::from_secs(2))?;
    lab.call(&lab.caller(Law::Mu).plays(&mu).with("talk_ms", 2_500), &lab.callee(Law::A).plays(&a))?;
    let heard = lab.demand_perfect(End::Near, 1, &lab.expect(Law::Mu, Law::A, None))?;
    lab.demand_perfect(End::Far, 1, &lab.expect(Law::A, Law::Mu, None))?;
    let book = lab.tap(End::Far).book();
    for (method, status, answer) in [("REGISTER", 401, "Authorization"), ("INVITE", 407, "Proxy-Authorization")] {
        let challenged = book.count(|message| message.outgoing && message.is_response(status, method));
        ensure!(challenged >= 1, "Kamailio challenged no {method} with {status}");
        let shown = book.count(|message| {
            message.is_request(method)
                && message.header(answer).is_some_and(|value| value.contains("algorithm=SHA-256"))
        });
        ensure!(shown >= 1, "no {method} came with {answer}");
    }
    let told = lab.tap(End::Near).book().count(|message| message.status().is_some_and(|status| status >= 300));
    ensure!(told == 0, "the caller heard of a challenge");
    Ok(format!("401 of the registration and 407 of the call answered; {heard}"))
}

/// Kamailio in front, in the caller's network; the tandem that is gone; and Kamailio behind, in the callee's.
const FRONT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 5));
const GONE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 11));
const BEHIND: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 2, 5));

fn before(plan: &mut Plan) {
    plan.setup.extra = format!(
        "\n[[trunk]]\nname = \"kamailio\"\nfrom = [\"{FRONT}/32\"]\naddress = \"a4\"\ndestinations = [\"sip:{FRONT}\"]\n\
         \n[[route]]\nprefix = \"79\"\nfrom = \"callee\"\nto = [\"kamailio\"]\n"
    );
}

fn front(lab: &mut Lab<'_>) -> Result<String> {
    let list = lab.room.join("dispatcher.list");
    std::fs::write(&list, format!("1 sip:{GONE} 0\n1 sip:{TANDEM_A} 0\n"))?;
    // The documented file, with the laboratory's addresses.
    let documented = std::fs::read_to_string(source_root().join("docs/kamailio.cfg"))?;
    let mut text = documented.clone();
    for (there, here) in [
        ("198.18.2.5:", format!("{FRONT}:")),
        ("/etc/kamailio/dispatcher.list", list.display().to_string()),
        ("192.0.2.1", CALLER.to_string()),
    ] {
        ensure!(text.contains(there), "docs/kamailio.cfg no longer says {there}");
        text = text.replace(there, &here);
    }
    let kamailio = Kamailio::start(&lab.ground.caller, &lab.room, "kamailio", (FRONT, &text), &[])?;
    let mu = lab.speech(Law::Mu, Duration::from_secs(2))?;
    let a = lab.speech(Law::A, Duration::from_secs(2))?;
    // By OPTIONS Kamailio learns that one tandem is there and the other is not.
    lab.tap(End::Near).wait("an answer to Kamailio's OPTIONS", Duration::from_secs(5), |book| {
        book.message(|message| !message.outgoing && message.is_response(200, "OPTIONS")).map(|_| ())
    })?;
    // The phone's signalling comes by Kamailio: tandem meets the phone's own address only in its media, and what is to leave
    // before ARP has answered is dropped. Not so here: it has spoken with tandem.
    ensure!(lab.ping(End::Near, TANDEM_A, 2), "the phone's host does not reach tandem");
    let caller = Phone::caller(CALLER, FRONT, Law::Mu).plays(&mu).with("talk_ms", 2_500);
    let mut callee = lab.callee(Law::A).plays(&a);
    callee.calls = 2;
    let mut there = lab.start_waiting(End::Far, &callee)?;
    // The first two go to one each, in turn; the one that is gone costs its call the time-out, and no more.
    for (name, media_port) in [("first", 30_000), ("second", 31_000)] {
        let mut caller = caller.clone();
        (caller.name, caller.dial, caller.media_port) = (name.to_owned(), format!("7{name}"), media_port);
        lab.start(End::Near, &caller)?.finish().context(name)?;
    }
    there.finish()?;
    let heard = lab.demand_perfect(End::Near, 2, &lab.expect(Law::Mu, Law::A, None))?;
    lab.demand_perfect(End::Far, 2, &lab.expect(Law::A, Law::Mu, None))?;
    let recorded = {
        let book = lab.tap(End::Near).book();
        let ways = |method: &str| {
            let from = |m: &&crate::sip::Message| m.outgoing && m.is_request(method) && m.from.ip() == FRONT;
            book.messages.iter().filter(from).count()
        };
        ensure!(ways("ACK") >= 2 && ways("BYE") == 2, "ACK and BYE did not come by Kamailio");
        book.messages.iter().any(|m| m.is_request("INVITE") && m.header("Record-Route").is_some())
    };
    ensure!(recorded, "no Record-Route was seen");
    // The other way: tandem's BYE and the callee's follow the recorded route, too.
    let mut world = Phone::callee(CALLER, Law::Mu).scenario("callee_early").plays(&mu).with("ring_ms", 300);
    world.name = "world".into();
    let mut world_runs = lab.start_waiting(End::Near, &world)?;
    let mut outward = Phone::caller(CALLEE, TANDEM_B, Law::A);
    (outward.name, outward.dial) = ("outward".into(), "79".into());
    lab.start(End::Far, &outward.with("talk_ms", 500))?.finish()?;
    world_runs.finish()?;
    ensure!(!kamailio.log().contains("CRITICAL"), "Kamailio complains: {}", kamailio.log());
    Ok(format!("two calls in, past a tandem that is gone, and one out, all by the recorded route; {heard}"))
}

/// The registrar's configuration with its blanks filled in.
pub fn registrar(lab: &Lab<'_>, password: &str) -> Result<String> {
    let mut text = std::fs::read_to_string(lab.frame.scenarios.join("kamailio_registrar.cfg"))?;
    for (blank, value) in [
        ("address", BEHIND.to_string()),
        ("tandem", TANDEM_B.to_string()),
        ("trunk", format!("sip:{TANDEM_B}")),
        ("room", lab.room.display().to_string()),
        ("algorithm", "SHA-256".to_owned()),
        ("password", password.to_owned()),
    ] {
        text = text.replace(&format!("{{{{{blank}}}}}"), &value);
    }
    Ok(text)
}

/// Registers the phones at these addresses as user 701.
fn register(lab: &Lab<'_>, at: &[IpAddr]) -> Result<()> {
    for (index, address) in at.iter().enumerate() {
        let script = Script::caller("registers").asks("REGISTER", &["Expires: 600"], NO_BODY).hears(200, &[]);
        let mut phone = Phone::caller(*address, BEHIND, Law::A).follows(script);
        phone.name = format!("registers{index}");
        lab.start(End::Far, &phone)?.finish()?;
    }
    Ok(())
}

fn fork(lab: &mut Lab<'_>) -> Result<String> {
    let text = registrar(lab, "")?;
    let _kamailio = Kamailio::start(&lab.ground.callee, &lab.room, "kamailio", (BEHIND, &text), &[])?;
    register(lab, &[CALLEE, SECOND])?;
    let mu = lab.speech(Law::Mu, Duration::from_secs(2))?;
    let a = lab.speech(Law::A, Duration::from_secs(2))?;
    let answers = lab.callee(Law::A).plays(&a).with("ring_ms", 600);
    let mut rings = Phone::callee(SECOND, Law::A).scenario("callee_cancelled");
    (rings.name, rings.media_port) = ("rings".into(), 42_000);
    let mut there = [lab.start_waiting(End::Far, &answers)?, lab.start_waiting(End::Far, &rings)?];
    let caller = lab.caller(Law::Mu).plays(&mu).with("talk_ms", 2_500);
    lab.start(End::Near, &caller)?.finish()?;
    there.iter_mut().try_for_each(Sipp::finish)?;
    let heard = lab.demand_perfect(End::Near, 1, &lab.expect(Law::Mu, Law::A, None))?;
    lab.demand_perfect(End::Far, 1, &lab.expect(Law::A, Law::Mu, None))?;
    let book = lab.tap(End::Far).book();
    let mut tags: Vec<&str> = book
        .messages
        .iter()
        .filter(|message| message.outgoing && message.is_response(180, "INVITE"))
        .filter_map(|message| message.header("To")?.split("tag=").nth(1))
        .collect();
    tags.sort_unstable();
    tags.dedup();
    ensure!(tags.len() == 2, "{} phones rang, not 2", tags.len());
    Ok(format!("two early dialogs by one TCP connection, one answered and one cancelled by Kamailio; {heard}"))
}

//! Many more calls than the slow path can take, while calls go on.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    appliance::Samples,
    lab::{End, Lab, Plan},
    law::Law,
    runner::Scenario,
    storm::{Blown, Line, Quick, blow},
    topology::{CALLER, INTRUDER, SECOND, TANDEM_A, sip_uri},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "call_storm",
            "8000 calls a second are offered: calls in progress keep their time, new ones are refused quickly, memory is \
             bounded, and it is over within 2 s",
            storm,
        )
        .prepared(prepare)
        .alone(),
    ]
}

const CALLS: u32 = 20;
/// Whole calls, INVITE to BYE. One slow-path thread does 1,000 a second easily, and more than 3,000 here: 8,000 are too many for
/// any machine that this runs on.
const OFFERED_PER_SECOND: u32 = 8_000;
const STORM: Duration = Duration::from_secs(3);
const RECOVERY: Duration = Duration::from_secs(2);
/// A message that was lost comes again (RFC 3261 §17.1.1.2: after T1, then 2·T1).
const PATIENCE: Duration = Duration::from_millis(1_800);
/// Each call in progress asks so often, so many times: for longer than the storm.
const EVERY_MS: u32 = 250;
const TIMES: u32 = 30;
/// RFC 3261 §13.3.1.4: a 2xx that is not acknowledged comes again after T1, then after twice as long each time.
const AGAIN_MS: [u64; 3] = [500, 1_500, 3_500];

/// The storm has a trunk of its own, and what is taken of it goes to a destination that answers it at once.
fn prepare(plan: &mut Plan) {
    plan.ignored_source = Some(INTRUDER);
    plan.setup.extra = format!(
        "\n[[trunk]]\nname = \"storm\"\nfrom = [\"{INTRUDER}/32\"]\naddress = \"a4\"\n\
         \n[[trunk]]\nname = \"storm_out\"\naddress = \"b4\"\ndestinations = [\"{}\"]\n\
         \n[[route]]\nprefix = \"9\"\nto = [\"storm_out\"]\n",
        sip_uri(SECOND, false)
    );
    plan.setup.log = "warn";
    plan.setup.media_ports = (20_000, 59_999);
}

fn storm(lab: &mut Lab<'_>) -> Result<String> {
    let mut caller = lab.caller(Law::Mu).scenario("caller_asks").with("every_ms", EVERY_MS).with("times", TIMES);
    let mut callee = lab.callee(Law::A).scenario("callee_tells");
    // One more for the one who does not acknowledge.
    (caller.calls, caller.rate, callee.calls) = (CALLS, 40, CALLS + 1);
    let mut there = lab.start_waiting(End::Far, &callee)?;
    let _quick = Quick::at(&lab.phones(End::Far).name, SocketAddr::new(SECOND, 5_060))?;
    let mut here = lab.start(End::Near, &caller)?;
    std::thread::sleep(Duration::from_millis(1_200));

    let before = lab.appliance()?.metrics()?;
    let memory = lab.appliance()?.resident_kib()?;
    let line = Line {
        from: SocketAddr::new(INTRUDER, 5_060),
        to: SocketAddr::new(TANDEM_A, 5_060),
        number: "9",
        mark: "storm",
    };
    let namespace = lab.phones(End::Near).name.clone();
    let (blown, repeated) = std::thread::scope(|scope| -> Result<(Blown, Vec<u64>)> {
        // It calls before the storm, and waits through it.
        let late = scope.spawn(|| unacknowledged(&namespace));
        std::thread::sleep(Duration::from_millis(450));
        let blown = blow(&namespace, line, (OFFERED_PER_SECOND, STORM), PATIENCE)?;
        let repeated = late.join().map_err(|_| anyhow::anyhow!("the caller that does not acknowledge died"))??;
        Ok((blown, repeated))
    })?;
    let over = Instant::now();
    let growth = lab.appliance()?.resident_kib()?.saturating_sub(memory);
    std::thread::sleep(RECOVERY.saturating_sub(over.elapsed()));
    let calm =
        blow(&namespace, Line { mark: "calm", ..line }, (100, Duration::from_secs(1)), Duration::from_millis(500))?;
    here.finish()?;
    there.finish()?;
    let after = lab.appliance()?.metrics()?;
    refused_quickly(&blown)?;
    ensure!(calm.taken == calm.offered, "{RECOVERY:?} after the storm of 100 calls not all were taken: {calm:?}");
    let counted = sum(&after, "tandem_sip_refused_total{reason=\"late\"}")
        - sum(&before, "tandem_sip_refused_total{reason=\"late\"}");
    let refused = blown.refused_us.len();
    ensure!(
        counted >= refused as f64 && counted <= (refused + blown.unanswered) as f64,
        "{refused} refusals were heard and {} calls got no answer, but {counted} were counted",
        blown.unanswered
    );
    // RFC 3261 §17.1.2.2: a request whose answer takes longer than T1 is repeated, so each was answered by then.
    for (phone, name) in [(&here, "caller"), (&there, "callee")] {
        let again = phone.retransmissions();
        ensure!(again == 0, "SIPp as {name} of the calls in progress had to repeat itself {again} times");
    }
    for (at, due) in repeated.iter().zip(AGAIN_MS) {
        ensure!(at.abs_diff(due) <= 100, "200s came again after {repeated:?} ms, not after {AGAIN_MS:?}");
    }
    ensure!(repeated.len() == AGAIN_MS.len(), "200s came again after {repeated:?} ms, not after {AGAIN_MS:?}");
    // What was taken lingers as transactions for 32 s (RFC 3261 §17): a few KiB each; refusals leave nothing.
    let bound = 16 * 1024 + 16 * blown.taken as u64;
    ensure!(growth <= bound, "memory grew by {growth} KiB with {} calls taken, more than {bound}", blown.taken);
    let late = late_share(&before, &after)?;
    Ok(format!(
        "{} offered in {STORM:?}: {} taken, {refused} refused (half within {:.0} ms, 99 % within {:.0} ms), {} without \
         an answer; the generator was at most {:.0} ms late; 200s came again after {repeated:?} ms; {late}; memory grew by \
         {growth} KiB; {RECOVERY:?} later all of {} calls were taken",
        blown.offered,
        blown.taken,
        blown.refused_ms(0.5),
        blown.refused_ms(0.99),
        blown.unanswered,
        blown.latest.as_secs_f64() * 1e3,
        calm.offered
    ))
}

fn refused_quickly(blown: &Blown) -> Result<()> {
    let (refused, offered) = (blown.refused_us.len(), blown.offered);
    ensure!(refused * 3 > offered, "this is no overload: only {refused} of {offered} calls were refused");
    ensure!(blown.taken > 0, "nothing was taken in the storm");
    ensure!(blown.curt == 0, "{} refusals did not say when to come again", blown.curt);
    ensure!(blown.otherwise == 0, "{} calls were refused otherwise", blown.otherwise);
    ensure!(blown.unended == 0, "{} calls that were taken could not be hung up", blown.unended);
    ensure!(blown.unanswered * 100 <= offered, "{} of {offered} calls got no answer", blown.unanswered);
    let p99 = blown.refused_ms(0.99);
    // RFC 3261 §17.1.1.2: before the caller would repeat its INVITE.
    ensure!(p99 < 500.0, "99 % of the refusals came within {p99:.0} ms only");
    Ok(())
}

fn sum(samples: &Samples, name: &str) -> f64 {
    samples.iter().filter(|(at, _)| at.starts_with(name)).map(|(_, value)| value).sum()
}

/// What tandem says of itself: how long messages of calls in progress had waited, at most. That they kept their time is judged
/// by their phones: this is a bound, by when a source was last found empty, and in a lasting overload nothing has waited for
/// as long.
fn late_share(before: &Samples, after: &Samples) -> Result<String> {
    let rounds = |bound: &str| {
        let name = format!("tandem_slow_late_seconds_bucket{{of=\"calls_in_progress\",le=\"{bound}\"}}");
        sum(after, &name) - sum(before, &name)
    };
    let all = rounds("+Inf");
    ensure!(all > 0.0, "no round was counted");
    let share = |bound| rounds(bound) / all * 100.0;
    Ok(format!("{:.1} % of the rounds were at most 20 ms late, {:.1} % at most 500 ms", share("0.02"), share("0.5")))
}

/// A call whose 200 is not acknowledged before the storm is nearly over: when it came again, in milliseconds after the first.
fn unacknowledged(namespace: &str) -> Result<Vec<u64>> {
    let from = SocketAddr::new(CALLER, 5_070);
    let to = SocketAddr::new(TANDEM_A, 5_060);
    let socket = crate::sys::in_netns(namespace, || std::net::UdpSocket::bind(from))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let sdp = format!(
        "v=0\r\no=late 1 1 IN IP4 {CALLER}\r\ns=-\r\nc=IN IP4 {CALLER}\r\nt=0 0\r\nm=audio 30998 RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\n"
    );
    let request = |method: &str, seq: u32, target: &str, remote: &str, body: &str| {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKlate{method};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:late@{from}>;tag=late\r\nTo: {remote}\r\nCall-ID: late@{CALLER}\r\nCSeq: {seq} {method}\r\n\
             Contact: <sip:late@{from}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let callee = format!("sip:70late@{to}");
    socket.send(request("INVITE", 1, &callee, &format!("<{callee}>"), &sdp).as_bytes())?;
    let mut first: Option<(Instant, String)> = None;
    let (mut again, mut buffer) = (Vec::new(), vec![0; 8_192]);
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end && again.len() < AGAIN_MS.len() {
        let Ok(bytes) = socket.recv(&mut buffer) else { continue };
        let text = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
        if !text.starts_with("SIP/2.0 200 ") {
            continue;
        }
        match &first {
            None => first = Some((Instant::now(), text)),
            Some((at, _)) => again.push(at.elapsed().as_millis() as u64),
        }
    }
    let (_, ok) = first.context("the call before the storm was not answered")?;
    let value = |name: &str| ok.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    let remote = value("To: ");
    let target = value("Contact: ").trim_matches(['<', '>']).to_owned();
    let target = target.split('>').next().unwrap_or_default().to_owned();
    socket.send(request("ACK", 1, &target, &remote, "").as_bytes())?;
    socket.send(request("BYE", 2, &target, &remote, "").as_bytes())?;
    Ok(again)
}

//! A carrier that wants credentials: challenged calls, and a registration that is kept and taken back. SIPp judges what
//! tandem shows it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::{
    lab::{End, Lab, Plan},
    law::Law,
    runner::Scenario,
    sipp::Phone,
    topology::{SECOND, sip_uri},
};

const USERNAME: &str = "4930123";
const PASSWORD: &str = "zanzibar-7";

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("trunk_digest", "a callee that challenges is shown the account, in each request", digest)
            .prepared(|plan| plan.setup.trunk_keys[1] = account(PASSWORD)),
        Scenario::new("trunk_digest_refused", "a wrong password fails the call once, and the caller gets 403", refused)
            .prepared(|plan| plan.setup.trunk_keys[1] = account("wrong")),
        Scenario::new("trunk_registers", "a registration is challenged, renewed in time, and taken back", registers)
            .prepared(registering),
    ]
}

fn account(password: &str) -> String {
    format!("auth = {{ username = \"{USERNAME}\", password = \"{password}\" }}\n")
}

/// The trunk is called only while it is registered; its registrar is the second phone's address.
fn registering(plan: &mut Plan) {
    plan.setup.trunk_keys[1] = format!(
        "{}register = {{ registrar = \"{}\", aor = \"sip:{USERNAME}@lab.example\", retry_s = 1, retry_max_s = 1 }}\n",
        account(PASSWORD),
        sip_uri(SECOND, false)
    );
}

fn challenger(lab: &Lab<'_>) -> Phone {
    let callee = lab.callee(Law::A).scenario("callee_challenges");
    callee.with("username", USERNAME).with("password", PASSWORD)
}

/// Requests of one method that tandem sent to the far end.
fn asked(lab: &Lab<'_>, method: &str) -> usize {
    lab.tap(End::Far).book().count(|message| message.is_request(method))
}

fn counted(lab: &mut Lab<'_>, name: &str) -> Result<f64> {
    let samples = lab.appliance()?.metrics()?;
    Ok(samples.iter().find(|(known, _)| known == name).map_or(0.0, |(_, value)| *value))
}

fn digest(lab: &mut Lab<'_>) -> Result<String> {
    let mu = lab.speech(Law::Mu, Duration::from_secs(2))?;
    let a = lab.speech(Law::A, Duration::from_secs(2))?;
    let caller = lab.caller(Law::Mu).plays(&mu).with("talk_ms", 2_500);
    lab.call(&caller, &challenger(lab).plays(&a))?;
    let there = lab.demand_perfect(End::Near, 1, &lab.expect(Law::Mu, Law::A, None))?;
    lab.demand_perfect(End::Far, 1, &lab.expect(Law::A, Law::Mu, None))?;
    ensure!(asked(lab, "INVITE") == 2, "{} INVITEs, not one and one with credentials", asked(lab, "INVITE"));
    ensure!(asked(lab, "BYE") == 1, "the BYE was not accepted at once");
    let answered = "tandem_trunk_auth_total{trunk=\"callee\",direction=\"out\",result=\"answered\"}";
    let times = counted(lab, answered)?;
    ensure!(times == 1.0, "the challenge was counted {times} times");
    Ok(format!("SIPp found the credentials of INVITE and BYE right; {there}"))
}

fn refused(lab: &mut Lab<'_>) -> Result<String> {
    let mut callee = lab.start_waiting(End::Far, &challenger(lab))?;
    let caller = lab.caller(Law::Mu).scenario("caller_refused").with("status", "403");
    lab.start(End::Near, &caller)?.finish()?;
    // It got nothing that it would take: it does not end as it wanted to.
    ensure!(callee.finish().is_err(), "SIPp took a wrong password");
    ensure!(asked(lab, "INVITE") == 2, "{} INVITEs, not one and one with credentials", asked(lab, "INVITE"));
    let log = lab.appliance()?.process.output();
    ensure!(!log.contains("wrong\"") && !log.contains(PASSWORD), "the log shows a password");
    Ok("one answer to the challenge, refused; the caller got 403".to_owned())
}

fn registers(lab: &mut Lab<'_>) -> Result<String> {
    let mut registrar = Phone::callee(SECOND, Law::A).scenario("registrar");
    registrar.name = "registrar".into();
    let registrar = registrar.with("username", USERNAME).with("password", PASSWORD).with("expires_s", 8);
    let mut registrar = lab.start_waiting(End::Far, &registrar)?;
    let begun = Instant::now();
    // First for 8 s, and after its renewal for 600.
    let mut seen_first = false;
    let renewed = loop {
        let told = lab.appliance()?.ask(&["trunks", "callee"])?;
        let one = &told["rows"][0]["registration"];
        match one["expires_in_s"].as_u64() {
            Some(left) if left > 8 => break begun.elapsed(),
            Some(_) => seen_first = true,
            None => {}
        }
        if begun.elapsed() > Duration::from_secs(15) {
            bail!("not registered and renewed within 15 s: {told}");
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    ensure!(seen_first, "the first registration was not seen");
    ensure!(counted(lab, "tandem_trunk_registered{trunk=\"callee\"}")? == 1.0, "the metric does not say registered");
    lab.appliance()?.stop()?;
    registrar.finish()?;
    let log = lab.appliance()?.process.output();
    ensure!(log.contains("was taken back from trunk callee"), "the log does not say that it was taken back");
    ensure!(!log.contains(PASSWORD), "the log shows the password");
    Ok(format!("renewed within {:.1} s, taken back at the end; SIPp found each REGISTER right", renewed.as_secs_f64()))
}

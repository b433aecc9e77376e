//! Numbers on their way through the dial plan: dialled as at home, heard in E.164.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::{
    lab::{Lab, Plan},
    law::Law,
    process::run,
    runner::Scenario,
    topology::CALLEE,
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("dial_plan", "a national number and a tel URI arrive in E.164, the caller rewritten", dial_plan)
            .prepared(german),
    ]
}

/// The caller's trunk dials as in Germany; the callee's takes +E.164. A rule gives the caller another number.
fn german(plan: &mut Plan) {
    plan.setup.numbers = [
        "{ country = \"49\", international = \"00\", national = \"0\" }",
        "{ country = \"49\", format = \"plus_e164\" }",
    ];
    plan.setup.extra = "\n[[route]]\nprefix = \"+4930\"\nfrom = \"caller\"\n\
                        calling = { strip = 5, prepend = \"+4940\" }\nto = [\"callee\"]\n\
                        \n[[route]]\nprefix = \"+\"\nto = [\"callee6\"]\n"
        .to_owned();
}

/// (Request-URI and From as dialled, user part of both as they must arrive, what the marked user part ends in)
const CALLS: [(&str, &str, &str, &str, &str); 2] = [
    (
        "sip:0301234567@[remote_ip]:[remote_port]",
        "sip:0309876543@[local_ip]",
        "[+]49301234567",
        "[+]49409876543@[0-9.]+",
        "",
    ),
    (
        "tel:+49-30-1234567",
        "tel:0309876543;phone-context=+49",
        "[+]49301234567",
        "[+]49409876543@[0-9.]+;user=phone",
        ";user=phone",
    ),
];

fn dial_plan(lab: &mut Lab<'_>) -> Result<String> {
    for (called, calling, called_there, calling_there, params) in CALLS {
        let caller = lab.caller(Law::Mu).scenario("caller_number");
        let caller = caller.with("called", called).with("calling", calling).with("talk_ms", 300);
        let callee = lab.callee(Law::A).scenario("callee_number");
        let callee = callee.with("called", called_there).with("calling", calling_there).with("params", params);
        lab.call(&caller, &callee).with_context(|| format!("a call to {called} from {calling}"))?;
    }
    let records = lab.appliance()?.records()?;
    ensure!(records.len() == CALLS.len(), "{} call-detail records of {} calls", records.len(), CALLS.len());
    for record in &records {
        let attempt = &record["attempts"][0];
        let numbers = [&record["called"], &record["calling"], &attempt["called"], &attempt["calling"]];
        ensure!(
            numbers == ["+49301234567", "+49309876543", "+49301234567", "+49409876543"],
            "the record says {numbers:?}"
        );
    }
    // What `tandem route` says of the same configuration is what happened.
    let binary = lab.frame.binary.as_deref().unwrap_or(Path::new("tandem")).to_string_lossy().into_owned();
    let config = lab.room.join("tandem.toml").to_string_lossy().into_owned();
    let asked = ["--json", "route", "0301234567", "--from", "caller", "--calling", "0309876543", "--config", &config];
    let told: serde_json::Value = serde_json::from_str(&run(&binary, &asked)?)?;
    let there = &told["destinations"][0];
    ensure!(
        there["destination"] == format!("sip:{CALLEE}:5060")
            && there["called"] == "+49301234567"
            && there["calling"] == "+49409876543",
        "`tandem route` says {told}"
    );
    Ok("030… arrives as +4930…, the caller's 030… as +4940…; the records and `tandem route` say the same".to_owned())
}

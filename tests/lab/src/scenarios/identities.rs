//! What of a call's header fields crosses and what does not, by trust and by lists; and what is refused before it is a call.
//! SIPp on both sides.

use std::time::Duration;

use anyhow::Result;

use super::offers::both;
use crate::{
    lab::{Lab, Plan},
    law::Law,
    runner::Scenario,
    script::{Check, NO_BODY, Script, has, lacks, sdp},
    sipp::Phone,
    topology::{SECOND, sip_uri},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "identity",
            "asserted identities, privacy, diversions and listed header fields: what each trunk is told",
            identity,
        )
        .prepared(prepare)
        .within(Duration::from_secs(60)),
        Scenario::new(
            "refusals",
            "what is no call is refused as RFC 3261 says, with what the caller must know",
            refusals,
        )
        .prepared(|plan| plan.setup.trunk_keys[0] = "reliable_provisionals = \"off\"".into())
        .within(Duration::from_secs(30)),
    ]
}

/// The caller's trunk is trusted, the callee's is not, and another one (78…) is.
fn prepare(plan: &mut Plan) {
    plan.setup.trunk_keys = [
        "identity = { trust = true }\nheaders = { pass = [\"X-Account\"] }",
        "headers = { drop = [\"Priority\"] }\nreliable_provisionals = \"require\"",
    ]
    .map(String::from);
    plan.setup.extra = format!(
        "\n[[trunk]]\nname = \"trusted\"\naddress = \"b4\"\ndestinations = [\"{}\"]\nidentity = {{ trust = true }}\n\
         headers = {{ drop = [\"X-Account\"] }}\nreliable_provisionals = \"off\"\n\
         \n[[route]]\nprefix = \"78\"\nto = [\"trusted\"]\n",
        sip_uri(SECOND, false)
    );
}

const ASSERTED: &str = "P-Asserted-Identity: \"Alice\" <sip:+49301234567@pbx.example>";

/// A call that is refused with 486 by who must see this of it.
fn sees(checks: &[Check]) -> Script {
    Script::callee("sees who calls, and is busy")
        .gets("INVITE", checks)
        .answers(486, "INVITE", &["P-Asserted-Identity: <sip:busy@pbx.far.example>"], NO_BODY)
        .gets("ACK", &[])
}

fn calls(lines: &[&str], told: &[Check]) -> Script {
    Script::caller("says who it is").invites(lines).hears(486, told).acks_refusal()
}

fn identity(lab: &mut Lab<'_>) -> Result<String> {
    let nobody = || has("From:", "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
    let unknown = [lacks("P-Asserted-Identity:", ".")];
    // RFC 3325 §7 and RFC 3323 §5.3: to a trunk that is not trusted.
    let outside = [nobody(), lacks("P-Asserted-Identity:", "."), has("Privacy:", "id")];
    both(lab, "private", calls(&[ASSERTED, "Privacy: id"], &unknown), sees(&outside))?;
    let hidden = [nobody(), lacks("Subject:", "."), lacks("Contact:", "198.18.1"), lacks("Call-ID:", "198.18.1")];
    both(lab, "private_user", calls(&["Privacy: user;id", "Subject: Lunch"], &[]), sees(&hidden))?;
    let shown = [has("P-Asserted-Identity:", "4930123456"), lacks("P-Asserted-Identity:", "pbx")];
    both(lab, "not_private", calls(&[ASSERTED, "Privacy: none"], &[]), sees(&shown))?;
    // What either trunk's lists say; RFC 5806: a diversion, without the host that it names.
    let lists = [
        has("X-Account:", "4711"),
        lacks("Priority:", "."),
        has("Subject:", "Lunch"),
        has("Diversion:", "sip:\\+4930777@198.18.2.10"),
        lacks("X-Other:", "."),
        has("Require:", "100rel"),
    ];
    let told = [
        "X-Account: 4711",
        "Priority: urgent",
        "Subject: Lunch",
        "X-Other: 1",
        "Diversion: <sip:+4930777@pbx.example>",
    ];
    both(lab, "listed", calls(&told, &[]), sees(&lists))?;
    // Within the trust domain the next one sees to it.
    let inside = [
        has("From:", "Caller"),
        has("P-Asserted-Identity:", "\"Alice\" <sip:\\+49301234567@198.18.2.10>"),
        has("Privacy:", "id"),
        lacks("X-Account:", "."),
        has("Priority:", "urgent"),
        lacks("Supported:", "100rel"),
    ];
    let mut trusted = Phone::callee(SECOND, Law::A).follows(sees(&inside));
    trusted.name = "trusted".into();
    let lines = [ASSERTED, "Privacy: id", "X-Account: 4711", "Priority: urgent", "Supported: 100rel"];
    let mut caller = lab.caller(Law::Mu).follows(calls(&lines, &[]));
    (caller.name, caller.dial) = ("to_trusted".into(), "78".into());
    lab.call(&caller, &trusted)?;
    Ok("withheld from the one that is not trusted, told to the one that is; anonymous outside; both trunks' lists hold"
        .into())
}

fn refusals(lab: &mut Lab<'_>) -> Result<String> {
    let refused = |script: Script, lines: &[&str], body: &str, status: u16, checks: &[Check]| {
        script.asks("INVITE", lines, body).may_hear(&[100]).hears(status, checks).acks_refusal()
    };
    let offer = sdp(1, "sendrecv");
    let mut script = Script::caller("is refused in every way before it is a call")
        .asks("OPTIONS", &[], NO_BODY)
        .hears(200, &[has("Allow:", "INVITE.*UPDATE"), has("Accept:", "application/sdp")]);
    script = refused(
        script,
        &["Require: foo, timer", "Proxy-Require: bar"],
        &offer,
        420,
        &[has("Unsupported:", "foo, *bar")],
    );
    script = refused(script, &["Require: 100rel"], &offer, 420, &[has("Unsupported:", "100rel")]);
    script = refused(script, &["Content-Type: application/isup"], "x", 415, &[has("Accept:", "application/sdp")]);
    script = refused(script, &["Accept: text/plain"], &offer, 406, &[]);
    script = refused(script, &["Session-Expires: 30", "Supported: timer"], &offer, 422, &[has("Min-SE:", "90")]);
    let script = script
        .asks("PUBLISH", &[], NO_BODY)
        .hears(405, &[has("Allow:", "INVITE")])
        .asks("FOO", &[], NO_BODY)
        .hears(501, &[has("Allow:", "INVITE")]);
    let mut caller = lab.caller(Law::Mu).follows(script);
    (caller.name, caller.limit) = ("refused".into(), Duration::from_secs(10));
    lab.start(crate::lab::End::Near, &caller)?.finish()?;
    Ok("OPTIONS 200, 420 twice, 415, 406, 422, 405, 501, each with what it must say".into())
}

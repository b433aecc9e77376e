//! The ground itself: who answers, and who must not.

use anyhow::{Result, ensure};

use crate::{
    lab::{End, Lab},
    law::Law,
    runner::{BOTH, Scenario},
    sipp::Phone,
    topology::{TANDEM_A, TANDEM_A6, TANDEM_B, TANDEM_B6},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("ping", "the media addresses answer ping over IPv4 and IPv6", ping).on(BOTH).with_stand_in(),
        Scenario::new("stopped", "with tandem stopped nothing answers: the kernel behind the port is deaf", stopped)
            .on(BOTH),
    ]
}

const TANDEMS: [(End, std::net::IpAddr); 4] =
    [(End::Near, TANDEM_A), (End::Near, TANDEM_A6), (End::Far, TANDEM_B), (End::Far, TANDEM_B6)];

fn ping(lab: &mut Lab<'_>) -> Result<String> {
    for (end, address) in TANDEMS {
        ensure!(lab.ping(end, address, 3), "{address} did not answer a ping");
    }
    // Three pings, three answers: a kernel that also answers behind the port would double them.
    let address = TANDEM_A.to_string();
    let said = lab.phones(End::Near).run("ping", &["-c", "3", "-i", "0.2", "-W", "2", &address])?;
    ensure!(said.contains("3 received") && !said.contains("duplicates"), "ping said: {said}");
    Ok("4 addresses answered, each ping once".to_owned())
}

fn options(lab: &Lab<'_>) -> Phone {
    let mut phone = lab.caller(Law::Mu).scenario("options");
    phone.name = "options".into();
    phone.limit = std::time::Duration::from_secs(8);
    phone
}

fn stopped(lab: &mut Lab<'_>) -> Result<String> {
    ensure!(lab.ping(End::Near, TANDEM_A, 3), "{TANDEM_A} did not answer a ping while tandem ran");
    lab.start(End::Near, &options(lab))?.finish()?;
    lab.appliance()?.stop()?;
    for (end, address) in TANDEMS {
        ensure!(!lab.ping(end, address, 1), "{address} answered a ping although tandem is stopped");
    }
    ensure!(lab.start(End::Near, &options(lab))?.finish().is_err(), "SIP was answered although tandem is stopped");
    Ok("ping and SIP were answered before, and not after".to_owned())
}

//! `tandem ports`: the DPDK ports, what passed and what did not.

use std::fmt::Write;

use clap::Args;

use super::{
    CliError, Client, Outcome,
    table::{Table, plain},
};
use crate::observe::admin::{AdminRequest, Answer, Listing, Named, PortRow};

/// List the DPDK ports: driver, queues, packets, drops and punts by reason
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem ports
  tandem ports --xstats                      with the driver's own statistics
  tandem --json ports | jq '.rows[].drops'

Exit codes: 0 done; 3 no tandem answers.")]
pub struct Ports {
    /// Show the driver's own statistics, too; those that are 0 are left out [default: off]
    #[arg(long)]
    xstats: bool,
}

impl Ports {
    pub fn execute(&self, client: &Client, json: bool) -> Result<Outcome, CliError> {
        match client.ask(&AdminRequest::PortsList {})? {
            Answer::Ports(ports) => Outcome::show(json, &ports, |ports| listing(ports, self.xstats)),
            _ => Err(client.foreign().into()),
        }
    }
}

pub(super) fn listing(ports: &Listing<PortRow>, xstats: bool) -> String {
    let mut table = Table::new(&[
        "PORT",
        "DEVICE",
        "DRIVER",
        "MAC",
        "LINK",
        "#MTU",
        "#QUEUES",
        "EXCEPTION",
        "#RX PACKETS",
        "#RX BYTES",
        "#TX PACKETS",
        "#TX BYTES",
    ]);
    for port in &ports.rows {
        table.row([
            port.name.clone(),
            port.device.clone(),
            port.driver.clone(),
            port.mac.clone(),
            if port.link_up { "up" } else { "down" }.into(),
            port.mtu.to_string(),
            format!("{}/{}", port.rx_queues, port.tx_queues),
            port.exception.clone(),
            port.rx_packets.to_string(),
            port.rx_bytes.to_string(),
            port.tx_packets.to_string(),
            port.tx_bytes.to_string(),
        ]);
    }
    let mut text = table.render();
    for port in &ports.rows {
        reasons(&mut text, &port.name, "dropped", &port.drops);
        reasons(&mut text, &port.name, "punted to the kernel", &port.punts);
        if xstats {
            reasons(&mut text, &port.name, "the driver says", &port.xstats);
        }
    }
    text
}

/// One line per count that is not 0; nothing if all are.
fn reasons(text: &mut String, port: &str, what: &str, counts: &[Named]) {
    let counts: Vec<&Named> = counts.iter().filter(|named| named.count > 0).collect();
    if counts.is_empty() {
        return;
    }
    // Writing to a String does not fail.
    let _ = writeln!(text, "\n{} {what}:", plain(port));
    for Named { name, count } in counts {
        let _ = writeln!(text, "{count:>14}  {}", plain(name));
    }
}

//! `tandem bans`: who is shut out from SIP; add and lift.

use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::{
    CliError, Client, Outcome,
    table::{Table, duration, shown},
};
use crate::observe::admin::{AdminRequest, Answer, BanRow, Listing, MAX_ROWS};

/// List who is banned from SIP, ban an address or network, or lift a ban
///
/// Without a verb it lists. tandem itself bans who offends often ([sip.protection] in the configuration). Addresses of
/// trunks are never banned.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  tandem bans                                the first 200 bans
  tandem bans add 203.0.113.9 --for 1h       keep an address out for an hour
  tandem bans add 203.0.113.0/24             as long as sip.protection.ban_s says
  tandem bans remove 203.0.113.9
  tandem --json bans | jq -r '.rows[].network'

Exit codes: 0 done; 1 refused, or no such ban; 3 no tandem answers."
)]
pub struct Bans {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the bans in force
    List(List),
    /// Ban an address or a network
    Add(Add),
    /// Lift a ban
    Remove(Remove),
}

#[derive(Debug, Args)]
struct List {
    /// How many bans to show at most
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ROWS)))]
    limit: u32,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem bans add 203.0.113.9 --for 1h
  tandem bans add 2001:db8::/64 --for 7d

Exit codes: 0 done; 1 it is an address of a trunk; 3 no tandem answers.")]
struct Add {
    /// An address, or a network as ADDRESS/PREFIX-LENGTH
    #[arg(value_name = "IP[/LEN]", value_parser = network)]
    network: IpNet,

    /// How long: a number with s, m, h or d [default: sip.protection.ban_s of the configuration]
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    lasts: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem bans remove 203.0.113.9

Exit codes: 0 done; 1 no such ban; 3 no tandem answers.")]
struct Remove {
    /// The address or network as listed
    #[arg(value_name = "IP[/LEN]", value_parser = network)]
    network: IpNet,
}

impl Bans {
    pub fn execute(&self, client: &Client, json: bool) -> Result<Outcome, CliError> {
        match &self.verb {
            None => list(client, json, self.list.limit),
            Some(Verb::List(list_arguments)) => list(client, json, list_arguments.limit),
            Some(Verb::Add(add)) => {
                let request = AdminRequest::BansAdd { network: add.network, for_s: add.lasts };
                match client.ask(&request)? {
                    Answer::Ban(ban) => Outcome::show(json, &ban, |ban| {
                        let lasts = ban.until_unix_ms.saturating_sub(ban.since_unix_ms) as f64 / 1e3;
                        format!("{} is banned for {}\n", written(&ban.network), duration(lasts))
                    }),
                    _ => Err(client.foreign().into()),
                }
            }
            Some(Verb::Remove(remove)) => match client.ask(&AdminRequest::BansRemove { network: remove.network })? {
                Answer::Ban(ban) => {
                    Outcome::show(json, &ban, |ban| format!("{} is no longer banned\n", written(&ban.network)))
                }
                _ => Err(client.foreign().into()),
            },
        }
    }
}

fn list(client: &Client, json: bool, limit: u32) -> Result<Outcome, CliError> {
    let now_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    match client.ask(&AdminRequest::BansList { limit })? {
        Answer::Bans(bans) => Outcome::show(json, &bans, |bans| listing(bans, now_unix_ms)),
        _ => Err(client.foreign().into()),
    }
}

pub(super) fn listing(bans: &Listing<BanRow>, now_unix_ms: u64) -> String {
    let mut table = Table::new(&["NETWORK", "FOR", "#SINCE", "#LEFT", "#KEPT OUT"]);
    for ban in &bans.rows {
        let seconds = |from: u64, to: u64| duration(to.saturating_sub(from) as f64 / 1e3);
        table.row([
            written(&ban.network),
            ban.reason.clone(),
            seconds(ban.since_unix_ms, now_unix_ms),
            seconds(now_unix_ms, ban.until_unix_ms),
            ban.hits.to_string(),
        ]);
    }
    let rows = if bans.rows.is_empty() { String::new() } else { table.render() };
    rows + &shown(bans.rows.len(), bans.total, "ban")
}

/// A single address without its length.
fn written(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}

fn network(text: &str) -> Result<IpNet, String> {
    let host = text.parse::<IpAddr>().map(IpNet::from);
    let network = host.or_else(|_| text.parse::<IpNet>());
    network.map(|net| net.trunc()).map_err(|_| "an address, or ADDRESS/PREFIX-LENGTH, is needed".to_owned())
}

/// The longest ban: ten years.
const LONGEST_S: u64 = 10 * 365 * 86_400;

fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "a number with a unit is needed: 90s, 15m, 1h, 7d".to_owned();
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(wrong)?;
    if (1..=LONGEST_S).contains(&seconds) { Ok(seconds) } else { Err("1s to 3650d".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_networks_are_read_as_people_write_them() {
        assert_eq!(["90s", "15m", "1h", "7d"].map(|text| seconds(text).unwrap()), [90, 900, 3_600, 604_800]);
        for wrong in ["", "1", "h", "1w", "1h30m", "-1s", "0s", "99999999999999999999d", "4000d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(written(&network("203.0.113.9").unwrap()), "203.0.113.9");
        assert_eq!(written(&network("203.0.113.9/24").unwrap()), "203.0.113.0/24");
        assert_eq!(written(&network("2001:db8::9/64").unwrap()), "2001:db8::/64");
        assert!(network("gw.example").is_err() && network("203.0.113.9/33").is_err());
    }

    #[test]
    fn the_list_of_bans() {
        let row = |network: &str, reason: &str, since: u64, until: u64, hits| BanRow {
            network: network.parse().unwrap(),
            reason: reason.into(),
            since_unix_ms: since,
            until_unix_ms: until,
            hits,
        };
        let rows = vec![
            row("203.0.113.9/32", "scanner", 1_700_000_000_000, 1_700_003_600_000, 12_345),
            row("2001:db8::/64", "operator", 1_700_000_100_000, 1_700_000_160_000, 0),
        ];
        assert_eq!(
            listing(&Listing { total: 2, rows }, 1_700_000_130_000),
            r"
 NETWORK        FOR       SINCE   LEFT  KEPT OUT
 203.0.113.9    scanner    2:10  57:50     12345
 2001:db8::/64  operator   30 s   30 s         0
2 bans
"
            .trim_start_matches('\n')
        );
    }
}

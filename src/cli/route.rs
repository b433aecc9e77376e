//! `tandem route`: which rule of the dial plan a number follows, and why not another. Reads the configuration, asks no
//! running tandem, and judges with the same function as a call.

use std::{
    fmt::Write,
    path::PathBuf,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use jiff::{Timestamp, civil::DateTime};
use serde::Serialize;

use super::{
    CliError, EXIT_FAILED, Outcome,
    table::{Table, or_dash, plain},
};
use crate::{
    config::{self, Config, Severity},
    host::Host,
    sip::{
        flow::Local,
        message::{Uri, escape_user},
        route::{Asked, Choice, Number, Routing, Verdict, zone},
    },
};

/// Say which rule of the dial plan a number follows, and why
///
/// Shows the number as dialled, as the rules see it and as it is written to each destination; the rule that wins; and
/// for each other rule that the number fits, why it does not. Works from the configuration file alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem route 030123456 --from office
  tandem route +442071234567 --from office --calling 030999 --at 2026-12-24T20:00
  tandem route 'tel:0301234;phone-context=+49' --from carrier --config ./lab.toml
  tandem --json route 112 --from office | jq .emergency

Exit codes: 0 there is a route; 1 there is none, or the configuration is wrong; 2 wrong usage.")]
pub struct Route {
    /// The called number as the trunk sends it, or a sip: or tel: URI
    #[arg(value_name = "NUMBER")]
    number: String,

    /// The trunk that the call comes from
    #[arg(long, value_name = "TRUNK")]
    from: String,

    /// The calling number as the trunk sends it, or a URI [default: none]
    #[arg(long, value_name = "NUMBER")]
    calling: Option<String>,

    /// When: 2026-12-24T20:00 on the clock of sip.timezone, or with an offset, 2026-12-24T20:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/tandem/tandem.toml")]
    config: PathBuf,
}

/// A number on its way.
#[derive(Serialize)]
struct Seen {
    dialled: String,
    /// As the rules see it.
    seen: String,
    /// As the winning rule left it.
    routed: String,
}

#[derive(Serialize)]
struct Destination {
    trunk: String,
    destination: String,
    /// The numbers as they are written there.
    called: String,
    calling: Option<String>,
}

#[derive(Serialize)]
struct RuleRow {
    /// From 1, as `tandem check` counts them.
    route: usize,
    prefix: String,
    from: Vec<String>,
    times: Vec<String>,
    to: Vec<String>,
    verdict: Verdict,
}

#[derive(Serialize)]
struct Answer {
    from: String,
    at: String,
    called: Seen,
    calling: Option<Seen>,
    /// The rule that wins; None: there is no route.
    route: Option<usize>,
    emergency: bool,
    /// In the order in which they are tried.
    destinations: Vec<Destination>,
    /// Every rule that the number fits, in the order of their claims.
    considered: Vec<RuleRow>,
}

impl Route {
    pub fn execute(&self, json: bool) -> Result<Outcome, CliError> {
        // It is asked on any desk: whether the CPUs are there does not matter.
        let reading = config::read(&self.config, &Host::default());
        let Some(config) = reading.config else {
            let errors = reading.problems.iter().filter(|problem| problem.severity == Severity::Error);
            let lines: Vec<String> = errors.map(ToString::to_string).collect();
            return Err(CliError::Question(lines.join("\n")));
        };
        let answer = self.answer(&config).map_err(CliError::Question)?;
        let mut outcome = Outcome::show(json, &answer, text)?;
        if answer.route.is_none() {
            outcome.code = ExitCode::from(EXIT_FAILED);
        }
        Ok(outcome)
    }

    fn answer(&self, config: &Config) -> Result<Answer, String> {
        let locals = Local::from_config(config);
        let routing = Routing::new(config, &locals);
        let from = routing.trunk(&self.from).ok_or_else(|| {
            let names: Vec<&str> = config.trunks.iter().map(|trunk| trunk.name.as_str()).collect();
            format!("there is no trunk {:?} in {}; there are: {}", self.from, self.config.display(), names.join(", "))
        })?;
        let called = Some(uri(&self.number)?);
        let calling = self.calling.as_deref().map(uri).transpose()?;
        let at = self.time(config)?;
        let at_ms = u64::try_from(at.as_millisecond()).map_err(|_| format!("{at} is before 1970"))?;
        let choice = routing.choose(&Asked { from, called, calling, at_ms });
        let told = zone(&config.sip.timezone).map(|zone| at.to_zoned(zone).strftime("%a %F %R %Z").to_string());
        Ok(Answer {
            from: self.from.clone(),
            at: told.unwrap_or_else(|| at.to_string()),
            called: seen(&choice.numbers.called),
            calling: choice.numbers.calling.as_ref().map(seen),
            route: choice.rule.map(|rule| rule + 1),
            emergency: choice.emergency,
            destinations: destinations(&routing, &choice),
            considered: considered(config, &choice),
        })
    }

    fn time(&self, config: &Config) -> Result<Timestamp, String> {
        let Some(text) = &self.at else {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
            return Timestamp::from_millisecond(now_ms).map_err(|error| error.to_string());
        };
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(at);
        }
        let civil = text.parse::<DateTime>().map_err(|_| {
            format!(
                "{text:?} is no time; allowed: as in 2026-12-24T20:00, 2026-12-24T20:00:00Z, 2026-12-24T20:00:00+01:00"
            )
        })?;
        let zone = zone(&config.sip.timezone).ok_or_else(|| format!("no time zone {:?}", config.sip.timezone))?;
        civil.to_zoned(zone).map(|at| at.timestamp()).map_err(|error| error.to_string())
    }
}

/// A number stands for the user part of a SIP URI.
fn uri(text: &str) -> Result<Uri, String> {
    let lower = text.to_ascii_lowercase();
    if ["sip:", "sips:", "tel:"].iter().any(|scheme| lower.starts_with(scheme)) {
        return Uri::parse(text).map_err(|_| format!("{text:?} is no URI"));
    }
    let number: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    Uri::parse(&format!("sip:{}@localhost", escape_user(&number))).map_err(|_| format!("{text:?} is no number"))
}

fn seen(number: &Number) -> Seen {
    Seen { dialled: number.dialled.clone(), seen: number.seen.clone(), routed: number.routed().to_owned() }
}

fn destinations(routing: &Routing, choice: &Choice) -> Vec<Destination> {
    let write = |destination: crate::sip::route::Destination| {
        let written = |number: &Number| {
            routing.trunk(&destination.trunk).map(|trunk| routing.written(number, trunk)).unwrap_or_default()
        };
        Destination {
            called: written(&choice.numbers.called),
            calling: choice.numbers.calling.as_ref().map(written),
            trunk: destination.trunk,
            destination: destination.uri,
        }
    };
    routing.destinations(&choice.to).into_iter().map(write).collect()
}

fn considered(config: &Config, choice: &Choice) -> Vec<RuleRow> {
    let row = |considered: &crate::sip::route::Considered| {
        let route = config.routes.get(considered.rule)?;
        Some(RuleRow {
            route: considered.rule + 1,
            prefix: route.prefix.clone(),
            from: route.from.clone(),
            times: route.times.clone(),
            to: route.to.clone(),
            verdict: considered.verdict,
        })
    };
    choice.considered.iter().filter_map(row).collect()
}

/// Why a rule is followed or not.
fn because(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Wins => "wins",
        Verdict::OtherTrunk => "no: for calls from other trunks",
        Verdict::Closed => "no: not at this time",
        Verdict::NoEmergency => "no: an emergency rule goes first",
        Verdict::ShorterPrefix => "no: the winner's prefix is longer",
        Verdict::NamesNoTrunk => "no: the winner names the trunk",
        Verdict::NamesNoTimes => "no: the winner names its times",
        Verdict::StandsLater => "no: the winner stands before it",
    }
}

fn way(number: &Seen) -> String {
    let mut text = number.dialled.clone();
    if number.seen != number.dialled {
        let _ = write!(text, " → {} (normalised)", number.seen);
    }
    if number.routed != number.seen {
        let _ = write!(text, " → {} (rewritten)", number.routed);
    }
    plain(&text)
}

fn text(answer: &Answer) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:<9}{value}");
    };
    line("called", &way(&answer.called));
    line("calling", &answer.calling.as_ref().map_or_else(|| "-".to_owned(), way));
    line("from", &plain(&answer.from));
    line("at", &answer.at);
    let winner = match answer.route {
        Some(route) if answer.emergency => format!("{route}, for emergency numbers: no limit refuses it"),
        Some(route) => route.to_string(),
        None => "none: the caller gets 404".to_owned(),
    };
    line("route", &winner);
    if !answer.considered.is_empty() {
        let mut table = Table::new(&["#ROUTE", "PREFIX", "FROM", "TIMES", "TO", "VERDICT"]);
        for row in &answer.considered {
            let list = |names: &[String], none: &str| {
                if names.is_empty() { none.to_owned() } else { names.join(", ") }
            };
            table.row([
                row.route.to_string(),
                format!("{:?}", row.prefix),
                list(&row.from, "any"),
                list(&row.times, "always"),
                list(&row.to, "-"),
                because(row.verdict).to_owned(),
            ]);
        }
        let _ = write!(text, "\n{}", table.render());
    }
    if !answer.destinations.is_empty() {
        let mut table = Table::new(&["TRUNK", "DESTINATION", "CALLED", "CALLING"]);
        for row in &answer.destinations {
            table.row([row.trunk.clone(), row.destination.clone(), row.called.clone(), or_dash(row.calling.as_ref())]);
        }
        let _ = write!(text, "\n{}", table.render());
    }
    text
}

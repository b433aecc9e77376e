//! `tandem tune`: looks at this machine, says what tandem would do with it, does it, undoes it, and checks. Asks no running
//! tandem. What is judged and planned is in `host`; here it is asked for and shown.

mod plan;
mod show;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Subcommand, value_parser};
use serde::Serialize;

use super::{CliError, EXIT_FAILED, Outcome, table::Table};
use crate::{
    config,
    host::{
        CpuSet, Host,
        picture::Picture,
        plan::{self as planning, Load, Plan, Planning, Trouble, Wish, WishedPort},
        settle,
        tune::{
            carry::{self, Done, Own},
            change::{self, Action, Change},
            journal::Journal,
            stalls,
            verify::{self, Finding, State},
        },
    },
};

const JOURNAL: &str = "/var/lib/tandem/tune.json";

/// Fit this machine to tandem: cores, memory, drivers, kernel
///
/// Workers poll, and lose packets where the host gets in their way: another NUMA node, a busy sibling, too few hugepages, a
/// driver without write-combining, a core that the scheduler still uses. This reads the machine, says what it would do and
/// why, does it, undoes it, and checks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem tune show                                           the machine as it is
  tandem tune plan --config /etc/tandem/tandem.toml          what runs where, and why
  tandem tune plan --port 0000:00:06.0 --calls 20000
  tandem tune apply --config /etc/tandem/tandem.toml --dry-run
  tandem tune verify --config /etc/tandem/tandem.toml        is it so, and what does it cost where not
  tandem tune undo
  tandem --json tune plan | jq '.plan.seats'

Exit codes: 0 done, and as planned; 1 no plan, a change that failed, or something that is not as planned; 2 wrong usage.")]
pub struct Tune {
    /// Look at the machine whose root is here, as a copy of another's /sys and /proc
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,

    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the machine: nodes, CPUs, ports, hugepages, how the kernel runs
    Show,
    /// Say what tandem would do with it, a sentence for each choice
    #[command(after_help = "\
Examples:
  tandem tune plan
  tandem tune plan --config /etc/tandem/tandem.toml
  tandem tune plan --port eth1 --calls 20000

Exit codes: 0 there is a plan; 1 there is none, and why; 2 wrong usage.")]
    Plan(Wanted),
    /// Bring the machine into the state of the plan; each change is told before it is made
    #[command(after_help = "\
Examples:
  tandem tune apply --config /etc/tandem/tandem.toml --dry-run
  tandem tune apply --config /etc/tandem/tandem.toml

Exit codes: 0 done, or nothing to do; 1 no plan, or a change that failed; 2 wrong usage.")]
    Apply {
        #[command(flatten)]
        wanted: Wanted,
        /// Tell the changes and make none [default: off]
        #[arg(long)]
        dry_run: bool,
    },
    /// Check each item of the plan, and whether each worker's core is alone
    #[command(after_help = "\
Examples:
  tandem tune verify --config /etc/tandem/tandem.toml
  tandem tune verify --config /etc/tandem/tandem.toml --poll-s 60

Exit codes: 0 as planned; 1 no plan, or something that is not as planned; 2 wrong usage.")]
    Verify {
        #[command(flatten)]
        wanted: Wanted,
        /// Seconds that each worker's core is polled for stalls; 0: not at all. Left out while tandem runs
        #[arg(long, value_name = "S", default_value_t = 2, value_parser = value_parser!(u64).range(0..=3600))]
        poll_s: u64,
    },
    /// Take back what apply did
    #[command(after_help = "\
Examples:
  tandem tune undo --dry-run
  tandem tune undo

Exit codes: 0 done, or nothing to undo; 1 something could not be taken back; 2 wrong usage.")]
    Undo {
        /// Tell what would be taken back and leave it [default: off]
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
struct Wanted {
    /// Take ports, sessions and memory from this configuration [default: none]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,

    /// A port, by PCI address or interface; may be given again [default: those of --config, or all that carry no default route]
    #[arg(long = "port", value_name = "DEVICE", conflicts_with = "config")]
    ports: Vec<String>,

    /// Two-leg calls at once, with packets of 20 ms [default: what the machine is taken to carry]
    #[arg(long, value_name = "N", conflicts_with = "packets_per_s", value_parser = value_parser!(u64).range(1..=10_000_000))]
    calls: Option<u64>,

    /// Packets per second each way [default: as --calls]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    packets_per_s: Option<u64>,

    /// So many workers [default: as many as the load takes]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=32))]
    workers: Option<u16>,

    /// The NUMA node to run on [default: that of the ports]
    #[arg(long, value_name = "N")]
    node: Option<u16>,
}

impl Wanted {
    fn wish(&self, own: bool) -> Result<Wish, CliError> {
        let mut wish = match &self.config {
            Some(path) => settle::wish(&self.configuration(path)?),
            None => Wish::default(),
        };
        if self.config.is_none() {
            wish.ports = self.ports.iter().cloned().map(WishedPort::Function).collect();
        }
        wish.load = match (self.calls, self.packets_per_s) {
            (Some(calls), _) => Load::Calls(calls),
            (None, Some(packets)) => Load::PacketsPerS(packets),
            (None, None) => Load::Any,
        };
        if let (Some(calls), None) = (self.calls, &self.config) {
            wish.memory.sessions = u32::try_from(calls).unwrap_or(u32::MAX).max(wish.memory.sessions);
        }
        wish.workers = self.workers;
        wish.node = self.node;
        wish.allowed = if own { CpuSet::allowed().ok() } else { None };
        Ok(wish)
    }

    fn configuration(&self, path: &std::path::Path) -> Result<config::Config, CliError> {
        // CPUs are what is planned here: those of the configuration are not compared with this machine's.
        let reading = config::read(path, &Host::default());
        let refused = |problems: Vec<config::Problem>| {
            CliError::Question(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        };
        reading.config.ok_or_else(|| refused(reading.problems))
    }
}

#[derive(Serialize)]
struct Applied<'a> {
    dry_run: bool,
    changes: &'a [Change],
    troubles: &'a [Trouble],
    failed: Vec<String>,
}

#[derive(Serialize)]
struct Verified<'a> {
    as_planned: bool,
    findings: &'a [Finding],
    troubles: &'a [Trouble],
}

impl Tune {
    pub fn execute(&self, json: bool) -> Result<Outcome, CliError> {
        match &self.what {
            What::Show => Outcome::show(json, &self.picture()?, show::text),
            What::Plan(wanted) => {
                let (picture, planning) = self.plan(wanted)?;
                let code = if planning.plan.is_some() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) };
                let outcome = Outcome::show(json, &planning, |planning| plan::text(&picture, planning))?;
                Ok(Outcome { code, ..outcome })
            }
            What::Apply { wanted, dry_run } => self.apply(wanted, *dry_run, json),
            What::Verify { wanted, poll_s } => self.verify(wanted, *poll_s, json),
            What::Undo { dry_run } => self.undo(*dry_run, json),
        }
    }

    /// It is this machine that is looked at, not a copy of another's files.
    fn own(&self) -> bool {
        self.root == std::path::Path::new("/")
    }

    fn picture(&self) -> Result<Picture, CliError> {
        Picture::read(&self.root).map_err(|e| CliError::Question(e.to_string()))
    }

    fn plan(&self, wanted: &Wanted) -> Result<(Picture, Planning), CliError> {
        let picture = self.picture()?;
        let planning = planning::plan(&picture, &wanted.wish(self.own())?);
        Ok((picture, planning))
    }

    /// A plan, or its troubles as an error.
    fn planned(&self, wanted: &Wanted) -> Result<(Picture, Plan, Vec<Trouble>), CliError> {
        let (picture, Planning { plan, troubles }) = self.plan(wanted)?;
        let plan = plan.ok_or_else(|| CliError::Question(plan::troubles(&troubles).trim_end().to_owned()))?;
        Ok((picture, plan, troubles))
    }

    fn only_here(&self) -> Result<(), CliError> {
        if self.own() {
            return Ok(());
        }
        Err(CliError::Question("only this machine can be changed: leave out --root, or say --dry-run".into()))
    }

    fn apply(&self, wanted: &Wanted, dry_run: bool, json: bool) -> Result<Outcome, CliError> {
        if !dry_run {
            self.only_here()?;
        }
        let (picture, plan, troubles) = self.planned(wanted)?;
        let changes = change::changes(&picture, &plan);
        if dry_run {
            let report = Applied { dry_run, changes: &changes, troubles: &troubles, failed: Vec::new() };
            return Outcome::show(json, &report, |_| plan::troubles(&troubles) + &foretold(&changes));
        }
        let done = carry::apply(&mut Own, &changes, JOURNAL.as_ref(), &mut teller(json)).map_err(failed)?;
        let failed = done.iter().filter(|done| done.failed()).map(words).collect();
        let report = Applied { dry_run, changes: &changes, troubles: &troubles, failed };
        let restart = changes.iter().any(|change| change.after_restart);
        let outcome = Outcome::show(json, &report, |_| plan::troubles(&troubles) + &came_of(&done, restart))?;
        Ok(Outcome { code: code(&done), ..outcome })
    }

    fn undo(&self, dry_run: bool, json: bool) -> Result<Outcome, CliError> {
        self.only_here()?;
        if dry_run {
            let journal = Journal::read(JOURNAL.as_ref()).map_err(failed)?;
            return Outcome::show(json, &journal, |journal| {
                let lines = journal.entries.iter().rev().map(|entry| format!("back: {}\n", entry.what));
                let lines: String = lines.collect();
                if lines.is_empty() { "nothing to undo\n".to_owned() } else { lines }
            });
        }
        let done = carry::undo(&mut Own, JOURNAL.as_ref(), &mut teller(json)).map_err(failed)?;
        let restart = done.iter().any(|done| done.what.contains("the kernel's arguments"));
        let report: Vec<String> = done.iter().filter(|done| done.failed()).map(words).collect();
        let outcome = Outcome::show(json, &report, |_| came_of(&done, restart))?;
        Ok(Outcome { code: code(&done), ..outcome })
    }

    fn verify(&self, wanted: &Wanted, poll_s: u64, json: bool) -> Result<Outcome, CliError> {
        let (picture, plan, troubles) = self.planned(wanted)?;
        let mut findings = verify::verify(&picture, &plan);
        if self.own() && poll_s > 0 && !picture.runs("tandem") {
            let (mut measured, mut refused) = (Vec::new(), Vec::new());
            for result in stalls::measure(&plan.seats.worker_cpus(), poll_s) {
                match result {
                    Ok(stalls) => measured.push(stalls),
                    Err(e) => refused.push(e.to_string()),
                }
            }
            findings.extend(verify::judge_stalls(&measured));
            findings.extend(refused.into_iter().map(|why| Finding {
                item: "stalls".into(),
                planned: "polled".into(),
                found: why,
                state: State::Unknown,
                costs: None,
            }));
        }
        let as_planned = !findings.iter().any(|f| matches!(f.state, State::Differs | State::Stops));
        let report = Verified { as_planned, findings: &findings, troubles: &troubles };
        let outcome = Outcome::show(json, &report, |report| plan::troubles(&troubles) + &verdicts(report.findings))?;
        let code = if as_planned { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) };
        Ok(Outcome { code, ..outcome })
    }
}

fn failed(error: crate::host::tune::TuneError) -> CliError {
    CliError::Question(error.to_string())
}

/// Each change on a line of its own, before it is made: whoever watches sees what was being done if it ends here.
fn teller(json: bool) -> impl FnMut(&str) {
    move |what: &str| {
        if !json {
            // A reader that went away keeps nothing from being done.
            let _ = writeln!(io::stdout().lock(), "{what}");
        }
    }
}

fn code(done: &[Done]) -> ExitCode {
    if done.iter().any(Done::failed) { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS }
}

fn words(done: &Done) -> String {
    match &done.result {
        Ok(()) => done.what.clone(),
        Err(e) => format!("{}: {e}", done.what),
    }
}

fn came_of(done: &[Done], restart: bool) -> String {
    if done.is_empty() {
        return "nothing to do: all is so already\n".to_owned();
    }
    let mut text = String::new();
    for done in done.iter().filter(|done| done.result.is_err()) {
        text += &format!("{}: {}\n", if done.may_fail { "not now" } else { "failed" }, words(done));
    }
    let made = done.iter().filter(|done| done.result.is_ok()).count();
    text += &format!("{made} of {} done\n", done.len());
    if restart {
        text += "start the machine anew: the kernel's arguments count from then on\n";
    }
    text
}

fn foretold(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "nothing to do: all is so already\n".to_owned();
    }
    let mut text = String::new();
    for change in changes {
        text += &format!("{}\n", change.what);
        for action in &change.does {
            text += &match action {
                Action::Write { path, text } => {
                    format!("    {path} < {}\n", text.trim_end().replace('\n', "\n        "))
                }
                Action::Remove { path } => format!("    rm {path}\n"),
                Action::Run { program, arguments } => format!("    {program} {}\n", arguments.join(" ")),
            };
        }
    }
    text
}

fn verdicts(findings: &[Finding]) -> String {
    let mut table = Table::new(&["ITEM", "PLANNED", "FOUND", "", "WHAT IT COSTS"]);
    for finding in findings {
        let state = match finding.state {
            State::AsPlanned => "ok",
            State::Differs => "differs",
            State::Stops => "stops",
            State::Unknown => "unknown",
        };
        table.row([
            finding.item.clone(),
            finding.planned.clone(),
            finding.found.clone(),
            state.into(),
            finding.costs.clone().unwrap_or_default(),
        ]);
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let wrong = count(State::Differs) + count(State::Stops);
    let unknown = count(State::Unknown);
    let mut last = match wrong {
        0 => format!("{} items as planned", findings.len() - unknown),
        _ => format!("{wrong} of {} items are not as planned", findings.len()),
    };
    if unknown > 0 {
        last += &format!(", {unknown} unknown");
    }
    format!("{}\n{last}\n", table.render())
}

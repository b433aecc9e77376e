//! What was measured on what: facts that stand at the head of a report. Main thread; reads files and asks programs for
//! their versions.

use std::{fs, process::Command};

use crate::{Bench, report::Report};

/// Fewer are not enough for a median and a spread.
pub const ROUNDS: usize = 5;
/// The name of the fact that says why this run's rows are none to compare.
pub const NOT_FOR_COMPARISON: &str = "not for comparison";

pub fn gather(bench: &Bench, report: &mut Report) {
    let mut fact = |name: &str, value: String| report.facts.push((name.to_owned(), value));
    fact("date", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]));
    fact("command", std::env::args().collect::<Vec<_>>().join(" "));
    fact("tandem", said(&bench.tandem.to_string_lossy(), &["version"]).lines().next().unwrap_or_default().to_owned());
    fact("commit", said("git", &["describe", "--always", "--dirty"]));
    fact("processor", processor());
    fact("machine", hypervisor());
    fact("memory", memory());
    fact("kernel", read("/proc/sys/kernel/osrelease"));
    fact("conversion kernel", tandem::codec::Kernel::detect().name().to_owned());
    for package in ["dpdk-dev", "rtpengine-daemon", "libspandsp2", "libavcodec59"] {
        let version = said("dpkg-query", &["-W", "-f", "${Version}", package]);
        fact(package, if version.is_empty() { "not installed".to_owned() } else { version });
    }
    let cpus: Vec<String> = bench.cpus.iter().map(usize::to_string).collect();
    fact("cores", format!("measured on CPU {}, control on CPU {}", cpus.join(" and "), bench.main_cpu));
    fact("load before", read("/proc/loadavg"));
    fact("rounds", bench.rounds.to_string());
    if bench.quick {
        fact(
            NOT_FOR_COMPARISON,
            format!("--quick: {} rounds and short windows show that everything runs", bench.rounds),
        );
    } else if bench.rounds < ROUNDS {
        fact(NOT_FOR_COMPARISON, format!("{} of {ROUNDS} rounds or more", bench.rounds));
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The first line of what a program prints, empty if it is not there.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    text.unwrap_or_default()
}

fn processor() -> String {
    let info = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{} (family {}, model {}), {count} CPUs", field("model name"), field("cpu family"), field("model\t"))
}

fn hypervisor() -> String {
    if read("/proc/cpuinfo").contains(" hypervisor") { "a virtual machine".into() } else { "no hypervisor".into() }
}

fn memory() -> String {
    let info = read("/proc/meminfo");
    let total = info.lines().next().and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0);
    format!("{} GiB", (total + (1 << 19)) >> 20)
}

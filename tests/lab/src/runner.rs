//! Runs scenarios one after another, each on ground of its own, and counts. Main thread.

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    appliance::Device,
    cleanup,
    lab::{Frame, Lab, Plan},
};

/// One behaviour and how it is shown.
pub struct Scenario {
    pub name: &'static str,
    /// What a reader learns when it passes.
    pub shows: &'static str,
    pub devices: &'static [Device],
    /// Proves something about the laboratory, too, where the kernel routes in the appliance's place.
    pub stand_in: bool,
    pub prepare: fn(&mut Plan),
    /// Returns what it found, in one line.
    pub run: fn(&mut Lab<'_>) -> Result<String>,
    /// A program of Debian's that it needs beside the usual ones.
    pub needs: Option<&'static str>,
    pub limit: Duration,
    /// It measures what a busy machine would spoil: no other laboratory may run meanwhile.
    pub alone: bool,
}

pub const BOTH: &[Device] = &[Device::AfPacket, Device::AfXdp];
pub const PACKET: &[Device] = &[Device::AfPacket];
pub const XDP: &[Device] = &[Device::AfXdp];

impl Scenario {
    pub const fn new(name: &'static str, shows: &'static str, run: fn(&mut Lab<'_>) -> Result<String>) -> Self {
        Scenario {
            name,
            shows,
            devices: PACKET,
            stand_in: false,
            prepare: |_| (),
            run,
            needs: None,
            limit: Duration::from_secs(150),
            alone: false,
        }
    }

    pub const fn on(mut self, devices: &'static [Device]) -> Self {
        self.devices = devices;
        self
    }

    pub const fn with_stand_in(mut self) -> Self {
        self.stand_in = true;
        self
    }

    pub const fn prepared(mut self, prepare: fn(&mut Plan)) -> Self {
        self.prepare = prepare;
        self
    }

    pub const fn needing(mut self, program: &'static str) -> Self {
        self.needs = Some(program);
        self
    }

    pub const fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// `name@device`, what a person types to run it alone.
    pub fn title(&self, device: Device) -> String {
        format!("{}@{}", self.name, device.name())
    }
}

#[derive(Default)]
pub struct Count {
    pub passed: usize,
    pub failed: Vec<String>,
    pub skipped: Vec<(String, String)>,
}

impl Count {
    /// The closing lines: reasons first, then the count alone on a line.
    pub fn close(&self) {
        println!();
        for (title, reason) in &self.skipped {
            println!("skipped {title}: {reason}");
        }
        for title in &self.failed {
            println!("failed {title}");
        }
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len());
    }
}

/// The machine stood still while something was measured, and the clock of the measurement says so: the finding is the
/// machine's and not the appliance's.
#[derive(Debug)]
pub struct Disturbed(pub String);

impl std::fmt::Display for Disturbed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Disturbed {}

/// Times that a disturbed measurement is made, all in all.
const ATTEMPTS: usize = 3;

/// What a measurement finds when nothing disturbs it; when all are disturbed, what the last one found.
pub fn settled(mut measure: impl FnMut() -> Result<String>) -> Result<String> {
    for _ in 1..ATTEMPTS {
        match measure() {
            Err(error) if error.is::<Disturbed>() => println!("  disturbed, and made again: {error:#}"),
            result => return result,
        }
    }
    measure()
}

/// Why a scenario cannot run here, if it cannot.
fn obstacle(scenario: &Scenario, frame: &Frame) -> Option<String> {
    if frame.binary.is_none() && !scenario.stand_in {
        return Some("it needs the appliance, and the kernel stands in for it".to_owned());
    }
    let program = scenario.needs?;
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()));
    (!found).then(|| format!("{program} is not installed: run scripts/install"))
}

/// Runs those whose title contains one of `wanted` (all, if none is named).
pub fn run_all(scenarios: &[Scenario], frame: &Frame, wanted: &[String], device: Option<Device>) -> Result<Count> {
    let mut count = Count::default();
    for scenario in scenarios {
        for on in scenario.devices.iter().filter(|on| device.is_none_or(|only| only == **on)) {
            let title = scenario.title(*on);
            if !wanted.is_empty() && !wanted.iter().any(|name| title == *name || scenario.name == *name) {
                continue;
            }
            if let Some(reason) = obstacle(scenario, frame) {
                println!("{title}: skipped ({reason})");
                count.skipped.push((title, reason));
                continue;
            }
            println!("{title}: {}", scenario.shows);
            let _turn = take_turn(scenario.alone)?;
            let started = Instant::now();
            match settled(|| run_one(scenario, frame, *on, &title)) {
                Ok(found) => {
                    println!("  passed in {:.1} s: {found}", started.elapsed().as_secs_f64());
                    count.passed += 1;
                }
                Err(error) => {
                    println!("  FAILED after {:.1} s: {error:#}", started.elapsed().as_secs_f64());
                    println!("  logs and captures: {}", frame.out.join(&title).display());
                    count.failed.push(title);
                }
            }
        }
    }
    if count.passed + count.failed.len() + count.skipped.len() == 0 {
        bail!("no scenario has that name: `tandem-lab list` shows them");
    }
    Ok(count)
}

/// Laboratories on one machine share it, but for the scenarios that must be alone. Held until the file is dropped.
pub fn take_turn(alone: bool) -> Result<File> {
    let path = "/run/tandem-lab.lock";
    let file = File::create(path).with_context(|| format!("cannot make {path}"))?;
    let taken = if alone { file.try_lock() } else { file.try_lock_shared() };
    if taken.is_err() {
        println!("  waiting for another laboratory on this machine");
        if alone { file.lock()? } else { file.lock_shared()? }
    }
    Ok(file)
}

fn run_one(scenario: &Scenario, frame: &Frame, device: Device, title: &str) -> Result<String> {
    let mut plan = Plan::new(device);
    (scenario.prepare)(&mut plan);
    let watchdog = Watchdog::start(scenario.limit);
    let mut lab = Lab::open(frame, plan, title)?;
    let result = (scenario.run)(&mut lab).and_then(|found| lab.close().map(|()| found));
    if result.is_err()
        && let Err(error) = lab.save()
    {
        eprintln!("  the captures could not be kept: {error:#}");
    }
    if watchdog.barked() {
        return result.with_context(|| format!("it took more than {} s", scenario.limit.as_secs()));
    }
    result
}

/// Ends a scenario's processes if it takes too long, so that nothing waits for them for ever.
struct Watchdog {
    done: Arc<AtomicBool>,
    barked: Arc<AtomicBool>,
}

impl Watchdog {
    fn start(limit: Duration) -> Self {
        let (done, barked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_done, barks) = (Arc::clone(&done), Arc::clone(&barked));
        let deadline = Instant::now() + limit;
        std::thread::spawn(move || {
            while !is_done.load(Ordering::Acquire) {
                if Instant::now() > deadline {
                    barks.store(true, Ordering::Release);
                    cleanup::kill_children();
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Watchdog { done, barked }
    }

    fn barked(&self) -> bool {
        self.barked.load(Ordering::Acquire)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a measurement that gives these in turn, and how often it was made.
    fn made(mut results: Vec<Result<String>>) -> (Result<String>, usize) {
        let all = results.len();
        let found = settled(|| results.remove(0));
        (found, all - results.len())
    }

    fn disturbed() -> Result<String> {
        Err(Disturbed("late".to_owned()).into())
    }

    #[test]
    fn only_what_was_disturbed_is_made_again_and_not_without_end() {
        let fine = || Ok("fine".to_owned());
        assert_eq!(made(vec![fine(), fine()]).1, 1);
        let (found, times) = made(vec![Err(anyhow::anyhow!("lost")), fine()]);
        assert!(found.is_err());
        assert_eq!(times, 1);
        let (found, times) = made(vec![disturbed().context("ramp"), fine(), fine()]);
        assert!(found.is_ok());
        assert_eq!(times, 2);
        let (found, times) = made(vec![disturbed(), disturbed(), disturbed(), fine()]);
        assert!(found.is_err());
        assert_eq!(times, ATTEMPTS);
    }
}

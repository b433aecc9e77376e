//! Stamps the binary: TANDEM_VERSION ("0.1.0 (1a2b3c4d5e)"; without the hash where there is no git) and, with the
//! `dpdk` feature, TANDEM_DPDK_VERSION ("22.11.11"; empty without). Never fails. With TANDEM_LOOM set, the atomics that workers
//! share are loom's.

use std::{env, process::Command};

fn main() {
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let stamped = match git(&["rev-parse", "--short=10", "HEAD"]) {
        Some(hash) => format!("{version} ({hash})"),
        None => version,
    };
    println!("cargo::rustc-env=TANDEM_VERSION={stamped}");
    // From dpdk/build.rs, which has `links = "dpdk"`.
    println!("cargo::rustc-env=TANDEM_DPDK_VERSION={}", env::var("DEP_DPDK_VERSION").unwrap_or_default());

    // Not by RUSTFLAGS: those would build every dependency anew.
    println!("cargo::rerun-if-env-changed=TANDEM_LOOM");
    if env::var_os("TANDEM_LOOM").is_some() {
        println!("cargo::rustc-cfg=tandem_loom");
    }

    println!("cargo::rerun-if-changed=build.rs");
    // HEAD moves with a checkout, its log with a commit; in a worktree both lie elsewhere, which git knows.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]).filter(|p| std::path::Path::new(p).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let run = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(run.stdout).ok()?;
    (run.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

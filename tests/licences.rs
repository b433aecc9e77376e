//! Every dependency's licence is among those that `deny.toml` allows. Needs no tool but cargo, which fetches
//! what only a feature uses and was never built here; where cargo-deny is installed, `.ci/run` asks it too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeSet, path::Path, process::Command};

/// The licences that `deny.toml` names.
fn allowed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).expect("deny.toml");
    let table: toml::Table = text.parse().expect("deny.toml is TOML");
    let list = table["licenses"]["allow"].as_array().expect("licenses.allow");
    list.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
}

/// SPDX: an OR is met by one side, an AND by both; `WITH` belongs to the name before it. Older crates write `/` for OR.
fn fits(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut depth = 0;
    let mut parts: [Vec<String>; 2] = [vec![String::new()], vec![String::new()]];
    // Split at the top level, by OR first: it binds less than AND (SPDX annex D.4).
    for (at, word) in ["OR", "AND"].iter().enumerate() {
        for token in expression.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
            match token {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            if depth == 0 && token == *word {
                parts[at].push(String::new());
            } else if let Some(last) = parts[at].last_mut() {
                *last += token;
                *last += " ";
            }
        }
    }
    if parts[0].len() > 1 {
        return parts[0].iter().any(|part| fits(part, allowed));
    }
    if parts[1].len() > 1 {
        return parts[1].iter().all(|part| fits(part, allowed));
    }
    let name = expression.trim();
    match name.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => fits(inner, allowed),
        None => allowed.contains(name),
    }
}

#[test]
fn expressions_are_read_as_spdx_says() {
    let allowed: BTreeSet<String> = ["MIT", "Apache-2.0", "Unicode-3.0"].map(String::from).into();
    for (expression, fit) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("MIT OR GPL-2.0", true),
        ("MIT AND GPL-2.0", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(GPL-2.0 OR LGPL-2.1) AND MIT", false),
        ("MIT/Apache-2.0", true),
        ("GPL-2.0 OR (MIT AND Apache-2.0)", true),
    ] {
        assert_eq!(fits(expression, &allowed), fit, "{expression}");
    }
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--all-features", "--filter-platform"])
        .arg("x86_64-unknown-linux-gnu")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 50, "cargo named {} packages only", packages.len());
    let allowed = allowed();
    let wrong: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(|licence| fits(licence, &allowed)))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(wrong.is_empty(), "licences that deny.toml does not name: {wrong:#?}");
}

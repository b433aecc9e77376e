//! Holds the picture of the rooms: who may import whom, who does no I/O, where `unsafe` may stand, how a file opens and
//! how long it may be. It reads the sources as text, so it also sees code that is compiled out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// (room, room it must not name): they meet in `flow`.
const STRANGERS: &[(&str, &str)] = &[("fast", "control"), ("control", "fast")];

/// Rooms, and parts of rooms, that take bytes and the time as arguments and return decisions.
const PURE: &[&str] = &[
    "wire",
    "codec",
    "media",
    "flow",
    "sip",
    "ng",
    "ha/generation",
    "ha/heartbeat",
    "ha/held",
    "ha/role",
    "ha/replicate",
    "host/plan",
    "host/tune/change",
    "host/tune/verify",
];

/// What I/O, threads and clocks are called. `std::net`'s addresses are values; its sockets are not.
const IO: &[&str] = &[
    "std::fs",
    "std::io",
    "std::os",
    "std::process",
    "std::thread",
    "std::env",
    "Instant",
    "SystemTime",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "mio",
    "tokio",
    "socket2",
    "axum",
    "netlink_sys",
    "tun_rs",
    "signal_hook",
    "crossbeam",
    "core_affinity",
    "dpdk_sys",
    "libc",
    "println!",
    "eprintln!",
];

/// (room, word) that is allowed all the same, with the reason.
const IO_EXCEPTIONS: &[(&str, &str)] = &[
    // Where fast and slow meet: queues in memory, no threads and no calls to the kernel.
    ("flow", "crossbeam"),
];

/// Files that may hold `unsafe`; each block there says why it is sound. All of `dpdk/` may.
const UNSAFE_FILES: &[&str] = &[
    "src/codec/simd.rs",
    "src/flow/memory.rs",
    // Compiled for tests only: an allocator can be written in no other way.
    "src/base/counting.rs",
];

const MOST_LINES: usize = 800;

/// What is wrong with one file. `path` is relative to the repository, with `/`.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut complain = |line: usize, what: String| found.push(format!("{path}:{line}: {what}"));
    if !text.starts_with("//!") {
        complain(1, "does not open with //! and what it is for".into());
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        complain(lines, format!("{lines} lines; past {MOST_LINES} it is two things"));
    }
    let room = room_of(path);
    let code = without_comments_and_strings(text);
    let shipped = without_tests(&code);
    for (number, line) in code.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if words(line).any(|word| word == "unsafe") && path.starts_with("src/") && !UNSAFE_FILES.contains(&path) {
            complain(number, "unsafe outside dpdk/ and the named files".into());
        }
    }
    for (number, line) in shipped.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        for word in IO.iter().filter(|word| names(line, word)) {
            let excepted = IO_EXCEPTIONS.contains(&(room, word));
            if let Some(part) = pure_part(path)
                && !excepted
            {
                complain(number, format!("`{part}` does no I/O, but names {word}"));
            }
        }
    }
    for (number, target) in crate_paths(&code) {
        if STRANGERS.contains(&(room, target.as_str())) {
            complain(number, format!("`{room}` must not import `{target}`: they meet in `flow`"));
        }
    }
    found
}

/// `src/sip/sdp/mod.rs` → `sip`; `src/lib.rs` → empty.
fn room_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or_default();
    inside.split_once('/').map_or("", |(room, _)| room)
}

/// The entry of `PURE` that a file belongs to: `src/ha/role/machine.rs` and `src/ha/role.rs` to `ha/role`.
fn pure_part(path: &str) -> Option<&'static str> {
    let inside = path.strip_prefix("src/")?;
    PURE.iter()
        .copied()
        .find(|part| inside.strip_prefix(part).is_some_and(|rest| rest.starts_with('/') || rest == ".rs"))
}

/// The rooms that a file names, as `crate::room`, `tandem::room`, inside `use crate::{…}`, or by `super` from the top
/// file of a room, with their lines.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for prefix in ["crate::", "tandem::"] {
        for (at, _) in code.match_indices(prefix) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            let rest = &code[at + prefix.len()..];
            match rest.trim_start().strip_prefix('{') {
                Some(group) => found.extend(group_heads(group).into_iter().map(|room| (line, room))),
                None => found.push((line, identifier(rest))),
            }
        }
    }
    found
}

/// The first part of each path of a `{a::b, c::{d, e}}`, given what stands after its opening brace.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut at_head) = (0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return heads,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && depth == 0 && !c.is_whitespace() => {
                heads.push(identifier(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// Whether `line` names `path`, not merely a longer name that contains it.
fn names(line: &str, path: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    // `std::fs` also hides in `use std::{fs, …}`.
    if let Some(module) = path.strip_prefix("std::")
        && let Some(group) = line.trim_start().strip_prefix("use std::{")
        && group_heads(group).iter().any(|head| head == module)
    {
        return true;
    }
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + path.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// Joins `use …;` statements into one line, so that a group is seen whole, and keeps the number of lines.
fn joined_uses(code: &str) -> String {
    let mut joined = String::with_capacity(code.len());
    let mut owed = 0;
    for line in code.lines() {
        let open = owed > 0;
        if open || line.trim_start().starts_with("use ") || line.trim_start().starts_with("pub use ") {
            joined.push_str(if open { line.trim() } else { line });
            if line.contains(';') {
                joined.push('\n');
                joined.extend(std::iter::repeat_n('\n', owed));
                owed = 0;
            } else {
                joined.push(' ');
                owed += 1;
            }
        } else {
            joined.push_str(line);
            joined.push('\n');
        }
    }
    joined
}

/// Blanks out comments, strings and character literals, keeping lines. Raw strings and nested comments included.
fn without_comments_and_strings(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.push(' ');
            code.extend(chars[at..end].iter().filter(|c| **c == '\n'));
            at = end;
        }
    }
    joined_uses(&code)
}

/// Where the comment, string or character that begins at `at` ends; `at` if none begins there.
fn skipped(chars: &[char], at: usize) -> usize {
    let starts = |text: &str| text.chars().enumerate().all(|(offset, c)| chars.get(at + offset) == Some(&c));
    if starts("//") {
        return (at..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len());
    }
    if starts("/*") {
        return block_comment_end(chars, at);
    }
    let in_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if chars[at] == 'r' && !in_name {
        let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
        if chars.get(at + 1 + hashes) == Some(&'"') {
            return raw_string_end(chars, at + 2 + hashes, hashes);
        }
    }
    if chars[at] == '"' {
        return quoted_end(chars, at, '"');
    }
    if chars[at] == '\'' {
        // A lifetime has no closing quote one character (or one escape) later.
        let escaped = chars.get(at + 1) == Some(&'\\');
        if escaped || chars.get(at + 2) == Some(&'\'') {
            return quoted_end(chars, at, '\'');
        }
    }
    at
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], from: usize, hashes: usize) -> usize {
    let closes =
        |i: usize| chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    (from..chars.len()).find(|i| closes(*i)).map_or(chars.len(), |i| i + 1 + hashes)
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut i = at + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            c if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// Blanks out what stands behind `#[cfg(test)]`: tests may read clocks and files. Keeps lines.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = item_end(item);
        kept.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}

/// The end of the item at the start of `code`: its closing brace, or its semicolon.
fn item_end(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// A file that a `#[cfg(test)] mod name;` names is a test, whatever stands in it.
fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "dpdk", "tests", "benches", "bench", "fuzz"] {
        collect(&root.join(folder), &mut files);
    }
    files.extend(Some(root.join("build.rs")).filter(|path| path.exists()));
    files.sort();
    let relative = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
    files.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn the_house_is_in_order() {
    let sources = sources();
    assert!(sources.iter().any(|(path, _)| path == "src/lib.rs"), "the sources were not found");
    let mut found = Vec::new();
    for (path, text) in &sources {
        let all = complaints(path, text);
        // A room's test files may do I/O; the other rules hold for them as well.
        found.extend(all.into_iter().filter(|what| !(is_test_file(path) && what.contains("does no I/O"))));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// The complaints about a sample, without their place.
fn about(path: &str, text: &str) -> Vec<String> {
    let strip = |what: &String| what.split_once(": ").unwrap().1.to_owned();
    complaints(path, &format!("//! A sample.\n{text}")).iter().map(strip).collect()
}

#[test]
fn strangers_are_seen_however_they_are_named() {
    let expected = ["`fast` must not import `control`: they meet in `flow`"];
    for sample in [
        "use crate::control::Session;",
        "use crate::{base::Time, control::{self, Session}};",
        "use crate::{\n    base::Time,\n    control,\n};",
        "fn f() -> crate::control::Session { todo() }",
    ] {
        assert_eq!(about("src/fast/worker.rs", sample), expected, "{sample}");
    }
    assert_eq!(about("src/control/mod.rs", "use crate::fast::Worker;").len(), 1);
    for innocent in [
        "use crate::flow::control_block;",
        "use crate::{flow::{control, Plan}, base};",
        "// use crate::control::Session;",
        "const S: &str = \"crate::control\"; const R: &str = r#\"crate::control \" \"#;",
        "/* crate::control /* nested */ crate::control */",
        "use crate::controller;",
    ] {
        assert_eq!(about("src/fast/worker.rs", innocent), [""; 0], "{innocent}");
    }
    assert_eq!(about("src/slow/mod.rs", "use crate::{control, fast};"), [""; 0]);
}

#[test]
fn io_in_a_pure_room_is_seen() {
    for (sample, word) in [
        ("use std::fs::File;", "std::fs"),
        ("use std::{fs, net::IpAddr};", "std::fs"),
        ("use std::{\n    net::IpAddr,\n    thread,\n};", "std::thread"),
        ("use std::net::UdpSocket;", "UdpSocket"),
        ("let now = std::time::Instant::now();", "Instant"),
        ("use std::time::{Duration, SystemTime};", "SystemTime"),
        ("fn f(poll: &mio::Poll) {}", "mio"),
        ("println!(\"{x}\");", "println!"),
    ] {
        assert_eq!(about("src/wire/rtp.rs", sample), [format!("`wire` does no I/O, but names {word}")], "{sample}");
        assert_eq!(about("src/slow/mod.rs", sample), [""; 0], "{sample}");
    }
    for innocent in [
        "use std::net::{IpAddr, SocketAddr};",
        "use std::time::Duration;",
        "let mioness = 1; let instant_s = 2;",
        "#[cfg(test)]\nmod tests {\n    use std::{fs, time::Instant};\n    fn f() { if true { fs::read(\"x\"); } }\n}\n",
        "#[cfg(test)]\nmod tests;\n",
        "let c = '\"'; let d = '\\''; // std::fs",
        "fn f<'a>(x: &'a str) -> &'a str { x } // 'std::fs",
    ] {
        assert_eq!(about("src/wire/rtp.rs", innocent), [""; 0], "{innocent}");
    }
    let after_tests = "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\nuse std::thread;\n";
    assert_eq!(about("src/sip/mod.rs", after_tests), ["`sip` does no I/O, but names std::thread"]);
    assert_eq!(about("src/flow/ring.rs", "use crossbeam::queue::ArrayQueue;"), [""; 0]);
    assert_eq!(about("src/media/ring.rs", "use crossbeam::queue::ArrayQueue;").len(), 1);
}

#[test]
fn unsafe_is_seen_outside_its_files() {
    let sample = "fn f() { unsafe { g() } }";
    assert_eq!(about("src/codec/g711.rs", sample), ["unsafe outside dpdk/ and the named files"]);
    assert_eq!(about("src/codec/g711.rs", "// unsafe\n#![deny(unsafe_code)]"), [""; 0]);
    assert_eq!(about("src/codec/simd.rs", sample), [""; 0]);
    assert_eq!(about("dpdk/src/eal.rs", sample), [""; 0]);
}

#[test]
fn the_opening_and_the_length_are_seen() {
    assert_eq!(complaints("src/base/x.rs", "use a;\n"), ["src/base/x.rs:1: does not open with //! and what it is for"]);
    let long = format!("//! x\n{}", "\n".repeat(MOST_LINES));
    assert_eq!(complaints("src/base/x.rs", &long), ["src/base/x.rs:801: 801 lines; past 800 it is two things"]);
    let fits = format!("//! x\n{}", "\n".repeat(MOST_LINES - 1));
    assert_eq!(complaints("src/base/x.rs", &fits), [""; 0]);
}

#[test]
fn places_are_the_lines_of_the_file() {
    let sample = "//! x\nuse std::{\n    net::IpAddr,\n};\n\nuse crate::control::X;\nuse std::fs;\n";
    assert_eq!(
        complaints("src/fast/x.rs", sample),
        ["src/fast/x.rs:6: `fast` must not import `control`: they meet in `flow`"]
    );
    assert_eq!(complaints("src/sip/x.rs", sample), ["src/sip/x.rs:7: `sip` does no I/O, but names std::fs"]);
}

/// The names under every `[…dependencies]` table of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end().ends_with("dependencies]");
        } else if inside
            && !line.starts_with('#')
            && let Some((name, _)) = line.split_once('=')
        {
            found.push(name.split('.').next().unwrap_or(name).trim().to_owned());
        }
    }
    found
}

#[test]
fn every_dependency_has_its_line_of_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let reasons = fs::read_to_string(root.join("docs/DEPENDENCIES.md")).unwrap();
    let rows: Vec<&str> = reasons.lines().filter(|line| line.starts_with('|')).collect();
    for manifest in ["Cargo.toml", "dpdk/Cargo.toml"] {
        let names = dependencies(&fs::read_to_string(root.join(manifest)).unwrap());
        assert!(!names.is_empty(), "{manifest}");
        for name in names {
            let named = format!("`{name}`");
            assert!(
                rows.iter().any(|row| row.contains(&named)),
                "docs/DEPENDENCIES.md has no row for {name} of {manifest}"
            );
        }
    }
}

#[test]
fn dependencies_are_found_in_every_table() {
    let sample = "[package]\nname = \"x\"\n[dependencies]\na = \"1\"\nb.workspace = true\n# c = \"1\"\n\
                  [target.'cfg(loom)'.dependencies]\nd = { version = \"1\" }\n[dev-dependencies]\ne = \"1\"\n[lints]\nf = 1\n";
    assert_eq!(dependencies(sample), ["a", "b", "d", "e"]);
}

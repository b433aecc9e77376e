//! Passwords that stand in files of their own: read while the configuration is loaded, so that a missing one is told
//! like any other mistake. Main thread, once.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::{
    Config, Secret,
    document::{Document, at},
    problem::{Problem, Severity},
};

/// More than any password has, and little enough to read.
const MOST_BYTES: u64 = 4_096;

/// Fills in `trunk.auth.password` from `password_file`; a relative path begins where `file`, the configuration, lies.
pub fn read(document: &Document<'_>, file: &Path, config: &mut Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, trunk) in config.trunks.iter_mut().enumerate() {
        let Some(auth) = &mut trunk.auth else { continue };
        let Some(name) = &auth.password_file else { continue };
        let place = at!["trunk", index, "auth", "password_file"];
        let path = file.parent().unwrap_or(Path::new("")).join(name);
        let mut complain = |severity, found: String, allowed: &str| {
            problems.push(document.problem(severity, place, found, allowed.to_owned()));
        };
        match first_line(&path) {
            Ok(line) if line.is_empty() => {
                complain(Severity::Error, "an empty first line".into(), "a file with a password in its first line");
            }
            Ok(line) => {
                if fs::metadata(&path).is_ok_and(|facts| facts.permissions().mode() & 0o077 != 0) {
                    let found = format!("{:?}, which others than its owner can read", path.display().to_string());
                    complain(Severity::Warning, found, "a file of mode 0600 or 0400");
                }
                // One that stands in the configuration as well is refused there.
                auth.password.get_or_insert(Secret::new(&line));
            }
            Err(error) => {
                let found = format!("{:?}: {error}", path.display().to_string());
                complain(Severity::Error, found, "a file that can be read, with a password in its first line");
            }
        }
    }
    problems
}

fn first_line(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or("").to_owned())
}

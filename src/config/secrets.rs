//! Passwords and keys that stand in files of their own: read while the configuration is loaded, so that a missing one is
//! told like any other mistake. Main thread, once.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::{
    Config, PairKey, Secret,
    document::{Document, Step, at},
    problem::{Problem, Severity},
};
use crate::base::limits::HA_KEY_BYTES;

/// More than any password has, and little enough to read.
const MOST_BYTES: u64 = 4_096;

/// Fills in `trunk.auth.password` and `ha.key` from their files; a relative path begins where `file`, the configuration,
/// lies.
pub fn read(document: &Document<'_>, file: &Path, config: &mut Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let folder = file.parent().unwrap_or(Path::new(""));
    for (index, trunk) in config.trunks.iter_mut().enumerate() {
        let Some(auth) = &mut trunk.auth else { continue };
        let Some(name) = &auth.password_file else { continue };
        let (place, path) = (at!["trunk", index, "auth", "password_file"], folder.join(name));
        match first_line(&path) {
            Ok(line) if line.is_empty() => {
                let allowed = "a file with a password in its first line";
                problems.push(problem(document, Severity::Error, place, "an empty first line".into(), allowed));
            }
            Ok(line) => {
                problems.extend(readable_by_others(document, place, &path));
                // One that stands in the configuration as well is refused there.
                auth.password.get_or_insert(Secret::new(&line));
            }
            Err(error) => {
                let found = format!("{:?}: {error}", path.display().to_string());
                let allowed = "a file that can be read, with a password in its first line";
                problems.push(problem(document, Severity::Error, place, found, allowed));
            }
        }
    }
    if let Some(ha) = &mut config.ha {
        let (place, path) = (at!["ha", "key_file"], folder.join(&ha.key_file));
        match pair_key(&path) {
            Ok(key) if key.len() < PairKey::SHORTEST => {
                let found = format!("a key of {} bytes", key.len());
                let allowed = "32 bytes or more, as `openssl rand -base64 48` makes them";
                problems.push(problem(document, Severity::Error, place, found, allowed));
            }
            Ok(key) => {
                problems.extend(readable_by_others(document, place, &path));
                ha.key = PairKey::new(key);
            }
            Err(error) => {
                let found = format!("{:?}: {error}", path.display().to_string());
                let allowed = "a file that can be read, with 32 bytes or more that both hosts have";
                problems.push(problem(document, Severity::Error, place, found, allowed));
            }
        }
    }
    problems
}

fn problem(document: &Document<'_>, severity: Severity, place: &[Step], found: String, allowed: &str) -> Problem {
    document.problem(severity, place, found, allowed.to_owned())
}

fn readable_by_others(document: &Document<'_>, place: &[Step], path: &Path) -> Option<Problem> {
    let open = fs::metadata(path).is_ok_and(|facts| facts.permissions().mode() & 0o077 != 0);
    let found = format!("{:?}, which others than its owner can read", path.display().to_string());
    open.then(|| problem(document, Severity::Warning, place, found, "a file of mode 0600 or 0400"))
}

fn first_line(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or("").to_owned())
}

/// The whole file, without the line end that an editor or a tool left.
fn pair_key(path: &Path) -> io::Result<Vec<u8>> {
    let mut key = Vec::new();
    File::open(path)?.take(HA_KEY_BYTES).read_to_end(&mut key)?;
    let end = key.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    key.truncate(end);
    Ok(key)
}

//! The torture table of docs/sip.md is made of `expected.toml`, so that it cannot say anything else than what the tests
//! check. `TANDEM_WRITE_DOCS=1 cargo test --test torture` writes it anew.

use std::{fs, path::Path};

use crate::cases::{Case, Deed, Stream, cases};

const BEGIN: &str = "<!-- The torture table: written by tests/torture/page.rs from tests/torture/expected.toml. -->\n";
const END: &str = "<!-- End of the torture table. -->\n";

fn table() -> String {
    let mut out = String::from("\n| case | § | what the RFC says | what tandem does |\n|---|---|---|---|\n");
    for case in cases() {
        let (rfc, name) = case.name.split_once('/').unwrap();
        let rfc = rfc.trim_start_matches("rfc");
        out += &format!(
            "| `{name}`: {} | {rfc} §{} | {} | {} |\n",
            cell(&case.title),
            case.section,
            cell(&case.rfc),
            cell(&does(&case))
        );
    }
    out + "\n"
}

fn does(case: &Case) -> String {
    let mut said = match case.tandem {
        Deed::Call => "the call goes through".to_owned(),
        Deed::Drop => "drops it".to_owned(),
        Deed::Answer(status) => status.to_string(),
    };
    if let Some(wrong) = &case.wrong {
        said += &format!(" ({wrong})");
    }
    said += match case.stream {
        None => "",
        Some(Stream::Wait) => "; over TCP waits for the rest",
        Some(Stream::Close) => "; over TCP 400 and the connection is closed",
        Some(Stream::More) => "; over TCP what follows is the next message",
    };
    match &case.note {
        Some(note) => format!("{said}. {note}"),
        None => said,
    }
}

/// What would end or mark up a cell is written as it is meant.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('>', "&gt;")
}

#[test]
fn the_page_shows_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sip.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("docs/sip.md has no place for the table");
    let (shown, after) = rest.split_once(END).expect("docs/sip.md does not say where the table ends");
    if std::env::var_os("TANDEM_WRITE_DOCS").is_some() {
        fs::write(&path, [before, BEGIN, &table(), END, after].concat()).unwrap();
        return;
    }
    assert_eq!(shown, table(), "run TANDEM_WRITE_DOCS=1 cargo test --test torture");
}

//! Tables and figures as people read them. Text from the network is shown without its control characters.

use comfy_table::{Cell, CellAlignment, ContentArrangement, presets};

/// Columns under a head line, without borders; wide ones wrap on a terminal and stay one line in a pipe.
pub struct Table {
    inner: comfy_table::Table,
    numeric: Vec<bool>,
}

impl Table {
    /// A head that begins with `#` marks a column of figures, aligned right; the mark is not shown.
    pub fn new(head: &[&str]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if cfg!(test) {
            // The tests' expectations do not depend on the terminal they run in.
            inner.force_no_tty();
        }
        let numeric: Vec<bool> = head.iter().map(|name| name.starts_with('#')).collect();
        let cells = head.iter().zip(&numeric).map(|(name, right)| cell(name.trim_start_matches('#'), *right));
        inner.set_header(cells);
        Table { inner, numeric }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().zip(&self.numeric).map(|(text, right)| cell(&plain(&text), *right));
        self.inner.add_row(cells);
    }

    pub fn render(&self) -> String {
        let mut text = String::new();
        for line in self.inner.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn cell(text: &str, right: bool) -> Cell {
    let alignment = if right { CellAlignment::Right } else { CellAlignment::Left };
    Cell::new(text).set_alignment(alignment)
}

/// Called numbers and URIs come from strangers: what a terminal would obey is shown as `\u{…}`.
pub fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// `47 s`, `3:07`, `1:02:03`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let (hours, minutes, seconds) = (whole / 3_600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes}:{seconds:02}"),
        (hours, minutes) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// `-` where there is nothing.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `5 calls`, or `200 of 812 calls (--limit shows more)`.
pub fn shown(rows: usize, total: u64, noun: &str) -> String {
    if rows as u64 >= total {
        format!("{total} {noun}{}\n", if total == 1 { "" } else { "s" })
    } else {
        format!("{rows} of {total} {noun}s (--limit shows more)\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_right_and_lines_end_clean() {
        let mut table = Table::new(&["NAME", "#COUNT", "NOTE"]);
        table.row(["a".into(), "7".into(), "x".into()]);
        table.row(["longer".into(), "1200".into(), String::new()]);
        assert_eq!(table.render(), " NAME    COUNT  NOTE\n a           7  x\n longer   1200\n");
    }

    #[test]
    fn control_characters_from_the_network_are_shown_not_obeyed() {
        assert_eq!(plain("+49\u{1b}[2J\u{9b}1\r\n"), "+49\\u{1b}[2J\\u{9b}1\\r\\n");
        assert_eq!(plain("Zoë"), "Zoë");
    }

    #[test]
    fn durations() {
        assert_eq!(duration(47.9), "47 s");
        assert_eq!(duration(187.0), "3:07");
        assert_eq!(duration(3_723.0), "1:02:03");
        assert_eq!(duration(-1.0), "0 s");
    }
}

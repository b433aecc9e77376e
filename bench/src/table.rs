//! The report on a terminal. Main thread.

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use crate::{
    facts,
    report::{Report, Row},
};

/// A figure with as many digits as say something.
pub fn figure(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "–".to_owned()
    } else if size >= 1000.0 {
        let text = format!("{value:.0}");
        let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |d| ("−", d));
        let mut out = String::new();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                out.push(',');
            }
            out.push(digit);
        }
        format!("{sign}{out}")
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.1 || size == 0.0 {
        format!("{value:.2}")
    } else if size >= 0.01 {
        format!("{value:.3}")
    } else {
        format!("{value:.4}")
    }
}

/// What a row has reached, said plainly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    Aim,
    Bar,
    Neither,
    /// Nothing was asked of it.
    Informative,
}

pub fn reached(row: &Row) -> Reached {
    match (row.bar, row.aim) {
        (None, _) => Reached::Informative,
        (_, Some(aim)) if row.reaches(aim) => Reached::Aim,
        (Some(bar), _) if row.reaches(bar) => Reached::Bar,
        _ => Reached::Neither,
    }
}

impl Reached {
    pub fn words(self) -> &'static str {
        match self {
            Reached::Aim => "aim reached",
            Reached::Bar => "bar reached",
            Reached::Neither => "below the bar",
            Reached::Informative => "",
        }
    }
}

/// Both words for a row whose lower values are better: it is above the bar that fails.
pub fn verdict(row: &Row) -> &'static str {
    match (reached(row), row.better) {
        (Reached::Neither, crate::report::Better::Lower) => "above the bar",
        (reached, _) => reached.words(),
    }
}

/// One round has none.
pub fn spread(row: &Row) -> String {
    if row.rounds.len() < 2 { "–".to_owned() } else { format!("{:.0} %", row.spread * 100.0) }
}

pub fn print(report: &Report) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["row", "tandem", "reference", "ratio", "spread", "bar", "aim", ""]);
    for row in &report.rows {
        let versus = !row.against.is_empty();
        let bound = |bound: Option<f64>| bound.map_or(String::new(), figure);
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let color = match reached(row) {
            Reached::Aim | Reached::Bar => Color::Green,
            Reached::Neither => Color::Red,
            Reached::Informative => Color::Reset,
        };
        table.add_row([
            Cell::new(&row.name),
            right(format!("{} {}", figure(row.tandem), row.unit)),
            Cell::new(if versus { format!("{} ({})", figure(row.reference), row.against) } else { String::new() }),
            right(if versus { figure(row.ratio) } else { String::new() }),
            right(spread(row)),
            right(bound(row.bar)),
            right(bound(row.aim)),
            Cell::new(verdict(row)).fg(color),
        ]);
    }
    println!("\n{table}");
    println!("ratio: the median of the rounds' ratios; spread: (largest − smallest) ÷ median.");
    for (rows, note) in notes(&report.rows) {
        println!("{}: {note}", rows.join(", "));
    }
    for (name, value) in warnings(report) {
        println!("{name}: {value}");
    }
}

/// Each note once, with the rows that have it.
fn notes(rows: &[Row]) -> Vec<(Vec<&str>, &str)> {
    let mut notes: Vec<(Vec<&str>, &str)> = Vec::new();
    for row in rows.iter().filter(|row| !row.note.is_empty()) {
        match notes.iter_mut().find(|(_, note)| *note == row.note) {
            Some((names, _)) => names.push(&row.name),
            None => notes.push((vec![&row.name], &row.note)),
        }
    }
    notes
}

/// Facts without which the rows would be read wrong.
pub fn warnings(report: &Report) -> impl Iterator<Item = (&str, &str)> {
    let facts = report.facts.iter().filter(|(name, _)| name == facts::NOT_FOR_COMPARISON || name.ends_with(" failed"));
    facts.map(|(name, value)| (name.as_str(), value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Better;

    #[test]
    fn figures_are_short() {
        for (value, text) in [
            (0.003_12, "0.0031"),
            (0.0312, "0.031"),
            (0.9234, "0.92"),
            (45.23, "45.2"),
            (128.0, "128"),
            (1_234_567.0, "1,234,567"),
            (-1000.0, "−1,000"),
        ] {
            assert_eq!(figure(value), text);
        }
        assert_eq!(figure(f64::NAN), "–");
    }

    #[test]
    fn a_note_of_several_rows_is_said_once() {
        let row = |name: &str, note: &str| Row::versus(name, "", "", "y", vec![(1.0, 1.0)]).note(note);
        let rows = [row("a", "shared"), row("b", ""), row("c", "other"), row("d", "shared")];
        assert_eq!(notes(&rows), [(vec!["a", "d"], "shared"), (vec!["c"], "other")]);
        assert_eq!(spread(&rows[0]), "–");
    }

    #[test]
    fn what_was_reached_is_said() {
        let row = |ratio| Row::versus("x", "", "", "y", vec![(ratio, 1.0)]);
        let say = |ratio| verdict(&row(ratio).bar(Better::Higher, 0.75, 0.95));
        assert_eq!((say(0.96), say(0.75), say(0.74)), ("aim reached", "bar reached", "below the bar"));
        assert_eq!(verdict(&row(3.0).bar(Better::Lower, 2.0, 1.2)), "above the bar");
        assert_eq!(verdict(&row(1.0)), "");
    }
}

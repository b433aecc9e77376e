//! The report as one page: rows with what they reached, plots, facts. It holds all that it shows and asks no network;
//! it has no script. Pure: text from a report.

use std::fmt::Write as _;

use crate::{
    plot::{self, escape},
    report::{Better, Report, Row, Series},
    table::{Reached, figure, reached, spread, verdict, warnings},
};

const STYLE: &str = include_str!("report.css");

pub fn page(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>tandem: measured</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    head(&mut out, report);
    let (asked, others): (Vec<&Row>, Vec<&Row>) = report.rows.iter().partition(|row| row.bar.is_some());
    if !asked.is_empty() {
        out.push_str("<h2>What must be reached</h2>\n");
        rows(&mut out, &asked);
        out.push_str(
            "<p class=\"key\"><b>Ratio</b>: the median of the rounds' ratios (●), all rounds (band), \
             <b class=\"mark\">|</b> the bar, <b class=\"mark\">¦</b> the aim; spread: all rounds over the median. Each \
             round measures both subjects in turn. Absolute figures belong to the machine below.</p>\n",
        );
    }
    if !others.is_empty() {
        out.push_str("<h2>Beside it</h2>\n");
        rows(&mut out, &others);
        out.push_str("<p class=\"key\">The thin stroke is 1: as fast as the reference.</p>\n");
    }
    plots(&mut out, &report.series);
    out.push_str("<h2>On what it was measured</h2>\n<table class=\"facts\">\n");
    for (name, value) in &report.facts {
        let _ = writeln!(out, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name), escape(value));
    }
    out.push_str("</table>\n</main>\n</body>\n</html>\n");
    out
}

fn head(out: &mut String, report: &Report) {
    let count = |wanted: &[Reached]| report.rows.iter().filter(|row| wanted.contains(&reached(row))).count();
    let asked = count(&[Reached::Aim, Reached::Bar, Reached::Neither]);
    let date = report.facts.iter().find(|(name, _)| name == "date").map_or("", |(_, date)| date);
    let _ = writeln!(out, "<header>\n<h1>tandem, measured</h1>\n<p class=\"date\">{}</p>", escape(date));
    if asked > 0 {
        let _ = writeln!(
            out,
            "<p class=\"sum\">{} of {asked} bars reached; {} of {asked} aims.</p>",
            count(&[Reached::Aim, Reached::Bar]),
            count(&[Reached::Aim])
        );
    }
    for (name, value) in warnings(report) {
        let _ = writeln!(out, "<p class=\"warning\"><b>{}</b>: {}</p>", escape(name), escape(value));
    }
    out.push_str("</header>\n");
}

fn rows(out: &mut String, rows: &[&Row]) {
    out.push_str(
        "<div class=\"wide\"><table class=\"rows\">\n<colgroup><col class=\"what\"><col><col><col><col class=\"drawn\"><col><col class=\"said\">\
         </colgroup>\n<thead><tr><th>what</th><th class=\"n\">tandem</th><th class=\"n\">reference</th>\
         <th class=\"n\">ratio</th><th></th><th class=\"n\">spread</th><th></th></tr></thead>\n",
    );
    for row in rows {
        one(out, row);
    }
    out.push_str("</table></div>\n");
}

fn one(out: &mut String, row: &Row) {
    let class = match reached(row) {
        Reached::Aim => "aimed",
        Reached::Bar => "barred",
        Reached::Neither => "missed",
        Reached::Informative => "plain",
    };
    let versus = !row.against.is_empty();
    let _ = write!(
        out,
        "<tr><td><code>{}</code><br>{}{}</td>",
        escape(&row.name),
        escape(&row.what),
        if row.note.is_empty() { String::new() } else { format!("<br><small>{}</small>", escape(&row.note)) }
    );
    let _ = write!(out, "<td class=\"n\">{}<br><small>{}</small></td>", figure(row.tandem), escape(&row.unit));
    if versus {
        let _ =
            write!(out, "<td class=\"n\">{}<br><small>{}</small></td>", figure(row.reference), escape(&row.against));
    } else {
        out.push_str("<td class=\"n\">–</td>");
    }
    let _ = write!(out, "<td class=\"n ratio\">{}</td>", if versus { figure(row.ratio) } else { String::new() });
    let _ = write!(out, "<td>{}{}</td>", plot::bullet(row, class), bounds(row));
    let _ = write!(out, "<td class=\"n\">{}</td>", spread(row));
    let mark = match reached(row) {
        Reached::Aim => "★ ",
        Reached::Bar => "✓ ",
        Reached::Neither => "✗ ",
        Reached::Informative => "",
    };
    let _ = writeln!(out, "<td class=\"verdict {class}\">{mark}{}</td></tr>", verdict(row));
}

fn bounds(row: &Row) -> String {
    let (Some(bar), Some(aim)) = (row.bar, row.aim) else { return String::new() };
    let than = match row.better {
        Better::Higher => "at least",
        Better::Lower => "at most",
    };
    format!("<small>{than} {}; aim {}</small>", figure(bar), figure(aim))
}

fn plots(out: &mut String, series: &[Series]) {
    let mut names: Vec<&str> = Vec::new();
    for one in series {
        if !names.contains(&one.plot.as_str()) {
            names.push(&one.plot);
        }
    }
    if names.is_empty() {
        return;
    }
    out.push_str("<h2>Curves</h2>\n<div class=\"plots\">\n");
    for name in names {
        let of: Vec<&Series> = series.iter().filter(|one| one.plot == name && !one.points.is_empty()).collect();
        let _ = writeln!(out, "<figure>\n<figcaption>{}</figcaption>\n{}", escape(name), plot::curves(&of));
        figures(out, &of);
        out.push_str("</figure>\n");
    }
    out.push_str("</div>\n");
}

/// The same figures as text: for those who do not see the plot, or want to copy them.
fn figures(out: &mut String, series: &[&Series]) {
    let Some(first) = series.first() else { return };
    let mut xs: Vec<f64> = series.iter().flat_map(|one| one.points.iter().map(|point| point.0)).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let _ = write!(
        out,
        "<details><summary>figures</summary><div class=\"wide\"><table class=\"facts\"><tr><th>{}</th>",
        escape(&first.x)
    );
    for one in series {
        let _ = write!(out, "<th class=\"n\">{}</th>", escape(&one.name));
    }
    out.push_str("</tr>");
    for x in xs {
        let _ = write!(out, "<tr><td>{}</td>", figure(x));
        for one in series {
            let y = one.points.iter().find(|point| point.0 == x).map_or(String::new(), |point| figure(point.1));
            let _ = write!(out, "<td class=\"n\">{y}</td>");
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div></details>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_stands_alone_and_says_what_was_reached() {
        let rows = vec![
            Row::versus("a", "first", "Mpps", "testpmd", vec![(9.0, 10.0)]).bar(Better::Higher, 0.75, 0.95),
            Row::figure("b", "a <second>", "B", vec![300.0]).bar(Better::Lower, 256.0, 128.0),
        ];
        let page =
            page(&Report { rows, series: vec![], facts: vec![("not for comparison".into(), "2 rounds".into())] });
        for part in [
            "1 of 2 bars reached; 0 of 2 aims",
            "bar reached",
            "above the bar",
            "a &lt;second&gt;",
            "<b>not for comparison</b>",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for outside in ["http://", "https://", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}

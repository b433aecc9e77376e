//! What was measured: rows with their samples, as a table, as JSON and for the page. A row is a ratio within one run;
//! absolute figures stand beside it and prove nothing alone.

use serde::{Deserialize, Serialize};

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Higher,
    Lower,
}

/// One comparison: tandem against a reference, measured in turn in the same run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The name by which it is referred to, e.g. `relay_10k_vs_5tswap`.
    pub name: String,
    /// What it is, in a sentence.
    pub what: String,
    pub unit: String,
    /// Medians over the rounds.
    pub tandem: f64,
    pub reference: f64,
    /// What the reference is; empty where there is none, and `ratio` is then `tandem` itself.
    pub against: String,
    /// Median of the rounds' ratios.
    pub ratio: f64,
    /// (largest − smallest) ÷ median of the rounds' ratios.
    pub spread: f64,
    pub better: Better,
    /// What must be reached, and what is hoped for, of `ratio`.
    pub bar: Option<f64>,
    pub aim: Option<f64>,
    /// One (tandem, reference) pair per round.
    pub rounds: Vec<(f64, f64)>,
    /// What a reader must know to judge it: where the generator was the limit, what was not taken.
    pub note: String,
}

/// A curve for the page: (x, y) points of one subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    /// The plot it belongs to.
    pub plot: String,
    pub x: String,
    pub y: String,
    pub log_x: bool,
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub rows: Vec<Row>,
    pub series: Vec<Series>,
    /// The machine, versions, what was measured beside the rows: free lines.
    pub facts: Vec<(String, String)>,
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

impl Row {
    /// From interleaved rounds of (tandem, reference).
    pub fn versus(name: &str, what: &str, unit: &str, against: &str, rounds: Vec<(f64, f64)>) -> Row {
        let ratios: Vec<f64> = rounds.iter().map(|(t, r)| t / r).collect();
        let ratio = median(&ratios);
        let (low, high) = ratios.iter().fold((f64::MAX, f64::MIN), |(l, h), &x| (l.min(x), h.max(x)));
        Row {
            name: name.to_owned(),
            what: what.to_owned(),
            unit: unit.to_owned(),
            tandem: median(&rounds.iter().map(|r| r.0).collect::<Vec<_>>()),
            reference: median(&rounds.iter().map(|r| r.1).collect::<Vec<_>>()),
            against: against.to_owned(),
            ratio,
            spread: (high - low) / ratio,
            better: Better::Higher,
            bar: None,
            aim: None,
            rounds,
            note: String::new(),
        }
    }

    /// A figure that stands for itself: bytes, calls a second.
    pub fn figure(name: &str, what: &str, unit: &str, rounds: Vec<f64>) -> Row {
        Row::versus(name, what, unit, "", rounds.into_iter().map(|v| (v, 1.0)).collect())
    }

    pub fn bar(mut self, better: Better, bar: f64, aim: f64) -> Row {
        (self.better, self.bar, self.aim) = (better, Some(bar), Some(aim));
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Row {
        self.note = note.into();
        self
    }

    pub fn reaches(&self, bound: f64) -> bool {
        match self.better {
            Better::Higher => self.ratio >= bound,
            Better::Lower => self.ratio <= bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_median_of_its_rounds_ratios() {
        let row = Row::versus("x", "", "Mpps", "testpmd", vec![(3.0, 4.0), (1.0, 2.0), (9.0, 10.0)]);
        assert_eq!((row.ratio, row.tandem, row.reference), (0.75, 3.0, 4.0));
        assert!((row.spread - (0.9 - 0.5) / 0.75).abs() < 1e-9);
        assert!(row.clone().bar(Better::Higher, 0.7, 0.9).reaches(0.7));
        assert!(!row.bar(Better::Lower, 0.7, 0.6).reaches(0.7));
        assert_eq!(median(&[4.0, 1.0]), 2.5);
    }
}

//! A window of the week, as the configuration writes it: `mon-fri 08:00-18:00`, `sat,sun`, `22:00-06:00`. Plain values;
//! which time zone its clock hangs in is said elsewhere.

use std::str::FromStr;

/// Minutes of a day.
const DAY: u16 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Open on each of `days` from `start` until just before `end`; where `end` is not later than `start`, until `end` on the
/// day after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Monday first.
    pub days: [bool; 7],
    /// Minutes since midnight.
    pub start: u16,
    pub end: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    #[error("there is nothing in it")]
    Empty,
    #[error("{0:?} is no day")]
    Day(String),
    #[error("{0:?} is no time of day")]
    Time(String),
    #[error("{0:?} is one word too many")]
    Surplus(String),
    #[error("it ends when it begins")]
    Never,
}

impl Window {
    /// Whether it is open at `minute` (since midnight) of `day` (0: Monday).
    pub fn is_open(&self, day: usize, minute: u16) -> bool {
        let on = |day: usize| self.days.get(day % 7).copied().unwrap_or(false);
        if self.start < self.end {
            return on(day) && (self.start..self.end).contains(&minute);
        }
        // Over midnight: what began yesterday is still open.
        on(day) && minute >= self.start || on(day + 6) && minute < self.end
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let mut words = text.split_whitespace().peekable();
        let first = words.peek().ok_or(WindowError::Empty)?;
        let days = match first.starts_with(|c: char| c.is_ascii_digit()) {
            true => [true; 7],
            false => days(words.next().unwrap_or_default())?,
        };
        let (start, end) = words.next().map_or(Ok((0, DAY)), hours)?;
        if let Some(word) = words.next() {
            return Err(WindowError::Surplus(word.to_owned()));
        }
        if start == end {
            return Err(WindowError::Never);
        }
        Ok(Window { days, start, end })
    }
}

/// `mon`, `mon-fri`, `fri-mon`, `sat,sun`, and several of them with commas.
fn days(text: &str) -> Result<[bool; 7], WindowError> {
    let day = |name: &str| {
        let at = DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
        at.ok_or_else(|| WindowError::Day(name.to_owned()))
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        for at in first..=first + length {
            if let Some(day) = days.get_mut(at % 7) {
                *day = true;
            }
        }
    }
    Ok(days)
}

/// `08:00-18:00`.
fn hours(text: &str) -> Result<(u16, u16), WindowError> {
    let bad = |text: &str| WindowError::Time(text.to_owned());
    let (start, end) = text.split_once('-').ok_or_else(|| bad(text))?;
    let start = minute(start).filter(|minute| *minute < DAY).ok_or_else(|| bad(start))?;
    Ok((start, minute(end).ok_or_else(|| bad(end))?))
}

/// `00:00` to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str, most: usize| {
        let fits = (1..=most).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let minutes = number(minute, 2).filter(|m| *m < 60 && minute.len() == 2)?;
    Some(number(hour, 2)? * 60 + minutes).filter(|all| *all <= DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str, day: usize, hour: u16, minute: u16) -> bool {
        text.parse::<Window>().unwrap().is_open(day, hour * 60 + minute)
    }

    #[test]
    fn office_hours_end_just_before_their_end() {
        let office = "mon-fri 08:00-18:00";
        assert!(!open(office, 0, 7, 59));
        assert!(open(office, 0, 8, 0));
        assert!(open(office, 4, 17, 59));
        assert!(!open(office, 4, 18, 0));
        assert!(!open(office, 5, 12, 0));
    }

    #[test]
    fn days_without_hours_and_hours_without_days() {
        assert!(open("sat,sun", 6, 23, 59));
        assert!(!open("sat,sun", 0, 0, 0));
        assert!(open("9:30-24:00", 3, 23, 59));
        assert!(!open("9:30-24:00", 3, 9, 29));
        assert!(open("Fri-Mon", 6, 0, 0) && open("Fri-Mon", 0, 0, 0) && !open("Fri-Mon", 3, 0, 0));
        assert!(open("mon,wed-thu", 3, 0, 0) && !open("mon,wed-thu", 1, 0, 0));
    }

    #[test]
    fn over_midnight_the_day_is_the_one_it_began_on() {
        let night = "sun 22:00-06:00";
        assert!(open(night, 6, 22, 0));
        assert!(open(night, 0, 5, 59), "Monday morning");
        assert!(!open(night, 0, 6, 0));
        assert!(!open(night, 6, 5, 0), "Sunday morning");
        assert!(!open(night, 0, 22, 0));
    }

    #[test]
    fn what_is_no_window() {
        let error = |text: &str| text.parse::<Window>().unwrap_err().to_string();
        assert_eq!(error(" "), "there is nothing in it");
        assert_eq!(error("mo-fri 08:00-18:00"), "\"mo\" is no day");
        assert_eq!(error("mon-fri 8-18"), "\"8\" is no time of day");
        assert_eq!(error("mon 08:00-24:01"), "\"24:01\" is no time of day");
        assert_eq!(error("24:00-06:00"), "\"24:00\" is no time of day");
        assert_eq!(error("mon 08:00"), "\"08:00\" is no time of day");
        assert_eq!(error("mon 08:5-09:00"), "\"08:5\" is no time of day");
        assert_eq!(error("mon 08:00-09:00 tue"), "\"tue\" is one word too many");
        assert_eq!(error("mon 08:00-08:00"), "it ends when it begins");
    }
}

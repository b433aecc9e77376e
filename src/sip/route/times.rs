//! When a rule holds: windows of the week on the clock of a time zone. Slow-path thread; the time is given, never read.
//!
//! The zones' data is compiled in, so that both hosts of a pair and `tandem route` on a desk judge alike.

use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};

use crate::config::Window;

#[derive(Debug)]
pub struct Times {
    windows: Vec<Window>,
    zone: TimeZone,
}

/// A zone by its IANA name; None: there is none.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

impl Times {
    /// None: something in it cannot be read, which the loader refuses.
    pub fn new(windows: &[String], zone_name: &str) -> Option<Times> {
        let windows = windows.iter().map(|text| text.parse().ok()).collect::<Option<_>>()?;
        Some(Times { windows, zone: zone(zone_name)? })
    }

    /// `at_ms` is in milliseconds since 1970. The windows follow the wall clock: an hour that summer time takes away
    /// never is, one that it gives twice is open twice.
    pub fn are_open(&self, at_ms: u64) -> bool {
        let Some(at) = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()) else {
            return false;
        };
        let wall = at.to_zoned(self.zone.clone());
        let number = |n: i8| u16::try_from(n).unwrap_or(0);
        let day = usize::from(number(wall.weekday().to_monday_zero_offset()));
        let minute = number(wall.hour()) * 60 + number(wall.minute());
        self.windows.iter().any(|window| window.is_open(day, minute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(windows: &[&str], zone: &str, at: &str) -> bool {
        let windows: Vec<String> = windows.iter().map(|w| (*w).to_owned()).collect();
        let at: Timestamp = at.parse().unwrap();
        Times::new(&windows, zone).unwrap().are_open(u64::try_from(at.as_millisecond()).unwrap())
    }

    #[test]
    fn the_clock_is_that_of_the_zone_summer_and_winter() {
        let office = &["mon-fri 08:00-18:00"];
        // 2024-01-15 and 2024-07-15 are Mondays. Berlin is UTC+1, in summer UTC+2.
        assert!(!open(office, "Europe/Berlin", "2024-01-15T06:59:59Z"));
        assert!(open(office, "Europe/Berlin", "2024-01-15T07:00:00Z"));
        assert!(open(office, "Europe/Berlin", "2024-07-15T06:00:00Z"));
        assert!(!open(office, "Europe/Berlin", "2024-07-15T16:00:00Z"));
        assert!(open(office, "UTC", "2024-07-15T16:00:00Z"));
        // In Auckland (UTC+12 in July) it is Monday while it is still Sunday in London.
        assert!(open(office, "Pacific/Auckland", "2024-07-14T20:00:00Z"));
    }

    #[test]
    fn any_of_several_windows_is_enough() {
        let shop = &["mon-fri 08:00-12:00", "mon-thu 13:00-17:00"];
        assert!(open(shop, "UTC", "2024-07-15T16:00:00Z"));
        assert!(!open(shop, "UTC", "2024-07-15T12:30:00Z"));
        assert!(!open(shop, "UTC", "2024-07-19T16:00:00Z"));
    }

    #[test]
    fn the_hour_that_comes_twice_is_open_twice() {
        // Europe/Berlin went from 03:00 CEST back to 02:00 CET on 2024-10-27, at 01:00 UTC.
        for at in ["2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z"] {
            assert!(open(&["sun 02:00-03:00"], "Europe/Berlin", at), "{at}");
        }
        assert!(!open(&["sun 02:00-03:00"], "Europe/Berlin", "2024-10-27T02:00:00Z"));
    }

    #[test]
    fn what_cannot_be_read() {
        assert!(Times::new(&["mon".into()], "Europe/Berlni").is_none());
        assert!(Times::new(&["man".into()], "UTC").is_none());
    }
}

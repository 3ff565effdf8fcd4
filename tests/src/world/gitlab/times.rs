//! Times as GitLab writes them.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::Date};

/// With milliseconds, in UTC.
pub(super) fn show(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// The same of a time that may never have been.
pub(super) fn show_maybe(time: Option<Timestamp>) -> Option<String> {
    time.map(show)
}

/// The day it is in UTC: dates of expiry are days.
pub(super) fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

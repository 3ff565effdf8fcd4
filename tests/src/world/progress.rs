//! Lines for the person who waits, on standard error.

use std::fmt::Arguments;
use std::io::Write as _;

/// Writes one line; a closed standard error is no reason to fail.
pub(crate) fn line(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "world: {text}");
}

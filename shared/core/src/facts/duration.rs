//! Go durations, as Flux writes them in `spec.interval` and `spec.timeout`.

use jiff::SignedDuration;

/// Units with their length in seconds; longer names first, so that `ms` is not read as `m`.
const UNITS: &[(&str, f64)] =
    &[("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// Reads `1m0s`, `1h30m`, `1.5h` or `500ms`. Text without a unit, with a sign, or of another form is none.
pub fn parse(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, length) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        seconds += number * length;
        rest = &rest[unit.len()..];
    }
    if text.is_empty() { None } else { SignedDuration::try_from_secs_f64(seconds).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (text, milliseconds) in [
            ("1m0s", 60_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            ("10m", 600_000),
            ("24h0m0s", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(SignedDuration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "-1m", "1d", "m", "1m 0s", "1..5h", "99999999999999999999h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

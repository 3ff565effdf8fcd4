//! One line of agentk's log, in each of its formats.

use std::cell::LazyCell;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::super::failure;
use super::noise;
use super::rule::Rule;

/// One line of agentk's log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// When, where the line says so.
    pub at: Option<Timestamp>,
    /// How grave.
    pub level: Level,
    /// `msg`, or the whole line where it is not JSON.
    pub message: String,
    /// `mod_name`; names changed over the versions (`reverse_tunnel`, `agentk2kas_tunnel`, `agent2kas_tunnel`).
    pub module: String,
    /// `error` or `err`.
    pub error: String,
    /// Number of the agent in GitLab, where the line says it: `agent_key` (17.x and newer) or `agent_id`.
    pub agent: Option<u64>,
}

/// Levels in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `warn`
    Warn,
    /// `error`
    Error,
    /// A line that is not JSON: agentk writes such a line only when it ends, and Go when it panics.
    Plain,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Json {
    #[serde(alias = "ts")]
    time: serde_json::Value,
    level: String,
    msg: String,
    mod_name: String,
    error: serde_json::Value,
    err: serde_json::Value,
    agent_key: serde_json::Value,
    agent_id: serde_json::Value,
}

impl LogLine {
    /// Reads one line; a time without a year is of the year that brings it next before `now`.
    pub fn parse(line: &str, now: Timestamp) -> Self {
        // What `kubectl logs --timestamps` writes in front.
        let (stamp, line) = match line.split_once(' ').map(|(stamp, rest)| (stamp.parse::<Timestamp>(), rest))
        {
            Some((Ok(stamp), rest)) => (Some(stamp), rest),
            _ => (None, line),
        };
        let read = match serde_json::from_str::<Json>(line) {
            Ok(json) => Self::of_json(json),
            Err(_) => key_values(line)
                .map(Self::of_json)
                .or_else(|| klog(line, now))
                .or_else(|| standard(line))
                .unwrap_or_else(|| plain(line)),
        };
        Self { at: read.at.or(stamp), ..read }
    }

    fn of_json(json: Json) -> Self {
        let level = match json.level.to_ascii_lowercase().as_str() {
            "debug" => Level::Debug,
            "info" => Level::Info,
            "warn" | "warning" => Level::Warn,
            _ => Level::Error,
        };
        let text = |v: &serde_json::Value| v.as_str().map(str::to_owned);
        Self {
            at: timestamp(&json.time),
            level,
            message: json.msg,
            module: json.mod_name,
            error: text(&json.error).or_else(|| text(&json.err)).unwrap_or_default(),
            agent: agent(&json.agent_key).or_else(|| agent(&json.agent_id)),
        }
    }

    /// Message and error in one text.
    pub fn text(&self) -> String {
        if self.error.is_empty() { self.message.clone() } else { format!("{}: {}", self.message, self.error) }
    }

    /// The rule that knows this line as a fault. Normal noise has none.
    pub fn fault(&self) -> Option<&'static Rule> {
        let text = self.text();
        if noise::is_noise(&text) {
            return None;
        }
        // Most lines are told by their words alone.
        let class = LazyCell::new(|| failure::read(&text));
        super::rules().find(|rule| {
            rule.texts.iter().all(|t| text.contains(t)) && rule.class.is_none_or(|of| of == *class)
        })
    }

    /// Whether the line is normal, whatever its level.
    pub fn is_noise(&self) -> bool {
        noise::is_noise(&self.text())
    }
}

fn timestamp(value: &serde_json::Value) -> Option<Timestamp> {
    match value {
        serde_json::Value::String(text) => text.parse().ok().or_else(|| {
            // zap's ISO 8601 has no colon in its offset.
            Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text).ok().or_else(|| seconds(text.parse().ok()?))
        }),
        serde_json::Value::Number(number) => seconds(number.as_f64()?),
        _ => None,
    }
}

fn seconds(seconds: f64) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds of a date fit")]
    Timestamp::from_millisecond((seconds * 1000.0) as i64).ok()
}

/// `"agentk:7"`, `"7"` or `7`.
fn agent(value: &serde_json::Value) -> Option<u64> {
    match value {
        serde_json::Value::String(text) => text.rsplit(':').next()?.parse().ok(),
        other => other.as_u64(),
    }
}

/// slog's form of text: `time=… level=ERROR msg="…" error="…"`, with Go's quotes.
fn key_values(line: &str) -> Option<Json> {
    let mut rest = line.trim();
    let mut json = Json::default();
    let mut is_log = false;
    while !rest.is_empty() {
        let (key, behind) = rest.split_once('=')?;
        if key.is_empty() || key.contains([' ', '"']) {
            return None;
        }
        let (value, behind) = match behind.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let (value, behind) = behind.split_once(' ').unwrap_or((behind, ""));
                (value.to_owned(), behind)
            }
        };
        rest = behind.trim_start();
        is_log |= matches!(key, "level" | "msg");
        match key {
            "time" | "ts" => json.time = value.into(),
            "level" => json.level = value,
            "msg" => json.msg = value,
            "mod_name" => json.mod_name = value,
            "error" => json.error = value.into(),
            "err" => json.err = value.into(),
            "agent_key" => json.agent_key = value.into(),
            "agent_id" => json.agent_id = value.into(),
            _ => {}
        }
    }
    is_log.then_some(json)
}

/// The text up to the closing quote, and what is behind that.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, &quoted[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                c @ ('"' | '\\') => text.push(c),
                other => text.extend(['\\', other]),
            },
            c => text.push(c),
        }
    }
    None
}

/// A line of client-go before its logger is set: `E1101 09:00:05.123456       1 reflector.go:1] …`, in the container's
/// UTC. It names no year.
fn klog(line: &str, now: Timestamp) -> Option<LogLine> {
    let level = match line.as_bytes().first()? {
        b'I' => Level::Info,
        b'W' => Level::Warn,
        b'E' | b'F' => Level::Error,
        _ => return None,
    };
    let date = line.get(1..5)?;
    let (head, message) = line.split_once("] ")?;
    let looks_right = date.bytes().all(|b| b.is_ascii_digit()) && head.contains(".go:");
    looks_right.then(|| LogLine { level, at: this_year(&line[1..], now), ..plain(message) })
}

fn this_year(stamp: &str, now: Timestamp) -> Option<Timestamp> {
    let year = now.to_zoned(TimeZone::UTC).year();
    let (stamp, _) = stamp.split_once('.')?;
    let of = |year: i16| {
        let at = DateTime::strptime("%Y%m%d %H:%M:%S", format!("{year:04}{stamp}")).ok()?;
        Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    // A clock may be ahead a little, and in January a line may be of December.
    of(year).filter(|at| at.duration_since(now).as_hours() < 24).or_else(|| of(year - 1))
}

/// A line of Go's own logger, which libraries use: `2026/01/10 09:00:05 …`, in the container's UTC.
fn standard(line: &str) -> Option<LogLine> {
    let (stamp, message) = line.split_at_checked(19)?;
    let at = DateTime::strptime("%Y/%m/%d %H:%M:%S", stamp).ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some(LogLine { at: Some(at.timestamp()), level: Level::Error, ..plain(message.trim_start()) })
}

fn plain(line: &str) -> LogLine {
    LogLine {
        at: None,
        level: Level::Plain,
        message: line.to_owned(),
        module: String::new(),
        error: String::new(),
        agent: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Effect;
    use super::*;

    fn parse(line: &str) -> LogLine {
        LogLine::parse(line, "2026-01-10T10:00:00Z".parse().expect("a time"))
    }

    #[test]
    fn both_formats_and_plain_lines_read() {
        let slog = parse(
            r#"{"time":"2026-01-10T00:00:00Z","level":"ERROR","msg":"GetConfiguration.Recv failed","error":"rpc error: code = Unauthenticated desc = unauthenticated","agent_key":"agentk:7"}"#,
        );
        assert_eq!((slog.level, slog.at.is_some(), slog.agent), (Level::Error, true, Some(7)));
        assert_eq!(slog.fault().expect("known").effect, Effect::TokenRefused);
        let zap =
            parse(r#"{"level":"error","time":1.7e9,"msg":"x","mod_name":"reverse_tunnel","agent_id":8}"#);
        assert_eq!(
            (zap.level, zap.at.is_some(), zap.module.as_str(), zap.agent),
            (Level::Error, true, "reverse_tunnel", Some(8))
        );
        let plain = parse("Program aborted: token file: open /x: no such file or directory");
        assert_eq!((plain.level, plain.at), (Level::Plain, None));
        assert!(plain.fault().expect("known").cause.contains("not mounted"));
    }

    #[test]
    fn lines_of_libraries_have_their_own_forms() {
        let klog = parse("W1101 09:00:05.123456       1 reflector.go:561] failed to list: x");
        assert_eq!((klog.level, klog.message.as_str()), (Level::Warn, "failed to list: x"));
        let go = parse("2026/01/10 09:00:05 http: proxy error");
        assert_eq!((go.level, go.message.as_str()), (Level::Error, "http: proxy error"));
        assert_eq!(go.at.map(|at| at.to_string()).as_deref(), Some("2026-01-10T09:00:05Z"));
        assert_eq!(parse("Error: unknown flag: --x").level, Level::Plain);
        assert_eq!(parse("").level, Level::Plain);
    }

    /// One moment in every form in which a logger of agentk, or the kubelet before it, writes it.
    #[test]
    fn times_read_in_every_form() {
        for line in [
            r#"{"time":"2026-01-10T09:00:05Z","level":"ERROR","msg":"x"}"#,
            r#"{"time":"2026-01-10T09:00:05.000000001Z","level":"ERROR","msg":"x"}"#,
            r#"{"time":"2026-01-10T10:00:05+01:00","level":"ERROR","msg":"x"}"#,
            r#"{"level":"error","time":"2026-01-10T10:00:05.000+0100","msg":"x"}"#,
            r#"{"level":"error","time":1768035605,"msg":"x"}"#,
            r#"{"level":"error","time":1768035605.25,"msg":"x"}"#,
            r#"{"level":"error","ts":1.768035605e9,"msg":"x"}"#,
            r#"{"level":"error","ts":"2026-01-10T09:00:05.123Z","msg":"x"}"#,
            r#"time=2026-01-10T09:00:05.000Z level=ERROR msg=x"#,
            r#"time=2026-01-10T10:00:05.000+01:00 level=ERROR msg="x" error="a \"b\"""#,
            "E0110 09:00:05.123456       1 reflector.go:1] x",
            "2026/01/10 09:00:05 x",
            "2026-01-10T09:00:05.123456789Z Program aborted: x",
            r#"2026-01-10T09:00:05.123456789Z {"level":"INFO","msg":"x"}"#,
        ] {
            let at = parse(line).at.unwrap_or_else(|| panic!("no time: {line}"));
            assert_eq!(at.as_second(), 1_768_035_605, "{line}");
        }
        let in_january = parse("E1231 23:59:59.000000       1 reflector.go:1] x").at.map(|at| at.to_string());
        assert_eq!(in_january.as_deref(), Some("2025-12-31T23:59:59Z"));
        assert_eq!(parse("panic: x=y").at, None);
    }

    #[test]
    fn the_form_of_text_reads_as_json_does() {
        let json = parse(
            r#"{"time":"2026-01-10T00:00:00Z","level":"WARN","msg":"a \"b\"","mod_name":"flux","error":"c\nd=e","agent_key":"agentk:7"}"#,
        );
        let text = parse(
            r#"time=2026-01-10T00:00:00.000Z level=WARN msg="a \"b\"" mod_name=flux other=1 error="c\nd=e" agent_key=agentk:7"#,
        );
        assert_eq!(json, text);
        for plain in ["a=b", "Error: unknown flag: --x=y", r#"level=ERROR msg="open"#, "panic: x = y"] {
            assert_eq!(parse(plain).level, Level::Plain, "{plain}");
        }
    }
}

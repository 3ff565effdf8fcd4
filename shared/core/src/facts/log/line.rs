//! One line of agentk's log, in each of its formats.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

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
    /// Reads one line.
    pub fn parse(line: &str) -> Self {
        match serde_json::from_str::<Json>(line) {
            Ok(json) => Self::of_json(json),
            Err(_) => klog(line).or_else(|| standard(line)).unwrap_or_else(|| plain(line)),
        }
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
        super::rules().find(|rule| rule.texts.iter().all(|t| text.contains(t)))
    }

    /// Whether the line is normal, whatever its level.
    pub fn is_noise(&self) -> bool {
        noise::is_noise(&self.text())
    }
}

fn timestamp(value: &serde_json::Value) -> Option<Timestamp> {
    match value {
        serde_json::Value::String(text) => text.parse().ok(),
        serde_json::Value::Number(number) => {
            let seconds = number.as_f64()?;
            #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds of a date fit")]
            Timestamp::from_millisecond((seconds * 1000.0) as i64).ok()
        }
        _ => None,
    }
}

/// `"agentk:7"`, `"7"` or `7`.
fn agent(value: &serde_json::Value) -> Option<u64> {
    match value {
        serde_json::Value::String(text) => text.rsplit(':').next()?.parse().ok(),
        other => other.as_u64(),
    }
}

/// A line of client-go before its logger is set: `E1101 09:00:05.123456       1 reflector.go:1] …`. It names no
/// year, so no time is taken from it.
fn klog(line: &str) -> Option<LogLine> {
    let level = match line.as_bytes().first()? {
        b'I' => Level::Info,
        b'W' => Level::Warn,
        b'E' | b'F' => Level::Error,
        _ => return None,
    };
    let date = line.get(1..5)?;
    let (head, message) = line.split_once("] ")?;
    let looks_right = date.bytes().all(|b| b.is_ascii_digit()) && head.contains(".go:");
    looks_right.then(|| LogLine { level, ..plain(message) })
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

    #[test]
    fn both_formats_and_plain_lines_read() {
        let slog = LogLine::parse(
            r#"{"time":"2026-01-10T00:00:00Z","level":"ERROR","msg":"GetConfiguration.Recv failed","error":"rpc error: code = Unauthenticated desc = unauthenticated","agent_key":"agentk:7"}"#,
        );
        assert_eq!((slog.level, slog.at.is_some(), slog.agent), (Level::Error, true, Some(7)));
        assert_eq!(slog.fault().expect("known").effect, Effect::TokenRefused);
        let zap = LogLine::parse(
            r#"{"level":"error","time":1.7e9,"msg":"x","mod_name":"reverse_tunnel","agent_id":8}"#,
        );
        assert_eq!(
            (zap.level, zap.at.is_some(), zap.module.as_str(), zap.agent),
            (Level::Error, true, "reverse_tunnel", Some(8))
        );
        let plain = LogLine::parse("Program aborted: token file: open /x: no such file or directory");
        assert_eq!((plain.level, plain.at), (Level::Plain, None));
        assert!(plain.fault().expect("known").cause.contains("not mounted"));
    }

    #[test]
    fn lines_of_libraries_have_their_own_forms() {
        let klog = LogLine::parse("W1101 09:00:05.123456       1 reflector.go:561] failed to list: x");
        assert_eq!((klog.level, klog.message.as_str()), (Level::Warn, "failed to list: x"));
        let go = LogLine::parse("2026/01/10 09:00:05 http: proxy error");
        assert_eq!((go.level, go.message.as_str()), (Level::Error, "http: proxy error"));
        assert_eq!(go.at.map(|at| at.to_string()).as_deref(), Some("2026-01-10T09:00:05Z"));
        assert_eq!(LogLine::parse("Error: unknown flag: --x").level, Level::Plain);
        assert_eq!(LogLine::parse("").level, Level::Plain);
    }
}

//! A strict reader of Prometheus's text exposition format
//! (prometheus.io/docs/instrumenting/exposition_formats), with the rules of node_exporter's textfile collector: no
//! timestamps, one HELP and TYPE for each metric before its samples, no sample twice.

use std::collections::BTreeSet;

/// One sample.
#[derive(Debug)]
pub struct Sample {
    /// Name of the metric.
    pub name: String,
    /// Labels, in order.
    pub labels: Vec<(String, String)>,
    /// Value.
    pub value: f64,
}

impl Sample {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Reads a whole page.
///
/// # Errors
/// The first line that breaks a rule.
pub fn parse(text: &str) -> Result<Vec<Sample>, String> {
    if !text.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    let (mut helped, mut typed, mut seen) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    let mut samples: Vec<Sample> = Vec::new();
    for line in text.lines() {
        let bad = |why: &str| format!("{why}: {line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(|| bad("no help"))?;
            if help.is_empty() || !helped.insert(name.to_owned()) {
                return Err(bad("HELP twice or empty"));
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| bad("no type"))?;
            if kind != "gauge" || !helped.contains(name) || typed.iter().any(|t| t == name) {
                return Err(bad("TYPE unknown, twice or before HELP"));
            }
            typed.push(name.to_owned());
        } else {
            let sample = sample(line).ok_or_else(|| bad("no sample"))?;
            if typed.last() != Some(&sample.name) {
                return Err(bad("not behind its TYPE"));
            }
            if !seen.insert(format!("{}{:?}", sample.name, sample.labels)) {
                return Err(bad("twice"));
            }
            samples.push(sample);
        }
    }
    Ok(samples)
}

fn is_name(text: &str, colon: bool) -> bool {
    let first = text.chars().next().is_some_and(|c| !c.is_ascii_digit());
    first && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':'))
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (name, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if !is_name(name, false) || labels.iter().any(|(n, _)| n == name) {
                return None;
            }
            labels.push((name.to_owned(), value));
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = after.strip_prefix('}')?;
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    is_name(name, true).then(|| Sample { name: name.to_owned(), labels, value })
}

/// The value up to its closing quote, and what is behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let head = "# HELP a b\n# TYPE a gauge\n";
        assert_eq!(
            parse(&format!("{head}a{{x=\"1\\\"\"}} 2\n")).expect("a sample")[0].label("x"),
            Some("1\"")
        );
        for bad in [
            "a 1",
            "a{x=\"1\"} 2 3\n",
            "a{x=\"1} 2\n",
            "a{x=\"\\q\"} 2\n",
            "b 1\n",
            "a 1\na 2\n",
            "a{1x=\"\"} 1\n",
        ] {
            assert!(parse(&format!("{head}{bad}")).is_err(), "{bad}");
        }
        assert!(parse("a 1\n").is_err(), "no TYPE");
    }
}

//! From a report or a status to bytes: one file per format. How it looks is an argument, never a global.

mod gfm;
mod headline;
mod mermaid;
mod rbac;
pub mod reconcile;
pub mod rotate;
pub mod status_table;
mod style;
pub mod tokens;
mod verify_json;
mod verify_junit;
mod verify_markdown;
mod verify_prometheus;
mod verify_short;
mod verify_table;

pub use rbac::Rbac;
pub use style::Style;
pub use verify_short::line as verify_line;

use crate::assess::Check;
use crate::report::Report;
use crate::rotate::inventory::Inventory;
use crate::status::Status;
use crate::text::escape_json;

/// Formats of `verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyFormat {
    /// For people.
    Table,
    /// For people with a wide screen: every finding with its evidence and every check.
    Wide,
    /// For programs.
    Json,
    /// The same for programs that prefer YAML.
    Yaml,
    /// A few lines to paste into a chat.
    Short,
    /// JUnit XML, as GitLab shows it in a pipeline.
    Junit,
    /// GitLab Flavored Markdown, for an incident.
    Markdown,
    /// Prometheus text exposition format.
    Prometheus,
}

impl VerifyFormat {
    /// Every format.
    pub const ALL: [Self; 8] = [
        Self::Table,
        Self::Wide,
        Self::Short,
        Self::Json,
        Self::Yaml,
        Self::Junit,
        Self::Markdown,
        Self::Prometheus,
    ];
}

/// Formats of lists for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Formats of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFormat {
    /// For people, at 80 columns.
    Table,
    /// For people with a wide screen.
    Wide,
    /// For programs.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Renders the result of `verify`.
pub fn verify(report: &Report, format: VerifyFormat, style: &Style) -> String {
    match format {
        VerifyFormat::Table => verify_table::render(report, style, false),
        VerifyFormat::Wide => verify_table::render(report, style, true),
        VerifyFormat::Json => json(&verify_json::Document::of(report, style)),
        VerifyFormat::Yaml => yaml(&verify_json::Document::of(report, style)),
        VerifyFormat::Short => verify_short::render(report, style),
        VerifyFormat::Junit => verify_junit::render(report, style),
        VerifyFormat::Markdown => verify_markdown::render(report, style),
        VerifyFormat::Prometheus => verify_prometheus::render(report),
    }
}

/// The result of `verify` as one line of JSON.
pub fn verify_json_line(report: &Report, style: &Style) -> String {
    json_line(&verify_json::Document::of(report, style))
}

/// The list of checks for programs.
pub fn checks(checks: &[&Check], format: ListFormat) -> String {
    let list = verify_json::CheckList::of(checks);
    match format {
        ListFormat::Json => json(&list),
        ListFormat::Yaml => yaml(&list),
    }
}

/// The list of credentials for programs.
pub fn tokens_json(inventory: &Inventory, style: &Style) -> String {
    json(&tokens::Document::of(inventory, style))
}

/// Renders the result of `status`.
pub fn status(status: &Status, format: StatusFormat, style: &Style) -> String {
    match format {
        StatusFormat::Table => status_table::render(status, style, false),
        StatusFormat::Wide => status_table::render(status, style, true),
        StatusFormat::Json => json(&status.document()),
        StatusFormat::Yaml => yaml(&status.document()),
    }
}

/// JSON with hidden code points written as escapes.
fn json(document: &impl serde::Serialize) -> String {
    escape_json(serde_json::to_string_pretty(document).unwrap_or_default())
}

/// The same on one line.
fn json_line(document: &impl serde::Serialize) -> String {
    escape_json(serde_json::to_string(document).unwrap_or_default())
}

/// YAML of the same document. Hidden code points are made visible before, because not every YAML reader takes
/// escapes for them.
fn yaml(document: &impl serde::Serialize) -> String {
    let mut value = serde_json::to_value(document).unwrap_or_default();
    show_hidden(&mut value);
    serde_saphyr::to_string(&value).unwrap_or_default()
}

fn show_hidden(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = crate::text::visible(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(show_hidden),
        serde_json::Value::Object(map) => map.values_mut().for_each(show_hidden),
        _ => {}
    }
}

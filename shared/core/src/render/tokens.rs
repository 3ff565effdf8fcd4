//! `rotate-token --list` for people, at 80 columns and wide, and for programs.

use jiff::Timestamp;
use serde::Serialize;

use super::status_table::{indent, table};
use super::style::{Style, wrap};
use crate::API_VERSION;
use crate::assess::Severity;
use crate::object::ObjectRef;
use crate::rotate::inventory::{Fact, Inventory, Kind, Row, State};
use crate::snapshot::{Why, WhyKind};
use crate::text::{age, count, span, visible};

/// Objects that share a Secret beyond this many are counted.
const LISTED: usize = 3;

/// A block for each credential, at 80 columns.
pub fn blocks(inventory: &Inventory, style: &Style) -> String {
    let mut out = vec![head(inventory, style)];
    out.extend(inventory.rows.iter().map(|row| block(row, inventory.now, style)));
    out.extend(tail(inventory, style));
    out.join("\n\n") + "\n"
}

fn head(inventory: &Inventory, style: &Style) -> String {
    let place = inventory
        .origin
        .context
        .as_ref()
        .map_or_else(|| inventory.origin.server.clone(), |context| format!("context {context}"));
    let gitlab = match &inventory.gitlab {
        Ok(url) => url.clone(),
        Err(why) => format!("GitLab was not asked: {}", why.message),
    };
    let line = format!("{} · {place} · {gitlab}", count(inventory.rows.len(), "credential"));
    wrap(&visible(&line), style.width).iter().map(|l| style.faint(l)).collect::<Vec<_>>().join("\n")
}

fn block(row: &Row, now: Timestamp, style: &Style) -> String {
    let title = format!("{} {}{}", sign(row.state), visible(&row.secret.to_string()), words(row.state));
    let title = match row.state {
        State::Missing | State::Dead => style.severity(Severity::Error, &title),
        State::Expiring => style.severity(Severity::Warning, &title),
        State::Valid | State::Unknown => style.strong(&title),
    };
    let mut lines = vec![what(row), told(row, now)];
    lines.extend(not_told(row));
    lines.push(format!("{}: {}", purposes(row), users(row)));
    lines.extend(row.notes.iter().cloned());
    if !row.same_in.is_empty() {
        lines.push(format!("the same value is in {}: rotate it there too", objects(&row.same_in)));
    }
    lines.push(row.next.text.clone());
    lines.retain(|line| !line.is_empty());
    let width = style.width.saturating_sub(4).max(30);
    let body = lines.iter().flat_map(|line| wrap(&visible(line), width)).map(|line| format!("\n    {line}"));
    let command =
        row.next.command.iter().map(|command| format!("\n    {}", style.command(&style.complete(command))));
    title + &body.chain(command).collect::<String>()
}

fn sign(state: State) -> &'static str {
    match state {
        State::Missing | State::Dead => "✗",
        State::Expiring => "!",
        State::Valid => "✓",
        State::Unknown => "?",
    }
}

/// What the sign does not say alone.
fn words(state: State) -> &'static str {
    match state {
        State::Missing => ": there is no credential",
        State::Dead => ": no longer works",
        State::Expiring => ": ends soon",
        State::Valid | State::Unknown => "",
    }
}

/// `project deploy token 12 "flux" · gitlab+deploy-token-12 · keys password, username`.
fn what(row: &Row) -> String {
    let mut parts = vec![kind(row)];
    parts.extend(row.user.get().cloned());
    if !row.keys.is_empty() {
        let noun = if row.keys.len() == 1 { "key" } else { "keys" };
        parts.push(format!("{noun} {}", row.keys.join(", ")));
    }
    parts.join(" · ")
}

fn kind(row: &Row) -> String {
    match (row.id.get(), row.name.get()) {
        (Some(id), Some(name)) => format!("{} {id} \"{name}\"", row.kind.words()),
        _ => row.kind.words().to_owned(),
    }
}

/// What is known of it: scopes, age, end, last use.
fn told(row: &Row, now: Timestamp) -> String {
    let mut parts = Vec::new();
    match row.scopes.get().map(Vec::as_slice) {
        Some([]) | None => {}
        Some(scopes) => parts.push(format!("may {}", scopes.join(", "))),
    }
    parts.extend(shown_age(row, now));
    match &row.expires_at {
        Fact::Known(at) => parts.push(end(*at, now)),
        Fact::Nothing => parts.push("no end".to_owned()),
        Fact::NotKnown(_) => {}
    }
    match &row.last_used_at {
        Fact::Known(at) => parts.push(format!("used {} ago", age(now, *at))),
        Fact::Nothing => parts.push("never used".to_owned()),
        Fact::NotKnown(_) => {}
    }
    parts.join(" · ")
}

fn shown_age(row: &Row, now: Timestamp) -> Option<String> {
    let made = row.created_at.get().map(|at| format!("made {} ago", age(now, *at)));
    made.or_else(|| row.held_since.map(|at| format!("in the Secret for {}", age(now, at))))
}

fn end(at: Timestamp, now: Timestamp) -> String {
    let day = at.strftime("%Y-%m-%d");
    if at <= now {
        format!("ended {} ago ({day})", age(now, at))
    } else {
        format!("ends in {} ({day})", span(at.duration_since(now)))
    }
}

/// What is not known, in one line for each reason.
fn not_told(row: &Row) -> Vec<String> {
    if matches!(row.kind, Kind::Nothing | Kind::Unread) {
        return Vec::new();
    }
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, reason) in unknown(row) {
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => reasons.push((reason, vec![name])),
        }
    }
    reasons.iter().map(|(reason, names)| format!("{}: not known ({reason})", names.join(", "))).collect()
}

/// The facts that are not known, in the words of people. The number and the name say nothing that the kind does not.
fn unknown(row: &Row) -> impl Iterator<Item = (&'static str, &str)> {
    let age = row.created_at.reason().filter(|_| row.held_since.is_none());
    let facts = [
        ("user", row.user.reason()),
        ("scopes", row.scopes.reason()),
        ("age", age),
        ("end", row.expires_at.reason()),
        ("last use", row.last_used_at.reason()),
    ];
    facts.into_iter().filter_map(|(name, reason)| Some((name, reason?)))
}

fn purposes(row: &Row) -> String {
    row.purposes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

fn users(row: &Row) -> String {
    objects(&row.used_by)
}

fn objects(all: &[ObjectRef]) -> String {
    let shown: Vec<String> = all.iter().take(LISTED).map(ToString::to_string).collect();
    let more = all.len().saturating_sub(LISTED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}

/// What is not of GitLab, and what could not be seen.
fn tail(inventory: &Inventory, style: &Style) -> Vec<String> {
    let part = |title: &str, lines: Vec<String>| {
        let lines = lines.iter().flat_map(|line| wrap(&visible(line), style.width.saturating_sub(4)));
        let lines: String = lines.map(|line| format!("\n    {line}")).collect();
        (!lines.is_empty()).then(|| format!("{}{lines}", style.strong(title)))
    };
    let other = |(object, kind): &(ObjectRef, String)| format!("{object} ({kind})");
    let gap = |why: &Why| match why.kind {
        WhyKind::Forbidden => format!("you may not: {}", why.asked),
        _ => format!("{}: {}", why.asked, why.message),
    };
    let others = part("Not of GitLab, and not looked into", inventory.others.iter().map(other).collect());
    let gaps = part("Not everything could be seen", inventory.gaps.iter().map(gap).collect());
    others.into_iter().chain(gaps).collect()
}

const COLUMNS: [&str; 12] = [
    "STATE", "SECRET", "KEYS", "KIND", "FOR", "USED BY", "USER", "SCOPES", "AGE", "END", "LAST USE", "OWNER",
];

/// One line for each credential; nothing is cut.
pub fn wide(inventory: &Inventory, style: &Style) -> String {
    let mut grid = table(style, true);
    let titles = COLUMNS.iter().map(|title| (*title).to_owned()).chain(["NEXT".to_owned()]);
    grid.add_row(titles.collect::<Vec<_>>());
    for row in &inventory.rows {
        grid.add_row(cells(row, inventory.now, style));
    }
    let parts = [head(inventory, style), indent(&grid)].into_iter().chain(tail(inventory, style));
    parts.collect::<Vec<_>>().join("\n\n") + "\n"
}

fn cells(row: &Row, now: Timestamp, style: &Style) -> Vec<String> {
    fn cell<T>(fact: &Fact<T>, nothing: &str, show: impl Fn(&T) -> String) -> String {
        match fact {
            Fact::Known(value) => show(value),
            Fact::Nothing => nothing.to_owned(),
            Fact::NotKnown(why) => format!("not known ({why})"),
        }
    }
    let owners: Vec<String> = row.owners.iter().map(|owner| owner.object.to_string()).collect();
    let mut notes: Vec<String> = row.notes.clone();
    if !row.same_in.is_empty() {
        notes.push(format!("the same value is in {}", objects(&row.same_in)));
    }
    notes.push(row.next.command.as_ref().map_or(row.next.text.clone(), |command| style.complete(command)));
    let made = row.created_at.get().map(|at| age(now, *at));
    let held = || row.held_since.map(|at| format!("≥ {}", age(now, at)));
    let cells = [
        format!("{} {}", sign(row.state), row.state.word()),
        format!("{}/{}", row.secret.namespace, row.secret.name),
        row.keys.join(","),
        kind(row),
        purposes(row),
        row.used_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        cell(&row.user, "-", Clone::clone),
        cell(&row.scopes, "-", |scopes| scopes.join(",")),
        made.or_else(held).unwrap_or_else(|| cell(&row.created_at, "-", |_| String::new())),
        cell(&row.expires_at, "none", |at| at.strftime("%Y-%m-%d").to_string()),
        cell(&row.last_used_at, "never", |at| format!("{} ago", age(now, *at))),
        owners.join(", "),
        notes.join("; "),
    ];
    cells.iter().map(|text| visible(text)).collect()
}

/// The published shape (docs/formats.md): lists are always lists, absent facts are `null`, and `unknown` tells facts that
/// are not known from those that are not there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'i> {
    api_version: &'static str,
    kind: &'static str,
    context: Option<&'i str>,
    server: &'i str,
    observed_at: String,
    gitlab: Asked<'i>,
    exit_code: u8,
    tokens: Vec<TokenOut<'i>>,
    others: Vec<OtherOut<'i>>,
    unknown: &'i [Why],
}

#[derive(Serialize)]
struct Asked<'i> {
    url: Option<&'i str>,
    reason: Option<&'i str>,
}

#[derive(Serialize)]
struct OtherOut<'i> {
    object: &'i ObjectRef,
    #[serde(rename = "type")]
    kind: &'i str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenOut<'i> {
    secret: &'i ObjectRef,
    keys: &'i [String],
    purposes: Vec<&'static str>,
    used_by: &'i [ObjectRef],
    kind: &'static str,
    id: Option<u64>,
    name: Option<&'i str>,
    user: Option<&'i str>,
    scopes: &'i [String],
    created_at: Option<String>,
    held_since: Option<String>,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    state: &'static str,
    owners: Vec<&'i ObjectRef>,
    same_value_in: &'i [ObjectRef],
    notes: &'i [String],
    unknown: Vec<UnknownOut<'i>>,
    next: NextOut<'i>,
}

#[derive(Serialize)]
struct UnknownOut<'i> {
    field: &'static str,
    reason: &'i str,
}

#[derive(Serialize)]
struct NextOut<'i> {
    text: &'i str,
    command: Option<String>,
}

impl<'i> Document<'i> {
    pub(super) fn of(inventory: &'i Inventory, style: &Style) -> Self {
        let (url, reason) = match &inventory.gitlab {
            Ok(url) => (Some(url.as_str()), None),
            Err(why) => (None, Some(why.message.as_str())),
        };
        let other = |(object, kind): &'i (ObjectRef, String)| OtherOut { object, kind };
        Self {
            api_version: API_VERSION,
            kind: "TokenList",
            context: inventory.origin.context.as_deref(),
            server: &inventory.origin.server,
            observed_at: inventory.now.to_string(),
            gitlab: Asked { url, reason },
            exit_code: inventory.exit().code(),
            tokens: inventory.rows.iter().map(|row| TokenOut::of(row, style)).collect(),
            others: inventory.others.iter().map(other).collect(),
            unknown: &inventory.gaps,
        }
    }
}

impl<'i> TokenOut<'i> {
    fn of(row: &'i Row, style: &Style) -> Self {
        let time = |fact: &Fact<Timestamp>| fact.get().map(ToString::to_string);
        let unknown = [
            ("id", row.id.reason()),
            ("name", row.name.reason()),
            ("user", row.user.reason()),
            ("scopes", row.scopes.reason()),
            ("createdAt", row.created_at.reason()),
            ("expiresAt", row.expires_at.reason()),
            ("lastUsedAt", row.last_used_at.reason()),
        ];
        Self {
            secret: &row.secret,
            keys: &row.keys,
            purposes: row.purposes.iter().map(|purpose| purpose.word()).collect(),
            used_by: &row.used_by,
            kind: row.kind.word(),
            id: row.id.get().copied(),
            name: row.name.get().map(String::as_str),
            user: row.user.get().map(String::as_str),
            scopes: row.scopes.get().map_or(&[], Vec::as_slice),
            created_at: time(&row.created_at),
            held_since: row.held_since.map(|at| at.to_string()),
            expires_at: time(&row.expires_at),
            last_used_at: time(&row.last_used_at),
            state: row.state.word(),
            owners: row.owners.iter().map(|owner| &owner.object).collect(),
            same_value_in: &row.same_in,
            notes: &row.notes,
            unknown: unknown
                .into_iter()
                .filter_map(|(field, reason)| Some(UnknownOut { field, reason: reason? }))
                .collect(),
            next: NextOut {
                text: &row.next.text,
                command: row.next.command.as_ref().map(|c| style.portable(c)),
            },
        }
    }
}

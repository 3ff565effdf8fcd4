//! `status` for people: the verdict, Flux, agents, sources with what they feed, and what is not well.

use std::collections::BTreeMap;

use comfy_table::{ContentArrangement, Table};
use jiff::Timestamp;

use super::style::Style;
use crate::assess::Severity;
use crate::command::Program;
use crate::report::{Exit, Problem};
use crate::snapshot::WhyKind;
use crate::status::{AgentRow, ApplierRow, SourceRow, Status};
use crate::text::{age, count, revision, shorten, visible};

/// At 80 columns; `wide` adds columns and cuts nothing.
pub(super) fn render(status: &Status, style: &Style, wide: bool) -> String {
    let mut out = vec![header(status, style), verdict(status, style), String::new()];
    // Of a cluster that does not answer there is nothing to show but that.
    if status.report.exit != Exit::Unreachable {
        out.push(flux(status, style));
        out.push(agents(status, style, wide));
        out.push(sources(status, style, wide));
    }
    out.push(not_well(status, style, wide));
    out.retain(|part| !part.is_empty());
    let mut text = out.join("\n");
    text.push('\n');
    text
}

fn header(status: &Status, style: &Style) -> String {
    let report = &status.report;
    let place = match (&report.recording, &report.origin.context) {
        (Some(file), _) => {
            format!("recording {file} of {}", report.observed_at.strftime("%Y-%m-%d %H:%M UTC"))
        }
        (None, Some(context)) => format!("context {context}"),
        (None, None) => report.origin.server.clone(),
    };
    super::style::wrap(&visible(&place), style.width)
        .iter()
        .map(|l| style.faint(l))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Columns for the command behind the verdict.
const ROOM: usize = 40;

fn verdict(status: &Status, style: &Style) -> String {
    let report = &status.report;
    let errors = report.problems.iter().filter(|p| p.severity == Severity::Error).count();
    let warnings = report.count(Severity::Warning);
    let command = style.complete(&Program::new("kubectl gitlab-agent verify").into());
    // A command with flags of the run gets a line of its own, and stays whole.
    let margin = if command.len() > ROOM { "\n    " } else { " " };
    let how = format!("{margin}{}", style.faint(&command));
    match report.exit {
        Exit::Unreachable => {
            style.severity(Severity::Error, "✗ The cluster cannot be reached, or refused the credential")
        }
        Exit::Problems if errors > 0 => {
            format!(
                "{}   mend with{how}",
                style.severity(Severity::Error, &format!("✗ {}", count(errors, "problem")))
            )
        }
        Exit::Unknown => {
            let text =
                if report.is_early() { "? Too early to tell" } else { "? Not everything could be seen" };
            format!("{}   see{how}", style.severity(Severity::Warning, text))
        }
        _ if warnings > 0 => {
            let text = format!("! No problem, {}", count(warnings, "warning"));
            format!("{}   see{how}", style.severity(Severity::Warning, &text))
        }
        _ => match report.count(Severity::Info) {
            0 => style.good("✓ All is well"),
            notes => style.good(&format!("✓ No problem, {}", count(notes, "note"))),
        },
    }
}

fn flux(status: &Status, style: &Style) -> String {
    let release = status.report.flux.as_deref().unwrap_or("release unknown");
    let rows = status.controllers.iter().map(|c| {
        let short = c.name.trim_end_matches("-controller");
        match (c.ready, c.wanted) {
            (Some(ready), Some(wanted)) if wanted > 0 && ready >= wanted => {
                format!("✓ {short} {ready}/{wanted}")
            }
            (Some(ready), Some(wanted)) => format!("✗ {short} {ready}/{wanted}"),
            _ => format!("? {short}"),
        }
    });
    let line = rows.collect::<Vec<_>>().join("   ");
    let kubernetes = status.report.kubernetes.as_deref().unwrap_or("unknown");
    let title = style.strong(&format!("Flux {} on Kubernetes {}", visible(release), visible(kubernetes)));
    format!("{title}\n  {}\n", signs(style, &line))
}

fn agents(status: &Status, style: &Style, wide: bool) -> String {
    let title = style.strong("Agents");
    if status.agents.is_empty() {
        return format!("{title}\n  {}\n", none(status));
    }
    // Never wrapped: each agent's details stand under its one row.
    let mut table = table(style, true);
    for agent in &status.agents {
        table.add_row(agent_cells(agent, status.report.observed_at));
    }
    let rows: Vec<String> = indent(&table).lines().map(str::to_owned).collect();
    let mut out = vec![title];
    for (row, agent) in rows.iter().zip(&status.agents) {
        out.push(signs(style, row));
        out.extend(
            agent_details(agent, wide)
                .iter()
                .map(|l| format!("    {}", style.faint(&cut(l, style.width.saturating_sub(4), wide)))),
        );
    }
    out.join("\n") + "\n"
}

fn agent_cells(agent: &AgentRow, now: Timestamp) -> Vec<String> {
    let well = agent.ready >= agent.wanted && agent.wanted > 0;
    let (sign, connected) = match agent.connected {
        Some(true) if well => ("✓", "connected"),
        Some(true) => ("✗", "connected"),
        Some(false) => ("✗", "not connected"),
        None => ("?", "connection unknown"),
    };
    let youngest = agent.pods.iter().filter_map(|p| p.started_at).max();
    let up = youngest.map(|at| format!("up {}", age(now, at))).unwrap_or_default();
    let restarts: i64 = agent.pods.iter().map(|p| p.restarts).sum();
    let restarts =
        usize::try_from(restarts).ok().filter(|n| *n > 0).map(|n| count(n, "restart")).unwrap_or_default();
    let cells = [
        format!("{sign} {}/{}", agent.namespace, agent.name),
        agent.version.as_ref().map_or("version unknown".to_owned(), |v| format!("v{v}")),
        format!("{}/{} pods", agent.ready, agent.wanted),
        join(&up, &restarts),
        connected.to_owned(),
    ];
    cells.iter().map(|c| visible(c)).collect()
}

/// What does not fit on the agent's row: where it connects to, which pod leads, and why it is not connected.
fn agent_details(agent: &AgentRow, wide: bool) -> Vec<String> {
    let kas = agent.kas_address.as_ref().map(|address| format!("kas {address}"));
    let id = agent.id.map(|id| format!("agent {id}"));
    let leader = agent.leader.as_ref().map_or("no leader".to_owned(), |pod| format!("leader {pod}"));
    let first: Vec<String> = kas.into_iter().chain(id).collect();
    let mut lines = vec![first.join(" · "), leader];
    if agent.connected != Some(true) {
        lines.push(agent.evidence.clone());
    }
    if wide {
        lines
            .extend(agent.pods.iter().map(|p| format!("pod {} {} restarts {}", p.name, p.phase, p.restarts)));
    }
    lines.retain(|l| !l.is_empty());
    lines.iter().map(|l| visible(l)).collect()
}

fn sources(status: &Status, style: &Style, wide: bool) -> String {
    let title = style.strong("Sources and what they feed");
    if status.sources.is_empty() {
        return format!("{title}\n  {}\n", none(status));
    }
    let now = status.report.observed_at;
    let mut table = table(style, wide);
    for source in &status.sources {
        table.add_row(source_cells(source, now, wide));
        for fed in &source.feeds {
            table.add_row(applier_cells(fed, now, wide));
        }
    }
    format!("{title}\n{}\n", signs(style, &indent(&table)))
}

fn source_cells(source: &SourceRow, now: Timestamp, wide: bool) -> Vec<String> {
    let push = match source.receiver {
        Some("ready") => "push",
        Some("not ready") => "push ✗",
        Some(_) => "no push",
        None => "",
    };
    let mut cells = vec![
        format!(
            "{} {} {}/{}",
            sign(source.state),
            kind(&source.object.kind),
            source.object.namespace,
            source.object.name
        ),
        source.revision.as_deref().map(shown_revision).unwrap_or_default(),
        source.revision_at.map(|at| age(now, at)).unwrap_or_default(),
        join(shown_state(source.state), push),
    ];
    if wide {
        cells.push(source.url.clone().unwrap_or_default());
        cells.push(source.message.clone().unwrap_or_default());
    }
    cells.iter().map(|c| visible(c)).collect()
}

fn applier_cells(fed: &ApplierRow, now: Timestamp, wide: bool) -> Vec<String> {
    let mut cells = vec![
        format!(
            "  {} {} {}/{}",
            sign(fed.state),
            kind(&fed.object.kind),
            fed.object.namespace,
            fed.object.name
        ),
        fed.revision.as_deref().map(shown_revision).unwrap_or_default(),
        fed.since.map(|at| age(now, at)).unwrap_or_default(),
        shown_state(fed.state).to_owned(),
    ];
    if wide {
        cells.push(String::new());
        cells.push(fed.message.clone().unwrap_or_default());
    }
    cells.iter().map(|c| visible(c)).collect()
}

/// Each problem in one line; what follows from another stands behind it.
fn not_well(status: &Status, style: &Style, wide: bool) -> String {
    let mut lines = Vec::new();
    for problem in &status.report.problems {
        lines.push(problem_line(problem, style, wide, 0));
        lines.extend(problem.consequences.iter().map(|p| problem_line(p, style, wide, 2)));
    }
    lines.extend(
        gaps(status).iter().map(|l| format!("  ? {}", cut(&visible(l), style.width.saturating_sub(4), wide))),
    );
    if lines.is_empty() {
        return String::new();
    }
    format!("{}\n{}", style.strong("Not well"), lines.join("\n"))
}

/// None of something: told apart from none that could be seen.
fn none(status: &Status) -> &'static str {
    if status.gaps.is_empty() { "none" } else { "none seen, and not everything could be seen" }
}

/// What could not be seen, one line for each reason.
fn gaps(status: &Status) -> Vec<String> {
    let mut reasons: BTreeMap<(WhyKind, &str), Vec<&str>> = BTreeMap::new();
    for why in &status.gaps {
        let message = if why.kind == WhyKind::Forbidden { "you may not (GA102)" } else { &why.message };
        reasons.entry((why.kind, message)).or_default().push(&why.asked);
    }
    let line = |((_, message), asked): (&(WhyKind, &str), &Vec<&str>)| match asked.as_slice() {
        [one] => format!("{message}: {one}"),
        [first, rest @ ..] => format!("{message}: {first} and {} more", rest.len()),
        [] => (*message).to_owned(),
    };
    reasons.iter().map(line).collect()
}

fn problem_line(problem: &Problem, style: &Style, wide: bool, depth: usize) -> String {
    let lead = format!("{}{} {}", " ".repeat(2 + depth), Style::sign(problem.severity), problem.check.id());
    let text = visible(&format!("{} {}", problem.finding.subject, problem.finding.message));
    let room = style.width.saturating_sub(lead.chars().count() + 1);
    let lead = style.severity(problem.severity, &lead);
    format!("{lead} {}", cut(&text, room.max(20), wide))
}

fn cut(text: &str, width: usize, wide: bool) -> String {
    if wide { text.to_owned() } else { shorten(text, width) }
}

fn shown_revision(full: &str) -> String {
    shorten(&revision(full), 24)
}

fn join(a: &str, b: &str) -> String {
    if a.is_empty() || b.is_empty() { format!("{a}{b}") } else { format!("{a}, {b}") }
}

fn sign(state: &str) -> &'static str {
    match state {
        "ready" | "static" => "✓",
        "failed" => "✗",
        "suspended" => "!",
        _ => "…",
    }
}

/// A state that the sign does not say already.
fn shown_state(state: &str) -> &str {
    if state == "ready" { "" } else { state }
}

/// kubectl's and Flux's short names: 80 columns are few.
fn kind(kind: &str) -> &str {
    match kind {
        "GitRepository" => "git",
        "OCIRepository" => "oci",
        "HelmRepository" => "helm",
        "Bucket" => "bucket",
        "Kustomization" => "ks",
        "HelmRelease" => "hr",
        other => other,
    }
}

pub(super) fn table(style: &Style, wide: bool) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if wide {
        table.set_content_arrangement(ContentArrangement::Disabled);
    } else {
        let width = u16::try_from(style.width).unwrap_or(80);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table
}

pub(super) fn indent(table: &Table) -> String {
    // comfy-table pads each cell with one space on both sides; the first is the margin.
    table.lines().map(|line| format!(" {}", line.trim_end())).collect::<Vec<_>>().join("\n")
}

fn signs(style: &Style, text: &str) -> String {
    if !style.colour {
        return text.to_owned();
    }
    let bad = style.severity(Severity::Error, "✗");
    text.replace('✓', &style.good("✓")).replace('✗', &bad)
}

//! The plan in words, and the person's consent.

use std::io::IsTerminal;
use std::time::Duration;

use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::render::rotate::Subject;
use gitlab_agent_core::rotate::{self as core, Step};

use crate::cli::streams;
use crate::rotate::{Checked, Manifest, Reader, Target, usual_watch};

/// What is rotated, and how.
pub(super) fn subject(
    target: &Target,
    checked: &Checked,
    manifest: Option<&Manifest>,
    watch: Option<Duration>,
) -> Subject {
    let issuer = &checked.issuer;
    let short = target.of.rsplit(['/', ' ']).next().unwrap_or(&target.of);
    let agent = issuer.agent_name();
    Subject {
        of: agent.map_or_else(|| target.of.clone(), |name| format!("agent {name}")),
        confirm: agent.unwrap_or(short).to_owned(),
        kind: issuer.kind(),
        place: issuer.place_words(),
        host: issuer.gitlab().read.host().to_string(),
        new: issuer.new_words(),
        secret: ObjectRef::new("Secret", &target.secret.namespace, &target.secret.name),
        keys: target.secret.keys.iter().map(|key| (*key).to_owned()).collect(),
        readers: target.readers.clone(),
        reading: checked.reading.clone(),
        old: checked.old.clone(),
        works: checked.works.clone(),
        steps: steps(target, checked, manifest, watch),
        notes: checked.notes.clone(),
    }
}

/// The steps that differ by what is rotated, in words.
fn steps(
    target: &Target,
    checked: &Checked,
    manifest: Option<&Manifest>,
    watch: Option<Duration>,
) -> Vec<(Step, String)> {
    let kind = checked.issuer.kind();
    let create = match kind {
        core::Kind::PersonalToken => {
            "GitLab puts another in the place of the old one: from here on there is no way back".to_owned()
        }
        _ => format!("another {} in GitLab", kind.word()),
    };
    let mut steps = vec![(Step::Create, create)];
    match manifest {
        Some(manifest) => {
            steps.push((
                Step::Write,
                format!("{}; the Secret stays as it is. What follows, --finish does", manifest.words()),
            ));
        }
        None => {
            steps.push((Step::Write, "the Secret; what it held is kept in another until the end".to_owned()))
        }
    }
    let mut asked = checked.owners.clone();
    match &target.reader {
        Reader::Agent(agentks) => {
            let (pods, seen) = match agentks.len() {
                1 => ("the pods restart and read it", "GitLab sees the new token used, or a new pod leads"),
                _ => (
                    "the pods of each Deployment restart and read it",
                    "GitLab is connected with a new pod of each",
                ),
            };
            steps.push((Step::RollOut, pods.to_owned()));
            steps.push((Step::Verify, seen.to_owned()));
            let releases =
                agentks.iter().filter_map(|a| a.release.as_ref()).filter(|(_, suspended)| !suspended);
            asked.extend(releases.map(|(release, _)| release.clone()));
        }
        Reader::Sources(fetchers) => {
            let proof: Vec<String> =
                fetchers.iter().flat_map(|f| &f.proof).map(ToString::to_string).collect();
            steps.push((Step::Verify, format!("fetched with it: {}", proof.join(", "))));
        }
        Reader::Providers(notifiers) => {
            let proof: Vec<String> =
                notifiers.iter().filter_map(|n| n.proof.first()).map(ToString::to_string).collect();
            let text =
                format!("{} reconciles, and GitLab sees the new token used for its status", proof.join(", "));
            steps.push((Step::Verify, text));
        }
    }
    let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
    let prove = match asked.len() {
        0 => "the Secret is read again".to_owned(),
        _ => format!("the Secret is read again after {} reconciled", asked.join(", ")),
    };
    steps.push((Step::ProveNotReverted, prove));
    if checked.old_id.is_some() && kind != core::Kind::PersonalToken {
        let watch = watch.unwrap_or(usual_watch(kind));
        let since = if watch.is_zero() {
            "since".to_owned()
        } else {
            let minutes =
                gitlab_agent_core::text::span(jiff::SignedDuration::try_from(watch).unwrap_or_default());
            format!("for {minutes}, which both work")
        };
        let seen = match kind {
            core::Kind::AgentToken => {
                format!(", no other cluster is connected with it, and GitLab saw no use of it {since}")
            }
            core::Kind::AccessToken => format!(", and GitLab saw no use of it {since}"),
            _ => "; whether others use it GitLab does not tell".to_owned(),
        };
        steps.push((Step::ProveUnused, format!("no other Secret holds the old one{seen}")));
    }
    steps
}

/// Asks on the terminal; without one nobody confirms. The line is read beside the run, which goes on hearing signals.
pub(super) async fn confirmed(word: &str, what: &str) -> bool {
    if !std::io::stdin().is_terminal() || !streams::talks_to_terminal() {
        return false;
    }
    streams::ask(&format!("Type {word} to {what}: "));
    let (told, line) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        // Nobody waits any more where a signal came first.
        let _ = told.send(read.map(|_| line));
    });
    matches!(line.await, Ok(Ok(line)) if line.trim() == word)
}

//! The plan in words, and the person's consent.

use std::io::IsTerminal;

use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::render::rotate::Subject;
use gitlab_agent_core::rotate::{self as core, Step};

use crate::cli::streams;
use crate::rotate::{Checked, Manifest, Reader, Target};

/// What is rotated, and how.
pub(super) fn subject(target: &Target, checked: &Checked, manifest: Option<&Manifest>) -> Subject {
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
        steps: steps(target, checked, manifest),
        notes: checked.notes.clone(),
    }
}

/// The steps that differ by what is rotated, in words.
fn steps(target: &Target, checked: &Checked, manifest: Option<&Manifest>) -> Vec<(Step, String)> {
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
        Reader::Agent(agentk) => {
            steps.push((Step::RollOut, "the pods restart and read it".to_owned()));
            steps.push((Step::Verify, "GitLab sees the new token used, or a new pod leads".to_owned()));
            let release = agentk.release.iter().filter(|(_, suspended)| !suspended);
            asked.extend(release.map(|(release, _)| release.clone()));
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
    steps
}

/// Asks on the terminal; without one nobody confirms.
pub(super) fn confirmed(subject: &Subject) -> bool {
    if !std::io::stdin().is_terminal() || !streams::talks_to_terminal() {
        return false;
    }
    streams::ask(&format!("Type {} to go on: ", subject.confirm));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && line.trim() == subject.confirm
}

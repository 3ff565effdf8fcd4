//! Whether the readers work now: what is broken already proves nothing of a new credential.

use super::preflight::Notes;
use super::target::{Fetcher, Notifier};

/// Whether all sources are fetched now. Where the old one is dead anyway, there is nothing to lose.
pub(super) fn fetched_now(fetchers: &[Fetcher], lives: bool, said: &mut Notes) -> String {
    if fetchers.iter().all(|f| f.proof.is_empty()) {
        said.against.push(
            "nothing that reads this Secret fetches now (suspended, or a static HelmRepository without charts): whether the \
             new credential works could not be told"
                .to_owned(),
        );
    }
    for fetcher in fetchers.iter().filter(|f| f.suspended) {
        said.notes.push(format!("{} is suspended: it takes no part in the proof", fetcher.object));
    }
    let failing: Vec<&Fetcher> = fetchers.iter().filter(|f| !f.suspended && f.fails.is_some()).collect();
    for fetcher in &failing {
        let why = fetcher.fails.as_deref().unwrap_or_default();
        let text = format!("{} is not fetched now ({why})", fetcher.object);
        if lives {
            said.against.push(format!(
                "{text}: whether the new credential works could not be told from what is broken already; mend that first \
                 (kubectl gitlab-agent verify)"
            ));
        } else {
            said.notes.push(text);
        }
    }
    if failing.is_empty() { "all of them are fetched with it now".to_owned() } else { String::new() }
}

/// Whether a notification can be had as proof.
pub(super) fn notified_now(notifiers: &[Notifier], said: &mut Notes) -> String {
    for notifier in notifiers.iter().filter(|n| n.proof.is_empty()) {
        let why = if notifier.alerts.is_empty() {
            "no Alert sends through it"
        } else {
            "its Alerts cover no active Kustomization"
        };
        said.against.push(format!(
            "{} sends nothing now ({why}): whether the new token works could not be told; see kubectl gitlab-agent verify \
             --explain GA508",
            notifier.object
        ));
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use gitlab_agent_core::object::ObjectRef;

    use super::*;

    #[test]
    fn what_is_not_fetched_now_is_no_place_for_a_proof_unless_the_old_one_is_dead() {
        let fetcher = |fails: Option<&str>, suspended: bool| Fetcher {
            object: ObjectRef::new("GitRepository", "n", "a"),
            url: String::new(),
            suspended,
            fails: fails.map(str::to_owned),
            proof: if suspended { Vec::new() } else { vec![ObjectRef::new("GitRepository", "n", "a")] },
        };
        for (fetchers, lives, refused) in [
            (vec![fetcher(None, false)], true, false),
            (vec![fetcher(Some("broken"), false)], true, true),
            (vec![fetcher(Some("authentication required"), false)], false, false),
            (vec![fetcher(None, true)], true, true),
            (vec![fetcher(None, true), fetcher(None, false)], true, false),
        ] {
            let mut said = Notes::default();
            fetched_now(&fetchers, lives, &mut said);
            assert_eq!(!said.against.is_empty(), refused, "{:?}", said.against);
        }
    }
}

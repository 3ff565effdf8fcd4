//! GA408: what consumes a source is applied, and at the source's revision.

use jiff::SignedDuration;

use super::ending::ending;
use super::ga407::unwatched;
use super::release::{failure, retry};
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::{Command, Program};
use crate::facts::failure::{Failing, Failure, FailureKey, classify};
use crate::facts::readiness::{Readiness, lasts, readiness, since};
use crate::facts::{Condition, CrossRef, Facts, HelmRelease, Kustomization, Listing, Meta, Source, Why, condition};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::text::{age, commit, revision};

pub(super) static CHECK: Check = Check {
    code: 408,
    slug: "not-applied",
    title: "every Kustomization and HelmRelease is applied at its source's revision",
    severity: Severity::Error,
    impact: Impact::Delivery,
    needs: &[Need::GitRepositories, Need::HelmCharts, Need::Kustomizations, Need::HelmReleases],
    page: include_str!("../../../../docs/checks/GA408.md"),
    judge,
};

/// How long an applier may be at work, or nobody may have looked at it.
const AT_WORK: SignedDuration = SignedDuration::from_mins(10);
/// How long it may wait for something else.
const WAITING: SignedDuration = SignedDuration::from_mins(5);
/// So many objects of a circle are named.
const SHOWN_OF_CIRCLE: usize = 6;
/// How long after a fetch its consumers may still stand at the revision before.
const TAKE_UP: SignedDuration = SignedDuration::from_mins(2);

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for k in judgement.each(&facts.snapshot.kustomizations) {
        let status = &k.status;
        let applier = Applier {
            facts,
            object: k.metadata.object("Kustomization"),
            metadata: &k.metadata,
            conditions: &status.conditions,
            state: readiness(&status.conditions, k.metadata.generation, status.observed_generation, k.spec.suspend),
            depends_on: &k.spec.depends_on,
            source: Some(Facts::resolve(&k.spec.source_ref, &k.metadata.namespace)),
            worked: status.observed_generation >= k.metadata.generation,
            controller: "kustomize-controller",
        };
        applier.look(judgement, &status.last_applied_revision, |c| kustomization_failed(facts, k, c));
    }
    for r in judgement.each(&facts.snapshot.helm_releases) {
        let status = &r.status;
        let applier = Applier {
            facts,
            object: r.metadata.object("HelmRelease"),
            metadata: &r.metadata,
            conditions: &status.conditions,
            state: readiness(&status.conditions, r.metadata.generation, status.observed_generation, r.spec.suspend),
            depends_on: &r.spec.depends_on,
            source: chart_of(r),
            worked: status.observed_generation >= r.metadata.generation
                && status.history.first().is_some_and(|newest| newest.status == "deployed"),
            controller: "helm-controller",
        };
        applier.look(judgement, &status.last_attempted_revision, |c| release_failed(facts, r, c));
    }
    judgement.skip("there is neither a Kustomization nor a HelmRelease");
    Ok(())
}

/// Whether a source failed: what waits for it waits in vain, however short a time.
fn has_failed(source: &Source) -> bool {
    let status = &source.status;
    let state = readiness(&status.conditions, source.metadata.generation, status.observed_generation, source.spec.suspend);
    matches!(state, Readiness::Failed(_))
}

/// The HelmChart of a release. A release from an OCIRepository names its chart's version in another way than the
/// OCIRepository its revision, so these are not compared.
fn chart_of(r: &HelmRelease) -> Option<ObjectRef> {
    let (namespace, name) = r.status.helm_chart.split_once('/')?;
    Some(ObjectRef::new("HelmChart", namespace, name))
}

/// A Kustomization or HelmRelease.
struct Applier<'a, 's> {
    facts: &'a Facts<'s>,
    object: ObjectRef,
    metadata: &'a Meta,
    conditions: &'a [Condition],
    state: Readiness<'a>,
    depends_on: &'a [CrossRef],
    source: Option<ObjectRef>,
    /// Whether its present spec was applied before.
    worked: bool,
    controller: &'static str,
}

impl Applier<'_, '_> {
    fn look(&self, judgement: &mut Judgement, applied: &str, failed: impl FnOnce(&Condition) -> Finding) {
        if let Some(found) = ending(self.facts, &self.object, self.metadata, self.conditions) {
            judgement.examine();
            judgement.findings.extend(found);
            return;
        }
        if self.state == Readiness::Suspended {
            return;
        }
        let source = judgement.known(self.fetched());
        judgement.examine();
        if let Some(why) = self.facts.unwatched(&self.object.kind, self.metadata) {
            judgement.find(unwatched(self.facts, self.object.clone(), &format!("is not applied: {why}")));
            return;
        }
        let found = match self.state {
            Readiness::Suspended => None,
            Readiness::Failed(condition) => Some(failed(condition)),
            Readiness::Waiting(condition) => {
                let in_vain = source.flatten().is_some_and(has_failed) || self.waits_in_vain();
                if in_vain || self.lasts(WAITING) {
                    Some(self.waits(condition))
                } else {
                    judgement.too_early(&self.object, &condition.message);
                    None
                }
            }
            Readiness::Progressing(condition) if self.lasts(AT_WORK) => Some(self.stuck(&condition.message)),
            Readiness::NotObserved if self.lasts(AT_WORK) => Some(self.stuck("")),
            Readiness::Progressing(_) | Readiness::NotObserved => {
                let newest = source.flatten().and_then(|source| source.status.artifact.as_ref());
                let same = newest.is_none_or(|artifact| artifact.revision == applied);
                if !(self.worked && same && !applied.is_empty()) {
                    judgement.too_early(&self.object, format!("{} has not finished with it", self.controller));
                }
                None
            }
            Readiness::Ready => match source {
                Some(None) => self.orphaned(),
                source => source.flatten().and_then(|source| self.behind(judgement, source, applied)),
            },
        };
        judgement.findings.extend(found);
    }

    /// Whether time alone changes nothing: what it depends on is suspended, does not exist, or depends on it.
    fn waits_in_vain(&self) -> bool {
        let idle = |on: &CrossRef| match self.facts.applier(&self.dependency(on)) {
            Ok(Some(found)) => found.suspended && !found.is_ready,
            Ok(None) => true,
            Err(_) => false,
        };
        self.depends_on.iter().any(idle) || self.facts.circle(&self.object).is_some()
    }

    fn lasts(&self, patience: SignedDuration) -> bool {
        lasts(self.conditions, self.metadata, self.facts.now, patience)
    }

    fn fetched(&self) -> Result<Option<&Source>, Why> {
        let Some(source) = &self.source else { return Ok(None) };
        let listing: Option<&Listing<Source>> = self.facts.sources(&source.kind);
        listing.map_or(Ok(None), |listing| listing.find(&source.namespace, &source.name))
    }

    /// Ready, but at an old artifact, and for longer than taking up a new one takes.
    fn behind(&self, judgement: &mut Judgement, source: &Source, applied: &str) -> Option<Finding> {
        let artifact = source.status.artifact.as_ref()?;
        let now = self.facts.now;
        let fresh = artifact.last_update_time.is_some_and(|at| now.duration_since(at) < TAKE_UP);
        let reconciling = condition(self.conditions, "Reconciling").filter(|c| c.status == "True");
        let started = reconciling.and_then(|c| c.last_transition_time);
        let at_work = started.is_some_and(|at| now.duration_since(at) < WAITING);
        if applied == artifact.revision {
            return None;
        }
        if fresh || at_work {
            let said = format!("its source has just got {}, and it is not applied yet", revision(&artifact.revision));
            judgement.too_early(&self.object, said);
            return None;
        }
        let held = if applied.is_empty() { "nothing".to_owned() } else { revision(applied) };
        let message = format!("is Ready, but at {held} while its source is at {}", revision(&artifact.revision));
        let text = format!("ask {} for it; where nothing changes, see that {} runs", self.controller, self.controller);
        Some(Finding::new(self.object.clone(), message, Remedy::say(text).reconcile(&self.object)))
    }

    fn waits(&self, condition: &Condition) -> Finding {
        let finding = |message: String, remedy: Remedy| {
            Finding::new(self.object.clone(), message, remedy.reconcile(&self.object)).because(&condition.message)
        };
        let text = "mend what it waits for; it goes on by itself, and at once with the command";
        if condition.reason != "DependencyNotReady" {
            let message = match &self.source {
                Some(source) if is_gone(self.facts, source) => {
                    let text = "correct the reference to its source in Git, or commit the source that it names";
                    let message = format!("waits for {source}, which does not exist");
                    return finding(message, Remedy::in_git(self.facts, &self.object, text));
                }
                Some(source) => format!("waits for {source}, which has nothing to apply"),
                None => "waits for something that is not ready".to_owned(),
            };
            return finding(message, Remedy::say(text));
        }
        let all: Vec<ObjectRef> = self.depends_on.iter().map(|on| self.dependency(on)).collect();
        if let Some(circle) = self.facts.circle(&self.object) {
            let mut names: Vec<String> = circle.iter().map(|o| format!("{}/{}", o.namespace, o.name)).collect();
            if names.len() > SHOWN_OF_CIRCLE {
                names.splice(SHOWN_OF_CIRCLE - 1..names.len() - 1, ["…".to_owned()]);
            }
            let message = format!("waits for itself: spec.dependsOn goes in a circle ({})", names.join(" → "));
            let text = "take one of these references out of spec.dependsOn in Git";
            return finding(message, Remedy::in_git(self.facts, &self.object, text));
        }
        let standing = |on: &ObjectRef| self.facts.applier(on);
        let missing: Vec<&ObjectRef> = all.iter().filter(|on| matches!(standing(on), Ok(None))).collect();
        if !missing.is_empty() {
            let verb = if missing.len() == 1 { "does" } else { "do" };
            let message = format!("waits for {}, which {verb} not exist", listed(&missing));
            let text = "correct the name in spec.dependsOn in Git, or commit what it names";
            return finding(message, Remedy::in_git(self.facts, &self.object, text));
        }
        let waited: Vec<&ObjectRef> = all.iter().filter(|on| !standing(on).is_ok_and(|found| found.is_some_and(|a| a.is_ready))).collect();
        let suspended: Vec<&ObjectRef> = waited.iter().copied().filter(|on| standing(on).is_ok_and(|found| found.is_some_and(|a| a.suspended))).collect();
        match (waited.as_slice(), suspended.as_slice()) {
            ([], _) => finding("waits for something that is not ready".to_owned(), Remedy::say(text)),
            (_, [first, ..]) => {
                let message = format!("waits for {}, which is suspended and not ready", listed(&suspended));
                let text = "resume what it waits for, once the reason is gone; it then goes on by itself";
                finding(message, Remedy::say(text).resume(first))
            }
            _ => finding(format!("waits for {}, which is not ready", listed(&waited)), Remedy::say(text)),
        }
    }

    fn dependency(&self, on: &CrossRef) -> ObjectRef {
        let mut object = Facts::resolve(on, &self.object.namespace);
        object.kind.clone_from(&self.object.kind);
        object
    }

    /// Ready of earlier times: what it was applied from does not exist any more.
    fn orphaned(&self) -> Option<Finding> {
        let source = self.source.as_ref().filter(|source| is_gone(self.facts, source))?;
        let message = format!("is Ready, but {source}, which it names, does not exist: nothing newer arrives");
        let text = "commit the source again, or correct the reference to it in Git";
        Some(Finding::new(self.object.clone(), message, Remedy::in_git(self.facts, &self.object, text)))
    }

    fn stuck(&self, said: &str) -> Finding {
        let when = since(self.conditions, self.metadata).map(|at| format!(" for {}", age(self.facts.now, at)));
        let message = format!("is not applied: {} has not finished with it{}", self.controller, when.unwrap_or_default());
        let text = format!("ask for a reconciliation; where nothing changes, see that {} runs", self.controller);
        Finding::new(self.object.clone(), message, Remedy::say(text).reconcile(&self.object)).because(said)
    }
}

fn listed(objects: &[&ObjectRef]) -> String {
    objects.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

fn kustomization_failed(facts: &Facts<'_>, k: &Kustomization, failed: &Condition) -> Finding {
    let object = k.metadata.object("Kustomization");
    let source = Facts::resolve(&k.spec.source_ref, &object.namespace);
    let class = classify(failed);
    let (message, remedy) = match failed.reason.as_str() {
        // Whatever the reason: kustomize-controller says ArtifactFailed of an artifact that it did fetch.
        _ if class == Failure::PathMissing => (
            format!("is not applied: {}", path_missing(k, &failed.message)),
            Remedy::in_git(facts, &object, "correct spec.path (or the file that the message names) to one that is in Git, or commit it"),
        ),
        "HealthCheckFailed" => (
            "is applied, but what it deployed does not run".to_owned(),
            Remedy::say("mend the workloads that GA701 and the message name; then ask for a reconciliation"),
        ),
        "ArtifactFailed" | "SourceNotReady" if is_gone(facts, &source) => (
            format!("is not applied: {source}, which it names, does not exist"),
            Remedy::in_git(facts, &object, "correct spec.sourceRef, or commit the source that it names"),
        ),
        "ArtifactFailed" => (
            format!("is not applied: it cannot get the artifact of {source}"),
            Remedy::say("fetch the source again; where that fails, GA407 tells why").reconcile(&source),
        ),
        "AccessDenied" => (
            "is not applied: it may not use a source of another namespace".to_owned(),
            Remedy::in_git(facts, &object, "let it use a source of its own namespace"),
        ),
        // GitLab, "Installing the agent for Kubernetes": Flux at the root of the agent's own project.
        _ if failed.message.contains("/.gitlab/agents/") => (
            "is not applied: it takes the agent's configuration file for a manifest".to_owned(),
            Remedy::in_git(
                facts,
                &object,
                "let spec.path name the folder that holds the manifests (`flux bootstrap --path`, which has to be \
                 the `--manifest-path` of `glab cluster agent bootstrap`), or put a kustomization.yaml beside them",
            ),
        ),
        reason => match Remedy::of_kustomization(facts, k, &failed.message) {
            Some((what, remedy)) => (format!("is not applied: {what}"), remedy.reconcile(&source)),
            None => of_class(facts, k, &source, reason, class),
        },
    };
    let worker = facts.flux.expected("kustomize-controller", &k.metadata);
    let who = Failing { worker: Some(&worker), ..Failing::default() };
    let key = FailureKey::of(class, &failed.message, &who);
    Finding::new(object.clone(), message, remedy.reconcile(&object)).failure(key).because(&failed.message)
}

/// Whether a source certainly does not exist.
fn is_gone(facts: &Facts<'_>, source: &ObjectRef) -> bool {
    facts.sources(&source.kind).is_some_and(|all| matches!(all.find(&source.namespace, &source.name), Ok(None)))
}

fn path_missing(k: &Kustomization, message: &str) -> String {
    let path = k.spec.path.trim_start_matches("./");
    match message.contains("kustomization path not found") {
        true if !path.is_empty() => format!("its source has no folder {path} (spec.path)"),
        _ => Failure::PathMissing.phrase().to_owned(),
    }
}

/// Why it does not apply, where the API server's or kustomize's words tell.
fn of_class(facts: &Facts<'_>, k: &Kustomization, source: &ObjectRef, reason: &str, class: Failure) -> (String, Remedy) {
    let object = k.metadata.object("Kustomization");
    match (class, class.advice()) {
        (Failure::Other, _) => (format!("is not applied: {reason}"), revert(facts, k, source).reconcile(source)),
        // Neither Git nor the manifests are at fault: going back mends nothing.
        (class, None) if class.is_network() || class.is_tls() || class.is_credential() || class == Failure::WaitTimeout => {
            let text = "mend the way to what the message names (the API server, a registry, a webhook); it is tried again by itself";
            (format!("is not applied: {}", class.phrase()), Remedy::say(text))
        }
        // What is in Git is at fault: the way back is known.
        (Failure::Manifest, _) | (_, None) => {
            (format!("is not applied: {reason} ({})", class.phrase()), revert(facts, k, source).reconcile(source))
        }
        (class, Some(advice)) if class.is_of_git() => {
            (format!("is not applied: {}", class.phrase()), Remedy::in_git(facts, &object, advice))
        }
        (class, Some(advice)) => (format!("is not applied: {}", class.phrase()), Remedy::say(advice)),
    }
}

/// What is in Git does not apply: undone in Git, where the good and the bad commit are known.
fn revert(facts: &Facts<'_>, k: &Kustomization, source: &ObjectRef) -> Remedy {
    let url = facts.sources(&source.kind).and_then(|l| l.find(&source.namespace, &source.name).ok()?);
    let of = url.map(|s| format!(" of {}", *s.spec.url)).unwrap_or_default();
    let (applied, attempted) = (&k.status.last_applied_revision, &k.status.last_attempted_revision);
    match commit(applied).zip(commit(attempted)).filter(|(good, bad)| good != bad) {
        Some((good, bad)) => Remedy::say(format!(
            "mend in Git what the message names, or go back to the last revision that applied: in an up-to-date checkout{of} \
             run the first command"
        ))
        .run(
            Command::from(Program::new("git revert --no-edit").operand(&format!("{good}..{bad}")))
                .then(Program::new("git push")),
        ),
        None => Remedy::say(format!("mend in Git{of} what the message names")),
    }
}

fn release_failed(facts: &Facts<'_>, r: &HelmRelease, failed: &Condition) -> Finding {
    let object = r.metadata.object("HelmRelease");
    let (message, text) = match failed.reason.as_str() {
        "ValuesError" => ("does not get its values: one cannot be read", "create what the message names, or correct valuesFrom in Git"),
        "InstallFailed" => ("is not installed: Helm's install failed", MEND),
        "UpgradeFailed" => ("is not upgraded: Helm's upgrade failed", MEND),
        "RollbackSucceeded" | "UninstallSucceeded" => ("is not upgraded: it failed and was taken back", MEND),
        "RetriesExceeded" | "MissingRollbackTarget" => ("is not applied: helm-controller has given up", MEND),
        "TestFailed" => ("is applied, but its tests failed", MEND),
        "ArtifactFailed" => ("is not applied: it cannot get its chart", "see what GA407 says of its HelmChart"),
        _ => ("is not applied", MEND),
    };
    let named = ["ValuesError", "ArtifactFailed"].contains(&failed.reason.as_str());
    let class = conditions(r, failed).map(classify).find(|class| *class != Failure::Other);
    let remedy = retry(facts, &object, class.and_then(Failure::advice).unwrap_or(text));
    // A release that was rolled back, or that stalled, says only that; what failed, and what runs now, leads.
    let told = failure(r).filter(|(_, said)| !named && *said != failed.message);
    let (message, evidence) = match (told, class) {
        (Some((what, said)), class) => (format!("{what}{}", cause_in_words(class)), vec![said, failed.message.clone()]),
        (None, class) => {
            let reason = if named { String::new() } else { format!(" ({})", failed.reason) };
            (format!("{message}{reason}{}", cause_in_words(class)), vec![failed.message.clone()])
        }
    };
    let more = conditions(r, failed).find(|c| c.status == "False" && !evidence.contains(&c.message));
    let more = more.filter(|_| evidence.len() < 2).map(|c| c.message.clone());
    let worker = facts.flux.expected("helm-controller", &r.metadata);
    let who = Failing { worker: Some(&worker), ..Failing::default() };
    let key = conditions(r, failed).find_map(|c| FailureKey::of(classify(c), &c.message, &who));
    evidence.into_iter().chain(more).fold(Finding::new(object, message, remedy).failure(key), Finding::because)
}

/// The class of a failure, as the end of a message. That a wait was in vain says nothing of why.
fn cause_in_words(class: Option<Failure>) -> String {
    let class = class.filter(|class| !matches!(class, Failure::WaitTimeout | Failure::Timeout));
    class.map(|class| format!(": {}", class.phrase())).unwrap_or_default()
}

/// What may say more than the condition that failed: Ready and Released say what a stalled release does not.
fn conditions<'r>(r: &'r HelmRelease, failed: &'r Condition) -> impl Iterator<Item = &'r Condition> {
    let others = ["Ready", "Released"].into_iter().filter_map(|kind| condition(&r.status.conditions, kind));
    std::iter::once(failed).chain(others)
}

const MEND: &str = "mend what the message names; then make helm-controller forget its failed attempts and try again";

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes, too_early};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    const BAD: &str = "main@sha1:2222222222222222222222222222222222222222";

    fn kustomization(reason: &'static str, message: &'static str) -> impl FnOnce(&mut Snapshot) {
        move |s| s.kustomizations.items[1].status.conditions = fixture::not_ready(reason, message)
    }

    fn release(reason: &'static str, message: &'static str) -> impl FnOnce(&mut Snapshot) {
        move |s| s.helm_releases.items[0].status.conditions = fixture::not_ready(reason, message)
    }

    fn fetched(s: &mut Snapshot, at: &str) {
        let artifact = fixture::git_mut(s, "example-nginx-app").status.artifact.as_mut().expect("an artifact");
        artifact.revision = BAD.to_owned();
        artifact.last_update_time = at.parse().ok();
    }

    #[test]
    fn what_does_not_apply_is_found_with_its_way_back() {
        let found = finding(&CHECK, |s| {
            kustomization("BuildFailed", "kustomize build failed: x")(s);
            s.kustomizations.items[1].status.last_attempted_revision = BAD.to_owned();
        });
        assert_eq!(found.subject.to_string(), "Kustomization flux-system/example-nginx-app");
        assert_eq!(found.message, "is not applied: BuildFailed (a manifest is invalid)");
        assert_eq!(found.evidence, ["kustomize build failed: x"]);
        assert_eq!(
            found.remedy.lines()[0],
            format!("git revert --no-edit {}..{} && git push", "1".repeat(40), "2".repeat(40))
        );
        assert!(found.remedy.lines()[1].contains("gitrepository.") && found.remedy.lines()[2].contains("kustomization."));
        let unknown = finding(&CHECK, kustomization("ReconciliationFailed", "dry-run failed"));
        assert_eq!(unknown.remedy.commands.len(), 2, "no commit to go back to");
    }

    #[test]
    fn other_failures_of_a_kustomization_are_told_apart() {
        for (reason, message) in [
            ("HealthCheckFailed", "is applied, but what it deployed does not run"),
            ("ArtifactFailed", "is not applied: it cannot get the artifact of GitRepository flux-system/example-nginx-app"),
            ("AccessDenied", "is not applied: it may not use a source of another namespace"),
        ] {
            assert_eq!(finding(&CHECK, kustomization(reason, "x")).message, message);
        }
    }

    #[test]
    fn what_the_api_server_says_is_told_with_its_remedy() {
        for (said, phrase, advice) in [
            ("pods \"x\" is forbidden: exceeded quota: q", "a quota is exceeded", "ResourceQuota"),
            ("admission webhook \"x\" denied the request: no", "denied it", "policy"),
            ("failed calling webhook \"x\": Post \"https://x\": connection refused", "cannot be called", "webhook"),
            ("no matches for kind \"X\" in version \"a/v1\"", "does not serve this kind", "CustomResourceDefinition"),
            ("Deployment.apps \"x\" is invalid: spec.selector: field is immutable", "immutable field", "take the change back"),
            ("Apply failed with 1 conflict: conflict with \"helm\"", "belongs to something else", "one owner"),
            ("deployments.apps is forbidden: User \"x\" cannot patch", "RBAC permission", "grant"),
            ("mkdir /tmp/x: no space left on device", "a volume is full", "free space"),
            ("decryption failed for 'a/b': no identity matched", "cannot be decrypted", "private key"),
            ("namespaces \"x\" not found", "does not exist", "create the object"),
        ] {
            // Some have words of their own where a Kustomization says them (`remedy/kustomization.rs`).
            let facts = fixture::healthy();
            let facts = Facts::derive(&facts);
            let k = &facts.snapshot.kustomizations.items[1];
            if Remedy::of_kustomization(&facts, k, said).is_none() {
                let found = finding(&CHECK, kustomization("ReconciliationFailed", said));
                assert!(found.message.contains(phrase), "{said}: {}", found.message);
                assert!(found.remedy.text.contains(advice), "{said}: {}", found.remedy.text);
                assert_eq!(found.evidence, [said]);
            }
            let found = finding(&CHECK, release("UpgradeFailed", said));
            assert!(found.message.contains(phrase) && found.message.contains("upgrade failed"), "{}", found.message);
            assert!(found.remedy.text.contains(advice), "{said}: {}", found.remedy.text);
        }
    }

    #[test]
    fn the_root_of_the_agents_project_is_told() {
        let said = "failed to decode Kubernetes YAML from /tmp/k/.gitlab/agents/world/config.yaml: missing metadata.name";
        let found = finding(&CHECK, kustomization("BuildFailed", said));
        assert!(found.message.contains("takes the agent's configuration file for a manifest"), "{}", found.message);
        assert!(found.remedy.text.contains("--manifest-path"), "{}", found.remedy.text);
    }

    #[test]
    fn what_is_waited_for_is_named() {
        let waits = |s: &mut Snapshot| {
            kustomization("DependencyNotReady", "dependency 'flux-system/flux-system' is not ready")(s);
            s.kustomizations.items[1].spec.depends_on =
                vec![CrossRef { name: "flux-system".to_owned(), ..CrossRef::default() }];
        };
        let judgement = after(&CHECK, |s| {
            waits(s);
            s.kustomizations.items[0].status.conditions = fixture::not_ready("BuildFailed", "x");
        });
        assert_eq!(judgement.findings[1].message, "waits for Kustomization flux-system/flux-system, which is not ready");
        assert_eq!(finding(&CHECK, waits).message, "waits for something that is not ready");
        let source = finding(&CHECK, kustomization("ArtifactFailed", "Source artifact not found, retrying in 30s"));
        assert_eq!(
            source.message,
            "waits for GitRepository flux-system/example-nginx-app, which has nothing to apply"
        );
        too_early(&CHECK, |s| {
            waits(s);
            s.kustomizations.items[1].status.conditions[0].last_transition_time = "2026-11-02T09:58:00Z".parse().ok();
        });
    }

    #[test]
    fn ready_on_an_old_artifact_is_found() {
        let found = finding(&CHECK, |s| fetched(s, "2026-11-02T09:50:00Z"));
        assert_eq!(found.message, "is Ready, but at main@11111111 while its source is at main@22222222");
        assert!(found.remedy.lines()[0].contains("kustomization."));
        too_early(&CHECK, |s| fetched(s, "2026-11-02T09:59:00Z"));
        too_early(&CHECK, |s| {
            fetched(s, "2026-11-02T09:50:00Z");
            let conditions = &mut s.kustomizations.items[1].status.conditions;
            conditions.push(Condition {
                kind: "Reconciling".to_owned(),
                status: "True".to_owned(),
                last_transition_time: "2026-11-02T09:57:00Z".parse().ok(),
                ..Condition::default()
            });
        });
        let chart = finding(&CHECK, |s| s.helm_releases.items[0].status.last_attempted_revision = "2.29.0".to_owned());
        assert_eq!(chart.message, "is Ready, but at 2.29.0 while its source is at 2.29.1");
    }

    #[test]
    fn a_failed_release_is_found_and_made_to_try_again() {
        for (reason, message) in [
            ("InstallFailed", "is not installed: Helm's install failed (InstallFailed)"),
            ("UpgradeFailed", "is not upgraded: Helm's upgrade failed (UpgradeFailed)"),
            ("ValuesError", "does not get its values: one cannot be read"),
            ("ArtifactFailed", "is not applied: it cannot get its chart"),
            ("New", "is not applied (New)"),
        ] {
            assert_eq!(finding(&CHECK, release(reason, "x")).message, message);
        }
        let found = finding(&CHECK, |s| {
            release("UpgradeFailed", "timed out waiting for Deployment")(s);
            let stalled = Condition {
                kind: "Stalled".to_owned(),
                status: "True".to_owned(),
                reason: "RetriesExceeded".to_owned(),
                message: "Failed to upgrade after 1 attempt(s)".to_owned(),
                ..Condition::default()
            };
            s.helm_releases.items[0].status.conditions.push(stalled);
        });
        assert_eq!(found.evidence, ["Failed to upgrade after 1 attempt(s)", "timed out waiting for Deployment"]);
        assert_eq!(
            found.remedy.lines(),
            [r#"NOW="$(date +%s)" && kubectl -n gitlab annotate --overwrite helmrelease.helm.toolkit.fluxcd.io/gitlab-agent reconcile.fluxcd.io/requestedAt="$NOW" reconcile.fluxcd.io/resetAt="$NOW""#]
        );
    }

    #[test]
    fn one_that_nobody_finishes_is_found() {
        let found = finding(&CHECK, |s| s.kustomizations.items[1].status.conditions.clear());
        assert_eq!(found.message, "is not applied: kustomize-controller has not finished with it for 1d2h");
        passes(&CHECK, |s| {
            let k = &mut s.kustomizations.items[1];
            k.status.conditions.clear();
            k.metadata.creation_timestamp = "2026-11-02T09:55:00Z".parse().ok();
        });
    }

    #[test]
    fn what_is_suspended_is_another_check() {
        passes(&CHECK, |s| {
            kustomization("BuildFailed", "x")(s);
            s.kustomizations.items[1].spec.suspend = true;
        });
        let none = after(&CHECK, |s| {
            s.kustomizations.items.clear();
            s.helm_releases.items.clear();
        });
        assert_eq!(none.verdict(), Verdict::Skipped);
    }
}

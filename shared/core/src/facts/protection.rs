//! Which role a token needs to set a commit status on a branch, and what roles are called.
//!
//! A commit status makes or changes a pipeline. Beside the role Developer that takes the right to update the pipeline,
//! which GitLab denies on a protected branch to whoever may neither push nor merge to it (`app/policies/ci/
//! pipeline_policy.rb`, `lib/gitlab/user_access.rb`). GitLab protects a new project's default branch for Maintainers.

use std::collections::{BTreeMap, BTreeSet};

pub use crate::snapshot::gitlab::ProtectedBranch;

use super::{Facts, Meta, Provider, Snapshot, Source};
use crate::facts::gitlab::project_of_provider;
use crate::object::ObjectRef;

/// Who may set a commit status at all (GitLab, "Commits API").
pub const DEVELOPER: u32 = 30;
/// The highest role. Levels above it are administrators'.
const OWNER: u32 = 50;

/// Roles by their number (GitLab, "Roles and permissions"; `lib/gitlab/access.rb`).
const ROLES: [(u32, &str); 8] = [
    (5, "Minimal Access"),
    (10, "Guest"),
    (15, "Planner"),
    (20, "Reporter"),
    (25, "Security Manager"),
    (DEVELOPER, "Developer"),
    (40, "Maintainer"),
    (OWNER, "Owner"),
];

/// A role by its number.
pub fn role_name(level: u32) -> String {
    let known = ROLES.iter().find(|(number, _)| *number == level);
    known.map_or_else(|| format!("with access level {level}"), |(_, name)| (*name).to_owned())
}

/// The least role whose tokens may set a commit status on a branch; `None` where no role may.
pub fn least_role(branch: &str, rules: &[ProtectedBranch]) -> Option<u32> {
    let mut matching = rules.iter().filter(|rule| fits(&rule.name, branch)).peekable();
    if matching.peek().is_none() {
        return Some(DEVELOPER);
    }
    // Of several rules for one branch the most permissive counts; 0 is nobody.
    let roles = matching.flat_map(|rule| &rule.roles).copied().filter(|role| (1..=OWNER).contains(role));
    roles.min().map(|role| role.max(DEVELOPER))
}

/// Whether a rule's name, in which a star stands for any text, covers a branch.
fn fits(pattern: &str, branch: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| branch.strip_prefix(first)) else { return false };
    let Some(last) = pattern.rsplit_once('*').map(|(_, last)| last) else { return rest.is_empty() };
    let between: Vec<&str> = parts.collect();
    for part in &between[..between.len() - 1] {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What is known of the role that job statuses need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusRole {
    /// This one does, on each of the branches.
    Least(u32),
    /// No role may push or merge to this branch.
    Nobody(String),
    /// GitLab was not asked, or did not tell.
    Unknown,
}

impl StatusRole {
    /// What a set of branches needs under these rules.
    pub fn of(branches: &BTreeSet<String>, rules: &[ProtectedBranch]) -> Self {
        let mut most = DEVELOPER;
        for branch in branches {
            match least_role(branch, rules) {
                Some(role) => most = most.max(role),
                None => return Self::Nobody(branch.clone()),
            }
        }
        Self::Least(most)
    }

    /// As part of the sentence "a token with scope api and …".
    pub fn words(&self) -> String {
        match self {
            Self::Least(role) if *role > DEVELOPER => {
                format!("role {}, which its protected branch asks for", role_name(*role))
            }
            Self::Least(role) => format!("role {}", role_name(*role)),
            Self::Nobody(branch) => format!(
                "role Developer, after its bot or a role is allowed to push or merge to the protected branch {branch}, to \
                 which no role is now"
            ),
            Self::Unknown => {
                "role Developer (Maintainer where Developers may neither push nor merge to its branch)"
                    .to_owned()
            }
        }
    }
}

impl Source {
    /// The branch that is fetched; none for tags, versions and commits, whose branch only GitLab knows.
    pub fn branch(&self) -> Option<&str> {
        let of = &self.spec.reference;
        let other = [&of.tag, &of.semver, &of.commit, &of.name].into_iter().any(|text| !text.is_empty());
        match of.branch.as_str() {
            "" if other => None,
            // Flux, "GitRepositories": the default.
            "" => Some("master"),
            branch => Some(branch),
        }
    }
}

/// A namespace and a name.
type Key<'s> = (&'s str, &'s str);

/// The branches of each Provider.
pub(super) type Branches = BTreeMap<ObjectRef, BTreeSet<String>>;

/// Goes through sources, Kustomizations and Alerts once each: a cluster has thousands of them.
fn branches_by_provider(s: &Snapshot) -> Branches {
    fn key(meta: &Meta) -> Key<'_> {
        (&meta.namespace, &meta.name)
    }
    let sources = s.git_repositories.items.iter().filter_map(|g| Some((key(&g.metadata), g.branch()?)));
    let sources: BTreeMap<Key<'_>, &str> = sources.collect();
    let mut by_name: BTreeMap<Key<'_>, (&Meta, &str)> = BTreeMap::new();
    let mut of_namespace: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for k in &s.kustomizations.items {
        let of = &k.spec.source_ref;
        let namespace = if of.namespace.is_empty() { &k.metadata.namespace } else { &of.namespace };
        let branch = sources
            .get(&(namespace.as_str(), of.name.as_str()))
            .filter(|_| of.kind == "GitRepository")
            .copied();
        if let Some(branch) = branch {
            by_name.insert(key(&k.metadata), (&k.metadata, branch));
            of_namespace.entry(&k.metadata.namespace).or_default().insert(branch);
        }
    }
    let mut branches = Branches::new();
    for alert in &s.alerts.items {
        let to = ObjectRef::new("Provider", &alert.metadata.namespace, &alert.spec.provider_ref.name);
        let own = branches.entry(to).or_default();
        for source in alert.spec.event_sources.iter().filter(|source| source.kind == "Kustomization") {
            let namespace =
                if source.namespace.is_empty() { &alert.metadata.namespace } else { &source.namespace };
            match (source.name.as_str(), source.match_labels.is_empty()) {
                ("*", true) => own.extend(
                    of_namespace.get(namespace.as_str()).into_iter().flatten().map(|b| (*b).to_owned()),
                ),
                ("*", false) => {
                    let all =
                        by_name.range((namespace.as_str(), "")..).take_while(|((ns, _), _)| ns == namespace);
                    let covered = all.filter(|(_, (meta, _))| alert.covers("Kustomization", meta));
                    own.extend(covered.map(|(_, (_, branch))| (*branch).to_owned()));
                }
                (name, _) => {
                    let named = by_name.get(&(namespace.as_str(), name));
                    let covered = named.filter(|(meta, _)| alert.covers("Kustomization", meta));
                    own.extend(covered.map(|(_, branch)| (*branch).to_owned()));
                }
            }
        }
    }
    branches
}

impl Facts<'_> {
    /// The branches on whose commits a Provider sets statuses: those of the sources of what its Alerts cover.
    pub fn status_branches(&self, provider: &Provider) -> BTreeSet<String> {
        let all = self.status_branches.get_or_init(|| branches_by_provider(self.snapshot));
        all.get(&provider.metadata.object("Provider")).cloned().unwrap_or_default()
    }

    /// The role that a token needs to set statuses on the commits of a source.
    pub fn status_role_of(&self, source: &Source) -> StatusRole {
        let rules = self
            .gitlab_project(source)
            .ok()
            .flatten()
            .and_then(|p| p.protected_branches.as_ref()?.get().ok());
        match rules.zip(source.branch()) {
            Some((rules, branch)) => StatusRole::of(&BTreeSet::from([branch.to_owned()]), rules),
            None => StatusRole::Unknown,
        }
    }

    /// The role that a Provider's token needs.
    pub fn status_role(&self, provider: &Provider) -> StatusRole {
        let rules = || {
            let part = self.gitlab().ok()?;
            let path = project_of_provider(&part.url, provider)?;
            let entry = part.projects.iter().find(|p| p.path == path)?;
            entry.protected_branches.as_ref()?.get().ok()
        };
        let Some(rules) = rules() else { return StatusRole::Unknown };
        let branches = self.status_branches(provider);
        if branches.is_empty() { StatusRole::Unknown } else { StatusRole::of(&branches, rules) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(name: &str, roles: &[u32]) -> ProtectedBranch {
        ProtectedBranch { name: name.to_owned(), roles: roles.to_vec() }
    }

    #[test]
    fn the_least_role_follows_who_may_push_or_merge() {
        for (branch, rules, least) in [
            ("main", vec![], Some(30)),
            ("main", vec![rule("main", &[40, 40])], Some(40)),
            ("main", vec![rule("main", &[40, 30])], Some(30)),
            ("main", vec![rule("main", &[0, 40])], Some(40)),
            ("main", vec![rule("main", &[0, 0])], None),
            ("main", vec![rule("main", &[])], None),
            ("main", vec![rule("main", &[60])], None),
            ("main", vec![rule("main", &[50, 0])], Some(50)),
            ("main", vec![rule("other", &[40])], Some(30)),
            ("release/1.2", vec![rule("release/*", &[40])], Some(40)),
            ("release/1.2", vec![rule("release/*", &[40]), rule("*", &[30])], Some(30)),
            ("main", vec![rule("main", &[0]), rule("ma*", &[40])], Some(40)),
            ("mainline", vec![rule("main", &[40])], Some(30)),
            ("main", vec![rule("main", &[20])], Some(30)),
        ] {
            assert_eq!(least_role(branch, &rules), least, "{branch} {rules:?}");
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, branch, covers) in [
            ("*", "a/b", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acd", false),
            ("*-stable", "9-stable", true),
            ("*/*", "ab", false),
            ("a*b*c", "axbyc", true),
            ("a*b*c", "axcyb", false),
            ("ab*bc", "abc", false),
            ("", "", true),
        ] {
            assert_eq!(fits(pattern, branch), covers, "{pattern} {branch}");
        }
    }

    #[test]
    fn roles_have_names() {
        let names: Vec<String> = [15, 25, 30, 40, 77].into_iter().map(role_name).collect();
        assert_eq!(names, ["Planner", "Security Manager", "Developer", "Maintainer", "with access level 77"]);
    }

    proptest! {
        /// The least role is the first in order that GitLab's own rule lets pass.
        #[test]
        fn the_least_role_is_the_first_that_may(
            rules in prop::collection::vec(("[ab*]{1,3}", prop::collection::vec(prop::sample::select(vec![0_u32, 20, 30, 40, 50, 60]), 0..3)), 0..4),
            branch in "[ab]{1,3}",
        ) {
            let rules: Vec<_> = rules.iter().map(|(name, roles)| rule(name, roles)).collect();
            let own: Vec<_> = rules.iter().filter(|r| slow(r.name.as_bytes(), branch.as_bytes())).collect();
            let may = |role: u32| role >= 30 && (own.is_empty()
                || own.iter().flat_map(|r| &r.roles).any(|level| (1..=50).contains(level) && role >= *level));
            let first = ROLES.iter().map(|(role, _)| *role).find(|role| may(*role));
            prop_assert_eq!(least_role(&branch, &rules), first);
        }
    }

    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|at| slow(rest, &text[at..])),
            [first, rest @ ..] => text.first() == Some(first) && slow(rest, &text[1..]),
        }
    }

    #[test]
    fn a_providers_branches_are_those_of_what_its_alerts_cover() {
        let mut s = crate::fixture::healthy();
        for (at, branch) in [(0, "main"), (1, "release")] {
            s.git_repositories.items[at].spec.reference.branch = branch.to_owned();
            s.kustomizations.items[at].metadata.labels.insert("team".to_owned(), format!("team-{at}"));
        }
        let namespace = s.kustomizations.items[0].metadata.namespace.clone();
        let name = |at: usize| s.kustomizations.items[at].metadata.name.clone();
        let (first, second) = (name(0), name(1));
        let mut of = |sources: &[(&str, &str, &str, Option<&str>)]| {
            let alert = s
                .alerts
                .items
                .iter_mut()
                .find(|a| a.spec.provider_ref.name == s.providers.items[0].metadata.name);
            let alert = alert.expect("its Alert");
            alert.spec.event_sources = sources
                .iter()
                .map(|(kind, ns, name, label)| {
                    let mut source = alert.spec.event_sources[0].clone();
                    (source.kind, source.namespace, source.name) =
                        ((*kind).to_owned(), (*ns).to_owned(), (*name).to_owned());
                    source.match_labels =
                        label.iter().map(|l| ("team".to_owned(), (*l).to_owned())).collect();
                    source
                })
                .collect();
            let facts = Facts::derive(&s);
            facts.status_branches(&s.providers.items[0]).into_iter().collect::<Vec<_>>().join(" ")
        };
        let ns = namespace.as_str();
        for (sources, branches) in [
            (vec![("Kustomization", ns, "*", None)], "main release"),
            (vec![("Kustomization", "", "*", None)], "main release"),
            (vec![("Kustomization", ns, first.as_str(), None)], "main"),
            (vec![("Kustomization", ns, second.as_str(), None)], "release"),
            (
                vec![
                    ("Kustomization", ns, first.as_str(), None),
                    ("Kustomization", ns, second.as_str(), None),
                ],
                "main release",
            ),
            (vec![("Kustomization", ns, "*", Some("team-1"))], "release"),
            (vec![("Kustomization", ns, first.as_str(), Some("team-1"))], ""),
            (vec![("Kustomization", "elsewhere", "*", None)], ""),
            (vec![("HelmRelease", ns, "*", None)], ""),
            (vec![("Kustomization", ns, "none", None)], ""),
        ] {
            assert_eq!(of(&sources), branches, "{sources:?}");
        }
    }

    #[test]
    fn a_providers_role_is_that_of_its_branches() {
        let mut s = crate::fixture::healthy();
        let of = |s: &Snapshot| {
            let facts = Facts::derive(s);
            facts.status_role(&s.providers.items[0])
        };
        assert_eq!(of(&s), StatusRole::Unknown);
        let path = {
            let facts = Facts::derive(&s);
            let branches = facts.status_branches(&s.providers.items[0]);
            assert_eq!(branches.len(), 1, "{branches:?}");
            project_of_provider("https://gitlab.example.com", &s.providers.items[0]).expect("a project")
        };
        let branch = Facts::derive(&s).status_branches(&s.providers.items[0]).pop_first().expect("a branch");
        let mut set = |roles: &[u32]| {
            let rules = vec![rule(&branch, roles)];
            let part = crate::fixture::gitlab_mut(&mut s);
            let entry = part.projects.iter_mut().find(|p| p.path == path).expect("its project");
            entry.protected_branches = Some(crate::snapshot::Observed::Known(rules));
            of(&s)
        };
        assert_eq!(set(&[40]), StatusRole::Least(40));
        assert_eq!(set(&[40, 30]), StatusRole::Least(30));
        assert_eq!(set(&[0]), StatusRole::Nobody(branch.clone()));
    }
}

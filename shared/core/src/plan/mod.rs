//! What `reconcile-now` will do, as a value: the hops from source to workload in the order in which they are asked.
//!
//! [`Plan::derive`] joins facts and what the person named into hops with edges; [`answer`] reads out of one object
//! how its controller answered a request; [`journal`] holds what happened. Nothing here talks to a cluster.

pub mod answer;
mod chain;
pub mod ingress;
pub mod journal;
pub mod pods;
mod revision;
mod selection;
mod selector;

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::Facts;
use crate::object::ObjectRef;
use crate::snapshot::Why;

use chain::Chain;

pub use revision::{is_revision, project_path, same_revision};
pub use selection::{Selection, kind_of};
pub use selector::Selector;

/// One request to make and its answer to wait for.
#[derive(Clone, Debug)]
pub struct Hop {
    /// The object.
    pub object: ObjectRef,
    /// The person named it; others are on the way to it or hang on it.
    pub named: bool,
    /// Hops that come before, by index; always lower than its own.
    pub after: Vec<usize>,
    /// The hop whose revision it has to reach, by index.
    pub source: Option<usize>,
    /// What it depends on and is not in the plan.
    pub outside: Vec<ObjectRef>,
    /// It is suspended now.
    pub suspended: bool,
    /// The revision it holds now.
    pub revision: String,
    /// What it fetches, in words: `branch main`. Empty for what fetches nothing.
    pub fetches: String,
    /// The Deployment of the controller that answers for it.
    pub controller: ObjectRef,
}

/// What will be done.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The hops, in an order that respects their edges.
    pub hops: Vec<Hop>,
    /// What the person should know about it.
    pub notes: Vec<String>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// What was named is not there; the text says what is.
    NotFound(String),
    /// It fits several objects.
    Ambiguous(String),
    /// Objects wait for each other in a circle.
    Circle(Vec<ObjectRef>),
    /// It cannot be known.
    Unknown(Why),
}

impl Plan {
    /// Derives the plan. `namespace` limits what labels and `--all` select; `only` leaves out what was not named.
    ///
    /// # Errors
    /// See [`NoPlan`].
    pub fn derive(
        facts: &Facts<'_>,
        selection: &Selection,
        namespace: Option<&str>,
        only: bool,
    ) -> Result<Self, NoPlan> {
        let mut chain = Chain::new(facts);
        let mut named = chain.named(selection)?;
        if matches!(selection, Selection::Labels(_) | Selection::All) {
            named.retain(|o| namespace.is_none_or(|n| n == o.namespace));
            if named.is_empty() {
                return Err(chain.nothing(selection));
            }
        }
        let mut notes = chain.gaps(selection, only)?;
        if only {
            chain.nodes = named.iter().cloned().map(|o| (o, BTreeSet::new())).collect();
        } else {
            named.iter().for_each(|object| chain.upwards(object));
            chain.downwards(&named);
            if *selection == Selection::Agentk {
                chain.appliers(&named.iter().cloned().collect());
            }
            chain.drop_static(&mut notes);
        }
        let hops = chain.order()?;
        let mut plan = Self { hops: Vec::new(), notes };
        let (named, mut places) = (BTreeSet::from_iter(named), BTreeMap::new());
        for object in hops {
            plan.hops.push(chain.hop(&object, &places, named.contains(&object)));
            places.insert(object, places.len());
        }
        Ok(plan)
    }

    /// The hops that are suspended.
    pub fn suspended(&self) -> Vec<&Hop> {
        self.hops.iter().filter(|h| h.suspended).collect()
    }

    /// The sources of commits and artifacts that `--at` can speak of.
    pub fn fetchers(&self) -> Vec<usize> {
        let fetches =
            |h: &Hop| matches!(h.object.kind.as_str(), "GitRepository" | "OCIRepository" | "Bucket");
        (0..self.hops.len()).filter(|i| fetches(&self.hops[*i])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::snapshot::Snapshot;
    use crate::snapshot::kinds::CrossRef;

    fn plan(snapshot: &Snapshot, selection: &Selection) -> Result<Plan, NoPlan> {
        Plan::derive(&Facts::derive(snapshot), selection, None, false)
    }

    fn names(plan: &Plan) -> Vec<String> {
        plan.hops.iter().map(|h| format!("{}/{}", h.object.kind, h.object.name)).collect()
    }

    fn object(word: &str) -> Selection {
        Selection::parse(word, None).expect("an argument")
    }

    #[test]
    fn without_an_argument_the_chain_is_what_carries_agentk() {
        let snapshot = fixture::healthy();
        let plan = plan(&snapshot, &Selection::Agentk).expect("a plan");
        assert_eq!(
            names(&plan),
            [
                "GitRepository/flux-system",
                "HelmRepository/gitlab-agent",
                "HelmChart/gitlab-gitlab-agent",
                "Kustomization/flux-system",
                "HelmRelease/gitlab-agent"
            ]
        );
        let release = plan.hops.last().expect("hops");
        assert_eq!((release.after.clone(), release.source), (vec![2, 3], Some(2)));
        assert_eq!(
            plan.hops[3].controller,
            ObjectRef::new("Deployment", "flux-system", "kustomize-controller")
        );
    }

    #[test]
    fn a_project_names_its_sources_and_what_hangs_on_them() {
        let snapshot = fixture::healthy();
        let plan = plan(&snapshot, &object("platform/example-nginx-app")).expect("a plan");
        assert_eq!(names(&plan), ["GitRepository/example-nginx-app", "Kustomization/example-nginx-app"]);
        assert!(plan.hops[0].named && !plan.hops[1].named);
        assert_eq!(plan.hops[1].source, Some(0));
        assert_eq!(plan.hops[0].fetches, "branch main");
    }

    #[test]
    fn labels_name_what_carries_them_and_all_names_whatever_is_applied() {
        let mut snapshot = fixture::healthy();
        let everything = plan(&snapshot, &Selection::All).expect("a plan");
        let applied = snapshot.kustomizations.items.len() + snapshot.helm_releases.items.len();
        assert_eq!(everything.hops.iter().filter(|h| h.named).count(), applied);
        let labels = |text: &str| Selection::Labels(Selector::parse(text).expect("a selector"));
        assert!(matches!(plan(&snapshot, &labels("team=a")), Err(NoPlan::NotFound(_))));
        let app = snapshot.kustomizations.items.iter_mut().find(|k| k.metadata.name == "example-nginx-app");
        app.expect("there").metadata.labels.insert("team".to_owned(), "a".to_owned());
        let found = plan(&snapshot, &labels("team=a")).expect("a plan");
        assert_eq!(names(&found), ["GitRepository/example-nginx-app", "Kustomization/example-nginx-app"]);
        assert!(matches!(plan(&snapshot, &labels("team!=a")), Ok(found) if !found.hops.is_empty()));
    }

    #[test]
    fn dependencies_come_before_and_dependants_behind() {
        let mut snapshot = fixture::healthy();
        let ks = &mut snapshot.kustomizations.items;
        let depend = |name: &str| CrossRef { name: name.to_owned(), ..CrossRef::default() };
        let mut middle = ks[0].clone();
        middle.metadata.name = "middle".to_owned();
        middle.spec.depends_on = vec![depend("flux-system"), depend("gone")];
        let mut last = middle.clone();
        last.metadata.name = "last".to_owned();
        last.spec.depends_on = vec![depend("middle")];
        ks.extend([middle, last]);
        let found = plan(&snapshot, &object("ks/middle")).expect("a plan");
        assert_eq!(found.hops.len(), 4 + names(&found).iter().filter(|n| n.contains("example")).count());
        let at = |name: &str| {
            found.hops.iter().position(|h| h.object.name == name && h.object.kind == "Kustomization")
        };
        assert!(at("flux-system") < at("middle") && at("middle") < at("last"), "{:?}", names(&found));
        let middle = &found.hops[at("middle").expect("there")];
        assert_eq!(middle.outside, [ObjectRef::new("Kustomization", "flux-system", "gone")]);
    }

    #[test]
    fn a_circle_is_refused() {
        let mut snapshot = fixture::healthy();
        let ks = &mut snapshot.kustomizations.items;
        let names: Vec<String> = ks.iter().map(|k| k.metadata.name.clone()).collect();
        for (k, other) in ks.iter_mut().zip(names.into_iter().rev()) {
            k.spec.depends_on = vec![CrossRef { name: other, ..CrossRef::default() }];
        }
        assert!(matches!(plan(&snapshot, &Selection::All), Err(NoPlan::Circle(_))));
    }

    #[test]
    fn what_is_suspended_is_known_before_anything_is_asked() {
        let mut snapshot = fixture::healthy();
        snapshot.git_repositories.items.iter_mut().for_each(|s| s.spec.suspend = true);
        let plan = plan(&snapshot, &object("kustomization/flux-system")).expect("a plan");
        assert_eq!(plan.suspended().len(), 1);
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        let snapshot = fixture::healthy();
        let Err(NoPlan::NotFound(text)) = plan(&snapshot, &object("ks/nope")) else { panic!("found") };
        assert!(text.contains("flux-system/example-nginx-app"), "{text}");
        let Err(NoPlan::NotFound(text)) = plan(&snapshot, &object("nobody/nothing")) else { panic!("found") };
        assert!(text.contains("platform/flux-system"), "{text}");
    }
}

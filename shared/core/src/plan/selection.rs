//! What the person named: an object, a project, labels, or nothing.

use super::selector::Selector;

/// What the person named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Nothing: what carries agentk itself.
    Agentk,
    /// A GitLab project by its full path: the sources that fetch it, and what hangs on them.
    Project(String),
    /// One object. Without a namespace it is looked for in all.
    Object {
        /// Kind as Kubernetes spells it.
        kind: &'static str,
        /// Namespace, where given.
        namespace: Option<String>,
        /// Name.
        name: String,
    },
    /// Objects with these labels.
    Labels(Selector),
    /// Everything that Flux applies, with its sources.
    All,
}

/// The kinds that take requests, with the words people use for them.
const WORDS: &[(&str, &[&str])] = &[
    ("GitRepository", &["gitrepository", "gitrepositories", "gitrepo"]),
    ("OCIRepository", &["ocirepository", "ocirepositories", "ocirepo"]),
    ("Bucket", &["bucket", "buckets"]),
    ("HelmRepository", &["helmrepository", "helmrepositories", "helmrepo"]),
    ("HelmChart", &["helmchart", "helmcharts", "hc"]),
    ("Kustomization", &["kustomization", "kustomizations", "ks"]),
    ("HelmRelease", &["helmrelease", "helmreleases", "hr"]),
];

/// The kind that a person means by a word such as `ks` or `kustomizations.kustomize.toolkit.fluxcd.io`.
pub fn kind_of(word: &str) -> Option<&'static str> {
    let lower = word.to_lowercase();
    let (name, group) = lower.split_once('.').unwrap_or((&lower, ""));
    let known = group.is_empty() || group.ends_with("toolkit.fluxcd.io");
    WORDS.iter().find(|(_, words)| known && words.contains(&name)).map(|(kind, _)| *kind)
}

impl Selection {
    /// Reads the argument: `kind/name` where the first part is a kind, else a project's path.
    ///
    /// # Errors
    /// Text that is neither.
    pub fn parse(text: &str, namespace: Option<&str>) -> Result<Self, String> {
        let kinds = || WORDS.iter().map(|(kind, _)| kind.to_lowercase()).collect::<Vec<_>>().join(", ");
        let Some((first, rest)) = text.trim_matches('/').split_once('/') else {
            return Err(format!(
                "'{text}' is neither kind/name (kinds: {}) nor the path of a GitLab project, such as platform/fleet",
                kinds()
            ));
        };
        match kind_of(first) {
            Some(kind) if !rest.contains('/') && !rest.is_empty() => {
                Ok(Self::Object { kind, namespace: namespace.map(str::to_owned), name: rest.to_owned() })
            }
            _ => Ok(Self::Project(text.trim_matches('/').trim_end_matches(".git").to_owned())),
        }
    }
}

/// Sources first, in the order in which they are shown.
pub(super) fn rank(kind: &str) -> usize {
    WORDS.iter().position(|(known, _)| *known == kind).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(word: &str) -> Selection {
        Selection::parse(word, None).expect("an argument")
    }

    #[test]
    fn arguments_are_kinds_or_projects() {
        assert_eq!(object("platform/fleet"), Selection::Project("platform/fleet".to_owned()));
        assert_eq!(object("a/b/c.git"), Selection::Project("a/b/c".to_owned()));
        let hr = object("helmreleases.helm.toolkit.fluxcd.io/x");
        assert_eq!(hr, Selection::Object { kind: "HelmRelease", namespace: None, name: "x".to_owned() });
        assert!(Selection::parse("fleet", None).is_err());
    }
}

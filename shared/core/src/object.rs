//! The name of one object in the cluster, as people and `kubectl` write it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Kind, namespace and name of an object. `namespace` is empty for cluster-scoped kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Kind as Kubernetes spells it, for example `GitRepository`.
    pub kind: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectRef {
    /// Names an object.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The cluster itself: what everything else depends on.
    pub fn cluster() -> Self {
        Self::new("Cluster", "", "")
    }

    /// `gitrepository.source.toolkit.fluxcd.io/name`, as kubectl takes an object in one argument.
    pub fn argument(&self) -> String {
        format!("{}/{}", self.resource(), self.name)
    }

    /// The kind as kubectl takes it. Custom resources whose short kind another API group could also serve have their
    /// group, so that the command works in every cluster.
    pub fn resource(&self) -> String {
        let group = self.group().map(|group| format!(".{group}")).unwrap_or_default();
        format!("{}{group}", self.kind.to_lowercase())
    }

    /// The API group of Flux's kinds.
    pub fn group(&self) -> Option<&'static str> {
        Some(match self.kind.as_str() {
            "GitRepository" | "HelmRepository" | "HelmChart" | "OCIRepository" | "Bucket" => {
                "source.toolkit.fluxcd.io"
            }
            "Kustomization" => "kustomize.toolkit.fluxcd.io",
            "HelmRelease" => "helm.toolkit.fluxcd.io",
            "Receiver" | "Provider" | "Alert" => "notification.toolkit.fluxcd.io",
            _ => return None,
        })
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.namespace.as_str(), self.name.as_str()) {
            ("", "") => f.write_str(&self.kind),
            ("", name) => write!(f, "{} {name}", self.kind),
            (namespace, name) => write!(f, "{} {namespace}/{name}", self.kind),
        }
    }
}

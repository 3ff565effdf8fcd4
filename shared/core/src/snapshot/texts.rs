//! Every text of a snapshot passes the masker: a field cannot be forgotten, because each struct lists its own.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::gitlab::*;
use super::kinds::*;
use super::mask::{Masker, Values};
use super::secret::{Fault, KeyShape, ValueKind};
use super::*;
use crate::object::ObjectRef;

/// No shorter text holds anything that is masked.
const SHORTEST: usize = 4;

/// Something with texts in it.
pub(super) trait Texts {
    /// Gives each text with the name of the field that it stands in.
    fn texts(&mut self, field: &'static str, edit: &mut dyn FnMut(&'static str, &mut String));
}

/// Lists all fields of a struct; one that is left out does not compile.
macro_rules! texts {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl $crate::snapshot::texts::Texts for $name {
            fn texts(&mut self, _: &'static str, _edit: &mut dyn FnMut(&'static str, &mut String)) {
                let Self { $($field),* } = self;
                $($crate::snapshot::texts::Texts::texts($field, stringify!($field), _edit);)*
            }
        }
    )*};
}

pub(super) use texts;

/// What has no text.
macro_rules! no_texts {
    ($($name:ty),*) => {$(
        impl Texts for $name {
            fn texts(&mut self, _: &'static str, _: &mut dyn FnMut(&'static str, &mut String)) {}
        }
    )*};
}

no_texts!(bool, u32, i64, u64, usize, Timestamp, Fault, ValueKind, CredentialKind, WhyKind, RequestField);

impl Texts for String {
    fn texts(&mut self, field: &'static str, edit: &mut dyn FnMut(&'static str, &mut String)) {
        edit(field, self);
    }
}

impl<T: Texts> Texts for Vec<T> {
    fn texts(&mut self, field: &'static str, edit: &mut dyn FnMut(&'static str, &mut String)) {
        self.iter_mut().for_each(|item| item.texts(field, edit));
    }
}

impl<T: Texts> Texts for Option<T> {
    fn texts(&mut self, field: &'static str, edit: &mut dyn FnMut(&'static str, &mut String)) {
        self.iter_mut().for_each(|item| item.texts(field, edit));
    }
}

impl<T: Texts> Texts for Observed<T> {
    fn texts(&mut self, field: &'static str, edit: &mut dyn FnMut(&'static str, &mut String)) {
        match self {
            Self::Known(known) => known.texts(field, edit),
            Self::Unknown(why) => why.texts(field, edit),
        }
    }
}

impl<T: Texts> Texts for Listing<T> {
    fn texts(&mut self, _: &'static str, edit: &mut dyn FnMut(&'static str, &mut String)) {
        let Self { items, gaps, namespaces, in_order: _ } = self;
        items.texts("items", edit);
        gaps.texts("gaps", edit);
        namespaces.texts("namespace", edit);
    }
}

/// Labels and annotations whose value is the name of an object, by which objects find each other.
const NAMES: &[&str] = &[
    "helm.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/namespace",
    "kubernetes.io/metadata.name",
    "kubernetes.io/service-name",
    "kustomize.toolkit.fluxcd.io/name",
    "kustomize.toolkit.fluxcd.io/namespace",
    "meta.helm.sh/release-name",
    "meta.helm.sh/release-namespace",
];

impl<T: Texts> Texts for BTreeMap<String, T> {
    fn texts(&mut self, field: &'static str, edit: &mut dyn FnMut(&'static str, &mut String)) {
        *self = std::mem::take(self)
            .into_iter()
            .map(|(mut key, mut value)| {
                value.texts(if NAMES.contains(&key.as_str()) { "name" } else { field }, edit);
                key.texts("key", edit);
                (key, value)
            })
            .collect();
    }
}

impl Texts for Url {
    fn texts(&mut self, field: &'static str, edit: &mut dyn FnMut(&'static str, &mut String)) {
        edit(field, &mut self.0);
    }
}

impl Texts for WebhookPath {
    fn texts(&mut self, field: &'static str, edit: &mut dyn FnMut(&'static str, &mut String)) {
        edit(field, &mut self.0);
    }
}

impl Texts for Args {
    fn texts(&mut self, field: &'static str, edit: &mut dyn FnMut(&'static str, &mut String)) {
        self.0.texts(field, edit);
    }
}

impl Texts for Annotations {
    fn texts(&mut self, field: &'static str, edit: &mut dyn FnMut(&'static str, &mut String)) {
        self.0.texts(field, edit);
    }
}

impl Texts for PortRef {
    fn texts(&mut self, field: &'static str, edit: &mut dyn FnMut(&'static str, &mut String)) {
        match self {
            Self::Number(_) => {}
            Self::Name(name) => edit(field, name),
        }
    }
}

texts! {
    ObjectRef { kind, namespace, name }
    Origin { context, server }
    Why { kind, asked, message, permission }
    Permission { verb, group, resource, namespace }
    Trial { permission, allowed }
    ReferencedEntry { group, kind, namespace, name, state }
    SecretEntry { namespace, name, shape }
    SecretShape { metadata, kind, immutable, keys }
    KeyShape { bytes, fingerprint, kind, faults, changed_at }
    Review { namespace, service_account, permission, allowed }
    Tools { kubectl, flux }
    ChartIndex { namespace, name, versions }
    ChartVersion { version, app_version }
    ServerVersion { git_version }
    ApiGroup { name, versions }
    AgentValues { kas_address, secret_name, inline_token, image_tag }
    ProviderSpec { kind, address, secret_ref, suspend }
    GitLabPart { url, metadata, token, agents, projects, groups, held }
    GroupEntry { path, deploy_tokens }
    HeldToken { fingerprint, token }
    TokenRecord { id, name, scopes, user, created_at, expires_at }
    Metadata { version, kas_enabled, kas_url, kas_version }
    OwnToken { scopes, expires_at, refused_as_legacy }
    AgentEntry { deployment, agent }
    AgentRecord { id, name, project, config, tokens, connections }
    AgentConfig { exists, error, keys }
    AgentToken { id, name, created_at, last_used_at }
    AgentConnection { connected_at, version, pod_namespace, pod_name, warnings }
    ProjectEntry { path, project, credentials, protected_branches }
    ProtectedBranch { name, roles }
    ProjectRecord { id, visibility }
    Credential { kind, id, name, user, scopes, created_at, expires_at, last_used_at, dead, held_by }
    Snapshot {
        format, tool, taken_at, origin, namespaces, flux_namespace, server, groups, crds, git_repositories, oci_repositories,
        buckets, helm_repositories, helm_charts, kustomizations, helm_releases, receivers, providers, alerts,
        dispatch_failures, deployments, stateful_sets, daemon_sets, pods, leases, services, endpoint_slices, chart_indexes,
        network_policies, warnings, referenced, namespace_objects, reviews, tools, secrets, secrets_in_order, logs, last_words, access, gitlab,
    }
}

/// A credential may go over several lines of a log, so they are masked as one text.
impl Texts for PodLog {
    fn texts(&mut self, _: &'static str, edit: &mut dyn FnMut(&'static str, &mut String)) {
        let Self { namespace, pod, container, lines } = self;
        namespace.texts("namespace", edit);
        pod.texts("name", edit);
        container.texts("name", edit);
        match lines {
            Observed::Unknown(why) => why.texts("lines", edit),
            Observed::Known(lines) => {
                let before = lines.join("\n");
                let mut text = before.clone();
                edit("lines", &mut text);
                if text != before {
                    *lines = text.lines().map(str::to_owned).collect();
                }
            }
        }
    }
}

/// Fields that name an object. What is the name of an object stays, though it may also be the value of a Secret:
/// objects find each other by their names. Numbers and fingerprints made by machines stay too.
const NAMING: &[&str] = &[
    "api_version",
    "context",
    "fingerprint",
    "flux_namespace",
    "group",
    "helm_chart",
    "holder_identity",
    "id",
    "kind",
    "name",
    "namespace",
    "namespaces",
    "node_name",
    "path",
    "pod_name",
    "pod_namespace",
    "project",
    "release_name",
    "resource",
    "resource_version",
    "secret_name",
    "service_account",
    "service_account_name",
    "target_namespace",
    "uid",
    "user",
    "verb",
];

/// Whether a text has the form of an object's name, and stands where one does.
fn is_name(field: &str, text: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._/:+".contains(c);
    let kind = |c: char| c.is_ascii_alphabetic();
    NAMING.contains(&field)
        && (text.chars().all(letter)
            || (matches!(field, "kind" | "id") && text.chars().all(|c| letter(c) || kind(c))))
}

impl Snapshot {
    /// Masks every text with what is known to be secret and with what looks like a credential. Names of objects are
    /// masked only where they look like one.
    pub fn mask(&mut self, masker: &Masker) {
        let signs = Masker::new(&Values::default());
        // Many objects say the same: each text is looked at once.
        let mut seen: HashMap<String, [Option<Option<String>>; 2]> = HashMap::new();
        self.texts("", &mut |field, text| {
            if text.len() < SHORTEST {
                return;
            }
            let name = is_name(field, text);
            if !seen.contains_key(text.as_str()) {
                seen.insert(text.clone(), [None, None]);
            }
            let Some(kinds) = seen.get_mut(text.as_str()) else { return };
            let masked = kinds[usize::from(name)]
                .get_or_insert_with(|| if name { signs.masked(text) } else { masker.masked(text) });
            if let Some(masked) = masked {
                text.clone_from(masked);
            }
        });
    }
}

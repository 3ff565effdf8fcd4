//! Where credentials lie: which objects read which Secret, which of its keys, and what the shape of the value tells.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Row};
use crate::facts::notification::token;
use crate::facts::token_use::Purpose;
use crate::facts::{Facts, KeyShape, SecretShape, ValueKind};
use crate::object::ObjectRef;

/// One object that reads one Secret.
pub(super) struct Use<'s> {
    pub(super) purpose: Purpose,
    pub(super) by: ObjectRef,
    pub(super) secret: ObjectRef,
    /// Where it is sent; empty for agentk.
    pub(super) url: &'s str,
}

const DOCKER: &str = ".dockerconfigjson";

/// Everything that reads a credential of Git, charts, images, agentk or notifications to GitLab.
pub(super) fn uses<'s>(facts: &Facts<'s>) -> Vec<Use<'s>> {
    let s = facts.snapshot;
    let agents = facts.agents.iter().filter_map(|agent| {
        let secret = agent.secret_object()?;
        Some(Use { purpose: Purpose::Agent, by: agent.object(), secret, url: "" })
    });
    let kinds = ["GitRepository", "HelmRepository", "OCIRepository"];
    let listed = facts.source_kinds().into_iter().filter(|(kind, _)| kinds.contains(kind));
    let sources = listed.flat_map(|(kind, listing)| listing.items.iter().map(move |source| (kind, source)));
    let sources = sources.filter_map(|(kind, source)| {
        let named = source.spec.secret_ref.as_ref()?;
        let secret = ObjectRef::new("Secret", &source.metadata.namespace, &named.name);
        let (by, url) = (source.metadata.object(kind), source.spec.url.as_str());
        Some(Use { purpose: Purpose::Source, by, secret, url })
    });
    let providers = s.providers.items.iter().filter(|provider| provider.writes_to_gitlab());
    let providers = providers.filter_map(|provider| {
        let (by, secret) = (provider.metadata.object("Provider"), provider.secret()?);
        Some(Use { purpose: Purpose::Notification, by, secret, url: provider.spec.address.as_str() })
    });
    let all = agents.chain(sources).chain(providers);
    all.filter(|used| !used.secret.name.is_empty()).collect()
}

impl Use<'_> {
    /// The keys that it reads, the one that is secret first; empty where that is missing, none where the Secret is only
    /// about whom to trust.
    pub(super) fn keys(&self, shape: &SecretShape) -> Option<Vec<String>> {
        let has = |key: &str| shape.keys.contains_key(key);
        let of = |keys: &[&str]| {
            let main = keys.first().filter(|key| has(key));
            let rest = keys.iter().skip(1).filter(|key| has(key));
            Some(main.map(|main| [main].into_iter().chain(rest).map(|key| (*key).to_owned()).collect()))
        };
        let found = match self.purpose {
            Purpose::Agent | Purpose::Receiver => of(&["token"]),
            Purpose::Notification => of(&[token(shape).map_or("token", |(key, _)| key)]),
            Purpose::Source if self.url.starts_with("ssh://") => {
                of(&["identity", "identity.pub", "known_hosts", "password"])
            }
            Purpose::Source if has(DOCKER) => of(&[DOCKER]),
            Purpose::Source if has("githubAppID") => of(&["githubAppPrivateKey", "githubAppID"]),
            Purpose::Source if has("bearerToken") => of(&["bearerToken"]),
            Purpose::Source if has("password") => of(&["password", "username"]),
            Purpose::Source if has("tls.key") => of(&["tls.key", "tls.crt"]),
            Purpose::Source if has("keyFile") => of(&["keyFile", "certFile"]),
            Purpose::Source if has("ca.crt") || has("caFile") => None,
            Purpose::Source => of(&["password", "username"]),
        };
        found.map(Option::unwrap_or_default)
    }

    /// What is looked for, for whom it is missing.
    pub(super) fn wanted_keys(&self) -> &'static str {
        match self.purpose {
            Purpose::Source if self.url.starts_with("ssh://") => "`identity`",
            Purpose::Source => "`password`",
            _ => "`token`",
        }
    }
}

/// What the keys and the shape of the value tell.
pub(super) fn kind(purpose: Purpose, shape: &SecretShape, keys: &[String]) -> Kind {
    let Some((main, value)) = keys.first().and_then(|key| Some((key.as_str(), shape.keys.get(key)?))) else {
        return Kind::Nothing;
    };
    match value.kind {
        ValueKind::Empty | ValueKind::Placeholder => return Kind::Nothing,
        ValueKind::AgentToken => return Kind::AgentToken,
        ValueKind::AccessToken => return Kind::AccessToken,
        ValueKind::DeployToken => return Kind::DeployToken,
        ValueKind::OtherGitLabToken => return Kind::OtherGitLabToken,
        _ => {}
    }
    let user = shape.keys.get("username").map(|user| user.kind);
    match main {
        "identity" => Kind::SshKey,
        DOCKER => Kind::RegistryLogin,
        "githubAppPrivateKey" => Kind::GitHubApp,
        "tls.key" | "keyFile" => Kind::ClientCertificate,
        "bearerToken" => Kind::BearerToken,
        // Deploy tokens of old have no prefix, and their users have the name that GitLab gives them.
        "password" if user == Some(ValueKind::DeployTokenUser) => Kind::DeployToken,
        "password" => Kind::BasicAuth,
        // Tokens of old have no prefix.
        _ if purpose == Purpose::Agent => Kind::AgentToken,
        _ => Kind::AccessToken,
    }
}

/// What is known of the value of a row's secret key.
pub(super) fn value<'s>(facts: &Facts<'s>, row: &Row) -> Option<&'s KeyShape> {
    let shape = facts.secret(&row.secret.namespace, &row.secret.name).ok().flatten()?;
    shape.keys.get(row.keys.first()?)
}

/// Shorter values are no tokens; that two of them are equal says nothing.
const SHORTEST: usize = 8;

/// Which Secrets hold which value, by fingerprint.
pub(super) type Values<'s> = BTreeMap<&'s str, BTreeSet<ObjectRef>>;

/// All values that were observed.
pub(super) fn values<'s>(facts: &Facts<'s>) -> Values<'s> {
    let mut found = Values::new();
    for entry in &facts.snapshot.secrets {
        let Some(shape) = entry.shape.get().ok().and_then(|shape| shape.as_ref()) else { continue };
        for key in shape.keys.values() {
            let object = ObjectRef::new("Secret", &entry.namespace, &entry.name);
            found.entry(key.fingerprint.as_str()).or_default().insert(object);
        }
    }
    found
}

/// Other Secrets that hold the value of a row's secret key.
pub(super) fn same_value(facts: &Facts<'_>, values: &Values<'_>, row: &Row) -> Vec<ObjectRef> {
    let Some(own) = value(facts, row).filter(|value| value.bytes >= SHORTEST && row.kind != Kind::Nothing)
    else {
        return Vec::new();
    };
    let same = values.get(own.fingerprint.as_str());
    same.into_iter().flatten().filter(|object| **object != row.secret).cloned().collect()
}

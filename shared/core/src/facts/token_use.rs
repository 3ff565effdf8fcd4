//! What each token that was seen is used for. Equal values are known by their fingerprint alone.

use std::fmt;

use super::notification::token;
use super::{Facts, KeyShape, SecretShape, ValueKind, Why};
use crate::object::ObjectRef;

/// Purposes that deserve a token each: they need different powers, and one that leaks must not open the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// agentk connects to GitLab with it.
    Agent,
    /// Flux fetches with it.
    Source,
    /// Flux writes job statuses with it.
    Notification,
    /// A webhook is checked with it.
    Receiver,
}

impl Purpose {
    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Source => "source",
            Self::Notification => "notification",
            Self::Receiver => "receiver",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agentk's connection",
            Self::Source => "fetching",
            Self::Notification => "job statuses",
            Self::Receiver => "checking webhooks",
        })
    }
}

/// One place where a token is used.
pub struct TokenUse<'s> {
    /// What for.
    pub purpose: Purpose,
    /// By which object.
    pub by: ObjectRef,
    /// The Secret that holds it.
    pub secret: ObjectRef,
    /// What is known of it.
    pub shape: &'s KeyShape,
}

/// An object with the Secret that holds its credential, whether that can be read or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHolder {
    /// What for.
    pub purpose: Purpose,
    /// The object.
    pub by: ObjectRef,
    /// The Secret.
    pub secret: ObjectRef,
}

/// Shorter values are no tokens; that two of them are equal says nothing.
const SHORTEST: usize = 8;

impl<'s> Facts<'s> {
    /// Every use of a token that was seen, and what could not be seen of them.
    pub fn token_uses(&self) -> (Vec<TokenUse<'s>>, Vec<Why>) {
        let mut found = Vec::new();
        let mut gaps = Vec::new();
        for TokenHolder { purpose, by, secret } in self.token_holders() {
            match self.secret(&secret.namespace, &secret.name) {
                Ok(Some(shape)) => {
                    found.extend(keys(purpose, &by, shape).into_iter().map(|shape| TokenUse {
                        purpose,
                        by: by.clone(),
                        secret: secret.clone(),
                        shape,
                    }))
                }
                Ok(None) => {}
                Err(why) => gaps.push(why),
            }
        }
        (found, gaps)
    }

    /// Every object with the Secret that holds its credential.
    pub fn token_holders(&self) -> Vec<TokenHolder> {
        let s = self.snapshot;
        let agents =
            self.agents.iter().filter_map(|a| Some((Purpose::Agent, a.object(), a.secret_object()?)));
        let sources = self.source_kinds().into_iter().flat_map(|(kind, listing)| {
            listing.items.iter().filter_map(move |source| {
                let secret = source.spec.secret_ref.as_ref()?;
                let by = source.metadata.object(kind);
                Some((
                    Purpose::Source,
                    by,
                    ObjectRef::new("Secret", &source.metadata.namespace, &secret.name),
                ))
            })
        });
        let providers = s.providers.items.iter().filter(|p| p.writes_to_gitlab());
        let notifications = providers
            .filter_map(|p| Some((Purpose::Notification, p.metadata.object("Provider"), p.secret()?)));
        let receivers = s.receivers.items.iter().map(|r| {
            let secret = ObjectRef::new("Secret", &r.metadata.namespace, &r.spec.secret_ref.name);
            (Purpose::Receiver, r.metadata.object("Receiver"), secret)
        });
        let all = agents.chain(sources).chain(notifications).chain(receivers);
        all.filter(|(_, _, secret)| !secret.name.is_empty())
            .map(|(purpose, by, secret)| TokenHolder { purpose, by, secret })
            .collect()
    }
}

/// The keys of a Secret that hold what the object uses.
fn keys<'s>(purpose: Purpose, by: &ObjectRef, secret: &'s SecretShape) -> Vec<&'s KeyShape> {
    let of = |names: &[&str]| names.iter().filter_map(|name| secret.keys.get(*name)).collect::<Vec<_>>();
    let found = match (purpose, by.kind.as_str()) {
        (Purpose::Source, "Bucket") => of(&["secretkey"]),
        (Purpose::Source, _) => of(&["password", "bearerToken"]),
        (Purpose::Notification, _) => token(secret).map(|(_, shape)| shape).into_iter().collect(),
        (Purpose::Agent | Purpose::Receiver, _) => of(&["token"]),
    };
    let is_token = |shape: &&KeyShape| {
        shape.bytes >= SHORTEST && !matches!(shape.kind, ValueKind::Empty | ValueKind::Placeholder)
    };
    found.into_iter().filter(is_token).collect()
}

//! Reading a Secret: its shape goes into the snapshot, its values stay here until the run ends, only to be masked
//! wherever else they turn up.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_agent_core::need::Need;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::snapshot::mask::{Masker, Values};
use gitlab_agent_core::snapshot::secret::ValueKind;
use gitlab_agent_core::snapshot::{Observed, SecretEntry, SecretShape, Trial, Why, WhyKind};
use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;

use super::list::JSON;
use super::permission;
use crate::access::{Answer, ReadClient, segment};
use crate::gitlab::GitLab;
use crate::ssh::public_half;

/// Knows the values that were read, and the salt of this snapshot's fingerprints; without one no Secret is read.
pub(super) struct Door {
    salt: Option<Vec<u8>>,
    values: RefCell<Values>,
    /// What is public of a credential, to find it among those that GitLab lists.
    public: RefCell<Vec<(ObjectRef, Public)>>,
    /// Access tokens of GitLab by fingerprint, for the list of credentials.
    tokens: RefCell<BTreeMap<String, SecretString>>,
}

/// The part of a credential that is no secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Public {
    /// A user name.
    User(String),
    /// A public key: its type and its base64, without comment.
    Key(String),
}

impl Public {
    /// The public key in a line as OpenSSH writes it.
    pub(super) fn key(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Self::Key(format!("{} {}", words.next()?, words.next()?)))
    }
}

impl Door {
    /// A door that already knows the values with which the run itself signs in.
    pub(super) fn new(own: Values) -> Self {
        let mut salt = [0; 32];
        let salt = getrandom::fill(&mut salt).is_ok().then(|| salt.to_vec());
        Self { salt, values: RefCell::new(own), public: RefCell::default(), tokens: RefCell::default() }
    }

    fn remember(&self, shape: &SecretShape, values: &[Vec<u8>]) {
        let mut known = self.values.borrow_mut();
        shape.keys.keys().zip(values).for_each(|(key, value)| known.add(key, value));
    }

    /// Keeps what is public of a Secret for Git.
    fn note(&self, secret: &ObjectRef, shape: &SecretShape, values: &[Vec<u8>]) {
        for ((key, value_shape), value) in shape.keys.iter().zip(values) {
            let text = String::from_utf8_lossy(value);
            let public = match key.as_str() {
                "username" => vec![Public::User(text.trim().to_owned())],
                "identity.pub" => Public::key(&text).into_iter().collect(),
                "identity" => public_half(&text).map(Public::Key).into_iter().collect(),
                ".dockerconfigjson" => registry_users(value),
                _ => Vec::new(),
            };
            self.public.borrow_mut().extend(public.into_iter().map(|public| (secret.clone(), public)));
            if value_shape.kind == ValueKind::AccessToken {
                let value = SecretString::from(text.trim());
                self.tokens.borrow_mut().insert(value_shape.fingerprint.clone(), value);
            }
        }
    }

    /// Access tokens of GitLab that were read, by the fingerprint of the value.
    pub(super) fn access_tokens(&self) -> BTreeMap<String, SecretString> {
        self.tokens.borrow().clone()
    }

    /// The Secrets that hold the credential with this public part.
    pub(super) fn holders(&self, of: &Public) -> Vec<ObjectRef> {
        self.public
            .borrow()
            .iter()
            .filter(|(_, public)| public == of)
            .map(|(secret, _)| secret.clone())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Masks the person's own token too: what has no prefix of GitLab looks like nothing.
    pub(super) fn know(&self, gitlab: &GitLab) {
        gitlab.tell_token(&mut self.values.borrow_mut());
    }

    /// Masks every value that was read.
    pub(super) fn masker(&self) -> Masker {
        Masker::new(&self.values.borrow())
    }
}

/// The user names of a registry login, each with its host's password beside it or both in one text.
fn registry_users(config: &[u8]) -> Vec<Public> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        auths: BTreeMap<String, Login>,
    }
    #[derive(Deserialize)]
    struct Login {
        #[serde(default)]
        username: String,
        #[serde(default)]
        auth: String,
    }
    let Ok(config) = serde_json::from_slice::<Config>(config) else { return Vec::new() };
    let user = |login: Login| {
        let both = STANDARD.decode(login.auth).ok().and_then(|both| String::from_utf8(both).ok());
        let of_both = both.and_then(|both| Some(both.split_once(':')?.0.to_owned()));
        Some(login.username).filter(|user| !user.is_empty()).or(of_both).map(Public::User)
    };
    config.auths.into_values().filter_map(user).collect()
}

/// Reads one Secret.
pub(super) async fn read_secret(
    client: &ReadClient,
    door: &Door,
    namespace: String,
    name: String,
) -> (SecretEntry, Option<Trial>) {
    let asked = format!("get secret {namespace}/{name}");
    let needed = permission(Need::Secrets.row(), Some(&namespace));
    let Some(salt) = &door.salt else {
        let text = "this machine gives no random numbers, and a fingerprint without them could be guessed";
        let shape = Observed::Unknown(Why::new(WhyKind::Unreadable, asked, text));
        return (SecretEntry { namespace, name, shape }, None);
    };
    let path = format!("/api/v1/namespaces/{}/secrets/{}", segment(&namespace), segment(&name));
    let (shape, allowed) = match client.get(&path, JSON, &asked).await {
        Ok(answer) if answer.status == StatusCode::NOT_FOUND => (Observed::Known(None), Some(true)),
        Ok(answer) => match shape(&answer, &asked, &namespace, &name, salt) {
            Ok((shape, values)) => {
                door.note(&ObjectRef::new("Secret", &namespace, &name), &shape, &values);
                door.remember(&shape, &values);
                (Observed::Known(Some(shape)), Some(true))
            }
            Err(why) => (Observed::Unknown(why), Some(true)),
        },
        Err(mut why) => {
            let denied = why.kind == WhyKind::Forbidden;
            if denied {
                why.permission = Some(needed.clone());
            }
            (Observed::Unknown(why), denied.then_some(false))
        }
    };
    let trial = allowed.map(|allowed| Trial { permission: needed, allowed });
    (SecretEntry { namespace, name, shape }, trial)
}

fn shape(
    answer: &Answer,
    asked: &str,
    namespace: &str,
    name: &str,
    salt: &[u8],
) -> Result<(SecretShape, Vec<Vec<u8>>), Why> {
    answer.expect_object(asked, &ObjectRef::new("Secret", namespace, name))?;
    SecretShape::read(&answer.body, salt).map_err(|at| Why::new(WhyKind::Unreadable, asked, at))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_credential_is_found_by_what_is_public_of_it() {
        let door = Door::new(Values::default());
        let json = br#"{"metadata": {"name": "s", "namespace": "n"}, "data": {"identity.pub": "c3NoLWVkMjU1MTkgQUFBQSBmbHV4QGhvc3QK",
            "password": "cDRzc3cwcmQ=", "username": "Z2l0bGFiK2RlcGxveS10b2tlbi0x"}}"#;
        let (shape, values) =
            SecretShape::read(json, door.salt.as_deref().expect("random numbers")).expect("a Secret");
        let secret = ObjectRef::new("Secret", "n", "s");
        door.note(&secret, &shape, &values);
        let user = Public::User("gitlab+deploy-token-1".to_owned());
        let key = Public::key("ssh-ed25519 AAAA another comment").expect("a key");
        for public in [user, key] {
            assert_eq!(door.holders(&public), std::slice::from_ref(&secret), "{public:?}");
        }
        assert!(door.holders(&Public::User("p4ssw0rd".to_owned())).is_empty());
    }

    #[test]
    fn users_of_a_registry_login_are_public_and_access_tokens_are_kept_by_fingerprint() {
        let door = Door::new(Values::default());
        let config = json!({"auths": {
            "registry.example.com": {"auth": STANDARD.encode("gitlab+deploy-token-1:s3cr3ts3cr3t")},
            "other.example.com": {"username": "gitlab+deploy-token-2", "password": "s3cr3ts3cr3t"}}});
        let token = format!("glpat-{}", "x".repeat(20));
        let data = json!({".dockerconfigjson": STANDARD.encode(config.to_string()), "token": STANDARD.encode(&token),
            "other": STANDARD.encode("s3cr3ts3cr3t")});
        let json = json!({"metadata": {"name": "s", "namespace": "n"}, "data": data}).to_string();
        let (shape, values) =
            SecretShape::read(json.as_bytes(), door.salt.as_deref().expect("random numbers"))
                .expect("a Secret");
        let secret = ObjectRef::new("Secret", "n", "s");
        door.note(&secret, &shape, &values);
        for number in [1, 2] {
            let user = Public::User(format!("gitlab+deploy-token-{number}"));
            assert_eq!(door.holders(&user), std::slice::from_ref(&secret));
        }
        let kept: Vec<_> = door.access_tokens().into_keys().collect();
        assert_eq!(kept, [shape.keys["token"].fingerprint.clone()]);
        assert!(registry_users(b"no JSON").is_empty());
    }

    #[test]
    fn salts_differ() {
        let salt = Door::new(Values::default()).salt;
        assert!(salt.as_ref().is_some_and(|salt| salt.len() == 32));
        assert_ne!(salt, Door::new(Values::default()).salt);
    }
}

//! The forms in which a Secret holds a credential, by what reads it: which keys they are, and what a new credential
//! makes of them. Source: Flux, "GitRepository", "OCIRepository" and "HelmRepository" (Secret reference), "Provider".

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_agent_core::rotate::holders::Mark;
use secrecy::zeroize::{Zeroize as _, Zeroizing};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde_json::Value;

use super::secret::{Content, Read};
use crate::ssh;

/// The key of an image registry's credentials (`kubernetes.io/dockerconfigjson`).
const DOCKER: &str = ".dockerconfigjson";

/// How a Secret holds its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One key with the token.
    Token(&'static str),
    /// User name and password.
    Basic,
    /// A pair of SSH keys; `known_hosts` stays as it is.
    Ssh,
    /// Image registries, each with user name and password.
    Docker,
}

/// A new credential, as GitLab or this machine made it.
pub(super) struct New {
    /// Number in GitLab.
    pub(super) id: u64,
    /// The user name that goes with it, where it has one.
    pub(super) user: Option<String>,
    /// Token, password or private key.
    pub(super) secret: SecretString,
    /// The public half of a pair of keys.
    pub(super) public: Option<String>,
}

impl Form {
    /// The form of a source's Secret.
    ///
    /// # Errors
    /// None of those that can be made anew; in words.
    pub(super) fn of_source(keys: &dyn Fn(&str) -> bool, ssh: bool) -> Result<Self, String> {
        match () {
            () if ssh && keys("identity") => Ok(Self::Ssh),
            () if keys(DOCKER) => Ok(Self::Docker),
            () if keys("password") && !ssh => Ok(Self::Basic),
            () if keys("bearerToken") => {
                Err("it holds a bearerToken, which GitLab's tokens are not made for: use \
                                              username and password"
                    .to_owned())
            }
            () if keys("githubAppID") => Err("it holds a GitHub App: nothing of GitLab".to_owned()),
            () => {
                Err("it holds neither username and password, nor an SSH identity, nor registry credentials"
                    .to_owned())
            }
        }
    }

    /// The keys that are written and compared.
    pub(super) fn keys(self) -> Vec<&'static str> {
        match self {
            Self::Token(key) => vec![key],
            Self::Basic => vec!["password", "username"],
            Self::Ssh => vec!["identity", "identity.pub", "password"],
            Self::Docker => vec![DOCKER],
        }
    }

    /// The user name that the Secret holds now.
    pub(super) fn user(self, read: &Read) -> Option<String> {
        match self {
            Self::Basic => text(read, "username"),
            Self::Docker => docker(read).ok()?.into_iter().find_map(|(user, _)| user),
            Self::Token(_) | Self::Ssh => None,
        }
    }

    /// The token that the Secret holds now.
    pub(super) fn token(self, read: &Read) -> Option<SecretString> {
        match self {
            Self::Token(key) => text(read, key).map(SecretString::from),
            Self::Basic => text(read, "password").map(SecretString::from),
            Self::Docker => docker(read).ok()?.into_iter().find_map(|(_, token)| token),
            Self::Ssh => None,
        }
    }

    /// The public key that the Secret holds now, without its comment: `ssh-ed25519 AAAA…`. It is taken from the private one:
    /// `identity.pub` is only written for people, and proves nothing of what is revoked.
    pub(super) fn public_key(self, read: &Read) -> Option<String> {
        let private = text(read, "identity").map(Zeroizing::new);
        let line = private.and_then(|pem| ssh::public_half(&pem))?;
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?))
    }

    /// The credential that the Secret holds, as it is recognized elsewhere.
    pub(super) fn mark(self, salt: &str, read: &Read) -> Option<Mark> {
        if self != Self::Ssh {
            return self.token(read).map(|token| Mark::of(salt, token.expose_secret().as_bytes()));
        }
        let pem = text(read, "identity").map(Zeroizing::new)?;
        Some(match ssh::public_half(&pem) {
            Some(public) => Mark::of_key(salt, &public),
            None => Mark::of(salt, pem.as_bytes()),
        })
    }

    /// What the Secret is to hold with a new credential.
    pub(super) fn fill(self, new: &New, read: &Read) -> Result<Content> {
        let bytes = |text: &str| Some(SecretSlice::from(text.as_bytes().to_vec()));
        let secret = new.secret.expose_secret();
        Ok(match self {
            Self::Token(key) => Content::from([(key, bytes(secret))]),
            Self::Basic => {
                // An access token works with any user name; the one that is there may mean something to somebody.
                let user = new.user.clone().or_else(|| self.user(read)).filter(|u| !u.is_empty());
                let user = user.unwrap_or_else(|| "git".to_owned());
                Content::from([("username", bytes(&user)), ("password", bytes(secret))])
            }
            Self::Ssh => Content::from([
                ("identity", bytes(secret)),
                ("identity.pub", bytes(new.public.as_deref().unwrap_or_default())),
                ("password", None),
            ]),
            Self::Docker => Content::from([(DOCKER, Some(SecretSlice::from(refilled(new, read)?)))]),
        })
    }
}

fn text(read: &Read, key: &str) -> Option<String> {
    let value = read.values.get(key)?.as_ref()?;
    Some(String::from_utf8_lossy(value.expose_secret()).trim().to_owned())
}

fn registries(read: &Read) -> Result<Value> {
    let file = read.values.get(DOCKER).and_then(Option::as_ref).context("no registry credentials")?;
    serde_json::from_slice(file.expose_secret()).ok().context("the registry credentials are no JSON")
}

/// User name and token of an entry, of which either form may be there: `auth`, or `username` and `password`.
fn entry(entry: &Value) -> (Option<String>, Option<SecretString>) {
    let get = |name: &str| entry[name].as_str().map(str::to_owned);
    let auth = get("auth").and_then(|auth| STANDARD.decode(auth).ok());
    let auth = auth.and_then(|auth| String::from_utf8(auth).ok());
    let pair = auth.as_deref().and_then(|auth| auth.split_once(':'));
    let user = get("username").or_else(|| pair.map(|(user, _)| user.to_owned()));
    let token = get("password").or_else(|| pair.map(|(_, token)| token.to_owned()));
    (user, token.map(SecretString::from))
}

fn docker(read: &Read) -> Result<Vec<(Option<String>, Option<SecretString>)>> {
    let file = registries(read)?;
    Ok(file["auths"].as_object().into_iter().flatten().map(|(_, e)| entry(e)).collect())
}

/// The same registries, with the new credential wherever the old one was.
fn refilled(new: &New, read: &Read) -> Result<Vec<u8>> {
    let mut file = registries(read)?;
    let old = Form::Docker.token(read).context("the registry credentials hold no token")?;
    let secret = new.secret.expose_secret();
    let entries = file["auths"].as_object_mut().into_iter().flatten();
    for (_, registry) in entries {
        let (user, token) = entry(registry);
        if token.is_some_and(|t| t.expose_secret() == old.expose_secret()) {
            let user = new.user.clone().or(user).unwrap_or_else(|| "git".to_owned());
            let mut both = format!("{user}:{secret}");
            *registry =
                serde_json::json!({"username": user, "password": secret, "auth": STANDARD.encode(&both)});
            both.zeroize();
        }
    }
    Ok(serde_json::to_vec(&file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&'static str, &str)]) -> Read {
        let value = |text: &str| Some(SecretSlice::from(text.as_bytes().to_vec()));
        Read { values: values.iter().map(|(key, text)| (*key, value(text))).collect(), ..Read::default() }
    }

    fn new(user: Option<&str>) -> New {
        New {
            id: 1,
            user: user.map(str::to_owned),
            secret: SecretString::from("new-token"),
            public: Some("ssh-ed25519 AAAA new".to_owned()),
        }
    }

    fn filled(form: Form, new: &New, read: &Read, key: &str) -> Option<String> {
        let content = form.fill(new, read).expect("filled");
        assert_eq!(content.keys().copied().collect::<Vec<_>>(), form.keys(), "all keys, sorted");
        content[key].as_ref().map(|v| String::from_utf8_lossy(v.expose_secret()).into_owned())
    }

    #[test]
    fn a_user_name_stays_unless_the_new_token_has_its_own() {
        let old = read(&[("username", "bot"), ("password", "old")]);
        assert_eq!(filled(Form::Basic, &new(None), &old, "username").as_deref(), Some("bot"));
        assert_eq!(filled(Form::Basic, &new(Some("dt")), &old, "username").as_deref(), Some("dt"));
        assert_eq!(filled(Form::Basic, &new(None), &read(&[]), "username").as_deref(), Some("git"));
        assert_eq!(filled(Form::Basic, &new(None), &old, "password").as_deref(), Some("new-token"));
    }

    #[test]
    fn only_registries_with_the_old_token_get_the_new_one() {
        let other = STANDARD.encode("x:other");
        let file = format!(
            r#"{{"auths": {{"registry.example.com": {{"username": "u", "password": "old"}}, "z.example.com": {{"auth": "{other}"}}}}}}"#
        );
        let old = read(&[(DOCKER, &file)]);
        assert_eq!(Form::Docker.user(&old).as_deref(), Some("u"));
        let text = filled(Form::Docker, &new(Some("dt")), &old, DOCKER).expect("a file");
        let json: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["auths"]["registry.example.com"]["password"], "new-token");
        assert_eq!(json["auths"]["registry.example.com"]["auth"], STANDARD.encode("dt:new-token"));
        assert_eq!(json["auths"]["z.example.com"]["auth"], other);
    }

    #[test]
    fn the_private_key_says_which_pair_it_is() {
        let (private, line) = ssh::new_pair("flux").expect("a pair");
        let old = read(&[("identity", private.expose_secret()), ("identity.pub", "ssh-rsa AAAA wrong")]);
        let without_comment = line.rsplit_once(' ').map(|(key, _)| key.to_owned());
        assert_eq!(Form::Ssh.public_key(&old), without_comment);
        let only = read(&[("identity", "encrypted"), ("identity.pub", "ssh-rsa AAAA a comment")]);
        assert_eq!(Form::Ssh.public_key(&only), None, "what is written for people proves nothing");
    }

    #[test]
    fn forms_are_told_by_the_keys_that_are_there() {
        let of = |keys: &[&str], ssh| Form::of_source(&|key: &str| keys.contains(&key), ssh);
        assert_eq!(of(&["username", "password"], false), Ok(Form::Basic));
        assert_eq!(of(&["identity", "known_hosts", "password"], true), Ok(Form::Ssh));
        assert_eq!(of(&[DOCKER], false), Ok(Form::Docker));
        assert!(of(&["bearerToken"], false).is_err_and(|why| why.contains("bearerToken")));
        assert!(of(&["ca.crt"], false).is_err());
    }
}

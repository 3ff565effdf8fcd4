//! The forms in which a Secret holds a credential, by what reads it: which keys they are, and what a new credential
//! makes of them. Source: Flux, "GitRepository", "OCIRepository" and "HelmRepository" (Secret reference), "Provider".

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_agent_core::rotate::mark::Mark;
use secrecy::zeroize::{Zeroize as _, Zeroizing};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde_json::Value;

use super::copies::Sought;
use super::secret::{Content, Read};
use crate::ssh;

/// The key of an image registry's credentials (`kubernetes.io/dockerconfigjson`).
const DOCKER: &str = ".dockerconfigjson";

/// How a Secret holds its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// One key with the token.
    Token(&'static str),
    /// User name and password.
    Basic,
    /// A pair of SSH keys; `known_hosts` stays as it is.
    Ssh,
    /// Image registries, each with user name and password; host and port of the one that is fetched from.
    Docker(String),
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
    /// The form in which a source reads its Secret: an OCIRepository only registries, a GitRepository never.
    ///
    /// # Errors
    /// None of those that can be made anew; in words.
    pub(super) fn of_source(keys: &dyn Fn(&str) -> bool, kind: &str, url: &str) -> Result<Self, String> {
        let ssh = url.starts_with("ssh://");
        let registry = url.strip_prefix("oci://").map(|rest| host_of_registry(rest).to_owned());
        match registry {
            _ if ssh && keys("identity") => Ok(Self::Ssh),
            Some(host) if keys(DOCKER) => Ok(Self::Docker(host)),
            Some(_) if kind == "OCIRepository" => Err("it holds no registry credentials".to_owned()),
            _ if keys("password") && !ssh => Ok(Self::Basic),
            _ if keys("bearerToken") => {
                Err("it holds a bearerToken, which GitLab's tokens are not made for: use \
                                              username and password"
                    .to_owned())
            }
            _ if keys("githubAppID") => Err("it holds a GitHub App: nothing of GitLab".to_owned()),
            _ => Err("it holds neither username and password, nor an SSH identity, nor registry credentials"
                .to_owned()),
        }
    }

    /// The keys that are written and compared.
    pub(super) fn keys(&self) -> Vec<&'static str> {
        match self {
            Self::Token(key) => vec![*key],
            Self::Basic => vec!["password", "username"],
            Self::Ssh => vec!["identity", "identity.pub", "password"],
            Self::Docker(_) => vec![DOCKER],
        }
    }

    /// The user name that the Secret holds now.
    pub(super) fn user(&self, read: &Read) -> Option<String> {
        match self {
            Self::Basic => text(read, "username"),
            Self::Docker(host) => only_entry(read, host)?.0,
            Self::Token(_) | Self::Ssh => None,
        }
    }

    /// The token that the Secret holds now.
    pub(super) fn token(&self, read: &Read) -> Option<SecretString> {
        match self {
            Self::Token(key) => text(read, key).map(SecretString::from),
            Self::Basic => text(read, "password").map(SecretString::from),
            Self::Docker(host) => Some(only_entry(read, host)?.1),
            Self::Ssh => None,
        }
    }

    /// The public key that the Secret holds now, without its comment: `ssh-ed25519 AAAA…`. It is taken from the private one:
    /// `identity.pub` is only written for people, and proves nothing of what is revoked.
    pub(super) fn public_key(&self, read: &Read) -> Option<String> {
        let private = text(read, "identity").map(Zeroizing::new);
        let line = private.and_then(|pem| ssh::public_half(&pem))?;
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?))
    }

    /// The credential that the Secret holds, as it is recognized elsewhere.
    pub(super) fn mark(&self, salt: &str, read: &Read) -> Option<Mark> {
        if *self != Self::Ssh {
            return self.token(read).map(|token| Mark::of(salt, token.expose_secret().as_bytes()));
        }
        let pem = text(read, "identity").map(Zeroizing::new)?;
        Some(match ssh::public_half(&pem) {
            Some(public) => Mark::of_key(salt, &public),
            None => Mark::of(salt, pem.as_bytes()),
        })
    }

    /// What of the credential is secret, which is in whatever else it is written as: of a private key its number.
    pub(super) fn secret_part(&self, read: &Read) -> Option<SecretSlice<u8>> {
        if *self == Self::Ssh {
            return ssh::secret_part(&text(read, "identity").map(Zeroizing::new)?);
        }
        self.token(read).map(|token| SecretSlice::from(token.expose_secret().as_bytes().to_vec()))
    }

    /// The same with the value itself, which is found wherever it lies.
    pub(super) fn sought(&self, salt: &str, read: &Read) -> Option<Sought> {
        Some(Sought { mark: self.mark(salt, read)?, value: self.secret_part(read) })
    }

    /// What the Secret is to hold with a new credential.
    pub(super) fn fill(&self, new: &New, read: &Read) -> Result<Content> {
        let bytes = |text: &str| Some(SecretSlice::from(text.as_bytes().to_vec()));
        let secret = new.secret.expose_secret();
        Ok(match self {
            Self::Token(key) => Content::from([(*key, bytes(secret))]),
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
            Self::Docker(_) => Content::from([(DOCKER, Some(SecretSlice::from(self.refilled(new, read)?)))]),
        })
    }

    /// The same registries, with the new credential wherever the old one was.
    fn refilled(&self, new: &New, read: &Read) -> Result<Vec<u8>> {
        let mut file = registries(read)?;
        let old = self.token(read).context("the registry credentials hold no token for the registry")?;
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

/// Host and port of a registry, as an entry or a URL names it.
fn host_of_registry(name: &str) -> &str {
    let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// User name and token for one host; none where it has none, or several that differ.
fn only_entry(read: &Read, host: &str) -> Option<(Option<String>, SecretString)> {
    let file = registries(read).ok()?;
    let entries = file["auths"].as_object()?.iter();
    let of_host = entries.filter(|(name, _)| host_of_registry(name).eq_ignore_ascii_case(host));
    let mut found = of_host.map(|(_, e)| entry(e)).filter_map(|(user, token)| Some((user, token?)));
    let (user, token) = found.next()?;
    let same = found.all(|(u, t)| u == user && t.expose_secret() == token.expose_secret());
    same.then_some((user, token))
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

    fn of_registry() -> Form {
        Form::Docker("registry.example.com".to_owned())
    }

    fn filled(form: &Form, new: &New, read: &Read, key: &str) -> Option<String> {
        let content = form.fill(new, read).expect("filled");
        assert_eq!(content.keys().copied().collect::<Vec<_>>(), form.keys(), "all keys, sorted");
        content[key].as_ref().map(|v| String::from_utf8_lossy(v.expose_secret()).into_owned())
    }

    #[test]
    fn a_user_name_stays_unless_the_new_token_has_its_own() {
        let old = read(&[("username", "bot"), ("password", "old")]);
        assert_eq!(filled(&Form::Basic, &new(None), &old, "username").as_deref(), Some("bot"));
        assert_eq!(filled(&Form::Basic, &new(Some("dt")), &old, "username").as_deref(), Some("dt"));
        assert_eq!(filled(&Form::Basic, &new(None), &read(&[]), "username").as_deref(), Some("git"));
        assert_eq!(filled(&Form::Basic, &new(None), &old, "password").as_deref(), Some("new-token"));
    }

    #[test]
    fn only_registries_with_the_old_token_get_the_new_one() {
        let other = STANDARD.encode("x:other");
        let file = format!(
            r#"{{"auths": {{"registry.example.com": {{"username": "u", "password": "old"}}, "z.example.com": {{"auth": "{other}"}}}}}}"#
        );
        let old = read(&[(DOCKER, &file)]);
        assert_eq!(of_registry().user(&old).as_deref(), Some("u"));
        let text = filled(&of_registry(), &new(Some("dt")), &old, DOCKER).expect("a file");
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
    fn of_several_registries_that_of_the_url_counts() {
        let entry =
            |user: &str, token: &str| serde_json::json!({"auth": STANDARD.encode(format!("{user}:{token}"))});
        let both = |name: &str, user: &str, token: &str, other: (&str, &str, &str)| {
            serde_json::json!({"auths": {name: entry(user, token), other.0: entry(other.1, other.2)}})
                .to_string()
        };
        for (name, other, token) in [
            ("registry.example.com", ("10.0.0.5:5000", "ci", "foreign"), Some("own")),
            ("https://registry.example.com", ("a.example.com", "ci", "foreign"), Some("own")),
            ("https://registry.example.com/v2/", ("a.example.com", "ci", "foreign"), Some("own")),
            ("REGISTRY.example.com", ("index.docker.io", "ci", "foreign"), Some("own")),
            ("registry.example.com/group", ("registry.example.com/other", "ci", "own"), Some("own")),
            ("registry.example.com/group", ("registry.example.com/other", "ci", "another"), None),
            ("registry.example.com/group", ("registry.example.com/other", "x", "own"), None),
            ("registry.example.com:5050", ("a.example.com", "ci", "foreign"), None),
            ("registry.example.com.evil", ("a.example.com", "ci", "foreign"), None),
            ("a.registry.example.com", ("b.example.com", "ci", "foreign"), None),
        ] {
            let old = read(&[(DOCKER, &both(name, "ci", "own", other))]);
            let found = of_registry().token(&old).map(|t| t.expose_secret().to_owned());
            assert_eq!(found.as_deref(), token, "{name} {other:?}");
            assert_eq!(of_registry().user(&old).is_some(), token.is_some());
            let Some(text) = of_registry().fill(&new(None), &old).ok().and_then(|mut c| c.remove(DOCKER)?)
            else {
                assert!(token.is_none(), "{name}");
                continue;
            };
            let text = String::from_utf8_lossy(text.expose_secret()).into_owned();
            let kept = STANDARD.encode(format!("{}:{}", other.1, other.2));
            assert_eq!(text.contains(&kept), other.2 != "own", "another registry's stays: {text}");
        }
    }

    #[test]
    fn forms_are_told_by_what_reads_them_and_the_keys_that_are_there() {
        let of = |keys: &[&str], kind: &str, url: &str| {
            Form::of_source(&|key: &str| keys.contains(&key), kind, url)
        };
        let (git, helm, oci) = ("https://h/a/b.git", "https://h/charts", "oci://registry.example.com/a/b");
        let both = [DOCKER, "username", "password"];
        assert_eq!(of(&["username", "password"], "GitRepository", git), Ok(Form::Basic));
        assert_eq!(
            of(&["identity", "known_hosts", "password"], "GitRepository", "ssh://git@h/a/b"),
            Ok(Form::Ssh)
        );
        assert_eq!(of(&[DOCKER], "OCIRepository", oci), Ok(of_registry()));
        assert_eq!(of(&both, "GitRepository", git), Ok(Form::Basic));
        assert_eq!(of(&both, "OCIRepository", oci), Ok(of_registry()));
        assert_eq!(of(&both, "HelmRepository", oci), Ok(of_registry()));
        assert_eq!(of(&both, "HelmRepository", helm), Ok(Form::Basic));
        assert_eq!(of(&["username", "password"], "HelmRepository", oci), Ok(Form::Basic));
        assert!(of(&["username", "password"], "OCIRepository", oci).is_err());
        assert!(of(&[DOCKER], "GitRepository", git).is_err());
        assert!(of(&["bearerToken"], "GitRepository", git).is_err_and(|why| why.contains("bearerToken")));
        assert!(of(&["ca.crt"], "GitRepository", git).is_err());
    }
}

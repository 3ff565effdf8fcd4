//! glab's configuration: the instances that glab is signed in to, with the tokens that stand in the file.
//!
//! Where the file lies and what it holds: glab `internal/config/config_file.go` and `schema.go`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::host::Host;
use super::token;
use crate::file;

/// One instance of glab's configuration.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The instance, as people and git know it.
    pub(super) host: Host,
    /// Where its API is.
    pub(super) api: Result<Host, String>,
    /// Its token, or why there is none.
    pub(super) token: Result<SecretString, String>,
    /// Certificates to trust instead of the system's.
    pub(super) ca_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    hosts: BTreeMap<String, Option<Raw>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    token: Option<SecretString>,
    api_host: Option<String>,
    api_protocol: Option<String>,
    subfolder: Option<String>,
    use_keyring: Option<String>,
    skip_tls_verify: Option<String>,
    ca_cert: Option<PathBuf>,
}

/// glab writes some kilobytes.
const LARGEST: usize = 1 << 20;

/// Finds the file as glab does.
pub(super) fn file(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    if let Some(dir) = env("GLAB_CONFIG_DIR") {
        return Some(Path::new(&dir).join("config.yml"));
    }
    let home = env("HOME").map(|home| Path::new(&home).join(".config"));
    let dirs = home.into_iter().chain(env("XDG_CONFIG_HOME").map(PathBuf::from));
    dirs.map(|dir| dir.join("glab-cli").join("config.yml")).find(|file| file.exists())
}

/// Reads the file.
///
/// # Errors
/// It cannot be read, others may read it, or it is not glab's.
pub(super) fn read(file: &Path) -> Result<Vec<Entry>> {
    let name = file.display();
    let opened = match std::fs::File::open(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.with_context(|| format!("cannot read glab's configuration {name}"))?,
    };
    token::only_own(&opened, file)?;
    let bytes =
        Zeroizing::new(file::read_from(opened, LARGEST).with_context(|| format!("cannot read {name}"))?);
    let text = std::str::from_utf8(&bytes).ok().with_context(|| format!("{name} is not text"))?;
    parse(text).with_context(|| format!("glab's configuration {name} cannot be used"))
}

fn parse(text: &str) -> Result<Vec<Entry>> {
    // glab leaves the tag of the empty value it replaces: `token: !!null VALUE`.
    let text = Zeroizing::new(text.replace("!!null ", ""));
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    // The error would quote the line, and with it a token.
    let Ok(file) = serde_saphyr::from_str::<File>(&text) else {
        bail!("it is not the YAML that glab writes")
    };
    let named = file.hosts.into_iter().filter_map(|(name, raw)| Some((Host::parse(&name).ok()?, raw?)));
    Ok(named.map(|(host, raw)| entry(host, raw)).collect())
}

fn entry(mut host: Host, raw: Raw) -> Entry {
    let set = |text: &Option<String>| text.clone().filter(|t| !t.trim().is_empty());
    if let Some(subfolder) = set(&raw.subfolder) {
        host.root = format!("/{}", subfolder.trim_matches('/'));
    }
    let insecure = raw.api_protocol.as_deref() == Some("http");
    let unchecked = set(&raw.skip_tls_verify).is_some_and(|v| v != "false");
    let api = match set(&raw.api_host) {
        _ if insecure => Err("glab uses http for it; only https is used here".to_owned()),
        _ if unchecked => {
            Err("glab does not check its certificate; here it is checked: give --gitlab-ca-file".to_owned())
        }
        // `api_host` may carry the subfolder itself.
        Some(api) => Host::parse(&api).map_err(|e| e.to_string()).map(|mut api| {
            if api.root.is_empty() {
                api.root.clone_from(&host.root);
            }
            api
        }),
        None => Ok(host.clone()),
    };
    let token = match raw.token.filter(|t| !t.expose_secret().trim().is_empty()) {
        Some(value) => {
            token::check(value.expose_secret().trim(), "glab's configuration").map_err(|e| e.to_string())
        }
        None if set(&raw.use_keyring).is_some_and(|v| v != "false") => {
            Err("glab keeps its token in the system's keyring, which is not read".to_owned())
        }
        None => Err("glab has no token for it".to_owned()),
    };
    Entry { host, api, token, ca_file: raw.ca_cert.filter(|p| !p.as_os_str().is_empty()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
git_protocol: ssh
host: gitlab.com
hosts:
    gitlab.com:
        api_protocol: https
        api_host: gitlab.com
        token:
    gitlab.example.com:
        token: !!null some-token-of-the-first
        api_host: api.example.com:8443
        api_protocol: https
        ca_cert: /etc/ssl/own.pem
    keyring.example.com:
        use_keyring: \"true\"
    plain.example.com:
        token: some-token-of-another
        api_protocol: http
    sub.example.com:
        token: some-token-of-the-third
        subfolder: gitlab
";

    #[test]
    fn hosts_with_their_tokens_are_read() {
        let entries = parse(TEXT).expect("read");
        let of = |name: &str| entries.iter().find(|e| e.host.name == name).expect(name);
        let first = of("gitlab.example.com");
        assert_eq!(first.token.as_ref().expect("a token").expose_secret(), "some-token-of-the-first");
        assert_eq!(first.api.as_ref().expect("an API").to_string(), "https://api.example.com:8443");
        assert_eq!(first.ca_file.as_deref(), Some(Path::new("/etc/ssl/own.pem")));
        assert!(of("gitlab.com").token.as_ref().expect_err("none").contains("no token"));
        assert!(of("keyring.example.com").token.as_ref().expect_err("none").contains("keyring"));
        assert!(of("plain.example.com").api.as_ref().expect_err("http").contains("only https"));
        assert_eq!(
            of("sub.example.com").api.as_ref().expect("an API").to_string(),
            "https://sub.example.com/gitlab"
        );
    }

    #[test]
    fn errors_quote_no_token() {
        let error = parse("hosts:\n  a.example.com:\n    token: [some-token-value").expect_err("broken");
        assert!(!format!("{error:#}").contains("some-token"), "{error:#}");
        assert!(parse("").expect("empty").is_empty());
    }

    #[test]
    fn the_file_is_where_glab_looks() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path().to_str().expect("text").to_owned();
        let env = |name: &str| (name == "GLAB_CONFIG_DIR").then(|| at.clone());
        assert_eq!(file(&env), Some(dir.path().join("config.yml")));
        let env = |name: &str| (name == "HOME").then(|| at.clone());
        assert_eq!(file(&env), None, "only one that exists");
        std::fs::create_dir_all(dir.path().join(".config/glab-cli")).expect("made");
        std::fs::write(dir.path().join(".config/glab-cli/config.yml"), "").expect("written");
        assert_eq!(file(&env), Some(dir.path().join(".config/glab-cli/config.yml")));
    }
}

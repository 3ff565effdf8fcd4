//! What the kubeconfig user signs in with, looked at before a client is built of it: the library panics on a token that
//! fits no header, runs the program of an `auth-provider`, and takes a token file as it is.

use std::path::Path;

use anyhow::{Context, Result, bail};
use kube::Config;
use kube::config::AuthInfo;
use secrecy::{ExposeSecret, SecretString};

use super::exec::CannotSignIn;
use super::token_file::TokenFile;
use crate::{file, known};

/// No token is longer: servers refuse headers of this size.
const LONGEST: usize = 256 << 10;

/// Checks the credential and puts it in the form in which the client takes it. A token in a file is taken out, because the
/// file is read again during the run.
pub(super) fn check(user: &mut AuthInfo) -> Result<Option<TokenFile>> {
    checked(user).context(CannotSignIn)
}

fn checked(user: &mut AuthInfo) -> Result<Option<TokenFile>> {
    if let Some(provider) = &user.auth_provider {
        bail!(
            "the kubeconfig user signs in with auth-provider {}, which kubectl does not run since 1.26 and this program \
             neither: use a credential plugin (`exec`), for example gke-gcloud-auth-plugin, kubelogin or kubectl oidc-login",
            gitlab_agent_core::text::quote(&provider.name)
        );
    }
    if let Some(token) = user.token.take() {
        user.token = fit(token.expose_secret(), "the token of the kubeconfig user")?;
    }
    let file = user.token_file.take().filter(|_| user.token.is_none());
    file.map(|file| TokenFile::open(&file)).transpose()
}

/// Makes known what the client signs in with, so that nothing shows it. Tokens are known where they are [`fit`].
pub(super) fn tell(config: &Config) {
    let user = &config.auth_info;
    for (key, value) in [("password", &user.password), ("key", &user.client_key_data)] {
        if let Some(value) = value {
            known::run().own(key, value.expose_secret().as_bytes());
        }
    }
    for url in [Some(config.cluster_url.to_string()), config.proxy_url.as_ref().map(ToString::to_string)] {
        if let Some(url) = url.filter(|url| url.contains('@')) {
            known::run().own("password", url.as_bytes());
        }
    }
}

/// A token without the white space around it, as client-go reads one from a file; none where nothing is left.
///
/// # Errors
/// It has characters that no header may have. They are not quoted.
pub(super) fn fit(token: &str, what: &str) -> Result<Option<SecretString>> {
    let token = token.trim().trim_start_matches('\u{feff}').trim();
    known::run().own("token", token.as_bytes());
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        bail!(
            "{what} contains characters that are not allowed in an HTTP header (white space, or not ASCII)"
        );
    }
    Ok((!token.is_empty()).then(|| token.into()))
}

/// The token in a file.
///
/// # Errors
/// There is none, or none that a header may have.
pub(super) fn of_file(file: &Path) -> Result<SecretString> {
    let what = format!("the kubeconfig user's tokenFile {}", file.display());
    let text = || -> Result<SecretString> {
        let bytes = file::read(file, LONGEST)?;
        Ok(String::from_utf8(bytes).ok().context("it is not text")?.into())
    };
    let text = text().with_context(|| format!("cannot read {what}"))?;
    fit(text.expose_secret(), &what)?.with_context(|| format!("{what} is empty"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(json: serde_json::Value) -> AuthInfo {
        serde_json::from_value(json).expect("a user")
    }

    fn token(user: &AuthInfo) -> Option<&str> {
        user.token.as_ref().map(|token| token.expose_secret())
    }

    #[test]
    fn white_space_around_a_token_is_no_part_of_it() {
        for written in ["abc", "abc\n", "abc\r\n", " abc ", "\tabc", "\n\nabc\n\n", "\u{feff}abc\n"] {
            let mut user = user(serde_json::json!({ "token": written }));
            check(&mut user).expect("a token");
            assert_eq!(token(&user), Some("abc"), "{written:?}");
        }
        let mut empty = user(serde_json::json!({ "token": "\n" }));
        check(&mut empty).expect("no token");
        assert_eq!(token(&empty), None);
    }

    #[test]
    fn a_token_that_fits_no_header_is_refused_and_not_quoted() {
        for inner in ["\n", "\r", "\0", "\u{1b}", "é", " ", "\t", "\u{7f}", "\u{200b}", "\r\nX-Other: 1\r\n"]
        {
            let mut user = user(serde_json::json!({ "token": format!("upper{inner}lower") }));
            let said = format!("{:#}", check(&mut user).expect_err(inner));
            assert!(said.contains("not allowed in an HTTP header"), "{said}");
            assert!(!said.contains("upper") && !said.contains("lower"), "{said}");
        }
    }

    #[test]
    fn a_token_file_is_read_as_client_go_reads_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("token");
        let path = file.display().to_string();
        for written in ["abc", "abc\n", " abc\r\n"] {
            std::fs::write(&file, written).expect("writes");
            let mut user = user(serde_json::json!({ "tokenFile": path }));
            let of_file = check(&mut user).expect("a token");
            assert!(of_file.is_some() && user.token_file.is_none(), "the library would read it by itself");
            assert_eq!(super::of_file(&file).expect("a token").expose_secret(), "abc", "{written:?}");
        }
        for broken in [&b""[..], b"\n", b"a\nb", &[0xff, 0xfe], &[b'a'; LONGEST + 1]] {
            std::fs::write(&file, broken).expect("writes");
            let mut user = user(serde_json::json!({ "tokenFile": path }));
            assert!(check(&mut user).is_err());
        }
        let mut gone =
            user(serde_json::json!({ "tokenFile": dir.path().join("none").display().to_string() }));
        assert!(check(&mut gone).is_err());
        let mut both = user(serde_json::json!({ "token": "abc", "tokenFile": "/none" }));
        assert!(check(&mut both).expect("the token comes first").is_none());
    }

    #[test]
    fn an_auth_provider_is_refused_with_the_way_to_exec() {
        for name in ["gcp", "azure", "oidc", "any"] {
            let json = serde_json::json!({ "token": "abc", "auth-provider": { "name": name, "config": { "cmd-path": "/bin/sh" } } });
            let said = format!("{:#}", check(&mut user(json)).expect_err("refused"));
            assert!(said.contains(name) && said.contains("exec") && !said.contains("/bin/sh"), "{said}");
        }
    }
}

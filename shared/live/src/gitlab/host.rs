//! Where a GitLab instance is, as a person writes it: `gitlab.example.com`, `gitlab.example.com:8443`,
//! `https://example.com/gitlab`.

use std::fmt;

use anyhow::{Result, bail};
use gitlab_agent_core::text::quote;

/// Host, port and relative URL root of a GitLab instance. The scheme is always https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Host name in lower case, or an IP address.
    pub name: String,
    /// Port; 443 where none was written.
    pub port: u16,
    /// Relative URL root without a slash at the end: `/gitlab`, or nothing.
    pub root: String,
}

impl Host {
    /// Reads what a person wrote.
    ///
    /// # Errors
    /// Another scheme than https, credentials in the URL, or no URL at all.
    pub fn parse(text: &str) -> Result<Self> {
        let written = text.trim();
        let rest = match written.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
            Some(_) => bail!(
                "GitLab at {} is not asked: only https is used, a token would be readable on the way",
                shown(written)
            ),
            None => written,
        };
        let (authority, root) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            bail!(
                "the GitLab host must not hold a user name or password: write HOST, HOST:PORT or https://HOST/PATH"
            );
        }
        let bad = || {
            anyhow::anyhow!(
                "{} is not a GitLab host: write HOST, HOST:PORT or https://HOST/PATH",
                shown(written)
            )
        };
        let authority: http::uri::Authority = authority.to_ascii_lowercase().parse().map_err(|_| bad())?;
        let name = authority.host().trim_end_matches('.').to_owned();
        let port = match authority.port() {
            Some(port) => port.as_str().parse().map_err(|_| bad())?,
            None if authority.as_str().len() > authority.host().len() => return Err(bad()),
            None => 443,
        };
        let root = root.trim_end_matches('/').to_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
        if name.is_empty() || !root.chars().all(plain) {
            return Err(bad());
        }
        Ok(Self { name, port, root })
    }

    /// `https://HOST[:PORT][/ROOT]` as a URI.
    pub(super) fn uri(&self) -> Result<http::Uri> {
        Ok(self.to_string().parse()?)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.name)?;
        if self.port != 443 {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.root)
    }
}

/// What was written, without what may be a password in it.
fn shown(text: &str) -> String {
    quote(&gitlab_agent_core::snapshot::mask::url(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_people_write_them() {
        for (written, read) in [
            ("gitlab.example.com", "https://gitlab.example.com"),
            ("GitLab.Example.com.", "https://gitlab.example.com"),
            ("https://gitlab.example.com/", "https://gitlab.example.com"),
            ("https://gitlab.example.com:443", "https://gitlab.example.com"),
            ("gitlab.example.com:8443", "https://gitlab.example.com:8443"),
            ("https://example.com/tools/gitlab/", "https://example.com/tools/gitlab"),
            ("127.0.0.1:8443", "https://127.0.0.1:8443"),
            ("[::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(Host::parse(written).expect(written).to_string(), read);
        }
    }

    #[test]
    fn whatever_could_lead_a_token_astray_is_refused() {
        for written in [
            "http://gitlab.example.com",
            "https://user:secret@gitlab.example.com",
            "gitlab.example.com@evil.example.com",
            "gitlab.example.com?x=1",
            "https://gitlab.example.com/a?b",
            "https://gitlab.example.com/a#b",
            "gitlab.example.com:",
            "gitlab.example.com:99999",
            "gitlab example.com",
            "ftp://gitlab.example.com",
            "https:///x",
            "",
        ] {
            let error = Host::parse(written).expect_err(written).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

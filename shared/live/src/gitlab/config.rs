//! Which GitLab to ask and with which token: only what the person says counts.
//!
//! The cluster may choose among the hosts that the person trusts, because a token of a host only ever goes to that
//! host. A host that only cluster data names gets nothing.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use secrecy::SecretString;

use super::glab::{self, Entry};
use super::host::Host;
use super::token;

/// Flags that say which GitLab to ask. A token has no flag of its own: arguments are readable by every process.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct GitLabArgs {
    /// The GitLab to ask: HOST, HOST:PORT or https://HOST/PATH; otherwise $GITLAB_HOST, otherwise the one that both the
    /// cluster and glab's configuration name
    #[arg(long, value_name = "HOST", help_heading = "GitLab")]
    pub gitlab_host: Option<String>,
    /// File with an access token of that GitLab (scope read_api), - for standard input; otherwise $GITLAB_TOKEN,
    /// otherwise glab's
    #[arg(long, value_name = "FILE", help_heading = "GitLab")]
    pub gitlab_token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust for that GitLab instead of the system's
    #[arg(long, value_name = "FILE", help_heading = "GitLab")]
    pub gitlab_ca_file: Option<PathBuf>,
    /// Ask nothing of GitLab
    #[arg(long, help_heading = "GitLab", conflicts_with_all = ["gitlab_host", "gitlab_token_file", "gitlab_ca_file"])]
    pub no_gitlab: bool,
}

/// The environment variables that name the host, as glab reads them.
const HOST_VARIABLES: [&str; 3] = ["GITLAB_HOST", "GITLAB_URI", "GL_HOST"];
/// The environment variables that hold the token. glab also reads `OAUTH_TOKEN`, which may be anybody's.
const TOKEN_VARIABLES: [&str; 2] = ["GITLAB_TOKEN", "GITLAB_ACCESS_TOKEN"];

/// What is needed to ask one GitLab.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The instance, as people and git know it.
    pub host: Host,
    /// Where its API is; nearly always the same.
    pub api: Host,
    /// The person's token.
    pub token: SecretString,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Where the token comes from, in words.
    pub token_from: String,
}

/// What the person trusts.
#[derive(Clone, Debug)]
pub struct Trust {
    off: bool,
    named: Option<Named>,
    token_file: Option<PathBuf>,
    token_variable: Option<(&'static str, SecretString)>,
    ca_file: Option<PathBuf>,
    glab: Result<Vec<Entry>, String>,
}

/// The host that was named, and by what.
#[derive(Clone, Debug)]
struct Named {
    host: Host,
    by_flag: bool,
    /// Whether the environment's token may go there: not when the environment names another host for it.
    takes_variable: bool,
}

impl GitLabArgs {
    /// Reads flags, environment and glab's configuration.
    ///
    /// # Errors
    /// Flags that make no sense, and a host that cannot be used. A missing token is none: [`Trust::credentials`] says.
    pub fn trust(&self) -> Result<Trust> {
        self.trust_in(&|name| std::env::var(name).ok().filter(|v| !v.trim().is_empty()))
    }

    fn trust_in(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Trust> {
        let of_environment = HOST_VARIABLES.iter().find_map(|name| env(name).map(|value| (*name, value)));
        let of_environment = match (&self.gitlab_host, of_environment, self.no_gitlab) {
            (_, None, _) | (_, _, true) => None,
            // With the flag a broken variable only means that its token is meant for something else.
            (Some(_), Some((_, value)), _) => Some(Host::parse(&value).ok()),
            (None, Some((name, value)), _) => {
                Some(Some(Host::parse(&value).with_context(|| format!("${name}"))?))
            }
        };
        let named = match (&self.gitlab_host, of_environment) {
            (Some(flag), environment) => {
                let host = Host::parse(flag).context("--gitlab-host")?;
                let takes_variable = environment.is_none_or(|other| other.as_ref() == Some(&host));
                Some(Named { host, by_flag: true, takes_variable })
            }
            (None, Some(Some(host))) => Some(Named { host, by_flag: false, takes_variable: true }),
            (None, _) => None,
        };
        if named.is_none() && self.gitlab_token_file.is_some() {
            bail!("--gitlab-token-file needs --gitlab-host HOST: a token is sent only where you say");
        }
        let token_variable =
            TOKEN_VARIABLES.iter().find_map(|name| env(name).map(|value| (*name, value.into())));
        let glab = match glab::file(env) {
            Some(file) if !self.no_gitlab => glab::read(&file).map_err(|e| format!("{e:#}")),
            _ => Ok(Vec::new()),
        };
        Ok(Trust {
            off: self.no_gitlab,
            named,
            token_file: self.gitlab_token_file.clone(),
            token_variable,
            ca_file: self.gitlab_ca_file.clone(),
            glab,
        })
    }
}

impl Trust {
    /// Whether it is settled before the cluster was looked at.
    pub fn is_settled(&self) -> bool {
        self.off || self.named.is_some()
    }

    /// What to ask GitLab with. `cluster` is the host that the cluster's objects name, with its port where they name
    /// one; it only chooses among hosts that glab is signed in to.
    ///
    /// # Errors
    /// The outer one: what the person gave cannot be used. The inner one: nothing was given.
    pub fn credentials(&self, cluster: Option<&str>) -> Result<Result<Credentials, Why>> {
        if self.off {
            return Ok(Err(none("--no-gitlab was given".to_owned())));
        }
        match &self.named {
            Some(named) => self.of_named(named),
            None => Ok(self.of_glab(cluster)),
        }
    }

    fn of_named(&self, named: &Named) -> Result<Result<Credentials, Why>> {
        let host = &named.host;
        let entry = self.glab.as_ref().ok().and_then(|entries| entries.iter().find(|e| e.host == *host));
        let ca_file = self.ca_file.clone().or_else(|| entry.and_then(|e| e.ca_file.clone()));
        let direct = |token, token_from: String| Credentials {
            host: host.clone(),
            api: host.clone(),
            token,
            ca_file: ca_file.clone(),
            token_from,
        };
        if let Some(file) = &self.token_file {
            return Ok(Ok(direct(
                token::from_file(file)?,
                format!("--gitlab-token-file {}", file.display()),
            )));
        }
        let variable = self.token_variable.as_ref().filter(|_| named.takes_variable);
        if let Some((name, value)) = variable {
            let value =
                token::check(secrecy::ExposeSecret::expose_secret(value).trim(), &format!("${name}"))?;
            return Ok(Ok(direct(value, format!("${name}"))));
        }
        let of_glab = match (&self.glab, entry) {
            (Err(problem), _) => Err(problem.clone()),
            (Ok(_), None) => Err("glab is not signed in to it".to_owned()),
            (Ok(_), Some(entry)) => of_entry(entry, ca_file),
        };
        let also = self
            .token_variable
            .as_ref()
            .filter(|_| !named.takes_variable)
            .map_or(String::new(), |(name, _)| {
                format!(" (${name} is not used: ${} names another host for it)", HOST_VARIABLES[0])
            });
        match of_glab {
            Ok(credentials) => Ok(Ok(credentials)),
            Err(problem) if named.by_flag => {
                bail!(
                    "there is no token for {host}: give --gitlab-token-file FILE or set GITLAB_TOKEN{also}; {problem}"
                )
            }
            Err(problem) => Ok(Err(none(format!(
                "there is no token for {host}: give --gitlab-token-file FILE or set GITLAB_TOKEN; {problem}"
            )))),
        }
    }

    fn of_glab(&self, cluster: Option<&str>) -> Result<Credentials, Why> {
        let idle = self
            .token_variable
            .as_ref()
            .map_or(String::new(), |(name, _)| format!("; ${name} is set, but not for which host"));
        let entries = match &self.glab {
            Ok(entries) => entries,
            Err(problem) => return Err(none(format!("{NOTHING}{idle}; {problem}"))),
        };
        let cluster = cluster.and_then(|host| Host::parse(host).ok());
        let same =
            |e: &&Entry| cluster.as_ref().is_some_and(|c| (&c.name, c.port) == (&e.host.name, e.host.port));
        match entries
            .iter()
            .find(same)
            .map(|e| of_entry(e, self.ca_file.clone().or_else(|| e.ca_file.clone())))
        {
            Some(Ok(credentials)) => Ok(credentials),
            Some(Err(problem)) => Err(none(format!("{NOTHING}{idle}; {problem}"))),
            None => Err(none(format!("{NOTHING}{idle}"))),
        }
    }
}

/// What people read who gave nothing: the command that would make it known.
const NOTHING: &str =
    "no access to GitLab was given: set GITLAB_TOKEN (scope read_api) and add --gitlab-host HOST";

fn none(message: String) -> Why {
    Why::new(WhyKind::NoGitLab, "GitLab", message)
}

fn of_entry(entry: &Entry, ca_file: Option<PathBuf>) -> Result<Credentials, String> {
    let token_from = "glab's configuration".to_owned();
    Ok(Credentials {
        host: entry.host.clone(),
        api: entry.api.clone()?,
        token: entry.token.clone()?,
        ca_file,
        token_from,
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    /// Trust from these variables; `GLAB` holds the text of glab's configuration.
    fn trust(args: &GitLabArgs, variables: &[(&str, &str)]) -> Result<Trust> {
        let dir = tempfile::tempdir().expect("a directory");
        if let Some((_, text)) = variables.iter().find(|(name, _)| *name == "GLAB") {
            let file = dir.path().join("config.yml");
            std::fs::write(&file, text).expect("written");
            #[cfg(unix)]
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .expect("set");
        }
        let at = dir.path().to_str().expect("text");
        args.trust_in(&|name| match name {
            "GLAB_CONFIG_DIR" => Some(at.to_owned()),
            _ => variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()),
        })
    }

    fn flag(host: &str) -> GitLabArgs {
        GitLabArgs { gitlab_host: Some(host.to_owned()), ..GitLabArgs::default() }
    }

    /// Host and token, or why none.
    fn given(args: &GitLabArgs, variables: &[(&str, &str)], cluster: Option<&str>) -> Result<String, String> {
        let trust = trust(args, variables).map_err(|e| format!("{e:#}"))?;
        match trust.credentials(cluster).map_err(|e| format!("{e:#}"))? {
            Ok(c) => Ok(format!("{} {}", c.api, c.token.expose_secret())),
            Err(why) => Err(why.message),
        }
    }

    const GLAB: (&str, &str) = (
        "GLAB",
        "hosts:\n  gitlab.example.com:\n    token: glab-token-a\n  other.example.com:8443:\n    token: glab-token-b\n",
    );

    #[test]
    fn the_flag_and_the_environment_name_host_and_token() {
        let env = [("GITLAB_HOST", "gitlab.example.com"), ("GITLAB_TOKEN", "env-token")];
        assert_eq!(
            given(&GitLabArgs::default(), &env, None).as_deref(),
            Ok("https://gitlab.example.com env-token")
        );
        assert_eq!(
            given(&flag("a.example.com"), &[env[1]], None).as_deref(),
            Ok("https://a.example.com env-token")
        );
        let uri = [("GITLAB_URI", "https://b.example.com/gitlab"), ("GITLAB_ACCESS_TOKEN", "env-token")];
        assert_eq!(
            given(&GitLabArgs::default(), &uri, None).as_deref(),
            Ok("https://b.example.com/gitlab env-token")
        );
    }

    #[test]
    fn the_environments_token_goes_to_the_environments_host_only() {
        let env = [("GITLAB_HOST", "gitlab.example.com"), ("GITLAB_TOKEN", "env-token"), GLAB];
        let error = given(&flag("evil.example.com"), &env, None).expect_err("not sent");
        assert!(error.contains("$GITLAB_TOKEN is not used"), "{error}");
        assert_eq!(
            given(&flag("other.example.com:8443"), &env, None).as_deref(),
            Ok("https://other.example.com:8443 glab-token-b")
        );
    }

    #[test]
    fn the_cluster_chooses_only_among_hosts_that_glab_knows() {
        let none = GitLabArgs::default();
        assert_eq!(
            given(&none, &[GLAB], Some("gitlab.example.com")).as_deref(),
            Ok("https://gitlab.example.com glab-token-a")
        );
        for named in [
            "evil.example.com",
            "gitlab.example.com.evil.com",
            "gitlab.example.com:8443",
            "other.example.com",
            "sub.gitlab.example.com",
            "x@gitlab.example.com",
        ] {
            let error = given(&none, &[GLAB, ("GITLAB_TOKEN", "env-token")], Some(named)).expect_err(named);
            assert!(error.contains("no access to GitLab was given"), "{error}");
        }
        let off = GitLabArgs { no_gitlab: true, ..GitLabArgs::default() };
        assert!(given(&off, &[GLAB], Some("gitlab.example.com")).expect_err("off").contains("--no-gitlab"));
    }

    #[test]
    fn a_named_host_without_a_token_says_what_to_give() {
        let error = given(&flag("gitlab.example.com"), &[], None).expect_err("none");
        assert!(
            error.contains("--gitlab-token-file FILE or set GITLAB_TOKEN; glab is not signed in"),
            "{error}"
        );
        let file = GitLabArgs { gitlab_token_file: Some("t".into()), ..GitLabArgs::default() };
        assert!(given(&file, &[], None).expect_err("no host").contains("needs --gitlab-host"));
        assert!(
            given(&flag("http://gitlab.example.com"), &[], None).expect_err("http").contains("only https")
        );
    }
}

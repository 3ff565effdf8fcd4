//! What an administrator of the played GitLab decides, and which GitLab it is.

use std::time::Duration;

use super::GitLab;

/// Settings that a test may change at any time.
#[derive(Debug, Clone)]
pub struct Settings {
    /// As `GET /metadata` gives it: `19.2.1-ee`.
    pub version: String,
    /// The commit that it was built from.
    pub revision: String,
    /// Enterprise edition.
    pub enterprise: bool,
    /// kas is switched on.
    pub kas_enabled: bool,
    /// Version of kas; nothing where it cannot be asked.
    pub kas_version: Option<String>,
    /// The address that kas is announced under; nothing for the right one.
    pub kas_url: Option<String>,
    /// Path below which all of GitLab lives, `/gitlab`, or empty.
    pub relative_root: String,
    /// What stands before every token, `acme-`, or empty. Only of tokens made from now on.
    pub token_prefix: String,
    /// A proxy in front decodes `%2F` in paths, which breaks encoded project paths.
    pub proxy_decodes_paths: bool,
    /// How long a pod that is gone stays in the list of connections (in reality up to 20 minutes).
    pub connection_lag: Duration,
    /// kas lists connections; otherwise it forgot those that there are.
    pub lists_connections: bool,
    /// Lists of agent tokens come from a replica that is so far behind.
    pub list_lag: Duration,
    /// How often the use of an agent token is noted (kas asks GitLab every five minutes).
    pub usage_granularity: Duration,
    /// What kas thinks of the agent's version: `(type, message)`.
    pub version_warning: Option<(String, String)>,
    /// Why Rails cannot ask kas: the class of the error, `GRPC::Unavailable`.
    pub kas_error: Option<String>,
    /// How often the use of an access token is noted after the first, which is noted at once.
    pub access_token_granularity: Duration,
    /// The longest description of an access token: the database has no room for more, and nothing checks it before.
    pub longest_description: usize,
    /// A tier with project and group access tokens: on GitLab.com Premium or Ultimate.
    pub paid: bool,
    /// Fine-grained personal access tokens are enforced: legacy ones open no project and no group, and none is made.
    pub enforces_fine_grained: bool,
    /// GraphQL's list of an agent's tokens holds revoked ones, too. Which GitLabs do so is not certain.
    pub graphql_lists_revoked: bool,
    /// Developers see connections of agents. Up to 18 they do not; later is not certain.
    pub developers_see_connections: bool,
    /// New tokens have the routable form, with a payload and a checksum.
    pub routable_tokens: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: "19.2.1-ee".into(),
            revision: "3f6b2c1d9a7".into(),
            enterprise: true,
            kas_enabled: true,
            kas_version: Some("19.2.1".into()),
            kas_url: None,
            relative_root: String::new(),
            token_prefix: String::new(),
            proxy_decodes_paths: false,
            connection_lag: Duration::from_secs(3),
            lists_connections: true,
            list_lag: Duration::ZERO,
            usage_granularity: Duration::from_secs(300),
            version_warning: None,
            kas_error: None,
            access_token_granularity: Duration::from_secs(600),
            longest_description: 255,
            paid: true,
            enforces_fine_grained: false,
            graphql_lists_revoked: false,
            developers_see_connections: false,
            routable_tokens: false,
        }
    }
}

impl Settings {
    /// Major and minor, for what depends on the age of GitLab.
    pub(super) fn release(&self) -> (u64, u64) {
        let mut numbers = self.version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

impl GitLab {
    /// The settings now.
    pub fn settings(&self) -> Settings {
        self.state().settings.clone()
    }

    /// Changes settings.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state().settings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_major_and_minor() {
        let of = |version: &str| Settings { version: version.into(), ..Settings::default() }.release();
        assert_eq!(of("18.5.2-ee"), (18, 5));
        assert_eq!(of("17.6.0"), (17, 6));
        assert_eq!(of("unknown"), (0, 0));
    }
}

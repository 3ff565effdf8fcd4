//! What each row comes to, from the healthy cluster with one thing changed.

use super::*;
use crate::fixture;
use crate::need::Need;
use crate::snapshot::gitlab::{Credential, CredentialKind, GroupEntry, HeldToken, TokenRecord};
use crate::snapshot::{Observed, Snapshot};

fn inventory(s: &Snapshot) -> Inventory {
    Inventory::of(&Facts::derive(s))
}

/// The row of a Secret.
fn of<'i>(inventory: &'i Inventory, secret: &str) -> &'i Row {
    let found = inventory.rows.iter().find(|row| row.secret.name == secret);
    found.unwrap_or_else(|| panic!("no row of {secret}"))
}

fn without_gitlab(s: &mut Snapshot) {
    s.gitlab = Observed::Unknown(Why::new(WhyKind::NoGitLab, "GitLab", "none given"));
}

fn holds(s: &mut Snapshot, secret: &str, values: &[(&str, &str)]) {
    let keys = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), crate::facts::KeyShape::of(value.as_bytes(), b"fixture")));
    fixture::secret(s, "flux-system", secret).keys = keys.collect();
}

fn credentials(s: &mut Snapshot) -> &mut Vec<Credential> {
    match &mut fixture::gitlab_mut(s).projects[0].credentials {
        Observed::Known(credentials) => credentials,
        Observed::Unknown(_) => panic!("the fixture's credentials are known"),
    }
}

const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";

#[test]
fn each_credential_has_a_row_with_its_purpose_and_a_command() {
    let s = fixture::healthy();
    let all = inventory(&s);
    assert_eq!(all.exit().code(), 0, "{:?}", all.gaps);
    let mut found: Vec<_> = all
        .rows
        .iter()
        .map(|r| {
            (
                r.secret.name.as_str(),
                r.kind,
                r.state,
                r.next.command.as_ref().map(ToString::to_string).unwrap_or_default(),
            )
        })
        .collect();
    found.sort_unstable();
    let command = "kubectl gitlab-agent rotate-token";
    assert_eq!(
        found,
        [
            (
                "example-nginx-app",
                Kind::ProjectDeployToken,
                State::Valid,
                format!("{command} source gitrepository/example-nginx-app -n flux-system")
            ),
            (
                "flux-system",
                Kind::ProjectDeployToken,
                State::Valid,
                format!("{command} source gitrepository/flux-system -n flux-system")
            ),
            (
                "gitlab-agent-token",
                Kind::AgentToken,
                State::Valid,
                format!("{command} agent gitlab-agent-v2 -n gitlab")
            ),
            (
                "gitlab-status-example-nginx-app",
                Kind::AccessToken,
                State::Unknown,
                format!("{command} notification gitlab-status-example-nginx-app -n flux-system")
            ),
            (
                "gitlab-status-flux-system",
                Kind::AccessToken,
                State::Unknown,
                format!("{command} notification gitlab-status-flux-system -n flux-system")
            ),
        ]
    );
}

#[test]
fn without_gitlab_there_are_the_same_rows_and_what_is_missing_is_said() {
    let mut s = fixture::healthy();
    without_gitlab(&mut s);
    let all = inventory(&s);
    assert_eq!((all.rows.len(), all.exit().code()), (5, 0), "GitLab is optional");
    let row = of(&all, "flux-system");
    assert_eq!((row.kind, row.state), (Kind::DeployToken, State::Unknown));
    assert_eq!(row.expires_at, Fact::NotKnown("needs GitLab".to_owned()));
    assert!(row.held_since.is_some(), "the Secret tells since when");
    assert!(row.next.command.is_some());
}

#[test]
fn the_most_urgent_leads() {
    let mut s = fixture::healthy();
    let at = |text: &str| text.parse().ok();
    credentials(&mut s)[0].expires_at = at("2026-11-10T00:00:00Z");
    match &mut fixture::gitlab_mut(&mut s).projects[1].credentials {
        Observed::Known(all) => all[0].expires_at = at("2026-11-01T00:00:00Z"),
        Observed::Unknown(_) => panic!("known"),
    }
    fixture::secret(&mut s, "flux-system", "gitlab-status-flux-system").keys.clear();
    let all = inventory(&s);
    let led: Vec<_> = all.rows.iter().map(|r| (r.secret.name.as_str(), r.state)).take(3).collect();
    assert_eq!(
        led,
        [
            ("gitlab-status-flux-system", State::Missing),
            ("example-nginx-app", State::Dead),
            ("flux-system", State::Expiring)
        ]
    );
    assert!(all.rows[0].notes[0].contains("has no key `token`"), "{:?}", all.rows[0].notes);
    assert!(all.rows[1].next.text.contains("replace it now"));
    assert!(all.rows[2].next.text.contains("before it ends"));
}

#[test]
fn objects_that_share_a_secret_share_a_row_and_equal_values_are_told() {
    let mut s = fixture::healthy();
    fixture::git_mut(&mut s, "example-nginx-app").spec.secret_ref =
        Some(crate::facts::LocalRef { name: "flux-system".to_owned() });
    let shared = fixture::secret(&mut s, "flux-system", "flux-system").keys["password"].clone();
    fixture::secret(&mut s, "flux-system", "gitlab-status-flux-system")
        .keys
        .insert("token".to_owned(), shared);
    let all = inventory(&s);
    let row = of(&all, "flux-system");
    assert_eq!(row.used_by.len(), 2);
    assert_eq!(row.keys, ["password", "username"]);
    assert_eq!(row.same_in, [ObjectRef::new("Secret", "flux-system", "gitlab-status-flux-system")]);
    assert_eq!(of(&all, "gitlab-status-flux-system").same_in[0].name, "flux-system");
}

#[test]
fn shapes_tell_the_kind() {
    let pat = format!("glpat-{}", "q".repeat(20));
    for (url, values, kind) in [
        (
            "ssh://git@gitlab.example.com/platform/flux-system.git",
            vec![("identity", KEY), ("known_hosts", "h")],
            Kind::SshKey,
        ),
        (
            "https://gitlab.example.com/a/b.git",
            vec![("username", "x"), ("password", &*pat)],
            Kind::AccessToken,
        ),
        (
            "https://gitlab.example.com/a/b.git",
            vec![("username", "x"), ("password", "hunter2hunter2")],
            Kind::BasicAuth,
        ),
        (
            "https://gitlab.example.com/a/b.git",
            vec![("username", "gitlab+deploy-token-3"), ("password", "hunter2hunter2")],
            Kind::DeployToken,
        ),
        ("https://gitlab.example.com/a/b.git", vec![("bearerToken", "hunter2hunter2")], Kind::BearerToken),
        (
            "https://gitlab.example.com/a/b.git",
            vec![("githubAppID", "1"), ("githubAppPrivateKey", KEY)],
            Kind::GitHubApp,
        ),
        (
            "https://gitlab.example.com/a/b.git",
            vec![("tls.key", KEY), ("tls.crt", "c")],
            Kind::ClientCertificate,
        ),
        (
            "https://gitlab.example.com/a/b.git",
            vec![("username", "x"), ("password", "<your-token-here>")],
            Kind::Nothing,
        ),
        ("https://gitlab.example.com/a/b.git", vec![("other", "x")], Kind::Nothing),
    ] {
        let mut s = fixture::healthy();
        without_gitlab(&mut s);
        *fixture::git_mut(&mut s, "flux-system").spec.url = url.to_owned();
        holds(&mut s, "flux-system", &values);
        assert_eq!(of(&inventory(&s), "flux-system").kind, kind, "{values:?}");
    }
    let mut s = fixture::healthy();
    holds(&mut s, "flux-system", &[("ca.crt", "-----BEGIN CERTIFICATE-----")]);
    assert!(
        inventory(&s).rows.iter().all(|row| row.secret.name != "flux-system"),
        "whom to trust is no credential"
    );
}

#[test]
fn a_deploy_key_is_found_by_its_public_half() {
    let mut s = fixture::healthy();
    *fixture::git_mut(&mut s, "flux-system").spec.url =
        "ssh://git@gitlab.example.com/platform/flux-system.git".to_owned();
    holds(&mut s, "flux-system", &[("identity", KEY), ("identity.pub", "k"), ("known_hosts", "h")]);
    let all = inventory(&s);
    let unknown = of(&all, "flux-system");
    assert_eq!(unknown.kind, Kind::SshKey);
    assert!(
        unknown.expires_at.reason().is_some_and(|why| why.contains("no deploy key like it")),
        "{unknown:?}"
    );
    let made = "2026-10-01T00:00:00Z".parse().ok();
    let secret = ObjectRef::new("Secret", "flux-system", "flux-system");
    credentials(&mut s).push(Credential {
        kind: CredentialKind::DeployKey,
        id: 401,
        name: "flux".to_owned(),
        created_at: made,
        held_by: vec![secret],
        ..Credential::default()
    });
    let all = inventory(&s);
    let row = of(&all, "flux-system");
    assert_eq!((row.kind, row.id.get(), row.state), (Kind::DeployKey, Some(&401), State::Valid));
    assert_eq!((row.created_at.get().copied(), &row.expires_at), (made, &Fact::Nothing));
}

#[test]
fn a_groups_deploy_token_and_each_kind_of_access_token_are_told() {
    let mut s = fixture::healthy();
    let mut moved = credentials(&mut s).remove(0);
    moved.user = Some("gitlab+deploy-token-1".to_owned());
    fixture::gitlab_mut(&mut s).groups =
        vec![GroupEntry { path: "platform".to_owned(), deploy_tokens: Observed::Known(vec![moved]) }];
    let all = inventory(&s);
    let row = of(&all, "flux-system");
    assert_eq!(
        (row.kind, row.user.get().map(String::as_str)),
        (Kind::GroupDeployToken, Some("gitlab+deploy-token-1"))
    );

    let fingerprint =
        fixture::secret(&mut s, "flux-system", "gitlab-status-flux-system").keys["token"].fingerprint.clone();
    let used = "2026-11-01T12:00:00Z".parse().ok();
    for (user, listed, kind) in [
        (Some("project_1_bot_0f"), false, Kind::ProjectAccessToken),
        (Some("group_1_bot_0f"), false, Kind::GroupAccessToken),
        (Some("dana"), false, Kind::PersonalAccessToken),
        (None, false, Kind::AccessToken),
        (None, true, Kind::ProjectAccessToken),
    ] {
        let mut s = s.clone();
        let record = TokenRecord {
            id: 301,
            name: "flux-status".to_owned(),
            scopes: vec!["api".to_owned()],
            user: user.map(str::to_owned),
            ..TokenRecord::default()
        };
        fixture::gitlab_mut(&mut s).held =
            vec![HeldToken { fingerprint: fingerprint.clone(), token: Observed::Known(record) }];
        if listed {
            let kind = CredentialKind::AccessToken;
            credentials(&mut s).push(Credential {
                kind,
                id: 301,
                last_used_at: used,
                ..Credential::default()
            });
        }
        let all = inventory(&s);
        let row = of(&all, "gitlab-status-flux-system");
        assert_eq!((row.kind, row.state), (kind, State::Valid), "{user:?}");
        let expected = if listed { used } else { None };
        assert_eq!(row.last_used_at.get().copied(), expected, "asking a token is a use");
    }
}

#[test]
fn a_token_that_gitlab_refuses_is_dead() {
    let mut s = fixture::healthy();
    let fingerprint =
        fixture::secret(&mut s, "flux-system", "gitlab-status-flux-system").keys["token"].fingerprint.clone();
    let refused = Why::new(WhyKind::SignIn, "an access token in a Secret of GitLab", "401 Unauthorized");
    fixture::gitlab_mut(&mut s).held = vec![HeldToken { fingerprint, token: Observed::Unknown(refused) }];
    let all = inventory(&s);
    assert_eq!(all.rows[0].secret.name, "gitlab-status-flux-system");
    assert_eq!((all.rows[0].state, all.exit().code()), (State::Dead, 0), "{:?}", all.gaps);
}

#[test]
fn an_agents_token_is_known_where_there_is_one_or_where_the_secret_says_which() {
    let mut s = fixture::healthy();
    let all = inventory(&s);
    let row = of(&all, "gitlab-agent-token");
    assert_eq!((row.id.get(), &row.expires_at), (Some(&31), &Fact::Nothing));
    match &mut fixture::gitlab_agent_mut(&mut s).tokens {
        Observed::Known(tokens) => {
            let mut second = tokens[0].clone();
            (second.id, second.last_used_at) = (32, None);
            tokens.push(second);
        }
        Observed::Unknown(_) => panic!("known"),
    }
    let all = inventory(&s);
    let row = of(&all, "gitlab-agent-token");
    assert_eq!(row.id.get(), None);
    assert!(row.notes[0].contains("32 \"flux\" (never used)"), "{:?}", row.notes);
    assert_eq!(row.next.command, None, "a third is not allowed: {:?}", row.next);
    let annotations = &mut fixture::secret(&mut s, "gitlab", "gitlab-agent-token").metadata.annotations.0;
    annotations.insert("gitlab.com/agent-token-id".to_owned(), "32".to_owned());
    let all = inventory(&s);
    assert_eq!(of(&all, "gitlab-agent-token").id.get(), Some(&32));
    fixture::gitlab_agent_mut(&mut s).tokens = Observed::Known(Vec::new());
    assert_eq!(of(&inventory(&s), "gitlab-agent-token").state, State::Dead);
}

#[test]
fn what_cannot_be_rotated_says_why() {
    type Change = fn(&mut Snapshot);
    let cases: [(Change, &str, bool); 4] = [
        (|s| fixture::secret(s, "flux-system", "flux-system").immutable = true, "immutable", false),
        (
            |s| *fixture::git_mut(s, "flux-system").spec.url = "https://github.com/a/b".to_owned(),
            "is for github.com",
            false,
        ),
        (
            |s| {
                let labels = &mut fixture::secret(s, "flux-system", "flux-system").metadata.labels;
                for (key, value) in [("name", "apps"), ("namespace", "flux-system")] {
                    labels.insert(format!("kustomize.toolkit.fluxcd.io/{key}"), value.to_owned());
                }
            },
            "Kustomization flux-system/apps writes the Secret: the new value goes in Git",
            true,
        ),
        (
            |s| fixture::secret_entry(s, "flux-system", "flux-system").shape = Observed::Known(None),
            "write a credential first",
            true,
        ),
    ];
    for (change, words, has_command) in cases {
        let mut s = fixture::healthy();
        change(&mut s);
        let all = inventory(&s);
        let next = &of(&all, "flux-system").next;
        assert!(next.text.contains(words), "{words}: {next:?}");
        assert_eq!(next.command.is_some(), has_command, "{words}: {next:?}");
    }
}

#[test]
fn a_registry_of_this_gitlab_is_of_this_gitlab() {
    let mut s = fixture::healthy();
    *fixture::git_mut(&mut s, "flux-system").spec.url = "https://registry.gitlab.example.com/a/b".to_owned();
    assert!(of(&inventory(&s), "flux-system").next.command.is_some());
}

#[test]
fn what_cannot_be_read_is_a_gap_and_the_exit_code_says_so() {
    for need in [Need::Secrets, Need::Providers, Need::GitRepositories, Need::Deployments] {
        let mut s = fixture::healthy();
        fixture::take_away(&mut s, need);
        let all = inventory(&s);
        assert_eq!(all.exit().code(), 3, "{need:?}");
        assert!(!all.gaps.is_empty());
    }
    let mut s = fixture::healthy();
    fixture::take_away(&mut s, Need::Secrets);
    let all = inventory(&s);
    assert!(all.rows.iter().all(|r| r.kind == Kind::Unread), "the rows are there");
    let mut s = fixture::healthy();
    s.oci_repositories = crate::facts::Listing::unknown(Why::new(WhyKind::NotServed, "list", "404"));
    assert_eq!(inventory(&s).exit().code(), 0, "a kind that is not installed hides nothing");
    let mut s = fixture::healthy();
    let silent = Why::new(WhyKind::Unreachable, "metadata of GitLab", "connection refused");
    fixture::gitlab_mut(&mut s).metadata = Observed::Unknown(silent);
    assert_eq!(inventory(&s).exit().code(), 3, "GitLab was given and does not answer");
    let mut s = fixture::healthy();
    s.server = Observed::Unknown(Why::new(WhyKind::Unreachable, SERVER, "connection refused"));
    assert_eq!(inventory(&s).exit().code(), 4);
}

/// A token goes to the GitLab that was named, and only if it is for it: cluster data does not choose where it goes.
#[test]
fn only_tokens_that_are_for_this_very_gitlab_may_be_asked() {
    let mut s = fixture::healthy();
    let asked = |s: &Snapshot, instance: &str| askable(&Facts::derive(s), instance).len();
    assert_eq!(asked(&s, "https://gitlab.example.com"), 2, "those of the Providers");
    assert_eq!(asked(&s, "https://gitlab.example.com:8443"), 0);
    assert_eq!(asked(&s, "https://gitlab.evil.com"), 0);
    for address in [
        "https://gitlab.example.com.evil.com/a/b",
        "http://gitlab.example.com/a/b",
        "https://x@evil.com/gitlab.example.com",
        "",
    ] {
        *s.providers.items[0].spec.address = address.to_owned();
        assert_eq!(asked(&s, "https://gitlab.example.com"), 1, "{address}");
    }
    fixture::hold_access_token(&mut s);
    assert_eq!(asked(&s, "https://gitlab.example.com"), 2, "and a source's");
    *fixture::git_mut(&mut s, "flux-system").spec.url = "https://github.com/a/b".to_owned();
    assert_eq!(asked(&s, "https://gitlab.example.com"), 1);
}

#[test]
fn providers_of_other_systems_are_named() {
    let mut s = fixture::healthy();
    s.providers.items[0].spec.kind = "slack".to_owned();
    let all = inventory(&s);
    assert_eq!((all.rows.len(), all.others[0].1.as_str()), (4, "slack"));
}

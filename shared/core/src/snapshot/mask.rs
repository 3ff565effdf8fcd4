//! Masks in text what looks like a credential: a second line of defence behind the shapes that never hold one.

/// What stands in place of a credential.
pub const MASK: &str = "***";

/// The kinds of GitLab token by the letters after `gl` (GitLab, "Token overview": token prefixes).
const TOKEN_KINDS: &[&str] =
    &["pat", "dt", "agent", "rtr", "rt", "cbt", "ptt", "ft", "imt", "oas", "soat", "ffct", "wt"];

/// Removes user-info, query and fragment from a URL. Text that is no URL is masked like free text.
pub fn url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return free_text(text) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let user = authority.rsplit_once('@').filter(|(user, _)| *user == "git").map_or("", |_| "git@");
    let path = path.split(['?', '#']).next().unwrap_or_default();
    free_text(&format!("{scheme}://{user}{host}{path}"))
}

/// Masks GitLab tokens, URL user-info and authorization headers in free text.
pub fn free_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let boundary = out.chars().next_back().is_none_or(|p| !(p.is_ascii_alphanumeric()));
        if let Some(len) = boundary.then(|| gitlab_token(rest)).flatten() {
            out.push_str(MASK);
            rest = &rest[len..];
        } else if let Some((masked, len)) = url_rest(rest) {
            out.push_str(&masked);
            rest = &rest[len..];
        } else if let Some((kept, len)) = header_value(rest) {
            out.push_str(&rest[..kept]);
            out.push_str(MASK);
            rest = &rest[len..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// Length of a GitLab token that `text` begins with.
fn gitlab_token(text: &str) -> Option<usize> {
    // A runner's registration token of old, and a session's cookie.
    for prefix in ["GR1348941", "_gitlab_session="] {
        if let Some(body) = text.strip_prefix(prefix) {
            let len =
                body.find(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c))).unwrap_or(body.len());
            return (len >= 8).then_some(prefix.len() + len);
        }
    }
    let after = text.strip_prefix("gl")?;
    let kind =
        TOKEN_KINDS.iter().find(|kind| after.strip_prefix(**kind).is_some_and(|r| r.starts_with('-')))?;
    let body = &after[kind.len() + 1..];
    let len = body.find(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c))).unwrap_or(body.len());
    (len >= 8).then_some(2 + kind.len() + 1 + len)
}

/// What stands for `://user:password@host/path?query` that `text` begins with, where it has user-info or a query,
/// and the length of what it stands for.
fn url_rest(text: &str) -> Option<(String, usize)> {
    let after = text.strip_prefix("://")?;
    let end = after.find(|c: char| c.is_whitespace() || "\"'<>".contains(c)).unwrap_or(after.len());
    let url = &after[..end];
    let authority = url.find(['/', '?', '#']).unwrap_or(url.len());
    let host = url[..authority].rfind('@').filter(|at| &url[..*at] != "git").map_or(0, |at| at + 1);
    let query = url[authority..].find('?').map(|at| authority + at);
    if host == 0 && query.is_none_or(|at| url[at + 1..].starts_with(MASK)) {
        return None;
    }
    let user = if host > 0 { format!("{MASK}@") } else { String::new() };
    let rest = match query {
        Some(at) => format!("{}?{MASK}", &url[host..at]),
        None => url[host..].to_owned(),
    };
    Some((format!("://{user}{rest}"), 3 + end))
}

/// Where the value of an `Authorization: Bearer …` or `PRIVATE-TOKEN: …` that `text` begins with starts and ends.
fn header_value(text: &str) -> Option<(usize, usize)> {
    let prefix = ["bearer ", "basic ", "private-token: ", "job-token: ", "deploy-token: ", "cookie: "]
        .into_iter()
        .find(|prefix| text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)))?;
    let value = &text[prefix.len()..];
    let len = value.find(|c: char| c.is_whitespace() || "\"',".contains(c)).unwrap_or(value.len());
    (len >= 16).then_some((prefix.len(), prefix.len() + len))
}

/// Flags whose value is kept: those of agentk and of the Flux controllers that a check reads, none a secret.
const KEPT_FLAGS: &[&str] = &[
    "--token-file",
    "--kas-address",
    "--kas-ca-cert-file",
    "--ca-cert-file",
    "--kas-tls-server-name",
    "--kas-insecure-skip-tls-verify",
    "--watch-all-namespaces",
    "--no-cross-namespace-refs",
    "--events-addr",
    "--storage-adv-addr",
    "--concurrent",
    "--log-level",
    "--feature-gates",
];

/// Masks the value of every argument that is not on the list of harmless ones.
pub fn arguments(args: Vec<String>) -> Vec<String> {
    let mask = |arg: String| match arg.split_once('=') {
        Some((flag, value)) if KEPT_FLAGS.contains(&flag) => format!("{flag}={}", url(value)),
        Some((flag, _)) if flag.starts_with('-') => format!("{flag}={MASK}"),
        None if arg.starts_with('-') => arg,
        _ => MASK.to_owned(),
    };
    args.into_iter().map(mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_user_info_and_headers_are_masked() {
        for (raw, masked) in [
            ("token glpat-abcdefgh12345678 refused", "token *** refused"),
            ("acme-glagent-abcdefgh_1234.01.abc", "acme-***"),
            ("register with GR1348941abcdefghijklmnopqrst: 403", "register with ***: 403"),
            ("cookie _gitlab_session=0123456789abcdef; x", "cookie ***; x"),
            ("unable to clone 'https://u:p4ss@h/x.git': no", "unable to clone 'https://***@h/x.git': no"),
            ("ssh://git@h:22/x", "ssh://git@h:22/x"),
            ("clone 'https://h/x.git?private_token=p4ss': no", "clone 'https://h/x.git?***': no"),
            ("clone 'https://h/x.git?***': no", "clone 'https://h/x.git?***': no"),
            ("https://***@h/x", "https://***@h/x"),
            ("Authorization: Bearer abcdefghijklmnopqrst", "Authorization: Bearer ***"),
            ("basic understanding of things", "basic understanding of things"),
            ("a glance", "a glance"),
        ] {
            assert_eq!(free_text(raw), masked);
        }
    }

    #[test]
    fn urls_lose_what_may_be_secret() {
        assert_eq!(url("https://oauth2:secret@h:8443/a/b.git?private_token=x#f"), "https://h:8443/a/b.git");
        assert_eq!(url("ssh://git@gitlab.example.com/a.git"), "ssh://git@gitlab.example.com/a.git");
        assert_eq!(url("wss://kas.gitlab.com"), "wss://kas.gitlab.com");
    }

    #[test]
    fn only_harmless_arguments_keep_their_value() {
        let args =
            ["--kas-address=wss://kas", "--secret=s3cr3t", "--kas-header", "Cookie: s3cr3t", "--verbose"];
        assert_eq!(
            arguments(args.map(str::to_owned).to_vec()),
            ["--kas-address=wss://kas", "--secret=***", "--kas-header", "***", "--verbose"]
        );
    }
}

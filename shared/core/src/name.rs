//! Names of objects as segments of a request's path and as arguments: what Kubernetes accepts, and nothing that leads
//! elsewhere.

/// Longest name of an object (Kubernetes, "Object Names and IDs").
const LONGEST: usize = 253;

/// Whether this can be the name of an object or namespace.
///
/// Kubernetes itself refuses `.`, `..`, `/` and `%` in every kind's name (apimachinery `IsValidPathSegmentName`). Beyond
/// that the name must be printable ASCII without what ends a path (`?`, `#`) or is a separator elsewhere (`\`), and must not
/// begin like an option.
pub fn is_valid(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_graphic() && !"/%?#\\".contains(c);
    !matches!(name, "" | "." | "..")
        && name.len() <= LONGEST
        && !name.starts_with('-')
        && name.chars().all(fits)
}

/// Whether every segment of a request's path is a name, decoded once, as the API server does.
pub fn is_path(path: &str) -> bool {
    segments(path).all(|segment| segment.is_some_and(|name| is_valid(&name)))
}

/// The same for GitLab, where a segment can be the encoded path of a project or a file.
pub fn is_nested_path(path: &str) -> bool {
    let fits = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['%', '\\']);
    let nested = |path: String| !path.chars().any(char::is_control) && path.split('/').all(fits);
    segments(path).all(|segment| segment.is_some_and(nested))
}

/// The segments of a path before its query, decoded; none where that is no text.
fn segments(path: &str) -> impl Iterator<Item = Option<String>> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.strip_prefix('/').unwrap_or(path).split('/').map(decoded)
}

fn decoded(segment: &str) -> Option<String> {
    let mut bytes = segment.bytes();
    let mut out = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        out.push(match byte {
            b'%' => u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_where_it_says() {
        for path in [
            "/version",
            "/api/v1/namespaces/flux-system/secrets/flux-system",
            "/apis/apps/v1/deployments?limit=500&continue=..%2F",
            "/api/v1/namespaces/x/services/http:source-controller:80/proxy/helmrepository/a/b/index-1.yaml",
            "/api/v1/namespaces/x/services/http:webhook-receiver:80/proxy/hook/0f",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
        ] {
            assert!(is_path(path), "{path}");
        }
        let names = [
            "",
            ".",
            "..",
            "%2e",
            "%2E%2e",
            ".%2E",
            "a%2Fb",
            "%2f",
            "%252e%252e",
            "%00",
            "a%00b",
            "a%0ab",
            "%",
            "%2",
            "%zz",
            "%ff",
            "a%5Cb",
            "..%5C",
            "%20",
            "a%3Fb",
            "a%23b",
            "-x",
            "%C3%A4",
        ];
        for name in names {
            assert!(!is_path(&format!("/api/v1/namespaces/flux-system/secrets/{name}")), "{name}");
            assert!(!is_path(&format!("/api/v1/namespaces/{name}/secrets/x")), "{name}");
        }
        assert!(!is_path(&format!("/api/v1/namespaces/{}", "a".repeat(10_000))));
    }

    #[test]
    fn a_path_of_gitlab_is_nested_and_stays_inside() {
        for path in [
            "/api/v4/projects/platform%2Ffleet",
            "/api/v4/projects/7/repository/files/.gitlab%2Fagents%2Fa%2Fconfig.yaml/raw?ref=HEAD",
            "/api/v4/groups/gr%C3%BCn?with_projects=false",
            "/api/graphql",
        ] {
            assert!(is_nested_path(path), "{path}");
        }
        for name in [
            "",
            ".",
            "..",
            "%2e%2e",
            "a%2F..%2F..%2Fusers",
            "%2Fa",
            "a%2F",
            "a%2F%2Fb",
            "..%2Fa",
            "a%2F.",
            "%252e",
            "a%5C..",
            "a%00",
            "a%0d%0ab",
            "%ff",
            "%",
        ] {
            assert!(!is_nested_path(&format!("/api/v4/projects/{name}")), "{name}");
            assert!(!is_nested_path(&format!("/api/v4/projects/{name}/members")), "{name}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        let long = "a".repeat(LONGEST + 1);
        let others = [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "/",
            "%2e%2e",
            "%2E",
            "a%2fb",
            "a\0b",
            "\0",
            "a b",
            " ",
            "a\n",
            "-o",
            "--all",
            "a?b",
            "a#b",
            "a\\b",
            "..\\..",
            "ä",
            "\u{202e}a",
            "\u{ff0e}\u{ff0e}",
            &long,
        ];
        for other in others {
            assert!(!is_valid(other), "{other:?}");
        }
        for name in ["flux-system", "a", "...", "..a", "a..b", "system:node", "a.b.c", "0", &long[1..]] {
            assert!(is_valid(name), "{name:?}");
        }
    }
}

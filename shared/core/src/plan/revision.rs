//! When two words mean one thing: a project and the URL that is fetched, a revision and what a person writes of it.

/// The project's path in a repository URL: `https://host/group/project.git`, `ssh://git@host:22/…`, `git@host:…`.
pub fn project_path(url: &str) -> Option<String> {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => url.split_once(':')?.1,
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (!path.is_empty()).then(|| path.to_owned())
}

/// GitLab's paths do not distinguish case. A GitLab below a sub-path has its own path in front.
pub(super) fn same_project(path: &str, project: &str) -> bool {
    let (path, project) = (path.to_lowercase(), project.to_lowercase());
    path == project || path.ends_with(&format!("/{project}"))
}

/// Whether a revision is the one that a person means: whole, a commit by its first digits, a version or a tag.
pub fn is_revision(revision: &str, meant: &str) -> bool {
    if revision.is_empty() || meant.is_empty() {
        return false;
    }
    let digits = meant.rsplit_once(':').map_or(meant, |(_, digits)| digits).to_lowercase();
    let hex = digits.len() >= 7 && digits.chars().all(|c| c.is_ascii_hexdigit());
    let digest = revision.rsplit_once(':').map(|(_, digest)| digest);
    let reference_fits = match (meant.split_once('@'), revision.split_once('@')) {
        (Some((meant, _)), Some((held, _))) => meant == held,
        _ => true,
    };
    revision == meant
        || hex && reference_fits && digest.is_some_and(|d| d.starts_with(&digits))
        || revision.split_once('@').is_some_and(|(reference, _)| reference == meant)
}

/// Whether two revisions of a chart are one: a release names it with or without the digest behind `+`.
pub fn same_revision(a: &str, b: &str) -> bool {
    a == b || a.split('+').next() == b.split('+').next() && !a.contains('@') && !a.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_projects() {
        for (url, path) in [
            ("https://gitlab.example.com/platform/fleet.git", "platform/fleet"),
            ("ssh://git@gitlab.example.com:2222/platform/fleet", "platform/fleet"),
            ("git@gitlab.example.com:platform/fleet.git", "platform/fleet"),
        ] {
            assert_eq!(project_path(url).as_deref(), Some(path));
        }
        assert!(same_project("gitlab/Platform/fleet", "platform/Fleet"));
        assert!(!same_project("other-platform/fleet", "platform/fleet"));
    }

    #[test]
    fn revisions_are_meant_whole_or_by_their_first_digits() {
        let held = "main@sha1:0123456789abcdef0123";
        for meant in [held, "0123456", "0123456789ABCDEF", "sha1:0123456789", "main", "main@sha1:0123456"] {
            assert!(is_revision(held, meant), "{meant}");
        }
        for other in ["012", "1234567", "dev@sha1:0123456", "", "v1"] {
            assert!(!is_revision(held, other), "{other}");
        }
        assert!(is_revision("2.29.1", "2.29.1"));
        assert!(same_revision("1.0.0+abc", "1.0.0") && !same_revision("1.0.1", "1.0.0"));
    }
}

//! A namespace that was named on the command line has to exist: what is not there has no problem, and a slip of the
//! keyboard would end with "all is well".

use anyhow::Result;
use gitlab_agent_core::snapshot::kinds::{HasMeta, Namespace};
use gitlab_agent_core::snapshot::{Listing, Snapshot};
use gitlab_agent_core::text::visible;
use http::StatusCode;

use super::UsageError;
use crate::access::{ReadClient, segment};

/// Namespace of the Flux controllers, unless told otherwise. It is named by nobody, and may be missing with Flux.
pub(super) const FLUX: &str = "flux-system";

/// Looks whether they exist, in the list of namespaces that was read, else one by one. One that is found so is added to the
/// list; what one may not read is believed; of what could not be found out the list's gap tells
/// ([`gitlab_agent_core::facts::Facts::unseen_namespace`]).
///
/// # Errors
/// One does not exist.
pub(super) async fn check(client: &ReadClient, snapshot: &mut Snapshot, named: &[&str]) -> Result<()> {
    for name in named {
        let found = match snapshot.namespace_objects.find("", name) {
            Ok(found) => found.is_some(),
            Err(_) if snapshot.server.why().is_some_and(|why| why.kind.is_silence()) => true,
            Err(_) => match read(client, name).await {
                Some(Answered::Found(namespace)) => {
                    snapshot.namespace_objects.items.push(*namespace);
                    true
                }
                Some(Answered::Missing) => false,
                None => true,
            },
        };
        if !found {
            return Err(UsageError(missing(name, &snapshot.namespace_objects)).into());
        }
    }
    Ok(())
}

/// What the API server says of one namespace.
enum Answered {
    Found(Box<Namespace>),
    Missing,
}

async fn read(client: &ReadClient, name: &str) -> Option<Answered> {
    let path = format!("/api/v1/namespaces/{}", segment(name));
    let asked = format!("get namespace {name}");
    let answer = client.get(&path, "application/json", &asked).await.ok()?;
    if answer.status == StatusCode::NOT_FOUND {
        return Some(Answered::Missing);
    }
    answer.expect_kind(&asked, "v1", "Namespace").ok()?;
    let namespace: Namespace = serde_json::from_slice(&answer.body).ok()?;
    (namespace.metadata.name == name).then(|| Answered::Found(Box::new(namespace)))
}

fn missing<T: HasMeta>(name: &str, listed: &Listing<T>) -> String {
    let near = nearest(name, listed.items.iter().map(|n| n.meta().name.as_str()));
    let hint = near.map(|near| format!("; did you mean {}?", visible(near))).unwrap_or_default();
    format!("namespace {} does not exist{hint}", visible(name))
}

/// The name with the fewest slips to this one: at most two letters, and fewer than half of them.
fn nearest<'n>(typed: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let most = 2.min(typed.chars().count() / 2);
    let near = names.map(|name| (slips(typed, name), name)).filter(|(slips, _)| *slips <= most);
    near.min().map(|(_, name)| name)
}

/// How many letters are to be added, dropped, changed or swapped with the next.
fn slips(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = [vec![0; b.len() + 1], (0..=b.len()).collect::<Vec<_>>(), vec![0; b.len() + 1]];
    for i in 1..=a.len() {
        rows[2][0] = i;
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[1][j] + 1).min(rows[2][j - 1] + 1).min(rows[1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[0][j - 2] + 1);
            }
            rows[2][j] = best;
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["flux-system", "gitlab", "shop", "kube-system", "a"];
        for (typed, expected) in [
            ("gitlba", Some("gitlab")),
            ("gitlb", Some("gitlab")),
            ("gitlabb", Some("gitlab")),
            ("gitleb", Some("gitlab")),
            ("Gitlab", Some("gitlab")),
            ("flux-sytsem", Some("flux-system")),
            ("fluxsystem", Some("flux-system")),
            ("shpo", Some("shop")),
            ("b", None),
            ("", None),
            ("production", None),
            ("kube", None),
        ] {
            assert_eq!(nearest(typed, names.into_iter()), expected, "{typed}");
        }
        assert_eq!(slips("abc", "abc"), 0);
        assert_eq!(slips("", "abc"), 3);
    }
}

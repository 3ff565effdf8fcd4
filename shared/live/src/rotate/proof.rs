//! Proof from both ends: that what the Secret holds works, and that it stays there.

use std::time::Duration;

use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::rotate::owner::owners;
use gitlab_agent_core::rotate::{Held, Journal, Proof, Stage};
use gitlab_agent_core::snapshot::Why;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::pods::{self, Sight};
use super::{Run, secret};
use crate::access::segment;

/// How often is looked.
const PAUSE: Duration = Duration::from_secs(1);
/// GitLab shows a use at once; where it does not, the cluster's own evidence counts after this long.
const GITLAB_FIRST: Duration = Duration::from_secs(45);

#[derive(Deserialize)]
struct Lease {
    #[serde(default)]
    spec: LeaseSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct LeaseSpec {
    holder_identity: Option<String>,
    renew_time: Option<String>,
}

impl Run<'_> {
    /// Whether agentk works with what the Secret holds: GitLab saw that token used; else a pod that started since
    /// holds the agent's Lease and renews it, which agentk does once GitLab gave it its configuration.
    pub(super) async fn verify(&self, journal: &Journal) -> Proof {
        let begun = Instant::now();
        let back = journal.stage == Stage::Undo;
        let token = if back { journal.old_token } else { journal.new_token };
        let mut renewed: Option<(String, String)> = None;
        let mut seen = "nothing was seen yet".to_owned();
        while begun.elapsed() < self.options.verify_timeout && !self.must_end() {
            // The old token was used before: its last use says nothing of the pods that started since.
            if let Some(id) = token.filter(|_| !back) {
                match self.keys.one(id).await {
                    Ok(found) => match found.last_used_at {
                        Some(at) => return Proof::Yes(format!("GitLab saw token {id} used at {at:.0}")),
                        None => seen = format!("GitLab saw no use of token {id}"),
                    },
                    Err(fault) => seen = fault.to_string(),
                }
            }
            let new = match self.new_pods(journal).await {
                Ok(new) => new,
                Err(why) => {
                    seen = format!("{}: {}", why.asked, why.message);
                    Vec::new()
                }
            };
            if let Some((holder, at)) = self.leader().await.filter(|(holder, _)| new.contains(holder)) {
                let patient = back || begun.elapsed() >= GITLAB_FIRST;
                match &renewed {
                    Some((known, before)) if *known == holder && *before != at && patient => {
                        return Proof::Yes(format!(
                            "pod {holder}, started since, holds and renews the agent's Lease"
                        ));
                    }
                    Some((known, _)) if *known == holder => {}
                    _ => renewed = Some((holder, at)),
                }
            } else if begun.elapsed() > Duration::from_secs(5)
                && let Some(line) = self.refused(&new).await
            {
                return Proof::No(format!("agentk's log says that GitLab refuses the token: {line}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Proof::Open(format!(
            "nothing was revoked, because it was not seen within {} s that agentk works with the {} token ({seen}; no \
             pod that started since holds the agent's Lease)",
            self.options.verify_timeout.as_secs(),
            if back { "old" } else { "new" },
        ))
    }

    async fn new_pods(&self, journal: &Journal) -> Result<Vec<String>, Why> {
        let place = &self.target.secret;
        let changed = place.read(self.client, &place.name).await?.and_then(|r| r.changed_at);
        let sight = Sight::look(self.client, &self.target.deployment).await?;
        let names =
            sight.map(|s| s.new_pods(&journal.mark(), changed).iter().map(|n| (*n).to_owned()).collect());
        Ok(names.unwrap_or_default())
    }

    async fn leader(&self) -> Option<(String, String)> {
        let name = format!("agent-{}-lock", self.keys.agent);
        let namespace = segment(self.target.namespace());
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}");
        let asked = format!("get lease {}/{name}", self.target.namespace());
        let lease = pods::get::<Lease>(self.client, &path, &asked).await.ok()??;
        let holder = lease.spec.holder_identity?;
        Some((holder.split('_').next()?.to_owned(), lease.spec.renew_time?))
    }

    async fn refused(&self, new: &[String]) -> Option<String> {
        for pod in new {
            if let Some(line) = pods::refusal(self.client, self.target.namespace(), pod).await {
                return Some(line);
            }
        }
        None
    }

    /// Whether what the Secret holds stays: what may write it too is asked to reconcile, and the Secret read again.
    pub(super) async fn prove(&self, read: &secret::Read) -> Proof {
        let mut asked: Vec<ObjectRef> = owners(&gitlab_agent_core::rotate::owner::Metadata {
            annotations: Default::default(),
            ..read.metadata.clone()
        })
        .into_iter()
        .map(|owner| owner.object)
        .filter(|o| matches!(o.kind.as_str(), "Kustomization" | "HelmRelease"))
        .collect();
        asked.extend(self.target.release.iter().filter(|(_, suspended)| !suspended).map(|(r, _)| r.clone()));
        asked.sort();
        asked.dedup();
        let mut done = Vec::new();
        for object in &asked {
            match self.reconcile(object).await {
                Ok(()) => done.push(object.to_string()),
                Err(why) => {
                    return Proof::Open(format!(
                        "nothing was revoked, because it could not be seen whether {object} takes the new value back: {why}"
                    ));
                }
            }
        }
        let place = &self.target.secret;
        match place.read(self.client, &place.name).await {
            Ok(Some(now)) if now.held() == Held::New => Proof::Yes(match done.len() {
                0 => "nothing is known that writes the Secret too, and it holds what it was given".to_owned(),
                _ => format!("after {} reconciled it holds what it was given", done.join(", ")),
            }),
            Ok(_) => Proof::No(format!("after {} reconciled the Secret no longer holds it", done.join(", "))),
            Err(why) => Proof::Open(format!("{}: {}", why.asked, why.message)),
        }
    }

    /// Asks one object to reconcile and waits until it did.
    async fn reconcile(&self, object: &ObjectRef) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Live {
            #[serde(default)]
            status: Status,
            #[serde(default)]
            spec: Spec,
        }
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Status {
            last_handled_reconcile_at: String,
            conditions: Vec<Condition>,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Spec {
            suspend: bool,
        }
        #[derive(Deserialize)]
        struct Condition {
            #[serde(rename = "type")]
            kind: String,
            status: String,
        }
        let (group, version, plural) = match object.kind.as_str() {
            "HelmRelease" => ("helm.toolkit.fluxcd.io", "v2", "helmreleases"),
            _ => ("kustomize.toolkit.fluxcd.io", "v1", "kustomizations"),
        };
        let path = format!(
            "/apis/{group}/{version}/namespaces/{}/{plural}/{}",
            segment(&object.namespace),
            segment(&object.name)
        );
        let token = format!("{:.9}", jiff::Timestamp::now());
        let patch = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": token}}});
        let words = |why: Why| format!("{}: {}", why.asked, why.message);
        self.client.patch(&path, &patch, &format!("patch {object}")).await.map_err(words)?;
        let begun = Instant::now();
        while begun.elapsed() < self.options.verify_timeout && !self.must_end() {
            let live = pods::get::<Live>(self.client, &path, &format!("get {object}")).await;
            if let Ok(Some(live)) = live {
                if live.spec.suspend {
                    return Err("it is suspended; what it does when it is resumed is not known".to_owned());
                }
                let busy = |c: &Condition| c.kind == "Reconciling" && c.status == "True";
                if live.status.last_handled_reconcile_at == token && !live.status.conditions.iter().any(busy)
                {
                    return Ok(());
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err("it did not reconcile in time".to_owned())
    }
}

//! Proof from both ends that agentk works with what the Secret holds.

use std::time::Duration;

use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::rotate::{Journal, Proof, Stage};
use gitlab_agent_core::snapshot::Why;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::time::Instant;

use super::Run;
use super::keys::Keys;
use super::pods::{self, Sight};
use super::target::Agentk;
use crate::access::segment;

/// How often is looked.
const PAUSE: Duration = Duration::from_secs(1);
/// GitLab shows a use at once; where it does not, the cluster's own evidence counts after this long.
const GITLAB_FIRST: Duration = Duration::from_secs(45);

/// The clocks of GitLab and the API server may differ by as much.
const CLOCKS: SignedDuration = SignedDuration::from_mins(2);

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
    /// Whether every Deployment of agentk works with what the Secret holds.
    pub(super) async fn connects(&self, keys: &Keys, agentks: &[Agentk], journal: &Journal) -> Proof {
        if let [agentk] = agentks {
            return self.one_connects(keys, agentk, journal).await;
        }
        let mut seen = Vec::new();
        for agentk in agentks {
            match self.is_listed(keys, agentk, journal).await {
                Proof::Yes(text) => seen.push(text),
                other => return other,
            }
        }
        Proof::Yes(seen.join("; "))
    }

    /// Of several Deployments only one can hold the agent's Lease, and GitLab shows that some pod used the token: each must
    /// be among GitLab's connections with a pod that started since.
    async fn is_listed(&self, keys: &Keys, agentk: &Agentk, journal: &Journal) -> Proof {
        let begun = Instant::now();
        let namespace = &agentk.deployment.namespace;
        let mut seen = "GitLab lists no connection of a pod that started since".to_owned();
        while begun.elapsed() < self.options.verify_timeout && !self.must_end() {
            let new = self.new_pods(agentk, journal).await.unwrap_or_default();
            match keys.connected().await {
                Ok(found) => {
                    let ours = |(n, pod): &&(String, String)| n == namespace && new.contains(pod);
                    if let Some((_, pod)) = found.pods.iter().find(ours) {
                        return Proof::Yes(format!(
                            "GitLab is connected with pod {pod} of {}",
                            agentk.deployment
                        ));
                    }
                }
                Err(fault) => seen = fault.to_string(),
            }
            if begun.elapsed() > Duration::from_secs(5)
                && let Some(line) = self.refused(agentk, &new).await
            {
                return Proof::No(format!(
                    "the log of {} says that GitLab refuses the token: {line}",
                    agentk.deployment
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Proof::Open(format!(
            "nothing was revoked, because it was not seen within {} s that {} works ({seen})",
            self.options.verify_timeout.as_secs(),
            agentk.deployment
        ))
    }

    /// Whether agentk works with what the Secret holds: GitLab saw that token used; else a pod that started since
    /// holds the agent's Lease and renews it, which agentk does once GitLab gave it its configuration.
    async fn one_connects(&self, keys: &Keys, agentk: &Agentk, journal: &Journal) -> Proof {
        let begun = Instant::now();
        let back = journal.stage == Stage::Undo;
        let token = if back { journal.old_token } else { journal.new_token };
        let mut renewed: Option<(String, String)> = None;
        let mut seen = "nothing was seen yet".to_owned();
        while begun.elapsed() < self.options.verify_timeout && !self.must_end() {
            // The old token was used before: its last use says nothing of the pods that started since.
            if let Some(id) = token.filter(|_| !back) {
                match keys.one(id).await {
                    Ok(found) => match found.last_used_at {
                        Some(at) if self.is_later(at).await => {
                            return Proof::Yes(format!("GitLab saw token {id} used at {at:.0}"));
                        }
                        Some(at) => {
                            seen = format!(
                                "GitLab saw token {id} used at {at:.0}, before the Secret was written"
                            );
                        }
                        None => seen = format!("GitLab saw no use of token {id}"),
                    },
                    Err(fault) => seen = fault.to_string(),
                }
            }
            let new = match self.new_pods(agentk, journal).await {
                Ok(new) => new,
                Err(why) => {
                    seen = format!("{}: {}", why.asked, why.message);
                    Vec::new()
                }
            };
            if let Some((holder, at)) =
                self.leader(keys, agentk).await.filter(|(holder, _)| new.contains(holder))
            {
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
                && let Some(line) = self.refused(agentk, &new).await
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

    /// Whether it was after the Secret got its value: an earlier use says nothing of who reads it.
    async fn is_later(&self, at: Timestamp) -> bool {
        let place = &self.target.secret;
        let read = place.read(self.client, &place.name).await.ok().flatten();
        read.is_some_and(|read| read.changed_at.is_none_or(|changed| changed.duration_since(at) < CLOCKS))
    }

    async fn new_pods(&self, agentk: &Agentk, journal: &Journal) -> Result<Vec<String>, Why> {
        let place = &self.target.secret;
        let changed = place.read(self.client, &place.name).await?.and_then(|r| r.changed_at);
        let sight = Sight::look(self.client, &agentk.deployment).await?;
        let names =
            sight.map(|s| s.new_pods(&journal.mark(), changed).iter().map(|n| (*n).to_owned()).collect());
        Ok(names.unwrap_or_default())
    }

    async fn leader(&self, keys: &Keys, agentk: &Agentk) -> Option<(String, String)> {
        let name = format!("agent-{}-lock", keys.agent);
        let namespace = segment(&agentk.deployment.namespace);
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}");
        let object = ObjectRef::new("Lease", &agentk.deployment.namespace, &name);
        let lease = pods::get::<Lease>(self.client, &path, &object).await.ok()??;
        let holder = lease.spec.holder_identity?;
        Some((holder.split('_').next()?.to_owned(), lease.spec.renew_time?))
    }

    async fn refused(&self, agentk: &Agentk, new: &[String]) -> Option<String> {
        for pod in new {
            if let Some(line) = pods::refusal(self.client, &agentk.deployment.namespace, pod).await {
                return Some(line);
            }
        }
        None
    }
}

//! Whether everything in the world has come up.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::World;
use super::gitlab::AGENT_ID;
use super::wait::yes;

/// Generous: two cores may be shared with a compiler.
const DEADLINE: Duration = Duration::from_secs(180);

/// Lists in which every object is to be ready, and how many of them at least.
const READY: &[(&str, usize)] = &[
    ("/apis/source.toolkit.fluxcd.io/v1/gitrepositories", 2),
    ("/apis/source.toolkit.fluxcd.io/v1/helmrepositories", 1),
    ("/apis/source.toolkit.fluxcd.io/v1/helmcharts", 1),
    ("/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations", 2),
    ("/apis/helm.toolkit.fluxcd.io/v2/helmreleases", 1),
];

impl World {
    /// Waits until Flux has applied everything, agentk leads, and all pods run.
    pub fn wait_healthy(&self) -> Result<()> {
        self.wait_until("a healthy world", DEADLINE, || {
            let trouble = self.block_on(self.what_is_not_healthy())?;
            if trouble.is_empty() { Ok(Some(())) } else { anyhow::bail!("{}", trouble.join(", ")) }
        })
    }

    /// What is not as it should be now; empty when all is well.
    pub async fn what_is_not_healthy(&self) -> Result<Vec<String>> {
        let mut trouble = Vec::new();
        if self.options.flux {
            for (path, least) in READY {
                self.look_at_list(path, *least, &mut trouble).await?;
            }
            self.look_at_pods(&[("flux-system", 4), ("gitlab", 2), ("example-nginx", 2)], &mut trouble)
                .await?;
        }
        if self.options.flux && self.options.agentk {
            self.look_at_list("/apis/notification.toolkit.fluxcd.io/v1/receivers", 2, &mut trouble).await?;
            if !self.has_leader().await? {
                trouble.push("no leader among the agentk pods".into());
            }
        }
        Ok(trouble)
    }

    async fn look_at_list(&self, path: &str, least: usize, trouble: &mut Vec<String>) -> Result<()> {
        let items = self.api.list(path).await?;
        let kind = path.rsplit('/').next().unwrap_or(path);
        if items.len() < least {
            trouble.push(format!("{} of {least} {kind}", items.len()));
        }
        for item in items.iter().filter(|item| !is_ready(item)) {
            let said = condition(item, "Ready")
                .and_then(|ready| ready["message"].as_str())
                .unwrap_or("no condition");
            trouble.push(format!("{kind}/{}: {said}", item["metadata"]["name"].as_str().unwrap_or("?")));
        }
        Ok(())
    }

    async fn look_at_pods(&self, wanted: &[(&str, usize)], trouble: &mut Vec<String>) -> Result<()> {
        for (namespace, least) in wanted {
            let pods = self.api.list(&format!("/api/v1/namespaces/{namespace}/pods")).await?;
            let running = pods.iter().filter(|pod| is_ready(pod)).count();
            if running < *least {
                trouble.push(format!("{running} of {least} pods run in {namespace}"));
            }
        }
        Ok(())
    }

    async fn has_leader(&self) -> Result<bool> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/gitlab/leases/agent-{AGENT_ID}-lock");
        let lease = self.api.get(&path).await?.unwrap_or_default();
        Ok(lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty()))
    }

    /// Waits until the object at an API path is ready at its newest generation; gives it.
    pub fn wait_object_ready(&self, path: &str, deadline: Duration) -> Result<Value> {
        self.wait_until(path, deadline, || {
            let object = self.block_on(self.api.get(path))?;
            Ok(object.filter(is_ready))
        })
    }

    /// Waits until a kubectl command prints exactly this, but for white space around it.
    pub fn wait_kubectl(&self, args: &[&str], expected: &str, deadline: Duration) -> Result<()> {
        self.wait_until(&args.join(" "), deadline, || Ok(yes(self.kubectl(args)?.trim() == expected)))
    }
}

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}

fn is_ready(object: &Value) -> bool {
    let generation = &object["metadata"]["generation"];
    let observed = &object["status"]["observedGeneration"];
    let seen = observed.is_null() || observed == generation;
    seen && condition(object, "Ready").is_some_and(|ready| ready["status"] == "True")
}

//! `version`: what this program is, what it is made for, and what it finds in the cluster.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use gitlab_agent_core::API_VERSION;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::report::Exit;
use gitlab_agent_core::snapshot::{Snapshot, Why};
use gitlab_agent_core::text::visible;
use serde_json::{Value, json};

use super::{Common, HasDeadline, out};

/// What the end-to-end tests ran with, oldest and newest (docs/compatibility.md).
const TESTED: &[(&str, &str, &str)] = &[
    ("kubernetes", "1.33", "1.37"),
    ("flux", "2.9", "2.9"),
    ("kubectl", "1.36", "1.36"),
    ("fluxCli", "2.9", "2.9"),
];

/// The libraries that speak to the API server; a test compares them with Cargo.lock.
const LIBRARIES: &[(&str, &str)] = &[("kube", "5.0.0"), ("k8s-openapi", "0.29.0")];

/// Shows the version of this program, what it was tested with, and what it finds in the cluster
#[derive(clap::Parser, Debug)]
#[command(
    name = "kubectl-gitlab_agent-version",
    bin_name = "kubectl gitlab-agent version",
    version,
    disable_help_flag = true,
    args_override_self = true,
    after_help = "Exit codes: 0 fine · 2 usage · 3 not permitted · 4 cluster unreachable or sign-in failed · 74 output not \
                  written · 124 timed out · 129 hung up · 130 interrupted · 143 terminated"
)]
pub struct Args {
    /// Show only this program, and ask no cluster
    #[arg(long)]
    pub client: bool,
    /// Output: table for people, json for programs
    #[arg(short, long, default_value = "table")]
    pub output: Output,
    /// Flags of every command
    #[command(flatten)]
    pub common: Common,
}

/// Formats.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, and help shows them")]
pub enum Output {
    Table,
    Json,
}

impl HasDeadline for Args {
    fn deadline(&self) -> Duration {
        self.common.timeout
    }
}

/// The commit this was built from; release builds are told by `GITLAB_AGENT_COMMIT`.
pub fn commit() -> Option<&'static str> {
    option_env!("GITLAB_AGENT_COMMIT").filter(|commit| !commit.is_empty())
}

/// Runs the command.
///
/// # Errors
/// Kubeconfigs and recordings that cannot be used.
pub async fn run(args: Args) -> Result<Exit> {
    let snapshot = if args.client { None } else { Some(args.common.snapshot().await?) };
    let (cluster, exit) = snapshot.as_ref().map_or((None, Exit::Fine), |s| {
        let (found, exit) = found(s);
        (Some(found), exit)
    });
    out(&match args.output {
        Output::Table => table(cluster.as_ref()),
        Output::Json => document(cluster.as_ref(), exit),
    });
    Ok(exit)
}

/// What runs in the cluster; `Err` says why that is not known.
struct Found {
    place: String,
    kubernetes: Result<String, Why>,
    flux: Result<Option<String>, Why>,
    agentk: Result<Vec<String>, Why>,
}

fn found(snapshot: &Snapshot) -> (Found, Exit) {
    let facts = Facts::derive(snapshot);
    let kubernetes = snapshot.server.get().map(|s| s.git_version.clone());
    let controllers = facts.controller("source-controller").map(|_| facts.flux_release().map(str::to_owned));
    let mut versions: Vec<String> =
        facts.agents.iter().filter_map(|a| a.version().map(str::to_owned)).collect();
    versions.sort();
    versions.dedup();
    let agentk = match facts.agent_gaps().first() {
        Some(why) if versions.is_empty() => Err(why.clone()),
        _ => Ok(versions),
    };
    let whys = [kubernetes.as_ref().err(), controllers.as_ref().err(), agentk.as_ref().err()];
    let silent = |w: &&Why| w.kind.is_silence();
    let exit = match whys.into_iter().flatten().next() {
        None => Exit::Fine,
        Some(_) if whys.into_iter().flatten().any(|w| silent(&w)) => Exit::Unreachable,
        Some(_) => Exit::Unknown,
    };
    let place = snapshot.origin.context.clone().unwrap_or_else(|| snapshot.origin.server.clone());
    (Found { place, kubernetes, flux: controllers, agentk }, exit)
}

fn table(cluster: Option<&Found>) -> String {
    let mut text = format!(
        "kubectl gitlab-agent v{} ({})\n",
        env!("CARGO_PKG_VERSION"),
        commit().map_or("built from source".to_owned(), |c| format!("commit {}", &c[..c.len().min(12)]))
    );
    let libraries: Vec<String> =
        LIBRARIES.iter().map(|(name, version)| format!("{name} {version}")).collect();
    text.push_str(&format!("built with   {}\n", libraries.join(", ")));
    let range = |oldest: &str, newest: &str| {
        if oldest == newest { oldest.to_owned() } else { format!("{oldest} to {newest}") }
    };
    let tested: Vec<String> = TESTED
        .iter()
        .map(|(what, oldest, newest)| format!("{} {}", title(what), range(oldest, newest)))
        .collect();
    text.push_str(&format!("tested with  {}\n", tested.join(", ")));
    let Some(found) = cluster else { return text };
    let none = |what: &str| format!("{what} not installed, or not labelled");
    let not_known = |why: &Why| format!("not known: {}", why.message);
    let kubernetes = found.kubernetes.clone().unwrap_or_else(|w| not_known(&w));
    let flux = match &found.flux {
        Ok(Some(version)) => version.clone(),
        Ok(None) => none("Flux is"),
        Err(why) => not_known(why),
    };
    let agentk = match &found.agentk {
        Ok(versions) if versions.is_empty() => none("agentk is"),
        Ok(versions) => versions.join(", "),
        Err(why) => not_known(why),
    };
    text.push_str(&format!(
        "\ncluster      {}\n  kubernetes {}\n  flux       {}\n  agentk     {}\n",
        visible(&found.place),
        visible(&kubernetes),
        visible(&flux),
        visible(&agentk)
    ));
    text
}

fn title(what: &str) -> &str {
    match what {
        "kubernetes" => "Kubernetes",
        "flux" => "Flux",
        "fluxCli" => "flux CLI",
        other => other,
    }
}

fn document(cluster: Option<&Found>, exit: Exit) -> String {
    let known = |value: Result<Value, &Why>| value.unwrap_or(Value::Null);
    let cluster = cluster.map(|f| {
        let unknown: Vec<Value> = [f.kubernetes.as_ref().err(), f.flux.as_ref().err(), f.agentk.as_ref().err()]
            .into_iter()
            .flatten()
            .map(|w| json!({"asked": visible(&w.asked), "message": visible(&w.message)}))
            .collect();
        json!({
            "name": visible(&f.place),
            "kubernetes": known(f.kubernetes.as_ref().map(|v| json!(visible(v)))),
            "flux": known(f.flux.as_ref().map(|v| json!(v.as_deref().map(visible)))),
            "agentk": known(f.agentk.as_ref().map(|v| json!(v.iter().map(|v| visible(v)).collect::<Vec<_>>()))),
            "unknown": unknown,
        })
    });
    let pairs = |list: &[(&str, &str)]| -> Value {
        list.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect::<serde_json::Map<_, _>>().into()
    };
    let tested: serde_json::Map<String, Value> = TESTED
        .iter()
        .map(|(what, oldest, newest)| ((*what).to_owned(), json!({"oldest": oldest, "newest": newest})))
        .collect();
    let document = json!({
        "apiVersion": API_VERSION,
        "kind": "Version",
        "version": env!("CARGO_PKG_VERSION"),
        "commit": commit(),
        "libraries": pairs(LIBRARIES),
        "tested": tested,
        "cluster": cluster,
        "exitCode": exit.code(),
    });
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use gitlab_agent_core::fixture;
    use gitlab_agent_core::snapshot::{Observed, WhyKind};

    use super::*;

    #[test]
    fn what_is_not_known_says_so_and_is_no_pass() {
        let (healthy, exit) = found(&fixture::healthy());
        assert_eq!(exit, Exit::Fine);
        let text = table(Some(&healthy));
        assert!(text.contains("kubernetes v1.36.3") && text.contains("flux       v2."), "{text}");
        let mut snapshot = fixture::healthy();
        snapshot.server = Observed::Unknown(Why::new(WhyKind::Unreachable, "get /version", "nobody answers"));
        let (silent, exit) = found(&snapshot);
        assert_eq!(exit, Exit::Unreachable);
        assert!(table(Some(&silent)).contains("not known: nobody answers"));
        let json: Value = serde_json::from_str(&document(Some(&silent), exit)).expect("JSON");
        assert_eq!(json["cluster"]["kubernetes"], Value::Null);
        assert_eq!(json["cluster"]["unknown"][0]["message"], "nobody answers");
        assert!(json["cluster"]["agentk"].is_array());
    }

    #[test]
    fn the_libraries_are_those_that_are_linked() {
        let lock = include_str!("../../../../Cargo.lock");
        for (name, version) in LIBRARIES {
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&entry), "{name} is not {version}");
        }
    }
}

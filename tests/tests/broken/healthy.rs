//! A healthy cluster: nothing is found, however much there is; and without GitLab only what GitLab alone knows is
//! unknown.

use anyhow::{Result, ensure};
use gitlab_agent_tests::programs::{Ran, command, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{AGENT_PROJECT, EXAMPLE_PROJECT};
use serde_json::Value;

use super::{furnish, k, roots, verify, well};

/// The checks that only GitLab can answer.
const OF_GITLAB: [&str; 7] = ["GA105", "GA314", "GA404", "GA503", "GA504", "GA509", "GA601"];

/// Each check's code and verdict, and whether it lacks something for want of GitLab.
fn verdicts(ran: &Ran) -> Vec<(String, String, bool)> {
    let json = ran.json();
    let checks = json["checks"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let wants = |check: &Value| {
        let reasons = check["unknown"].as_array().into_iter().flatten();
        reasons.map(|why| &why["kind"]).any(|kind| kind == "noGitLab")
    };
    checks.map(|check| (text(&check["code"]), text(&check["verdict"]), wants(check))).collect()
}

#[test]
fn without_gitlab_only_what_gitlab_knows_is_unknown() -> Result<()> {
    World::with(|world| {
        furnish(world)?;
        let with = verify(world)?;
        let args = ["-o", "json", "--skip", "GA603", "--no-gitlab"];
        let without = run(command("verify").args(args).env("KUBECONFIG", world.kubeconfig()));
        ensure!(without.code == 0, "{}", without.out);
        let (before, after) = (verdicts(&with), verdicts(&without));
        ensure!(before.iter().all(|(_, _, wants)| !wants), "with GitLab nothing lacks it: {before:?}");
        let lacking: Vec<_> = after.iter().filter(|(_, _, wants)| *wants).collect();
        let codes: Vec<&str> = lacking.iter().map(|(code, _, _)| code.as_str()).collect();
        ensure!(codes == OF_GITLAB, "{codes:?}");
        ensure!(lacking.iter().all(|(_, verdict, _)| verdict == "unknown"), "{lacking:?}");
        let changed =
            before.iter().zip(&after).filter(|((_, one, _), (_, other, wants))| one != other && !wants);
        let changed: Vec<_> = changed.collect();
        ensure!(changed.is_empty() && before.len() == after.len(), "no other verdict changes: {changed:?}");
        Ok(())
    })
}

#[test]
fn three_agents_and_forty_sources_are_healthy() -> Result<()> {
    World::with(|world| {
        furnish(world)?;
        // First what pushes: a Receiver that is just being made takes no event.
        for name in ["second", "third"] {
            agent(world, name)?;
        }
        world.apply(&(3..=40).map(|number| source(world, number)).collect::<String>())?;
        let ready = "wait --for=condition=Ready --timeout=90s";
        k(world, &format!("-n flux-system {ready} gitrepository -l world.test/many=true"))?;
        for name in ["second", "third"] {
            k(world, &format!("-n agent-{name} {ready} helmrelease/gitlab-agent"))?;
        }
        let healthy = well(world);
        let found = verify(world)?;
        k(world, "-n flux-system delete gitrepository -l world.test/many=true --wait=false")?;
        for name in ["second", "third"] {
            k(world, &format!("-n agent-{name} delete helmrelease/gitlab-agent --timeout=60s"))?;
            k(world, &format!("delete namespace agent-{name} --wait=false"))?;
        }
        healthy?;
        let json = found.json();
        let examined = |code: &str| {
            let checks = json["checks"].as_array().into_iter().flatten();
            checks
                .filter(|check| check["code"] == code)
                .find_map(|check| check["examined"].as_u64())
                .unwrap_or(0)
        };
        ensure!(examined("GA407") >= 40, "40 sources were looked at: {}", examined("GA407"));
        ensure!(examined("GA301") == 3, "3 agents were looked at: {}", examined("GA301"));
        ensure!(roots(&found).iter().all(|root| root.severity == "info"), "{:#?}", roots(&found));
        Ok(())
    })
}

/// One more source, in turn of both projects.
fn source(world: &World, number: usize) -> String {
    let (project, secret) = match number % 2 {
        0 => (AGENT_PROJECT, "flux-system"),
        _ => (EXAMPLE_PROJECT, "example-nginx-app"),
    };
    format!(
        "---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\n\
         metadata: {{name: many-{number}, namespace: flux-system, labels: {{world.test/many: 'true'}}}}\n\
         spec: {{interval: 5m, url: '{}', ref: {{branch: main}}, secretRef: {{name: {secret}}}}}\n",
        world.gitlab().project_url(project)
    )
}

/// One more agent, whose Flux module is off: one of them is enough.
fn agent(world: &World, name: &str) -> Result<()> {
    let gitlab = world.gitlab();
    let file = format!(".gitlab/agents/{name}/config.yaml");
    world.git(AGENT_PROJECT)?.push_file(&file, "flux:\n  enabled: false\n")?;
    let id = gitlab.new_agent(AGENT_PROJECT, name)?;
    let token = gitlab.new_token_of_agent(id, name)?;
    world.apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: agent-{name}}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: gitlab-agent-token, namespace: agent-{name}}}\n\
         stringData: {{token: {}}}\n---\n\
         apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\n\
         metadata: {{name: gitlab-agent, namespace: agent-{name}}}\n\
         spec:\n  interval: 1h\n  chart:\n    spec:\n      chart: gitlab-agent\n      version: ~2.29.0\n      \
         sourceRef: {{kind: HelmRepository, name: gitlab-agent, namespace: gitlab}}\n  \
         values: {{config: {{kasAddress: '{}', secretName: gitlab-agent-token}}}}\n",
        token.value,
        gitlab.kas_address(),
    ))
}

//! Agents that are not rotated: what would go wrong later is refused now.

use anyhow::{Result, ensure};
use gitlab_agent_tests::rotation::stage::Stage;
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{AGENT_ID, AGENT_PROJECT, Role};
use serde_json::json;

/// What would go wrong later is refused now, and refused means that nothing is changed anywhere.
#[test]
fn refused_means_that_nothing_is_changed() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let gitlab = world.gitlab();
        let patch = |patch: &str| {
            world
                .kubectl(&[
                    "patch",
                    "secret",
                    "-n",
                    "gitlab",
                    "gitlab-agent-token",
                    "--type=merge",
                    "-p",
                    patch,
                ])
                .map(drop)
        };
        let yes = || stage.prepared(&["--yes"]);

        let pause = |paused: bool| {
            let patch = json!({"spec": {"paused": paused}}).to_string();
            stage.kubectl(&["patch", "deployment", "gitlab-agent-v2", "--type=merge", "-p", &patch])
        };
        pause(true)?;
        stage.refuses(&mut yes(), 5, &["is paused", "rollout resume deployment/gitlab-agent-v2"])?;
        pause(false)?;

        let second = gitlab.new_token_of_agent(AGENT_ID, "another")?;
        stage.refuses(&mut yes(), 5, &["2 active tokens", "another", "never used"])?;
        gitlab.revoke(&second.value)?;

        for (labels, owner) in [
            (
                r#"{"kustomize.toolkit.fluxcd.io/name":"apps","kustomize.toolkit.fluxcd.io/namespace":"flux-system"}"#,
                "Kustomization flux-system/apps",
            ),
            (
                r#"{"helm.toolkit.fluxcd.io/name":"x","helm.toolkit.fluxcd.io/namespace":"gitlab"}"#,
                "HelmRelease gitlab/x",
            ),
        ] {
            patch(&format!(r#"{{"metadata":{{"labels":{labels}}}}}"#))?;
            stage.refuses(&mut yes(), 5, &[owner])?;
            patch(r#"{"metadata":{"labels":null}}"#)?;
        }

        let poor = gitlab.new_access_token(&["read_api"])?;
        stage.refuses(yes().env("GITLAB_TOKEN", &poor), 5, &["read_api", "needs api"])?;
        let developer = gitlab.new_user("dev");
        gitlab.set_role(developer, AGENT_PROJECT, Some(Role::Developer))?;
        let weak = gitlab.new_personal_token(developer, "weak", &["api"], None)?.value;
        stage.refuses(yes().env("GITLAB_TOKEN", &weak), 5, &["Maintainer"])?;
        stage.refuses(yes().env("GITLAB_TOKEN", "glpat-nobodysnobodysnobody"), 4, &["401"])?;

        let rbac = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: almost}\nrules:\n\
            - {apiGroups: ['*'], resources: ['*'], verbs: [get, list, watch, create, patch]}\n---\n\
            apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: almost}\n\
            roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: almost}\n\
            subjects: [{kind: User, name: almost}]\n";
        let almost = world.user_kubeconfig("almost", rbac)?;
        stage.refuses(yes().env("KUBECONFIG", &almost), 3, &["delete secrets in namespace gitlab"])?;

        let kubeconfig = std::fs::read_to_string(world.kubeconfig())?;
        let insecure = world.dir().join("insecure.yaml");
        let lines = kubeconfig.lines().filter(|l| !l.contains("certificate-authority")).map(|l| {
            let at = l.find("server:").map(|at| " ".repeat(at));
            at.map_or_else(|| l.to_owned(), |pad| format!("{l}\n{pad}insecure-skip-tls-verify: true"))
        });
        std::fs::write(&insecure, lines.collect::<Vec<_>>().join("\n"))?;
        if kubeconfig.contains("\n") && std::fs::read_to_string(&insecure)?.contains("insecure-skip") {
            stage.refuses(yes().env("KUBECONFIG", &insecure), 5, &["insecure-skip-tls-verify"])?;
        }

        patch(r#"{"immutable":true}"#)?;
        stage.refuses(&mut yes(), 5, &["immutable"])?;
        let held = stage.held()?;
        world.kubectl(&["delete", "secret", "-n", "gitlab", "gitlab-agent-token"])?;
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "gitlab-agent-token", "namespace": "gitlab"}, "stringData": {"token": held}});
        world.apply(&secret.to_string())?;
        stage.is_clean()
    })
}

/// An agent that is not well cannot prove anything; one whose only token is dead has nothing to lose, and is mended.
#[test]
fn a_broken_agent_is_refused_or_mended() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let scale = |replicas: &str| {
            world.kubectl(&["-n", "gitlab", "scale", "deployment", "gitlab-agent-v2", replicas]).map(drop)
        };
        scale("--replicas=0")?;
        stage.refuses(&mut stage.prepared(&["--yes"]), 5, &["is not well"])?;
        scale("--replicas=2")?;
        stage.is_connected()?;
        let old = stage.held()?;
        world.gitlab().revoke(&old)?;
        stage.refuses(
            &mut stage.prepared(&["--yes"]),
            5,
            &["no active token", "--agent platform/fleet:world"],
        )?;
        let ran = stage.rotate(&["--yes", "--agent", "platform/fleet:world", "-o", "json"]);
        ensure!(ran.code == 0 && ran.json()["verdict"] == "rotated", "{ran:?}");
        ensure!(stage.held()? != old, "another one");
        stage.is_clean()
    })
}

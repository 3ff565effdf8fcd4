//! The roles in `docs/security.md`, beside those that `verify --print-rbac` prints, are enough for each kind of rotation.

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::programs::{command, root, run};
use gitlab_agent_tests::rotation::person::{Person, SOURCE, STATUS};
use gitlab_agent_tests::rotation::stage::Stage;
use gitlab_agent_tests::world::World;
use serde_json::{Value, json};

const ACCOUNT: &str = "system:serviceaccount:default:rotator";

/// The Roles of the page, each with a binding.
fn roles() -> Result<Vec<Value>> {
    let page = std::fs::read_to_string(root().join("docs/security.md"))?;
    let (_, rest) = page.split_once("```yaml\n").context("a block of YAML")?;
    let (text, _) = rest.split_once("```").context("its end")?;
    let mut objects = Vec::new();
    for document in text.split("---\n") {
        let role: Value = serde_saphyr::from_str(document)?;
        let kind = role["kind"].as_str().context("a kind")?;
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"),
            "metadata": role["metadata"],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role["metadata"]["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": "rotator", "namespace": "default"}]});
        objects.extend([role, binding]);
    }
    ensure!(objects.len() == 8, "four roles: {objects:?}");
    Ok(objects)
}

/// That the Secret may not be read is a missing permission, also where it hides what the Secret is like.
#[test]
fn who_may_not_read_the_secret_lacks_a_permission() -> Result<()> {
    World::with(|world| {
        let flux =
            ["source", "kustomize", "helm", "notification"].map(|group| format!("{group}.toolkit.fluxcd.io"));
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "blind"},
            "rules": [{"apiGroups": flux, "resources": ["*"], "verbs": ["get", "list"]}]});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "blind"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "blind"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "blind"}]});
        world.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [role, binding]}).to_string())?;
        let person = Person::new(world)?;
        let ran = person.rotate(&["source", SOURCE, "--yes", "--as", "blind"]);
        ensure!(ran.code == 3 && ran.err.contains("get secret flux-system/example-nginx-app"), "{ran:?}");
        world.kubectl(&["delete", "clusterrole/blind", "clusterrolebinding/blind"]).map(drop)
    })
}

#[test]
fn the_documented_roles_are_enough() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let person = Person::new(world)?;
        let reads = run(command("verify").args(["--print-rbac", "--service-account", "default/rotator"]));
        ensure!(reads.code == 0, "{reads:?}");
        world.apply(&reads.out)?;
        let refused = person.rotate(&["source", SOURCE, "--yes", "--as", ACCOUNT]);
        ensure!(
            refused.code == 3 && refused.err.contains("patch secrets"),
            "reading is not enough: {refused:?}"
        );
        // The first one is of the whole cluster: without it not every holder is seen, and that is refused unless it is allowed.
        let roles = roles()?;
        world.apply(&json!({"apiVersion": "v1", "kind": "List", "items": roles[2..]}).to_string())?;
        stage.refuses(
            &mut stage.prepared(&["--yes", "--as", ACCOUNT]),
            5,
            &["list secrets", "--allow-unseen-holders"],
        )?;
        let agent = stage.rotate(&["--yes", "--as", ACCOUNT, "--allow-unseen-holders"]);
        ensure!(agent.code == 0, "{agent:?}");
        world.apply(&json!({"apiVersion": "v1", "kind": "List", "items": roles[..2]}).to_string())?;
        stage.is_connected()?;
        let agent = stage.rotate(&["--yes", "--as", ACCOUNT]);
        ensure!(agent.code == 0, "{agent:?}");
        for words in [["source", SOURCE], ["notification", STATUS]] {
            let ran = person.rotate(&[&words[..], &["--yes", "--as", ACCOUNT]].concat());
            ensure!(ran.code == 0, "{ran:?}");
        }
        stage.is_clean()
    })
}

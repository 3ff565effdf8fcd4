//! Fills an empty cluster: nodes, Flux, the projects' first commits, and what joins the two.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::World;
use super::components::Components;
use super::flux;
use super::gitlab::{AGENT_PROJECT, EXAMPLE_PROJECT};

/// Two nodes that kwok keeps alive.
pub(crate) fn nodes() -> Value {
    let node = |name: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": { "kwok.x-k8s.io/node": "fake" },
                "labels": {
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                },
            },
            "status": {
                "allocatable": { "cpu": "32", "memory": "256Gi", "pods": "500" },
                "capacity": { "cpu": "32", "memory": "256Gi", "pods": "500" },
                "nodeInfo": {
                    "kubeletVersion": "v1.36.3", "kubeProxyVersion": "v1.36.3", "kernelVersion": "6.12.0",
                    "containerRuntimeVersion": "containerd://2.1.0", "osImage": "kwok", "operatingSystem": "linux",
                    "architecture": "amd64", "machineID": name, "systemUUID": name, "bootID": name,
                },
            },
        })
    };
    json!({ "apiVersion": "v1", "kind": "List", "items": [node("node-1"), node("node-2")] })
}

/// The custom resource definitions that kwok needs before it starts.
pub(crate) fn install_kwok_crds(world: &World) -> Result<()> {
    let logs = world.components.files("kwok")?.join("kustomize/crd/bases/kwok.x-k8s.io_logs.yaml");
    world.apply_file(&logs)?;
    world.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "crd/logs.kwok.x-k8s.io"])?;
    Ok(())
}

/// Flux as `flux install` leaves it.
pub(crate) fn install_flux(world: &World, components: &Components) -> Result<()> {
    let mut documents = String::new();
    for dir in flux::crd_dirs(components)? {
        for entry in fs::read_dir(dir)? {
            documents.push_str("---\n");
            documents.push_str(&fs::read_to_string(entry?.path())?);
        }
    }
    world.apply_as("flux", &documents)?;
    let labels = [
        "app.kubernetes.io/part-of=flux".to_owned(),
        "app.kubernetes.io/instance=flux-system".to_owned(),
        format!("app.kubernetes.io/version={}", flux::RELEASE),
    ];
    let names = flux_crds(world)?;
    let names: Vec<&str> = names.split_whitespace().collect();
    let label = [&["label", "--overwrite"], &names[..], &labels.each_ref().map(String::as_str)].concat();
    world.kubectl(&label)?;
    world.kubectl(&[&["wait", "--for=condition=Established", "--timeout=30s"], &names[..]].concat())?;
    world.block_on(drop_old_versions(world))?;
    world.apply_as("flux", &flux::manifests())
}

fn flux_crds(world: &World) -> Result<String> {
    let all = world.kubectl(&["get", "crd", "-o", "name"])?;
    Ok(all.lines().filter(|name| name.ends_with(".fluxcd.io")).collect::<Vec<_>>().join("\n"))
}

/// Takes the API versions away that the release no longer has.
async fn drop_old_versions(world: &World) -> Result<()> {
    for (name, version) in flux::SERVED {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        let mut crd = world.api.get(&path).await?.with_context(|| format!("no CRD {name}"))?;
        let versions = crd["spec"]["versions"].as_array_mut().context("a CRD without versions")?;
        versions.retain(|entry| entry["name"] == *version);
        world.api.update(&path, &crd).await.with_context(|| format!("update CRD {name}"))?;
    }
    Ok(())
}

/// The first commits of both projects.
pub(crate) fn write_projects(world: &World) -> Result<()> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("world");
    for (project, source) in [(AGENT_PROJECT, "fleet"), (EXAMPLE_PROJECT, "nginx-app")] {
        let root = sources.join(source);
        world
            .new_project(project)?
            .commit_silently(|files| copy_tree(world, &root, &root, files), "First commit")?;
    }
    Ok(())
}

fn copy_tree(world: &World, root: &Path, dir: &Path, files: &super::git::Files<'_>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            copy_tree(world, root, &path, files)?;
        } else {
            let name = path.strip_prefix(root)?.to_str().context("a file name that is not UTF-8")?;
            files.write(name, &filled_in(world, &fs::read_to_string(&path)?))?;
        }
    }
    Ok(())
}

fn filled_in(world: &World, text: &str) -> String {
    text.replace("@GITLAB@", &world.gitlab().url()).replace("@KAS@", &world.gitlab().kas_address())
}

/// What `flux bootstrap` and the person who registers the agent do: credentials, and the first source and Kustomization.
pub(crate) fn join(world: &World, tokens: &super::Tokens) -> Result<()> {
    let ca = world.gitlab().ca_pem();
    let documents = [
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "gitlab" } }),
        secret(
            "flux-system",
            "flux-system",
            &[("username", &tokens.fleet_user), ("password", &tokens.fleet), ("ca.crt", ca)],
        ),
        secret(
            "flux-system",
            "example-nginx-app",
            &[("username", &tokens.example_user), ("password", &tokens.example), ("ca.crt", ca)],
        ),
        secret("flux-system", "gitlab-status-fleet", &[("token", &tokens.fleet_status)]),
        secret("flux-system", "gitlab-status-nginx-app", &[("token", &tokens.example_status)]),
        secret("flux-system", "gitlab-ca", &[("ca.crt", ca)]),
        secret("gitlab", "gitlab-ca", &[("ca.crt", ca)]),
        secret("gitlab", "gitlab-agent-token", &[("token", &tokens.agent)]),
    ];
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": documents });
    world.apply(&list.to_string())?;
    let sync = include_str!("../../world/fleet/clusters/world/flux-system/gotk-sync.yaml");
    world.apply_as("flux", &filled_in(world, sync))
}

fn secret(namespace: &str, name: &str, data: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> =
        data.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "namespace": namespace, "name": name },
        "type": "Opaque",
        "stringData": data,
    })
}

//! Flux, its sources and what it applies.

use anyhow::Result;
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::flux::RELEASE;
use gitlab_agent_tests::world::gitlab::EXAMPLE_PROJECT;

use super::{Case, fate, k, patch, reconcile};

const SYSTEM: &str = "flux-system";
const EXAMPLE: &str = "gitrepository/example-nginx-app";
const EXAMPLE_APPLIER: &str = "kustomization/example-nginx-app";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "source-controller is scaled to zero",
        ("GA202", "Deployment/flux-system/source-controller"),
        |world| scale(world, "source-controller", 0),
        |world| scale(world, "source-controller", 1),
    ),
    Case::new(
        "kustomize-controller is scaled to zero",
        ("GA203", "Deployment/flux-system/kustomize-controller"),
        |world| scale(world, "kustomize-controller", 0),
        |world| scale(world, "kustomize-controller", 1),
    ),
    Case::new(
        "helm-controller is scaled to zero",
        ("GA204", "Deployment/flux-system/helm-controller"),
        |world| scale(world, "helm-controller", 0),
        |world| scale(world, "helm-controller", 1),
    ),
    Case::new(
        "notification-controller does not come up",
        ("GA205", "Deployment/flux-system/notification-controller"),
        |world| scale(world, "notification-controller", 0),
        |world| scale(world, "notification-controller", 1),
    ),
    Case::new(
        "source-controller's Service is gone",
        ("GA210", "Service/flux-system/source-controller"),
        |world| k(world, "-n flux-system delete service/source-controller"),
        |world| {
            world.apply(
                "apiVersion: v1\nkind: Service\nmetadata: {name: source-controller, namespace: flux-system}\n\
                 spec:\n  selector: {app: source-controller}\n  \
                 ports: [{name: http, port: 80, targetPort: http, protocol: TCP}]\n",
            )
        },
    )
    .says("cannot fetch artifacts"),
    Case::new(
        "notification-controller's Service selects no pod",
        ("GA210", "Service/flux-system/notification-controller"),
        |world| patch(world, SYSTEM, "service/notification-controller", r#"{"spec":{"selector":{"app":"other"}}}"#),
        |world| {
            let selector = r#"{"spec":{"selector":{"app":"notification-controller"}}}"#;
            patch(world, SYSTEM, "service/notification-controller", selector)
        },
    )
    .says("every event of the controllers is lost"),
    Case::new(
        "helm-controller is of an older release",
        ("GA207", "Deployment/flux-system/helm-controller"),
        |world| release(world, "v2.8.0"),
        |world| release(world, RELEASE),
    )
    .warning(),
    Case::new(
        "a source is suspended",
        ("GA406", "GitRepository/flux-system/example-nginx-app"),
        |world| patch(world, SYSTEM, EXAMPLE, r#"{"spec":{"suspend":true}}"#),
        |world| patch(world, SYSTEM, EXAMPLE, r#"{"spec":{"suspend":null}}"#),
    )
    .warning(),
    Case::new(
        "a Kustomization is suspended",
        ("GA406", "Kustomization/flux-system/example-nginx-app"),
        |world| patch(world, SYSTEM, EXAMPLE_APPLIER, r#"{"spec":{"suspend":true}}"#),
        |world| patch(world, SYSTEM, EXAMPLE_APPLIER, r#"{"spec":{"suspend":null}}"#),
    )
    .warning(),
    Case::new(
        "a source is fetched once a day",
        ("GA405", "GitRepository/flux-system/example-nginx-app"),
        |world| patch(world, SYSTEM, EXAMPLE, r#"{"spec":{"interval":"24h"}}"#),
        |world| patch(world, SYSTEM, EXAMPLE, r#"{"spec":{"interval":"1m0s"}}"#),
    )
    .warning(),
    Case::new(
        "the branch was renamed",
        ("GA407", "GitRepository/flux-system/example-nginx-app"),
        |world| patch(world, SYSTEM, EXAMPLE, r#"{"spec":{"ref":{"branch":"master"}}}"#),
        |world| patch(world, SYSTEM, EXAMPLE, r#"{"spec":{"ref":{"branch":"main"}}}"#),
    ),
    Case::new(
        "the project was moved",
        ("GA407", "GitRepository/flux-system/example-nginx-app"),
        |world| address(world, "example/absent"),
        |world| address(world, EXAMPLE_PROJECT),
    ),
    Case::new(
        "the chart repository's authority is not trusted",
        ("GA302", "HelmRepository/gitlab/gitlab-agent"),
        |world| patch(world, "gitlab", "helmrepository/gitlab-agent", r#"{"spec":{"certSecretRef":null}}"#),
        |world| {
            let trusted = r#"{"spec":{"certSecretRef":{"name":"gitlab-ca"}}}"#;
            patch(world, "gitlab", "helmrepository/gitlab-agent", trusted)
        },
    )
    .under(&["GA407"]),
    Case::new(
        "the path is not in the repository",
        ("GA408", "Kustomization/flux-system/example-nginx-app"),
        |world| patch(world, SYSTEM, EXAMPLE_APPLIER, r#"{"spec":{"path":"./deploy"}}"#),
        |world| patch(world, SYSTEM, EXAMPLE_APPLIER, r#"{"spec":{"path":"./manifests"}}"#),
    ),
    Case::new(
        "Flux looks at the root of the agent's project",
        ("GA408", "Kustomization/flux-system/root"),
        |world| {
            world.apply(
                "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n\
                 metadata: {name: root, namespace: flux-system}\n\
                 spec: {interval: 1m, path: ./, prune: false, sourceRef: {kind: GitRepository, name: flux-system}}\n",
            )
        },
        |world| k(world, "-n flux-system delete kustomization/root"),
    )
    .says("takes the agent's configuration file for a manifest"),
    Case::new(
        "a manifest is broken",
        ("GA408", "Kustomization/flux-system/example-nginx-app"),
        |world| {
            let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: [this is no map\n";
            world.git(EXAMPLE_PROJECT)?.push_file("manifests/broken.yaml", text).map(drop)
        },
        |world| {
            let project = world.git(EXAMPLE_PROJECT)?;
            project.commit(|files| files.remove("manifests/broken.yaml"), "Mend").map(drop)
        },
    ),
    Case::new(
        "what was deployed crashes",
        ("GA701", "Deployment/example-nginx/nginx"),
        |world| fate(world, "example-nginx", "nginx", Some("crash-loop")),
        |world| fate(world, "example-nginx", "nginx", None),
    ),
    Case::new(
        "what was deployed is deleted by hand",
        ("GA701", "Deployment/example-nginx/nginx"),
        |world| k(world, "-n example-nginx delete deployment/nginx"),
        |world| reconcile(world, SYSTEM, EXAMPLE_APPLIER),
    ),
    Case::new(
        "a Receiver is deleted",
        ("GA401", "Receiver/flux-system/gitlab-example-nginx-app"),
        |world| k(world, "-n flux-system delete receiver/gitlab-example-nginx-app"),
        made_again,
    ),
    Case::new(
        "a Receiver's Secret is deleted",
        ("GA411", "Secret/flux-system/gitlab-receiver-example-nginx-app"),
        |world| k(world, "-n flux-system delete secret/gitlab-receiver-example-nginx-app"),
        |world| {
            made_again(world)?;
            reconcile(world, SYSTEM, "receiver/gitlab-example-nginx-app")
        },
    ),
    Case::new(
        "a Secret lies in Git in plain text",
        ("GA511", "Secret/default/plain"),
        |world| {
            let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: plain, namespace: default}\n\
                stringData: {password: not-a-secret}\n";
            world.git(EXAMPLE_PROJECT)?.push_file("manifests/plain.yaml", text).map(drop)
        },
        |world| {
            let project = world.git(EXAMPLE_PROJECT)?;
            project.commit(|files| files.remove("manifests/plain.yaml"), "Take the Secret out").map(drop)
        },
    ),
];

fn scale(world: &World, controller: &str, replicas: u8) -> Result<()> {
    k(world, &format!("-n flux-system scale deployment/{controller} --replicas={replicas}"))
}

fn release(world: &World, release: &str) -> Result<()> {
    let label = format!("app.kubernetes.io/version={release}");
    k(world, &format!("-n flux-system label --overwrite deployment/helm-controller {label}"))
}

pub(super) fn address(world: &World, project: &str) -> Result<()> {
    let url = world.gitlab().project_url(project);
    patch(world, SYSTEM, EXAMPLE, &format!(r#"{{"spec":{{"url":"{url}"}}}}"#))
}

/// agentk makes a Receiver and its Secret anew when the GitRepository changes.
fn made_again(world: &World) -> Result<()> {
    patch(world, SYSTEM, EXAMPLE, r#"{"spec":{"timeout":"59s"}}"#)?;
    k(world, "-n flux-system wait --for=create --timeout=30s secret/gitlab-receiver-example-nginx-app")?;
    k(world, "-n flux-system wait --for=create --timeout=30s receiver/gitlab-example-nginx-app")?;
    patch(world, SYSTEM, EXAMPLE, r#"{"spec":{"timeout":null}}"#)
}

//! What is missing, and who would create it.

use anyhow::Result;
use gitlab_agent_tests::world::World;

use super::{Case, k, patch};

const SYSTEM: &str = "flux-system";
const APPLIER: &str = "kustomization/example-nginx-app";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "a ConfigMap of variables does not exist",
        ("GA702", "ConfigMap/flux-system/absent"),
        |world| variables(world, "ConfigMap"),
        no_variables,
    )
    .under(&["GA408"]),
    Case::new(
        "the decryption key does not exist",
        ("GA702", "Secret/flux-system/absent"),
        |world| {
            let decryption = r#"{"spec":{"decryption":{"provider":"sops","secretRef":{"name":"absent"}}}}"#;
            patch(world, SYSTEM, APPLIER, decryption)
        },
        |world| patch(world, SYSTEM, APPLIER, r#"{"spec":{"decryption":null}}"#),
    )
    .under(&["GA408"]),
    Case::new(
        "an ExternalSecret reports an error, and its Secret is referenced",
        ("GA702", "ExternalSecret/flux-system/absent"),
        |world| {
            external_secret(world)?;
            variables(world, "Secret")
        },
        |world| {
            no_variables(world)?;
            k(world, "delete crd externalsecrets.external-secrets.io")
        },
    )
    .under(&["GA702", "GA408"]),
    Case::new(
        "a values Secret of agentk's release does not exist",
        ("GA702", "Secret/gitlab/absent-values"),
        |world| {
            let from = r#"{"spec":{"valuesFrom":[{"kind":"Secret","name":"absent-values"}]}}"#;
            patch(world, "gitlab", "helmrelease/gitlab-agent", from)
        },
        |world| patch(world, "gitlab", "helmrelease/gitlab-agent", r#"{"spec":{"valuesFrom":null}}"#),
    )
    .under(&["GA408"]),
];

fn variables(world: &World, kind: &str) -> Result<()> {
    let from =
        format!(r#"{{"spec":{{"postBuild":{{"substituteFrom":[{{"kind":"{kind}","name":"absent"}}]}}}}}}"#);
    patch(world, SYSTEM, APPLIER, &from)
}

fn no_variables(world: &World) -> Result<()> {
    patch(world, SYSTEM, APPLIER, r#"{"spec":{"postBuild":null}}"#)
}

/// A bare CustomResourceDefinition, and an object of it with the status that its controller would write.
fn external_secret(world: &World) -> Result<()> {
    world.apply(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: {name: externalsecrets.external-secrets.io}\n\
         spec:\n  group: external-secrets.io\n  scope: Namespaced\n\
         \x20 names: {kind: ExternalSecret, plural: externalsecrets, singular: externalsecret}\n\
         \x20 versions:\n  - name: v1\n    served: true\n    storage: true\n\
         \x20   schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}\n",
    )?;
    k(world, "wait --for=condition=Established --timeout=30s crd/externalsecrets.external-secrets.io")?;
    world.apply(
        "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\n\
         metadata: {name: absent, namespace: flux-system}\nspec: {target: {name: absent}}\n\
         status: {conditions: [{type: Ready, status: 'False', reason: SecretSyncedError, message: permission denied}]}\n",
    )
}

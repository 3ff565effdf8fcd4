//! Two causes at once: neither may be taken for a consequence of the other, and what users lose first leads.

use gitlab_agent_tests::world::gitlab::EXAMPLE_PROJECT;

use super::agentk::{delete_token, restore_token, revoke, unrevoke};
use super::flux::address;
use super::tokens::{drop_credential, make_credential, spoil, unspoil};
use super::{Case, fate, k};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "the token Secret is deleted, and the git password wrong",
        ("GA407", "GitRepository/flux-system/flux-system"),
        |world| delete_token(world).and_then(|()| spoil(world)),
        |world| restore_token(world).and_then(|()| unspoil(world)),
    )
    .also(("GA304", "Secret/gitlab/gitlab-agent-token"))
    .under(&["GA208"]),
    Case::new(
        "the agent's token is revoked, and a project moved",
        ("GA407", "GitRepository/flux-system/example-nginx-app"),
        |world| revoke(world).and_then(|()| address(world, "example/absent")),
        |world| unrevoke(world).and_then(|()| address(world, EXAMPLE_PROJECT)),
    )
    .also(("GA315", "Secret/gitlab/gitlab-agent-token"))
    .under(&["GA307"]),
    Case::new(
        "a source's credential is deleted, and what was deployed crashes",
        ("GA701", "Deployment/example-nginx/nginx"),
        |world| {
            drop_credential(world).and_then(|()| fate(world, "example-nginx", "nginx", Some("crash-loop")))
        },
        |world| make_credential(world).and_then(|()| fate(world, "example-nginx", "nginx", None)),
    )
    .under(&["GA407"])
    .also(("GA501", "Secret/flux-system/example-nginx-app")),
    Case::new(
        "helm-controller is down, and the git password wrong",
        ("GA204", "Deployment/flux-system/helm-controller"),
        |world| {
            k(world, "-n flux-system scale deployment/helm-controller --replicas=0")
                .and_then(|()| spoil(world))
        },
        |world| {
            k(world, "-n flux-system scale deployment/helm-controller --replicas=1")
                .and_then(|()| unspoil(world))
        },
    )
    .also(("GA407", "GitRepository/flux-system/flux-system")),
];

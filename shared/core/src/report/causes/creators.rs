//! Who would create what is missing.

use serde_json::json;

use super::build::*;
use super::{Case, case, hold};

const NGINX: (u16, &str) = (701, "Deployment example-nginx/nginx");
const DB: (u16, &str) = (702, "Secret example-nginx/db");

/// nginx waits for the Secret `db`, which does not exist.
fn no_db(s: &mut crate::snapshot::Snapshot) {
    nginx_down(s, &json!({"volumes": [{"name": "db", "secret": {"secretName": "db"}}]}), &creating());
    no_secret(s, SHOP, "db");
}

const CASES: &[Case] = &[
    case("an ExternalSecret of the same name reports an error", (702, "ExternalSecret example-nginx/db"), |s| {
        no_db(s);
        let status = error("SecretSyncedError", "could not get secret data from provider");
        other(s, "external-secrets.io", "ExternalSecret", SHOP, "db", Some(json!({"spec": {}, "status": status})));
    })
    .never("create secret")
    .under(&[DB, NGINX]),
    case("an ExternalSecret with another target, whose store is broken", (702, "SecretStore example-nginx/vault"), |s| {
        no_db(s);
        let spec = json!({"target": {"name": "db"}, "secretStoreRef": {"name": "vault", "kind": "SecretStore"}});
        let status = error("SecretSyncedError", "SecretStore \"vault\" is not ready");
        other(s, "external-secrets.io", "ExternalSecret", SHOP, "app", Some(json!({"spec": spec, "status": status})));
        let status = error("InvalidProviderConfig", "unable to log in with app role auth: permission denied");
        other(s, "external-secrets.io", "SecretStore", SHOP, "vault", Some(json!({"spec": {}, "status": status})));
    })
    .under(&[(702, "ExternalSecret example-nginx/app"), DB, NGINX]),
    case("a SealedSecret that cannot be unsealed", (702, "SealedSecret example-nginx/db"), |s| {
        no_db(s);
        let status = json!({"conditions": [{"type": "Synced", "status": "False", "message": "no key could decrypt secret (password)"}]});
        other(s, "bitnami.com", "SealedSecret", SHOP, "db", Some(json!({"spec": {}, "status": status})));
    })
    .under(&[DB, NGINX]),
    case("a Certificate that is not issued", (702, "Certificate example-nginx/web"), |s| {
        no_db(s);
        let status = error("DoesNotExist", "Issuing certificate as Secret does not exist");
        other(s, "cert-manager.io", "Certificate", SHOP, "web", Some(json!({"spec": {"secretName": "db"}, "status": status})));
    })
    .under(&[DB, NGINX]),
    case("a VaultStaticSecret", (702, "VaultStaticSecret example-nginx/app"), |s| {
        no_db(s);
        let status = json!({"conditions": [{"type": "SecretSynced", "status": "False", "reason": "VaultClientError", "message": "403"}]});
        let spec = json!({"destination": {"name": "db", "create": true}});
        other(s, "secrets.hashicorp.com", "VaultStaticSecret", SHOP, "app", Some(json!({"spec": spec, "status": status})));
    })
    .under(&[DB, NGINX]),
    case("an object of any kind that writes its connection into the Secret", (702, "Database example-nginx/orders"), |s| {
        no_db(s);
        let status = json!({"conditions": [{"type": "Ready", "status": "False", "reason": "Creating", "message": "quota exceeded"}]});
        let spec = json!({"writeConnectionSecretToRef": {"name": "db"}});
        other(s, "db.example.com", "Database", SHOP, "orders", Some(json!({"spec": spec, "status": status})));
    })
    .under(&[DB, NGINX]),
    case("the Kustomization whose inventory holds it cannot decrypt", (408, "Kustomization flux-system/secrets"), |s| {
        no_db(s);
        let at = kustomization(s, "secrets");
        holds(s, at, "example-nginx_db__Secret", "v1");
        s.kustomizations.items[at].status.conditions =
            crate::fixture::not_ready("BuildFailed", "decryption failed for 'other': failed to decrypt");
    })
    .never("create secret")
    .under(&[DB, NGINX]),
    case("a Kustomization that never applied it cannot decrypt it", (408, "Kustomization flux-system/secrets"), |s| {
        no_db(s);
        let at = kustomization(s, "secrets");
        let said = "decryption failed for 'db': failed to decrypt and format 'example-nginx/db' Secret data: cannot get sops data key";
        s.kustomizations.items[at].status.conditions = crate::fixture::not_ready("BuildFailed", said);
    })
    .under(&[DB, NGINX]),
    case("five hops: key, Kustomization, Secret, pod, the other Kustomization", (702, "Secret flux-system/sops-age"), |s| {
        no_db(s);
        let at = kustomization(s, "secrets");
        holds(s, at, "example-nginx_db__Secret", "v1");
        let k = &mut s.kustomizations.items[at];
        k.spec.decryption = Some(part(json!({"provider": "sops", "secretRef": {"name": "sops-age"}})));
        k.status.conditions = crate::fixture::not_ready("BuildFailed", "cannot get decryption Secret 'flux-system/sops-age': secrets \"sops-age\" not found");
        apps_failed(s, "HealthCheckFailed", "timeout waiting for: [Deployment/example-nginx/nginx status: 'InProgress']");
    })
    .under(&[(408, "Kustomization flux-system/secrets"), DB, NGINX, (408, "Kustomization flux-system/example-nginx-app")]),
    case("the Kustomization that holds it is suspended: it is resumed", DB, |s| {
        no_db(s);
        let at = kustomization(s, "secrets");
        holds(s, at, "example-nginx_db__Secret", "v1");
        s.kustomizations.items[at].spec.suspend = true;
    })
    .never("get secret")
    .under(&[NGINX]),
    case("the Kustomization that holds it waits for another", (408, "Kustomization flux-system/base"), |s| {
        no_db(s);
        let base = kustomization(s, "base");
        s.kustomizations.items[base].status.conditions = crate::fixture::not_ready("BuildFailed", "no such file");
        let at = kustomization(s, "secrets");
        holds(s, at, "example-nginx_db__Secret", "v1");
        s.kustomizations.items[at].spec.depends_on = part(json!([{"name": "base"}]));
        s.kustomizations.items[at].status.conditions = crate::fixture::not_ready("DependencyNotReady", "dependency is not ready");
    })
    .under(&[(408, "Kustomization flux-system/secrets"), DB, NGINX]),
    case("an applier that is well and a Secret that was deleted by hand", (702, "Secret example-nginx/db"), |s| {
        no_db(s);
        holds(s, 1, "example-nginx_db__Secret", "v1");
    })
    .never("create secret")
    .under(&[NGINX]),
    case("the agent's token comes from an ExternalSecret", (702, "ExternalSecret gitlab/gitlab-agent-token"), |s| {
        no_secret(s, "gitlab", "gitlab-agent-token");
        let status = error("SecretSyncedError", "permission denied");
        other(s, "external-secrets.io", "ExternalSecret", "gitlab", "gitlab-agent-token", Some(json!({"spec": {}, "status": status})));
    })
    .never("create secret")
    .under(&[(304, "Secret gitlab/gitlab-agent-token")]),
    case("a source's credential is in a Kustomization that cannot decrypt", (408, "Kustomization flux-system/flux-system"), |s| {
        no_secret(s, "flux-system", "example-nginx-app");
        let git = crate::fixture::git_mut(s, "example-nginx-app");
        git.status.conditions = crate::fixture::fetch_failed("AuthenticationFailed", "failed to get secret 'flux-system/example-nginx-app': secrets \"example-nginx-app\" not found");
        holds(s, 0, "flux-system_example-nginx-app__Secret", "v1");
        system_failed(s, "BuildFailed", "decryption failed for 'example-nginx-app': cannot get sops data key");
    })
    .under(&[(501, "Secret flux-system/example-nginx-app"), (407, "GitRepository flux-system/example-nginx-app")]),
    case("a creator that may not be read: no hand-made Secret", (702, "Secret example-nginx/db"), |s| {
        no_db(s);
        unread(s, "external-secrets.io", "ExternalSecret", SHOP, "db");
    })
    .never("get secret")
    .under(&[NGINX]),
    case("a health check names an object of another kind", (702, "Database example-nginx/orders"), |s| {
        apps_failed(s, "HealthCheckFailed", "health check failed: timeout waiting for: [Database/example-nginx/orders status: 'InProgress']");
        let status = error("QuotaExceeded", "no more databases");
        other(s, "db.example.com", "Database", SHOP, "orders", Some(json!({"spec": {}, "status": status})));
    })
    .under(&[(408, "Kustomization flux-system/example-nginx-app")]),
];

#[test]
fn the_creator_of_what_is_missing_is_the_cause() {
    hold(CASES);
}

//! `GET /metadata` and its deprecated twin `GET /version`.
//!
//! Source: `doc/api/metadata.md`.

use serde_json::json;

use super::GitLab;
use super::call::Call;
use super::errors::{ApiResult, ok};

const SCOPES: &[&str] = &["api", "read_api", "read_user"];

pub(super) fn metadata(gitlab: &GitLab, call: &Call<'_>) -> ApiResult {
    call.sign_in(gitlab, SCOPES)?;
    let settings = gitlab.settings();
    let kas_url = settings.kas_enabled.then(|| gitlab.kas_address());
    let version = settings.kas_version.clone().filter(|_| settings.kas_enabled);
    let mut kas = json!({ "enabled": settings.kas_enabled, "externalUrl": kas_url, "version": version });
    if settings.release() >= (17, 6) {
        kas["externalK8sProxyUrl"] = json!(kas_url.map(|url| {
            let host = url.trim_start_matches("wss://").split('/').next().unwrap_or_default().to_owned();
            format!("https://{host}/-/k8s-proxy/")
        }));
    }
    Ok(ok(&json!({
        "version": settings.version,
        "revision": settings.revision,
        "kas": kas,
        "enterprise": settings.enterprise,
    })))
}

pub(super) fn version(gitlab: &GitLab, call: &Call<'_>) -> ApiResult {
    call.sign_in(gitlab, SCOPES)?;
    let settings = gitlab.settings();
    Ok(ok(&json!({ "version": settings.version, "revision": settings.revision })))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Played;
    use super::*;

    #[test]
    fn the_version_and_kas_are_as_set() {
        let played = Played::new();
        let token = played.gitlab.new_access_token(&["read_user"]).unwrap();
        assert_eq!(played.get("/metadata", "").status, 401);
        played.gitlab.configure(|settings| settings.version = "18.5.2-ee".into());
        let known = played.get("/metadata", &token).body;
        assert_eq!((&known["version"], &known["enterprise"]), (&json!("18.5.2-ee"), &json!(true)));
        assert_eq!(known["kas"]["externalUrl"], played.gitlab.kas_address());
        played.gitlab.configure(|settings| settings.kas_enabled = false);
        let known = played.get("/metadata", &token).body;
        let off =
            json!({"enabled": false, "externalUrl": null, "version": null, "externalK8sProxyUrl": null});
        assert_eq!(known["kas"], off);
        assert_eq!(played.get("/version", &token).body["version"], "18.5.2-ee");
    }
}

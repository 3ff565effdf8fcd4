//! Whether an ExternalSecret takes its value from a generator, such as GitlabDeployToken.

use gitlab_agent_core::object::ObjectRef;
use serde_json::Value;

use super::pods;
use crate::access::{WriteClient, segment};

/// The API versions under which External Secrets serves them, the newest first.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// The generator in words: `GitlabDeployToken flux-token`. None where there is none, or it cannot be read.
pub(super) async fn of(client: &WriteClient, object: &ObjectRef) -> Option<String> {
    if object.name.is_empty() {
        return None;
    }
    for version in VERSIONS {
        let path = format!(
            "/apis/external-secrets.io/{version}/namespaces/{}/externalsecrets/{}",
            segment(&object.namespace),
            segment(&object.name)
        );
        if let Ok(Some(found)) = pods::get::<Value>(client, &path, object).await {
            return named(&found);
        }
    }
    None
}

fn named(external: &Value) -> Option<String> {
    let spec = &external["spec"];
    let sources = [&spec["dataFrom"], &spec["data"]];
    let entries = sources.into_iter().filter_map(Value::as_array).flatten();
    let reference = entries.map(|entry| &entry["sourceRef"]["generatorRef"]).find(|r| r.is_object())?;
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    Some(format!("{} {}", text("kind"), text("name")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_generator_is_named() {
        let generator = json!({"kind": "GitlabDeployToken", "name": "flux"});
        let from = json!({"spec": {"dataFrom": [{"find": {}}, {"sourceRef": {"generatorRef": generator}}]}});
        assert_eq!(named(&from).as_deref(), Some("GitlabDeployToken flux"));
        let data = json!({"spec": {"data": [{"sourceRef": {"generatorRef": generator}}]}});
        assert_eq!(named(&data).as_deref(), Some("GitlabDeployToken flux"));
        for none in [
            json!({}),
            json!({"spec": {"dataFrom": [{"extract": {"key": "k"}}]}}),
            json!({"spec": {"data": [{"sourceRef": {"storeRef": {"name": "s"}}}]}}),
        ] {
            assert_eq!(named(&none), None, "{none}");
        }
    }
}

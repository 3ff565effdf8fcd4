//! What a run that changes something has read of Secrets, and written into them: masked in whatever it says.
//!
//! A run that only reads masks its snapshot as a whole; this one speaks while it reads.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use gitlab_agent_core::snapshot::mask::{Masker, Values};
use serde_json::Value;

use crate::gitlab::GitLab;

/// Values that are known so far.
#[derive(Clone)]
pub(crate) struct Known {
    state: Arc<Mutex<State>>,
    learns: bool,
}

struct State {
    values: Values,
    /// Made of the values when it is first needed.
    masker: Option<Masker>,
}

impl Known {
    /// What is known beforehand, and whether more is to be taken in.
    pub(super) fn new(values: Values, learns: bool) -> Self {
        Self { state: Arc::new(Mutex::new(State { values, masker: None })), learns }
    }

    /// Takes in the values of a Secret that was asked for by name, or is sent.
    pub(super) fn learn(&self, path: &str, body: &[u8]) {
        if !self.learns || !is_of_secret(path) {
            return;
        }
        let Ok(object) = serde_json::from_slice::<Value>(body) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in object["data"].as_object().into_iter().flatten() {
            let value = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default());
            state.values.add(key, &value.unwrap_or_default());
        }
        for (key, value) in object["stringData"].as_object().into_iter().flatten() {
            state.values.add(key, value.as_str().unwrap_or_default().as_bytes());
        }
        state.masker = None;
    }

    /// Takes in the token with which GitLab is asked.
    pub(crate) fn know(&self, gitlab: &GitLab) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        gitlab.tell_token(&mut state.values);
        state.masker = None;
    }

    /// The text without known values and whatever looks like a credential.
    pub(crate) fn mask(&self, text: &str) -> String {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { values, masker } = &mut *state;
        masker.get_or_insert_with(|| Masker::new(values)).free_text(text)
    }
}

/// `/api/v1/namespaces/NAMESPACE/secrets`, with a name or, of what is made, without.
fn is_of_secret(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let mut parts = path.trim_start_matches('/').split('/');
    parts.by_ref().take(3).eq(["api", "v1", "namespaces"]) && parts.nth(1) == Some("secrets")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_read_or_sent_is_masked() {
        let known = Known::new(Values::default(), true);
        let value = |n: u8| format!("correct horse {n} battery");
        let encoded = |n: u8| base64::engine::general_purpose::STANDARD.encode(value(n));
        let learn = |path: &str, body: Value| known.learn(path, body.to_string().as_bytes());
        learn("/api/v1/namespaces/a/secrets/b", json!({"data": {"token": encoded(1)}}));
        learn(
            "/api/v1/namespaces/a/secrets/b?fieldManager=x",
            json!({"data": {"token": encoded(2), "old": null}}),
        );
        learn("/api/v1/namespaces/a/secrets?dryRun=All", json!({"stringData": {"token": value(3)}}));
        for number in 1..4 {
            let text = format!("it says {}, {}", value(number), encoded(number));
            assert_eq!(known.mask(&text).trim_end_matches('='), "it says ***, ***");
        }
        learn("/api/v1/namespaces/a/configmaps/b", json!({"data": {"x": encoded(4)}}));
        assert_eq!(known.mask(&value(4)), value(4), "no Secret");
        let reader = Known::new(Values::default(), false);
        reader.learn(
            "/api/v1/namespaces/a/secrets/b",
            json!({"data": {"token": encoded(1)}}).to_string().as_bytes(),
        );
        assert_eq!(reader.mask(&value(1)), value(1), "its snapshot is masked as a whole");
    }
}

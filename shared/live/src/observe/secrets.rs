//! Reading a Secret: its shape goes into the snapshot, its values stay here until the run ends, only to be masked
//! wherever else they turn up.

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_agent_core::need::Need;
use gitlab_agent_core::snapshot::{Observed, SecretEntry, SecretShape, Trial, Why, WhyKind, mask};
use http::StatusCode;

use super::list::JSON;
use super::permission;
use crate::access::{ReadClient, segment};

/// Shorter values are too common to be masked in free text; no GitLab token is that short.
const SHORTEST: usize = 8;

/// Knows the values that were read, and the salt of this snapshot's fingerprints.
pub(super) struct Door {
    salt: Vec<u8>,
    values: RefCell<Vec<String>>,
}

impl Door {
    pub(super) fn new() -> Self {
        let mut salt = [0; 32];
        // Without random numbers every fingerprint is as good as the value's own digest: then better none equal.
        if getrandom::fill(&mut salt).is_err() {
            salt = [0; 32];
        }
        Self { salt: salt.to_vec(), values: RefCell::default() }
    }

    fn remember(&self, values: Vec<Vec<u8>>) {
        let mut known = self.values.borrow_mut();
        for value in values {
            let text = String::from_utf8_lossy(&value).trim().to_owned();
            let public = text.contains("-----BEGIN CERTIFICATE") || text.contains(' ');
            if text.len() >= SHORTEST && !public {
                known.push(STANDARD.encode(&text));
                known.push(segment(&text));
                known.push(text);
            }
        }
    }

    /// Masks every value that was read, also in base64 and URL encoding.
    pub(super) fn mask(&self, text: &str) -> String {
        let known = self.values.borrow();
        let mut masked = text.to_owned();
        for value in known.iter().filter(|v| text.contains(v.as_str())) {
            masked = masked.replace(value.as_str(), mask::MASK);
        }
        masked
    }
}

/// Reads one Secret.
pub(super) async fn read_secret(
    client: &ReadClient,
    door: &Door,
    namespace: String,
    name: String,
) -> (SecretEntry, Option<Trial>) {
    let asked = format!("get secret {namespace}/{name}");
    let needed = permission(Need::Secrets.row(), Some(&namespace));
    let path = format!("/api/v1/namespaces/{}/secrets/{}", segment(&namespace), segment(&name));
    let (shape, allowed) = match client.get(&path, JSON, &asked).await {
        Ok(answer) if answer.status == StatusCode::NOT_FOUND => (Observed::Known(None), Some(true)),
        Ok(answer) => match SecretShape::read(&answer.body, &door.salt) {
            Ok((shape, values)) => {
                door.remember(values);
                (Observed::Known(Some(shape)), Some(true))
            }
            Err(at) => (Observed::Unknown(Why::new(WhyKind::Unreadable, asked, at)), Some(true)),
        },
        Err(mut why) => {
            let denied = why.kind == WhyKind::Forbidden;
            if denied {
                why.permission = Some(needed.clone());
            }
            (Observed::Unknown(why), denied.then_some(false))
        }
    };
    let trial = allowed.map(|allowed| Trial { permission: needed, allowed });
    (SecretEntry { namespace, name, shape }, trial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_masked_in_every_encoding() {
        let door = Door::new();
        door.remember(vec![b"s3cr3t/value+1".to_vec(), b"short".to_vec()]);
        let text = format!(
            "raw s3cr3t/value+1 b64 {} url s3cr3t%2Fvalue%2B1 short",
            STANDARD.encode("s3cr3t/value+1")
        );
        assert_eq!(door.mask(&text), "raw *** b64 *** url *** short");
    }

    #[test]
    fn salts_differ() {
        assert_ne!(Door::new().salt, Door::new().salt);
    }
}

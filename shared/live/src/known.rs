//! What this run knows to be secret: its own credentials, and, where it also changes something, what it has read of Secrets
//! and written into them.
//!
//! One for the process, because the process has one terminal: whatever leaves it passes [`Known::at_the_door`] in the one
//! place through which it goes, [`crate::cli::streams`] for both streams, [`crate::recording`] for recordings,
//! [`crate::access::WriteClient`] for what is written into the cluster. Credentials are told where they are taken in.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use gitlab_agent_core::snapshot::mask::{Masker, Values};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A text is masked in parts of about this size, cut at a line's end, so that masking takes little memory.
const PART: usize = 256 << 10;

/// After a panic only our own words are said: whoever panicked may have been masking.
static OVER: AtomicBool = AtomicBool::new(false);

/// Masks nothing from now on.
pub(crate) fn give_up() {
    OVER.store(true, Ordering::Relaxed);
}

/// What the run knows.
#[cfg(not(test))]
pub(crate) fn run() -> &'static Known {
    static RUN: std::sync::LazyLock<Known> = std::sync::LazyLock::new(Known::default);
    &RUN
}

/// Each test is a run of its own.
#[cfg(test)]
pub(crate) fn run() -> &'static Known {
    thread_local! { static RUN: &'static Known = Box::leak(Box::default()) }
    RUN.with(|known| *known)
}

/// Values that are known so far.
#[derive(Default)]
pub(crate) struct Known(Mutex<State>);

#[derive(Default)]
struct State {
    /// The run's own credentials, and the paths of webhooks.
    own: Values,
    /// Of these the ones for GitLab.
    gitlab: Kept,
    /// Own ones, and of others what no text of ours holds by itself.
    door: Kept,
    /// All.
    all: Kept,
}

/// Values, and what finds them, made when it is first needed.
#[derive(Default)]
struct Kept {
    values: Values,
    any: bool,
    masker: Option<Masker>,
}

impl Kept {
    fn add(&mut self, key: &str, value: &[u8]) {
        self.values.add(key, value);
        self.any = true;
        self.masker = None;
    }

    fn masker(&mut self) -> &Masker {
        let Self { values, masker, .. } = self;
        masker.get_or_insert_with(|| Masker::new(values))
    }
}

impl Known {
    /// Takes in a credential with which this run signs in to something.
    pub(crate) fn own(&self, key: &str, value: &[u8]) {
        let mut state = self.state();
        state.own.add(key, value);
        state.door.add(key, value);
        state.all.add(key, value);
    }

    /// Takes in a credential for GitLab.
    pub(crate) fn of_gitlab(&self, value: &str) {
        self.own("token", value.as_bytes());
        self.state().gitlab.add("token", value.as_bytes());
    }

    /// Takes in the values of a Secret that was asked for by name, or is sent.
    pub(crate) fn learn(&self, path: &str, body: &[u8]) {
        if !is_of_secret(path) {
            return;
        }
        let Ok(object) = serde_json::from_slice::<Value>(body) else { return };
        for (key, value) in object["data"].as_object().into_iter().flatten() {
            let value = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default());
            self.other(key, &value.unwrap_or_default());
        }
        for (key, value) in object["stringData"].as_object().into_iter().flatten() {
            self.other(key, value.as_str().unwrap_or_default().as_bytes());
        }
    }

    /// Takes in a value of a Secret. One that is made of words may be the name of an object, a project or a branch, with
    /// which our own texts are full: such a one is masked in what others say alone.
    pub(crate) fn other(&self, key: &str, value: &[u8]) {
        let mut state = self.state();
        state.all.add(key, value);
        if !is_of_words(value) {
            state.door.add(key, value);
        }
    }

    /// Takes in the path of a Receiver's webhook: whoever knows it can use it. Its digest is masked, with or without the path
    /// before it.
    pub(crate) fn webhook(&self, path: &str) {
        const SHORTEST: usize = 16;
        if let Some(digest) = path.rsplit('/').next().filter(|digest| digest.len() >= SHORTEST) {
            self.own("webhookPath", digest.as_bytes());
        }
    }

    /// The same of the webhooks of a Receiver as the API server lists it.
    pub(crate) fn webhook_of(&self, receiver: &RawValue) {
        #[derive(Deserialize)]
        struct Receiver {
            status: Status,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Status {
            webhook_path: String,
        }
        if let Ok(receiver) = serde_json::from_str::<Receiver>(receiver.get()) {
            self.webhook(&receiver.status.webhook_path);
        }
    }

    /// The credentials of this run, for what masks more than them.
    pub(crate) fn values(&self) -> Values {
        self.state().own.clone()
    }

    /// The text without known values and whatever looks like a credential: for what others say.
    pub(crate) fn mask(&self, text: &str) -> String {
        self.state().all.masker().free_text(text)
    }

    /// The text without known values, as it leaves the process. What only looks like a credential stays: here it may be a
    /// flag or a name of ours.
    pub(crate) fn at_the_door<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if OVER.load(Ordering::Relaxed) {
            return Cow::Borrowed(text);
        }
        let mut state = self.state();
        if !state.door.any {
            return Cow::Borrowed(text);
        }
        let masker = state.door.masker();
        let parts = parts(text).map(|part| (part, masker.known_values(part)));
        let (mut out, mut same) = (String::new(), true);
        for (part, masked) in parts {
            same &= masked.is_none();
            out.push_str(masked.as_deref().unwrap_or(part));
        }
        if same { Cow::Borrowed(text) } else { Cow::Owned(out) }
    }

    /// Whether a text holds a credential for GitLab, in whatever encoding.
    pub(crate) fn holds_gitlabs(&self, text: &str) -> bool {
        let mut state = self.state();
        state.gitlab.any && state.gitlab.masker().known_values(text).is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cut at the last line's end of each part, where it has one.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.floor_char_boundary(PART);
        let end = rest[..end].rfind('\n').or_else(|| rest.find('\n')).filter(|_| end < rest.len());
        let (part, after) = rest.split_at(end.map_or(rest.len(), |at| at + 1));
        rest = after;
        Some(part)
    })
}

/// Letters or digits, not both in one word.
fn is_of_words(value: &[u8]) -> bool {
    value.split(|byte| !byte.is_ascii_alphanumeric()).all(|word| {
        word.iter().all(u8::is_ascii_lowercase)
            || word.iter().all(u8::is_ascii_uppercase)
            || word.iter().all(u8::is_ascii_digit)
    }) && value.is_ascii()
        && value.len() < 64
}

/// `/api/v1/namespaces/NAMESPACE/secrets`, with a name or, of what is made, without.
pub(crate) fn is_of_secret(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let mut parts = path.trim_start_matches('/').split('/');
    parts.by_ref().take(3).eq(["api", "v1", "namespaces"]) && parts.nth(1) == Some("secrets")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn encoded(value: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(value)
    }

    #[test]
    fn what_was_read_or_sent_is_masked() {
        let known = Known::default();
        let value = |n: u8| format!("correct horse {n}b battery");
        let learn = |path: &str, body: Value| known.learn(path, body.to_string().as_bytes());
        learn("/api/v1/namespaces/a/secrets/b", json!({"data": {"token": encoded(&value(1))}}));
        learn(
            "/api/v1/namespaces/a/secrets/b?fieldManager=x",
            json!({"data": {"token": encoded(&value(2)), "old": null}}),
        );
        learn("/api/v1/namespaces/a/secrets?dryRun=All", json!({"stringData": {"token": value(3)}}));
        for number in 1..4 {
            let text = format!("it says {}, {}", value(number), encoded(&value(number)));
            assert_eq!(known.mask(&text).trim_end_matches('='), "it says ***, ***");
            assert_eq!(known.at_the_door(&text), "it says ***, ***");
        }
        learn("/api/v1/namespaces/a/configmaps/b", json!({"data": {"x": encoded(&value(4))}}));
        assert_eq!(known.mask(&value(4)), value(4), "no Secret");
    }

    #[test]
    fn the_run_s_own_credentials_leave_it_in_no_shape() {
        let known = Known::default();
        let own = ["payments", "two words", "Ab1Cd2Ef3Gh4", "\"quoted\\1\"", "dragon", "1234567890"];
        own.iter().for_each(|value| known.own("password", value.as_bytes()));
        for value in own {
            for text in [value.to_owned(), encoded(value), json!({ "a": value }).to_string()] {
                let shown = known.at_the_door(&text).into_owned();
                assert!(shown.contains("***") && !shown.contains(value), "{value}: {text} is {shown}");
            }
        }
    }

    /// Where a digest stands without the path before it, nothing tells that it is one.
    #[test]
    fn the_digest_of_a_webhook_is_masked_wherever_it_stands() {
        let known = Known::default();
        let digest = "0123456789abcdef".repeat(4).replace('4', "d");
        let receiver =
            json!({"metadata": {"name": "a"}, "status": {"webhookPath": format!("/hook/{digest}")}});
        known.webhook_of(&RawValue::from_string(receiver.to_string()).expect("JSON"));
        let wrong = json!({"status": {"webhookPath": 5}}).to_string();
        known.webhook_of(&RawValue::from_string(wrong).expect("JSON"));
        known.webhook("/hook/short");
        let hex: String = digest.bytes().map(|byte| format!("{byte:02x}")).collect();
        let percent: String = digest.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for written in [
            digest.clone(),
            encoded(&digest),
            encoded(&format!("/hook/{digest}")),
            hex,
            percent,
            format!("{}=\r\n{}", &digest[..40], &digest[40..]),
            format!("{}...", &digest[..20]),
        ] {
            for form in [
                "webhookPath: §",
                "path=§",
                "{\"webhookPath\":\"§\"}",
                "\\\"path\\\": \\\"§\\\"",
                "POST § HTTP/1.1",
                "(§)",
                "sha256:§",
                "/hook/§",
                "https://flux.example.com/hook/§",
                "§",
            ] {
                let text = form.replace('§', &written);
                for shown in [known.at_the_door(&text).into_owned(), known.mask(&text)] {
                    assert!(shown.contains("***"), "{text}: {shown}");
                    assert!(!shown.contains(&written[..12]), "{text}: {shown}");
                }
                assert!(Masker::new(&known.values()).free_text(&text).contains("***"), "in a snapshot too");
            }
        }
        assert_eq!(known.at_the_door(&format!("/hook/{digest} of short")), "/hook/*** of short");
    }

    #[test]
    fn names_and_flags_of_ours_stay_as_they_are() {
        let known = Known::default();
        let own =
            "kubectl create secret generic a -n payments --from-file=token=/dev/stdin # platform/fleet v1";
        assert!(matches!(known.at_the_door(own), Cow::Borrowed(_)), "nothing is known");
        known.other("password", b"payments");
        known.other("project", b"platform/fleet");
        known.other("token", b"a1b2c3d4e5f6");
        assert_eq!(known.at_the_door(own), own);
        assert_eq!(known.mask("it says payments"), "it says ***", "what others say");
        assert_eq!(known.at_the_door("has a1b2c3d4e5f6"), "has ***");
    }

    #[test]
    fn a_long_text_is_masked_in_parts_and_keeps_every_byte_of_the_rest() {
        let known = Known::default();
        known.of_gitlab("Ab1Cd2Ef3Gh4Ij5");
        let line = "ä plain line, Ab1Cd2Ef3Gh4Ij5, and its end\n";
        for text in [line.repeat(20_000), line.trim_end().repeat(20_000), format!("{}x", "a".repeat(PART))] {
            assert_eq!(parts(&text).collect::<String>(), text);
            assert_eq!(known.at_the_door(&text), text.replace("Ab1Cd2Ef3Gh4Ij5", "***"));
        }
        assert!(known.holds_gitlabs(&format!("x={}", encoded("oauth2:Ab1Cd2Ef3Gh4Ij5"))));
        assert!(!known.holds_gitlabs("x=y"));
    }
}

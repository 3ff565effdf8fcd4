//! The way of a push event, tried: what agentk does when GitLab tells it of a push, with the same Receiver and Secret.
//!
//! The webhook's path and the Secret's value are never shown: whoever knows them can trigger Flux.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_agent_core::command::{Hint, kubectl};
use gitlab_agent_core::facts::graph::expected_receiver;
use gitlab_agent_core::facts::readiness::{Readiness, readiness};
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::plan::answer::{Live, REQUESTED_AT};
use gitlab_agent_core::plan::journal::{End, State};
use gitlab_agent_core::snapshot::kinds::{Condition, Meta, ReceiverSpec};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use http::StatusCode;
use ring::hmac;
use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::follow::{Follow, Seen};
use super::hop::broken;
use super::reach::link;
use super::{Run, said};
use crate::access::{post_elsewhere, segment};
use crate::known;

/// notification-controller annotates before it answers, so this is only for a slow API server.
const ANNOTATES_WITHIN: Duration = Duration::from_secs(10);

/// Where the webhook is.
#[derive(Clone, Debug, Default)]
pub struct Webhook {
    /// A base URL; the API server's service proxy where none is given.
    pub url: Option<String>,
}

#[derive(Deserialize)]
struct Receivers {
    items: Option<Vec<Receiver>>,
}

/// A Receiver with its path, which no snapshot holds.
#[derive(Deserialize)]
struct Receiver {
    metadata: Meta,
    spec: Spec,
    #[serde(default)]
    status: ReceiverStatus,
}

/// What is wanted of a Receiver, with the events that it takes: all when none is named.
#[derive(Deserialize)]
struct Spec {
    #[serde(flatten)]
    common: ReceiverSpec,
    #[serde(default)]
    events: Vec<String>,
}

impl std::ops::Deref for Spec {
    type Target = ReceiverSpec;
    fn deref(&self) -> &ReceiverSpec {
        &self.common
    }
}

/// What GitLab calls a push.
const PUSH: &str = "Push Hook";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReceiverStatus {
    conditions: Vec<Condition>,
    observed_generation: i64,
    webhook_path: String,
}

impl Run<'_> {
    /// Sends what agentk would send; gives the source as it is after, its version, and the request that it now carries.
    pub(super) async fn by_webhook(
        &self,
        hop: usize,
        webhook: &Webhook,
    ) -> Result<(Live, String, String), End> {
        let source = &self.plan.hops[hop].object;
        let receiver = self.receiver_of(source).await?;
        let name = receiver.metadata.object("Receiver");
        check(&receiver, &name)?;
        let headers = self.signed(&receiver, &name).await?;
        let mut follow = Follow::from(self.client, source, String::new());
        let before = loop {
            match follow.next().await {
                Ok(Seen::There(live)) => break live.metadata.annotation(REQUESTED_AT).map(str::to_owned),
                Ok(Seen::Silence(_)) => {}
                Ok(Seen::Gone) => return Err(End::new(State::Deleted, "it does not exist any more")),
                Err(why) => return Err(broken(&why, source)),
            }
        };
        let sent = Instant::now();
        self.send(webhook, &receiver, &name, &headers).await?;
        drop(headers);
        let took = sent.elapsed().as_millis();
        self.note(
            Some(hop),
            format!("{name} ({}) took the push event: 200 in {took} ms", receiver.spec.kind),
        );
        let annotated = async {
            loop {
                match follow.next().await {
                    Ok(Seen::There(live)) => {
                        let now = live.metadata.annotation(REQUESTED_AT).map(str::to_owned);
                        if let Some(now) = now.filter(|now| Some(now) != before.as_ref()) {
                            return Ok((*live, now));
                        }
                    }
                    Ok(Seen::Silence(_)) => {}
                    Ok(Seen::Gone) => {
                        return Err(End::new(State::Deleted, "it was deleted by somebody while we waited"));
                    }
                    Err(why) => return Err(broken(&why, source)),
                }
            }
        };
        let (live, token) = timeout(ANNOTATES_WITHIN, annotated).await.unwrap_or_else(|_| {
            let hint = "look at notification-controller's log: it may lack the permission to patch sources";
            Err(link("notification-controller took the push event, and did not annotate the source", hint))
        })?;
        self.note(Some(hop), format!("notification-controller annotated {source}: requestedAt is {token}"));
        Ok((live, String::new(), token))
    }

    async fn receiver_of(&self, source: &ObjectRef) -> Result<Receiver, End> {
        let asked = "list receivers.notification.toolkit.fluxcd.io";
        let path = "/apis/notification.toolkit.fluxcd.io/v1/receivers";
        let answer = self.client.read.get(path, "application/json", asked).await;
        let answer = answer.map_err(|why| no_access(&why))?;
        if answer.status == StatusCode::NOT_FOUND {
            let hint = Hint::verify("says what of Flux is missing");
            return Err(link(
                "this cluster serves no Receivers: notification-controller is not installed",
                hint,
            ));
        }
        let listed: Receivers =
            answer.list(asked, "notification.toolkit.fluxcd.io/v1", "Receiver").map_err(|why| {
                End::new(State::Failed, "the list of Receivers is not understood").said(said(&why))
            })?;
        let receivers = listed.items.unwrap_or_default();
        receivers.iter().for_each(|receiver| known::run().webhook(&receiver.status.webhook_path));
        let fits = |r: &Receiver| {
            r.spec.resources.iter().any(|x| {
                let namespace = if x.namespace.is_empty() { &r.metadata.namespace } else { &x.namespace };
                x.kind == source.kind
                    && *namespace == source.namespace
                    && (x.name == source.name || x.name == "*")
            })
        };
        let mut found: Vec<Receiver> = receivers.into_iter().filter(fits).collect();
        let expected = expected_receiver(&source.namespace, &source.name);
        found.sort_by_key(|r| r.metadata.object("Receiver") != expected);
        found.into_iter().next().ok_or_else(|| {
            let meaning =
                format!("no Receiver triggers it: push events do not reach it (agentk makes {expected})");
            link(meaning, Hint::verify("says why agentk made none"))
        })
    }

    /// The headers that the Receiver's type asks for, over an empty body.
    async fn signed(
        &self,
        receiver: &Receiver,
        name: &ObjectRef,
    ) -> Result<Vec<(&'static str, String)>, End> {
        match receiver.spec.kind.as_str() {
            "generic" => Ok(Vec::new()),
            "generic-hmac" => {
                let token = self.token_of(receiver, name).await?;
                let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose_secret());
                let tag = hmac::sign(&key, b"");
                let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
                Ok(vec![("x-signature", format!("sha256={hex}"))])
            }
            "gitlab" => {
                let token = self.token_of(receiver, name).await?;
                let text = String::from_utf8(token.expose_secret().to_vec()).ok();
                // A line break at the end is the most common: `echo` without -n.
                let token = text.filter(|t| !t.chars().any(char::is_control)).ok_or_else(|| {
                    let meaning = format!("the token of {name} has a line break or another character that no header can carry");
                    link(meaning, "write a new token into its Secret, without a line break, and into the webhook in GitLab")
                })?;
                Ok(vec![("x-gitlab-token", token), ("x-gitlab-event", PUSH.to_owned())])
            }
            other => {
                let meaning = format!("{name} is of type {other}, whose events only {other} can send");
                Err(link(meaning, "leave --through-webhook out"))
            }
        }
    }

    async fn token_of(&self, receiver: &Receiver, name: &ObjectRef) -> Result<SecretSlice<u8>, End> {
        #[derive(Deserialize)]
        struct Secret {
            #[serde(default)]
            data: Data,
        }
        #[derive(Default, Deserialize)]
        struct Data {
            token: Option<String>,
        }
        let secret = ObjectRef::new("Secret", &receiver.metadata.namespace, &receiver.spec.secret_ref.name);
        let (namespace, short) = (segment(&secret.namespace), segment(&secret.name));
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{short}");
        let asked = format!("get {secret}");
        let answer = self.client.read.get(&path, "application/json", &asked).await;
        let answer = answer.map_err(|why| no_access(&why))?;
        let hint = "agentk writes it anew when it is restarted; other Receivers need a new token";
        if answer.status == StatusCode::NOT_FOUND {
            return Err(link(format!("{secret} of {name} does not exist"), hint));
        }
        let read = answer.object::<Secret>(&asked, &secret);
        let read =
            read.map_err(|why| End::new(State::Failed, "the Secret is not understood").said(said(&why)))?;
        let encoded = read.data.token;
        let token = encoded.and_then(|t| STANDARD.decode(t).ok()).filter(|t| !t.is_empty());
        token.map(SecretSlice::from).ok_or_else(|| link(format!("{secret} of {name} has no key token"), hint))
    }

    async fn send(
        &self,
        webhook: &Webhook,
        receiver: &Receiver,
        name: &ObjectRef,
        headers: &[(&'static str, String)],
    ) -> Result<(), End> {
        let path = receiver.status.webhook_path.as_str();
        let namespace = segment(&self.options.flux_namespace);
        let asked = "post to the webhook";
        let answer = match &webhook.url {
            Some(url) => post_elsewhere(url.trim_end_matches('/'), path, headers, &self.options.access).await,
            None => {
                let proxy =
                    format!("/api/v1/namespaces/{namespace}/services/http:webhook-receiver:80/proxy{path}");
                self.client.post_bare(&proxy, headers, asked).await
            }
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => return Err(self.no_answer(&why, webhook, name).await),
        };
        if answer.status.is_success() {
            return Ok(());
        }
        Err(self.refused(&answer, webhook, name).await)
    }
}

fn check(receiver: &Receiver, name: &ObjectRef) -> Result<(), End> {
    let hint = Hint::verify("says why");
    if receiver.spec.suspend {
        let patch = kubectl(&name.namespace, "patch").object(name);
        let resume = patch.words("--type=merge -p").word(r#"{"spec":{"suspend":false}}"#);
        let hint = Hint::command(resume, "resumes it");
        return Err(link(format!("{name} is suspended: it takes no events"), hint));
    }
    let events = &receiver.spec.events;
    if receiver.spec.kind == "gitlab"
        && !events.is_empty()
        && !events.iter().any(|e| e.eq_ignore_ascii_case(PUSH))
    {
        let meaning =
            format!("{name} takes only {}: a push is none of them, and is refused", events.join(", "));
        return Err(link(meaning, "add Push Hook to its spec.events"));
    }
    let (status, generation) = (&receiver.status, receiver.metadata.generation);
    match readiness(&status.conditions, generation, status.observed_generation, false) {
        Readiness::Failed(c) | Readiness::Waiting(c) => {
            let said = c.message.replace(&status.webhook_path, "/hook/…");
            Err(link(format!("{name} is not ready"), hint).said(said))
        }
        _ if status.webhook_path.is_empty() => Err(link(
            format!("{name} has no webhook path: notification-controller has not taken it up"),
            hint,
        )),
        // It becomes part of a request that is sent with the person's rights.
        _ if !is_hook(&status.webhook_path) => Err(link(
            format!("{name} has a webhook path that notification-controller does not make"),
            "see who writes its status",
        )),
        _ => Ok(()),
    }
}

/// `/hook/` and a SHA-256 in hexadecimal digits (notification-controller, `GetWebhookPath`).
fn is_hook(path: &str) -> bool {
    let digest = path.strip_prefix("/hook/").unwrap_or_default();
    !digest.is_empty() && digest.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn no_access(why: &Why) -> End {
    match why.kind {
        WhyKind::Forbidden => {
            End::new(State::Forbidden, "you may not read what a push event is signed with").said(said(why))
        }
        _ => End::new(State::Unreachable, "the API server does not answer").said(said(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_notification_controller_makes_are_posted_to() {
        assert!(is_hook(&format!("/hook/{}", "0f".repeat(32))));
        for path in [
            "",
            "/hook/",
            "hook/0f",
            "/hook/../../x",
            "@evil.example.com/",
            "https://evil.example.com/hook/0f",
            "/hook/0f?x",
        ] {
            assert!(!is_hook(path), "{path}");
        }
    }
}

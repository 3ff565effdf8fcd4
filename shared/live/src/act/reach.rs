//! Which link of a push event's way is broken, read out of what came back instead of 200.

use gitlab_agent_core::command::Hint;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::plan::ingress::{Policies, Port, no_way_in};
use gitlab_agent_core::plan::journal::{End, State};
use gitlab_agent_core::snapshot::kinds::{Pod, StringMap};
use gitlab_agent_core::snapshot::{Why, WhyKind, mask};
use serde::Deserialize;

use super::Run;
use super::hop::broken;
use super::webhook::Webhook;
use crate::access::{Answer, segment};

/// The port of notification-controller's receiver, as Flux installs it
/// (<https://github.com/fluxcd/flux2/blob/v2.9.2/manifests/bases/notification-controller/kustomization.yaml>).
const WEBHOOK: Port<'_> = Port { number: 9292, name: "http-webhook" };

/// A broken link of the way: what, and what to do.
pub(super) fn link(meaning: impl Into<String>, hint: impl Into<Hint>) -> End {
    End { reason: "WebhookBroken".to_owned(), ..End::new(State::Failed, meaning) }.hint(hint)
}

impl Run<'_> {
    pub(super) async fn no_answer(&self, why: &Why, webhook: &Webhook, name: &ObjectRef) -> End {
        let Some(url) = &webhook.url else {
            return match why.kind {
                WhyKind::TimedOut => self.no_way_in(why.message.clone()).await,
                _ => broken(why, name),
            };
        };
        let place = mask::url(url);
        let meaning = match why.kind {
            WhyKind::TimedOut => {
                format!("nobody answers at {place} in time: a NetworkPolicy may be in the way")
            }
            _ => format!("nobody answers at {place}"),
        };
        let hint = "a NetworkPolicy must let it in (Flux's own is allow-webhooks), and notification-controller must run";
        link(meaning, hint).said(why.message.clone())
    }

    /// Which link an answer other than 200 speaks of. The API server answers with a Status, the webhook does not.
    pub(super) async fn refused(&self, answer: &Answer, webhook: &Webhook, name: &ObjectRef) -> End {
        let message = answer.said();
        let code = answer.status.as_u16();
        let from_api_server = webhook.url.is_none() && answer.api_status().is_some();
        let shown = format!("{code} {message}");
        if from_api_server {
            return self.not_passed_on(code, &message).await.said(shown);
        }
        match code {
            400 | 401 => link(
                format!("{name} refuses the signature that its own Secret makes"),
                "has the Secret just been changed, or does its token begin or end with white space? A new token has to \
                 go to who sends the events, too: agentk reads its own when it is restarted",
            ),
            404 => link(
                format!("the webhook does not know the path of {name}: notification-controller has not taken it up"),
                match &webhook.url {
                    Some(_) => "is the base URL right? notification-controller's log says more",
                    None => "is the targetPort of the Service webhook-receiver http-webhook? notification-controller's log says more",
                },
            ),
            503 => link(
                format!("{name} does not take events: it is suspended or not ready"),
                Hint::verify("says why"),
            ),
            _ => link(
                format!("the webhook answered {code}"),
                "notification-controller's log says why",
            ),
        }
        .said(shown)
    }

    /// Which link the API server speaks of when it could not pass the event on.
    async fn not_passed_on(&self, code: u16, message: &str) -> End {
        let namespace = &self.options.flux_namespace;
        let low = message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|w| low.contains(w));
        let service = format!("the Service webhook-receiver in {namespace}");
        match code {
            401 | 403 => {
                let hint =
                    format!("it needs create services/proxy in namespace {namespace}; or give --webhook-url");
                End::new(State::Forbidden, "you may not use the API server's service proxy").hint(hint)
            }
            404 if !low.starts_with("endpoints") => link(
                format!("there is no {}", service.trim_start_matches("the ")),
                "`flux install` makes it; another base is given with --webhook-url",
            ),
            _ if code == 404 || says(&["no endpoints"]) => link(
                format!("{service} has no endpoints: no pod of notification-controller is ready"),
                Hint::verify("says why notification-controller does not run"),
            ),
            _ if says(&["no service port"]) => {
                link(format!("{service} has no port 80"), "`flux install` makes it as it has to be")
            }
            _ if says(&["timeout", "timed out", "deadline"]) => self.no_way_in(String::new()).await,
            _ if says(&["connection refused"]) => link(
                format!("{service} leads to a pod of notification-controller where nobody listens"),
                "is its targetPort http-webhook, and does the pod run what Flux installs? Its log says more",
            ),
            _ => link(
                "the API server cannot reach the webhook",
                "the API server's own network must reach pods; where it does not, give --webhook-url",
            ),
        }
    }

    /// The end of a hop whose webhook does not answer the API server; `said` is what came instead.
    async fn no_way_in(&self, said: String) -> End {
        let namespace = &self.options.flux_namespace;
        let selector = StringMap::from([("app".to_owned(), "notification-controller".to_owned())]);
        let (policies, labels) = tokio::join!(self.policies(namespace), self.webhook_labels(namespace));
        let labels = labels.unwrap_or_else(|| selector.clone());
        let door = policies.map(|policies| policies.door(&labels, WEBHOOK));
        no_way_in(door.as_ref(), namespace, &selector, WEBHOOK).said(said)
    }

    async fn policies(&self, namespace: &str) -> Result<Policies, Why> {
        let asked = format!("list networkpolicies.networking.k8s.io in namespace {namespace}");
        let path = format!("/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies", segment(namespace));
        let answer = self.client.read.get(&path, "application/json", &asked).await?;
        answer.list(&asked, "networking.k8s.io/v1", "NetworkPolicy")
    }

    /// The labels of a pod behind the webhook, where they can be read.
    async fn webhook_labels(&self, namespace: &str) -> Option<StringMap> {
        #[derive(Deserialize)]
        struct Pods {
            items: Vec<Pod>,
        }
        let path = format!(
            "/api/v1/namespaces/{}/pods?labelSelector=app%3Dnotification-controller&limit=1",
            segment(namespace)
        );
        let asked = "list pods of notification-controller";
        let answer = self.client.read.get(&path, "application/json", asked).await.ok()?;
        let pods: Pods = answer.list(asked, "v1", "Pod").ok()?;
        pods.items.into_iter().next().map(|pod| pod.metadata.labels)
    }
}

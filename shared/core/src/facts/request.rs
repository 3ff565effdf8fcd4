//! Who asked Flux last to reconcile an object: all who do write one annotation, and the API server notes whose it is.

use jiff::Timestamp;

use super::Meta;

/// The last request for reconciliation of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'s> {
    /// The field manager that wrote the annotation.
    pub manager: &'s str,
    /// When.
    pub at: Timestamp,
}

/// The last request, where `metadata.managedFields` tells one.
pub fn last_request(meta: &Meta) -> Option<Request<'_>> {
    let writers = meta.managed_fields.iter().filter(|m| m.requests.0);
    let requests = writers.filter_map(|m| Some(Request { manager: &m.manager, at: m.time? }));
    requests.max_by_key(|request| request.at)
}

impl Request<'_> {
    /// Whether it came in through a Receiver: then a push event, or another webhook, has arrived.
    pub fn is_webhook(&self) -> bool {
        self.manager.contains("notification-controller")
    }

    /// Who it was, for people.
    pub fn who(&self) -> String {
        match self.manager {
            "gitlab-agent-cli" => "kubectl gitlab-agent reconcile-now".to_owned(),
            "flux" => "the Flux CLI".to_owned(),
            manager if manager.starts_with("kubectl") => "kubectl".to_owned(),
            _ if self.is_webhook() => "a webhook".to_owned(),
            manager => manager.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::kinds::{ManagedFields, RequestField};

    fn field(manager: &str, at: &str, requests: bool) -> ManagedFields {
        ManagedFields {
            manager: manager.to_owned(),
            time: at.parse().ok(),
            requests: RequestField(requests),
            ..ManagedFields::default()
        }
    }

    #[test]
    fn the_newest_writer_of_the_annotation_is_told() {
        let managed_fields = vec![
            field("flux", "2026-11-02T08:00:00Z", true),
            field("notification-controller", "2026-11-02T09:00:00Z", true),
            field("source-controller", "2026-11-02T10:00:00Z", false),
        ];
        let meta = Meta { managed_fields, ..Meta::default() };
        let last = last_request(&meta).expect("a request");
        assert!(last.is_webhook() && last.who() == "a webhook", "{last:?}");
        assert_eq!(last_request(&Meta::default()), None);
        for (manager, who) in
            [("flux", "the Flux CLI"), ("kubectl-annotate", "kubectl"), ("headlamp", "headlamp")]
        {
            assert_eq!(Request { manager, at: Timestamp::MIN }.who(), who);
        }
    }
}

//! Whether agentk's service accounts may do what agentk has to: one access review each.

use futures_util::future::join_all;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::facts::duty::Duty;
use gitlab_agent_core::need::Need;
use gitlab_agent_core::snapshot::{Observed, Permission, Review, Snapshot, Trial, WhyKind};

use super::{Observer, permission};

/// What to ask about one agent.
struct Question {
    namespace: String,
    account: String,
    duties: Vec<Duty>,
}

impl Observer<'_> {
    /// Asks first for all namespaces, then, for what is not granted there, for each in which it is needed.
    pub(super) async fn reviews(&self, snapshot: &Snapshot) -> (Vec<Review>, Vec<Trial>) {
        let facts = Facts::derive(snapshot);
        let (questions, namespaces) = questions(&facts);
        let mut reviews = Vec::new();
        for Question { namespace, account, duties } in questions {
            let ask = |permission: Permission| self.review(&namespace, &account, permission);
            let first = join_all(duties.iter().map(|duty| ask(duty.permission.clone()))).await;
            let denied = |(duty, review): &(&Duty, &Review)| {
                duty.by_namespace && review.allowed == Observed::Known(false)
            };
            let again = duties.iter().zip(&first).filter(denied).flat_map(|(duty, _)| {
                namespaces
                    .iter()
                    .map(|n| Permission { namespace: Some(n.clone()), ..duty.permission.clone() })
            });
            let second = join_all(again.map(ask)).await;
            reviews.extend(first);
            reviews.extend(second);
        }
        let trials = reviews.first().and_then(trial).into_iter().collect();
        (reviews, trials)
    }

    async fn review(&self, namespace: &str, account: &str, asked: Permission) -> Review {
        let answer = self.client.may_account(namespace, account, &asked).await;
        let allowed = match answer {
            Ok(allowed) => Observed::Known(allowed),
            Err(mut why) => {
                if why.kind == WhyKind::Forbidden {
                    why.permission = Some(permission(Need::AccessReviews.row(), None));
                }
                Observed::Unknown(why)
            }
        };
        Review {
            namespace: namespace.to_owned(),
            service_account: account.to_owned(),
            permission: asked,
            allowed,
        }
    }
}

fn questions(facts: &Facts<'_>) -> (Vec<Question>, Vec<String>) {
    let one = |agent| {
        let agent: &gitlab_agent_core::facts::agent::Agent<'_> = agent;
        let account = agent.deployment.spec.template.spec.service_account_name.as_str();
        Question {
            namespace: agent.namespace().to_owned(),
            account: if account.is_empty() { "default" } else { account }.to_owned(),
            duties: facts.duties(agent),
        }
    };
    let namespaces = facts.receiver_namespaces().into_iter().map(str::to_owned).collect();
    (facts.agents.iter().map(one).collect(), namespaces)
}

/// Whether one may ask at all.
fn trial(review: &Review) -> Option<Trial> {
    let allowed = match review.allowed.get() {
        Ok(_) => true,
        Err(why) if why.kind == WhyKind::Forbidden => false,
        Err(_) => return None,
    };
    Some(Trial { permission: permission(Need::AccessReviews.row(), None), allowed })
}

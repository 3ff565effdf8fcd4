//! What is written down, and what is done by it: the journal at the start, on a Secret that was made again, and at each way back.

use gitlab_agent_core::rotate::journal::{ANNOTATION, HOLD, TOKEN_ID};
use gitlab_agent_core::rotate::owner::owners;
use gitlab_agent_core::rotate::{Goal, Held, Journal, Kind, Stage};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::Sight;
use super::secret::{Content, Read, fingerprint_of};
use super::{Run, Stop, random};

/// The journal names so many pods of each Deployment.
const MOST_PODS: usize = 50;

impl Run<'_> {
    pub(super) async fn journal(&self, read: &Read) -> Result<Option<String>, Stop> {
        let id = random().map_err(Stop)?;
        let tokens = self.issuer.tokens().await.map_err(|f| Stop(f.to_string()))?;
        // What is revoked at the end is what was proven to be in use, and nothing that came since.
        let other = tokens.iter().find(|t| Some(t.id) != self.old_id);
        if let Some(other) = other.filter(|_| self.issuer.kind() == Kind::AgentToken) {
            return Err(Stop(format!("the agent has another active token by now, number {}", other.id)));
        }
        let mut pods = Vec::new();
        for agentk in self.target.agentks() {
            let sight = Sight::look(self.client, &agentk.deployment).await;
            let sight = sight.map_err(|why| Stop(format!("{}: {}", why.asked, why.message)))?;
            pods.extend(sight.iter().flat_map(Sight::names).take(MOST_PODS));
        }
        let journal = Journal {
            old_mark: self.mark(&id, &read.values),
            new_mark: None,
            pods,
            old_fingerprint: fingerprint_of(&id, &read.values),
            id,
            run: self.memory.borrow().run.clone(),
            stage: Stage::Create,
            kind: self.issuer.kind(),
            place: self.issuer.place(),
            old_token: self.old_id,
            new_token: None,
            new_fingerprint: None,
            no_return: false,
            keeps_old: self.keeps_old,
            by_hand: self.options.goal == Goal::Begin,
            family: self.issuer.family(),
            renewing: None,
            renewing_at: None,
            hold: self.options.hold,
            host: Some(self.issuer.host()),
            uid: read.uid.clone(),
            owners: Some(self.writers(read)),
            started_at: Timestamp::now(),
            who: self.options.who.clone(),
        };
        // In the same change, so that the owner cannot come in between.
        let hold = if journal.hold { json!({HOLD: "disabled"}) } else { json!({}) };
        let done = self.edit(read, &journal, None, hold).await?;
        self.memory.borrow_mut().began |= done;
        Ok(done.then(|| format!("rotation {}, on Secret {}", journal.id, self.target.secret.name)))
    }

    /// The Secret was deleted and made again, without its journal or with one of before. What this process knows of the rotation
    /// is written onto it, so that it can be ended; that the Secret is another one is said.
    pub(super) async fn adopt(&self, read: &Read) -> Result<Option<String>, Stop> {
        let Some(known) = self.memory.borrow().known.clone() else {
            return Err(Stop("the Secret was made again".to_owned()));
        };
        let journal = Journal { uid: read.uid.clone(), ..known };
        let mut more = json!({});
        let held = match journal.held(&fingerprint_of(&journal.id, &read.values)) {
            Held::Old => journal.old_token,
            Held::New => journal.new_token,
            Held::Other => None,
        };
        if let Some(id) = held.filter(|_| journal.kind == Kind::AgentToken) {
            more[TOKEN_ID] = id.to_string().into();
        }
        if self.edit(read, &journal, None, more).await? {
            let mut memory = self.memory.borrow_mut();
            (memory.known, memory.adopted) = (None, true);
        }
        Ok(None)
    }

    pub(super) async fn start_over(
        &self,
        read: &Read,
        j: &Journal,
        keep: Option<u64>,
    ) -> Result<Option<String>, Stop> {
        let journal = Journal {
            stage: Stage::Create,
            old_token: keep,
            old_fingerprint: fingerprint_of(&j.id, &read.values),
            keeps_old: false,
            old_mark: keep.and(j.new_mark.clone()),
            new_mark: None,
            new_token: None,
            new_fingerprint: None,
            no_return: true,
            ..j.clone()
        };
        let done = self.edit(read, &journal, None, json!({})).await?;
        if done {
            self.turned();
        }
        Ok(done.then(|| "what the Secret holds is dead: another token is made".to_owned()))
    }

    pub(super) async fn restore(&self, read: &Read, j: &Journal) -> Result<Option<String>, Stop> {
        let place = &self.target.secret;
        let name = j.backup_name(&place.name);
        let kept = place.read(self.client, &name).await;
        let kept = kept.map_err(|why| Stop(format!("{}: {}", why.asked, why.message)))?.map(|r| r.values);
        // Where it holds that already, only the annotation is put right.
        let kept = kept.filter(|v| fingerprint_of(&j.id, v) == j.old_fingerprint);
        if kept.is_none() && read.held() != Held::Old {
            return Err(Stop(format!("Secret {name} does not hold the value from before")));
        }
        let mut annotations = json!({ANNOTATION: j.write()});
        if j.kind == Kind::AgentToken {
            annotations[TOKEN_ID] = j.old_token.map_or(Value::Null, |id| id.to_string().into());
        }
        let change = place.change(self.client, read, annotations, kept.as_ref()).await;
        let done = self.settle(change).await?;
        if done {
            self.turned();
        }
        Ok(done.then(|| format!("Secret {} holds the value from before", place.name)))
    }

    /// The journal once the new one is given away.
    pub(super) fn given(&self, j: &Journal, stage: Stage, id: u64, content: &Content) -> Journal {
        let new_fingerprint = Some(fingerprint_of(&j.id, content));
        Journal {
            stage,
            new_token: Some(id),
            new_fingerprint,
            new_mark: self.mark(&j.id, content),
            ..j.clone()
        }
    }

    /// What else writes the Secret, each in words; that one is held off does not count.
    pub(super) fn writers(&self, read: &Read) -> Vec<String> {
        let mut all: Vec<String> = owners(&read.metadata).iter().map(|o| o.object.to_string()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What the credential in a Secret's values is recognized by elsewhere.
    pub(super) fn mark(&self, id: &str, content: &Content) -> Option<String> {
        let read = Read { values: content.clone(), ..Read::default() };
        self.target.form.mark(id, &read).map(|mark| mark.fingerprint().to_owned())
    }
}

//! What an action does to the model, and what a process keeps of it.

use super::super::*;
use super::world::{Event, FIRST, Made, World};

impl World {
    fn edit(&mut self, version: u64, change: impl FnOnce(&mut Self, &mut Journal)) -> bool {
        if self.version != version {
            return false;
        }
        let Some(mut journal) = self.journal.clone() else { return false };
        change(self, &mut journal);
        self.write_journal(journal);
        true
    }

    /// Does an action; false where it was not done. Changes of the Secret are made for one version of it; what goes to
    /// GitLab is sent only by who holds the lock.
    pub(super) fn perform(
        &mut self,
        me: usize,
        goal: Goal,
        memory: &mut Memory,
        action: &Action,
        version: u64,
        answered: bool,
    ) -> bool {
        let locked = self.lock == Some(me);
        let done = match action {
            Action::Create | Action::RevokeOrphan(_) | Action::Revoke(_) => {
                self.perform_in_gitlab(memory, action, locked, answered)
            }
            Action::Verify | Action::Prove | Action::Survey(_) => self.perform_proof(memory, action),
            _ => self.perform_in_cluster(goal, memory, action, version, locked),
        };
        if done && answered {
            remember(memory, action);
        }
        done
    }

    fn perform_in_gitlab(
        &mut self,
        memory: &mut Memory,
        action: &Action,
        locked: bool,
        answered: bool,
    ) -> bool {
        match action {
            Action::Create if locked && self.active().len() < self.most() => {
                let Some(journal) = &self.journal else { return false };
                let (id, name) =
                    (self.tokens.iter().map(|t| t.id).max().unwrap_or(0) + 1, journal.token_name());
                self.change_tokens(|tokens| tokens.push(Made { id, name, active: true }));
                if answered {
                    memory.in_hand = Some(id);
                    memory.lists.made(id);
                    memory.made.push(id);
                }
                true
            }
            Action::RevokeOrphan(id) | Action::Revoke(id) if locked => {
                self.revoke(*id);
                memory.asked_to_revoke(*id, answered);
                true
            }
            _ => false,
        }
    }

    fn perform_proof(&mut self, memory: &mut Memory, action: &Action) -> bool {
        let proof = |is: bool| Some(if is { Proof::Yes(String::new()) } else { Proof::No(String::new()) });
        match action {
            Action::Verify => {
                // Of each Deployment one pod is seen to work, not all.
                let read = self.groups.iter().all(|g| g.pods.iter().any(|p| p.value == self.secret));
                memory.verified = proof(self.is_active(self.secret) && read);
            }
            Action::Prove => {
                if !self.asleep {
                    self.happen(Event::Revert);
                }
                memory.proven = proof(!self.owned || self.secret != FIRST);
            }
            Action::Survey(id) => memory.alone = proof(self.is_unused(*id)).map(|proof| (*id, proof)),
            _ => {}
        }
        true
    }

    fn perform_in_cluster(
        &mut self,
        goal: Goal,
        memory: &mut Memory,
        action: &Action,
        version: u64,
        locked: bool,
    ) -> bool {
        let run = memory.run.clone();
        match action {
            Action::Journal => {
                let free = self.version == version && self.journal.is_none();
                if free {
                    self.write_journal(self.begin(run, goal));
                }
                free
            }
            Action::Adopt => {
                let Some(known) = memory.known.clone().filter(|_| self.version == version) else {
                    return false;
                };
                let held =
                    [known.old_token, known.new_token].into_iter().flatten().find(|id| *id == self.secret);
                self.named = held.or(self.named);
                self.write_journal(Journal { uid: self.uid.to_string(), ..known.clone() });
                (memory.known, memory.adopted) = (None, true);
                true
            }
            Action::TakeOver => self.edit(version, |_, j| j.run = run),
            Action::TurnBack(_) => self.edit(version, |_, j| j.stage = Stage::Undo),
            Action::GoForward => self.edit(version, |w, j| {
                (j.stage, j.by_hand) = (Stage::Written, false);
                w.name(j.new_token);
            }),
            Action::StartOver(keep) => self.edit(version, |w, j| {
                j.stage = Stage::Create;
                j.old_token = *keep;
                j.old_fingerprint = w.secret.to_string();
                (j.new_token, j.new_fingerprint, j.no_return, j.keeps_old) = (None, None, true, false);
            }),
            Action::HandOver => {
                let Some(new) = memory.in_hand else { return false };
                self.edit(version, |_, j| {
                    j.stage = Stage::Handed;
                    (j.new_token, j.new_fingerprint) = (Some(new), Some(new.to_string()));
                })
            }
            // A file is written or it is not: there is no answer that could be lost.
            Action::Deliver => {
                let Some(new) = memory.in_hand else { return false };
                self.handed = Some(new);
                self.delivered.push(new);
                memory.delivered = Some(new);
                memory.in_hand = None;
                true
            }
            Action::Write => {
                let Some(new) = memory.in_hand else { return false };
                self.edit(version, |w, j| {
                    (w.secret, w.by_owner) = (new, false);
                    w.name(Some(new));
                    j.stage = Stage::Written;
                    (j.new_token, j.new_fingerprint) = (Some(new), Some(new.to_string()));
                })
            }
            Action::Restore => {
                let kept = self.kept().or(Some(self.secret).filter(|value| Some(*value) == self.old_value()));
                let Some(old) = kept else { return false };
                self.edit(version, |w, j| {
                    w.by_owner &= w.secret == old;
                    w.secret = old;
                    w.name(j.old_token);
                })
            }
            Action::RemoveJournal(_) => {
                let old = self.old_value();
                let done = self.edit(version, |w, j| {
                    if Some(w.secret) == old && !j.no_return {
                        w.name(j.old_token);
                    }
                });
                if done {
                    self.journal = None;
                }
                done
            }
            Action::Backup if locked => {
                let id = self.journal.as_ref().map(|j| j.id.clone()).unwrap_or_default();
                self.backup = Some((id, self.secret));
                true
            }
            Action::RemoveBackup if locked => {
                if self.kept().is_some() {
                    self.backup = None;
                }
                true
            }
            Action::Restart => {
                let mark = self.journal.as_ref().map(Journal::mark);
                // One Deployment at a time: whoever is killed in between has restarted only some.
                let behind = self.groups.iter_mut().find(|g| g.template != mark);
                behind.map(|group| group.template = mark).is_some()
            }
            // Time goes by in both.
            Action::Settle | Action::Wait => {
                self.pause();
                memory.lists.pause();
                true
            }
            Action::Done(_) | Action::Stop(_) => true,
            // The others are done elsewhere; a person's token has a model of its own.
            _ => false,
        }
    }
}

/// What a process keeps of an action that it saw done.
fn remember(memory: &mut Memory, action: &Action) {
    match action {
        Action::Write => memory.made.clear(),
        Action::Journal | Action::TakeOver => memory.began = true,
        Action::TurnBack(turn) => memory.turned = Some(turn.clone()),
        _ => {}
    }
    if matches!(
        action,
        Action::Write
            | Action::HandOver
            | Action::Restore
            | Action::TurnBack(_)
            | Action::GoForward
            | Action::StartOver(_)
    ) {
        memory.forget_proofs();
        memory.in_hand = memory.in_hand.filter(|_| *action == Action::HandOver);
    }
}

//! What others do to the Secret and its journal while a rotation is under way, and after it.

use proptest::prelude::*;

use super::world::{FIRST, World};

/// What becomes of the Secret and its journal by other hands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meddling {
    /// The Secret is deleted and made again, with the first value or the one that it holds.
    Again(bool),
    /// The old and the new token are exchanged in the journal.
    Tokens,
    /// The old and the new fingerprint are.
    Fingerprints,
    /// The journal is that of another Secret or another GitLab.
    Foreign,
    /// A journal of before comes back, alone.
    Stale(usize),
    /// The whole Secret comes back as it was when it began.
    Restored,
    /// The annotation that names the token is taken away.
    Unnamed,
}

pub(super) fn meddling() -> impl Strategy<Value = Meddling> {
    prop_oneof![
        any::<bool>().prop_map(Meddling::Again),
        Just(Meddling::Tokens),
        Just(Meddling::Fingerprints),
        Just(Meddling::Foreign),
        (0..8_usize).prop_map(Meddling::Stale),
        Just(Meddling::Restored),
        Just(Meddling::Unnamed),
    ]
}

impl World {
    pub(super) fn meddle(&mut self, meddling: Meddling) {
        match meddling {
            Meddling::Again(first) => {
                self.uid += 1;
                (self.journal, self.backup, self.named) = (None, None, None);
                if first && self.is_active(FIRST) {
                    self.secret = FIRST;
                }
            }
            Meddling::Stale(at) => {
                let Some(journal) = self.history.get(at % self.history.len().max(1)) else { return };
                self.journal = Some(journal.clone());
            }
            Meddling::Restored => {
                let Some(journal) = self.history.first() else { return };
                if let Ok(value) = journal.old_fingerprint.parse() {
                    (self.secret, self.by_owner, self.named) = (value, true, Some(value));
                }
                self.journal = Some(journal.clone());
            }
            Meddling::Unnamed => self.named = None,
            Meddling::Tokens | Meddling::Fingerprints | Meddling::Foreign => {
                let Some(journal) = &mut self.journal else { return };
                match meddling {
                    Meddling::Tokens => std::mem::swap(&mut journal.old_token, &mut journal.new_token),
                    Meddling::Foreign => journal.uid = "another".to_owned(),
                    _ => {
                        let Some(new) = journal.new_fingerprint.take() else { return };
                        journal.new_fingerprint = Some(std::mem::replace(&mut journal.old_fingerprint, new));
                    }
                }
            }
        }
        self.meddled = true;
        self.version += 1;
    }
}

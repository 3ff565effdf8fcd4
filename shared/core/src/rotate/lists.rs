//! What GitLab's lists do not show yet. A list may come from a replica that lags behind: a token that was just made is not
//! listed, one that was revoked is. So "not listed" counts as "does not exist" only after it was seen so for a while, in looks
//! that are apart from each other.

use std::collections::{BTreeMap, BTreeSet};

use super::machine::Token;

/// In so many looks, each a pause apart from the one before, a list must say the same.
const LOOKS: u32 = 10;
/// How often the same token is revoked, where a list goes on showing it.
const REVOCATIONS: u32 = 3;

/// What is known beyond the lists.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Made by this process, with GitLab's answer, and not listed yet: in how many looks.
    made: BTreeMap<u64, u32>,
    /// Tokens of the journal that are not listed, and in how many looks they were not.
    absent: BTreeMap<u64, u32>,
    /// Revoked by this process, with GitLab's answer.
    revoked: BTreeMap<u64, Revoked>,
    /// A token may have been made whose number nobody knows; in how many looks none was listed since.
    hidden: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Revoked {
    times: u32,
    /// It is listed still, and was in so many looks.
    listed: Option<u32>,
}

impl Lists {
    /// Takes note of a list; `known` are the tokens of the journal.
    pub fn look(&mut self, tokens: &[Token], known: impl IntoIterator<Item = u64>) {
        let listed = |id: &u64| tokens.iter().any(|t| t.id == *id);
        self.made.retain(|id, _| !listed(id));
        let known: BTreeSet<u64> = known.into_iter().collect();
        self.absent.retain(|id, _| !listed(id) && known.contains(id));
        for id in known.into_iter().filter(|id| !listed(id)) {
            self.absent.entry(id).or_insert(0);
        }
        for (id, revoked) in &mut self.revoked {
            revoked.listed = listed(id).then(|| revoked.listed.unwrap_or(0));
        }
    }

    /// A pause went by since the last look that counted.
    pub fn pause(&mut self) {
        for looks in self.absent.values_mut().chain(self.made.values_mut()) {
            *looks += 1;
        }
        for looks in self.revoked.values_mut().filter_map(|r| r.listed.as_mut()) {
            *looks += 1;
        }
        if let Some(looks) = &mut self.hidden {
            *looks += 1;
        }
    }

    /// GitLab answered that it made this token.
    pub fn made(&mut self, id: u64) {
        self.made.insert(id, 0);
    }

    /// GitLab answered that it revoked this token.
    pub fn revoked(&mut self, id: u64) {
        self.made.remove(&id);
        let revoked = self.revoked.entry(id).or_default();
        *revoked = Revoked { times: revoked.times + 1, listed: None };
    }

    /// A token may have been made that nobody knows of.
    pub fn may_hide(&mut self) {
        self.hidden = Some(0);
    }

    /// Such a token may still come to be listed.
    pub(super) fn hides(&self) -> bool {
        self.hidden.is_some_and(|looks| looks < LOOKS)
    }

    /// Whether GitLab answered that it revoked this token.
    pub fn has_revoked(&self, id: u64) -> bool {
        self.revoked.contains_key(&id)
    }

    /// Revoked, and listed still.
    pub(super) fn lingers(&self) -> bool {
        self.revoked.values().any(|r| r.listed.is_some())
    }

    /// Revoked as often as it makes sense, and listed still.
    pub(super) fn refuses_to_go(&self) -> Option<u64> {
        let over = |r: &Revoked| r.times >= REVOCATIONS && r.listed.is_some_and(|looks| looks >= LOOKS);
        self.revoked.iter().find(|(_, r)| over(r)).map(|(id, _)| *id)
    }

    /// Whether a token of the journal is not listed, and not for long enough to be gone.
    pub(super) fn is_in_doubt(&self, id: u64) -> bool {
        let absent = self.absent.get(&id).is_some_and(|looks| *looks < LOOKS);
        absent && !self.made.contains_key(&id) && !self.revoked.contains_key(&id)
    }

    /// Whether a token is active: listed and not just revoked, or just made and not listed yet.
    pub(super) fn lives(&self, tokens: &[Token], id: u64) -> bool {
        let dead = self.revoked.get(&id).is_some_and(|r| r.listed.is_none_or(|looks| looks < LOOKS));
        self.made.contains_key(&id) || !dead && tokens.iter().any(|t| t.id == id)
    }

    /// What this process made and no list has shown.
    pub(super) fn unlisted(&self) -> impl Iterator<Item = u64> {
        self.made.keys().copied()
    }

    /// Whether no list has shown yet what this process made; and whether that was so for long enough to be no lag.
    pub(super) fn is_unlisted(&self, id: u64) -> Option<bool> {
        self.made.get(&id).map(|looks| *looks >= LOOKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(ids: &[u64]) -> Vec<Token> {
        ids.iter().map(|id| Token { id: *id, name: String::new() }).collect()
    }

    /// Looks with a pause before each.
    fn looks(lists: &mut Lists, ids: &[u64], known: &[u64], times: u32) {
        for _ in 0..times {
            lists.pause();
            lists.look(&tokens(ids), known.iter().copied());
        }
    }

    #[test]
    fn not_listed_is_not_gone_until_it_was_seen_so_for_a_while() {
        let mut lists = Lists::default();
        lists.look(&tokens(&[]), [1]);
        assert!(lists.is_in_doubt(1));
        looks(&mut lists, &[], &[1], LOOKS - 1);
        assert!(lists.is_in_doubt(1), "one look is missing");
        // A replica that is up to date shows it: the count begins anew.
        looks(&mut lists, &[1], &[1], 1);
        assert!(!lists.is_in_doubt(1) && lists.lives(&tokens(&[1]), 1));
        looks(&mut lists, &[], &[1], LOOKS);
        assert!(lists.is_in_doubt(1));
        looks(&mut lists, &[], &[1], 1);
        assert!(!lists.is_in_doubt(1) && !lists.lives(&[], 1));
    }

    #[test]
    fn looks_without_a_pause_count_for_nothing() {
        let mut lists = Lists::default();
        for _ in 0..100 {
            lists.look(&[], [1]);
        }
        assert!(lists.is_in_doubt(1));
    }

    #[test]
    fn what_was_just_made_lives_before_it_is_listed() {
        let mut lists = Lists::default();
        lists.made(2);
        looks(&mut lists, &[], &[2], 5 * LOOKS);
        assert!(lists.lives(&[], 2) && !lists.is_in_doubt(2) && lists.unlisted().eq([2]));
        assert_eq!(lists.is_unlisted(2), Some(true), "no lag lasts so long");
        lists.look(&tokens(&[2]), [2]);
        assert_eq!(lists.is_unlisted(2), None);
        lists.look(&[], [2]);
        assert!(!lists.lives(&[], 2) && lists.is_in_doubt(2), "from here on the lists are asked");
    }

    #[test]
    fn what_was_revoked_is_dead_and_asked_for_again_only_after_a_while() {
        let mut lists = Lists::default();
        lists.revoked(1);
        looks(&mut lists, &[1], &[1], LOOKS);
        assert!(!lists.lives(&tokens(&[1]), 1) && lists.lingers() && lists.refuses_to_go().is_none());
        looks(&mut lists, &[1], &[1], 1);
        assert!(lists.lives(&tokens(&[1]), 1), "the list insists");
        for _ in 1..REVOCATIONS {
            lists.revoked(1);
            assert!(!lists.lives(&tokens(&[1]), 1) && lists.refuses_to_go().is_none());
            looks(&mut lists, &[1], &[1], LOOKS + 1);
        }
        assert_eq!(lists.refuses_to_go(), Some(1));
        lists.look(&[], [1]);
        assert!(!lists.lingers() && lists.refuses_to_go().is_none());
    }

    #[test]
    fn a_token_that_nobody_knows_of_is_waited_for() {
        let mut lists = Lists::default();
        assert!(!lists.hides());
        lists.may_hide();
        looks(&mut lists, &[], &[], LOOKS - 1);
        assert!(lists.hides());
        looks(&mut lists, &[], &[], 1);
        assert!(!lists.hides());
    }
}

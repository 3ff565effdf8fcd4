//! What others do to the Secret and its journal while a rotation is under way, and after it.

use proptest::prelude::*;

use super::super::*;
use super::play::Play;
use super::world::{Event, FIRST, Fault, World};

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

/// At every step of a run and after it, both ways, with pods that read the Secret once and with what reads it at each use.
#[test]
fn whatever_becomes_of_the_journal_nothing_in_use_is_revoked() {
    use Meddling::{Again, Fingerprints, Foreign, Restored, Stale, Tokens, Unnamed};
    let all = [
        Again(false),
        Again(true),
        Tokens,
        Fingerprints,
        Foreign,
        Stale(0),
        Stale(1),
        Stale(2),
        Restored,
        Unnamed,
    ];
    let mut stopped = 0;
    for (pods, kind) in [(2, Kind::AgentToken), (0, Kind::DeployToken)] {
        let cases = (1..16).flat_map(|at| all.map(|meddling| (at, meddling)));
        for (undo, at, meddling) in cases.flat_map(|(at, m)| [false, true].map(|undo| (undo, at, m))) {
            let mut play = Play::new(World { kind, ..World::new(pods, 2, false) }, undo, Goal::Rotate);
            let step = |play: &mut Play| {
                play.look(0);
                play.act(0, Fault::None);
                play.world.happen_to_all_pods();
                let world = &play.world;
                assert!(world.aims() && world.cut_off.is_empty(), "{meddling:?} at {at}: {world:?}");
                play.processes[0].ended.is_some()
            };
            for _ in 0..at {
                if step(&mut play) {
                    break;
                }
            }
            play.play(Event::Meddle(meddling));
            play.again(0);
            assert!((0..400).any(|_| step(&mut play)), "{meddling:?} at {at}: it ends");
            stopped += u32::from(matches!(play.processes[0].ended, Some(Action::Stop(_))));
            play.finish();
            assert!(play.world.aims(), "{meddling:?} at {at}: {:?}", play.world);
        }
    }
    assert!(stopped > 50, "{stopped} were not believed");
}

/// A process that sees its Secret made again says so before anything is revoked, and what is left can be ended both ways.
#[test]
fn a_secret_that_is_made_again_stops_it_and_is_ended() {
    for first in [false, true] {
        for undo in [false, true] {
            let mut play = Play::new(World::new(2, 2, false), undo, Goal::Rotate);
            while play.world.journal.as_ref().is_none_or(|j| j.stage != Stage::Written) {
                assert!(play.processes[0].ended.is_none(), "it goes on: {:?}", play.world);
                play.look(0);
                play.act(0, Fault::None);
            }
            // It has seen what it wrote.
            play.look(0);
            play.world.meddle(Meddling::Again(first));
            for actions in 0.. {
                play.act(0, Fault::None);
                if play.processes[0].ended.is_some() {
                    break;
                }
                assert!(actions < 200, "it ends: {:?}", play.world);
                play.look(0);
            }
            let Some(Action::Stop(why)) = &play.processes[0].ended else {
                panic!("{:?}", play.processes[0].ended)
            };
            assert!(
                why.contains("made again") && why.contains("agent token 1 as the old one and 2"),
                "{why}"
            );
            assert_eq!(play.world.active(), [FIRST, 2]);
            let expected =
                if first || undo && play.world.secret == FIRST { Outcome::Undone } else { Outcome::Rotated };
            assert_eq!(play.finish(), Some(expected), "{:?}", play.world);
            assert!(
                play.world.active() == [play.world.secret] && play.world.named == Some(play.world.secret)
            );
        }
    }
}

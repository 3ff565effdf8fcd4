//! The claim, played: a model of GitLab, the Secret, everything that reads it and its owner; two processes, and every fault.

mod holders;
mod meddle;
mod perform;
mod play;
mod world;

use proptest::prelude::*;

use super::*;
use play::Play;
use world::{Event, FIRST, Fault, Made, World, event};

/// Plays the events and then one run to the end. Without gaps a process acts as soon as it has looked.
fn check(world: World, undo: bool, first: Goal, gaps: bool, events: Vec<Event>) -> Result<(), TestCaseError> {
    let mut play = Play::new(world, undo, first);
    for event in events {
        match event {
            Event::Act(at, fault) if !gaps => {
                play.look(at);
                let dead = play.world.by_owner && !play.world.is_active(play.world.secret);
                play.act(at, fault);
                let now = play.world.by_owner && !play.world.is_active(play.world.secret);
                prop_assert!(dead || !now, "revoked what the Secret holds: {:?}", play.world);
            }
            Event::Look(_) if !gaps => {}
            event => play.play(event),
        }
        // What is aimed at cannot be had from a process that sleeps between looking and acting; the claim can.
        let well = if gaps { play.world.holds() } else { play.world.aims() };
        prop_assert!(well, "after {event:?}: {:?}", play.world);
        prop_assert!(play.world.cut_off.is_empty(), "after {event:?} a holder was cut off: {:?}", play.world);
        prop_assert!(!play.is_deaf(), "after {event:?} it does not end: {:?}", play.world);
        prop_assert!(!play.hands_over_nothing(), "after {event:?} nobody has the value: {:?}", play.world);
        prop_assert!(play.world.active().len() <= play.world.most());
    }
    let Some(outcome) = play.finish() else { return Ok(()) };
    let world = &play.world;
    // Nobody knows what somebody who changed the journal left; that nothing in use was revoked is held above.
    if world.meddled {
        return Ok(());
    }
    prop_assert!(world.journal.is_none() && world.backup.is_none(), "{world:?}");
    prop_assert!(world.active().len() <= 2, "{world:?}");
    if outcome == Outcome::Rotated {
        let kept = if world.foreign { vec![FIRST, world.secret] } else { vec![world.secret] };
        prop_assert_eq!(world.active(), kept);
        prop_assert!(world.pods().all(|p| p.value == world.secret), "{:?}", world);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn some_credential_is_active_and_held_at_every_instant(
        pods in 0..4_usize,
        groups in 1..3_usize,
        owned in any::<bool>(),
        signed in prop::bool::weighted(0.1),
        asleep in any::<bool>(),
        foreign in prop::bool::weighted(0.2),
        begin in prop::bool::weighted(0.3),
        undo in prop::bool::weighted(0.2),
        gaps in any::<bool>(),
        events in prop::collection::vec(event(), 0..160),
    ) {
        // agentk reads its token once; whatever has no pods reads a Secret of any other kind at each use.
        let kind = if pods == 0 { Kind::DeployToken } else { Kind::AgentToken };
        let foreign = foreign && pods == 0;
        let first = if begin { Goal::Begin } else { Goal::Rotate };
        check(World { asleep, kind, foreign, signed, ..World::new(pods, groups, owned) }, undo, first, gaps, events)?;
    }
}

/// Where it is killed: once before and once after each action of a run without another fault.
#[test]
fn killed_at_every_step_it_is_resumed_to_the_end() {
    for undo in [false, true] {
        for fault in [Fault::KillBefore, Fault::KillAfter, Fault::NotDone, Fault::DoneUnanswered] {
            for at in 0..14 {
                let mut play = Play::new(World::new(2, 2, false), undo, Goal::Rotate);
                let mut count = 0;
                while play.processes[0].ended.is_none() {
                    play.look(0);
                    play.act(0, if count == at { fault } else { Fault::None });
                    assert!(play.world.aims(), "{:?}", play.world);
                    play.world.roll_all();
                    count += 1;
                    assert!(count < 200, "{fault:?} at {at}: {:?}", play.world);
                }
                assert!(play.finish().is_some());
                let world = &play.world;
                assert_eq!(world.active(), [world.secret], "{fault:?} at {at}: {world:?}");
                assert!(world.journal.is_none() && world.backup.is_none());
            }
        }
    }
}

/// The steps of a run in which all goes well, in their order.
#[test]
fn all_goes_well() {
    use Action::{
        Backup, Create, Done, Prove, RemoveBackup, RemoveJournal, Restart, Revoke, Survey, Verify, Write,
    };
    let mut play = Play::new(World::new(2, 2, false), false, Goal::Rotate);
    let mut steps = Vec::new();
    loop {
        play.look(0);
        let Some((action, _)) = play.processes[0].decided.clone() else { panic!("decides") };
        play.act(0, Fault::None);
        play.world.roll_all();
        steps.push(action);
        if let Some(Done(outcome)) = &play.processes[0].ended {
            assert_eq!(*outcome, Outcome::Rotated);
            break;
        }
    }
    let rotated = Outcome::Rotated;
    assert_eq!(
        steps,
        [
            Action::Journal,
            Create,
            Backup,
            Write,
            Restart,
            Restart,
            Verify,
            Prove,
            Survey(FIRST),
            Revoke(FIRST),
            RemoveBackup,
            RemoveJournal(rotated),
            Done(rotated)
        ]
    );
    assert!(steps.is_sorted_by_key(Action::step), "{steps:?}");
}

/// An owner that nobody saw: the reconciliation that proves it gives the old value back, and nothing was revoked.
#[test]
fn what_is_reverted_is_undone() {
    let mut play = Play::new(World::new(2, 2, true), false, Goal::Rotate);
    for _ in 0..80 {
        play.look(0);
        play.act(0, Fault::None);
        play.world.roll_all();
        if let Some(Action::Done(outcome)) = &play.processes[0].ended {
            assert_eq!(*outcome, Outcome::Undone);
            assert_eq!(play.world.active(), [FIRST]);
            assert_eq!(play.processes[0].memory.turned, Some(Turn::Reverted));
            return;
        }
    }
    panic!("no end: {:?}", play.world);
}

/// Somebody writes another value while it is under way: nothing is taken away from them.
#[test]
fn what_somebody_else_wrote_stays() {
    let mut play = Play::new(World::new(1, 1, false), false, Goal::Rotate);
    while !matches!(play.world.journal.as_ref().map(|j| j.stage), Some(Stage::Written)) {
        play.look(0);
        play.act(0, Fault::None);
    }
    play.world.secret = 77;
    play.world.tokens.push(Made { id: 77, name: "by hand".to_owned(), active: true });
    assert_eq!(play.finish(), Some(Outcome::Abandoned));
    assert_eq!((play.world.secret, play.world.active().len()), (77, 3));
}

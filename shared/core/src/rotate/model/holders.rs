//! Whoever else holds the value: it is not begun, and not revoked, while anybody is seen.

use super::super::*;
use super::play::Play;
use super::world::{Event, FIRST, Fault, World};

/// Runs until it ends, or an action is decided; gives how it ended.
fn run(play: &mut Play, until: &dyn Fn(&Action) -> bool) -> Option<Action> {
    for _ in 0..400 {
        play.look(0);
        if let Some(end) = &play.processes[0].ended {
            return Some(end.clone());
        }
        if play.processes[0].decided.as_ref().is_some_and(|(action, _)| until(action)) {
            return None;
        }
        play.act(0, Fault::None);
        play.world.roll_all();
        if let Some(end) = &play.processes[0].ended {
            return Some(end.clone());
        }
    }
    panic!("no end: {:?}", play.world)
}

fn never(_: &Action) -> bool {
    false
}

#[test]
fn with_another_holder_or_an_owner_it_is_not_begun() {
    let with = |change: fn(&mut World)| {
        let mut world = World::new(2, 2, false);
        change(&mut world);
        let mut play = Play::new(world, false, Goal::Rotate);
        let end = run(&mut play, &never);
        assert!(matches!(end, Some(Action::Stop(_))), "{end:?}");
        assert!(play.world.journal.is_none() && play.world.active() == [FIRST], "{:?}", play.world);
    };
    with(|w| w.copies.push(FIRST));
    with(|w| w.elsewhere.push(FIRST));
    with(|w| w.signed = true);
}

/// A holder that appears at any step stops it before the revoke; once it is gone, it is resumed to the end.
#[test]
fn a_holder_that_appears_meanwhile_stops_it_before_the_revoke() {
    for elsewhere in [false, true] {
        for at in 1..9 {
            let mut play = Play::new(World::new(2, 2, false), false, Goal::Rotate);
            for _ in 0..at {
                play.look(0);
                play.act(0, Fault::None);
                play.world.roll_all();
            }
            let others = if elsewhere { &mut play.world.elsewhere } else { &mut play.world.copies };
            others.push(FIRST);
            let end = run(&mut play, &never);
            assert!(matches!(end, Some(Action::Stop(_))), "at {at}: {end:?}");
            assert!(
                play.world.is_active(FIRST) && play.world.cut_off.is_empty(),
                "at {at}: {:?}",
                play.world
            );
            play.world.happen(Event::Follow);
            assert_eq!(
                run(&mut play, &never),
                Some(Action::Done(Outcome::Rotated)),
                "at {at}: {:?}",
                play.world
            );
            assert!(play.world.aims() && play.world.active() == [play.world.secret], "{:?}", play.world);
        }
    }
}

/// Any fault at any step: where it ends as begun, a person has the value.
#[test]
fn what_is_begun_was_handed_over() {
    use Fault::{DoneUnanswered, KillAfter, KillBefore, NotDone, Refused};
    for fault in [Fault::None, KillBefore, KillAfter, NotDone, DoneUnanswered, Refused] {
        for at in 0..8 {
            let mut play = Play::new(World { signed: true, ..World::new(2, 1, true) }, false, Goal::Begin);
            for step in 0..40 {
                play.look(0);
                play.act(0, if step == at { fault } else { Fault::None });
                play.world.roll_all();
                assert!(!play.hands_over_nothing(), "{fault:?} at {at}: {:?}", play.world);
                if play.processes[0].ended.is_some() {
                    break;
                }
            }
            assert!(play.processes[0].ended.is_some(), "{fault:?} at {at}: {:?}", play.world);
        }
    }
}

#[test]
fn what_is_revoked_anyway_was_asked_for() {
    let mut play = Play::new(World::new(1, 1, false), false, Goal::Rotate);
    run(&mut play, &|action| matches!(action, Action::Survey(_)));
    play.world.elsewhere.push(FIRST);
    play.processes[0].memory.revoke_anyway = true;
    assert_eq!(run(&mut play, &never), Some(Action::Done(Outcome::Rotated)));
}

/// Both ways: a token that was made is not listed, and one that was revoked is.
#[test]
fn a_list_that_lags_all_the_while_changes_nothing_but_the_time() {
    for at in 0..12 {
        let mut play = Play::new(World { lags: true, ..World::new(2, 1, false) }, false, Goal::Rotate);
        for _ in 0..at {
            play.look(0);
            play.act(0, Fault::None);
            play.world.roll_all();
        }
        if at > 0 {
            // Killed there, and resumed with lists that lag.
            play.look(0);
            play.act(0, Fault::KillBefore);
        }
        let end = run(&mut play, &never);
        assert_eq!(end, Some(Action::Done(Outcome::Rotated)), "at {at}: {:?}", play.world);
        assert_eq!(play.world.active(), [play.world.secret], "at {at}: {:?}", play.world);
    }
}

/// A signal at any step: it ends at the next safe place, and what is left is resumed.
#[test]
fn told_to_end_it_ends_and_is_resumed() {
    for at in 0..14 {
        let mut play = Play::new(World::new(2, 2, false), false, Goal::Rotate);
        for _ in 0..at {
            play.look(0);
            play.act(0, Fault::None);
            play.world.roll_all();
        }
        if matches!(play.processes[0].ended, Some(Action::Done(_))) {
            continue;
        }
        play.play(Event::Signal(0));
        let end = run(&mut play, &never);
        assert!(play.world.aims() && !play.is_deaf(), "at {at}: {:?}", play.world);
        // Before the first action nothing was changed; once the journal is gone, it has ended.
        let over = end == Some(Action::Done(Outcome::Rotated));
        assert!(over || matches!(end, Some(Action::Stop(_))), "at {at}: {end:?}");
        assert_eq!(at == 0 || over, play.world.journal.is_none(), "at {at}");
        assert!(play.finish().is_some());
    }
}

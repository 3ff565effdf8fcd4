//! What the tests of one process share: started by the first, used by one at a time, and gone with the first that fails.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

/// A place for one `T`.
pub(crate) struct Shared<T>(Mutex<State<T>>);

enum State<T> {
    NotStarted,
    Running(T),
    /// It cannot be here, and that is no fault.
    LeftOut,
    /// It did not start, and would not for the next test either.
    Broken(String),
}

impl<T> Shared<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State::NotStarted))
    }

    /// Runs a test alone with what is there, or with a new one from `start`; without a test where `start` gives none.
    pub(crate) fn with(
        &self,
        start: impl FnOnce() -> Result<Option<T>>,
        test: impl FnOnce(&T) -> Result<()>,
    ) -> Result<()> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::NotStarted = *place {
            *place = match start() {
                Ok(Some(started)) => State::Running(started),
                Ok(None) => State::LeftOut,
                Err(error) => State::Broken(format!("{error:#}")),
            };
        }
        match std::mem::replace(&mut *place, State::NotStarted) {
            State::Running(shared) => {
                // Where the test fails or panics, it is dropped here.
                test(&shared)?;
                *place = State::Running(shared);
                Ok(())
            }
            State::Broken(why) => {
                *place = State::Broken(why.clone());
                bail!("{why}")
            }
            State::LeftOut | State::NotStarted => {
                *place = State::LeftOut;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_test_that_fails_takes_it_along_and_the_next_gets_a_new_one() {
        let (shared, starts) = (Shared::new(), Cell::new(0));
        let start = || {
            starts.set(starts.get() + 1);
            Ok(Some(starts.get()))
        };
        let seen = |expected: i32| {
            move |value: &i32| {
                assert_eq!(*value, expected);
                Ok(())
            }
        };
        shared.with(start, seen(1)).expect("passes");
        shared.with(start, seen(1)).expect("passes with the same");
        let failed = shared.with(start, |_| bail!("on purpose"));
        assert_eq!(failed.expect_err("fails").to_string(), "on purpose");
        shared.with(start, seen(2)).expect("passes with a new one");
        let panicked = std::panic::AssertUnwindSafe(|| shared.with(start, seen(0)));
        std::panic::catch_unwind(panicked).expect_err("panics");
        shared.with(start, seen(3)).expect("passes with a new one");
    }

    #[test]
    fn what_does_not_start_is_tried_once_and_what_cannot_be_here_is_left_out() {
        let broken = Shared::<()>::new();
        for _ in 0..2 {
            let ran = broken.with(|| bail!("no port is free"), |()| panic!("no test runs"));
            assert_eq!(ran.expect_err("fails").to_string(), "no port is free");
        }
        broken.with(|| panic!("not started again"), |()| Ok(())).expect_err("fails");
        let absent = Shared::<()>::new();
        absent.with(|| Ok(None), |()| panic!("no test runs")).expect("left out");
        absent.with(|| panic!("not started again"), |()| panic!("no test runs")).expect("left out");
    }
}

//! The one place that waits: poll a condition until it holds or its deadline has passed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to let the machine work between two looks.
const STEP: Duration = Duration::from_millis(50);

/// Looks at `probe` until it answers `Ok(Some(value))`; says what was waited for, and the last trouble, when `deadline` is over.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let trouble = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if started.elapsed() >= deadline {
            match trouble {
                Some(error) => bail!("waited {deadline:?} for {what}: {error:#}"),
                None => bail!("waited {deadline:?} for {what}"),
            }
        }
        std::thread::sleep(STEP);
    }
}

/// `Some(())` when the condition holds: for probes that answer yes or no.
pub fn yes(holds: bool) -> Option<()> {
    holds.then_some(())
}

//! Keeps the processes of one instance: start, stop and start again, each by name.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};

use super::process::{Process, Recipe};

struct Slot {
    recipe: Recipe,
    process: Option<Process>,
}

/// The processes, in the order in which they were first started.
#[derive(Default)]
pub(crate) struct Supervisor {
    slots: Mutex<Vec<Slot>>,
}

impl Supervisor {
    /// Starts a process that is not known yet.
    pub(crate) fn add(&self, recipe: Recipe) -> Result<()> {
        let process = Some(Process::start(&recipe)?);
        self.slots().push(Slot { recipe, process });
        Ok(())
    }

    /// Kills a process; starting it again is up to `start`.
    pub(crate) fn stop(&self, name: &str) -> Result<()> {
        self.with(name, |slot| {
            slot.process = None;
            Ok(())
        })
    }

    /// Starts a stopped process with the arguments, so also the ports, it had.
    pub(crate) fn start(&self, name: &str) -> Result<()> {
        self.with(name, |slot| {
            if slot.process.as_mut().is_some_and(Process::is_running) {
                bail!("{name} runs already");
            }
            slot.process = Some(Process::start(&slot.recipe)?);
            Ok(())
        })
    }

    /// An error when a process that should run has ended by itself, with the end of its log.
    pub(crate) fn check(&self) -> Result<()> {
        for slot in self.slots().iter_mut() {
            if slot.process.as_mut().is_some_and(|process| !process.is_running()) {
                let log = std::fs::read_to_string(&slot.recipe.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(15)..].join("\n");
                bail!("{} ended by itself; the end of its log:\n{tail}", slot.recipe.name);
            }
        }
        Ok(())
    }

    /// The file that a process logs to.
    pub(crate) fn log(&self, name: &str) -> Result<PathBuf> {
        self.with(name, |slot| Ok(slot.recipe.log.clone()))
    }

    /// The names, and for each the process id of the shell in front of it while it runs.
    pub(crate) fn list(&self) -> Vec<(String, Option<u32>)> {
        let id = |slot: &Slot| slot.process.as_ref().map(Process::wrapper_id);
        self.slots().iter().map(|slot| (slot.recipe.name.clone(), id(slot))).collect()
    }

    /// Stops all, last started first.
    pub(crate) fn stop_all(&self) {
        let mut slots = self.slots();
        while let Some(slot) = slots.pop() {
            drop(slot);
        }
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Slot) -> Result<T>) -> Result<T> {
        let mut slots = self.slots();
        let slot = slots.iter_mut().find(|slot| slot.recipe.name == name);
        act(slot.with_context(|| format!("this world has no process {name}"))?)
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

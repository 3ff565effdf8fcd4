//! Ctrl-C, termination and the end of the terminal, taken from the first moment on: a command that changes something ends where
//! it is safe to.

use std::cell::Cell;

use gitlab_agent_core::report::Exit;
use tokio::sync::Notify;

/// What a process was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal was closed.
    HangUp,
}

impl Signal {
    /// As it is known.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        }
    }

    /// The exit code where nothing was changed.
    pub fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::Interrupted,
            Self::Terminate => Exit::Terminated,
            Self::HangUp => Exit::HungUp,
        }
    }
}

/// The first signal that came.
#[derive(Debug, Default)]
pub struct Signals {
    told: Cell<Option<Signal>>,
    notify: Notify,
}

impl Signals {
    /// The signal, where one came.
    pub fn told(&self) -> Option<Signal> {
        self.told.get()
    }

    /// Waits for one.
    pub async fn caught(&self) -> Signal {
        loop {
            let notified = self.notify.notified();
            if let Some(signal) = self.told.get() {
                return signal;
            }
            notified.await;
        }
    }

    fn tell(&self, signal: Signal) {
        self.told.set(self.told.get().or(Some(signal)));
        self.notify.notify_waiters();
    }

    /// Does the work while signals are listened to.
    pub async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.listen() => unreachable!("signals are listened to for ever"),
        }
    }

    async fn listen(&self) {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let kinds = (SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup());
            let (Ok(mut int), Ok(mut term), Ok(mut hang)) =
                (signal(kinds.0), signal(kinds.1), signal(kinds.2))
            else {
                return std::future::pending().await;
            };
            loop {
                tokio::select! {
                    _ = int.recv() => self.tell(Signal::Interrupt),
                    _ = term.recv() => self.tell(Signal::Terminate),
                    _ = hang.recv() => self.tell(Signal::HangUp),
                }
            }
        }
        #[cfg(not(unix))]
        loop {
            if tokio::signal::ctrl_c().await.is_err() {
                return std::future::pending().await;
            }
            self.tell(Signal::Interrupt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_counts_and_everybody_hears_it() {
        let signals = Signals::default();
        assert_eq!(signals.told(), None);
        signals.tell(Signal::Terminate);
        signals.tell(Signal::Interrupt);
        for _ in 0..2 {
            assert_eq!(signals.caught().await, Signal::Terminate);
        }
        let codes = [Signal::Interrupt, Signal::Terminate, Signal::HangUp].map(|s| s.exit().code());
        assert_eq!(codes, [130, 143, 129], "128 and the signal's number");
    }
}

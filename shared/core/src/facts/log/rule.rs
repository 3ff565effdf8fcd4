//! What is known of one fault of agentk, and what to do about it.

use super::super::failure::Failure;

/// A known fault of agentk, recognised by what its line contains.
#[derive(Debug)]
pub struct Rule {
    /// All of these substrings occur in message and error.
    pub texts: &'static [&'static str],
    /// The class that its text is read as, where the words differ from library to library.
    pub class: Option<Failure>,
    /// What it means.
    pub cause: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// What it stops.
    pub effect: Effect,
    /// The command that does it, where there is one.
    pub help: Help,
    /// Whether it holds until agentk is restarted, however old its line is.
    pub lasting: bool,
    /// Whether it is over once a living pod holds the Lease: agentk writes no line when it recovers from it.
    pub until_led: bool,
    /// Whether it is kas itself that says so, so that the connection to it works.
    pub from_kas: bool,
}

/// What a fault stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// GitLab refuses the agent token.
    TokenRefused,
    /// agentk is not connected to kas.
    Disconnected,
    /// agentk's Flux module does not work; the connection may.
    FluxModule,
    /// agentk is connected, and does not take its configuration.
    Configuration,
    /// Something else.
    Other,
}

/// A command against a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Help {
    /// None: words must do, or the effect tells (a refused token).
    Words,
    /// Restart agentk.
    Restart,
    /// Let agentk's service account do this.
    Grant {
        /// Verbs, with commas.
        verbs: &'static str,
        /// Resource with its group.
        resource: &'static str,
        /// In all namespaces, or only in agentk's own.
        everywhere: bool,
    },
    /// `kubectl -n NAMESPACE` with these words.
    Kubectl(&'static str),
}

/// How RBAC refuses: `User "U" cannot create resource "secrets" in API group "" in the namespace "n"` (apiserver,
/// `registry/rbac`, `endpoints/handlers/responsewriters/errors.go`). A quota, an admission plug-in and a namespace that is being
/// deleted say "forbidden" as well, and no grant helps against them.
pub(super) const RBAC: &str = " cannot ";

pub(super) const fn rule(
    texts: &'static [&'static str],
    effect: Effect,
    cause: &'static str,
    remedy: &'static str,
) -> Rule {
    Rule {
        texts,
        class: None,
        cause,
        remedy,
        effect,
        help: Help::Words,
        lasting: false,
        until_led: false,
        from_kas: false,
    }
}

/// A rule of a class of failure, whatever its words.
pub(super) const fn of(failure: Failure, effect: Effect, cause: &'static str, remedy: &'static str) -> Rule {
    Rule { class: Some(failure), ..rule(&[], effect, cause, remedy) }
}

impl Rule {
    /// Whether it is of the connection to kas.
    pub fn is_of_connection(&self) -> bool {
        matches!(self.effect, Effect::TokenRefused | Effect::Disconnected)
    }

    /// The same, of those texts alone that contain these.
    pub(super) const fn with(self, texts: &'static [&'static str]) -> Self {
        Self { texts, ..self }
    }

    pub(super) const fn help(self, help: Help) -> Self {
        Self { help, ..self }
    }

    pub(super) const fn said_by_kas(self) -> Self {
        Self { from_kas: true, ..self }
    }

    pub(super) const fn lasting(self) -> Self {
        Self { lasting: true, ..self }
    }

    pub(super) const fn until_led(self) -> Self {
        Self { until_led: true, ..self }
    }
}

pub(super) const fn grant(verbs: &'static str, resource: &'static str, everywhere: bool) -> Help {
    Help::Grant { verbs, resource, everywhere }
}

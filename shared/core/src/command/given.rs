//! What a run was given, so that a command which it prints acts on the same cluster.

use super::{Command, Piece, Pipeline, Program, Step, Word};
use crate::text::{is_hidden, shorten};

/// Flags of this run that commands to paste need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Which cluster, as whom: `--context` and its like, which kubectl, flux and our own commands take alike.
    cluster: Vec<(&'static str, String)>,
    /// What to look at and with which GitLab: for our own commands.
    own: Vec<(&'static str, String)>,
    /// Those of them that have no value.
    switches: Vec<&'static str>,
    /// Why no command can be printed for this run.
    flaw: Option<String>,
}

/// The name under which kubectl runs our commands.
const OWN: &str = "gitlab-agent";

/// The flags of ours that each command takes; the others it does not know.
fn takes(verb: &str, flag: &str) -> bool {
    match flag {
        "--from" => matches!(verb, "verify" | "status"),
        "--flux-namespace" => matches!(verb, "verify" | "status" | "reconcile-now" | "rotate-token"),
        "--namespace" | "--no-gitlab" => matches!(verb, "verify" | "status"),
        _ => matches!(verb, "verify" | "status" | "rotate-token"),
    }
}

impl Given {
    /// Adds a flag that says which cluster, or as whom; a value that is not text cannot be printed.
    #[must_use]
    pub fn cluster(mut self, flag: &'static str, value: Option<&std::ffi::OsStr>) -> Self {
        if let Some(value) = self.printable(flag, value) {
            self.cluster.push((flag, value));
        }
        self
    }

    /// Adds a flag of our own commands.
    #[must_use]
    pub fn own(mut self, flag: &'static str, value: Option<&std::ffi::OsStr>) -> Self {
        if let Some(value) = self.printable(flag, value) {
            self.own.push((flag, value));
        }
        self
    }

    /// Adds a flag of our own commands that has no value.
    #[must_use]
    pub fn switch(mut self, flag: &'static str) -> Self {
        self.switches.push(flag);
        self
    }

    /// Only a context.
    pub fn context(context: Option<&str>) -> Self {
        Self::default().cluster("--context", context.map(std::ffi::OsStr::new))
    }

    fn printable(&mut self, flag: &str, value: Option<&std::ffi::OsStr>) -> Option<String> {
        let value = value?;
        match value.to_str().filter(|text| !text.chars().any(is_hidden)) {
            Some(text) => Some(text.to_owned()),
            None => {
                let shown = shorten(&value.to_string_lossy(), super::SHOWN);
                self.flaw = Some(format!("{flag} `{shown}` has characters that cannot be shown"));
                None
            }
        }
    }

    fn complete(&self, program: &mut Program) {
        let plain = |at: usize| program.words.get(at).and_then(Word::plain);
        let (at, flags): (usize, Vec<_>) = match (plain(0), plain(1), plain(2)) {
            // A page that is compiled in: no cluster is looked at.
            (Some("kubectl"), Some(OWN), _) if program.has("--explain") => return,
            (Some("kubectl"), Some(OWN), Some(verb)) => {
                let own = self.own.iter().filter(|(flag, _)| takes(verb, flag));
                (3, self.cluster.iter().chain(own).collect())
            }
            (Some("kubectl" | "flux"), ..) => (1, self.cluster.iter().collect()),
            _ => return,
        };
        let given = |flag: &str| program.has(flag) || flag == "--namespace" && program.has("-n");
        let verb = plain(2).filter(|_| at == 3).unwrap_or_default();
        let switches = self.switches.iter().filter(|flag| takes(verb, flag) && !given(flag));
        let flags: Vec<Word> = flags
            .into_iter()
            .filter(|(flag, _)| !given(flag))
            .map(|(flag, value)| Word::from(*flag).text("=").text(value))
            .chain(switches.map(|flag| Word::from(*flag)))
            .collect();
        program.words.splice(at..at, flags);
    }

    fn complete_pipeline(&self, pipeline: &mut Pipeline) {
        for program in &mut pipeline.0 {
            program.words.iter_mut().for_each(|word| self.complete_word(word));
            self.complete(program);
        }
    }

    fn complete_word(&self, word: &mut Word) {
        for piece in &mut word.0 {
            if let Piece::Output(pipeline) = piece {
                self.complete_pipeline(pipeline);
            }
        }
    }
}

impl Command {
    /// The command with the flags of the run, in kubectl, flux and our own commands.
    #[must_use]
    pub fn with(&self, given: &Given) -> Self {
        let mut command = self.clone();
        for step in &mut command.0 {
            match step {
                Step::Run(pipeline) => given.complete_pipeline(pipeline),
                Step::Set { value, .. } => given.complete_word(value),
                Step::Ask { .. } => {}
            }
        }
        if let (Some(flaw), Some(Step::Run(Pipeline(programs)))) = (&given.flaw, command.0.last_mut()) {
            programs.iter_mut().for_each(|program| program.flaw = Some(flaw.clone()));
        }
        command
    }
}

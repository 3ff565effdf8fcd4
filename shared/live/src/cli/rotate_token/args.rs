//! The flags of `rotate-token`, and what they mean together.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use gitlab_agent_core::command::Program;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::plan::kind_of;
use gitlab_agent_core::rotate::{self as core, Goal};
use jiff::SignedDuration;

use crate::access::{Access, duration};
use crate::cli::verify::window;
use crate::cli::{Color, Common, GitLabFlags, HasDeadline, UsageError};
use crate::gitlab::GitLabArgs;
use crate::rotate::{Choice, Manifest, Refusal, Target};

/// Gives agentk, a source or a Provider a new credential, proves that it works, and only then revokes the old one
#[derive(clap::Parser, Debug)]
#[command(
    name = "kubectl-gitlab_agent-rotate_token",
    bin_name = "kubectl gitlab-agent rotate-token",
    version,
    disable_help_flag = true,
    args_override_self = true,
    mut_arg("gitlab_token_file", |a| a.help(
        "File with an access token of that GitLab (scope api, role Maintainer), - for standard input; otherwise \
         $GITLAB_TOKEN, otherwise glab's"
    )),
    group(clap::ArgGroup::new("ending").args(["resume", "rollback", "finish"]).multiple(true)),
    mut_arg("no_gitlab", |a| a.hide(true)),
    mut_arg("request_timeout", |a| a.default_value("10s").help(
        "How long to wait for one answer (1s, 8s); at most 10s, because the lock is held for 30s"
    )),
    after_help = "Examples:\n  \
        kubectl gitlab-agent rotate-token agent --dry-run=server    what it would do, and whether it could\n  \
        kubectl gitlab-agent rotate-token agent --yes --reason 'INC-4711'\n  \
        kubectl gitlab-agent rotate-token source gitrepository/flux-system\n  \
        kubectl gitlab-agent rotate-token notification gitlab-status --if-expires-within 14d --yes\n  \
        kubectl gitlab-agent rotate-token agent --begin --print-manifest secret.yaml    where Git owns the Secret\n  \
        kubectl gitlab-agent rotate-token agent --resume            the end of one that was stopped\n  \
        kubectl gitlab-agent rotate-token --list                    every credential\n\n\
        Exit codes: 0 done · 2 usage · 3 not permitted · 4 cluster or GitLab unreachable or sign-in failed · 5 refused, \
        nothing changed · 6 failed and undone · 7 stopped midway, --resume needed · 74 output not written · 124 timed out · \
        129 hung up · 130 interrupted · 143 terminated"
)]
pub struct Args {
    /// Whose credential
    #[arg(value_name = "WHOSE", required_unless_present = "list")]
    pub whose: Option<Whose>,
    /// agent: its Deployment, HelmRelease or Secret, where there are several; source: KIND/NAME, such as
    /// gitrepository/flux-system; notification: the Provider
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// List every credential in use: what it is, who uses it, until when, and what to do next. Changes nothing
    #[arg(long, conflicts_with_all = ["whose", "name", "dry_run", "yes", "resume", "rollback", "hold", "begin", "finish",
        "if_older_than", "if_expires_within", "expires_in", "make", "role", "project", "in_place", "reason",
        "allow_unseen_holders", "revoke_anyway", "watch_old", "confirm_group"])]
    pub list: bool,
    /// With --list: read a recording (`kubectl gitlab-agent snapshot`) instead of a cluster
    #[arg(long, value_name = "FILE", requires = "list")]
    pub from: Option<PathBuf>,
    /// Change nothing: show the plan; `server` also asks both servers whether each step would work
    #[arg(long, value_name = "HOW", conflicts_with_all = ["resume", "rollback", "finish"])]
    pub dry_run: Option<DryRun>,
    /// Do it without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Resume an interrupted rotation
    #[arg(long, conflicts_with_all = ["rollback", "finish"])]
    pub resume: bool,
    /// Roll back an interrupted rotation, where that is still possible
    #[arg(long, conflicts_with = "finish")]
    pub rollback: bool,
    /// Pause reconciliation of the Secret by its Kustomization (annotation kustomize.toolkit.fluxcd.io/reconcile)
    #[arg(long, conflicts_with_all = ["resume", "rollback", "begin", "finish"])]
    pub hold: bool,
    /// Where the Secret has another owner (Git, a store): write the new credential into a manifest for that owner
    #[arg(long, requires = "print_manifest", conflicts_with_all = ["resume", "rollback", "finish"])]
    pub begin: bool,
    /// After --begin: prove the new credential, revoke the old one
    #[arg(long)]
    pub finish: bool,
    /// Where --begin writes the Secret, encrypted by sops and the .sops.yaml above it; - is standard output
    #[arg(long, value_name = "FILE", requires = "begin")]
    pub print_manifest: Option<PathBuf>,
    /// Write the manifest unencrypted, to a new file or a pipe
    #[arg(long, requires = "begin")]
    pub plain_text: bool,
    /// Do nothing unless the credential is older than this (30d, 12h)
    #[arg(long, value_name = "TIME", value_parser = window, conflicts_with_all = ["resume", "rollback", "finish"])]
    pub if_older_than: Option<SignedDuration>,
    /// Do nothing unless the credential ends within this time (14d)
    #[arg(long, value_name = "TIME", value_parser = window, conflicts_with_all = ["resume", "rollback", "finish"])]
    pub if_expires_within: Option<SignedDuration>,
    /// Lifetime of the new credential; default: that of the old one
    #[arg(long, value_name = "TIME", value_parser = window)]
    pub expires_in: Option<SignedDuration>,
    /// Kind of the new credential of a source; default: that of the old one
    #[arg(long, value_name = "KIND")]
    pub make: Option<Make>,
    /// Role of a new access token, where it is not to be the old one's
    #[arg(long, value_name = "ROLE")]
    pub role: Option<Role>,
    /// Have GitLab renew your personal access token of this name. The old value stops working at once, before the Secret
    /// holds the new one; prefer a project's token
    #[arg(long, value_name = "NAME", conflicts_with_all = ["begin", "make", "role"])]
    pub in_place: Option<String>,
    /// Project of the new credential, where the old one does not prove it: platform/fleet
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// The agent in GitLab, where the cluster does not show it: platform/fleet:production
    #[arg(long, value_name = "PROJECT:NAME")]
    pub agent: Option<String>,
    /// Rotate although some Secrets or workloads that may hold the credential cannot be read
    #[arg(long)]
    pub allow_unseen_holders: bool,
    /// Revoke the old credential although others hold or use it
    #[arg(long, requires = "ending")]
    pub revoke_anyway: bool,
    /// Time without a use of the old credential before it is revoked; default: the time GitLab takes to show one
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub watch_old: Option<Duration>,
    /// Confirm the revocation of a credential of this group
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["resume", "rollback", "finish"])]
    pub confirm_group: Option<String>,
    /// Why: goes into the token's description, the receipt and an Event
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How long to look for proof that the new one works
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = duration)]
    pub verify_timeout: Duration,
    /// Output: table for people, json for programs; of --list also wide, with a line for each credential
    #[arg(short, long, default_value = "table")]
    pub output: Output,
    /// Namespace of agentk, the source or the Provider; otherwise it is looked for in all
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Namespace of the Flux controllers
    #[arg(long, value_name = "NAMESPACE", default_value = "flux-system", env = "FLUX_SYSTEM_NAMESPACE")]
    pub flux_namespace: String,
    /// Stop at the next safe place after this long
    #[arg(long, value_name = "TIME", default_value = "20m", value_parser = duration)]
    pub timeout: Duration,
    /// Colour: auto follows the terminal, NO_COLOR and TERM=dumb
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Print this help
    #[arg(short, long, action = clap::ArgAction::HelpShort)]
    pub help: Option<bool>,
    /// Which GitLab, with which token
    #[command(flatten)]
    pub gitlab: GitLabArgs,
    /// Which cluster, as whom
    #[command(flatten)]
    pub access: Access,
}

/// Whose credential is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Whose {
    /// The token by which agentk signs in to GitLab
    Agent,
    /// What Flux fetches Git, charts or images with
    Source,
    /// What Flux sets commit statuses with
    Notification,
}

/// Kinds that can be made for a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, and help shows them")]
pub enum Make {
    DeployToken,
    DeployKey,
    AccessToken,
}

/// Roles of access tokens (GitLab, "Roles and permissions").
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, and help shows them")]
pub enum Role {
    Reporter,
    Developer,
    Maintainer,
}

/// How to change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, and help shows them")]
pub enum DryRun {
    Client,
    Server,
}

/// Formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, and help shows them")]
pub enum Output {
    Table,
    Wide,
    Json,
}

impl HasDeadline for Args {
    fn deadline(&self) -> Duration {
        self.timeout
    }

    fn ends_by_itself(&self) -> bool {
        !self.list
    }
}

impl Args {
    pub(super) fn goal(&self) -> Goal {
        match (self.resume || self.finish, self.rollback, self.begin) {
            (true, ..) => Goal::Resume,
            (_, true, _) => Goal::Undo,
            (_, _, true) => Goal::Begin,
            _ => Goal::Rotate,
        }
    }

    /// Whose credential: the argument is there but for `--list`, which does not ask.
    pub(super) fn whose(&self) -> Whose {
        self.whose.unwrap_or(Whose::Agent)
    }

    pub(super) fn whose_word(&self) -> String {
        self.whose().to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }

    pub(super) fn common(&self) -> Common {
        Common {
            namespace: self.namespace.clone(),
            flux_namespace: self.flux_namespace.clone(),
            timeout: self.timeout,
            color: self.color,
            gitlab: GitLabFlags { args: self.gitlab.clone(), gitlab_agent: Vec::new() },
            ..Common::only(self.access.clone())
        }
    }

    pub(super) fn manifest(&self) -> Result<Option<Manifest>> {
        let Some(file) = &self.print_manifest else { return Ok(None) };
        if self.output == Output::Json && file.as_os_str() == "-" {
            return Err(UsageError(
                "--print-manifest - and -o json both take standard output: name a file".to_owned(),
            )
            .into());
        }
        Manifest::to(file, self.plain_text).map(Some).map_err(|e| UsageError(format!("{e:#}")).into())
    }

    pub(super) fn choice(&self) -> Choice {
        let make = |make| match make {
            Make::DeployToken => core::Kind::DeployToken,
            Make::DeployKey => core::Kind::DeployKey,
            Make::AccessToken => core::Kind::AccessToken,
        };
        let level = |role| match role {
            Role::Reporter => 20,
            Role::Developer => 30,
            Role::Maintainer => 40,
        };
        Choice {
            project: self.project.clone(),
            make: self.make.map(make),
            expires_in: self.expires_in,
            role: self.role.map(level),
            in_place: self.in_place.clone(),
        }
    }

    /// Flags that mean nothing for what is rotated are an error, not forgotten.
    pub(super) fn fits(&self) -> Result<(), UsageError> {
        let given = [
            ("--make", self.make.is_some()),
            ("--role", self.role.is_some()),
            ("--project", self.project.is_some()),
            ("--in-place", self.in_place.is_some()),
            ("--expires-in", self.expires_in.is_some()),
            ("--agent", self.agent.is_some()),
        ];
        let may = |flag: &str| match self.whose() {
            Whose::Agent => flag == "--agent",
            Whose::Source => flag != "--agent",
            Whose::Notification => flag != "--agent" && flag != "--make",
        };
        if self.expires_in.is_some_and(|life| life < SignedDuration::from_hours(24)) {
            return Err(UsageError(
                "--expires-in: 1d at least, because GitLab ends a credential at the beginning of a day (UTC)"
                    .to_owned(),
            ));
        }
        let word = self.whose_word();
        match given.iter().find(|(flag, given)| *given && !may(flag)) {
            Some(("--make", _)) => Err(UsageError(
                "--make: a notification takes an access token of the project and nothing else; a deploy token cannot set a \
                 commit status, whatever GitLab's page on Flux lists"
                    .to_owned(),
            )),
            Some(("--expires-in", _)) => Err(UsageError("--expires-in: tokens of agents have no end".to_owned())),
            Some((flag, _)) => Err(UsageError(format!("{flag} says nothing of rotate-token {word}"))),
            None => Ok(()),
        }
    }

    /// What `--list` takes of these flags.
    pub(super) fn listing(&self) -> Result<Common> {
        let agents = self.agent.iter().map(|named| named.parse().map_err(UsageError));
        let gitlab_agent = agents.collect::<Result<_, _>>()?;
        let gitlab = GitLabFlags { args: self.gitlab.clone(), gitlab_agent };
        Ok(Common { from: self.from.clone(), gitlab, ..self.common() })
    }

    /// The command of this run, to be pasted with another flag. The flags of cluster and GitLab come with the style.
    pub(super) fn again(&self) -> Program {
        let word = |value: Option<clap::builder::PossibleValue>| value.map(|v| v.get_name().to_owned());
        let flags = [
            ("--namespace", self.namespace.clone()),
            ("--agent", self.agent.clone()),
            ("--project", self.project.clone()),
            ("--in-place", self.in_place.clone()),
            ("--make", word(self.make.and_then(|m| m.to_possible_value()))),
            ("--role", word(self.role.and_then(|r| r.to_possible_value()))),
            ("--watch-old", self.watch_old.map(|time| format!("{}s", time.as_secs()))),
        ];
        let whose = Program::new("kubectl gitlab-agent rotate-token").word(self.whose_word());
        let named = self.name.iter().fold(whose, |program, name| program.operand(name));
        let given = flags.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        let program = given.fold(named, |program, (flag, value)| program.flag(flag, value));
        if self.allow_unseen_holders { program.words("--allow-unseen-holders") } else { program }
    }

    pub(super) fn target(&self, facts: &Facts<'_>) -> Result<Result<Target, Refusal>, UsageError> {
        let namespace = self.namespace.as_deref();
        let name = |what: &str| {
            self.name.as_deref().ok_or_else(|| UsageError(format!("name the {what}; --help shows how")))
        };
        Ok(match self.whose() {
            Whose::Agent => Target::agent(facts, self.name.as_deref()),
            Whose::Source => {
                let name = name("source: KIND/NAME, such as gitrepository/flux-system")?;
                let parts = name.split_once('/').and_then(|(kind, name)| Some((kind_of(kind)?, name)));
                let Some((kind, name)) = parts else {
                    return Err(UsageError(format!(
                        "'{name}' names no source: write KIND/NAME, such as gitrepository/flux-system"
                    )));
                };
                Target::source(facts, kind, namespace, name)
            }
            Whose::Notification => {
                let name = name("Provider")?;
                let name = name.strip_prefix("provider/").unwrap_or(name);
                Target::notification(facts, namespace, name)
            }
        })
    }
}

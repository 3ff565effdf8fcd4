//! `rotate-token`: new keys, never none.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::plan::kind_of;
use gitlab_agent_core::render::rotate::{self as render, Receipt, Subject};
use gitlab_agent_core::report::Exit;
use gitlab_agent_core::rotate::{self as core, Goal, Outcome, Step};
use gitlab_agent_core::snapshot::WhyKind;
use gitlab_agent_core::text::{quote, visible};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::verify::window;
use super::{Color, Common, GitLabFlags, HasDeadline, UsageError, note, out, token_list};
use crate::access::{Access, WriteClient, duration};
use crate::gitlab::{GitLabArgs, GitLabWriter};
use crate::observe::{Scope, WithoutGitLab, observe};
use crate::rotate::{self, Checked, Choice, Event, Manifest, Options, Reader, Refusal, Target, Wanted};

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
        kubectl gitlab-agent rotate-token --list                    every credential in use, and what to do next\n\n\
        Exit codes: 0 done · 2 usage · 3 not permitted · 4 cluster or GitLab unreachable or sign-in failed · 5 refused, \
        nothing changed · 6 failed and undone · 7 stopped midway, --resume needed"
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
        "if_older_than", "if_expires_within", "expires_in", "make", "role", "project", "in_place", "reason"])]
    pub list: bool,
    /// With --list: read a recording (`kubectl gitlab-agent snapshot`) instead of a cluster
    #[arg(long, value_name = "FILE", requires = "list")]
    pub from: Option<PathBuf>,
    /// Change nothing: `client` only shows the plan; `server` also asks both servers whether each step would work
    #[arg(long, value_name = "HOW", conflicts_with_all = ["resume", "rollback", "finish"])]
    pub dry_run: Option<DryRun>,
    /// Do it without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Go on with a rotation that was stopped, and bring it to its end
    #[arg(long, conflicts_with_all = ["rollback", "finish"])]
    pub resume: bool,
    /// Take a rotation that was stopped back, where that is still possible
    #[arg(long, conflicts_with = "finish")]
    pub rollback: bool,
    /// Hold the Secret off from the Kustomization that applies it (annotation kustomize.toolkit.fluxcd.io/reconcile:
    /// disabled), so that it does not give the old value back
    #[arg(long, conflicts_with_all = ["resume", "rollback", "begin", "finish"])]
    pub hold: bool,
    /// Where the Secret has another owner: make the new one and write it into a manifest, for that owner (Git, a sealed
    /// Secret, a store); the Secret itself stays as it is
    #[arg(long, requires = "print_manifest", conflicts_with_all = ["resume", "rollback", "finish"])]
    pub begin: bool,
    /// The end of --begin, once the Secret holds the new one: prove it, revoke the old one
    #[arg(long)]
    pub finish: bool,
    /// Where --begin writes the Secret, encrypted by sops as the .sops.yaml beside or above it says; - is standard output
    #[arg(long, value_name = "FILE", requires = "begin")]
    pub print_manifest: Option<PathBuf>,
    /// Write the manifest readable: to a file that is not there yet, or into a pipe
    #[arg(long, requires = "begin")]
    pub plain_text: bool,
    /// Do nothing unless the credential is older than this (30d, 12h)
    #[arg(long, value_name = "TIME", value_parser = window, conflicts_with_all = ["resume", "rollback", "finish"])]
    pub if_older_than: Option<SignedDuration>,
    /// Do nothing unless the credential ends within this time (14d)
    #[arg(long, value_name = "TIME", value_parser = window, conflicts_with_all = ["resume", "rollback", "finish"])]
    pub if_expires_within: Option<SignedDuration>,
    /// How long the new one is to live; otherwise as long as the old one was made for
    #[arg(long, value_name = "TIME", value_parser = window)]
    pub expires_in: Option<SignedDuration>,
    /// What to make for a source, where it is not to be of the old one's kind
    #[arg(long, value_name = "KIND")]
    pub make: Option<Make>,
    /// Role of a new access token, where it is not to be the old one's
    #[arg(long, value_name = "ROLE")]
    pub role: Option<Role>,
    /// A person's token, by its name in GitLab: have GitLab put another in its place. The old one dies at once, so nothing
    /// works until the Secret is written; only for its owner, and only where no token of a project will do
    #[arg(long, value_name = "NAME", conflicts_with_all = ["begin", "make", "role"])]
    pub in_place: Option<String>,
    /// The project that the new one is to open, where the old one does not prove it: such as platform/fleet
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// The agent in GitLab, where the cluster does not show it: such as platform/fleet:production
    #[arg(long, value_name = "PROJECT:NAME")]
    pub agent: Option<String>,
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

/// Runs the command.
///
/// # Errors
/// Arguments that make no sense, a kubeconfig or a GitLab token that cannot be used.
pub async fn run(mut args: Args) -> Result<Exit> {
    leave_no_core();
    if args.list {
        return token_list::run(&args.listing()?, args.output).await;
    }
    if args.output == Output::Wide {
        return Err(UsageError("-o wide is for --list".to_owned()).into());
    }
    let asked = args.access.request_timeout;
    args.access.request_timeout = if asked.is_zero() { LONGEST_REQUEST } else { asked.min(LONGEST_REQUEST) };
    let begun = Instant::now();
    let started_at = Timestamp::now();
    let deadline = (!args.timeout.is_zero()).then(|| begun + args.timeout);
    let manifest = args.manifest()?;
    // Until something is changed, Ctrl-C and the deadline end it like any other command.
    let prepared = tokio::select! {
        prepared = args.prepare(manifest.as_ref()) => prepared?,
        _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
        () = until(deadline) => {
            note(&format!("error: gave up after {} s (--timeout); nothing was changed", args.timeout.as_secs()));
            return Ok(Exit::TimedOut);
        }
    };
    let Prepared { client, target, checked, subject } = match prepared {
        Ok(prepared) => prepared,
        Err(exit) => return Ok(exit),
    };
    // What is data goes to standard output: with a manifest there, nothing else.
    let aside = manifest.as_ref().is_some_and(Manifest::on_stdout);
    let say = |text: &str| if aside { note(text.trim_end_matches('\n')) } else { out(text) };
    let style = args.common().style();
    let begins = matches!(args.goal(), Goal::Rotate | Goal::Begin);
    if begins {
        if let Some(why) = args.not_due(&checked, started_at) {
            return Ok(args.quiet(&subject, &why, started_at));
        }
        if args.dry_run.is_some() || args.output == Output::Table {
            say(&match args.output {
                Output::Table | Output::Wide => render::plan(&subject, started_at, &style),
                Output::Json => render::plan_json(&subject, started_at),
            });
        }
        if args.dry_run.is_some() {
            return Ok(Exit::Fine);
        }
        if !args.yes && !confirmed(&subject) {
            return Ok(args.refuse(
                Exit::Refused,
                "refused",
                &["not confirmed; without a terminal, --yes confirms".to_owned()],
            ));
        }
        if args.output == Output::Table {
            say("\n");
        }
    }
    let who = who();
    let options = Options {
        goal: args.goal(),
        who: who.clone(),
        deadline,
        verify_timeout: args.verify_timeout,
        hold: args.hold,
        reason: args.reason.clone(),
        manifest,
    };
    let steps = RefCell::new(Vec::new());
    let tell = |event: Event| {
        if args.output == Output::Table {
            say(&render::step(event.step, &event.text, event.took, &style));
        }
        steps.borrow_mut().push((event.step, event.text, event.took));
    };
    let ended = rotate::run(&client, &checked, &target, &options, &tell).await;
    if args.hold && ended.outcome == Some(Outcome::Rotated) {
        note(&format!(
            "the Secret is held off from its Kustomization, and Git holds the old value: write the new one there, then\n  \
             kubectl -n {} annotate secret {} kustomize.toolkit.fluxcd.io/reconcile-",
            quote(&visible(&target.secret.namespace)),
            quote(&visible(&target.secret.name)),
        ));
    }
    let silent = |kind| matches!(kind, WhyKind::Unreachable | WhyKind::SignIn | WhyKind::TimedOut);
    let receipt = Receipt {
        goal: args.goal(),
        outcome: ended.outcome,
        why: ended.why,
        midway: ended.midway,
        unreachable: ended.kind.is_some_and(silent),
        id: ended.id,
        old_token: ended.old_token,
        new_token: ended.new_token,
        verified: ended.verified,
        proven: ended.proven,
        steps: steps.take(),
        who,
        reason: args.reason.clone(),
        started_at,
        took: begun.elapsed(),
    };
    say(&match args.output {
        Output::Table | Output::Wide => render::end(&subject, &receipt, &args.again(), &style),
        Output::Json => render::receipt_json(&subject, &receipt),
    });
    Ok(receipt.exit())
}

/// No request may outlast what is left of the lock when it is sent.
const LONGEST_REQUEST: Duration = Duration::from_secs(10);

/// A crash must not write the memory to a file, and no other process of the same user may read it. Best effort.
fn leave_no_core() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// What a run needs.
struct Prepared {
    client: WriteClient,
    target: Target,
    checked: Checked,
    subject: Subject,
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Args {
    fn goal(&self) -> Goal {
        match (self.resume || self.finish, self.rollback, self.begin) {
            (true, ..) => Goal::Resume,
            (_, true, _) => Goal::Undo,
            (_, _, true) => Goal::Begin,
            _ => Goal::Rotate,
        }
    }

    /// Whose credential: the argument is there but for `--list`, which does not ask.
    fn whose(&self) -> Whose {
        self.whose.unwrap_or(Whose::Agent)
    }

    fn whose_word(&self) -> String {
        self.whose().to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }

    fn common(&self) -> Common {
        Common {
            namespace: self.namespace.clone(),
            flux_namespace: self.flux_namespace.clone(),
            timeout: self.timeout,
            color: self.color,
            ..Common::only(self.access.clone())
        }
    }

    fn manifest(&self) -> Result<Option<Manifest>> {
        let Some(file) = &self.print_manifest else { return Ok(None) };
        if self.output == Output::Json && file.as_os_str() == "-" {
            return Err(UsageError(
                "--print-manifest - and -o json both take standard output: name a file".to_owned(),
            )
            .into());
        }
        Manifest::to(file, self.plain_text).map(Some).map_err(|e| UsageError(format!("{e:#}")).into())
    }

    fn choice(&self) -> Choice {
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
    fn fits(&self) -> Result<(), UsageError> {
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
    fn listing(&self) -> Result<Common> {
        let agents = self.agent.iter().map(|named| named.parse().map_err(UsageError));
        let gitlab_agent = agents.collect::<Result<_, _>>()?;
        let gitlab = GitLabFlags { args: self.gitlab.clone(), gitlab_agent };
        Ok(Common { from: self.from.clone(), gitlab, ..self.common() })
    }

    /// The command of this run, to be pasted with another flag.
    fn again(&self) -> String {
        let whose = self.whose_word();
        let mut words = format!("kubectl gitlab-agent rotate-token {whose}");
        let mut add = |flag: &str, value: Option<&String>| {
            if let Some(value) = value {
                words.push_str(&format!(" {flag}{}", quote(&visible(value))));
            }
        };
        add("", self.name.as_ref());
        add("-n ", self.namespace.as_ref());
        add("--agent ", self.agent.as_ref());
        add("--project ", self.project.as_ref());
        add("--in-place ", self.in_place.as_ref());
        let word = |value: Option<clap::builder::PossibleValue>| value.map(|v| v.get_name().to_owned());
        add("--make ", word(self.make.and_then(|m| m.to_possible_value())).as_ref());
        add("--role ", word(self.role.and_then(|r| r.to_possible_value())).as_ref());
        add("--gitlab-host ", self.gitlab.gitlab_host.as_ref());
        words
    }

    fn target(&self, facts: &Facts<'_>) -> Result<Result<Target, String>, UsageError> {
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

    /// Everything that only reads. The inner error is the exit code of a run that was refused; why is told.
    async fn prepare(&self, manifest: Option<&Manifest>) -> Result<Result<Prepared, Exit>> {
        self.fits()?;
        let trust = self.gitlab.trust()?;
        let client = WriteClient::connect(&self.access).await?;
        let scope = Scope { namespace: self.namespace.clone(), flux_namespace: self.flux_namespace.clone() };
        let snapshot = observe(&client.read, &scope, &WithoutGitLab).await;
        if let Err(why) = snapshot.server.get()
            && matches!(why.kind, WhyKind::Unreachable | WhyKind::SignIn | WhyKind::TimedOut)
        {
            let text = format!("{}: {}", why.asked, why.message);
            return Ok(Err(self.refuse(Exit::Unreachable, "unreachable", &[text])));
        }
        let facts = Facts::derive(&snapshot);
        let target = match self.target(&facts)? {
            Ok(target) => target,
            Err(text) => return Ok(Err(self.refuse(Exit::Refused, "refused", &[text]))),
        };
        let credentials = match trust.credentials(target.host.as_deref())? {
            Ok(credentials) => credentials,
            Err(why) => {
                let text =
                    format!("a credential is made in GitLab, and none is to be asked: {}", why.message);
                return Ok(Err(self.refuse(Exit::Refused, "refused", &[text])));
            }
        };
        let gitlab = GitLabWriter::new(&credentials, self.access.request_timeout, self.access.verbose)?;
        if let Some(Err(error)) = manifest.map(|m| m.rehearse(&target.secret)) {
            return Ok(Err(self.refuse(Exit::Refused, "refused", &[format!("{error:#}")])));
        }
        let wanted = Wanted {
            goal: self.goal(),
            agent: self.agent.as_deref(),
            choice: &self.choice(),
            hold: self.hold,
            try_changes: self.dry_run != Some(DryRun::Client),
        };
        let checked = match rotate::preflight(&client, &gitlab, &facts, &target, &wanted).await {
            Ok(checked) => checked,
            Err(Refusal::Usage(text)) => return Err(UsageError(text).into()),
            Err(refusal) => return Ok(Err(self.refused(refusal))),
        };
        let subject = subject(&target, &checked, manifest);
        Ok(Ok(Prepared { client, target, checked, subject }))
    }

    /// Why there is nothing to do yet, where a schedule asked for that.
    fn not_due(&self, checked: &Checked, now: Timestamp) -> Option<String> {
        let asked = [self.if_older_than.is_some(), self.if_expires_within.is_some()];
        if asked == [false, false] {
            return None;
        }
        let old = checked.old.as_ref();
        // Where nobody knows when it was made, it counts as old: a schedule that never acts is worse than one that does.
        let age = checked.made_at.map(|at| now.duration_since(at));
        let due = self.if_older_than.is_some_and(|limit| age.is_none_or(|age| age > limit));
        let left = old.and_then(|old| old.expires_at).map(|at| at.duration_since(now));
        let ends = self.if_expires_within.is_some_and(|limit| left.is_some_and(|left| left < limit));
        if due || ends || old.is_none() {
            return None;
        }
        let age = age.map(|age| format!("made {} ago", gitlab_agent_core::text::span(age)));
        let left = left
            .map_or("without an end".to_owned(), |l| format!("ends in {}", gitlab_agent_core::text::span(l)));
        let title = old.map(|old| old.title.clone()).unwrap_or_default();
        Some(format!("{title} is not due: {}", age.into_iter().chain([left]).collect::<Vec<_>>().join(", ")))
    }

    /// Nothing to do, said only to programs and with `-v`.
    fn quiet(&self, subject: &Subject, why: &str, now: Timestamp) -> Exit {
        if self.output == Output::Json {
            out(&render::not_due_json(subject, why, now));
        } else if self.access.verbose > 0 {
            note(&visible(why));
        }
        Exit::Fine
    }

    fn refused(&self, refusal: Refusal) -> Exit {
        match refusal {
            Refusal::Refused(reasons) => self.refuse(Exit::Refused, "refused", &reasons),
            Refusal::Denied(denied) => self.refuse(Exit::Unknown, "forbidden", &denied),
            Refusal::Unreachable(text) => self.refuse(Exit::Unreachable, "unreachable", &[text]),
            Refusal::Usage(text) => self.refuse(Exit::Usage, "usage", &[text]),
        }
    }

    fn refuse(&self, exit: Exit, verdict: &str, reasons: &[String]) -> Exit {
        if self.output == Output::Json {
            out(&render::refused_json(verdict, reasons, exit, Timestamp::now()));
        }
        note("error: nothing was changed:");
        for reason in reasons {
            note(&format!("  - {}", visible(reason)));
        }
        exit
    }
}

fn subject(target: &Target, checked: &Checked, manifest: Option<&Manifest>) -> Subject {
    let issuer = &checked.issuer;
    let short = target.of.rsplit(['/', ' ']).next().unwrap_or(&target.of);
    let agent = issuer.agent_name();
    Subject {
        of: agent.map_or_else(|| target.of.clone(), |name| format!("agent {name}")),
        confirm: agent.unwrap_or(short).to_owned(),
        kind: issuer.kind(),
        place: issuer.place_words(),
        host: issuer.gitlab().read.host().to_string(),
        new: issuer.new_words(),
        secret: ObjectRef::new("Secret", &target.secret.namespace, &target.secret.name),
        keys: target.secret.keys.iter().map(|key| (*key).to_owned()).collect(),
        readers: target.readers.clone(),
        reading: checked.reading.clone(),
        old: checked.old.clone(),
        works: checked.works.clone(),
        steps: steps(target, checked, manifest),
        notes: checked.notes.clone(),
    }
}

/// The steps that differ by what is rotated, in words.
fn steps(target: &Target, checked: &Checked, manifest: Option<&Manifest>) -> Vec<(Step, String)> {
    let kind = checked.issuer.kind();
    let create = match kind {
        core::Kind::PersonalToken => {
            "GitLab puts another in the place of the old one: from here on there is no way back".to_owned()
        }
        _ => format!("another {} in GitLab", kind.word()),
    };
    let mut steps = vec![(Step::Create, create)];
    match manifest {
        Some(manifest) => {
            steps.push((
                Step::Write,
                format!("{}; the Secret stays as it is. What follows, --finish does", manifest.words()),
            ));
        }
        None => {
            steps.push((Step::Write, "the Secret; what it held is kept in another until the end".to_owned()))
        }
    }
    let mut asked = checked.owners.clone();
    match &target.reader {
        Reader::Agent(agentk) => {
            steps.push((Step::RollOut, "the pods restart and read it".to_owned()));
            steps.push((Step::Verify, "GitLab sees the new token used, or a new pod leads".to_owned()));
            let release = agentk.release.iter().filter(|(_, suspended)| !suspended);
            asked.extend(release.map(|(release, _)| release.clone()));
        }
        Reader::Sources(fetchers) => {
            let proof: Vec<String> =
                fetchers.iter().flat_map(|f| &f.proof).map(ToString::to_string).collect();
            steps.push((Step::Verify, format!("fetched with it: {}", proof.join(", "))));
        }
        Reader::Providers(notifiers) => {
            let proof: Vec<String> =
                notifiers.iter().filter_map(|n| n.proof.first()).map(ToString::to_string).collect();
            let text =
                format!("{} reconciles, and GitLab sees the new token used for its status", proof.join(", "));
            steps.push((Step::Verify, text));
        }
    }
    let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
    let prove = match asked.len() {
        0 => "the Secret is read again".to_owned(),
        _ => format!("the Secret is read again after {} reconciled", asked.join(", ")),
    };
    steps.push((Step::ProveNotReverted, prove));
    steps
}

/// Asks on the terminal; without one nobody confirms.
fn confirmed(subject: &Subject) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "\nType {} to go on: ", visible(&subject.confirm));
    let _ = err.flush();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && line.trim() == subject.confirm
}

/// `user@host`, as far as the environment says; for people, not a proof.
fn who() -> String {
    let get = |names: &[&str]| names.iter().find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()));
    let host = get(&["HOSTNAME", "COMPUTERNAME"])
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .map_or_else(|| "unknown".to_owned(), |h| h.trim().to_owned());
    let user = get(&["USER", "USERNAME", "LOGNAME"]).unwrap_or_else(|| "unknown".to_owned());
    visible(&format!("{user}@{host}")).chars().take(100).collect()
}

//! `rotate-token`: new keys, never none.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::render::rotate::{self as render, Receipt, Subject};
use gitlab_agent_core::report::Exit;
use gitlab_agent_core::rotate::{Goal, Outcome};
use gitlab_agent_core::snapshot::WhyKind;
use gitlab_agent_core::text::{quote, visible};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Color, Common, GitLabFlags, HasDeadline, UsageError, note, out, token_list};
use crate::access::{Access, WriteClient, duration};
use crate::gitlab::{GitLabArgs, GitLabWriter};
use crate::observe::{Scope, WithoutGitLab, observe};
use crate::rotate::{self, Checked, Event, Options, Refusal, Target, Wanted};

/// Gives agentk a new token, proves that it works, and only then revokes the old one
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
        kubectl gitlab-agent rotate-token agent --resume            the end of one that was stopped\n  \
        kubectl gitlab-agent rotate-token --list                    every credential in use, and what to do next\n\n\
        Exit codes: 0 done · 2 usage · 3 not permitted · 4 cluster or GitLab unreachable or sign-in failed · 5 refused, \
        nothing changed · 6 failed and undone · 7 stopped midway, --resume needed"
)]
pub struct Args {
    /// Which kind of token
    #[arg(value_name = "KIND", required_unless_present = "list")]
    pub kind: Option<Kind>,
    /// Name of agentk's Deployment, HelmRelease or Secret; needed only where there are several
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// List every credential in use: what it is, who uses it, until when, and what to do next. Changes nothing
    #[arg(long, conflicts_with_all = ["kind", "name", "dry_run", "yes", "resume", "rollback", "hold", "reason"])]
    pub list: bool,
    /// With --list: read a recording (`kubectl gitlab-agent snapshot`) instead of a cluster
    #[arg(long, value_name = "FILE", requires = "list")]
    pub from: Option<PathBuf>,
    /// The agent in GitLab, where the cluster does not show it: such as platform/fleet:production
    #[arg(long, value_name = "PROJECT:NAME")]
    pub agent: Option<String>,
    /// Change nothing: `client` only shows the plan; `server` also asks both servers whether each step would work
    #[arg(long, value_name = "HOW", conflicts_with_all = ["resume", "rollback"])]
    pub dry_run: Option<DryRun>,
    /// Do it without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Go on with a rotation that was stopped, and bring it to its end
    #[arg(long, conflicts_with = "rollback")]
    pub resume: bool,
    /// Take a rotation that was stopped back, where that is still possible
    #[arg(long)]
    pub rollback: bool,
    /// Hold the Secret off from the Kustomization that applies it (annotation kustomize.toolkit.fluxcd.io/reconcile:
    /// disabled), so that it does not give the old value back
    #[arg(long, conflicts_with_all = ["resume", "rollback"])]
    pub hold: bool,
    /// Why: goes into the token's description, the receipt and an Event
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How long to look for proof that the new token works
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = duration)]
    pub verify_timeout: Duration,
    /// Output: table for people, json for programs; of --list also wide, with a line for each credential
    #[arg(short, long, default_value = "table")]
    pub output: Output,
    /// Namespace of agentk; otherwise it is looked for in all
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

/// Kinds of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The token by which agentk signs in to GitLab
    Agent,
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
    // Until something is changed, Ctrl-C and the deadline end it like any other command.
    let prepared = tokio::select! {
        prepared = args.prepare() => prepared?,
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
    let style = args.common().style();
    if args.goal() == Goal::Rotate {
        if args.dry_run.is_some() || args.output == Output::Table {
            out(&match args.output {
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
            out("\n");
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
    };
    let steps = RefCell::new(Vec::new());
    let tell = |event: Event| {
        if args.output == Output::Table {
            out(&render::step(event.step, &event.text, event.took, &style));
        }
        steps.borrow_mut().push((event.step, event.text, event.took));
    };
    let ended = rotate::run(&client, &checked.keys, &target, &options, &tell).await;
    if args.hold && ended.outcome == Some(Outcome::Rotated) {
        note(&format!(
            "the Secret is held off from its Kustomization, and Git holds the old value: write the new token there, then\n  \
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
    out(&match args.output {
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
        match (self.resume, self.rollback) {
            (true, _) => Goal::Resume,
            (_, true) => Goal::Undo,
            _ => Goal::Rotate,
        }
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

    /// What `--list` takes of these flags.
    fn listing(&self) -> Result<Common> {
        let agents = self.agent.iter().map(|named| named.parse().map_err(UsageError));
        let gitlab_agent = agents.collect::<Result<_, _>>()?;
        let gitlab = GitLabFlags { args: self.gitlab.clone(), gitlab_agent };
        Ok(Common { from: self.from.clone(), gitlab, ..self.common() })
    }

    /// The command of this run, to be pasted with another flag.
    fn again(&self) -> String {
        let mut words = "kubectl gitlab-agent rotate-token agent".to_owned();
        let mut add = |flag: &str, value: Option<&String>| {
            if let Some(value) = value {
                words.push_str(&format!(" {flag}{}", quote(&visible(value))));
            }
        };
        add("", self.name.as_ref());
        add("-n ", self.namespace.as_ref());
        add("--agent ", self.agent.as_ref());
        add("--gitlab-host ", self.gitlab.gitlab_host.as_ref());
        words
    }

    /// Everything that only reads. The inner error is the exit code of a run that was refused; why is told.
    async fn prepare(&self) -> Result<Result<Prepared, Exit>> {
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
        let target = match Target::find(&facts, self.name.as_deref()) {
            Ok(target) => target,
            Err(text) => return Ok(Err(self.refuse(Exit::Refused, "refused", &[text]))),
        };
        let credentials = match trust.credentials(target.host.as_deref())? {
            Ok(credentials) => credentials,
            Err(why) => {
                let text = format!("a token is made in GitLab, and none is to be asked: {}", why.message);
                return Ok(Err(self.refuse(Exit::Refused, "refused", &[text])));
            }
        };
        let gitlab = GitLabWriter::new(&credentials, self.access.request_timeout, self.access.verbose)?;
        let wanted = Wanted {
            goal: self.goal(),
            agent: self.agent.as_deref(),
            hold: self.hold,
            try_changes: self.dry_run != Some(DryRun::Client),
        };
        let checked = match rotate::preflight(&client, &gitlab, &facts, &target, &wanted).await {
            Ok(checked) => checked,
            Err(Refusal::Usage(text)) => return Err(UsageError(text).into()),
            Err(refusal) => return Ok(Err(self.refused(refusal))),
        };
        let subject = subject(&target, &checked);
        Ok(Ok(Prepared { client, target, checked, subject }))
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

fn subject(target: &Target, checked: &Checked) -> Subject {
    let keys = &checked.keys;
    Subject {
        agent: keys.name.clone(),
        id: keys.agent,
        project: keys.project.path_with_namespace.clone(),
        host: keys.gitlab.read.host().to_string(),
        secret: ObjectRef::new("Secret", &target.secret.namespace, &target.secret.name),
        key: target.secret.key.clone(),
        deployment: target.deployment.clone(),
        pods: checked.pods,
        release: target.release.as_ref().filter(|(_, suspended)| !suspended).map(|(r, _)| r.clone()),
        token: checked.token.as_ref().map(|t| (t.id, t.name.clone(), t.last_used_at)),
        connected: checked.connected.clone(),
        notes: checked.notes.clone(),
    }
}

/// Asks on the terminal; without one nobody confirms.
fn confirmed(subject: &Subject) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "\nType the agent's name ({}) to go on: ", visible(&subject.agent));
    let _ = err.flush();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && line.trim() == subject.agent
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

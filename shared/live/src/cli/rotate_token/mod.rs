//! `rotate-token`: new keys, never none.

mod args;
mod shown;

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use gitlab_agent_core::command::kubectl;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::render::rotate::{self as render, Receipt, Subject};
use gitlab_agent_core::report::Exit;
use gitlab_agent_core::rotate::{Goal, Outcome};
use gitlab_agent_core::snapshot::WhyKind;
use gitlab_agent_core::text::visible;
use jiff::Timestamp;
use tokio::time::Instant;

use super::streams::note_lines;
use super::{Signal, Signals, UsageError, namespace, note, out, token_list};
use crate::access::WriteClient;
use crate::file;
use crate::gitlab::GitLabWriter;
use crate::observe::{Scope, WithoutGitLab, observe};
use crate::rotate::{self, Checked, Event, Manifest, Options, Refusal, Target, Wanted};

pub use args::{Args, DryRun, Make, Output, Role, Whose};
use shown::{confirmed, subject};

/// Runs the command.
///
/// # Errors
/// Arguments that make no sense, a kubeconfig or a GitLab token that cannot be used.
pub async fn run(args: Args) -> Result<Exit> {
    leave_no_core();
    if args.list {
        return token_list::run(&args.listing()?, args.output).await;
    }
    let signals = Signals::default();
    signals.around(rotate(args, &signals)).await
}

async fn rotate(mut args: Args, signals: &Signals) -> Result<Exit> {
    if args.output == Output::Wide {
        return Err(UsageError("-o wide is for --list".to_owned()).into());
    }
    let asked = args.access.request_timeout;
    args.access.request_timeout = if asked.is_zero() { LONGEST_REQUEST } else { asked.min(LONGEST_REQUEST) };
    let begun = Instant::now();
    let started_at = Timestamp::now();
    let deadline = (!args.timeout.is_zero()).then(|| begun + args.timeout);
    let manifest = args.manifest()?;
    // Until something is changed, signals and the deadline end it at once.
    let prepared = tokio::select! {
        prepared = args.prepare(manifest.as_ref()) => prepared?,
        signal = signals.caught() => return Ok(unchanged(signal)),
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
    let say = |text: &str| if aside { note_lines(text.trim_end_matches('\n')) } else { out(text) };
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
        let agreed = tokio::select! {
            agreed = args.agreed(&subject, checked.group.as_deref()) => agreed,
            signal = signals.caught() => return Ok(unchanged(signal)),
            () = until(deadline) => {
                note(&format!("error: gave up after {} s (--timeout); nothing was changed", args.timeout.as_secs()));
                return Ok(Exit::TimedOut);
            }
        };
        if let Err(why) = agreed {
            return Ok(args.refuse(Exit::Refused, "refused", &[why]));
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
        allow_unseen: args.allow_unseen_holders,
        revoke_anyway: args.revoke_anyway,
        watch_old: args.watch_old,
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
    let ended = rotate::run(&client, &checked, &target, &options, signals, &tell).await;
    if let Some(signal) = signals.told().filter(|_| ended.outcome.is_none() && !ended.midway) {
        return Ok(unchanged(signal));
    }
    if args.hold && ended.outcome == Some(Outcome::Rotated) {
        let secret = ObjectRef::new("Secret", &target.secret.namespace, &target.secret.name);
        let release = kubectl(&secret.namespace, "annotate").object(&secret);
        let release = release.words("kustomize.toolkit.fluxcd.io/reconcile-");
        note_lines(&format!(
            "the Secret is held off from its Kustomization, and Git holds the old value: write the new one there, then\n  {}",
            style.complete(&release.into())
        ));
    }
    let silent = |kind| matches!(kind, WhyKind::Unreachable | WhyKind::SignIn | WhyKind::TimedOut);
    let receipt = Receipt {
        goal: args.goal(),
        outcome: ended.outcome,
        why: ended.why,
        midway: ended.midway,
        lost: ended.lost,
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

/// It was told to end before anything was changed.
fn unchanged(signal: Signal) -> Exit {
    note(&format!("error: interrupted ({}); nothing was changed", signal.name()));
    signal.exit()
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
    /// Everything that only reads. The inner error is the exit code of a run that was refused; why is told.
    async fn prepare(&self, manifest: Option<&Manifest>) -> Result<Result<Prepared, Exit>> {
        self.fits()?;
        let trust = self.gitlab.trust()?;
        // Before a credential plugin runs, which is not to get it under another name.
        let settled = trust.is_settled().then(|| trust.credentials(None)).transpose()?;
        let client = WriteClient::connect(&self.access).await?;
        let scope = Scope { namespace: self.namespace.clone(), flux_namespace: self.flux_namespace.clone() };
        let mut snapshot = observe(&client.read, &scope, &WithoutGitLab).await;
        if let Err(why) = snapshot.server.get()
            && matches!(why.kind, WhyKind::Unreachable | WhyKind::SignIn | WhyKind::TimedOut)
        {
            let text = format!("{}: {}", why.asked, why.message);
            return Ok(Err(self.refuse(Exit::Unreachable, "unreachable", &[text])));
        }
        let named: Vec<&str> = self.namespace.as_deref().into_iter().collect();
        namespace::check(&client.read, &mut snapshot, &named).await?;
        let facts = Facts::derive(&snapshot);
        let target = match self.target(&facts)? {
            Ok(target) => target,
            Err(refusal) => return Ok(Err(self.refused(refusal))),
        };
        let credentials = match settled.map_or_else(|| trust.credentials(target.host.as_deref()), Ok)? {
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
            allow_unseen: self.allow_unseen_holders,
            try_changes: self.dry_run != Some(DryRun::Client),
        };
        let checked = match rotate::preflight(&client, &gitlab, &facts, &target, &wanted).await {
            Ok(checked) => checked,
            Err(Refusal::Usage(text)) => return Err(UsageError(text).into()),
            Err(refusal) => return Ok(Err(self.refused(refusal))),
        };
        let subject = subject(&target, &checked, manifest, self.watch_old);
        Ok(Ok(Prepared { client, target, checked, subject }))
    }

    /// Whether the person agrees: beforehand by flags, else on the terminal. A group's credential is confirmed by its own name.
    async fn agreed(&self, subject: &Subject, group: Option<&str>) -> Result<(), String> {
        if !self.yes && !confirmed(&subject.confirm, "go on").await {
            return Err("not confirmed; without a terminal, --yes confirms".to_owned());
        }
        let Some(group) = group else { return Ok(()) };
        let why = format!(
            "the credential is of group {group}, others may use it, and GitLab does not tell: --confirm-group, with the group's \
             path, confirms that it is revoked"
        );
        match &self.confirm_group {
            Some(named) if named.trim_matches('/') == group => Ok(()),
            Some(_) => Err(why),
            None if !self.yes && confirmed(group, "revoke the group's credential for everybody").await => {
                Ok(())
            }
            None => Err(why),
        }
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

/// `user@host`, as far as the environment says; for people, not a proof.
fn who() -> String {
    let get = |names: &[&str]| names.iter().find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()));
    let host = get(&["HOSTNAME", "COMPUTERNAME"])
        .or_else(|| String::from_utf8(file::read(Path::new("/etc/hostname"), 1 << 10).ok()?).ok())
        .map_or_else(|| "unknown".to_owned(), |h| h.trim().to_owned());
    let user = get(&["USER", "USERNAME", "LOGNAME"]).unwrap_or_else(|| "unknown".to_owned());
    visible(&format!("{user}@{host}")).chars().take(100).collect()
}

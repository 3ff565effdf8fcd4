//! `reconcile-now`: pushes the pipe through, from source to workload, and shows each hop as it moves.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::plan::journal::Event;
use gitlab_agent_core::plan::{NoPlan, Plan, Selection, Selector};
use gitlab_agent_core::render::{Style, reconcile as render};
use gitlab_agent_core::report::Exit;
use gitlab_agent_core::snapshot::Origin;
use gitlab_agent_core::text::{shorten, visible};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Common, HasDeadline, UsageError, namespace, note, out, streams};
use crate::access::WriteClient;
use crate::act::{self, Webhook};
use crate::observe::observe_chain;

/// Makes Flux fetch and apply now, from source to workload, and shows each step as it happens
#[derive(clap::Parser, Debug)]
#[command(
    name = "kubectl-gitlab_agent-reconcile_now",
    bin_name = "kubectl gitlab-agent reconcile-now",
    version,
    disable_help_flag = true,
    args_override_self = true,
    mut_arg("timeout", |a| a.default_value("5m").visible_alias("wait-timeout")),
    mut_arg("from", |a| a.help("Plan from a recording instead of a cluster; only with --dry-run")),
    mut_arg("namespace", |a| a.help("Namespace of the named object; limits -l and --all")),
    mut_arg("all_namespaces", |a| a.help("Look in all namespaces (the default)")),
    // It asks no GitLab.
    mut_arg("gitlab_host", |a| a.hide(true)),
    mut_arg("gitlab_token_file", |a| a.hide(true)),
    mut_arg("gitlab_ca_file", |a| a.hide(true)),
    mut_arg("no_gitlab", |a| a.hide(true)),
    mut_arg("gitlab_agent", |a| a.hide(true)),
    after_help = "Examples:\n  \
        kubectl gitlab-agent reconcile-now                      what carries agentk itself\n  \
        kubectl gitlab-agent reconcile-now platform/fleet       a GitLab project, with all that hangs on it\n  \
        kubectl gitlab-agent reconcile-now kustomization/apps --at 1a2b3c4\n\n\
        Exit codes: 0 done · 1 a hop failed or nobody answers · 2 usage · 3 not permitted · 4 cluster unreachable or \
        sign-in failed · 5 refused, nothing changed · 74 output not written · 124 timed out · 129 hung up · 130 interrupted · 143 terminated"
)]
pub struct Args {
    /// What to reconcile: the path of a GitLab project, or kind/name; otherwise what carries agentk itself
    #[arg(value_name = "PROJECT | KIND/NAME", conflicts_with_all = ["selector", "all"])]
    pub target: Option<String>,
    /// Objects with these labels, and what they need
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "all")]
    pub selector: Option<String>,
    /// Everything that Flux applies, and its sources
    #[arg(long)]
    pub all: bool,
    /// Ask only what is named, not what it needs or what hangs on it
    #[arg(long)]
    pub only: bool,
    /// Show the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait until this revision runs, or say why it cannot: a commit, a tag, or a whole Flux revision
    #[arg(long, value_name = "REVISION")]
    pub at: Option<String>,
    /// Upgrade HelmReleases once in any case
    #[arg(long)]
    pub force: bool,
    /// Clear the count of failures of HelmReleases, so that they are tried again
    #[arg(long)]
    pub reset: bool,
    /// Resume what is suspended; otherwise a suspended object refuses the whole run
    #[arg(long)]
    pub resume: bool,
    /// Ask Git sources by the way of a push event: signed as agentk signs it, through the webhook of their Receiver
    #[arg(long)]
    pub through_webhook: bool,
    /// Base URL of the webhook; otherwise the API server's service proxy
    #[arg(long, value_name = "URL", requires = "through_webhook")]
    pub webhook_url: Option<String>,
    /// Why: leaves an Event with this text on what was named
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Hops under way at once; the controllers' own default is 4
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub concurrency: u16,
    /// Output: table for people, json for programs (one object a line)
    #[arg(short, long, default_value = "table")]
    pub output: Output,
    /// Flags of every command
    #[command(flatten)]
    pub common: Common,
}

/// Formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, and help shows them")]
pub enum Output {
    Table,
    Json,
}

impl HasDeadline for Args {
    /// The wait ends by itself, with a summary; this is only the net below it.
    fn deadline(&self) -> Duration {
        let wait = self.common.timeout;
        if wait.is_zero() { wait } else { wait + self.common.access.request_timeout }
    }
}

/// Runs the command.
///
/// # Errors
/// Arguments that make no sense, and kubeconfigs and recordings that cannot be used.
pub async fn run(args: Args) -> Result<Exit> {
    let begun = Instant::now();
    let selection = args.selection()?;
    if args.common.gitlab.is_given() {
        return Err(
            UsageError("reconcile-now asks no GitLab: leave the flags of GitLab out".to_owned()).into()
        );
    }
    if args.common.from.is_some() && !args.dry_run {
        return Err(UsageError("--from can only be planned from: add --dry-run".to_owned()).into());
    }
    if let Some(snapshot) = args.common.recorded()? {
        return match args.plan(&Facts::derive(&snapshot), &selection) {
            Ok(plan) => Ok(args.show(&plan, &snapshot.origin)),
            Err(exit) => Ok(exit),
        };
    }
    args.common.check_record()?;
    let client = WriteClient::connect(&args.common.access).await?;
    let snapshot = observe_chain(&client.read, &args.common.flux_namespace).await;
    // It holds what a plan is made of, and no more.
    args.common.record(&snapshot, Some("kubectl gitlab-agent reconcile-now --dry-run"));
    let named: Vec<&str> = args.common.namespace.as_deref().into_iter().collect();
    namespace::check(&client.read, &snapshot, &named).await?;
    let facts = Facts::derive(&snapshot);
    let plan = match args.plan(&facts, &selection) {
        Ok(plan) => plan,
        Err(exit) => return Ok(exit),
    };
    if args.dry_run {
        return Ok(args.show(&plan, &snapshot.origin));
    }
    if let Some(exit) = args.refuse(&plan, &client).await? {
        return Ok(exit);
    }
    let token = format!("{:.9}", Timestamp::now());
    let options = act::Options {
        token,
        force: args.force,
        reset: args.reset,
        resume: args.resume,
        at: args.at.clone(),
        reason: args.reason.clone(),
        webhook: args.through_webhook.then(|| Webhook { url: args.webhook_url.clone() }),
        concurrency: usize::from(args.concurrency),
        deadline: (!args.common.timeout.is_zero()).then(|| begun + args.common.timeout),
        flux_namespace: args.common.flux_namespace.clone(),
        access: args.common.access.clone(),
    };
    let screen = Screen::new(&plan, args.output, args.common.style());
    screen.begin(&snapshot.origin);
    let tell = |event: Event| screen.tell(&event);
    let journal = tokio::select! {
        journal = act::run(&client, &plan, &options, &tell) => journal,
        () = screen.spin() => unreachable!("the spinner spins until the run has ended"),
    };
    screen.clear();
    screen.ended.set(true);
    out(&match args.output {
        Output::Table => render::summary(&plan, &journal, &snapshot.origin, &screen.style),
        Output::Json => render::summary_json(&plan, &journal, &screen.style, Timestamp::now()),
    });
    Ok(journal.exit())
}

impl Args {
    fn selection(&self) -> Result<Selection> {
        let usage = |text: String| anyhow::Error::from(UsageError(text));
        Ok(match (&self.target, &self.selector, self.all) {
            (Some(target), ..) => {
                Selection::parse(target, self.common.namespace.as_deref()).map_err(usage)?
            }
            (_, Some(labels), _) => Selection::Labels(Selector::parse(labels).map_err(usage)?),
            (.., true) => Selection::All,
            _ => Selection::Agentk,
        })
    }

    /// The plan, or the exit code of a run without one; why is told.
    fn plan(&self, facts: &Facts<'_>, selection: &Selection) -> Result<Plan, Exit> {
        let found = Plan::derive(facts, selection, self.common.namespace.as_deref(), self.only);
        let plan = found.map_err(|no| match no {
            NoPlan::NotFound(text) => self.stop(Exit::Refused, &text),
            NoPlan::Ambiguous(text) => self.stop(Exit::Usage, &text),
            NoPlan::Circle(objects) => {
                let names: Vec<String> = objects.iter().map(ToString::to_string).collect();
                let text = format!(
                    "these depend on each other in a circle, so none is ever applied: {}",
                    names.join(", ")
                );
                self.stop(Exit::Refused, &text)
            }
            NoPlan::Unknown(why) => {
                let silent = why.kind.is_silence();
                let exit = if silent { Exit::Unreachable } else { Exit::Unknown };
                let text =
                    format!("{}: {} ({})", why.asked, why.message, render::place(&facts.snapshot.origin));
                self.stop(exit, &text)
            }
        })?;
        let fetchers = plan.fetchers();
        if let (Some(at), true) = (&self.at, fetchers.len() != 1) {
            let names: Vec<String> = fetchers.iter().map(|i| plan.hops[*i].object.to_string()).collect();
            let text = match names.len() {
                0 => format!("--at {at} speaks of a source of commits, and there is none in the plan"),
                _ => {
                    format!("--at {at} speaks of one source, and the plan has several: {}", names.join(", "))
                }
            };
            return Err(self.stop(Exit::Usage, &text));
        }
        Ok(plan)
    }

    fn show(&self, plan: &Plan, origin: &Origin) -> Exit {
        out(&match self.output {
            Output::Table => render::plan(plan, &self.common.style()),
            Output::Json => render::plan_json(plan, origin, true, Timestamp::now()),
        });
        Exit::Fine
    }

    /// What speaks against the plan before anything is changed.
    async fn refuse(&self, plan: &Plan, client: &WriteClient) -> Result<Option<Exit>> {
        let suspended = plan.suspended();
        if !suspended.is_empty() && !self.resume {
            let names: Vec<String> = suspended.iter().map(|h| h.object.to_string()).collect();
            let text = format!(
                "{} {} suspended, and nothing moves past that. --resume resumes and reconciles",
                names.join(", "),
                if names.len() == 1 { "is" } else { "are" }
            );
            return Ok(Some(self.stop(Exit::Refused, &text)));
        }
        let denied = act::denied(client, plan).await;
        if denied.is_empty() {
            return Ok(None);
        }
        let denied: Vec<String> = denied.iter().map(ToString::to_string).collect();
        let text = format!(
            "you may not {} ({}). Where you may ask a part of the chain: --only asks what is named and nothing else",
            denied.join(", nor "),
            render::place(&client.read.origin)
        );
        Ok(Some(self.stop(Exit::Unknown, &text)))
    }

    fn stop(&self, exit: Exit, text: &str) -> Exit {
        let (verdict, lead) = match exit {
            Exit::Refused => ("refused", "refused, nothing was changed: "),
            Exit::Usage => ("usage", ""),
            Exit::Unreachable => ("unreachable", "nothing was changed: "),
            _ => ("forbidden", "nothing was changed: "),
        };
        if self.output == Output::Json {
            out(&render::refused_json(verdict, text, exit.code(), Timestamp::now()));
        }
        note(&format!("error: {lead}{}", visible(text)));
        exit
    }
}

/// What the person sees while it runs. Lines go to standard output; the moving line to standard error, and only where
/// that is a terminal.
struct Screen<'p> {
    plan: &'p Plan,
    output: Output,
    style: Style,
    moving: bool,
    begun: Instant,
    /// Hops under way: since when, and what their controllers say.
    active: RefCell<Vec<(usize, Instant, String)>>,
    asked: Cell<usize>,
    done: Cell<usize>,
    drawn: Cell<bool>,
    ended: Cell<bool>,
}

/// A phase is worth a line of its own once the hop takes as long as this.
const LONG: Duration = Duration::from_secs(2);

impl<'p> Screen<'p> {
    fn new(plan: &'p Plan, output: Output, style: Style) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let moving = output == Output::Table && !dumb && streams::talks_to_terminal();
        Self {
            plan,
            output,
            style,
            moving,
            begun: Instant::now(),
            active: RefCell::default(),
            asked: Cell::new(0),
            done: Cell::new(0),
            drawn: Cell::new(false),
            ended: Cell::new(false),
        }
    }

    fn begin(&self, origin: &Origin) {
        if self.output == Output::Json {
            out(&render::plan_json(self.plan, origin, false, Timestamp::now()));
        } else {
            for text in &self.plan.notes {
                note(&format!("note: {}", visible(text)));
            }
        }
    }

    fn tell(&self, event: &Event) {
        let long = self.follow(event);
        if self.output == Output::Json {
            return out(&render::event_json(self.plan, event, &self.style, Timestamp::now()));
        }
        // On a terminal the moving line says who is asked and what they do.
        let shown = match event {
            Event::Asked { resumed, webhook, .. } => !self.moving || *resumed || *webhook,
            Event::Working { .. } => !self.moving && long,
            Event::Note { .. } | Event::Ended { .. } => true,
            Event::Deploying { .. } => !self.moving && long,
            Event::Deployed { .. } => long,
        };
        if let Some(line) = shown.then(|| render::line(self.plan, event, &self.style)).flatten() {
            self.clear();
            out(&line);
            self.draw();
        }
    }

    /// Keeps the list of hops under way; tells whether this one takes long.
    fn follow(&self, event: &Event) -> bool {
        let mut active = self.active.borrow_mut();
        match event {
            Event::Asked { hop, again: false, .. } => {
                self.asked.set(self.asked.get() + 1);
                active.push((*hop, Instant::now(), String::new()));
            }
            Event::Working { hop, phase } => {
                if let Some(entry) = active.iter_mut().find(|(h, ..)| h == hop) {
                    entry.2.clone_from(phase);
                    return entry.1.elapsed() > LONG;
                }
            }
            Event::Ended { hop, .. } => {
                self.done.set(self.done.get() + 1);
                active.retain(|(h, ..)| h != hop);
            }
            Event::Deploying { hop, text } => match active.iter_mut().find(|(h, ..)| h == hop) {
                Some(entry) => entry.2.clone_from(text),
                None => {
                    active.push((*hop, Instant::now(), text.clone()));
                    return true;
                }
            },
            // What was never waited for is in the summary only.
            Event::Deployed { hop, .. } => {
                let waited = active.iter().any(|(h, ..)| h == hop);
                active.retain(|(h, ..)| h != hop);
                return waited;
            }
            Event::Asked { .. } | Event::Note { .. } => {}
        }
        false
    }

    /// Draws the moving line ten times a second, for ever.
    async fn spin(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            self.draw();
        }
    }

    fn draw(&self) {
        const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
        let active = self.active.borrow();
        let Some((hop, since, phase)) = active.first().filter(|_| self.moving) else { return };
        let frame =
            FRAMES[usize::try_from(self.begun.elapsed().as_millis() / 100).unwrap_or(0) % FRAMES.len()];
        let all = self.plan.hops.len();
        let count = format!("{}/{all}", self.done.get());
        let more = if active.len() > 1 { format!(" and {} more", active.len() - 1) } else { String::new() };
        let phase = if phase.is_empty() { String::new() } else { format!(": {phase}") };
        let object = &self.plan.hops[*hop].object;
        let text = format!("{count} {object}{more}{phase}");
        let took = render::seconds(since.elapsed());
        let room = self.style.width.saturating_sub(took.len() + 5);
        let text = shorten(&visible(&text), room);
        streams::moving(&format!("{frame} {text}  {took}"));
        self.drawn.set(true);
    }

    fn clear(&self) {
        if self.drawn.replace(false) {
            streams::still();
        }
    }
}

impl Drop for Screen<'_> {
    /// Ctrl-C, or the net below the deadline: a clean line, and what was done so far.
    fn drop(&mut self) {
        self.clear();
        if self.ended.get() {
            return;
        }
        let asked = self.asked.get();
        note(&format!(
            "stopped watching: {asked} of {} asked. Flux goes on with what it was asked for; nothing else was changed",
            gitlab_agent_core::text::count(self.plan.hops.len(), "hop")
        ));
    }
}

//! `reconcile-now` beside `flux reconcile kustomization NAME --with-source`: the same idle object, in turn, in one run.
//!
//! `cargo run -p gitlab-agent-tests --bin reconcile-bench -- [NAME [ROUNDS]]`; builds the flux command and our release
//! profile where they are not built yet. Beside the whole time of either it takes the time from our first patch to the
//! status that answers it, as a watch of its own sees them: Flux's own work, which bounds us from below.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::{AsyncBufReadExt as _, TryStreamExt as _};
use gitlab_agent_tests::programs;
use gitlab_agent_tests::world::components::flux_cli;
use gitlab_agent_tests::world::wait::wait_until;
use gitlab_agent_tests::world::{Options, World};
use serde_json::Value;

/// What the product promises: a tenth of flux's time, and a third above Flux's own work.
const OF_FLUX: f64 = 0.1;
const OF_WORK: f64 = 1.3;

/// One run of a program.
struct Run {
    wall: Duration,
    cpu: Option<Duration>,
}

fn main() -> ExitCode {
    match compare() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<bool> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "flux-system".to_owned());
    let rounds: usize = args.next().map_or(Ok(9), |n| n.parse()).context("ROUNDS is a number")?;
    let flux = flux_cli()?;
    let ours = programs::released("reconcile-now");
    let world = World::start(Options::default())?;
    world.wait_healthy()?;
    let seen = Arc::new(Seen::default());
    for kind in ["gitrepositories.source", "kustomizations.kustomize"] {
        seen.watch(&world, kind, &name);
    }
    let theirs = |world: &World| {
        time(world, &flux, &["reconcile", "kustomization", &name, "--with-source", "-n", "flux-system"])
    };
    let own = |world: &World| time(world, &ours, &[&format!("kustomization/{name}"), "-n", "flux-system"]);
    let _ = (theirs(&world)?, own(&world)?);
    let (mut f, mut o, mut work) = (Vec::new(), Vec::new(), Vec::new());
    let mut out = std::io::stdout().lock();
    writeln!(out, "kustomization/{name}, {rounds} rounds, load {}", load())?;
    for round in 1..=rounds {
        let theirs = theirs(&world)?;
        seen.forget();
        let own = own(&world)?;
        let answered = seen.answered()?;
        writeln!(
            out,
            "{round:>3}  flux {:.3} s  ours {:.3} s  Flux's own work {:.3} s  ours/flux {:.3}  ours/work {:.2}",
            theirs.wall.as_secs_f64(),
            own.wall.as_secs_f64(),
            answered.as_secs_f64(),
            own.wall.as_secs_f64() / theirs.wall.as_secs_f64(),
            own.wall.as_secs_f64() / answered.as_secs_f64()
        )?;
        f.push(theirs);
        o.push(own);
        work.push(answered);
    }
    let ratio =
        |by: &dyn Fn(usize) -> f64| median((0..rounds).map(|i| o[i].wall.as_secs_f64() / by(i)).collect());
    let (of_flux, of_work) = (ratio(&|i| f[i].wall.as_secs_f64()), ratio(&|i| work[i].as_secs_f64()));
    let wall = |runs: &[Run]| median(runs.iter().map(|r| r.wall.as_secs_f64()).collect());
    writeln!(out, "median: flux {:.3} s, {}", wall(&f), cpu(&f))?;
    writeln!(out, "median: ours {:.3} s, {}", wall(&o), cpu(&o))?;
    writeln!(
        out,
        "median: Flux's own work {:.3} s",
        median(work.iter().map(Duration::as_secs_f64).collect())
    )?;
    let verdict = |held: bool| if held { "holds" } else { "is missed" };
    writeln!(out, "ours/flux {of_flux:.3}: at most {OF_FLUX} {}", verdict(of_flux <= OF_FLUX))?;
    writeln!(out, "ours/work {of_work:.2}: at most {OF_WORK} {}", verdict(of_work <= OF_WORK))?;
    writeln!(out, "load {}", load())?;
    Ok(of_flux <= OF_FLUX && of_work <= OF_WORK)
}

fn time(world: &World, program: &Path, args: &[&str]) -> Result<Run> {
    let before = children_cpu();
    let began = Instant::now();
    let output = Command::new(program)
        .args(args)
        .env("KUBECONFIG", world.kubeconfig())
        .env("HOME", world.dir())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    let wall = began.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {}: {said}", program.display(), args.join(" "));
    let cpu = before.zip(children_cpu()).map(|(before, after)| after.saturating_sub(before));
    Ok(Run { wall, cpu })
}

/// Processor time of all children that have ended; the kernel counts it in hundredths of a second. Linux only.
fn children_cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // `cutime` and `cstime`, fields 16 and 17 of proc(5); the state, field 3, is the first here.
    Some(Duration::from_millis((ticks(13)? + ticks(14)?) * 10))
}

fn cpu(runs: &[Run]) -> String {
    let all: Option<Duration> = runs.iter().map(|r| r.cpu).sum();
    let count = u32::try_from(runs.len()).unwrap_or(1).max(1);
    all.map_or("processor time not known".to_owned(), |all| {
        format!("{:.0} ms of processor time a run", (all / count).as_secs_f64() * 1000.0)
    })
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("not known").to_owned()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        _ if values.is_empty() => f64::NAN,
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// What a watch saw of the two objects since it was last told to forget.
#[derive(Default)]
struct Seen {
    states: Mutex<Vec<(Instant, State)>>,
}

/// What of an object says whether a request was made and answered.
struct State {
    kind: String,
    asked: String,
    handled: String,
    ready: bool,
}

impl Seen {
    /// Watches one object for as long as the world runs.
    fn watch(self: &Arc<Self>, world: &World, kind: &str, name: &str) {
        let (seen, client) = (self.clone(), world.client());
        let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
        let path = format!(
            "/apis/{group}.toolkit.fluxcd.io/v1/namespaces/flux-system/{plural}?watch=1&fieldSelector=metadata.name%3D{name}"
        );
        world.spawn(async move {
            let request = http::Request::get(path).body(Vec::new())?;
            let mut lines = std::pin::pin!(client.request_stream(request).await?.lines());
            while let Some(line) = lines.try_next().await? {
                let event: Value = serde_json::from_str(&line)?;
                seen.add(&event["object"]);
            }
            anyhow::Ok(())
        });
    }

    fn add(&self, object: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let conditions = object["status"]["conditions"].as_array();
        let state = State {
            kind: text(&object["kind"]),
            asked: text(&object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"]),
            handled: text(&object["status"]["lastHandledReconcileAt"]),
            ready: conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True"),
        };
        self.states().push((Instant::now(), state));
    }

    fn forget(&self) {
        self.states().clear();
    }

    /// From the first request at the source to the status of the Kustomization that answers.
    fn answered(&self) -> Result<Duration> {
        wait_until("the watch to have seen the answer", Duration::from_secs(5), || {
            let states = self.states();
            let asked = states.iter().find(|(_, s)| s.kind == "GitRepository" && s.asked != s.handled);
            let answer = |s: &State| s.kind == "Kustomization" && s.asked == s.handled && s.ready;
            let answered = states.iter().rfind(|(_, s)| answer(s));
            Ok(asked.zip(answered).map(|((from, _), (to, _))| to.saturating_duration_since(*from)))
        })
    }

    fn states(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, State)>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! One hop: ask, follow, judge.

use gitlab_agent_core::assess::{Check, assess};
use gitlab_agent_core::command::{Hint, Program};
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::plan::answer::{
    Answer, FORCE_AT, Fault, Live, REQUESTED_AT, RESET_AT, answer, revision,
};
use gitlab_agent_core::plan::journal::{End, Event, State, unanswered};
use gitlab_agent_core::plan::pods::workloads;
use gitlab_agent_core::plan::{is_revision, same_revision};
use gitlab_agent_core::snapshot::kinds::Workload;
use gitlab_agent_core::snapshot::{Why, WhyKind};
use gitlab_agent_core::text;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::follow::{Follow, Seen, version_of};
use super::{QUIET, Run, path, said};
use crate::access::segment;
use crate::observe::observe_chain;

/// How often the request is made again when others overwrite it, or when nothing comes of it.
const AGAIN: usize = 5;

/// How many failures of one run are looked into.
const EXPLAINED: usize = 3;

/// What stands between the answer and the end.
enum Step {
    End(End),
    /// The controller is at work.
    Go,
    /// Nothing may come of this request by itself: ask again when it stays quiet, and end so when that does not help.
    Stuck(End),
    /// Ask again at once.
    Again,
}

/// One hop under way.
struct Drive<'r, 'a> {
    run: &'r Run<'a>,
    hop: usize,
    /// What its answer is recognised by.
    token: String,
    phase: String,
    asked: usize,
}

impl<'a> Run<'a> {
    /// Asks a hop and follows it to its end.
    pub(super) async fn drive(&self, hop: usize) -> End {
        let token = self.options.token.clone();
        let mut drive = Drive { run: self, hop, token, phase: String::new(), asked: 0 };
        match drive.go().await {
            Ok(end) | Err(end) => end,
        }
    }

    /// The revision that a hop has to reach, where its source's revision is comparable with its own.
    async fn wanted(&self, hop: usize) -> Option<(usize, String)> {
        let source = self.plan.hops[hop].source?;
        let pair = (self.plan.hops[source].object.kind.as_str(), self.plan.hops[hop].object.kind.as_str());
        let comparable = matches!(
            pair,
            ("GitRepository" | "OCIRepository" | "Bucket", "Kustomization") | ("HelmChart", "HelmRelease")
        );
        let end = self.end_of(source).await;
        (comparable && !end.revision.is_empty()).then_some((source, end.revision))
    }

    async fn read(&self, object: &ObjectRef) -> Result<Option<Live>, Why> {
        let asked = format!("get {object}");
        let answer = self.client.read.get(&path(object), "application/json", &asked).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.expect_object(&asked, object)?;
        let read = serde_json::from_slice(&answer.body);
        read.map(Some).map_err(|e| Why::new(WhyKind::Unreadable, asked, e.to_string()))
    }

    /// Pods wanted and ready of a controller; `Ok(None)` when its Deployment does not exist.
    async fn controller(&self, controller: &ObjectRef) -> Result<Option<(i64, i64)>, Why> {
        let (namespace, name) = (segment(&controller.namespace), segment(&controller.name));
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
        let asked = format!("get {controller}");
        let answer = self.client.read.get(&path, "application/json", &asked).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.expect_object(&asked, controller)?;
        let workload: Workload = serde_json::from_slice(&answer.body)
            .map_err(|e| Why::new(WhyKind::Unreadable, asked, e.to_string()))?;
        Ok(Some(workload.readiness("Deployment")))
    }

    /// A failure in the words of `verify`, where it has more to say. A run in which all fails asks a few times only.
    async fn explained(&self, object: &ObjectRef, end: End) -> End {
        let explained = self.explained.get();
        if explained >= EXPLAINED {
            return end;
        }
        self.explained.set(explained + 1);
        let snapshot = observe_chain(&self.client.read, &self.options.flux_namespace).await;
        let facts = Facts::derive(&snapshot);
        let checks = ["GA407", "GA408"].into_iter().filter_map(Check::named);
        let findings = assess(&facts, checks).into_iter().flat_map(|a| a.judgement.findings);
        let Some(found) = findings.into_iter().find(|f| f.subject == *object) else { return end };
        let remedy = || match found.remedy.commands.first() {
            Some(command) => Hint::from(format!("{}:", found.remedy.text)).line(command.clone()),
            None => Hint::from(found.remedy.text.as_str()),
        };
        let hint = if end.hint.is_empty() { remedy() } else { end.hint };
        End { meaning: found.message, hint, ..end }
    }

    /// Leaves an Event on an object that the person named, where a reason was given.
    async fn leave_event(&self, hop: usize, live: &Live) {
        let h = &self.plan.hops[hop];
        let Some(reason) = self.options.reason.as_ref().filter(|_| h.named) else { return };
        let object = &h.object;
        let version = if object.kind == "HelmRelease" { "v2" } else { "v1" };
        let group = object.group();
        let now = Timestamp::now();
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"generateName": "gitlab-agent-cli-", "namespace": object.namespace},
            "involvedObject": {"apiVersion": format!("{}/{version}", group.unwrap_or_default()), "kind": object.kind,
                "namespace": object.namespace, "name": object.name, "uid": live.metadata.uid},
            "reason": "ReconcileRequested", "type": "Normal",
            "message": format!("reconcile-now: {reason}"),
            "source": {"component": "gitlab-agent-cli"}, "count": 1,
            "firstTimestamp": format!("{now:.0}"), "lastTimestamp": format!("{now:.0}"),
        });
        let path = format!("/api/v1/namespaces/{}/events", segment(&object.namespace));
        if let Err(why) = self.client.create(&path, &event, "leave an Event with the reason").await {
            self.note(Some(hop), format!("no Event was left: {}", why.message));
        }
    }
}

impl Drive<'_, '_> {
    async fn go(&mut self) -> Result<End, End> {
        let run = self.run;
        let object = &run.plan.hops[self.hop].object;
        let by_webhook = run.options.webhook.as_ref().filter(|_| object.kind == "GitRepository");
        let (mut live, version) = match by_webhook {
            Some(webhook) => {
                let (live, version, token) = run.by_webhook(self.hop, webhook).await?;
                self.token = token;
                (live, version)
            }
            None => self.ask(false).await?,
        };
        (run.tell)(Event::Asked {
            hop: self.hop,
            resumed: self.resumes(),
            again: false,
            webhook: by_webhook.is_some(),
        });
        run.leave_event(self.hop, &live).await;
        let mut follow = Follow::from(run.client, object, version);
        let mut changed = Instant::now();
        let mut looked = changed;
        loop {
            let step = self.judge(&live).await?;
            let mut stuck = None;
            match step {
                Step::End(end) => return Ok(end),
                Step::Again => {
                    let (next, version) = self.ask_again(&live).await?;
                    follow.moved_on(version);
                    live = next;
                    continue;
                }
                Step::Go => {}
                Step::Stuck(end) => stuck = Some(end),
            }
            let seen = loop {
                tokio::select! {
                    seen = follow.next() => break Some(seen),
                    () = sleep_until(looked.max(changed) + QUIET) => {
                        looked = Instant::now();
                        self.look_at_controller().await?;
                        match stuck.take() {
                            Some(end) if self.asked > AGAIN => return Ok(end),
                            Some(_) => break None,
                            None => {}
                        }
                    }
                }
            };
            match seen {
                None => {
                    self.new_token();
                    let (next, version) = self.ask_again(&live).await?;
                    follow.moved_on(version);
                    live = next;
                }
                Some(Ok(Seen::There(next))) => live = *next,
                Some(Ok(Seen::Silence(said))) => {
                    run.note(
                        Some(self.hop),
                        format!("the API server did not answer ({said}); the wait goes on"),
                    );
                }
                Some(Ok(Seen::Gone)) => return Ok(deleted()),
                Some(Err(why)) => return Err(broken(&why, object)),
            }
            changed = Instant::now();
        }
    }

    fn resumes(&self) -> bool {
        self.run.options.resume && self.run.plan.hops[self.hop].suspended
    }

    /// A request that is repeated on purpose needs another value: Flux acts on changes.
    fn new_token(&mut self) {
        self.token = format!("{}.{}", self.run.options.token, self.asked);
    }

    async fn ask_again(&mut self, live: &Live) -> Result<(Live, String), End> {
        if self.asked > AGAIN {
            let by = live.metadata.annotation(REQUESTED_AT).unwrap_or_default();
            let end =
                End::new(State::Failed, "others ask for it all the time, and our request is never answered");
            return Err(end.said(format!("the last request is {by}")));
        }
        let asked = self.ask(true).await?;
        (self.run.tell)(Event::Asked { hop: self.hop, resumed: false, again: true, webhook: false });
        Ok(asked)
    }

    /// Makes the request; gives the object as it is after.
    async fn ask(&mut self, again: bool) -> Result<(Live, String), End> {
        let run = self.run;
        let object = &run.plan.hops[self.hop].object;
        let mut annotations = json!({ REQUESTED_AT: self.token });
        if object.kind == "HelmRelease" {
            if run.options.force {
                annotations[FORCE_AT] = json!(self.token);
            }
            if run.options.reset {
                annotations[RESET_AT] = json!(self.token);
            }
        }
        let mut patch = json!({"metadata": {"annotations": annotations}});
        if self.resumes() && !again {
            patch["spec"] = json!({"suspend": false});
        }
        let asked = format!("patch {object}");
        self.asked += 1;
        let mut conflicts = 0;
        loop {
            match run.client.patch(&path(object), &patch, &asked).await {
                Ok(answer) if answer.status == StatusCode::NOT_FOUND => return Err(deleted()),
                Ok(answer) if answer.status == StatusCode::CONFLICT && conflicts < AGAIN => conflicts += 1,
                Ok(answer) => {
                    let live = answer.object(&asked, object).map_err(|why| broken(&why, object))?;
                    return Ok((live, version_of(&answer.body)));
                }
                // It may or may not have arrived: the object knows.
                Err(why) if matches!(why.kind, WhyKind::Unreachable | WhyKind::TimedOut) => {
                    let text = format!(
                        "the API server did not answer ({}); looking whether the request arrived",
                        why.message
                    );
                    run.note(Some(self.hop), text);
                    if let Some(found) = self.look_for_own_request(object).await? {
                        return Ok(found);
                    }
                }
                Err(why) => return Err(broken(&why, object)),
            }
        }
    }

    async fn look_for_own_request(&self, object: &ObjectRef) -> Result<Option<(Live, String)>, End> {
        let mut follow = Follow::from(self.run.client, object, String::new());
        loop {
            return match follow.next().await {
                Ok(Seen::Silence(_)) => continue,
                Ok(Seen::Gone) => Err(deleted()),
                Err(why) => Err(broken(&why, object)),
                Ok(Seen::There(live)) => {
                    let arrived = live.metadata.annotation(REQUESTED_AT) == Some(&self.token);
                    // Followed from the beginning: the reading that found it is repeated.
                    Ok(arrived.then(|| (*live, String::new())))
                }
            };
        }
    }

    async fn judge(&mut self, live: &Live) -> Result<Step, End> {
        let run = self.run;
        let hop = &run.plan.hops[self.hop];
        let kind = hop.object.kind.as_str();
        Ok(match answer(kind, live, &self.token) {
            Answer::Working(phase) => {
                self.tell_phase(phase);
                Step::Go
            }
            Answer::Overwritten => {
                let by = live.metadata.annotation(REQUESTED_AT).unwrap_or("nothing").to_owned();
                run.note(
                    Some(self.hop),
                    format!("another request ({by}) took the place of ours; asking again"),
                );
                Step::Again
            }
            Answer::Suspended => Step::End(
                End::new(State::Suspended, "it was suspended by somebody while we waited")
                    .hint("--resume resumes it, if that is meant"),
            ),
            Answer::Deleted => Step::End(deleted()),
            Answer::Waiting(reason, message) if reason == "DependencyNotReady" && !hop.outside.is_empty() => {
                let outside: Vec<String> = hop.outside.iter().map(ToString::to_string).collect();
                let meaning =
                    format!("it depends on {}, which is not ready or does not exist", outside.join(", "));
                Step::End(End { reason, ..End::new(State::Waiting, meaning) }.said(message))
            }
            Answer::Waiting(reason, message) => {
                self.tell_phase(message.clone());
                let end = End::new(State::Waiting, "what it needs is done, and it still waits for it");
                Step::Stuck(End { reason, ..end }.said(message))
            }
            Answer::Failed(fault) => match self.behind(live, &live.status.last_attempted_revision).await {
                Some((tried, held)) if kind == "Kustomization" => {
                    self.tell_phase(format!("tried {tried}, its source holds {held}"));
                    Step::Stuck(self.failed(kind, live, &fault))
                }
                _ => Step::End(run.explained(&hop.object, self.failed(kind, live, &fault)).await),
            },
            Answer::Done(at) => match self.behind(live, &at).await {
                Some((shown, held)) => {
                    let text = format!("is at {shown}, its source holds {held}");
                    self.tell_phase(text.clone());
                    // Helm's word for a version has more forms than can be compared.
                    let state = if kind == "HelmRelease" { State::Done } else { State::Failed };
                    Step::Stuck(End { revision: at, ..End::new(state, text) })
                }
                None => {
                    run.deployed.borrow_mut()[self.hop] = workloads(live);
                    Step::End(self.done(at))
                }
            },
        })
    }

    /// When this revision is not the one that the source holds now: both, for people.
    async fn behind(&self, live: &Live, at: &str) -> Option<(String, String)> {
        let (source, wanted) = self.run.wanted(self.hop).await?;
        if same_revision(at, &wanted) || at.is_empty() && live.status.last_attempted_revision.is_empty() {
            return None;
        }
        // The source may have moved on since it answered us: what it holds now is as good.
        let object = &self.run.plan.hops[source].object;
        let held = self.run.read(object).await.ok()??;
        let held = revision(&object.kind, &held);
        let fits = same_revision(at, &held);
        (!fits).then(|| (text::revision(at), text::revision(&held)))
    }

    fn done(&self, revision: String) -> End {
        let hop = &self.run.plan.hops[self.hop];
        let fetches = self.run.plan.fetchers().contains(&self.hop);
        let missed = self.run.options.at.as_ref().filter(|at| fetches && !is_revision(&revision, at));
        let Some(at) = missed else { return End { revision, ..End::new(State::Done, "") } };
        let shown = text::revision(&revision);
        let meaning = if hop.fetches.is_empty() || hop.fetches.starts_with("branch") {
            let what = if hop.fetches.is_empty() { "its source".to_owned() } else { hop.fetches.clone() };
            format!("{at} cannot run: {what} is at {shown} after a fetch just now")
        } else {
            format!("{at} cannot run: it is pinned to {}, which is {shown}", hop.fetches)
        };
        let hint = "is it pushed, and to this branch? A newer commit, if there is one, has replaced it";
        End { revision, ..End::new(State::Failed, meaning) }.hint(hint)
    }

    fn failed(&self, kind: &str, live: &Live, fault: &Fault) -> End {
        let again = if fault.terminal { " (it will not try again by itself)" } else { "" };
        End {
            revision: revision(kind, live),
            reason: fault.reason.clone(),
            hint: fault.hint(kind),
            ..End::new(State::Failed, format!("{}{again}", fault.phrase(kind)))
        }
        .said(fault.message.as_str())
    }

    fn tell_phase(&mut self, phase: String) {
        let phase = self.run.client.mask(&phase);
        if phase != self.phase && !phase.is_empty() {
            (self.run.tell)(Event::Working { hop: self.hop, phase: phase.clone() });
            self.phase = phase;
        }
    }

    /// Nothing happened for a while: is there anybody to answer?
    async fn look_at_controller(&self) -> Result<(), End> {
        let controller = &self.run.plan.hops[self.hop].controller;
        match self.run.controller(controller).await {
            Ok(None) => Err(unanswered(controller, None)),
            Ok(Some((wanted, 0))) => Err(unanswered(controller, Some((wanted, 0)))),
            // Ready pods, or not ours to know: the wait goes on.
            Ok(Some(_)) | Err(_) => Ok(()),
        }
    }
}

fn deleted() -> End {
    End::new(State::Deleted, "it was deleted by somebody while we waited")
}

/// The end of a hop that the API server refused, or did not answer for.
pub(super) fn broken(why: &Why, object: &ObjectRef) -> End {
    match why.kind {
        WhyKind::Forbidden => {
            let ask = Program::new("kubectl auth can-i patch").object(object).in_namespace(&object.namespace);
            let hint = Hint::command(ask, "shows the same");
            End::new(State::Forbidden, "you may not do this").said(said(why)).hint(hint)
        }
        WhyKind::SignIn => {
            End::new(State::Unreachable, "the cluster refuses your credential").said(said(why))
        }
        WhyKind::Unreachable | WhyKind::TimedOut => {
            End::new(State::Unreachable, "the API server does not answer").said(said(why))
        }
        _ => End::new(State::Failed, "the API server's answer is not understood").said(said(why)),
    }
}

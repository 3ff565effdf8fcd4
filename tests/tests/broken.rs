//! Broken clusters: each breaks one healthy world in one way (or in two at once) as it breaks in the field; `verify`
//! has to lead with the true cause, show what follows from it underneath, and end as it should. Then it is mended.
//!
//! `BROKEN='text|text'` runs only the cases whose name holds one of the texts.

#[path = "broken/agentk.rs"]
mod agentk;
#[path = "broken/causes.rs"]
mod causes;
#[path = "broken/flux.rs"]
mod flux;
#[path = "broken/healthy.rs"]
mod healthy;
#[path = "broken/tokens.rs"]
mod tokens;
#[path = "broken/two.rs"]
mod two;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use gitlab_agent_tests::programs::{Ran, command, folder, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::EXAMPLE_PROJECT;
use gitlab_agent_tests::world::wait::wait_until;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(90);

/// One way to break a cluster.
struct Case {
    name: &'static str,
    /// What the report has to lead with: code and object.
    cause: (&'static str, &'static str),
    /// A second cause, for which the first is no explanation.
    also: Option<(&'static str, &'static str)>,
    /// Codes that have to be shown under the causes.
    under: &'static [&'static str],
    /// What its message has to hold.
    says: &'static str,
    /// Exit code.
    exit: i32,
    make: fn(&World) -> Result<()>,
    mend: fn(&World) -> Result<()>,
}

impl Case {
    /// An error with nothing else to it.
    const fn new(
        name: &'static str,
        cause: (&'static str, &'static str),
        make: fn(&World) -> Result<()>,
        mend: fn(&World) -> Result<()>,
    ) -> Self {
        Self { name, cause, also: None, under: &[], says: "", exit: 1, make, mend }
    }

    const fn under(self, under: &'static [&'static str]) -> Self {
        Self { under, ..self }
    }

    const fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    /// Of default severity warning: the run ends well.
    const fn warning(self) -> Self {
        Self { exit: 0, ..self }
    }

    const fn also(self, also: (&'static str, &'static str)) -> Self {
        Self { also: Some(also), ..self }
    }

    /// What is wrong with a report of this broken cluster; nothing when it is as it should be.
    fn judge(&self, ran: &Ran) -> Option<String> {
        let roots = roots(ran);
        let is = |root: &Root, (code, subject): (&str, &str)| root.code == code && root.subject == subject;
        let first =
            roots.first().is_some_and(|root| is(root, self.cause) && root.message.contains(self.says));
        let second = self.also.is_none_or(|also| roots.iter().any(|root| is(root, also)));
        let below: Vec<&String> = roots.iter().flat_map(|root| &root.under).collect();
        let under = self.under.iter().all(|code| below.iter().any(|found| found == code));
        let expected = |root: &&Root| is(root, self.cause) || self.also.is_some_and(|also| is(root, also));
        let others = roots.iter().any(|root| root.severity == "error" && !expected(&root));
        let well = first && second && under && !others && ran.code == self.exit;
        (!well).then(|| format!("exit {} {roots:#?}", ran.code))
    }
}

/// A problem that stands by itself in the report.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Root {
    code: String,
    subject: String,
    severity: String,
    message: String,
    under: Vec<String>,
}

fn roots(ran: &Ran) -> Vec<Root> {
    let json = ran.json();
    json["problems"].as_array().into_iter().flatten().map(root).collect()
}

fn root(problem: &Value) -> Root {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let subject = &problem["subject"];
    let parts = ["kind", "namespace", "name"].map(|key| text(&subject[key]));
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let mut under = Vec::new();
    gather(&problem["consequences"], &mut under);
    Root {
        code: text(&problem["code"]),
        subject: parts.join("/"),
        severity: text(&problem["severity"]),
        message: text(&problem["message"]),
        under,
    }
}

fn gather(consequences: &Value, codes: &mut Vec<String>) {
    for consequence in consequences.as_array().into_iter().flatten() {
        codes.extend(consequence["code"].as_str().map(str::to_owned));
        gather(&consequence["consequences"], codes);
    }
}

/// `verify -o json` with access to the played GitLab; without GA603: Flux's own NetworkPolicies keep the chart index away,
/// and each look would wait for it.
fn verify(world: &World) -> Result<Ran> {
    let (token, ca) = access(world)?;
    let mut command = command("verify");
    command.args(["-o", "json", "--skip", "GA603", "--gitlab-host"]).arg(world.gitlab().url());
    command.arg("--gitlab-token-file").arg(token).arg("--gitlab-ca-file").arg(ca);
    Ok(run(command.env("KUBECONFIG", world.kubeconfig())))
}

/// Files with a token that may read everything in GitLab, and with the authority of its certificate.
fn access(world: &World) -> Result<(PathBuf, PathBuf)> {
    let (token, ca) = (world.dir().join("reader-token"), world.dir().join("gitlab-ca.crt"));
    if !token.exists() {
        std::fs::write(&ca, world.gitlab().ca_pem())?;
        std::fs::write(&token, world.gitlab().new_access_token(&["read_api"])?)?;
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok((token, ca))
}

/// Waits until all is well: no finding but what is for information, nothing unknown.
fn well(world: &World) -> Result<()> {
    wait_until("all to be well", SOON, || {
        let ran = verify(world)?;
        let trouble: Vec<Root> = roots(&ran).into_iter().filter(|root| root.severity != "info").collect();
        let unknown = unknown(&ran);
        if ran.code == 0 && trouble.is_empty() && unknown.is_empty() {
            return Ok(Some(()));
        }
        bail!("exit {} {trouble:#?} unknown {unknown:#?}", ran.code)
    })
}

/// The checks that found nothing out.
fn unknown(ran: &Ran) -> Vec<String> {
    let json = ran.json();
    let checks = json["checks"].as_array().into_iter().flatten();
    checks.filter(|check| check["verdict"] == "unknown").map(ToString::to_string).collect()
}

/// Runs kubectl with arguments that hold no space.
fn k(world: &World, arguments: &str) -> Result<()> {
    world.kubectl(&arguments.split(' ').collect::<Vec<_>>()).map(drop)
}

fn patch(world: &World, namespace: &str, object: &str, patch: &str) -> Result<()> {
    world.kubectl(&["-n", namespace, "patch", object, "--type=merge", "-p", patch]).map(drop)
}

/// What `flux reconcile` does.
fn reconcile(world: &World, namespace: &str, object: &str) -> Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    k(world, &format!("-n {namespace} annotate --overwrite {object} reconcile.fluxcd.io/requestedAt={now}"))
}

/// Gives the pods of a Deployment a fate, or none.
fn fate(world: &World, namespace: &str, deployment: &str, fate: Option<&str>) -> Result<()> {
    let annotations = serde_json::json!({ "world.test/fate": fate });
    let body = serde_json::json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
    patch(world, namespace, &format!("deployment/{deployment}"), &body.to_string())
}

/// Puts texts into a Secret; nothing takes a key out.
fn write(world: &World, namespace: &str, name: &str, data: &[(&str, Option<&str>)]) -> Result<()> {
    let map: serde_json::Map<String, Value> = data
        .iter()
        .filter_map(|(key, value)| value.map(|value| ((*key).to_owned(), Value::from(value))))
        .collect();
    let gone: serde_json::Map<String, Value> = data
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(key, _)| ((*key).to_owned(), Value::Null))
        .collect();
    let body = serde_json::json!({ "stringData": map, "data": gone });
    patch(world, namespace, &format!("secret/{name}"), &body.to_string())
}

/// What the documented installation lacks to be without a warning: push events for the example come if it is public.
fn furnish(world: &World) -> Result<()> {
    world.gitlab().set_public(EXAMPLE_PROJECT, true)?;
    well(world)
}

#[test]
fn each_broken_cluster_gets_its_true_cause_first() -> Result<()> {
    World::with(|world| {
        // Building them is not to count as waiting.
        folder();
        furnish(world)?;
        let wanted = std::env::var("BROKEN").unwrap_or_default();
        let tables = [flux::CASES, causes::CASES, agentk::CASES, tokens::CASES, two::CASES];
        let all = tables.into_iter().flatten();
        let mut failed = Vec::new();
        for case in all.filter(|case| wanted.split('|').any(|text| case.name.contains(text))) {
            let started = Instant::now();
            let found = look(world, case);
            eprintln!(
                "{:5.1?} {} {}",
                started.elapsed(),
                if found.is_ok() { "ok  " } else { "FAIL" },
                case.name
            );
            failed.extend(found.err().map(|error| format!("{}: {error:#}", case.name)));
        }
        ensure!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n\n"));
        Ok(())
    })
}

/// Breaks, looks, and mends, also where the look failed.
fn look(world: &World, case: &Case) -> Result<()> {
    (case.make)(world)?;
    let seen = wait_until("the true cause first", SOON, || {
        let ran = verify(world)?;
        match case.judge(&ran) {
            None => Ok(Some(())),
            Some(trouble) => bail!("{trouble}"),
        }
    });
    (case.mend)(world)?;
    let mended = well(world);
    seen.and(mended)
}

#[test]
fn there_are_enough_of_them() {
    let tables = [flux::CASES, causes::CASES, agentk::CASES, tokens::CASES, two::CASES];
    let mut causes: Vec<_> = tables.into_iter().flatten().map(|case| (case.cause, case.name)).collect();
    causes.sort_unstable();
    causes.dedup();
    assert!(causes.len() >= 25, "{} ways to break a cluster", causes.len());
    assert!(two::CASES.len() >= 3 && two::CASES.iter().all(|case| case.also.is_some()));
}

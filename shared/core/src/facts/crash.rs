//! The last words of containers that end and are started again and again: why they do is in the log before the last start.

use super::reference;
use crate::object::ObjectRef;
use crate::snapshot::kinds::{ContainerStatus, Pod};
use crate::snapshot::{Observed, Snapshot};

/// A container whose log before its last start is worth reading.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crashed {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
}

/// So many are read at most: one of each workload, which has one reason.
const MOST: usize = 10;

/// Words of lines that say why something ended.
const TELLING: &[&str] = &[
    "error",
    "fatal",
    "panic",
    "exception",
    "failed",
    "failure",
    "cannot",
    "can't",
    "could not",
    "unable to",
    "denied",
    "refused",
    "no such",
    "missing",
    "invalid",
    "required",
    "not found",
    "undefined",
    "timed out",
    "timeout",
];

/// The containers of workloads that Flux deployed, of Flux and of agentk, that crash.
pub fn crashed(s: &Snapshot) -> Vec<Crashed> {
    let failing = reference::failing_workloads(s);
    let of = failing.filter_map(|(_, workload)| {
        let pods = workload.pods(&s.pods).ok()?;
        pods.into_iter().find_map(|pod| {
            let container = of_pod(pod)?;
            let Pod { metadata, .. } = pod;
            Some(Crashed {
                namespace: metadata.namespace.clone(),
                pod: metadata.name.clone(),
                container: container.name.clone(),
            })
        })
    });
    of.take(MOST).collect()
}

/// The container of a pod that ended and was, or is to be, started again.
fn of_pod(pod: &Pod) -> Option<&ContainerStatus> {
    let all = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let crashes = |c: &&ContainerStatus| {
        let waits = c.state.waiting.as_ref().is_some_and(|w| w.reason == "CrashLoopBackOff");
        let ended = c.last_state.terminated.as_ref().is_some_and(|end| end.exit_code != 0);
        waits || (ended && c.restart_count > 0 && !c.ready)
    };
    all.clone().find(crashes)
}

/// What a pod's container said before it ended: the line that says why, and the one after it.
pub fn last_words(s: &Snapshot, pod: &ObjectRef) -> Option<String> {
    let log = s.last_words.iter().find(|log| log.namespace == pod.namespace && log.pod == pod.name)?;
    let Observed::Known(lines) = &log.lines else { return None };
    let stackless: Vec<&str> =
        lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !is_frame(line)).collect();
    let tells = |line: &&str| {
        let line = line.to_lowercase();
        TELLING.iter().any(|word| line.contains(word))
    };
    let telling = stackless.iter().rev().find(|line| tells(line));
    telling.or(stackless.last()).map(|line| (*line).to_owned())
}

/// Whether a line is of a stack: Go's, Java's, Python's and JavaScript's.
fn is_frame(line: &str) -> bool {
    line.starts_with("goroutine ")
        || line.starts_with("at ")
        || line.starts_with("File \"")
        || line.starts_with("created by ")
        || (line.starts_with('/') && line.contains(".go:"))
        || line.starts_with("... ")
        || line.starts_with("exit status ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::snapshot::PodLog;

    #[test]
    fn the_line_that_says_why_is_found() {
        let pod = ObjectRef::new("Pod", "n", "p");
        for (lines, expected) in [
            (
                &["starting", "FATAL: password authentication failed for user \"web\"", "bye"][..],
                "FATAL: password authentication failed for user \"web\"",
            ),
            (
                &[
                    "panic: runtime error: index out of range [3]",
                    "goroutine 1 [running]:",
                    "main.main()",
                    "/app/main.go:12 +0x1d",
                    "exit status 2",
                ],
                "panic: runtime error: index out of range [3]",
            ),
            (
                &[
                    "Exception in thread \"main\" java.lang.IllegalStateException: no datasource",
                    "at a.B.c(B.java:1)",
                    "... 12 more",
                ],
                "Exception in thread \"main\" java.lang.IllegalStateException: no datasource",
            ),
            (
                &[
                    "Traceback (most recent call last):",
                    "File \"/app/x.py\", line 3, in <module>",
                    "KeyError: 'DATABASE_URL'",
                ],
                "KeyError: 'DATABASE_URL'",
            ),
            (
                &["Error: Cannot find module 'express'", "at Module._load (node:x)", ""],
                "Error: Cannot find module 'express'",
            ),
            (&["listening", "shutting down"], "shutting down"),
            (
                &["Error: required environment variable S3_BUCKET is not set"],
                "Error: required environment variable S3_BUCKET is not set",
            ),
        ] {
            let mut s = fixture::healthy();
            s.last_words.push(PodLog {
                namespace: "n".to_owned(),
                pod: "p".to_owned(),
                container: "main".to_owned(),
                lines: Observed::Known(lines.iter().map(|line| (*line).to_owned()).collect()),
            });
            assert_eq!(last_words(&s, &pod).as_deref(), Some(expected), "{lines:?}");
        }
        assert_eq!(last_words(&fixture::healthy(), &pod), None);
    }
}

//! Versions of the programs on this machine: each says its own, without any cluster.

use std::process::Stdio;
use std::time::Duration;

use gitlab_agent_core::snapshot::{Observed, Tools, Why, WhyKind};
use serde_json::Value;
use tokio::process::Command;

use crate::gitlab::hide_tokens;
use crate::program::Program;

/// Both take a fraction of a second; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both print some hundred bytes.
const LARGEST: usize = 1 << 20;

/// Asks both, at once.
pub(super) async fn versions() -> Tools {
    let (kubectl, flux) =
        tokio::join!(version("kubectl", "/clientVersion/gitVersion"), version("flux", "/flux"));
    Tools { kubectl, flux }
}

/// What `PROGRAM version --client -o json` has at `place`. Not knowing it says nothing about the cluster, so it does
/// not spoil the run's verdict.
async fn version(program: &str, place: &str) -> Observed<Option<String>> {
    let Ok(path) = which::which(program) else { return Observed::Known(None) };
    let asked = format!("{program} version --client -o json");
    let unknown = |message: String| Observed::Unknown(Why::new(WhyKind::NotAsked, asked.as_str(), message));
    let mut command = Command::new(path);
    command.args(["version", "--client", "-o", "json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    hide_tokens(command.as_std_mut());
    let output = async { Program::start(&mut command, false)?.output(LARGEST).await };
    match tokio::time::timeout(PATIENCE, output).await {
        Err(_) => unknown(format!("no answer in {} s", PATIENCE.as_secs())),
        Ok(Err(e)) => unknown(e.to_string()),
        Ok(Ok((output, status))) => match said(&output, place) {
            Some(version) => Observed::Known(Some(version)),
            None => unknown(format!("it ended with {status} and said no version")),
        },
    }
}

/// A version, which is short and plain; what else a program may print is not kept.
fn said(output: &[u8], place: &str) -> Option<String> {
    let json: Value = serde_json::from_slice(output).ok()?;
    let version = json.pointer(place)?.as_str()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    (version.len() < 64 && version.chars().all(plain)).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_where_the_programs_print_them() {
        let kubectl =
            br#"{"clientVersion": {"major": "1", "gitVersion": "v1.36.3"}, "kustomizeVersion": "v5"}"#;
        assert_eq!(said(kubectl, "/clientVersion/gitVersion").as_deref(), Some("v1.36.3"));
        assert_eq!(said(br#"{"flux": "v2.9.4"}"#, "/flux").as_deref(), Some("v2.9.4"));
        for other in [&b"flux: v2.9.4"[..], br#"{"flux": ""#, br#"{"flux": "a b"}"#, br#"{"flux": 2}"#, b""] {
            assert_eq!(said(other, "/flux"), None);
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_known_not_to_be() {
        let found = version("a-program-that-nobody-has", "/x").await;
        assert_eq!(found, Observed::Known(None));
    }
}

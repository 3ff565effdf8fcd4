//! GA103: kubectl is installed and within one minor version of the API server.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::{Facts, Why, WhyKind};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 103,
    slug: "kubectl-unfit",
    title: "kubectl is installed and within one minor version of the API server",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::Version, Need::Tools],
    page: include_str!("../../../../docs/checks/GA103.md"),
    judge,
};

/// How far apart Kubernetes supports kubectl and API server ("Version Skew Policy").
const SKEW: u64 = 1;

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    let tools = facts.snapshot.tools.as_ref().ok_or_else(not_recorded)?;
    let kubectl = tools.kubectl.get()?;
    let server = &facts.snapshot.server.get()?.git_version;
    judgement.examine();
    let program = ObjectRef::new("Program", "", "kubectl");
    let Some(kubectl) = kubectl else {
        let message = "is not installed here: the commands that findings print need it";
        let remedy = Remedy::say(format!(
            "install kubectl {server} (https://kubernetes.io/docs/tasks/tools/), or one minor version around it"
        ));
        judgement.find(Finding::new(program, message, remedy));
        return Ok(());
    };
    let (Some(ours), Some(theirs)) = (minor(kubectl), minor(server)) else {
        return Err(Why::new(
            WhyKind::Unreadable,
            "versions of kubectl and API server",
            format!("kubectl {kubectl} and API server {server}: not both are versions"),
        ));
    };
    if ours.0 != theirs.0 || ours.1.abs_diff(theirs.1) > SKEW {
        let message =
            format!("is {kubectl}, the API server {server}: Kubernetes supports one minor version of difference");
        let remedy = Remedy::say(format!(
            "install kubectl v{}.{} (https://kubernetes.io/docs/tasks/tools/)",
            theirs.0, theirs.1
        ));
        judgement.find(Finding::new(program, message, remedy));
    }
    Ok(())
}

/// What a recording of an older version cannot tell.
pub(super) fn not_recorded() -> Why {
    Why::new(WhyKind::NotAsked, "versions of kubectl and flux", "the recording does not hold them")
}

/// Major and minor of `v1.36.3`, `1.30+` or `v1.31.2-eks-1`.
fn minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.trim_start_matches('v').split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::snapshot::Snapshot;

    fn kubectl(version: Option<&'static str>) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            if let Some(tools) = &mut s.tools {
                tools.kubectl = Observed::Known(version.map(str::to_owned));
            }
        }
    }

    #[test]
    fn a_missing_or_distant_kubectl_is_found() {
        let missing = finding(&CHECK, kubectl(None));
        assert_eq!(missing.subject.to_string(), "Program kubectl");
        assert!(missing.message.starts_with("is not installed"), "{}", missing.message);
        for version in ["v1.34.9", "v1.38.0", "v2.36.0"] {
            let found = finding(&CHECK, kubectl(Some(version)));
            assert!(found.message.starts_with(&format!("is {version}, the API server v1.36.3")), "{}", found.message);
            assert!(found.remedy.text.contains("kubectl v1.36"), "{}", found.remedy.text);
        }
    }

    #[test]
    fn a_neighbour_passes_in_every_spelling() {
        for version in ["v1.35.0", "v1.36.0-rc.1", "v1.37.4", "1.36+"] {
            passes(&CHECK, kubectl(Some(version)));
        }
    }

    #[test]
    fn what_is_not_known_is_unknown() {
        assert_eq!(after(&CHECK, |s| s.tools = None).verdict(), Verdict::Unknown);
        assert_eq!(after(&CHECK, kubectl(Some("unknown"))).verdict(), Verdict::Unknown);
    }
}

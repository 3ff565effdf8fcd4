//! GA104: the Flux CLI, where it is installed, is v2 and not behind the cluster's Flux.

use semver::Version;

use super::ga103::not_recorded;
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::{Facts, Why, WhyKind};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 104,
    slug: "flux-cli-behind",
    title: "the Flux CLI, where it is installed, is v2 or newer and not behind the cluster's Flux",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::Deployments, Need::Tools],
    page: include_str!("../../../../docs/checks/GA104.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    let tools = facts.snapshot.tools.as_ref().ok_or_else(not_recorded)?;
    let minor = facts.flux_minor()?;
    let Some(cli) = tools.flux.get()? else {
        judgement.skip("the Flux CLI is not installed here, and little needs it");
        return Ok(());
    };
    let version = Version::parse(cli.trim_start_matches('v')).map_err(|_| {
        Why::new(WhyKind::Unreadable, "the version of the Flux CLI", format!("{cli} is no version"))
    })?;
    judgement.examine();
    let release = facts.flux_release().unwrap_or("of the newest release");
    let remedy = || {
        let text = format!("install the Flux CLI {release} or newer (https://fluxcd.io/flux/installation/)");
        Remedy::say(text)
    };
    let program = ObjectRef::new("Program", "", "flux");
    if version.major < 2 {
        let message = format!("is {cli}: the Flux CLI of version 1 knows nothing of Flux 2");
        judgement.find(Finding::new(program, message, remedy()));
    } else if minor.is_some_and(|minor| version.major == 2 && version.minor < minor) {
        let message = format!(
            "is {cli}, the cluster's Flux {release}: `flux bootstrap` and `flux install` of an older CLI would \
             take the cluster back, and it may ask for API versions that are gone"
        );
        judgement.find(Finding::new(program, message, remedy()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::snapshot::Snapshot;

    fn flux(version: Option<&'static str>) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            if let Some(tools) = &mut s.tools {
                tools.flux = Observed::Known(version.map(str::to_owned));
            }
        }
    }

    #[test]
    fn an_old_cli_is_found() {
        let one = finding(&CHECK, flux(Some("1.25.4")));
        assert_eq!(one.subject.to_string(), "Program flux");
        assert!(one.message.contains("version 1"), "{}", one.message);
        let behind = finding(&CHECK, flux(Some("v2.8.7")));
        assert!(behind.message.starts_with("is v2.8.7, the cluster's Flux v2.9.2"), "{}", behind.message);
    }

    #[test]
    fn an_equal_or_newer_one_passes_and_none_is_no_fault() {
        passes(&CHECK, flux(Some("2.9.0")));
        passes(&CHECK, flux(Some("v2.10.0")));
        assert_eq!(after(&CHECK, flux(None)).verdict(), Verdict::Skipped);
    }

    #[test]
    fn what_is_not_known_is_unknown() {
        assert_eq!(after(&CHECK, |s| s.tools = None).verdict(), Verdict::Unknown);
        assert_eq!(after(&CHECK, flux(Some("dev"))).verdict(), Verdict::Unknown);
    }
}

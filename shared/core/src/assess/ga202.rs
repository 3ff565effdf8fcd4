//! GA202: source-controller runs.

use super::{Check, Impact, Judgement, Severity, controller};
use crate::facts::{Facts, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 202,
    slug: "source-controller-down",
    title: "source-controller runs",
    severity: Severity::Error,
    impact: Impact::Delivery,
    needs: &[Need::Deployments],
    page: include_str!("../../../../docs/checks/GA202.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    controller::running(facts, judgement, "source-controller").map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::controller::testing::controller_cases;
    use super::CHECK;

    #[test]
    fn a_controller_that_does_not_run_is_found() {
        controller_cases(&CHECK, "source-controller", "nothing is fetched from Git, Helm or OCI repositories");
    }
}

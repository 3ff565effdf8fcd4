//! GA203: kustomize-controller runs.

use super::{Check, Impact, Judgement, Severity, controller};
use crate::facts::{Facts, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 203,
    slug: "kustomize-controller-down",
    title: "kustomize-controller runs",
    severity: Severity::Error,
    impact: Impact::Delivery,
    needs: &[Need::Deployments],
    page: include_str!("../../../../docs/checks/GA203.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    controller::running(facts, judgement, "kustomize-controller").map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::controller::testing::controller_cases;
    use super::CHECK;

    #[test]
    fn a_controller_that_does_not_run_is_found() {
        controller_cases(&CHECK, "kustomize-controller", "nothing from Git is applied");
    }
}

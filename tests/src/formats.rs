//! A snapshot in every format.

use gitlab_agent_core::assess::{CHECKS, assess};
use gitlab_agent_core::command::Given;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::render::{self, StatusFormat, Style, VerifyFormat};
use gitlab_agent_core::report::{Report, Thresholds};
use gitlab_agent_core::snapshot::Snapshot;
use gitlab_agent_core::status::Status;

/// What `verify` and `status` print of it, with the format's name.
pub fn outputs(s: &Snapshot) -> Vec<(String, String)> {
    let facts = Facts::derive(s);
    let report = || Report::build(&facts, assess(&facts, CHECKS.iter().copied()), &Thresholds::default());
    let style = Style { given: Given::context(s.origin.context.as_deref()), ..Style::default() };
    let status = [StatusFormat::Table, StatusFormat::Wide, StatusFormat::Json, StatusFormat::Yaml];
    let verify = VerifyFormat::ALL.map(|f| (format!("verify {f:?}"), render::verify(&report(), f, &style)));
    let status = status
        .map(|f| (format!("status {f:?}"), render::status(&Status::build(&facts, report()), f, &style)));
    verify.into_iter().chain(status).collect()
}

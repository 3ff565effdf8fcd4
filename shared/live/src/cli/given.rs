//! What a run was given, for the commands that it prints, and the shell that they are for.

use std::ffi::OsStr;

use gitlab_agent_core::command::{Given, Shell};

use super::Common;
use crate::access::Access;

/// The shell in use, by the environment (docs/security.md).
pub(super) fn shell() -> Shell {
    let shell = std::env::var("SHELL").ok();
    Shell::in_use(cfg!(windows), shell.as_deref(), std::env::var_os("PSModulePath").is_some())
}

/// Which cluster, as whom: kubectl, flux and our own commands have these flags alike.
fn of_cluster(access: &Access) -> Given {
    let text = |value: &Option<String>| value.clone();
    let flags = [
        ("--context", text(&access.context)),
        ("--cluster", text(&access.cluster)),
        ("--user", text(&access.user)),
        ("--server", text(&access.server)),
        ("--as", text(&access.impersonate)),
        ("--as-uid", text(&access.impersonate_uid)),
    ];
    let file = access.kubeconfig.as_ref().map(|path| path.as_os_str());
    let given = Given::default().cluster("--kubeconfig", file);
    let given = flags
        .iter()
        .fold(given, |given, (flag, value)| given.cluster(flag, value.as_deref().map(OsStr::new)));
    let groups = access.impersonate_groups.iter();
    groups.fold(given, |given, group| given.cluster("--as-group", Some(OsStr::new(group))))
}

impl Common {
    /// What this run was given.
    pub(super) fn given(&self) -> Given {
        let path =
            |file: &Option<std::path::PathBuf>| file.as_ref().map(|file| file.clone().into_os_string());
        let text = |value: &Option<String>| value.as_ref().map(std::ffi::OsString::from);
        let flux = (self.flux_namespace != "flux-system").then(|| self.flux_namespace.clone());
        let (gitlab, agents) = (&self.gitlab.args, &self.gitlab.gitlab_agent);
        let flags = [
            ("--from", path(&self.from)),
            ("--namespace", text(&self.namespace)),
            ("--flux-namespace", text(&flux)),
            ("--gitlab-host", text(&gitlab.gitlab_host)),
            ("--gitlab-token-file", path(&gitlab.gitlab_token_file)),
            ("--gitlab-ca-file", path(&gitlab.gitlab_ca_file)),
        ];
        let agents = agents.iter().map(|agent| ("--gitlab-agent", Some(agent.to_string().into())));
        let given = flags
            .into_iter()
            .chain(agents)
            .fold(of_cluster(&self.access), |given, (flag, value)| given.own(flag, value.as_deref()));
        if gitlab.no_gitlab { given.switch("--no-gitlab") } else { given }
    }
}

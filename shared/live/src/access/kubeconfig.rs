//! kubeconfig as kubectl reads it: several files, missing ones skipped, flags over files, in-cluster as a last resort.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use gitlab_agent_core::text::quote;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::exec;

/// Which cluster to talk to, as whom, and how long to wait. All fields have kubectl's meaning.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Access {
    /// Path to the kubeconfig file; otherwise $KUBECONFIG, otherwise ~/.kube/config
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig context to use
    #[arg(long, help_heading = "Cluster")]
    pub context: Option<String>,
    /// The kubeconfig cluster to use
    #[arg(long, help_heading = "Cluster")]
    pub cluster: Option<String>,
    /// The kubeconfig user to use
    #[arg(long, help_heading = "Cluster")]
    pub user: Option<String>,
    /// URL of the API server
    #[arg(short, long, value_name = "URL", help_heading = "Cluster")]
    pub server: Option<String>,
    /// User to impersonate
    #[arg(long = "as", value_name = "USER", help_heading = "Cluster")]
    pub impersonate: Option<String>,
    /// Group to impersonate; repeat it for several
    #[arg(long = "as-group", value_name = "GROUP", help_heading = "Cluster")]
    pub impersonate_groups: Vec<String>,
    /// UID to impersonate
    #[arg(long = "as-uid", value_name = "UID", help_heading = "Cluster")]
    pub impersonate_uid: Option<String>,
    /// How long to wait for one answer of the API server (1s, 2m); 0 waits until the run's own deadline
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration, help_heading = "Cluster")]
    pub request_timeout: Duration,
    /// Print each request to standard error; repeat it for more
    #[arg(short, long = "verbose", action = clap::ArgAction::Count, help_heading = "Cluster")]
    pub verbose: u8,
}

/// Reads a length of time as kubectl writes it: `0`, `20`, `90s`, `2m`, `1h`.
///
/// # Errors
/// Anything else.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is not a length of time; write 30s, 2m or 1h");
    let (digits, factor) = match text.char_indices().next_back() {
        Some((i, 's')) => (&text[..i], 1),
        Some((i, 'm')) => (&text[..i], 60),
        Some((i, 'h')) => (&text[..i], 3600),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(bad)
}

/// A client's configuration with what people call it.
pub(super) struct Resolved {
    pub(super) config: Config,
    pub(super) context: Option<String>,
}

impl Access {
    /// Finds the configuration.
    pub(super) async fn resolve(&self) -> Result<Resolved> {
        let files = self.files();
        let Some(kubeconfig) = self.read(&files)? else { return self.in_cluster(&files) };
        let context =
            self.context.clone().or_else(|| kubeconfig.current_context.clone()).filter(|c| !c.is_empty());
        self.check_names(&kubeconfig, context.as_deref())?;
        let options = KubeConfigOptions {
            context: context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let shown = context.clone().unwrap_or_default();
        let mut config =
            config.with_context(|| format!("cannot use kubeconfig context {}", quote(&shown)))?;
        if let Some(plugin) = config.auth_info.exec.take() {
            exec::sign_in(plugin, &mut config).await?;
        }
        self.apply(&mut config)?;
        Ok(Resolved { config, context })
    }

    /// The kubeconfig, merged; `None` where it is missing or cannot be read. For completion, which is silent.
    pub(crate) fn merged(&self) -> Option<Kubeconfig> {
        self.read(&self.files()).ok().flatten()
    }

    /// The files in kubectl's order, and whether the person named them.
    fn files(&self) -> Vec<PathBuf> {
        if let Some(file) = &self.kubeconfig {
            return vec![file.clone()];
        }
        match env::var_os("KUBECONFIG").filter(|v| !v.is_empty()) {
            Some(list) => env::split_paths(&list).filter(|p| !p.as_os_str().is_empty()).collect(),
            None => env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect(),
        }
    }

    /// Reads and merges the files. A missing one is skipped unless `--kubeconfig` names it.
    fn read(&self, files: &[PathBuf]) -> Result<Option<Kubeconfig>> {
        let mut merged: Option<Kubeconfig> = None;
        for file in files {
            if !file.exists() && self.kubeconfig.is_none() {
                continue;
            }
            let next = read_one(file)?;
            merged = Some(match merged {
                None => next,
                Some(first) => first
                    .merge(next)
                    .with_context(|| format!("cannot merge kubeconfig {}", file.display()))?,
            });
        }
        Ok(merged)
    }

    fn in_cluster(&self, files: &[PathBuf]) -> Result<Resolved> {
        if env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
            let mut config = Config::incluster().context("cannot use the pod's own service account")?;
            self.apply(&mut config)?;
            return Ok(Resolved { config, context: None });
        }
        let looked: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
        bail!(
            "there is no kubeconfig (looked at {}); give --kubeconfig FILE, set KUBECONFIG, or read a recording with \
             --from FILE",
            looked.join(", ")
        )
    }

    /// Names that do not exist get an error that lists those that do.
    fn check_names(&self, kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<()> {
        let contexts = kubeconfig.contexts.iter().map(|c| c.name.as_str());
        match context {
            None if self.server.is_none() && self.cluster.is_none() => {
                bail!("no context is set; give --context NAME (known: {})", known(contexts))
            }
            Some(name) => exists("context", name, contexts)?,
            None => {}
        }
        if let Some(name) = &self.cluster {
            exists("cluster", name, kubeconfig.clusters.iter().map(|c| c.name.as_str()))?;
        }
        if let Some(name) = &self.user {
            exists("user", name, kubeconfig.auth_infos.iter().map(|u| u.name.as_str()))?;
        }
        Ok(())
    }

    /// Puts the flags over the configuration, and the habits of a command line over kube's, which suit controllers.
    fn apply(&self, config: &mut Config) -> Result<()> {
        if let Some(server) = &self.server {
            config.cluster_url =
                server.parse().with_context(|| format!("--server {} is not a URL", quote(server)))?;
        }
        if self.impersonate.is_none()
            && (self.impersonate_uid.is_some() || !self.impersonate_groups.is_empty())
        {
            bail!("--as-group and --as-uid need --as USER");
        }
        if let Some(user) = &self.impersonate {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_uid.clone_from(&self.impersonate_uid);
            config.auth_info.impersonate_groups = Some(self.impersonate_groups.clone());
        }
        // kube repeats any request up to 15 times on 429 and 5xx, and never gives up on a silent server.
        config.default_retry = false;
        let limit = (!self.request_timeout.is_zero()).then_some(self.request_timeout);
        config.connect_timeout = limit.or(config.connect_timeout);
        config.read_timeout = limit;
        config.write_timeout = limit.or(config.write_timeout);
        Ok(())
    }
}

fn read_one(file: &Path) -> Result<Kubeconfig> {
    let read = match Kubeconfig::read_from(file) {
        // It quotes the lines around the place, and in a kubeconfig they hold tokens and keys.
        Err(KubeconfigError::Parse(error)) => Err(anyhow!("it is no kubeconfig{}", place(&error))),
        other => other.map_err(Into::into),
    };
    read.with_context(|| format!("cannot read kubeconfig {}", file.display()))
}

fn place(error: &serde_saphyr::Error) -> String {
    let at = error.location().map(|at| format!(" (line {} column {})", at.line(), at.column()));
    at.unwrap_or_default()
}

fn exists<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
    if names.clone().any(|n| n == name) {
        return Ok(());
    }
    bail!("kubeconfig has no {what} {}; known: {}", quote(name), known(names))
}

fn known<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    match names.len() {
        0 => "none".to_owned(),
        n if n > 12 => format!("{}, … ({n} in all)", names[..12].join(", ")),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_kubeconfig_is_not_quoted() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config");
        for text in [
            "users:\n- name: x\n  user: {token: [s3cr3t\n",
            "users:\n- name: x\n  user: {token: {a: s3cr3t}}\n",
        ] {
            std::fs::write(&file, text).expect("written");
            let error = format!("{:#}", read_one(&file).expect_err(text));
            assert!(error.contains("(line 3 column") && !error.contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn lengths_of_time_read_as_kubectl_writes_them() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("20"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "soon", "-1s", "9999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}

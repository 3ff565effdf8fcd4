//! Exec credential plugins (`aws`, `gke-gcloud-auth-plugin`, `kubelogin`): run once, with a deadline and a limit on what
//! they print.
//!
//! kube runs a plugin three times for each client, without a deadline, and its errors quote the plugin's environment
//! and output. Here its environment and output are never quoted.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Config;
use kube::config::{ExecAuthCluster, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use super::credential;
use crate::gitlab::hide_tokens;
use crate::known;
use crate::program::Program;

/// A plugin that asks nobody should answer in this time; the slowest seen in the field took 20 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// A plugin that may open a browser gets this long.
const PATIENCE_INTERACTIVE: Duration = Duration::from_secs(120);
/// A credential has some kilobytes: a token, or a certificate and its key.
const LARGEST: usize = 1 << 20;

/// What tells a plugin that it is one.
const EXEC_INFO: &str = "KUBERNETES_EXEC_INFO";

#[derive(Deserialize)]
struct ExecCredential {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// The kubeconfig user's credential could not be had: the run ends as one that could not sign in.
#[derive(Debug)]
pub struct CannotSignIn;

impl std::fmt::Display for CannotSignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot sign in to the cluster")
    }
}

impl std::error::Error for CannotSignIn {}

/// Runs the plugin and puts the credential into the configuration.
pub(super) async fn sign_in(plugin: ExecConfig, config: &mut Config) -> Result<()> {
    obtain(plugin, config).await.context(CannotSignIn)
}

async fn obtain(plugin: ExecConfig, config: &mut Config) -> Result<()> {
    let command = plugin.command.clone().context("the kubeconfig user's exec plugin names no command")?;
    if std::env::var_os(EXEC_INFO).is_some() {
        bail!(
            "a credential plugin started this program ({EXEC_INFO} is set), which starts {command} no second time"
        );
    }
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
    if matches!(plugin.interactive_mode, Some(ExecInteractiveMode::Always)) && !terminal {
        bail!("the credential plugin {command} needs a terminal (interactiveMode Always), and there is none");
    }
    let interactive = terminal && !matches!(plugin.interactive_mode, Some(ExecInteractiveMode::Never));
    let patience = if interactive { PATIENCE_INTERACTIVE } else { PATIENCE };
    let output = run(&plugin, &command, interactive, config, patience).await?;
    let credential: ExecCredential = serde_json::from_slice(&output).ok().with_context(|| {
        format!(
            "the credential plugin {command} did not answer with an ExecCredential (its output is not shown)"
        )
    })?;
    let Some(status) = credential.status else {
        bail!("the credential plugin {command} answered without a credential");
    };
    let token = status.token.unwrap_or_default();
    config.auth_info.token =
        credential::fit(&token, &format!("the token of the credential plugin {command}"))?;
    if let (Some(certificate), Some(key)) = (status.client_certificate_data, status.client_key_data) {
        use base64::Engine as _;
        known::run().own("key", key.as_bytes());
        let encode = |pem: String| base64::engine::general_purpose::STANDARD.encode(pem);
        config.auth_info.client_certificate_data = Some(encode(certificate));
        config.auth_info.client_key_data = Some(encode(key).into());
    }
    Ok(())
}

async fn run(
    plugin: &ExecConfig,
    command: &str,
    interactive: bool,
    config: &Config,
    patience: Duration,
) -> Result<Vec<u8>> {
    let hint = plugin.install_hint.as_deref().map(|h| format!("; {h}")).unwrap_or_default();
    let running = Program::start(&mut prepare(plugin, command, interactive, config), interactive);
    let running = running.with_context(|| format!("cannot start the credential plugin {command}{hint}"))?;
    let (output, status) = match timeout(patience, running.output(LARGEST)).await {
        Ok(output) => output.with_context(|| format!("cannot read from the credential plugin {command}"))?,
        Err(_) => bail!("the credential plugin {command} did not answer in {} s", patience.as_secs()),
    };
    if output.len() > LARGEST {
        bail!(
            "the credential plugin {command} printed more than {} MiB, which no credential has",
            LARGEST >> 20
        );
    }
    if !status.success() {
        bail!(
            "the credential plugin {command} failed ({status}); run it by hand to see why (its output is not shown here, \
             it may hold secrets)"
        );
    }
    Ok(output)
}

/// The plugin with what client-go gives it, and without the GitLab tokens of the environment.
fn prepare(plugin: &ExecConfig, command: &str, interactive: bool, config: &Config) -> Command {
    let version = plugin.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1");
    let mut spec = json!({ "interactive": interactive });
    if let Some(cluster) = plugin.cluster.as_ref().filter(|_| plugin.provide_cluster_info) {
        spec["cluster"] = json!(ExecAuthCluster {
            // What is in force: a proxy may also be one of the environment.
            proxy_url: config.proxy_url.as_ref().map(ToString::to_string),
            ..cluster.clone()
        });
        if config.disable_compression {
            spec["cluster"]["disable-compression"] = json!(true);
        }
    }
    let info = json!({"apiVersion": version, "kind": "ExecCredential", "spec": spec});
    let mut child = Command::new(command);
    hide_tokens(child.as_std_mut());
    child.args(plugin.args.iter().flatten()).env(EXEC_INFO, info.to_string());
    for entry in plugin.env.iter().flatten() {
        if let (Some(name), Some(value)) = (entry.get("name"), entry.get("value")) {
            child.env(name, value);
            tell(name, value);
        }
    }
    child.stdout(Stdio::piped());
    child.stdin(if interactive { Stdio::inherit() } else { Stdio::null() });
    // What it says there is never shown, so nothing is kept of it.
    child.stderr(if interactive { Stdio::inherit() } else { Stdio::null() });
    child
}

/// What the kubeconfig gives the plugin may be a credential, and the plugin may repeat it.
fn tell(name: &str, value: &str) {
    const SECRET: [&str; 5] = ["TOKEN", "SECRET", "PASS", "KEY", "CREDENTIAL"];
    let name = name.to_ascii_uppercase();
    // The path of a file is none.
    if SECRET.iter().any(|word| name.contains(word)) && !value.starts_with(['/', '.', '~']) {
        known::run().own("token", value.as_bytes());
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::path::Path;

    use kube::config::Kubeconfig;

    use super::*;

    fn shell(script: &str) -> (ExecConfig, Config) {
        let plugin = json!({ "command": "sh", "args": ["-c", script], "interactiveMode": "Never" });
        let plugin = serde_json::from_value(plugin).expect("a plugin");
        (plugin, Config::new("https://127.0.0.1".parse().expect("a URL")))
    }

    async fn said(script: &str) -> Result<Option<String>> {
        let (plugin, mut config) = shell(script);
        sign_in(plugin, &mut config).await?;
        Ok(config.auth_info.token.map(|token| secrecy::ExposeSecret::expose_secret(&token).to_owned()))
    }

    fn lives(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    async fn until(what: impl Fn() -> bool) {
        while !what() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_token_is_taken_without_the_white_space_around_it() {
        for written in ["abc", "abc\\n", "abc\\r\\n", " abc "] {
            let answer =
                format!(r#"printf '%s' '{{"status": {{"token": "{written}"}}}}'"#).replace("\\\\", "\\");
            assert_eq!(said(&answer).await.expect("a token").as_deref(), Some("abc"), "{answer}");
        }
        let split =
            said(r#"printf '%s' '{"status": {"token": "upper\nlower"}}'"#).await.expect_err("no header");
        let split = format!("{split:#}");
        assert!(
            split.contains("HTTP header") && !split.contains("upper") && !split.contains("lower"),
            "{split}"
        );
    }

    #[tokio::test]
    async fn a_plugin_that_prints_without_end_is_stopped_and_all_that_it_started() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pid");
        for script in
            ["yes MARKER", "yes MARKER >&2 & echo $! >PID; yes MARKER", "yes MARKER & echo $! >PID; wait"]
        {
            let said = said(&script.replace("PID", &file.display().to_string())).await.expect_err(script);
            let said = format!("{said:#}");
            assert!(said.contains("printed more than 1 MiB") && !said.contains("MARKER"), "{said}");
        }
        let pid = std::fs::read_to_string(&file).expect("a process");
        until(|| !lives(&pid)).await;
    }

    #[tokio::test]
    async fn what_a_plugin_started_ends_with_the_run() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pid");
        for ending in [r#"printf '%s' '{"status": {"token": "abc"}}'"#, "exit 1", "printf nonsense"] {
            let behind = format!("sleep 1000 >/dev/null & echo $! >{}; {ending}", file.display());
            let said = said(&behind).await;
            assert_eq!(said.is_ok(), ending.contains("token"), "{ending}: {said:?}");
            let pid = std::fs::read_to_string(&file).expect("a process");
            until(|| !lives(&pid)).await;
        }
        let (plugin, config) =
            shell(&format!("sleep 1000 & echo $! >{0}.new && mv {0}.new {0}; wait", file.display()));
        let started = |file: &Path| file.exists();
        tokio::select! {
            ended = run(&plugin, "sh", false, &config, PATIENCE) => panic!("{ended:?}"),
            () = until(|| started(&file)) => {}
        }
        let pid = std::fs::read_to_string(&file).expect("a process");
        until(|| !lives(&pid)).await;
        let late = run(&plugin, "sh", false, &config, Duration::ZERO).await.expect_err("late");
        assert!(late.to_string().contains("did not answer in 0 s"), "{late}");
    }

    /// What kubectl gives it: docs "Client Authentication (v1)", `Cluster`.
    #[test]
    fn a_plugin_that_asks_for_the_cluster_gets_all_of_it() {
        let info = |provide: bool| {
            let kubeconfig = json!({
                "current-context": "a",
                "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {
                    "server": "https://127.0.0.1:6443",
                    "tls-server-name": "kubernetes",
                    "certificate-authority-data": "eAo=",
                    "proxy-url": "http://127.0.0.1:3128",
                    "extensions": [
                        {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}},
                        {"name": "other", "extension": {"audience": "y"}},
                    ],
                }}],
                "users": [{"name": "u", "user": {"exec": {"command": "true", "provideClusterInfo": provide}}}],
            });
            let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).expect("a kubeconfig");
            let user = kubeconfig.auth_infos[0].auth_info.clone().expect("a user");
            let cluster = kubeconfig.clusters[0].cluster.clone().expect("a cluster");
            let mut plugin = user.exec.expect("a plugin");
            plugin.cluster = Some((&cluster).try_into().expect("a cluster"));
            let mut config = Config::new("https://127.0.0.1:6443".parse().expect("a URL"));
            config.proxy_url = Some("http://127.0.0.1:3128".parse().expect("a URL"));
            let child = prepare(&plugin, "true", false, &config);
            let mut given = child.as_std().get_envs();
            let info = given.find(|(name, _)| *name == EXEC_INFO).and_then(|(_, value)| value);
            serde_json::from_str::<serde_json::Value>(&info.expect("given").to_string_lossy()).expect("JSON")
        };
        assert_eq!(info(false)["spec"], json!({"interactive": false}));
        assert_eq!(
            info(true)["spec"]["cluster"],
            json!({
                "server": "https://127.0.0.1:6443",
                "tls-server-name": "kubernetes",
                "certificate-authority-data": "eAo=",
                "proxy-url": "http://127.0.0.1:3128/",
                "config": {"audience": "x"},
            })
        );
    }

    #[test]
    fn a_plugin_gets_what_its_configuration_says() {
        let (mut plugin, config) = shell("true");
        plugin.env = Some(vec![
            [("name", "AWS_PROFILE"), ("value", "x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ]);
        let child = prepare(&plugin, "sh", false, &config);
        let given: Vec<_> = child.as_std().get_envs().collect();
        assert!(given.contains(&("AWS_PROFILE".as_ref(), Some("x".as_ref()))));
    }
}

//! kubeconfig as kubectl reads it: several files, missing ones skipped, flags over files, in-cluster as a last resort.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use gitlab_agent_core::text::quote;
use kube::Config;
use kube::config::{ExecConfig, KubeConfigOptions, Kubeconfig};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::token_file::TokenFile;
use super::{credential, exec};
use crate::file;

/// A kubeconfig of 100,000 contexts has about 40 MB.
const LARGEST: usize = 256 << 20;

/// A bundle of all public authorities has 200 KiB.
const LARGEST_CERTIFICATE: usize = 1 << 20;

const SERVICE_ACCOUNT_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
const SERVICE_ACCOUNT_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

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
    /// Where the token is in a file.
    pub(super) token: Option<TokenFile>,
}

impl Access {
    /// Finds the configuration.
    pub(super) async fn resolve(&self) -> Result<Resolved> {
        let files = self.files();
        let Some(mut kubeconfig) = self.read(&files)? else { return self.in_cluster(&files) };
        let context =
            self.context.clone().or_else(|| kubeconfig.current_context.clone()).filter(|c| !c.is_empty());
        self.check_names(&kubeconfig, context.as_deref())?;
        self.read_certificates(&mut kubeconfig, context.as_deref())?;
        let options = KubeConfigOptions {
            context: context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let shown = context.clone().unwrap_or_default();
        let mut config =
            config.with_context(|| format!("cannot use kubeconfig context {}", quote(&shown)))?;
        let token = credential::check(&mut config.auth_info)?;
        self.apply(&mut config)?;
        if let Some(plugin) = config.auth_info.exec.take() {
            exec::sign_in(self.with_server(plugin), &mut config).await?;
        }
        credential::tell(&config);
        Ok(Resolved { config, context, token })
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
        let there = files.iter().filter(|file| file.exists() || self.kubeconfig.is_some());
        let parts = there.map(|file| read_one(file)).collect::<Result<Vec<_>>>()?;
        in_halves(parts, &mut Kubeconfig::merge).context("the kubeconfig files cannot be merged")
    }

    fn in_cluster(&self, files: &[PathBuf]) -> Result<Resolved> {
        if env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
            // The library reads them without a bound.
            for file in [SERVICE_ACCOUNT_CA, SERVICE_ACCOUNT_NAMESPACE] {
                file::read(Path::new(file), LARGEST_CERTIFICATE)
                    .with_context(|| format!("cannot read {file} of the pod's own service account"))?;
            }
            let mut config = Config::incluster().context("cannot use the pod's own service account")?;
            let token = credential::check(&mut config.auth_info)?;
            self.apply(&mut config)?;
            credential::tell(&config);
            return Ok(Resolved { config, context: None, token });
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

    /// The plugin, with the API server that it is to sign in to.
    fn with_server(&self, mut plugin: ExecConfig) -> ExecConfig {
        if let (Some(cluster), Some(server)) = (&mut plugin.cluster, &self.server) {
            cluster.server = Some(server.clone());
        }
        plugin
    }

    /// Puts the certificates and the key of the files that it names into the kubeconfig. The library would read a file
    /// without end.
    fn read_certificates(&self, kubeconfig: &mut Kubeconfig, context: Option<&str>) -> Result<()> {
        let named = kubeconfig.contexts.iter().find(|named| Some(named.name.as_str()) == context);
        let chosen = named.and_then(|named| named.context.as_ref());
        let cluster = self.cluster.clone().or_else(|| chosen.map(|chosen| chosen.cluster.clone()));
        let user = self.user.clone().or_else(|| chosen.and_then(|chosen| chosen.user.clone()));
        let clusters = kubeconfig.clusters.iter_mut().filter(|named| Some(&named.name) == cluster.as_ref());
        for cluster in clusters.filter_map(|named| named.cluster.as_mut()) {
            let data = cluster.certificate_authority_data.take();
            let file = cluster.certificate_authority.take();
            cluster.certificate_authority_data = inline(data, file, "certificate-authority")?;
        }
        let users = kubeconfig.auth_infos.iter_mut().filter(|named| Some(&named.name) == user.as_ref());
        for user in users.filter_map(|named| named.auth_info.as_mut()) {
            let data = user.client_certificate_data.take();
            let file = user.client_certificate.take();
            user.client_certificate_data = inline(data, file, "client-certificate")?;
            let file = user.client_key.take();
            user.client_key_data = match user.client_key_data.take() {
                Some(key) => Some(key),
                None => inline(None, file, "client-key")?.map(SecretString::from),
            };
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

/// Reads one file as [`Kubeconfig::read_from`] does, by way of plain JSON values: kube compiles the YAML reader once
/// for each of its types, half a megabyte in every program. No message quotes the file, which holds credentials.
fn read_one(file: &Path) -> Result<Kubeconfig> {
    let read = || -> Result<Kubeconfig> {
        let mut config = parse(&decode(file::read(file, LARGEST)?)?)?;
        if let Some(folder) = file.parent() {
            paths_from(folder, &mut config);
        }
        Ok(config)
    };
    read().with_context(|| format!("cannot read kubeconfig {}", file.display()))
}

/// UTF-8, or UTF-16 with a byte order mark, as PowerShell writes it.
fn decode(bytes: Vec<u8>) -> Result<String> {
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units = bytes[2..].as_chunks().0.iter().copied().map(unit);
        char::decode_utf16(units).collect::<Result<String, _>>().context("it is not UTF-16")
    };
    match bytes.as_slice() {
        [0xFF, 0xFE, ..] => wide(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8(bytes).ok().context("it is not UTF-8"),
    }
}

/// All documents of the text; what comes first wins.
fn parse(text: &str) -> Result<Kubeconfig> {
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(
        text.trim_start_matches('\u{feff}'),
        bounds(),
    )
    .map_err(|error| {
        let place = error.location().map(|at| format!(" (line {} column {})", at.line(), at.column()));
        anyhow!("it is not YAML{}", place.unwrap_or_default())
    })?;
    let parts = documents.into_iter().map(|document| {
        whole(&document)
            .map_err(|wanted| anyhow!("it is no kubeconfig{wanted}{}", entry(&document).unwrap_or_default()))
    });
    let merged = in_halves(parts.collect::<Result<Vec<_>>>()?, &mut Kubeconfig::merge);
    Ok(merged.context("its documents cannot be merged")?.unwrap_or_default())
}

/// Merges the first half with the second, each merged in the same way: one after the other, each would be looked through
/// again for each that follows.
fn in_halves<T, E>(mut parts: Vec<T>, merge: &mut dyn FnMut(T, T) -> Result<T, E>) -> Result<Option<T>, E> {
    if parts.len() < 2 {
        return Ok(parts.pop());
    }
    let second = in_halves(parts.split_off(parts.len() / 2), merge)?;
    let first = in_halves(parts, merge)?;
    match (first, second) {
        (Some(first), Some(second)) => merge(first, second).map(Some),
        (first, second) => Ok(first.or(second)),
    }
}

/// The reader's own bounds end at some 10,000 contexts, and some people have more. What an alias may repeat, and how deep
/// it may go, stays bounded as it is.
fn bounds() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 40_000_000,
            max_nodes: 20_000_000,
            max_total_scalar_bytes: LARGEST,
        },
    }
}

/// A document as a kubeconfig; or what it lacks. The library's words are `invalid type: string "…", expected struct
/// AuthInfo`: the value itself stays out.
fn whole(document: &Value) -> Result<Kubeconfig, String> {
    Kubeconfig::deserialize(document).map_err(|error| {
        let words = error.to_string();
        let wanted = words.rsplit_once(", expected ").map(|(_, wanted)| format!(": {wanted} is missing"));
        wanted.unwrap_or_default()
    })
}

/// Which entry is at fault.
fn entry(document: &Value) -> Option<String> {
    ["clusters", "contexts", "users"].into_iter().find_map(|section| {
        let entries = document[section].as_array()?;
        let at = entries.iter().position(|entry| whole(&json!({ section: [entry] })).is_err())?;
        Some(format!(" in entry {} of {section}", at + 1))
    })
}

/// Makes the paths in it start from the file's folder, and the command of a credential plugin where it is a path.
fn paths_from(folder: &Path, config: &mut Kubeconfig) {
    let absolute = |path: &mut Option<String>| {
        if let Some(path) = path {
            *path = folder.join(&*path).to_string_lossy().into_owned();
        }
    };
    for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        absolute(&mut cluster.certificate_authority);
    }
    for user in config.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        absolute(&mut user.client_certificate);
        absolute(&mut user.client_key);
        absolute(&mut user.token_file);
        if let Some(plugin) = &mut user.exec
            && plugin.command.as_ref().is_some_and(|command| command.contains(std::path::MAIN_SEPARATOR))
        {
            absolute(&mut plugin.command);
        }
    }
}

/// What stands in the kubeconfig itself, else what the file holds, in base64.
fn inline(data: Option<String>, file: Option<String>, what: &str) -> Result<Option<String>> {
    let (None, Some(file)) = (&data, file) else { return Ok(data) };
    let bytes = file::read(Path::new(&file), LARGEST_CERTIFICATE)
        .with_context(|| format!("cannot read the kubeconfig's {what} {file}"))?;
    Ok(Some(base64::engine::general_purpose::STANDARD.encode(Zeroizing::new(bytes))))
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
    fn lengths_of_time_read_as_kubectl_writes_them() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("20"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "soon", "-1s", "9999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    const TEXT: &str = "current-context: a\nclusters: [{name: a, cluster: {server: 'https://a', certificate-authority: ca.pem}}]\n\
        users:\n- name: a\n  user: {client-certificate: /abs/c.pem, client-key: k.pem, tokenFile: t, exec: {command: ./plugin}}\n\
        - name: b\n  user: {exec: {command: aws}}\n";

    fn read(bytes: &[u8]) -> Result<Kubeconfig> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("config");
        std::fs::write(&file, bytes)?;
        read_one(&file)
    }

    /// kube's own reader is the standard.
    #[test]
    fn a_kubeconfig_is_read_as_kube_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        let several = format!("{TEXT}---\ncurrent-context: b\nclusters: [{{name: a}}, {{name: b}}]\n");
        for text in ["", "{}", "# nothing\n", TEXT, &several] {
            std::fs::write(&file, text).unwrap();
            let (ours, theirs) = (read_one(&file).unwrap(), Kubeconfig::read_from(&file).unwrap());
            assert_eq!(
                serde_json::to_value(&ours).unwrap(),
                serde_json::to_value(&theirs).unwrap(),
                "{text}"
            );
        }
        let user = |name: &str, config: &Kubeconfig| {
            config.auth_infos.iter().find(|u| u.name == name).unwrap().auth_info.clone().unwrap()
        };
        std::fs::write(&file, TEXT).unwrap();
        let config = read_one(&file).unwrap();
        assert_eq!(user("a", &config).client_certificate.unwrap(), "/abs/c.pem");
        assert_eq!(user("a", &config).token_file.unwrap(), dir.path().join("t").to_str().unwrap());
        assert_eq!(user("b", &config).exec.unwrap().command.unwrap(), "aws");
    }

    /// Each part is looked through as often as it is halved: 17 times of 100,000.
    #[test]
    fn many_documents_and_files_are_merged_in_few_steps() {
        let steps = |number: usize| {
            let mut steps = 0;
            let parts = (0..number).map(|n| vec![n]).collect();
            let merged = in_halves(parts, &mut |mut first: Vec<usize>, second: Vec<usize>| {
                steps += first.len() + second.len();
                first.extend(second);
                Ok::<_, ()>(first)
            });
            assert!(merged.unwrap().unwrap_or_default().into_iter().eq(0..number), "in their order");
            steps
        };
        assert_eq!((steps(0), steps(1), steps(3)), (0, 0, 5));
        assert!(steps(100_000) <= 17 * 100_000, "{}", steps(100_000));
        let documents: String = (0..300)
            .map(|n| format!("---\ncurrent-context: c{n}\nusers: [{{name: u{}}}]\n", n / 2))
            .collect();
        let config = read(documents.as_bytes()).unwrap();
        assert_eq!((config.current_context.as_deref(), config.auth_infos.len()), (Some("c0"), 150));
    }

    #[test]
    fn a_kubeconfig_may_be_utf_16() {
        let wide = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| {
            let units = TEXT.encode_utf16().flat_map(bytes);
            mark.into_iter().chain(units).collect::<Vec<u8>>()
        };
        for bytes in [
            wide([0xFF, 0xFE], u16::to_le_bytes),
            wide([0xFE, 0xFF], u16::to_be_bytes),
            [b"\xEF\xBB\xBF", TEXT.as_bytes()].concat(),
        ] {
            assert_eq!(read(&bytes).unwrap().current_context.as_deref(), Some("a"));
        }
    }

    #[test]
    fn no_message_quotes_a_kubeconfig() {
        for (text, words) in [
            ("users: [{name: a, user: {token: 4711}}]\n", "a string is missing"),
            ("users:\n- name: a\n  user: {token: 4711\n", "it is not YAML (line"),
            ("users: 4711\n", "it is no kubeconfig"),
            ("users: [{name: a, user: \"4711\"}]\n", "it is no kubeconfig"),
            ("users:\n- name: a\n- name: b\n  user: {token: {a: 4711}}\n", "in entry 2 of users"),
            ("users:\n- name: a\n  user: {token: [4711\n", "it is not YAML (line"),
        ] {
            let said = format!("{:#}", read(text.as_bytes()).unwrap_err());
            assert!(said.contains(words) && !said.contains("4711"), "{said}");
        }
    }
}

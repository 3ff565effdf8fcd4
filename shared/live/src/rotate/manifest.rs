//! Handing a new value over to a person, as the manifest of the Secret: encrypted by `sops` with the recipients of the
//! repository's `.sops.yaml`, or, only where that was asked for, in plain text.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use gitlab_agent_core::snapshot::mask::{Masker, Values};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::json;

use super::secret::{Content, Place, Read};
use crate::cli::streams;
use crate::file::{self, Readers};
use crate::gitlab::hide_tokens;

/// Where SOPS's rules for a repository are.
const RULES: &str = ".sops.yaml";

/// Rules for a repository have some kilobytes.
const LARGEST_RULES: usize = 1 << 20;

/// A Secret has one MiB at most; encrypted and in base64 it has half as much again.
const LARGEST_OUTPUT: usize = 4 << 20;

/// Rules of SOPS that say which values are encrypted. Without one all are, also the Secret's name.
const WHICH: [&str; 5] = [
    "encrypted_regex",
    "unencrypted_regex",
    "encrypted_suffix",
    "unencrypted_suffix",
    "encrypted_comment_regex",
];

/// Where the manifest goes, and how.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file; none for standard output.
    to: Option<PathBuf>,
    sealed: Sealed,
}

/// Who can read it.
#[derive(Clone, Debug)]
pub enum Sealed {
    /// Who holds a key of the repository's recipients.
    Sops {
        /// The program.
        program: PathBuf,
        /// The repository's rules.
        rules: PathBuf,
    },
    /// Everybody who reads the file.
    Plain,
}

impl Manifest {
    /// Finds out how it is to be encrypted. `-` is standard output.
    ///
    /// # Errors
    /// It would be readable, and that was not asked for; or it cannot be written there.
    pub fn to(file: &Path, plain: bool) -> Result<Self> {
        let to = (file != Path::new("-")).then(|| file.to_owned());
        let beside = match &to {
            Some(file) => {
                let dir = file.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
                dir.canonicalize().with_context(|| {
                    format!("--print-manifest: the folder {} cannot be used", dir.display())
                })?
            }
            None => std::env::current_dir()?,
        };
        let rules = beside.ancestors().map(|dir| dir.join(RULES)).find(|rules| rules.is_file());
        let sealed = match (plain, rules) {
            (true, _) => Sealed::Plain,
            (false, Some(rules)) => {
                let program = which::which("sops").ok().with_context(|| {
                    format!(
                        "{} asks for SOPS, and there is no program sops on PATH: install it, or take the value in plain text \
                         with --plain-text",
                        rules.display()
                    )
                })?;
                Sealed::Sops { program, rules }
            }
            (false, None) => bail!(
                "there is no {RULES} in {} or above it, so the manifest would hold the new value in plain text: where that is \
                 meant (to pipe it into kubeseal, or into another store), add --plain-text",
                beside.display()
            ),
        };
        if matches!(sealed, Sealed::Plain) {
            match &to {
                Some(file) if file.exists() => {
                    bail!("--plain-text writes only a file that is not there yet: {} is", file.display())
                }
                None if streams::is_terminal() => bail!(
                    "--plain-text is not written to a terminal, which remembers it: name a file, or pipe it into what takes it"
                ),
                _ => {}
            }
        }
        Ok(Self { to, sealed })
    }

    /// Whether it goes to standard output, which is then for nothing else.
    pub fn on_stdout(&self) -> bool {
        self.to.is_none()
    }

    /// How, in words.
    pub fn words(&self) -> String {
        let to = self.to.as_ref().map_or("standard output".to_owned(), |file| file.display().to_string());
        match &self.sealed {
            Sealed::Sops { rules, .. } => {
                format!("manifest to {to}, encrypted by sops as {} says", rules.display())
            }
            Sealed::Plain => format!("manifest to {to}, in plain text"),
        }
    }

    /// Tries with a stand-in whether it can be encrypted, before anything is made.
    ///
    /// # Errors
    /// It cannot; what sops says.
    pub fn rehearse(&self, place: &Place) -> Result<()> {
        if let Some(file) = &self.to {
            let taken = matches!(self.sealed, Sealed::Plain) && fs::symlink_metadata(file).is_ok();
            ensure!(
                !taken,
                "{} is there already: what can be read goes into a new file alone",
                file.display()
            );
            file::fits(file).with_context(|| file.display().to_string())?;
        }
        let stand_in = |key: &&'static str| (*key, Some(SecretSlice::from(b"rehearsal-of-a-value".to_vec())));
        let content = place.keys.iter().map(stand_in).collect();
        self.seal(&document(place, &Read::default(), &content), &content).map(drop)
    }

    /// Writes it; says where.
    pub(super) fn write(&self, place: &Place, read: &Read, content: &Content) -> Result<String> {
        let text = self.seal(&document(place, read, content), content)?;
        match &self.to {
            None => {
                streams::manifest(&text).context("standard output")?;
            }
            Some(file) => self.store(file, &text).with_context(|| file.display().to_string())?,
        }
        Ok(self.words())
    }

    /// Whole or not at all; in plain text only where nothing is.
    fn store(&self, file: &Path, text: &str) -> Result<()> {
        if matches!(self.sealed, Sealed::Plain) {
            let mut new = private(file)?;
            new.write_all(text.as_bytes())?;
            return Ok(new.sync_all()?);
        }
        Ok(file::write(file, text.as_bytes(), Readers::AsBefore)?)
    }

    fn seal(&self, plain: &str, content: &Content) -> Result<Zeroizing<String>> {
        let Sealed::Sops { program, rules } = &self.sealed else {
            return Ok(Zeroizing::new(plain.to_owned()));
        };
        let name = self.to.clone().unwrap_or_else(|| rules.with_file_name("secret.yaml"));
        let text = file::read(rules, LARGEST_RULES).with_context(|| rules.display().to_string())?;
        let text = String::from_utf8_lossy(&text);
        let mut sops = Command::new(program);
        sops.args(["--encrypt", "--input-type", "yaml", "--output-type", "yaml", "--config"]).arg(rules);
        sops.arg("--filename-override").arg(&name);
        if !WHICH.iter().any(|which| text.contains(which)) {
            sops.args(["--encrypted-regex", "^(data|stringData)$"]);
        }
        sops.arg("/dev/stdin").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        hide_tokens(&mut sops);
        sops.env_remove("KUBECONFIG");
        let mut child = sops.spawn().with_context(|| program.display().to_string())?;
        let mut stdin = child.stdin.take().context("no way into sops")?;
        // A manifest fits into a pipe's buffer; what sops says of one that it does not read, comes from it.
        let sent = stdin.write_all(plain.as_bytes());
        drop(stdin);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr) = (stdout.context("no way out of sops")?, stderr.context("no way out of sops")?);
        let says = thread::spawn(move || file::read_from(stderr, LARGEST_OUTPUT));
        let sealed = file::read_from(stdout, LARGEST_OUTPUT);
        if sealed.is_err() {
            child.kill()?;
        }
        let status = child.wait()?;
        let says = says.join().ok().and_then(Result::ok).unwrap_or_default();
        let says = String::from_utf8_lossy(&says);
        let sealed = sealed.context("what sops prints")?;
        let mut values = Values::default();
        for (key, value) in content.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
            values.add(key, value.expose_secret());
        }
        let says = Masker::new(&values).free_text(says.trim());
        ensure!(status.success() && sent.is_ok(), "sops does not encrypt it: {says}");
        let sealed = Zeroizing::new(String::from_utf8(sealed).ok().context("sops wrote no text")?);
        let open = content.values().flatten().any(|value| {
            let text = String::from_utf8_lossy(value.expose_secret());
            text.lines().any(|line| line.len() >= 8 && sealed.contains(line))
        });
        ensure!(
            sealed.contains("ENC[") && !open,
            "sops left the value readable; see encrypted_regex in {}",
            rules.display()
        );
        Ok(sealed)
    }
}

/// Writes a value that would be lost to a file of the person alone, here or among temporary files; says which.
pub(super) fn rescue(place: &Place, read: &Read, content: &Content, id: &str) -> Result<PathBuf> {
    let text = document(place, read, content);
    let name = format!("{}-{id}.rescued.yaml", place.name);
    let mut last = None;
    for dir in [std::env::current_dir().ok(), Some(std::env::temp_dir())].into_iter().flatten() {
        let file = dir.join(&name);
        let written =
            private(&file).and_then(|mut new| new.write_all(text.as_bytes()).and_then(|()| new.sync_all()));
        match written {
            Ok(()) => return Ok(file),
            Err(error) => last = Some(anyhow::Error::from(error).context(file.display().to_string())),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("there is no folder")))
}

/// A file of the person alone, which must not be there yet.
fn private(file: &Path) -> std::io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

/// The whole Secret: an owner that applies a part would take the rest away.
fn document(place: &Place, read: &Read, content: &Content) -> Zeroizing<String> {
    let quoted = |text: &str| json!(text).to_string();
    let mut out = Zeroizing::new(format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {}\n  namespace: {}\ntype: {}\n",
        quoted(&place.name),
        quoted(&place.namespace),
        quoted(if read.kind.is_empty() { "Opaque" } else { &read.kind }),
    ));
    let mut plain: Vec<(&str, &SecretSlice<u8>)> =
        read.rest.iter().map(|(key, value)| (key.as_str(), value)).collect();
    plain.extend(content.iter().filter_map(|(key, value)| Some((*key, value.as_ref()?))));
    plain.sort_by_key(|(key, _)| *key);
    for (heading, text) in [("stringData", true), ("data", false)] {
        let of = |value: &SecretSlice<u8>| std::str::from_utf8(value.expose_secret()).ok().map(str::to_owned);
        let mut lines = plain.iter().filter(|(_, value)| of(value).is_some() == text).peekable();
        if lines.peek().is_some() {
            out.push_str(&format!("{heading}:\n"));
        }
        for (key, value) in lines {
            let shown = Zeroizing::new(of(value).unwrap_or_else(|| {
                base64::Engine::encode(&base64::engine::general_purpose::STANDARD, value.expose_secret())
            }));
            out.push_str(&format!("  {}: {}\n", quoted(key), quoted(&shown)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { namespace: "n".to_owned(), name: "s".to_owned(), keys: vec!["identity", "password"] }
    }

    #[test]
    fn the_manifest_is_the_whole_secret() {
        let value = |text: &[u8]| SecretSlice::from(text.to_vec());
        let rest = [("known_hosts".to_owned(), value(b"host key\n")), ("blob".to_owned(), value(&[0xff, 0]))];
        let read = Read { kind: "Opaque".to_owned(), rest: rest.into(), ..Read::default() };
        let content = Content::from([("identity", Some(value(b"line: 1\nline 2\n"))), ("password", None)]);
        let text = document(&place(), &read, &content);
        let yaml: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(
            yaml,
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "type": "Opaque",
                "stringData": {"identity": "line: 1\nline 2\n", "known_hosts": "host key\n"}, "data": {"blob": "/wA="}})
        );
    }

    #[test]
    fn plain_text_is_written_only_where_it_was_asked_for_and_nothing_was() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("secret.yaml");
        let refused = Manifest::to(&file, false).expect_err("not asked for");
        assert!(refused.to_string().contains("--plain-text"), "{refused}");
        let manifest = Manifest::to(&file, true).expect("asked for");
        let content =
            Content::from([("identity", Some(SecretSlice::from(b"x".to_vec()))), ("password", None)]);
        manifest.write(&place(), &Read::default(), &content).expect("written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        }
        assert!(Manifest::to(&file, true).is_err(), "it is there by now");
        assert!(manifest.write(&place(), &Read::default(), &content).is_err());
        assert!(Manifest::to(&dir.path().join("none/secret.yaml"), true).is_err());
    }

    #[test]
    fn what_would_be_lost_is_in_a_file_of_the_person_alone() {
        let content =
            Content::from([("identity", Some(SecretSlice::from(b"MARKER".to_vec()))), ("password", None)]);
        let id = format!("test{}", std::process::id());
        let file = rescue(&place(), &Read::default(), &content, &id).expect("a file");
        let text = fs::read_to_string(&file).expect("text");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        }
        // One that is there is not overwritten: the next goes elsewhere.
        let second = rescue(&place(), &Read::default(), &content, &id).expect("another place");
        assert_ne!(file, second);
        assert!(rescue(&place(), &Read::default(), &content, &id).is_err());
        [file, second].iter().for_each(|file| fs::remove_file(file).expect("removed"));
        assert!(text.contains("MARKER"));
    }
}

//! The person's token: from a file, standard input or the environment, never from the command line, where every
//! process of the machine reads it.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use gitlab_agent_core::command::Program;
use gitlab_agent_core::snapshot::secret::{KeyShape, ValueKind};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::{cli, file, known};

/// No GitLab token is longer; a longer file is another one than was meant.
const LONGEST: usize = 8 << 10;

/// Reads a token from a file; `-` is standard input.
///
/// # Errors
/// The file cannot be read, others may read it, or it holds no token that GitLab's API takes.
pub(super) fn from_file(file: &Path) -> Result<SecretString> {
    let name = file.display();
    let text = if file.as_os_str() == "-" {
        bounded(std::io::stdin().lock()).context("cannot read the GitLab token from standard input")?
    } else {
        let opened = std::fs::File::open(file);
        let opened = opened.with_context(|| format!("cannot read the GitLab token from {name}"))?;
        only_own(&opened, file)?;
        bounded(opened).with_context(|| format!("cannot read the GitLab token from {name}"))?
    };
    let source = if file.as_os_str() == "-" { "standard input".to_owned() } else { name.to_string() };
    check(text.trim_end_matches(['\r', '\n']), &source)
}

/// Takes a token from text, and says what is wrong with it without quoting it.
///
/// # Errors
/// It is empty, holds white space, or is of a kind that GitLab's API does not take.
pub(super) fn check(text: &str, source: &str) -> Result<SecretString> {
    known::run().of_gitlab(text);
    if text.trim().is_empty() {
        bail!("{source} holds no GitLab token: it is empty");
    }
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        bail!(
            "{source} does not hold one GitLab token alone: there is white space or something unprintable in it"
        );
    }
    let kind = match KeyShape::of(text.as_bytes(), b"").kind {
        ValueKind::AgentToken => "an agent token, which only signs agentk in",
        ValueKind::DeployToken => "a deploy token, which GitLab's API does not take",
        ValueKind::PrivateKey | ValueKind::Certificate => "a key or certificate",
        ValueKind::Placeholder => "a placeholder",
        _ => return Ok(text.into()),
    };
    bail!(
        "{source} holds {kind}; needed is a personal, project or group access token with the scope read_api"
    )
}

fn bounded(from: impl Read) -> Result<Zeroizing<String>> {
    let bytes = file::read_from(from, LONGEST)?;
    Ok(Zeroizing::new(String::from_utf8(bytes).ok().context("it is not text")?))
}

/// Refuses a file that others may read, as ssh and glab do.
#[cfg(unix)]
pub(super) fn only_own(opened: &std::fs::File, file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let found = opened.metadata()?;
    let mode = found.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let refused =
        format!("{} can be read by others (mode {:03o}) and is not used", file.display(), mode & 0o777);
    // Whoever may write a device or a pipe of the system is nobody's business but the system's.
    if !found.is_file() {
        bail!("{refused}: it is no regular file");
    }
    // A name that cannot be shown is in no command.
    let chmod = file.to_str().and_then(|name| cli::line(Program::new("chmod 600").operand(name)));
    bail!("{refused}{}", chmod.map(|line| format!("; run: {line}")).unwrap_or_default())
}

/// Elsewhere than on Unix permissions are not a mode.
#[cfg(not(unix))]
pub(super) fn only_own(_: &std::fs::File, _: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_file_that_others_may_read_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("token");
        std::fs::write(&file, "some-token\n").expect("written");
        let mode =
            |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("set");
        mode(0o640);
        let error = from_file(&file).expect_err("refused").to_string();
        assert!(
            error.contains("chmod 600") && error.contains("640") && !error.contains("some-token"),
            "{error}"
        );
        mode(0o600);
        assert_eq!(from_file(&file).expect("read").expose_secret(), "some-token");
    }

    /// The remedy, pasted into a shell, does what it says to this file and nothing else.
    #[test]
    #[cfg(unix)]
    fn the_remedy_names_the_file_whatever_it_is_called() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        for (name, pasted) in [
            ("plain", true),
            ("a b", true),
            ("a;touch PWN", true),
            ("$(touch PWN)", true),
            ("`touch PWN`", true),
            ("it's", true),
            ("a\\", true),
            ("*", true),
            ("~", true),
            ("a\nb", false),
            ("a\u{1b}[31m", false),
            ("a\u{202e}b", false),
        ] {
            let file = dir.path().join(name);
            std::fs::write(&file, "some-token\n").expect("written");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("set");
            let error = from_file(&file).expect_err("refused").to_string();
            let line = error.split_once("; run: ").map(|(_, line)| line.to_owned());
            assert_eq!(line.is_some(), pasted, "{error}");
            let Some(line) = line else { continue };
            let shell = ["bash", "sh"].into_iter().find(|shell| {
                let ran = std::process::Command::new(shell).args(["-c", &line]).current_dir(&dir).status();
                ran.is_ok_and(|status| status.success())
            });
            assert!(shell.is_some(), "{line}");
            assert!(from_file(&file).is_ok() && !dir.path().join("PWN").exists(), "{line}");
        }
        let option = only_own(&std::fs::File::open(dir.path().join("plain")).expect("open"), Path::new("-R"));
        assert!(option.is_ok(), "it can be read by nobody else");
        std::fs::set_permissions(dir.path().join("plain"), std::fs::Permissions::from_mode(0o644))
            .expect("set");
        let opened = std::fs::File::open(dir.path().join("plain")).expect("open");
        let option = only_own(&opened, Path::new("-R")).expect_err("refused").to_string();
        assert!(!option.contains("chmod"), "{option}");
        let device = from_file(Path::new("/dev/zero")).expect_err("refused").to_string();
        assert!(device.contains("no regular file") && !device.contains("chmod"), "{device}");
    }

    #[test]
    fn what_is_no_token_for_the_api_is_named_and_not_quoted() {
        for (text, said) in [
            ("", "empty"),
            ("two words", "white space"),
            ("a\nb", "white space"),
            (&format!("glagent-{}", "x".repeat(50)), "agent token"),
            (&format!("acme-gldt-{}", "x".repeat(20)), "deploy token"),
        ] {
            let error = check(text, "file").expect_err(text).to_string();
            assert!(error.contains(said), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        assert!(check(&format!("glpat-{}", "x".repeat(20)), "file").is_ok());
        assert!(check("an0ldt0kenWithoutPrefix", "file").is_ok());
    }
}

//! Recordings: a snapshot in a file, plain JSON or gzip.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use gitlab_agent_core::snapshot::Snapshot;
use gitlab_agent_core::snapshot::mask::{Masker, Values};
use gitlab_agent_core::text::count;

use crate::file::{self, Readers};
use crate::known;

/// A recording of 20,000 objects has about 30 MB; a file that holds or unpacks to more than this is not read.
const LARGEST: usize = 512 << 20;
/// That recording has about a million fields; more than this would take gigabytes of memory.
const MOST_FIELDS: usize = 10_000_000;

/// Reads a recording.
///
/// # Errors
/// The file cannot be read, is too large, or is no recording of this format.
pub fn read(path: &Path) -> Result<Snapshot> {
    let shown = path.display();
    let file = File::open(path).or_else(|error| shipped(path).and_then(|p| File::open(p).ok()).ok_or(error));
    let cannot_read = || format!("cannot read the recording {shown}");
    let mut file = BufReader::new(file.with_context(cannot_read)?);
    let packed = file.fill_buf().with_context(cannot_read)?.starts_with(&[0x1f, 0x8b]);
    let json = if packed {
        file::read_from(GzDecoder::new(file), LARGEST)
            .with_context(|| format!("cannot unpack the recording {shown}"))?
    } else {
        file::read_from(file, LARGEST).with_context(cannot_read)?
    };
    // Each field takes more memory than its text, however short that is.
    if json.iter().filter(|byte| **byte == b',').count() > MOST_FIELDS {
        bail!("the recording {shown} holds more than {MOST_FIELDS} fields, which no recording does");
    }
    let mut snapshot = Snapshot::parse(&json).with_context(|| format!("cannot use {shown}"))?;
    // Of an older version, or made by hand: what it holds is printed as well.
    snapshot.mask(&Masker::new(&Values::default()));
    Ok(snapshot)
}

/// `examples/NAME`: a recording that came with the program, beside it, from wherever the person stands.
fn shipped(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components();
    let examples = parts.next()?.as_os_str() == "examples";
    let (Component::Normal(name), None) = (parts.next()?, parts.next()) else { return None };
    let program = std::env::current_exe().ok()?.canonicalize().ok()?;
    examples.then(|| program.parent().map(|dir| dir.join("examples").join(name))).flatten()
}

/// Writes a recording; a name that ends in `.gz` is packed. The file appears whole or not at all ([`file`]), and only its
/// owner can read it: names, messages and logs of a cluster are nobody else's business.
///
/// # Errors
/// [`file::NotWritten`].
pub fn write(snapshot: &Snapshot, path: &Path) -> Result<()> {
    let json = snapshot.to_json().context("a snapshot has a JSON form")?;
    let json = known::run().at_the_door(&json);
    let bytes = if path.extension().is_some_and(|e| e == "gz") {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed
            .write_all(json.as_bytes())
            .and_then(|()| packed.finish())
            .context("cannot pack the recording")?
    } else {
        json.into_owned().into_bytes()
    };
    file::write(path, &bytes, Readers::Owner).context("no recording was made")
}

/// What a recording holds, in one line.
pub fn summary(s: &Snapshot) -> String {
    let all = [
        count(s.git_repositories.items.len(), "GitRepository"),
        count(s.kustomizations.items.len(), "Kustomization"),
        count(s.helm_releases.items.len(), "HelmRelease"),
        count(s.deployments.items.len(), "Deployment"),
        count(s.logs.len(), "pod log"),
        format!("the shape of {}", count(s.secrets.len(), "Secret")),
    ];
    format!("{}: names, messages and logs, with secrets masked (docs/snapshot.md)", all.join(", "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use gitlab_agent_core::fixture;

    #[test]
    fn plain_and_packed_recordings_read_back_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut snapshot = fixture::healthy();
        snapshot.put_in_order();
        // As each is masked when it is taken.
        snapshot.mask(&Masker::new(&Values::default()));
        for name in ["a.json", "a.json.gz"] {
            let path = dir.path().join(name);
            write(&snapshot, &path).expect("writes");
            let back = read(&path).expect("reads");
            assert_eq!(back.to_json().expect("json"), snapshot.to_json().expect("json"), "{name}");
        }
        let names: Vec<_> = fs::read_dir(dir.path()).expect("lists").collect();
        assert_eq!(names.len(), 2, "nothing partial is left");
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_can_read_a_recording() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.json");
        // Also where a file that everybody could read was there before.
        fs::write(&path, "").expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changes");
        write(&fixture::healthy(), &path).expect("writes");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_an_older_version_recorded_is_masked_when_it_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.json");
        let digest = "0123456789abcdef".repeat(4);
        let mut snapshot = fixture::healthy();
        snapshot.receivers.items[0].status.conditions[0].message =
            format!("initialized for path: /hook/{digest}");
        fs::write(&path, snapshot.to_json().expect("JSON")).expect("writes");
        let back = read(&path).expect("reads").to_json().expect("JSON");
        assert!(!back.contains(&digest) && back.contains("/hook/***"), "{back}");
    }

    #[test]
    fn one_line_says_what_a_recording_holds() {
        let line = summary(&fixture::healthy());
        assert!(
            line.contains("2 GitRepositories") && line.contains("masked") && !line.contains('\n'),
            "{line}"
        );
    }

    #[test]
    fn what_is_no_recording_says_so() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        for bytes in [&b"hello"[..], &[0x1f, 0x8b, 1, 2]] {
            fs::write(&path, bytes).expect("writes");
            let error = format!("{:#}", read(&path).expect_err("no recording"));
            assert!(error.contains("recording"), "{error}");
        }
        assert!(
            format!("{:#}", read(&dir.path().join("none")).expect_err("missing")).contains("cannot read")
        );
    }
}

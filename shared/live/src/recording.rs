//! Recordings: a snapshot in a file, plain JSON or gzip.

use std::fs;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use gitlab_agent_core::snapshot::Snapshot;

/// A recording of 20,000 objects has about 30 MB; a file that unpacks to more than this is not read.
const LARGEST: u64 = 1 << 30;

/// Reads a recording.
///
/// # Errors
/// The file cannot be read, is too large, or is no recording of this format.
pub fn read(path: &Path) -> Result<Snapshot> {
    let shown = path.display();
    let file = fs::read(path).or_else(|error| shipped(path).and_then(|p| fs::read(p).ok()).ok_or(error));
    let file = file.with_context(|| format!("cannot read the recording {shown}"))?;
    let mut json = Vec::new();
    if file.starts_with(&[0x1f, 0x8b]) {
        let unpacked = GzDecoder::new(file.as_slice()).take(LARGEST + 1).read_to_end(&mut json);
        unpacked.with_context(|| format!("cannot unpack the recording {shown}"))?;
    } else {
        json = file;
    }
    if json.len() as u64 > LARGEST {
        bail!("the recording {shown} unpacks to more than 1 GiB, which no recording does");
    }
    Snapshot::parse(&json).with_context(|| format!("cannot use {shown}"))
}

/// `examples/NAME`: a recording that came with the program, beside it, from wherever the person stands.
fn shipped(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components();
    let examples = parts.next()?.as_os_str() == "examples";
    let (Component::Normal(name), None) = (parts.next()?, parts.next()) else { return None };
    let program = std::env::current_exe().ok()?.canonicalize().ok()?;
    examples.then(|| program.parent().map(|dir| dir.join("examples").join(name))).flatten()
}

/// Writes a recording; a name that ends in `.gz` is packed. The file appears whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write(snapshot: &Snapshot, path: &Path) -> Result<()> {
    let json = snapshot.to_json().context("a snapshot has a JSON form")?;
    let bytes = if path.extension().is_some_and(|e| e == "gz") {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed
            .write_all(json.as_bytes())
            .and_then(|()| packed.finish())
            .context("cannot pack the recording")?
    } else {
        json.into_bytes()
    };
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, bytes)
        .and_then(|()| fs::rename(&partial, path))
        .with_context(|| format!("cannot write the recording {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gitlab_agent_core::fixture;

    #[test]
    fn plain_and_packed_recordings_read_back_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let snapshot = fixture::healthy();
        for name in ["a.json", "a.json.gz"] {
            let path = dir.path().join(name);
            write(&snapshot, &path).expect("writes");
            let back = read(&path).expect("reads");
            assert_eq!(back.to_json().expect("json"), snapshot.to_json().expect("json"), "{name}");
        }
        let names: Vec<_> = fs::read_dir(dir.path()).expect("lists").collect();
        assert_eq!(names.len(), 2, "nothing partial is left");
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

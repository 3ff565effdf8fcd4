//! Files. One that is read has a bound. One that is written appears whole or not at all, and what is no regular file is
//! written through.
//!
//! - A regular file, or nothing: the bytes go to a partial file beside it (made with `O_EXCL`, a random name, mode 0600),
//!   to the disk, and then in its place. On any failure the partial file is removed; also when the run ends early.
//! - A symbolic link to a regular file: the same in the place of the file that it leads to, so that the link stays.
//!   Only where the system lets a write follow it (`fs.protected_symlinks`). One that leads nowhere is refused.
//! - A device, a FIFO, or a descriptor (`/dev/stdout`, `/dev/fd/3`, `>(cmd)`): the bytes are written to it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use secrecy::zeroize::Zeroizing;

/// Who may read the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// The person alone (0600), whatever was there before.
    Owner,
    /// Whoever could read what was there before; a new file gets what the person's umask gives.
    AsBefore,
    /// Everybody, and it is a program (0755).
    Program,
}

/// The file was not written; what was in its place is unchanged.
#[derive(Debug)]
pub struct NotWritten {
    file: PathBuf,
    error: io::Error,
}

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write {}: {}", self.file.display(), self.error)
    }
}

impl std::error::Error for NotWritten {}

/// Writes a file.
///
/// # Errors
/// See [`NotWritten`].
pub fn write(file: &Path, bytes: &[u8], readers: Readers) -> Result<(), NotWritten> {
    let written = target(file).and_then(|target| match target {
        Target::Replace { file, before } => replace(&file, before.as_ref(), bytes, readers),
        Target::Through => through(file, bytes),
    });
    written.map_err(|error| NotWritten { file: file.to_owned(), error })
}

/// Reads a file that is no larger than so many bytes.
///
/// # Errors
/// It cannot be read, or it is larger.
pub(crate) fn read(file: &Path, most: usize) -> io::Result<Vec<u8>> {
    read_from(File::open(file)?, most)
}

/// The same from what is open. Whatever was read is wiped where it is too much.
pub(crate) fn read_from(from: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    from.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        let bound =
            if most < 1 << 20 { format!("{} KiB", most >> 10) } else { format!("{} MiB", most >> 20) };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {bound}")));
    }
    Ok(std::mem::take(&mut *bytes))
}

/// Finds out, before anything is asked or done, whether a file can be written at all.
///
/// # Errors
/// It is a folder, its folder is not there, or it may not be written.
pub fn check(file: &Path) -> Result<(), NotWritten> {
    target(file).map(drop).map_err(|error| NotWritten { file: file.to_owned(), error })
}

/// Removes the partial files of this process, for ends that no destructor sees.
pub(crate) fn remove_partial() {
    for file in std::mem::take(&mut *PARTIAL.lock().unwrap_or_else(PoisonError::into_inner)) {
        let _ = fs::remove_file(file);
    }
}

static PARTIAL: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

enum Target {
    /// Another file comes in its place.
    Replace { file: PathBuf, before: Option<Metadata> },
    /// It is written to as it is.
    Through,
}

/// Whether a file can be written there, as far as that shows before.
///
/// # Errors
/// What is there is none that [`write`] replaces.
pub fn fits(file: &Path) -> io::Result<()> {
    target(file).map(drop)
}

fn target(file: &Path) -> io::Result<Target> {
    let refuse = |kind, text: &str| Err(io::Error::new(kind, text.to_owned()));
    let link = match fs::symlink_metadata(file) {
        Ok(found) => found.is_symlink(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = folder(file);
            if file.file_name().is_none() || !folder.is_dir() {
                return refuse(error.kind(), &format!("there is no folder {}", folder.display()));
            }
            if file.as_os_str().to_string_lossy().ends_with(std::path::is_separator) {
                return refuse(error.kind(), "there is no such folder, and no file has a name that ends so");
            }
            return Ok(Target::Replace { file: file.to_owned(), before: None });
        }
        Err(error) => return Err(error),
    };
    let before = match fs::metadata(file) {
        Ok(before) => before,
        Err(error) if link && error.kind() == io::ErrorKind::NotFound => {
            return refuse(error.kind(), "it is a symbolic link that leads nowhere");
        }
        Err(error) => return Err(error),
    };
    if before.is_dir() {
        return refuse(io::ErrorKind::IsADirectory, "it is a folder");
    }
    if is_socket(&before) {
        return refuse(io::ErrorKind::Unsupported, "it is a socket");
    }
    if !before.is_file() || is_descriptor(file) {
        return Ok(Target::Through);
    }
    // What may not be written, or not through this link, is not replaced either.
    OpenOptions::new().write(true).open(file)?;
    let file = if link { fs::canonicalize(file)? } else { file.to_owned() };
    Ok(Target::Replace { file, before: Some(before) })
}

/// No program opens a socket by its name.
#[cfg(unix)]
fn is_socket(found: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&found.file_type())
}

#[cfg(not(unix))]
fn is_socket(_: &Metadata) -> bool {
    false
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a name, or a link that it leads over, stands for an open descriptor of a process. Behind it there may be a
/// regular file, which somebody else is writing to.
fn is_descriptor(file: &Path) -> bool {
    let mut file = file.to_owned();
    // As many links as Linux follows.
    for _ in 0..40 {
        let Ok(place) = fs::canonicalize(folder(&file)) else { return false };
        if place.starts_with("/proc") || place.starts_with("/dev/fd") {
            return true;
        }
        match fs::read_link(&file) {
            Ok(next) => file = place.join(next),
            Err(_) => return false,
        }
    }
    false
}

fn through(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut open = OpenOptions::new().append(true).open(file)?;
    open.write_all(bytes)
}

fn replace(file: &Path, before: Option<&Metadata>, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let (mut new, partial) = Partial::beside(file, before.is_none() && readers == Readers::AsBefore)?;
    new.write_all(bytes)?;
    permit(&new, before, readers)?;
    new.sync_all()?;
    drop(new);
    fs::rename(&partial.0, file)?;
    // The name is on the disk as well; not every file system knows that.
    let _ = File::open(folder(file)).and_then(|folder| folder.sync_all());
    Ok(())
}

/// A file that is removed unless it was renamed.
struct Partial(PathBuf);

impl Partial {
    fn beside(file: &Path, by_umask: bool) -> io::Result<(File, Self)> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let partial = folder(file).join(format!(".gitlab-agent-{:016x}.partial", u64::from_ne_bytes(random)));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, if by_umask { 0o666 } else { 0o600 });
        PARTIAL.lock().unwrap_or_else(PoisonError::into_inner).insert(partial.clone());
        let guard = Self(partial);
        Ok((options.open(&guard.0)?, guard))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        PARTIAL.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

#[cfg(unix)]
fn permit(new: &File, before: Option<&Metadata>, readers: Readers) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
    if let Some(before) = before {
        let own = new.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            // Only root may give a file away; another person's file is then ours, as with any editor.
            let _ = fchown(new, Some(before.uid()), Some(before.gid()));
        }
    }
    let mode = match (readers, before) {
        (Readers::Owner, _) => 0o600,
        (Readers::Program, _) => 0o755,
        (Readers::AsBefore, Some(before)) => before.mode() & 0o777,
        (Readers::AsBefore, None) => return Ok(()),
    };
    new.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn permit(_: &File, _: Option<&Metadata>, _: Readers) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::process::Command;

    use super::*;

    fn names(dir: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(dir).expect("a folder");
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).expect("a file").mode() & 0o777
    }

    fn existing(dir: &Path, name: &str, mode: u32) -> PathBuf {
        let file = dir.join(name);
        fs::write(&file, "before").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("permitted");
        file
    }

    #[test]
    fn a_file_appears_whole_with_the_right_mode() {
        let dir = tempfile::tempdir().expect("a folder");
        let long = "n".repeat(256);
        for (name, before, readers, after) in [
            ("new", None, Readers::Owner, 0o600),
            ("wide", Some(0o644), Readers::Owner, 0o600),
            ("group", Some(0o660), Readers::Owner, 0o600),
            ("kept", Some(0o640), Readers::AsBefore, 0o640),
            ("kept narrow", Some(0o600), Readers::AsBefore, 0o600),
            ("program", None, Readers::Program, 0o755),
            ("-dash", None, Readers::Owner, 0o600),
            ("line\nfeed", None, Readers::Owner, 0o600),
            (".hidden", None, Readers::Owner, 0o600),
            (&long[..255], None, Readers::Owner, 0o600),
        ] {
            let file = match before {
                Some(mode) => existing(dir.path(), name, mode),
                None => dir.path().join(name),
            };
            write(&file, b"after", readers).expect("written");
            assert_eq!((fs::read(&file).expect("read"), mode(&file)), (b"after".to_vec(), after), "{name}");
        }
        assert_eq!(names(dir.path()).len(), 10, "nothing partial is left: {:?}", names(dir.path()));
    }

    #[test]
    fn what_cannot_be_written_is_said_before_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("folder")).expect("made");
        fs::write(at("file"), "before").expect("written");
        symlink("nowhere", at("dangling")).expect("linked");
        symlink("loop", at("loop")).expect("linked");
        symlink("folder", at("to a folder")).expect("linked");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("bound");
        let (before, long) = (names(dir.path()), "n".repeat(256));
        for (name, words, known_before) in [
            ("folder", "it is a folder", true),
            ("to a folder", "it is a folder", true),
            ("folder/..", "it is a folder", true),
            ("none/file", "there is no folder", true),
            ("file/below", "cannot write", true),
            ("dangling", "leads nowhere", true),
            ("loop", "cannot write", true),
            (long.as_str(), "cannot write", true),
            ("socket", "it is a socket", true),
            ("/dev/full", "No space left", false),
        ] {
            let file = at(name);
            assert_eq!(check(&file).is_err(), known_before, "{name}");
            let error = write(&file, b"after", Readers::Owner).expect_err(name).to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
        assert_eq!((names(dir.path()), fs::read(at("file")).expect("read")), (before, b"before".to_vec()));
    }

    #[test]
    fn a_link_stays_a_link_and_its_file_is_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let below = dir.path().join("below");
        fs::create_dir(&below).expect("made");
        let file = existing(&below, "file", 0o640);
        let (link, second) = (dir.path().join("link"), dir.path().join("second"));
        symlink("below/file", &link).expect("linked");
        symlink(&link, &second).expect("linked");
        for link in [&link, &second] {
            write(link, b"after", Readers::AsBefore).expect("written");
            assert!(fs::symlink_metadata(link).expect("there").is_symlink());
            assert_eq!((fs::read(&file).expect("read"), mode(&file)), (b"after".to_vec(), 0o640));
            fs::write(&file, "before").expect("written");
        }
        assert_eq!((names(&below).len(), names(dir.path()).len()), (1, 3));
    }

    #[test]
    fn a_fifo_and_a_descriptor_are_written_through() {
        let dir = tempfile::tempdir().expect("a folder");
        let fifo = dir.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read(fifo)
        });
        write(&fifo, b"through", Readers::Owner).expect("written");
        assert_eq!(reader.join().expect("joined").expect("read"), b"through");
        write(Path::new("/dev/null"), b"x", Readers::Owner).expect("written");
        assert!(!fs::metadata("/dev/null").expect("there").is_file());
        // A file that somebody else writes to as well: nothing of theirs is lost.
        let file = dir.path().join("open");
        let mut open = File::create(&file).expect("made");
        open.write_all(b"theirs,").expect("written");
        let descriptor = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
        let own = dir.path().join("own name");
        symlink(&descriptor, &own).expect("linked");
        for name in [Path::new(&descriptor), &own] {
            write(name, b"ours,", Readers::Owner).expect("written");
        }
        assert_eq!(fs::read(&file).expect("read"), b"theirs,ours,ours,");
        assert_eq!(open.metadata().expect("open").ino(), fs::metadata(&file).expect("there").ino());
    }
}

//! Packs files so that the same files give the same bytes: sorted, with one date, one owner and fixed modes.

use std::fs;
use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;

use crate::layout::Entry;

/// How to pack.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    /// The date of every file, in seconds since 1970.
    pub date: u64,
    /// How hard to compress, 0 to 9. A release takes 9; a test, whose programs are large, 0.
    pub level: u32,
}

/// Packs in the format that the name asks for.
///
/// # Errors
/// The date cannot be written in it.
pub fn pack(name: &str, entries: &[Entry], packing: Packing) -> Result<Vec<u8>> {
    if name.ends_with(".zip") { zipped(entries, packing) } else { tarred(entries, packing) }
}

fn mode(entry: &Entry) -> u32 {
    if entry.executable { 0o755 } else { 0o644 }
}

fn tarred(entries: &[Entry], packing: Packing) -> Result<Vec<u8>> {
    // The header of gzip has a date and a file name too: both stay empty.
    let mut tar =
        tar::Builder::new(GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(packing.level)));
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(entry.bytes.len() as u64);
        header.set_mode(mode(entry));
        header.set_mtime(packing.date);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, &entry.path, entry.bytes.as_slice())?;
    }
    Ok(tar.into_inner()?.finish()?)
}

fn zipped(entries: &[Entry], packing: Packing) -> Result<Vec<u8>> {
    let date = Timestamp::from_second(i64::try_from(packing.date)?)?.to_zoned(TimeZone::UTC);
    let date = zip::DateTime::from_date_and_time(
        u16::try_from(date.year())?,
        u8::try_from(date.month())?,
        u8::try_from(date.day())?,
        u8::try_from(date.hour())?,
        u8::try_from(date.minute())?,
        u8::try_from(date.second())?,
    )?;
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for entry in entries {
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .compression_level(Some(packing.level.into()))
            .last_modified_time(date)
            .unix_permissions(mode(entry));
        zip.start_file(&entry.path, options)?;
        zip.write_all(&entry.bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// Unpacks an archive as an installer does: regular files below the folder, with their modes.
///
/// # Errors
/// The archive cannot be read, or a path leads out of the folder.
pub fn unpack(name: &str, bytes: &[u8], folder: &Path) -> Result<()> {
    for entry in entries(name, bytes)? {
        let path = Path::new(&entry.path);
        let inside = path.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        ensure!(inside, "{} leads out of the folder", entry.path);
        let file = folder.join(path);
        fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
        fs::write(&file, &entry.bytes)?;
        #[cfg(unix)]
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode(&entry)))?;
    }
    Ok(())
}

/// What lies in an archive.
///
/// # Errors
/// It cannot be read.
pub fn entries(name: &str, bytes: &[u8]) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    if name.ends_with(".zip") {
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes))?;
        for index in 0..zip.len() {
            let mut file = zip.by_index(index)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let executable = file.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
            found.push(Entry { path: file.name()?.into_owned(), executable, bytes });
        }
        return Ok(found);
    }
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    for file in tar.entries()? {
        let mut file = file?;
        ensure!(file.header().entry_type().is_file(), "only files are packed");
        let path = file.path()?.to_str().context("a path in UTF-8")?.to_owned();
        let executable = file.header().mode()? & 0o111 != 0;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        found.push(Entry { path, executable, bytes });
    }
    Ok(found)
}

/// SHA-256 in lower-case hexadecimal, as krew asks for.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_bytes_and_come_out_again() {
        let files = [("a", false), ("b/c", true)];
        let files = files.map(|(path, executable)| Entry {
            path: path.to_owned(),
            executable,
            bytes: path.repeat(1000).into_bytes(),
        });
        for name in ["x.tar.gz", "x.zip"] {
            let of = |date| pack(name, &files, Packing { date, level: 6 }).unwrap();
            let packed = of(1_700_000_000);
            assert_eq!(packed, of(1_700_000_000), "{name}");
            assert_ne!(packed, of(1_700_000_002), "{name}: the date is written");
            assert_eq!(entries(name, &packed).unwrap(), files, "{name}");
            let dir = tempfile::tempdir().unwrap();
            unpack(name, &packed, dir.path()).unwrap();
            assert_eq!(fs::read(dir.path().join("b/c")).unwrap(), files[1].bytes);
        }
    }

    #[test]
    fn nothing_is_unpacked_outside() {
        let mut out = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        // `append_data` refuses such a path; a hostile archive does not.
        header.as_ustar_mut().unwrap().name[..4].copy_from_slice(b"../x");
        header.set_cksum();
        out.append(&header, b"x".as_slice()).unwrap();
        let bytes = out.into_inner().unwrap().finish().unwrap();
        let dir = tempfile::tempdir().unwrap();
        assert!(unpack("x.tar.gz", &bytes, dir.path()).is_err());
    }
}

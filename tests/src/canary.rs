//! Values that must turn up nowhere, in every form in which they could, and a place for a run that shows what it left
//! behind: files, and what the programs that it ran were given.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::programs::{Ran, command, run};

/// A part of a value that is shown when the rest was cut off; shorter ones could be there by chance.
const PART: usize = 12;

/// Every form in which a value could turn up: as it is and cut short, in base64 at each of three offsets, URL-encoded, as a
/// form, in hex, with the escapes of JSON, as lists of numbers.
pub fn forms(value: &str) -> Vec<String> {
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut forms = vec![value.to_owned(), hex.to_uppercase(), hex, percent.to_lowercase(), percent];
    forms.push(utf8_percent_encode(value, NON_ALPHANUMERIC).to_string());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte);
    let form = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    forms.push(value.bytes().map(form).collect::<String>().replace("%20", "+"));
    let json = serde_json::Value::from(value).to_string();
    forms.extend([json.replace('/', "\\/"), json].map(|quoted| quoted[1..quoted.len() - 1].to_owned()));
    forms.push(value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect());
    let numbers = value.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>();
    forms.extend([numbers.join(" "), numbers.join(",")]);
    forms.push(value.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"));
    forms.extend((0..3).map(|offset| at_offset(&STANDARD_NO_PAD, value, offset)));
    forms.extend((0..3).map(|offset| at_offset(&URL_SAFE_NO_PAD, value, offset)));
    if value.len() >= 2 * PART {
        let middle = value.len() / 2;
        forms.extend(
            [value.get(middle - PART / 2..middle + PART / 2), value.get(value.len() - PART..)]
                .into_iter()
                .flatten()
                .map(str::to_owned),
        );
    }
    forms
}

/// Base64 of the value somewhere inside a longer text: the letters at its ends also carry bits of what stands beside it.
fn at_offset(engine: &GeneralPurpose, value: &str, offset: usize) -> String {
    let encoded = engine.encode(format!("{}{value}", "x".repeat(offset)));
    encoded.get(4..encoded.len().saturating_sub(4)).unwrap_or_default().to_owned()
}

/// Looks for values in a text. The error says which form was found, and where, and does not repeat it.
///
/// # Errors
/// One of them is there.
pub fn hides(text: &str, values: &[String]) -> Result<()> {
    for (number, value) in values.iter().enumerate() {
        for (form, shape) in forms(value).into_iter().enumerate() {
            if let Some(at) = text.find(&shape).filter(|_| shape.len() >= PART) {
                let line = text[..at].lines().count();
                bail!("value {number} of {} is shown in form {form}, in line {line}", values.len());
            }
        }
    }
    Ok(())
}

/// A value that is told from all others: `kind` and 24 letters that end in a number of their own.
pub fn marker(kind: &str, name: &str) -> String {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    format!(
        "{kind}Cnry{:Q<8}7w3Zk9vX{:0>4}",
        &name[..name.len().min(8)],
        name.bytes().map(u32::from).sum::<u32>()
    )
}

/// A home, a working directory and a folder for temporary files for one run after the other, and programs beside it that
/// write down what they were given.
#[derive(Debug)]
pub struct Nest {
    dir: tempfile::TempDir,
    outside: tempfile::TempDir,
}

/// What a program of the nest writes down: its arguments, and the environment but for one variable.
const RECORDER: &str = r#"#!/bin/sh
{ echo "$0"; for word in "$@"; do echo "$word"; done; env | grep -v '^CANARY_PLUGIN='; } >>'@TRACE@'
"#;

impl Nest {
    /// An empty one.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Self> {
        let nest = Self { dir: tempfile::tempdir()?, outside: tempfile::tempdir()? };
        for (name, says) in
            [("kubectl", r#"{"clientVersion":{"gitVersion":"v1.36.3"}}"#), ("flux", r#"{"flux":"v2.9.2"}"#)]
        {
            nest.program(name, &format!("echo '{says}'"))?;
        }
        Ok(nest)
    }

    /// A program that writes down what it was given and then runs a script; gives its path, which is in the nest's `PATH`
    /// and not among its files.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn program(&self, name: &str, script: &str) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.outside.path().join(name);
        let recorder = RECORDER.replace("@TRACE@", &self.trace().display().to_string());
        fs::write(&file, format!("{recorder}{script}\n"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        Ok(file)
    }

    /// Where files go that are no part of what a run leaves behind: kubeconfigs, certificates.
    pub fn outside(&self) -> &Path {
        self.outside.path()
    }

    fn trace(&self) -> PathBuf {
        self.dir.path().join("trace")
    }

    /// A verb's program, in the nest.
    pub fn command(&self, verb: &str) -> Command {
        let dir = self.dir.path();
        let mut command = command(&verb.replace('-', "_"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(self.outside.path().to_owned()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(dirs).unwrap_or(path)).env("RUST_BACKTRACE", "full");
        command.env("HOME", dir).env("TMPDIR", dir).current_dir(dir);
        command
    }

    /// Runs it to its end; nothing that it says, or leaves behind in the nest, may hold one of the values.
    ///
    /// # Errors
    /// Something does.
    pub fn run(&self, command: &mut Command, values: &[String]) -> Result<Ran> {
        let ran = run(command);
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let told = |what: &str, text: &str| match hides(text, values) {
            Ok(()) => Ok(()),
            Err(error) => bail!("{what} of {} {}: {error}", command.get_program().display(), words.join(" ")),
        };
        told("standard output", &ran.out)?;
        told("standard error", &ran.err)?;
        for file in files(self.dir.path())? {
            told(&format!("file {}", file.display()), &String::from_utf8_lossy(&fs::read(&file)?))?;
        }
        Ok(ran)
    }

    /// What the programs of the nest wrote down.
    pub fn traced(&self) -> String {
        fs::read_to_string(self.trace()).unwrap_or_default()
    }
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn every_form_is_found_and_nothing_else() {
        let value = marker("glpat-", "one");
        let values = [marker("glpat-", "other"), value.clone()];
        let hex: String = value.bytes().map(|byte| format!("{byte:02X}")).collect();
        for text in [
            format!("a\nb {value} c"),
            format!("cut {}…", &value[..value.len() - 6]),
            format!("…{}", &value[10..]),
            STANDARD.encode(format!("{{\"token\":\"{value}\"}}")),
            STANDARD.encode(format!(" {{\"token\":\"{value}\"}}")),
            STANDARD.encode(format!("  {{\"token\":\"{value}\"}}")),
            URL_SAFE_NO_PAD.encode(format!("x{value}y")),
            format!("?token={}", utf8_percent_encode(&value, NON_ALPHANUMERIC)),
            format!("{:?}", value.as_bytes()).replace(", ", " "),
            value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect(),
            hex.to_lowercase(),
            hex,
        ] {
            let error = hides(&text, &values).expect_err(&text).to_string();
            assert!(error.contains("value 1 of 2") && !error.contains(&value), "{error}");
        }
        assert!(hides("glpat- and Cnry are in no value alone", &values).is_ok());
    }

    #[test]
    fn a_nest_notices_output_files_and_what_programs_are_given() {
        let value = [marker("", "planted")];
        for script in [
            format!("echo {}", value[0]),
            format!("echo {} >&2", value[0]),
            format!("mkdir deep && echo {} >deep/file", value[0]),
            format!("kubectl get {}", value[0]),
            format!("TOKEN={} kubectl version", value[0]),
        ] {
            let nest = Nest::new().unwrap();
            let mut shell = Command::new("sh");
            let path = format!("{}:{}", nest.outside().display(), std::env::var("PATH").unwrap());
            shell.args(["-c", &script]).env("PATH", path).current_dir(nest.dir.path());
            assert!(nest.run(&mut shell, &value).is_err(), "{script}");
        }
        let nest = Nest::new().unwrap();
        assert!(nest.run(Command::new("true").current_dir(nest.dir.path()), &value).is_ok());
    }
}

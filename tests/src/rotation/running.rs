//! A run of the real binary, read line by line, killed and told to end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// A run whose lines are read as they come.
pub struct Running {
    /// The process.
    pub child: Child,
    /// What is not read yet.
    pub lines: BufReader<ChildStdout>,
    /// What was read.
    pub seen: String,
}

impl Running {
    /// Starts it with both streams caught.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no way to read")?);
        Ok(Self { child, lines, seen: String::new() })
    }

    /// Reads until the step was done for the nth time.
    pub fn until(&mut self, step: &str, nth: usize) -> Result<()> {
        let mut left = nth;
        loop {
            let from = self.seen.len();
            if self.lines.read_line(&mut self.seen)? == 0 {
                let mut err = String::new();
                self.child.stderr.take().context("no way to read")?.read_to_string(&mut err)?;
                bail!("it ended before {step}: {}{err}", self.seen);
            }
            if self.seen[from..].starts_with(&format!("✓ {step}")) {
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
            }
        }
    }

    /// Waits for its end; gives the exit code and all that it said.
    pub fn ended(mut self) -> Result<(Option<i32>, String)> {
        self.lines.read_to_string(&mut self.seen)?;
        let code = self.child.wait()?.code();
        self.child.stderr.take().context("no way to read")?.read_to_string(&mut self.seen)?;
        // What is said is wrapped at the width.
        Ok((code, self.seen.split_whitespace().collect::<Vec<_>>().join(" ")))
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status()?;
        ensure!(sent.success(), "kill -{name}");
        Ok(())
    }
}

//! The log of one pod, in the form that a container runtime keeps and kwok serves to `kubectl logs`.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;

/// A log file.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    pub(super) fn create(path: &Path) -> Result<Self> {
        Ok(Self { file: File::options().create(true).append(true).open(path)?, path: path.into() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A line that is not JSON, as of a process that ends before it has a logger.
    pub(super) fn plain(&mut self, text: &str) {
        // A full disk is no reason for agentk to end.
        let _ = writeln!(self.file, "{:.9} stderr F {text}", Timestamp::now());
    }

    /// A structured line at level INFO.
    pub(super) fn info(&mut self, module: &str, text: &str, more: &[(&str, &str)]) {
        self.structured("INFO", module, text, more);
    }

    /// A structured line at level ERROR.
    pub(super) fn error(&mut self, module: &str, text: &str, error: &str) {
        self.structured("ERROR", module, text, &[("error", error)]);
    }

    /// Written by hand: the logger's order of keys is part of how such a line looks.
    fn structured(&mut self, level: &str, module: &str, text: &str, more: &[(&str, &str)]) {
        let mut line =
            format!(r#"{{"time":"{:.9}","level":"{level}","msg":{}"#, Timestamp::now(), json!(text));
        let module = (!module.is_empty()).then_some(("mod_name", module));
        for (key, value) in module.iter().chain(more) {
            line.push_str(&format!(",{}:{}", json!(key), json!(value)));
        }
        line.push('}');
        self.plain(&line);
    }
}

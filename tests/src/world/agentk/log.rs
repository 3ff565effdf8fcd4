//! The log of one pod, in the form that a container runtime keeps and kwok serves to `kubectl logs`.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

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

    fn structured(&mut self, level: &str, module: &str, text: &str, more: &[(&str, &str)]) {
        let mut line = Map::new();
        line.insert("time".into(), json!(format!("{:.9}", Timestamp::now())));
        line.insert("level".into(), json!(level));
        line.insert("msg".into(), json!(text));
        if !module.is_empty() {
            line.insert("mod_name".into(), json!(module));
        }
        line.extend(more.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
        self.plain(&Value::Object(line).to_string());
    }
}

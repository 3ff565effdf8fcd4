//! What a release may weigh and cost, and whether two builds agree.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::layout::{Package, all_programs};
use crate::target::Target;

/// A compressed archive, bytes.
const ARCHIVE: usize = 25 * 1000 * 1000;
/// A program, bytes.
const PROGRAM: usize = 8 * 1000 * 1000;
/// CPU time that `--help` may cost more than /bin/true, in milliseconds.
const START: f64 = 10.0;
/// Runs of each program: their CPU time is summed, because the kernel counts in hundredths of a second.
const RUNS: u32 = 50;

/// Checks sizes. Gives a line per file.
///
/// # Errors
/// Something is too large.
pub fn sizes(target: &Target, folder: &Path, out: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut check = |file: &Path, limit: usize| -> Result<()> {
        let size = usize::try_from(fs::metadata(file).with_context(|| file.display().to_string())?.len())?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines.push(format!("{name:<52} {:>6.2} MB of {}", size as f64 / 1e6, limit / 1_000_000));
        ensure!(size <= limit, "{name} has {size} bytes, more than {limit}");
        Ok(())
    };
    for name in all_programs() {
        check(&folder.join(format!("{name}{}", target.exe())), PROGRAM)?;
    }
    for package in Package::ALL {
        check(&out.join(package.archive(target)), ARCHIVE)?;
    }
    Ok(lines)
}

/// Measures `--help` of every program side by side with /bin/true. Gives a line per program.
///
/// # Errors
/// One costs more than 10 ms more, or there is no /proc to measure by.
pub fn start(folder: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for name in all_programs() {
        let (mut ours, mut theirs) = (0.0, 0.0);
        for _ in 0..RUNS {
            theirs += cpu_of(Command::new("/bin/true").arg("--help"))?;
            ours += cpu_of(Command::new(folder.join(&name)).arg("--help"))?;
        }
        let more = (ours - theirs) / f64::from(RUNS);
        lines.push(format!("{name:<40} --help costs {more:>5.1} ms more CPU than /bin/true, of {START}"));
        ensure!(more <= START, "{name} --help costs {more:.1} ms more CPU than /bin/true");
    }
    Ok(lines)
}

/// CPU time of a child in milliseconds, as /proc counts it.
fn cpu_of(command: &mut Command) -> Result<f64> {
    let before = children()?;
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?} ends with {status}");
    Ok(children()? - before)
}

/// CPU time of all children that have ended: fields 16 and 17 of /proc/self/stat, in ticks of 10 ms (proc(5)).
fn children() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("the start can be measured on Linux only")?;
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat has a name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("a field")?.parse::<u32>()?.into()) };
    Ok((ticks(13)? + ticks(14)?) * 10.0)
}

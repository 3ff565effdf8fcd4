//! Standard output and standard error: the only doors for text. Data goes to the first, talk to the second.
//!
//! Whoever writes an object, a kubeconfig, a recording or an answer also writes what is said about it. So everything
//! on standard error is made visible here, and nothing else writes to it (`tests/tests/truth.rs`). Data is made visible
//! by its format, which knows what is its own. What this run knows to be secret is masked here on both ([`known`]), whatever
//! was done before.

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use gitlab_agent_core::report::Exit;
use gitlab_agent_core::text::visible;

use crate::known;

/// Something that was to be written could not be; see [`ended`].
static UNWRITTEN: AtomicBool = AtomicBool::new(false);
/// A line on standard error is without an end, because it is drawn again and again.
static MOVING: AtomicBool = AtomicBool::new(false);
/// The terminal on standard output is drawn in place.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// Writes data to standard output. A closed pipe (`| head`) is nobody's fault; a full disk ends the run with a code of
/// its own.
pub fn out(text: &str) {
    let _ = is_read(text);
}

/// The same; false where nobody reads any more.
pub(crate) fn is_read(text: &str) -> bool {
    match write(known::run().at_the_door(text).as_bytes()) {
        Ok(()) => true,
        Err(error) => {
            if error.kind() != ErrorKind::BrokenPipe {
                unwritten(&format!("cannot write to standard output: {error}"));
            }
            false
        }
    }
}

/// The same for a manifest, which holds the new credential and must not be lost: whoever writes it has to know.
///
/// # Errors
/// It was not written.
pub(crate) fn manifest(text: &str) -> std::io::Result<()> {
    write(text.as_bytes())
}

fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush())
}

/// Draws a picture in place, on the terminal that standard output is.
pub(crate) fn draw(picture: &str) -> bool {
    DRAWN.store(true, Ordering::Relaxed);
    is_read(picture)
}

/// Notes that something could not be written: said once, and the run ends with 74 (docs/exit-codes.md).
pub(crate) fn unwritten(text: &str) {
    if !UNWRITTEN.swap(true, Ordering::Relaxed) {
        note(&format!("error: {text}"));
    }
}

/// The process's exit code: a verdict that could not be written, or of which something is missing, is no verdict.
/// What a rotation did stays what the code says.
pub(crate) fn ended(exit: Exit) -> ExitCode {
    let verdict = matches!(exit, Exit::Fine | Exit::Problems | Exit::Unknown | Exit::Unreachable);
    let exit = if verdict && UNWRITTEN.load(Ordering::Relaxed) { Exit::Unwritten } else { exit };
    ExitCode::from(exit.code())
}

/// Writes a line of talk to standard error.
pub fn note(text: &str) {
    talk(&format!("{}\n", visible(text)));
}

/// Writes several lines of our own to standard error, for example a usage. What comes from elsewhere must be visible
/// already, or its line feeds begin lines.
pub fn note_lines(text: &str) {
    let lines: String = text.lines().map(|line| format!("{}\n", visible(line))).collect();
    talk(&lines);
}

/// A question on the terminal; the answer comes behind it.
pub(crate) fn ask(text: &str) {
    talk(&format!("\n{}", visible(text)));
}

/// Draws the one moving line on standard error, which must be a terminal.
pub(crate) fn moving(text: &str) {
    MOVING.store(true, Ordering::Relaxed);
    talk(&format!("\r\x1b[2K{}", visible(text)));
}

/// Takes the moving line away.
pub(crate) fn still() {
    if MOVING.swap(false, Ordering::Relaxed) {
        talk("\r\x1b[2K");
    }
}

/// Leaves the terminal as it was; for ends that no destructor sees.
pub(crate) fn restore() {
    still();
    if DRAWN.swap(false, Ordering::Relaxed) {
        let _ = is_read("\x1b[?7h\n");
    }
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether standard error is a terminal.
pub(crate) fn talks_to_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Nobody can be told that talk was not heard.
fn talk(text: &str) {
    let text = known::run().at_the_door(text);
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

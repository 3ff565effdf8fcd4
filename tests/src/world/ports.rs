//! Free ports on loopback, for servers that are started a moment later.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// Below the range from which the kernel takes ports for outgoing connections, so that a stopped server finds its port free again.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// Hands out ports, each one once.
#[derive(Debug)]
pub(crate) struct Ports {
    given: HashSet<u16>,
    next: u16,
}

impl Ports {
    /// Starts at a place of its own in the range, so that instances beside each other rarely ask for the same port.
    pub(crate) fn new() -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
        let seed = (nanos / 1_000).wrapping_add(std::process::id().wrapping_mul(7_919));
        let width = u32::from(RANGE.end - RANGE.start);
        let offset = u16::try_from(seed % width).unwrap_or(0);
        Self { given: HashSet::new(), next: RANGE.start + offset }
    }

    /// A port that nobody listens on now.
    pub(crate) fn free(&mut self) -> Result<u16> {
        for _ in RANGE {
            let port = self.next;
            self.next = if port + 1 == RANGE.end { RANGE.start } else { port + 1 };
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
                && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
            if free && self.given.insert(port) {
                return Ok(port);
            }
        }
        None.context("no free port on 127.0.0.1")
    }
}

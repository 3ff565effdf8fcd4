//! What a release is made of: programs, archives, checksums, SBOM, the manifests of krew and Flux, man pages, and the
//! documents made from the programs' own help. The tests use the same code on programs of the dev profile.

pub mod archive;
pub mod budget;
pub mod commands;
pub mod compile;
pub mod flux;
pub mod krew;
pub mod layout;
pub mod publish;
pub mod sbom;
pub mod target;

use std::path::Path;

/// The version, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

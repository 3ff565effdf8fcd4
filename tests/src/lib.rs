//! What the tests of this project share: the programs under test, and the test world, a real Kubernetes with real
//! Flux and a played GitLab.

pub mod programs;
pub mod world;

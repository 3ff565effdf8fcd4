//! What the tests of this project share: the programs under test, what must turn up nowhere,
//! a snapshot in every format, who rotates credentials, a reader of Prometheus's format, and the test world, a real Kubernetes with real
//! Flux and a played GitLab.

pub mod canary;
pub mod formats;
pub mod lone_api;
pub mod programs;
pub mod prometheus;
pub mod rotation;
pub mod world;

//! What the tests of this project share: the test world, a real Kubernetes with real Flux and a played GitLab.

pub mod world;

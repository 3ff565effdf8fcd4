//! The real Flux controllers as processes, and in the cluster the objects that `flux install` makes.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::components::Components;
use super::control_plane::kubeconfig_of;
use super::egress::Played;
use super::ports::Ports;
use super::process::Recipe;

/// The release that the objects in the cluster say they are.
pub const RELEASE: &str = "v2.9.2";

/// A controller and the image its Deployment names.
///
/// The images are those of one Flux release. The notification-controller that really runs is v1.5.0, the newest
/// whose Go module resolves; what it serves of Receivers, Providers and Alerts is the same.
const CONTROLLERS: &[(&str, &str)] = &[
    ("source-controller", "ghcr.io/fluxcd/source-controller:v1.9.1"),
    ("kustomize-controller", "ghcr.io/fluxcd/kustomize-controller:v1.9.4"),
    ("helm-controller", "ghcr.io/fluxcd/helm-controller:v1.6.3"),
    ("notification-controller", "ghcr.io/fluxcd/notification-controller:v1.9.1"),
];

const SHARED_OBJECTS: &str = include_str!("../../world/manifests/flux.yaml");
const CONTROLLER_OBJECTS: &str = include_str!("../../world/manifests/flux-controller.yaml");

/// API versions that Flux 2.9 still serves of what the older notification-controller's CRDs offer.
pub(crate) const SERVED: &[(&str, &str)] = &[
    ("receivers.notification.toolkit.fluxcd.io", "v1"),
    ("alerts.notification.toolkit.fluxcd.io", "v1beta3"),
    ("providers.notification.toolkit.fluxcd.io", "v1beta3"),
];

/// Addresses of the controllers.
#[derive(Debug, Clone)]
pub(crate) struct Flux {
    pub(crate) receiver_port: u16,
    events_port: u16,
    storage_port: u16,
    health_ports: Vec<u16>,
}

impl Flux {
    pub(crate) fn prepare(ports: &mut Ports) -> Result<Self> {
        Ok(Self {
            receiver_port: ports.free()?,
            events_port: ports.free()?,
            storage_port: ports.free()?,
            health_ports: CONTROLLERS.iter().map(|_| ports.free()).collect::<Result<_>>()?,
        })
    }

    /// What the controllers' pods listen on, for who dials them by their addresses.
    pub(crate) fn played(&self) -> Vec<Played> {
        let health = CONTROLLERS.iter().zip(&self.health_ports).map(|((name, _), port)| (*name, 9440, *port));
        let others = [
            ("source-controller", 9090, self.storage_port),
            ("notification-controller", 9090, self.events_port),
            ("notification-controller", 9292, self.receiver_port),
        ];
        let all = health.chain(others);
        all.map(|(deployment, port, loopback)| Played { deployment, port, loopback }).collect()
    }

    /// How to run each controller.
    pub(crate) fn recipes(&self, dir: &Path, components: &Components) -> Result<Vec<Recipe>> {
        let recipe = |((name, _), health): (&(&str, &str), &u16)| {
            let home = dir.join(name);
            std::fs::create_dir_all(home.join("data"))?;
            std::fs::create_dir_all(home.join("tmp"))?;
            Ok(Recipe {
                name: (*name).into(),
                program: components.program(name)?,
                args: self.args(name, *health, &home),
                env: vec![
                    ("KUBECONFIG".into(), kubeconfig_of(dir, name).display().to_string()),
                    ("RUNTIME_NAMESPACE".into(), "flux-system".into()),
                    ("TMPDIR".into(), home.join("tmp").display().to_string()),
                    ("HOME".into(), home.display().to_string()),
                ],
                log: dir.join(format!("{name}.log")),
                dir: home,
            })
        };
        CONTROLLERS.iter().zip(&self.health_ports).map(recipe).collect()
    }

    fn args(&self, name: &str, health: u16, home: &Path) -> Vec<String> {
        let mut args = vec![
            "--watch-all-namespaces=true".to_owned(),
            "--log-level=info".into(),
            "--log-encoding=json".into(),
            "--metrics-addr=0".into(),
            format!("--health-addr=127.0.0.1:{health}"),
        ];
        let events = format!("--events-addr=http://127.0.0.1:{}/", self.events_port);
        let storage = format!("127.0.0.1:{}", self.storage_port);
        match name {
            "source-controller" => args.extend([
                events,
                format!("--storage-path={}", home.join("data").display()),
                format!("--storage-addr={storage}"),
                format!("--storage-adv-addr={storage}"),
            ]),
            "kustomize-controller" | "helm-controller" => {
                args.extend([events, "--requeue-dependency=2s".into()]);
            }
            _ => args.extend([
                format!("--events-addr=127.0.0.1:{}", self.events_port),
                format!("--receiverAddr=127.0.0.1:{}", self.receiver_port),
            ]),
        }
        args
    }
}

/// The files with the custom resource definitions.
pub(crate) fn crd_dirs(components: &Components) -> Result<Vec<PathBuf>> {
    CONTROLLERS.iter().map(|(name, _)| Ok(components.files(name)?.join("config/crd/bases"))).collect()
}

/// Everything else that `flux install` applies.
pub(crate) fn manifests() -> String {
    let mut documents = vec![SHARED_OBJECTS.replace("@RELEASE@", RELEASE)];
    for (name, image) in CONTROLLERS {
        let args: String = deployed_args(name).iter().map(|arg| format!("\n        - {arg}")).collect();
        let port = |(name, number): &(&str, u16)| {
            format!("\n        - containerPort: {number}\n          name: {name}")
        };
        let ports: String = deployed_ports(name).iter().map(port).collect();
        let of_one = CONTROLLER_OBJECTS
            .replace("@RELEASE@", RELEASE)
            .replace("@NAME@", name)
            .replace("@IMAGE@", image)
            .replace("@ARGS@", &args)
            .replace("@PORTS@", &ports);
        documents.push(of_one);
    }
    documents.join("\n---\n")
}

/// The arguments as the Deployment shows them; the process behind has those of `Flux::args`.
fn deployed_args(name: &str) -> Vec<&'static str> {
    let mut args = vec![
        "--watch-all-namespaces=true",
        "--log-level=info",
        "--log-encoding=json",
        "--enable-leader-election",
    ];
    if name != "notification-controller" {
        args.insert(
            0,
            "--events-addr=http://notification-controller.$(RUNTIME_NAMESPACE).svc.cluster.local./",
        );
    }
    if name == "source-controller" {
        args.push("--storage-path=/data");
        args.push("--storage-adv-addr=source-controller.$(RUNTIME_NAMESPACE).svc.cluster.local.");
    }
    args
}

/// The ports that Services name, besides those that every controller has.
fn deployed_ports(name: &str) -> &'static [(&'static str, u16)] {
    match name {
        "source-controller" => &[("http", 9090)],
        "notification-controller" => &[("http", 9090), ("http-webhook", 9292)],
        _ => &[],
    }
}

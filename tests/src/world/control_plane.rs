//! How to run etcd, the Kubernetes control plane, and kwok, which plays the nodes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::KeyPair;

use super::components::Components;
use super::kubeconfig::{self, Server, SignIn};
use super::pki::Authority;
use super::ports::Ports;
use super::process::Recipe;

/// Users of the token file besides the person: the programs of the world, each under its name in a real cluster.
const USERS: &[(&str, &str)] = &[
    ("admin", "world-admin"),
    ("kube-controller-manager", "system:kube-controller-manager"),
    ("kube-scheduler", "system:kube-scheduler"),
    ("kwok", "system:node:kwok"),
    ("source-controller", "system:serviceaccount:flux-system:source-controller"),
    ("kustomize-controller", "system:serviceaccount:flux-system:kustomize-controller"),
    ("helm-controller", "system:serviceaccount:flux-system:helm-controller"),
    ("notification-controller", "system:serviceaccount:flux-system:notification-controller"),
];

/// Files and addresses of one control plane.
pub(crate) struct ControlPlane<'a> {
    dir: &'a Path,
    components: &'a Components,
    pub(crate) server: Server,
    api_port: u16,
    etcd_port: u16,
    etcd_peer_port: u16,
    pub(crate) kubelet_port: u16,
    /// How the API server reaches pods and nodes.
    egress: PathBuf,
}

impl<'a> ControlPlane<'a> {
    /// Writes keys, the token file and one kubeconfig per user.
    pub(crate) fn prepare(
        dir: &'a Path,
        components: &'a Components,
        ports: &mut Ports,
        ca: &Authority,
        egress: &Path,
    ) -> Result<Self> {
        let api_port = ports.free()?;
        let plane = Self {
            dir,
            components,
            server: Server { url: format!("https://127.0.0.1:{api_port}"), ca: ca.pem() },
            api_port,
            etcd_port: ports.free()?,
            etcd_peer_port: ports.free()?,
            kubelet_port: ports.free()?,
            egress: egress.into(),
        };
        plane.write_keys(ca)?;
        plane.write_users()?;
        Ok(plane)
    }

    fn write_keys(&self, ca: &Authority) -> Result<()> {
        let names = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc", "10.96.0.1"];
        let serving = ca.server(&names)?;
        let accounts = KeyPair::generate()?;
        fs::write(self.file("ca.crt"), ca.pem())?;
        fs::write(self.file("server.crt"), serving.certificate)?;
        fs::write(self.file("server.key"), serving.key)?;
        fs::write(self.file("accounts.key"), accounts.serialize_pem())?;
        fs::write(self.file("accounts.pub"), accounts.public_key_pem())?;
        Ok(())
    }

    fn write_users(&self) -> Result<()> {
        let mut lines = String::new();
        for (file, user) in USERS {
            let token = super::secret::alphanumeric(32)?;
            lines.push_str(&format!("{token},{user},{file},system:masters\n"));
            kubeconfig::write(&kubeconfig_of(self.dir, file), &self.server, file, SignIn::Token(&token))?;
        }
        fs::write(self.file("tokens.csv"), lines)?;
        Ok(())
    }

    /// etcd and the API server.
    pub(crate) fn store_and_api(&self) -> Result<[Recipe; 2]> {
        Ok([self.recipe("etcd", self.etcd_args())?, self.recipe("kube-apiserver", self.api_args())?])
    }

    /// What needs the API server to be there.
    pub(crate) fn clients(&self) -> Result<[Recipe; 3]> {
        Ok([
            self.recipe("kube-controller-manager", self.manager_args())?,
            self.recipe("kube-scheduler", self.scheduler_args())?,
            self.recipe("kwok", self.kwok_args()?)?,
        ])
    }

    fn etcd_args(&self) -> Vec<String> {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port);
        vec![
            // Nothing in here is worth waiting for a disk.
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
            format!("--data-dir={}", self.file("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ]
    }

    fn api_args(&self) -> Vec<String> {
        vec![
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={}", self.api_port),
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--cert-dir={}", self.file("certs").display()),
            format!("--tls-cert-file={}", self.file("server.crt").display()),
            format!("--tls-private-key-file={}", self.file("server.key").display()),
            format!("--client-ca-file={}", self.file("ca.crt").display()),
            format!("--token-auth-file={}", self.file("tokens.csv").display()),
            "--authorization-mode=RBAC".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", self.file("accounts.pub").display()),
            format!("--service-account-signing-key-file={}", self.file("accounts.key").display()),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--kubelet-preferred-address-types=InternalIP".into(),
            "--endpoint-reconciler-type=none".into(),
            format!("--egress-selector-config-file={}", self.egress.display()),
        ]
    }

    fn manager_args(&self) -> Vec<String> {
        vec![
            self.kubeconfig_arg("kube-controller-manager"),
            format!("--service-account-private-key-file={}", self.file("accounts.key").display()),
            format!("--root-ca-file={}", self.file("ca.crt").display()),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
            "--controllers=*,-node-ipam-controller".into(),
            // A machine that is busy for a while has no dead nodes. (kwok loses the addresses of a node that was.)
            "--node-monitor-grace-period=300s".into(),
        ]
    }

    fn scheduler_args(&self) -> Vec<String> {
        vec![self.kubeconfig_arg("kube-scheduler"), "--leader-elect=false".into(), "--secure-port=0".into()]
    }

    fn kwok_args(&self) -> Result<Vec<String>> {
        let files = self.components.files("kwok")?.join("kustomize/stage");
        let mut args = vec![
            self.kubeconfig_arg("kwok"),
            "--manage-all-nodes=true".into(),
            "--cidr=10.244.0.0/16".into(),
            "--node-ip=127.0.0.1".into(),
            format!("--node-port={}", self.kubelet_port),
            format!("--server-address=127.0.0.1:{}", self.kubelet_port),
            format!("--tls-cert-file={}", self.file("server.crt").display()),
            format!("--tls-private-key-file={}", self.file("server.key").display()),
            // Without Leases the nodes are taken for dead after a minute: kwok's heartbeat comes every ten.
            "--node-lease-duration-seconds=40".into(),
            // The logs of each pod are an object that whoever writes them makes.
            "--enable-crds=Logs".into(),
        ];
        let mut stages = Vec::new();
        for directory in ["node/fast", "node/heartbeat-with-lease", "pod/fast"] {
            for entry in fs::read_dir(files.join(directory))? {
                stages.push(entry?.path());
            }
        }
        stages.retain(|file| !file.ends_with("kustomization.yaml"));
        stages.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("world/stages/pod-fate.yaml"));
        args.extend(stages.iter().map(|file| format!("--config={}", file.display())));
        Ok(args)
    }

    fn kubeconfig_arg(&self, user: &str) -> String {
        format!("--kubeconfig={}", kubeconfig_of(self.dir, user).display())
    }

    fn recipe(&self, name: &str, args: Vec<String>) -> Result<Recipe> {
        Ok(Recipe {
            name: name.into(),
            program: self.components.program(name)?,
            args,
            env: Vec::new(),
            log: self.dir.join(format!("{name}.log")),
            dir: self.dir.into(),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The kubeconfig of one of the users above.
pub(crate) fn kubeconfig_of(dir: &Path, user: &str) -> PathBuf {
    dir.join(format!("{user}.kubeconfig"))
}

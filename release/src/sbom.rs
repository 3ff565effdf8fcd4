//! The bill of materials of one platform's programs: CycloneDX 1.6 from what cargo resolved
//! (<https://cyclonedx.org/docs/1.6/json/>).

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::layout::all_programs;
use crate::target::Target;
use crate::{VERSION, root};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    source: Option<String>,
    targets: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

/// The document. `date` is in seconds since 1970; the same sources give the same bytes.
///
/// # Errors
/// cargo cannot tell what it resolved.
pub fn document(target: &Target, commit: &str, date: u64) -> Result<String> {
    let metadata = metadata(target)?;
    let checksums = checksums()?;
    let packages: BTreeMap<&str, &Package> = metadata.packages.iter().map(|p| (p.id.as_str(), p)).collect();
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let ours: BTreeSet<String> = all_programs().into_iter().collect();
    let roots = metadata.packages.iter().filter(|p| p.targets.iter().any(|t| ours.contains(&t.name)));
    let linked = linked(&nodes, roots.map(|p| p.id.as_str()).collect());
    let found: Vec<&Package> = linked.iter().filter_map(|id| packages.get(id).copied()).collect();
    let components: Vec<Value> = found.iter().map(|p| component(p, &checksums)).collect();
    let reference = |id: &str| packages.get(id).map(|p| purl(p));
    let depends = |id: &&str| {
        let below: BTreeSet<String> =
            nodes.get(*id).into_iter().flat_map(|n| normal(n)).filter_map(reference).collect();
        json!({"ref": reference(id), "dependsOn": below})
    };
    let dependencies: Vec<Value> = linked.iter().map(depends).collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": Timestamp::from_second(i64::try_from(date)?)?.to_string(),
            "component": {
                "type": "application",
                "name": "kubectl-gitlab_agent",
                "version": VERSION,
                "licenses": [{"expression": "Apache-2.0"}],
                "properties": [
                    {"name": "target", "value": target.triple},
                    {"name": "commit", "value": commit},
                ],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn metadata(target: &Target) -> Result<Metadata> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", target.triple])
        .current_dir(root())
        .output()
        .context("cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What is linked: packages reached without dependencies of builds and tests. Macros run at build time and are
/// listed too, as they decide what is linked.
fn linked<'m>(nodes: &BTreeMap<&'m str, &'m Node>, roots: Vec<&'m str>) -> Vec<&'m str> {
    let mut seen = BTreeSet::new();
    let mut todo = roots;
    while let Some(id) = todo.pop() {
        if seen.insert(id) {
            todo.extend(nodes.get(id).into_iter().flat_map(|node| normal(node)));
        }
    }
    seen.into_iter().collect()
}

fn normal(node: &Node) -> impl Iterator<Item = &str> {
    node.deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind.is_none())).map(|d| d.pkg.as_str())
}

fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package, checksums: &BTreeMap<String, String>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
    });
    // What lies in this repository is on no registry, whatever its name.
    if package.source.is_some() {
        component["purl"] = json!(purl(package));
    }
    if let Some(license) = &package.license {
        // Old crates write MIT/Apache-2.0, which SPDX writes with OR.
        component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    let sum = checksums.get(&format!("{} {}", package.name, package.version));
    if let (Some(sum), true) = (sum, package.source.is_some()) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    component
}

/// `name version` of each package with the checksum that Cargo.lock holds.
fn checksums() -> Result<BTreeMap<String, String>> {
    let lock = fs::read_to_string(root().join("Cargo.lock"))?;
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(" = \""))?;
        line.strip_suffix('"').map(str::to_owned)
    };
    let one = |block: &str| {
        let name = format!("{} {}", value(block, "name")?, value(block, "version")?);
        Some((name, value(block, "checksum")?))
    };
    Ok(lock.split("[[package]]").filter_map(one).collect())
}

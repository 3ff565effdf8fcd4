//! The least RBAC that lets checks see all they look at, from the table of needs: roles, and for a service account also
//! the account and the bindings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::need::{Need, ON_FAILURE, Reach};

/// Name of every object that is made.
const NAME: &str = "gitlab-agent-verify";

/// Who may do what, where.
#[derive(Clone, Debug)]
pub struct Rbac<'r> {
    /// What is read.
    pub needs: BTreeSet<Need>,
    /// Whether what failing objects reference is read, too.
    pub references: bool,
    /// The one namespace that runs are limited to (`-n`), beside Flux's own; all where none.
    pub namespace: Option<&'r str>,
    /// Namespace of the Flux controllers.
    pub flux_namespace: &'r str,
    /// The service account that the roles are bound to, by namespace and name.
    pub account: Option<(&'r str, &'r str)>,
}

impl Rbac<'_> {
    /// The objects as YAML documents, for `kubectl apply -f -`.
    pub fn yaml(&self) -> String {
        let documents = self.objects();
        documents.iter().map(super::yaml).collect::<Vec<_>>().join("---\n")
    }

    fn objects(&self) -> Vec<Value> {
        let mut scopes: BTreeMap<Option<&str>, Rules> = BTreeMap::new();
        let mut grant = |reach: Reach, group: &'static str, verb: &'static str, resource: &'static str| {
            for scope in self.scopes(reach) {
                scopes.entry(scope).or_default().entry((group, verb)).or_default().insert(resource);
            }
        };
        for row in self.needs.iter().map(|need| need.row()).filter(|row| !row.verb.is_empty()) {
            grant(row.reach, row.group, row.verb, row.resource);
        }
        for of in ON_FAILURE.iter().filter(|_| self.references) {
            for verb in of.verbs {
                of.resources.iter().for_each(|resource| grant(of.reach, of.group, verb, resource));
            }
        }
        let mut objects = Vec::new();
        if let Some((namespace, name)) = self.account {
            objects.push(json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": namespace}}));
        }
        for (scope, rules) in scopes {
            objects.push(role(scope, rules));
            objects.extend(self.account.map(|account| binding(scope, account)));
        }
        objects
    }

    /// Where something is granted; none is the whole cluster.
    fn scopes(&self, reach: Reach) -> Vec<Option<&str>> {
        match (reach, self.namespace) {
            (Reach::FluxNamespace, _) => vec![Some(self.flux_namespace)],
            (Reach::AllNamespaces | Reach::SomeNamespaces, Some(namespace)) => {
                vec![Some(namespace), Some(self.flux_namespace)]
            }
            _ => vec![None],
        }
    }
}

/// Resources by group and verb.
type Rules = BTreeMap<(&'static str, &'static str), BTreeSet<&'static str>>;

fn role(scope: Option<&str>, rules: Rules) -> Value {
    let rules: Vec<Value> = rules
        .into_iter()
        .map(|((group, verb), resources)| json!({"apiGroups": [group], "resources": resources, "verbs": [verb]}))
        .collect();
    let (kind, metadata) = named("Role", scope);
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules})
}

fn binding(scope: Option<&str>, (namespace, name): (&str, &str)) -> Value {
    let (kind, metadata) = named("RoleBinding", scope);
    let (role, _) = named("Role", scope);
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": NAME},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]})
}

fn named(kind: &str, scope: Option<&str>) -> (String, Value) {
    match scope {
        Some(namespace) => (kind.to_owned(), json!({"name": NAME, "namespace": namespace})),
        None => (format!("Cluster{kind}"), json!({"name": NAME})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::need::TABLE;

    fn rbac(needs: &[Need], namespace: Option<&'static str>) -> Rbac<'static> {
        let needs = needs.iter().copied().collect();
        Rbac { needs, references: false, namespace, flux_namespace: "flux-system", account: None }
    }

    fn granted(objects: &[Value]) -> Vec<String> {
        let mut all = Vec::new();
        for object in objects {
            let place = object["metadata"]["namespace"].as_str().unwrap_or("*");
            for rule in object["rules"].as_array().into_iter().flatten() {
                for resource in rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    let (verb, group) = (&rule["verbs"][0], &rule["apiGroups"][0]);
                    all.push(format!(
                        "{place} {} {}/{resource}",
                        verb.as_str().expect("a verb"),
                        group.as_str().expect("a group")
                    ));
                }
            }
        }
        all.sort();
        all
    }

    #[test]
    fn every_row_is_granted_once_where_it_is_read() {
        let needs: Vec<Need> = TABLE.iter().map(|row| row.need).collect();
        let objects = rbac(&needs, None).objects();
        let mut expected: Vec<String> = TABLE
            .iter()
            .filter(|row| !row.verb.is_empty())
            .map(|row| {
                let place = if row.reach == Reach::FluxNamespace { "flux-system" } else { "*" };
                format!("{place} {} {}/{}", row.verb, row.group, row.resource)
            })
            .collect();
        expected.sort();
        assert_eq!(granted(&objects), expected);
    }

    #[test]
    fn a_run_limited_to_a_namespace_needs_roles_there_and_in_fluxs() {
        let needs = [Need::Crds, Need::Deployments, Need::Services, Need::Version];
        assert_eq!(
            granted(&rbac(&needs, Some("shop")).objects()),
            [
                "* list apiextensions.k8s.io/customresourcedefinitions",
                "flux-system list /services",
                "flux-system list apps/deployments",
                "shop list apps/deployments"
            ]
        );
        assert_eq!(rbac(&needs[1..2], Some("flux-system")).objects().len(), 1);
        assert_eq!(rbac(&needs[3..], None).yaml(), "", "nothing to grant");
    }

    #[test]
    fn what_failing_objects_reference_is_granted_beside_the_rest() {
        let with = |namespace| Rbac { references: true, ..rbac(&[Need::Secrets], namespace) };
        let all = granted(&with(None).objects());
        for rule in [
            "* get /configmaps",
            "* get /secrets",
            "* get batch/jobs",
            "* get cert-manager.io/clusterissuers",
            "* list external-secrets.io/externalsecrets",
        ] {
            assert!(all.iter().any(|granted| granted == rule), "{rule}: {all:#?}");
        }
        let limited = granted(&with(Some("shop")).objects());
        for rule in
            ["shop get batch/jobs", "flux-system get batch/jobs", "* get cert-manager.io/clusterissuers"]
        {
            assert!(limited.iter().any(|granted| granted == rule), "{rule}: {limited:#?}");
        }
        assert!(!limited.iter().any(|granted| granted == "* get batch/jobs"), "{limited:#?}");
    }

    #[test]
    fn an_account_is_bound_to_every_role() {
        let mut rbac = rbac(&[Need::Deployments, Need::Services], None);
        rbac.account = Some(("monitoring", "verify"));
        let kinds: Vec<String> =
            rbac.objects().iter().map(|o| o["kind"].as_str().expect("a kind").to_owned()).collect();
        assert_eq!(kinds, ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]);
        let documents = rbac.yaml();
        assert_eq!(documents.matches("\n---\n").count(), 4, "{documents}");
        assert!(
            documents.contains("name: verify\n") && documents.contains("namespace: monitoring\n"),
            "{documents}"
        );
    }
}

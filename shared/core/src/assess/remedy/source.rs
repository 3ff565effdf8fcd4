//! What to do about a source that is not fetched, and about the Secret with its credential.

use serde_json::json;

use super::Remedy;
use crate::facts::failure::Failure;
use crate::facts::host::host_and_port;
use crate::facts::{Facts, SecretShape, Source};
use crate::object::ObjectRef;
use crate::text::quote;

/// The type of a Secret for a registry.
const DOCKER: &str = "kubernetes.io/dockerconfigjson";

/// How a credential is written: which keys, of which form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `username` and `password`.
    Password,
    /// `identity` and `known_hosts`.
    Ssh,
    /// `.dockerconfigjson`.
    Docker,
    /// `accesskey` and `secretkey`.
    Bucket,
}

/// A source with what its remedies need: the object that holds URL and credential.
struct At<'a, 'f> {
    facts: &'a Facts<'f>,
    object: ObjectRef,
    source: &'a Source,
    /// The credential's Secret, and whether the source names it already.
    secret: ObjectRef,
    named: bool,
    form: Form,
}

impl<'a, 'f> At<'a, 'f> {
    /// A HelmChart has neither URL nor credential: its repository has.
    fn new(facts: &'a Facts<'f>, object: &ObjectRef, source: &'a Source) -> Self {
        let from = source.spec.source_ref.as_ref().map(|from| Facts::resolve(from, &object.namespace));
        let repository = from.and_then(|from| {
            let found = facts.sources(&from.kind)?.find(&from.namespace, &from.name).ok()??;
            Some((from, found))
        });
        let (object, source) = repository.unwrap_or_else(|| (object.clone(), source));
        let named = source.spec.secret_ref.as_ref().map(|secret| secret.name.clone());
        let name = named.clone().unwrap_or_else(|| format!("{}-credential", object.name));
        let form = match object.kind.as_str() {
            "Bucket" => Form::Bucket,
            "OCIRepository" => Form::Docker,
            _ if source.spec.url.starts_with("ssh://") => Form::Ssh,
            _ => Form::Password,
        };
        let secret = ObjectRef::new("Secret", &object.namespace, &name);
        Self { facts, secret, named: named.is_some(), object, source, form }
    }

    fn host(&self) -> (&str, &str) {
        host_and_port(&self.source.spec.url).unwrap_or_default()
    }

    fn url(&self) -> String {
        quote(&self.source.spec.url)
    }

    /// What to create in GitLab.
    fn token(&self) -> &'static str {
        match (self.form, self.object.kind.as_str()) {
            (Form::Ssh, _) => "a deploy key (Settings > Repository > Deploy keys)",
            (Form::Bucket, _) => "an access key",
            (Form::Docker, _) => {
                "a deploy token with scope read_registry (Settings > Repository > Deploy tokens)"
            }
            (_, "HelmRepository") => {
                "a deploy token with scope read_package_registry (Settings > Repository > Deploy tokens)"
            }
            _ => "a deploy token with scope read_repository (Settings > Repository > Deploy tokens)",
        }
    }

    fn shape(&self) -> Option<&SecretShape> {
        self.facts.secret(&self.secret.namespace, &self.secret.name).ok().flatten()
    }

    /// Whether the Secret can only be made anew: its type cannot change, and a `bearerToken` that stays behind would
    /// go before the password.
    fn is_in_the_way(&self, shape: &SecretShape) -> bool {
        let wanted = if self.form == Form::Docker { DOCKER } else { "Opaque" };
        shape.immutable || shape.kind != wanted || shape.keys.contains_key("bearerToken")
    }

    /// Writes the whole credential; the source is made to name it where it does not.
    fn write(&self, remedy: Remedy) -> Remedy {
        let remedy = match self.shape().filter(|shape| self.is_in_the_way(shape)) {
            Some(_) => remedy.kubectl(&self.secret.namespace, format!("delete {}", self.secret.kubectl())),
            None => remedy,
        };
        let written = match self.form {
            Form::Password => remedy.write_pair(&self.secret, "username", "password"),
            Form::Bucket => remedy.write_pair(&self.secret, "accesskey", "secretkey"),
            Form::Docker => remedy.write_docker(&self.secret, self.host().0),
            Form::Ssh => remedy.write_ssh(&self.secret, self.host()),
        };
        let name = json!({"spec": {"secretRef": {"name": self.secret.name}}});
        let named = if self.named { written } else { written.patch(&self.object, &name) };
        named.reconcile(&self.object)
    }

    fn say(&self, text: String) -> Remedy {
        Remedy::in_git(self.facts, &self.secret, &text)
    }

    fn write_all(&self) -> Remedy {
        let token = self.token();
        self.write(self.say(format!(
            "create {token} for the project in GitLab and write it into {} (it is asked for, and not shown)",
            self.secret
        )))
    }

    /// Replaces a credential that GitLab does not take. Other keys of its Secret stay.
    fn replace(&self) -> Remedy {
        let fits = |shape: &SecretShape| !self.is_in_the_way(shape) && shape.keys.contains_key("username");
        let whole = match self.form {
            Form::Docker | Form::Bucket => true,
            Form::Password => !self.shape().is_none_or(fits),
            Form::Ssh => false,
        };
        if whole || !self.named {
            return self.write_all();
        }
        if self.form == Form::Ssh {
            return self
                .say("add the public key that the first command prints to the project in GitLab, as a deploy key".to_owned())
                .show(&self.secret, r"identity\.pub")
                .reconcile(&self.object);
        }
        let text = format!(
            "create {} for the project in GitLab, with the user name that the first command prints, and write it into {} \
             (it is asked for, and not shown)",
            self.token(),
            self.secret
        );
        self.say(text)
            .show(&self.secret, "username")
            .replace_key(&self.secret, "password")
            .reconcile(&self.object)
    }
}

impl Remedy {
    /// What to do about a source's failure.
    pub(in crate::assess) fn of_failure(
        facts: &Facts<'_>,
        object: &ObjectRef,
        source: &Source,
        failure: Failure,
    ) -> Self {
        let at = At::new(facts, object, source);
        let remedy = match failure {
            Failure::SecretMissing | Failure::SecretMalformed => at.write_all(),
            Failure::CredentialRefused | Failure::Denied => at.replace(),
            Failure::NotFound => not_found(&at),
            Failure::Reference => reference(&at),
            Failure::Chart => chart(&at, source),
            failure if failure.is_host_key() => host_key(&at),
            failure if failure.is_tls() => tls(&at),
            failure if failure.is_network() => network(&at, failure),
            failure => other(&at, failure),
        };
        if at.object == *object { remedy } else { remedy.reconcile(object) }
    }

    /// What to do about a credential's Secret that is missing or of the wrong form.
    pub(in crate::assess) fn of_credential(facts: &Facts<'_>, object: &ObjectRef, source: &Source) -> Self {
        At::new(facts, object, source).write_all()
    }

    /// Adds the printing of one key of a Secret that is not secret itself. Dots in the key are written `\.`.
    fn show(self, secret: &ObjectRef, key: &str) -> Self {
        let words = format!("get {} -o jsonpath='{{.data.{key}}}' | base64 -d && echo", secret.kubectl());
        self.kubectl(&secret.namespace, words)
    }

    /// Adds the replacement of one key of a Secret from a prompt. It is a merge patch and not an apply: an apply that
    /// leaves out a key which the same manager wrote before takes that key away.
    fn replace_key(self, secret: &ObjectRef, key: &str) -> Self {
        let encode = r#"$(printf %s "$VALUE" | base64 | tr -d '\n')"#;
        self.run(format!(
            r#"read -rs VALUE && printf '{{"data":{{"{key}":"%s"}}}}' "{encode}" | kubectl -n {} patch {} --type=merge --field-manager=gitlab-agent-cli --patch-file=/dev/stdin"#,
            quote(&secret.namespace),
            secret.kubectl(),
        ))
    }

    /// Adds the writing of a user name and a password from prompts.
    fn write_pair(self, secret: &ObjectRef, user: &str, password: &str) -> Self {
        self.run(format!(
            r#"read -rp "{user}: " NAME && read -rsp "{password}: " VALUE && printf %s "$VALUE" | {}"#,
            create(secret, &format!(r#"--from-literal={user}="$NAME" --from-file={password}=/dev/stdin"#)),
        ))
    }

    /// Adds the writing of a registry's credential from prompts.
    fn write_docker(self, secret: &ObjectRef, host: &str) -> Self {
        let host = json!(host).to_string().replace('%', "%%");
        let format = quote(&format!(r#"{{"auths":{{{host}:{{"username":"%s","password":"%s"}}}}}}"#));
        let rest = format!("--type={DOCKER} --from-file=.dockerconfigjson=/dev/stdin");
        self.run(format!(
            r#"read -rp "username: " NAME && read -rsp "password: " VALUE && printf {format} "$NAME" "$VALUE" | {}"#,
            create(secret, &rest),
        ))
    }

    /// Adds the making of a key pair, whose public half is printed, and of the known host.
    fn write_ssh(self, secret: &ObjectRef, host: (&str, &str)) -> Self {
        let files = "--from-file=identity --from-file=identity.pub --from-file=known_hosts";
        self.run("ssh-keygen -t ed25519 -N '' -q -f identity && cat identity.pub")
            .run(format!("{} > known_hosts && ssh-keygen -lf known_hosts", keyscan(host)))
            .run(format!("{} && rm identity", create(secret, files)))
    }
}

fn create(secret: &ObjectRef, content: &str) -> String {
    format!(
        "kubectl create secret generic {} -n {} {content} --dry-run=client -o yaml | kubectl apply --server-side \
         --force-conflicts --field-manager=gitlab-agent-cli -f -",
        quote(&secret.name),
        quote(&secret.namespace),
    )
}

/// The `--` keeps a host that begins with a dash from being read as an option.
fn keyscan((host, port): (&str, &str)) -> String {
    let port = if port.is_empty() { "22" } else { port };
    format!("ssh-keyscan -p {} -- {}", quote(port), quote(host))
}

fn not_found(at: &At<'_, '_>) -> Remedy {
    let mut remedy = at.replace();
    remedy.text =
        format!("check the path in spec.url ({}); where it is right, {}", *at.source.spec.url, remedy.text);
    remedy
}

fn reference(at: &At<'_, '_>) -> Remedy {
    let wanted = &at.source.spec.reference;
    let remedy = |text: &str| Remedy::in_git(at.facts, &at.object, text);
    if at.object.kind != "GitRepository" {
        return remedy("set spec.ref to a tag or version that the repository holds").reconcile(&at.object);
    }
    let list = format!("git ls-remote --heads --tags {}", at.url());
    let create = match (wanted.branch.as_str(), wanted.tag.as_str()) {
        ("", "") => None,
        (branch, "") => Some(format!("refs/heads/{branch}")),
        (_, tag) => Some(format!("refs/tags/{tag}")),
    };
    let text = "set spec.ref to a branch, tag or commit that the first command lists, or create the missing one from a \
                checkout of the project";
    let listed = remedy(text).run(list);
    let created = match create {
        Some(name) => listed.run(format!("git push {} {}", at.url(), quote(&format!("HEAD:{name}")))),
        None => listed,
    };
    created.reconcile(&at.object)
}

fn chart(at: &At<'_, '_>, chart: &Source) -> Remedy {
    let (name, version) = (&chart.spec.chart, &chart.spec.version);
    let text = format!(
        "set chart and version of the HelmRelease to what the repository holds (now {name} {version}; the command shows \
         the newest)"
    );
    Remedy::in_git(at.facts, &at.object, &text)
        .run(format!("helm show chart --repo {} -- {}", at.url(), quote(name)))
        .reconcile(&at.object)
}

fn host_key(at: &At<'_, '_>) -> Remedy {
    let scan = keyscan(at.host());
    let words = format!(
        r#"patch {} --type=merge -p "{{\"data\":{{\"known_hosts\":\"$(base64 < known_hosts | tr -d '\n')\"}}}}""#,
        at.secret.kubectl()
    );
    at.say("compare the fingerprints that the first command prints with those of your GitLab's administrator; only where \
            they are equal, write them into the Secret"
        .to_owned())
        .run(format!("{scan} > known_hosts && ssh-keygen -lf known_hosts"))
        .kubectl(&at.secret.namespace, words)
        .reconcile(&at.object)
}

fn tls(at: &At<'_, '_>) -> Remedy {
    let (host, port) = at.host();
    let port = if port.is_empty() { "443" } else { port };
    let show =
        format!("openssl s_client -connect {} -showcerts < /dev/null", quote(&format!("{host}:{port}")));
    let remedy = at.say(
        "see which certificate the server shows: renew it where it expired or is for another name; where an authority of \
         your own signed it, save the authority's certificate as ca.crt and write it into the Secret"
            .to_owned(),
    );
    let remedy = remedy.run(show);
    if !at.named {
        return remedy.reconcile(&at.object);
    }
    let words = format!(
        r#"patch {} --type=merge -p "{{\"data\":{{\"ca.crt\":\"$(base64 < ca.crt | tr -d '\n')\"}}}}""#,
        at.secret.kubectl()
    );
    remedy.kubectl(&at.secret.namespace, words).reconcile(&at.object)
}

fn network(at: &At<'_, '_>, failure: Failure) -> Remedy {
    let (host, port) = at.host();
    let port = match (port, at.source.spec.url.split("://").next()) {
        ("", Some("ssh")) => "22",
        ("", Some("http")) => "80",
        ("", _) => "443",
        (port, _) => port,
    };
    let connect = format!("nc -zv -w 10 {} {}", quote(host), quote(port));
    let (text, test) = match failure {
        failure if failure.is_name() => {
            ("correct the host in spec.url, or the cluster's DNS", format!("nslookup {}", quote(host)))
        }
        failure if failure.is_time() => (
            "see whether the server is slow or its packets are dropped (firewall, egress policy); for a large repository \
             raise spec.timeout",
            connect,
        ),
        _ => (
            "let source-controller reach host and port (firewall, egress policy, proxy), or start the server",
            connect,
        ),
    };
    let words = format!("run gitlab-agent-check --rm -i --restart=Never --image=busybox -- {test}");
    Remedy::say(format!("{text}; the first command asks from inside the cluster"))
        .kubectl(&at.facts.snapshot.flux_namespace, words)
        .reconcile(&at.object)
}

fn other(at: &At<'_, '_>, failure: Failure) -> Remedy {
    let text = failure.advice().unwrap_or("mend what the condition names; source-controller's log says more");
    Remedy::in_git(at.facts, &at.object, text)
        .kubectl(
            &at.facts.snapshot.flux_namespace,
            format!("logs deployment/source-controller --since=15m | grep -F {}", quote(&at.object.name)),
        )
        .reconcile(&at.object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn remedy(failure: Failure, change: impl FnOnce(&mut Snapshot)) -> Remedy {
        let mut s = fixture::healthy();
        change(&mut s);
        let facts = Facts::derive(&s);
        let source = &s.git_repositories.items[0];
        Remedy::of_failure(&facts, &source.metadata.object("GitRepository"), source, failure)
    }

    fn ssh(s: &mut Snapshot) {
        *fixture::git_mut(s, "flux-system").spec.url =
            "ssh://git@gitlab.example.com:2222/platform/x.git".to_owned();
    }

    #[test]
    fn every_class_ends_in_a_new_fetch() {
        use Failure::*;
        let classes = [
            SecretMissing,
            SecretMalformed,
            CredentialRefused,
            Denied,
            NotFound,
            Reference,
            Chart,
            RateLimited,
            ServerError,
            BadArtifact,
            Signature,
            HostKeyUnknown,
            HostKeyChanged,
            UnknownAuthority,
            WrongHost,
            Expired,
            ClientCertificate,
            Handshake,
            SpeaksPlain,
            ProxyRefuses,
            NameNotFound,
            Resolver,
            Refused,
            Reset,
            Closed,
            DialTimeout,
            Timeout,
            DiskFull,
            Other,
        ];
        for class in classes {
            let remedy = remedy(class, |_| {});
            assert!(!remedy.text.ends_with('.'), "{class:?}");
            assert!(remedy.commands.len() > 1, "{class:?}: {remedy:#?}");
            assert!(
                remedy.commands.last().expect("one").contains("reconcile.fluxcd.io/requestedAt"),
                "{class:?}"
            );
        }
    }

    #[test]
    fn a_refused_password_is_replaced_and_its_user_name_stays() {
        let commands = remedy(Failure::CredentialRefused, |_| {}).commands;
        assert!(commands[0].contains("jsonpath='{.data.username}'"));
        assert_eq!(
            commands[1],
            r#"read -rs VALUE && printf '{"data":{"password":"%s"}}' "$(printf %s "$VALUE" | base64 | tr -d '\n')" | kubectl -n flux-system patch secret/flux-system --type=merge --field-manager=gitlab-agent-cli --patch-file=/dev/stdin"#
        );
    }

    #[test]
    fn a_source_without_a_credential_is_made_to_name_one() {
        let commands =
            remedy(Failure::CredentialRefused, |s| fixture::git_mut(s, "flux-system").spec.secret_ref = None)
                .commands;
        assert!(commands[0].contains("generic flux-system-credential -n flux-system"));
        assert!(commands[1].contains(r#"'{"spec":{"secretRef":{"name":"flux-system-credential"}}}'"#));
    }

    #[test]
    fn ssh_gets_a_key_and_a_known_host() {
        let commands = remedy(Failure::SecretMissing, ssh).commands;
        assert!(commands[0].starts_with("ssh-keygen"));
        assert!(commands[1].starts_with("ssh-keyscan -p 2222 -- gitlab.example.com > known_hosts"));
        assert!(
            commands[2].contains("--from-file=identity --from-file=identity.pub --from-file=known_hosts")
        );
        assert!(remedy(Failure::CredentialRefused, ssh).commands[0].contains(r"identity\.pub"));
    }

    #[test]
    fn a_secret_that_is_in_the_way_is_made_anew() {
        let changes: [fn(&mut Snapshot); 3] = [
            |s| fixture::secret(s, "flux-system", "flux-system").kind = "kubernetes.io/basic-auth".to_owned(),
            |s| fixture::secret(s, "flux-system", "flux-system").immutable = true,
            |s| {
                let keys = &mut fixture::secret(s, "flux-system", "flux-system").keys;
                let token = keys.remove("password").expect("a password");
                keys.insert("bearerToken".to_owned(), token);
            },
        ];
        for change in changes {
            for failure in [Failure::SecretMalformed, Failure::CredentialRefused] {
                let commands = remedy(failure, change).commands;
                assert_eq!(commands[0], "kubectl -n flux-system delete secret/flux-system");
                assert!(commands[1].starts_with(r#"read -rp "username: " NAME"#));
            }
        }
    }

    #[test]
    fn a_missing_branch_can_be_created() {
        let commands = remedy(Failure::Reference, |s| {
            fixture::git_mut(s, "flux-system").spec.reference.branch = "a b".to_owned()
        })
        .commands;
        assert_eq!(
            commands[1],
            "git push https://gitlab.example.com/platform/flux-system.git 'HEAD:refs/heads/a b'"
        );
    }

    #[test]
    fn a_chart_is_mended_at_its_repository() {
        let s = fixture::healthy();
        let facts = Facts::derive(&s);
        let chart = &s.helm_charts.items[0];
        let remedy = Remedy::of_failure(&facts, &chart.metadata.object("HelmChart"), chart, Failure::Chart);
        assert_eq!(remedy.commands[0], "helm show chart --repo https://charts.example.com -- gitlab-agent");
        assert!(remedy.commands[1].contains("helmrepository.") && remedy.commands[2].contains("helmchart."));
    }
}

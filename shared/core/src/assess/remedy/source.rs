//! What to do about a source that is not fetched, and about the Secret with its credential.

use serde_json::json;

use super::{Remedy, apply_as_ours, field, print_value};
use crate::command::{Command, Program, Variable, Word, kubectl};
use crate::facts::failure::Failure;
use crate::facts::host::host;
use crate::facts::host::host_and_port;
use crate::facts::{Facts, SecretShape, Source};
use crate::object::ObjectRef;

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
            Some(_) => remedy.run(kubectl(&self.secret.namespace, "delete").object(&self.secret)),
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
    /// The host, where it is certainly not this GitLab: its credentials come from elsewhere.
    fn host_of_others(&self) -> Option<&str> {
        let own = host(&self.source.spec.url)?;
        let registry =
            |gitlab: &str| own == format!("registry.{gitlab}") || own.ends_with(&format!(".{gitlab}"));
        let is_other = |gitlab: &str| {
            own != gitlab
                && !registry(gitlab)
                && gitlab.strip_prefix("gitlab.").is_none_or(|domain| own != format!("registry.{domain}"))
        };
        self.facts.gitlab_host().filter(|gitlab| is_other(gitlab)).map(|_| own)
    }

    fn renew_elsewhere(&self) -> Remedy {
        let host = self.host_of_others().unwrap_or_default();
        let text = format!(
            "renew the credential at {host} (it is not on GitLab) and write it into {} where it comes from: Git, encrypted, or \
             whatever creates this Secret",
            self.secret
        );
        let remedy = Remedy::of_creator(self.facts, &self.secret)
            .unwrap_or_else(|| Remedy::in_git(self.facts, &self.object, &text));
        remedy.run(kubectl(&self.secret.namespace, "describe").object(&self.secret)).reconcile(&self.object)
    }

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
            failure if failure.is_credential() && at.host_of_others().is_some() => at.renew_elsewhere(),
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
        let at = At::new(facts, object, source);
        if at.host_of_others().is_some() {
            return at.renew_elsewhere();
        }
        Self::of_creator(facts, &at.secret).unwrap_or_else(|| at.write_all())
    }

    /// Adds the printing of one key of a Secret that is not secret itself. Dots in the key are written `\.`.
    fn show(self, secret: &ObjectRef, key: &'static str) -> Self {
        let get = kubectl(&secret.namespace, "get").object(secret).words("-o");
        let decoded = get.word(format!("jsonpath={{.data.{key}}}")).pipe(Program::new("base64 -d"));
        self.run(Command::from(decoded).then(Program::new("echo")))
    }

    /// Adds the replacement of one key of a Secret from a prompt. It is a merge patch and not an apply: an apply that
    /// leaves out a key which the same manager wrote before takes that key away.
    fn replace_key(self, secret: &ObjectRef, key: &'static str) -> Self {
        let value = print_value().pipe(Program::new("base64")).pipe(without_line_feeds());
        let body = Program::new("printf")
            .word(format!(r#"{{"data":{{"{key}":"%s"}}}}"#))
            .word(Word::default().output(value));
        let patch = kubectl(&secret.namespace, "patch").object(secret);
        let patch = patch.words("--type=merge --field-manager=gitlab-agent-cli --patch-file=/dev/stdin");
        self.run(Command::ask("VALUE").then(body.pipe(patch)))
    }

    /// Adds the writing of a file's content into one key of a Secret, by a merge patch.
    fn write_file(self, secret: &ObjectRef, key: &'static str, file: &'static str) -> Self {
        let content = Program::new("base64").from_file(file).pipe(without_line_feeds());
        let patch = Word::from(format!(r#"{{"data":{{"{key}":""#)).output(content).text(r#""}}"#);
        self.run(kubectl(&secret.namespace, "patch").object(secret).words("--type=merge -p").word(patch))
    }

    /// Adds the writing of a user name and a password from prompts.
    fn write_pair(self, secret: &ObjectRef, user: &'static str, password: &'static str) -> Self {
        let create = new_secret(secret)
            .flag("--from-literal", Word::from(user).text("=").variable(Variable::new("NAME")))
            .flag("--from-file", format!("{password}=/dev/stdin"));
        let written = print_value().pipe(as_manifest(create)).pipe(apply_as_ours());
        self.run(ask_pair(user, password).then(written))
    }

    /// Adds the writing of a registry's credential from prompts.
    fn write_docker(self, secret: &ObjectRef, host: &str) -> Self {
        let host = json!(host).to_string().replace('\\', r"\\").replace('%', "%%");
        let config = Program::new("printf")
            .word(format!(r#"{{"auths":{{{host}:{{"username":"%s","password":"%s"}}}}}}"#))
            .word(Variable::new("NAME"))
            .word(Variable::new("VALUE"));
        let create =
            new_secret(secret).flag("--type", DOCKER).words("--from-file=.dockerconfigjson=/dev/stdin");
        let written = config.pipe(as_manifest(create)).pipe(apply_as_ours());
        self.run(ask_pair("username", "password").then(written))
    }

    /// Adds the making of a key pair, whose public half is printed, and of the known host.
    fn write_ssh(self, secret: &ObjectRef, host: (&str, &str)) -> Self {
        let generate = Program::new("ssh-keygen -t ed25519 -N").word("").words("-q -f identity");
        let files = "--from-file=identity --from-file=identity.pub --from-file=known_hosts";
        let written = as_manifest(new_secret(secret).words(files)).pipe(apply_as_ours());
        self.run(Command::from(generate).then(Program::new("cat identity.pub")))
            .run(known_hosts(host))
            .run(Command::from(written).then(Program::new("rm identity")))
    }
}

fn ask_pair(user: &'static str, password: &'static str) -> Command {
    Command::prompt("NAME", user, true).then(Command::prompt("VALUE", password, false))
}

fn without_line_feeds() -> Program {
    Program::new("tr -d").word(r"\n")
}

fn new_secret(secret: &ObjectRef) -> Program {
    Program::new("kubectl create secret generic").name(&secret.name).in_namespace(&secret.namespace)
}

fn as_manifest(create: Program) -> Program {
    create.words("--dry-run=client -o yaml")
}

/// Fetches the keys of a host and shows their fingerprints. A host that is asked for its keys learns nothing of who asks.
fn known_hosts((host, port): (&str, &str)) -> Command {
    let port = if port.is_empty() { "22" } else { port };
    let scan = Program::new("ssh-keyscan -p").operand(port).operand(host).to_file("known_hosts");
    Command::from(scan).then(Program::new("ssh-keygen -lf known_hosts"))
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
    let create = match (wanted.branch.as_str(), wanted.tag.as_str()) {
        ("", "") => None,
        (branch, "") => Some(format!("HEAD:refs/heads/{branch}")),
        (_, tag) => Some(format!("HEAD:refs/tags/{tag}")),
    };
    // The remote is the checkout's own: git sends a credential to the host of a URL, and this URL is the cluster's word.
    let text = format!(
        "in a checkout of {}: set spec.ref to a branch, tag or commit that the first command lists, or create the missing one \
         from there",
        *at.source.spec.url
    );
    let listed = remedy(&text).run(Program::new("git ls-remote --heads --tags origin"));
    let created = match create {
        Some(reference) => listed.run(Program::new("git push origin").operand(&reference)),
        None => listed,
    };
    created.reconcile(&at.object)
}

/// No command asks the repository: helm would send it the credential that it keeps for this host.
fn chart(at: &At<'_, '_>, chart: &Source) -> Remedy {
    let (name, version) = (&chart.spec.chart, &chart.spec.version);
    let text = format!(
        "set chart and version of the HelmRelease to what the repository holds (now {name} {version}; `helm show chart` with \
         the repository's URL shows the newest)"
    );
    Remedy::in_git(at.facts, &at.object, &text).run(field(&at.object, ".spec.url")).reconcile(&at.object)
}

fn host_key(at: &At<'_, '_>) -> Remedy {
    at.say("compare the fingerprints that the first command prints with those of your GitLab's administrator; only where \
            they are equal, write them into the Secret"
        .to_owned())
        .run(known_hosts(at.host()))
        .write_file(&at.secret, "known_hosts", "known_hosts")
        .reconcile(&at.object)
}

fn tls(at: &At<'_, '_>) -> Remedy {
    let (host, port) = at.host();
    let port = if port.is_empty() { "443" } else { port };
    let show = Program::new("openssl s_client -connect").operand(&format!("{host}:{port}"));
    let remedy = at.say(
        "see which certificate the server shows: renew it where it expired or is for another name; where an authority of \
         your own signed it, save the authority's certificate as ca.crt and write it into the Secret"
            .to_owned(),
    );
    let remedy = remedy.run(show.words("-showcerts").from_file("/dev/null"));
    if !at.named {
        return remedy.reconcile(&at.object);
    }
    remedy.write_file(&at.secret, "ca.crt", "ca.crt").reconcile(&at.object)
}

fn network(at: &At<'_, '_>, failure: Failure) -> Remedy {
    let (host, port) = at.host();
    let port = match (port, at.source.spec.url.split("://").next()) {
        ("", Some("ssh")) => "22",
        ("", Some("http")) => "80",
        ("", _) => "443",
        (port, _) => port,
    };
    let run = || {
        let controller = at.facts.flux.expected("source-controller", &at.source.metadata);
        kubectl(&controller.namespace, "run gitlab-agent-check --rm -i --restart=Never --image=busybox --")
    };
    let connect = run().words("nc -zv -w 10").operand(host).operand(port);
    let (text, test) = match failure {
        failure if failure.is_name() => {
            ("correct the host in spec.url, or the cluster's DNS", run().words("nslookup").operand(host))
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
    Remedy::say(format!("{text}; the first command asks from inside the cluster"))
        .run(test)
        .reconcile(&at.object)
}

fn other(at: &At<'_, '_>, failure: Failure) -> Remedy {
    let text = failure.advice().unwrap_or("mend what the condition names; source-controller's log says more");
    let controller = at.facts.flux.expected("source-controller", &at.source.metadata);
    let logs = kubectl(&controller.namespace, "logs").object(&controller).words("--since=15m");
    let remedy =
        if failure.is_of_git() { Remedy::in_git(at.facts, &at.object, text) } else { Remedy::say(text) };
    remedy.run(logs.pipe(Program::new("grep -F --").word(&at.object.name))).reconcile(&at.object)
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
    fn what_is_not_on_gitlab_gets_no_token_of_gitlab() {
        for (url, other) in [
            ("https://charts.example.org/x", true),
            ("https://github.com/a/b.git", true),
            ("https://other.example.com/a/b.git", true),
            ("https://gitlab.example.com/a/b.git", false),
        ] {
            for failure in [Failure::CredentialRefused, Failure::Denied, Failure::SecretMissing] {
                let remedy = remedy(failure, |s| {
                    // Its own Receiver would make its host the one of GitLab.
                    s.receivers.items.retain(|r| r.spec.resources.iter().all(|of| of.name != "flux-system"));
                    fixture::git_mut(s, "flux-system").spec.url.0 = url.to_owned();
                });
                assert_eq!(remedy.text.contains("it is not on GitLab"), other, "{url}: {}", remedy.text);
                assert_eq!(format!("{remedy:?}").contains("deploy token"), !other, "{url}: {remedy:?}");
            }
        }
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
                remedy.lines().last().expect("one").contains("reconcile.fluxcd.io/requestedAt"),
                "{class:?}"
            );
        }
    }

    #[test]
    fn a_refused_password_is_replaced_and_its_user_name_stays() {
        let commands = remedy(Failure::CredentialRefused, |_| {}).lines();
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
                .lines();
        assert!(commands[0].contains("generic flux-system-credential -n flux-system"));
        assert!(commands[1].contains(r#"'{"spec":{"secretRef":{"name":"flux-system-credential"}}}'"#));
    }

    #[test]
    fn ssh_gets_a_key_and_a_known_host() {
        let commands = remedy(Failure::SecretMissing, ssh).lines();
        assert!(commands[0].starts_with("ssh-keygen"));
        assert!(commands[1].starts_with("ssh-keyscan -p 2222 gitlab.example.com > known_hosts"));
        assert!(
            commands[2].contains("--from-file=identity --from-file=identity.pub --from-file=known_hosts")
        );
        assert!(remedy(Failure::CredentialRefused, ssh).lines()[0].contains(r"identity\.pub"));
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
                let commands = remedy(failure, change).lines();
                assert_eq!(commands[0], "kubectl -n flux-system delete secret/flux-system");
                assert!(commands[1].starts_with("printf %s 'username: ' && read -r NAME && "));
            }
        }
    }

    #[test]
    fn a_missing_branch_can_be_created() {
        let commands = remedy(Failure::Reference, |s| {
            fixture::git_mut(s, "flux-system").spec.reference.branch = "a b".to_owned()
        })
        .lines();
        assert_eq!(commands[0], "git ls-remote --heads --tags origin");
        assert_eq!(commands[1], "git push origin 'HEAD:refs/heads/a b'");
    }

    #[test]
    fn a_chart_is_mended_at_its_repository() {
        let s = fixture::healthy();
        let facts = Facts::derive(&s);
        let chart = &s.helm_charts.items[0];
        let remedy = Remedy::of_failure(&facts, &chart.metadata.object("HelmChart"), chart, Failure::Chart);
        let lines = remedy.lines();
        assert!(lines[0].contains("helmrepository.") && lines[0].contains(".spec.url"), "{lines:?}");
        assert!(lines[1].contains("helmrepository.") && lines[2].contains("helmchart."));
    }
}

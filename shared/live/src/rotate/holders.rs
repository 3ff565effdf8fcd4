//! Who else holds the credential and who else reads the Secret, looked up in the cluster: all Secrets that may be read, and in
//! the Secret's namespace everything that may read it. What may not be read is said.

use futures_util::future::join_all;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::rotate::holders::{EXTERNAL, READER_KINDS, Reading, index, readers, root, writes};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use serde_json::Value;

use super::copies::{CONFIG_MAPS, Copies, SECRETS, Sought, Store, copies, other_keys};
use super::form::Form;
use super::listing::{Served, custom_resources, listing, namespaces};
use super::pods::Sight;
use super::secret::Read;
use super::target::Target;
use crate::access::WriteClient;

/// So many names a sentence lists.
const NAMED: usize = 10;
/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Other Secrets and objects with the same value.
    pub(super) copies: Vec<ObjectRef>,
    /// Keys of the Secret itself that hold it too, and are not written.
    pub(super) keys: Vec<String>,
    /// What reads the Secret and takes no part in the rotation.
    pub(super) readers: Vec<ObjectRef>,
    /// What reads it each time that it is used, and so follows by itself.
    pub(super) following: Vec<ObjectRef>,
    /// Custom resources that write the Secret.
    pub(super) writers: Vec<ObjectRef>,
    /// What may not be read and seldom holds anything, in words.
    pub(super) notes: Vec<String>,
    /// What may not be read, in words.
    pub(super) unseen: Vec<String>,
    /// What did not answer, in words: that passes, and nothing is to be permitted.
    pub(super) silent: Vec<String>,
}

impl Holders {
    /// Looks; `read` is the Secret as it is now, `own` are the Secrets of this rotation. Without a value that is known only
    /// readers are looked for: nothing is revoked then.
    pub(super) async fn look(
        client: &WriteClient,
        target: &Target,
        sought: Option<&Sought>,
        read: &Read,
        own: &[&str],
    ) -> Self {
        let mut found = Self::default();
        let mut all = Copies::default();
        if let Some(sought) = sought {
            found.keys = other_keys(read, sought);
            all.extend(found.find_copies(client, target, &SECRETS, sought).await);
            all.extend(found.find_copies(client, target, &CONFIG_MAPS, sought).await);
        }
        all.extend(found.find_readers(client, target, read, sought).await);
        let home = target.namespace();
        let ours = |object: &ObjectRef| {
            object.kind == "Secret" && object.namespace == home && own.contains(&object.name.as_str())
        };
        found.copies.extend(all.found.into_iter().filter(|object| !ours(object)));
        found.copies.sort_unstable();
        found.copies.dedup();
        let unread: Vec<ObjectRef> = all.unread.into_iter().filter(|object| !ours(object)).collect();
        if !unread.is_empty() {
            found.unseen.push(format!("{}, which holds more than is looked through", names(&unread)));
        }
        found
    }

    async fn find_copies(
        &mut self,
        client: &WriteClient,
        target: &Target,
        store: &Store,
        sought: &Sought,
    ) -> Copies {
        let home = target.namespace();
        let plural = store.plural;
        let mut all = Copies::default();
        let unseen = match copies(client, store, "", sought).await {
            Ok(found) => return found,
            Err(why) if why.kind == WhyKind::Forbidden => {
                let (namespaces, whole) = match namespaces(client).await {
                    Ok(all) => (all, true),
                    Err(why) if is_silent(&why) => {
                        self.silent.push(words(&why));
                        return all;
                    }
                    Err(_) => (vec![home.to_owned()], false),
                };
                let scans = namespaces.iter().map(|namespace| copies(client, store, namespace, sought));
                let mut closed = Vec::new();
                for (namespace, scan) in namespaces.iter().zip(join_all(scans).await) {
                    match scan {
                        Ok(found) => all.extend(found),
                        Err(why) if is_silent(&why) => self.silent.push(words(&why)),
                        Err(why) if why.kind == WhyKind::Forbidden => closed.push(namespace.clone()),
                        Err(why) => self.unseen.push(format!("{plural} ({})", words(&why))),
                    }
                }
                let others =
                    (!whole).then(|| format!("{plural} of other namespaces than {home} (list {plural})"));
                let closed =
                    (!closed.is_empty()).then(|| format!("{plural} of {} (list {plural})", some(&closed)));
                others.into_iter().chain(closed).collect()
            }
            Err(why) if is_silent(&why) => {
                self.silent.push(words(&why));
                Vec::new()
            }
            // It is not that they may not be listed: a copy may be among them.
            Err(why) => {
                self.unseen.push(format!("{plural} ({})", words(&why)));
                Vec::new()
            }
        };
        // A credential in a ConfigMap is seldom: that they may not be read is said, and holds nobody up.
        match store.plural {
            "secrets" => self.unseen.extend(unseen),
            _ => self.notes.extend(unseen),
        }
        all
    }

    /// What reads or writes the Secret, by what each object of its namespace names; gives those that hold the value themselves.
    async fn find_readers(
        &mut self,
        client: &WriteClient,
        target: &Target,
        read: &Read,
        sought: Option<&Sought>,
    ) -> Copies {
        let namespace = target.namespace();
        let served = Served::look(client).await;
        let look = |kind| listing(client, &served, kind, namespace);
        let listings = join_all(READER_KINDS.iter().map(look)).await;
        let mut objects: Vec<(&str, Value)> = Vec::new();
        let mut closed = Vec::new();
        for (kind, listing) in READER_KINDS.iter().zip(listings) {
            match listing {
                Ok(items) => objects.extend(items.into_iter().map(|item| (kind.kind, item))),
                Err(why) if is_silent(&why) => self.silent.push(words(&why)),
                Err(_) => closed.push(kind.plural.to_owned()),
            }
        }
        if !closed.is_empty() {
            self.unseen.push(format!("{} in namespace {namespace} (list)", closed.join(", ")));
        }
        let custom = self.custom_resources(client, &served, target).await;
        objects.extend(custom.iter().map(|(kind, object)| (kind.as_str(), object.clone())));
        // Where ReplicaSets may not be listed, whose a pod is the Deployments' own labels tell.
        let mut own = Vec::new();
        if closed.iter().any(|plural| plural == "replicasets") {
            for agentk in target.agentks() {
                if let Ok(Some(sight)) = Sight::look(client, &agentk.deployment).await {
                    own.extend(sight.names());
                }
            }
        }
        for (by, reading) in readers(&objects, &target.secret.name, &read.metadata.labels) {
            if by.kind == "Pod" && own.contains(&format!("{}/{}", by.namespace, by.name)) {
                continue;
            }
            let follows = reading == Reading::AtEachUse && matches!(target.form, Form::Docker(_));
            match () {
                () if target.readers.contains(&by) || installs(target, &by) => {}
                () if follows => self.following.push(by),
                () => self.readers.push(by),
            }
        }
        literal(&objects, sought)
    }

    /// Custom resources of kinds that nobody here knows; those that write the Secret are taken out and noted.
    async fn custom_resources(
        &mut self,
        client: &WriteClient,
        served: &Served,
        target: &Target,
    ) -> Vec<(String, Value)> {
        let namespace = target.namespace();
        let (kinds, mut untold) = served.custom(client).await;
        let (mut objects, not_listed) = custom_resources(client, &kinds, namespace).await;
        untold.extend(not_listed);
        match listing(client, served, &EXTERNAL, namespace).await {
            Ok(items) => objects.extend(items.into_iter().map(|item| (EXTERNAL.kind.to_owned(), item))),
            Err(why) if is_silent(&why) => self.silent.push(words(&why)),
            Err(why) => self.unseen.push(format!("whether an ExternalSecret writes it ({})", words(&why))),
        }
        // That they may not be listed is usual, and said. Where the answer is another, whoever reads the Secret may be among them.
        let (closed, failed): (Vec<_>, Vec<_>) =
            untold.into_iter().partition(|(_, why)| why.kind == WhyKind::Forbidden);
        if !closed.is_empty() {
            let closed: Vec<String> = closed.into_iter().map(|(of, _)| of).collect();
            self.notes.push(format!("{} in namespace {namespace} (list)", some(&closed)));
        }
        if !failed.is_empty() {
            let failed: Vec<String> =
                failed.iter().map(|(of, why)| format!("{of} ({})", words(why))).collect();
            self.unseen.push(format!("custom resources: {}", some(&failed)));
        }
        if !served.is_told() {
            self.unseen.push(
                "custom resources, because discovery does not tell which there are (get /apis)".to_owned(),
            );
        }
        let name = &target.secret.name;
        let (writers, others): (Vec<_>, Vec<_>) =
            objects.into_iter().partition(|(kind, object)| writes(kind, object, name));
        self.writers.extend(writers.iter().map(|(kind, object)| object_of(kind, object)));
        others
    }

    /// Whoever would be left with a dead credential, in words; none where nobody would.
    pub(super) fn left_behind(&self, name: &str) -> Vec<String> {
        let mut words = Vec::new();
        if !self.keys.is_empty() {
            words.push(format!(
                "{name} holds it under another key too, which stays as it is: {}",
                some(&self.keys)
            ));
        }
        if !self.copies.is_empty() {
            words.push(format!("the same value is in {}", names(&self.copies)));
        }
        if !self.readers.is_empty() {
            words.push(format!("{name} is also read by {}", names(&self.readers)));
        }
        words
    }
}

/// Whether this is the release that a Deployment of agentk is from: its values name the Secret for that Deployment.
fn installs(target: &Target, object: &ObjectRef) -> bool {
    let releases = target.agentks().iter().filter_map(|agentk| agentk.release.as_ref());
    releases.map(|(release, _)| release).any(|release| release == object)
}

/// Objects that hold the value in what they say themselves: a variable, an argument, a chart's values.
fn literal(objects: &[(&str, Value)], sought: Option<&Sought>) -> Copies {
    let mut all = Copies::default();
    let Some(sought) = sought else { return all };
    let index = index(objects);
    for (kind, object) in objects {
        all.take(sought.is_in(object.to_string().as_bytes()), || root(kind, object, &index));
    }
    all
}

fn object_of(kind: &str, object: &Value) -> ObjectRef {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    ObjectRef::new(kind, text("namespace"), text("name"))
}

/// Nobody said no: it may be asked again.
fn is_silent(why: &Why) -> bool {
    matches!(why.kind, WhyKind::Unreachable | WhyKind::TimedOut | WhyKind::SignIn)
}

fn words(why: &Why) -> String {
    format!("{}: {}", why.asked, why.message)
}

/// Some of many, in words.
fn some(all: &[String]) -> String {
    let shown = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = all.len().saturating_sub(NAMED);
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

pub(super) fn names(objects: &[ObjectRef]) -> String {
    some(&objects.iter().map(ToString::to_string).collect::<Vec<_>>())
}

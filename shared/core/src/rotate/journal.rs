//! What a rotation writes down before it does anything: an annotation on the Secret, without any value.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::machine::{Held, Token};

/// The annotation that holds the journal while a rotation is under way.
pub const ANNOTATION: &str = "cli.gitlab-agent.dev/rotation";

/// The annotation that says which of the agent's tokens the Secret holds. `glab cluster agent bootstrap` writes the
/// same.
pub const TOKEN_ID: &str = "gitlab.com/agent-token-id";

/// The annotation on the pod template by which pods show that they started after a Secret was written.
pub const MARK: &str = "cli.gitlab-agent.dev/token-rotation";

/// The annotation by which a Kustomization leaves a live object alone. Flux reads it from the live object too
/// (`fluxcd/pkg` `ssa/manager_apply.go`, `shouldSkipApply`); `IfNotPresent` it reads only in Git.
pub const HOLD: &str = "kustomize.toolkit.fluxcd.io/reconcile";

/// Begins the name of each token that a rotation makes.
pub const NAME: &str = "kubectl-gitlab-agent-";

/// No rotation has a longer id.
const LONGEST_ID: usize = 40;

/// Which Secret and which place in GitLab a journal has to be of.
#[derive(Clone, Copy, Debug)]
pub struct Here<'h> {
    /// The GitLab that is asked.
    pub host: &'h str,
    /// What is made.
    pub kind: Kind,
    /// Where in it.
    pub place: &'h str,
    /// `metadata.uid` of the Secret.
    pub uid: &'h str,
}

/// How far a rotation has come, as far as it matters to whoever takes it up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// The Secret holds the old value. A new token may exist; its value is known to nobody but the process that made
    /// it.
    Create,
    /// The new value was handed to a person, who gets it into the Secret through its owner. The Secret was not
    /// changed.
    Handed,
    /// The Secret was given the new value, in the same change that wrote this, or by its owner.
    Written,
    /// It goes back to the old value.
    Undo,
}

/// What is made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The token by which agentk signs in: two active ones at most.
    #[default]
    AgentToken,
    /// A deploy token of a project or group.
    DeployToken,
    /// A deploy key of a project: a pair of SSH keys.
    DeployKey,
    /// An access token of a project or group.
    AccessToken,
    /// An access token of a person.
    PersonalToken,
}

impl Kind {
    /// How many may be active at once, as far as a rotation could be kept from making another.
    pub fn most(self) -> usize {
        match self {
            // `app/models/clusters/agent_token.rb`
            Self::AgentToken => 2,
            _ => usize::MAX,
        }
    }

    /// As GitLab's pages call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::AgentToken => "agent token",
            Self::DeployToken => "deploy token",
            Self::DeployKey => "deploy key",
            Self::AccessToken => "access token",
            Self::PersonalToken => "personal access token",
        }
    }
}

/// What is written down. Everything in it may be read by whoever may read the Secret's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// Names this rotation; part of the new token's name in GitLab.
    pub id: String,
    /// Names the process that works on it. Who takes over writes its own: that fences late changes of the one before,
    /// because every change names the resource version that it was made for.
    pub run: String,
    /// How far it has come.
    pub stage: Stage,
    /// What is made anew.
    #[serde(default)]
    pub kind: Kind,
    /// Where in GitLab it is made: `projects/12`, `groups/3`, `projects/12/cluster_agents/7`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// The token that the Secret held at first; none where it held no active one, or one that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_token: Option<u64>,
    /// The token that the Secret was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_token: Option<u64>,
    /// [`fingerprint`] of the value that the Secret held at first.
    pub old_fingerprint: String,
    /// [`fingerprint`] of the value that it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_fingerprint: Option<String>,
    /// [`super::mark::Mark`] of the credential that the Secret held at first, salted with the id: tells whether another
    /// Secret holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_mark: Option<String>,
    /// The same of the one that it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_mark: Option<String>,
    /// Pods that read the old one, `namespace/name` each: GitLab lists their connections for a while after they are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
    /// The value that the Secret held at first is dead, and `old_token` is one that only pods hold: there is no way
    /// back to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_return: bool,
    /// What the Secret held at first is not this rotation's to revoke, and taken as working: a person's token, or one
    /// that others may use too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_old: bool,
    /// The new value reaches the Secret by a person's hand (`--begin`), and has not been seen there yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
    /// GitLab puts the new one in the place of the old one, which dies at once: a person's token, by this name, which both
    /// have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The token that GitLab was asked to renew, written down before it is asked: it is asked once for each, because
    /// asking with one that was renewed already ends all that came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewing: Option<u64>,
    /// When that was, by the clock of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewing_at: Option<Timestamp>,
    /// The Secret was held off from its Kustomization for this rotation ([`HOLD`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// The GitLab that it was begun with; none in a journal of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `metadata.uid` of the Secret: a journal that came with a copy or a backup of another one is not this Secret's.
    #[serde(default)]
    pub uid: String,
    /// What else wrote the Secret when it began, each in words; none in a journal of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owners: Option<Vec<String>>,
    /// When it began, by the clock of who began it.
    pub started_at: Timestamp,
    /// Who began it: `user@host`.
    pub who: String,
}

impl Journal {
    /// Reads the annotation.
    ///
    /// # Errors
    /// Text that is no journal: written by a newer version, or by hand.
    pub fn read(text: &str) -> Result<Self, String> {
        let journal: Self = serde_json::from_str(text).map_err(|e| {
            format!(
                "the annotation {ANNOTATION} cannot be read (line {} column {}): it was written by another version or by hand",
                e.line(),
                e.column()
            )
        })?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        // It becomes part of an object's name.
        if journal.id.is_empty() || journal.id.len() > LONGEST_ID || !journal.id.chars().all(plain) {
            return Err(format!(
                "the annotation {ANNOTATION} has an id that no rotation has: it was written by hand"
            ));
        }
        Ok(journal)
    }

    /// Why it is not the journal of this Secret and this place in GitLab. It is data that lies where others write: a backup
    /// may have brought it back, or a copy of the Secret from elsewhere.
    pub fn stray(&self, here: &Here<'_>) -> Option<String> {
        let host = self.host.as_deref().unwrap_or_default();
        let (what, is, should) = match () {
            () if host != here.host => ("GitLab", host, here.host),
            () if self.kind != here.kind || self.family.is_some() != (self.kind == Kind::PersonalToken) => {
                ("kind of credential", self.kind.word(), here.kind.word())
            }
            () if self.place != here.place => ("place in GitLab", self.place.as_str(), here.place),
            () if self.uid != here.uid => ("Secret (uid)", self.uid.as_str(), here.uid),
            () => return None,
        };
        let name = |text: &str| if text.is_empty() { "not named".to_owned() } else { text.to_owned() };
        Some(format!(
            "the journal of rotation {} on the Secret is of another {what}: {} there, {} here. A backup or a copy may have brought \
             it, or the Secret was made again. {}; see which of the two the Secret and its readers hold, revoke the other, then \
             take the annotation {ANNOTATION} away",
            self.id,
            name(is),
            name(should),
            self.tokens_in_words()
        ))
    }

    /// Which value a Secret with this fingerprint holds.
    pub fn held(&self, found: &str) -> Held {
        match self.stage {
            _ if found == self.old_fingerprint => Held::Old,
            Stage::Handed | Stage::Written | Stage::Undo
                if Some(found) == self.new_fingerprint.as_deref() =>
            {
                Held::New
            }
            _ => Held::Other,
        }
    }

    /// Which tokens it names, in words.
    pub fn tokens_in_words(&self) -> String {
        let kind = self.kind.word();
        let one = |id: Option<u64>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        format!(
            "It names {kind} {} as the old one and {} as the new one (\"{}\")",
            one(self.old_token),
            one(self.new_token),
            self.token_name()
        )
    }

    /// The annotation's text.
    pub fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The name that the new token gets in GitLab; by it a token is found again whose making was not answered.
    pub fn token_name(&self) -> String {
        self.family.clone().unwrap_or_else(|| format!("{NAME}{}", self.id))
    }

    /// Why it cannot be what it says, by the names of the tokens in GitLab: it lies where others may write, and what it calls
    /// the old one is revoked at the end. A person's token keeps its name when it is renewed.
    pub fn contradiction(&self, tokens: &[Token]) -> Option<String> {
        if self.family.is_some() {
            return None;
        }
        let name = self.token_name();
        let listed = |id: Option<u64>| tokens.iter().find(|token| Some(token.id) == id);
        let new = listed(self.new_token).filter(|token| token.name != name);
        // Where the Secret's own died, one that this rotation made may have taken its place.
        let old = listed(self.old_token).filter(|token| token.name == name && !self.no_return);
        let (token, word) = new.map(|token| (token, "new")).or(old.map(|token| (token, "old")))?;
        Some(format!(
            "the journal on the Secret calls token {} \"{}\" the {word} one, which its name in GitLab contradicts: somebody changed \
             the journal. See what is there in GitLab and in the Secret, then take the annotation {ANNOTATION} away",
            token.id, token.name
        ))
    }

    /// What the pod template is marked with: once on the way forward, once on the way back, and once more where the Secret was
    /// made again, because pods that started before may have read another value.
    pub fn mark(&self) -> String {
        let secret = self.uid.split('-').next().unwrap_or_default();
        let way = match self.stage {
            Stage::Undo => "undone".to_owned(),
            Stage::Create | Stage::Handed | Stage::Written => {
                self.new_token.map(|id| id.to_string()).unwrap_or_default()
            }
        };
        format!("{}-{way}-{secret}", self.id)
    }

    /// Name of the Secret that keeps the old value until the end.
    pub fn backup_name(&self, secret: &str) -> String {
        // An object's name has 253 characters at most; what is cut off the Secret's name, the id makes up for.
        let room = 253 - "-prev-".len() - self.id.len();
        let kept: String = secret.chars().take(room).collect();
        format!("{kept}-prev-{}", self.id)
    }
}

/// What a Secret holds under the keys that matter; `None` for a key that is not there.
pub type Values<'v> = BTreeMap<&'v str, Option<&'v [u8]>>;

/// First 12 hexadecimal digits of SHA-256 over the rotation's id and what a Secret holds: tells whether it holds it
/// still, and nothing else, because tokens and keys are long and random.
pub fn fingerprint(id: &str, values: &Values<'_>) -> String {
    let mut digest = Sha256::new().chain_update(id);
    for (key, value) in values {
        // Lengths in front, so that no two contents read the same.
        let length = value.map_or(u64::MAX, |v| v.len() as u64);
        digest.update((key.len() as u64).to_be_bytes());
        digest.update(key);
        digest.update(length.to_be_bytes());
        digest.update(value.unwrap_or_default());
    }
    digest.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one<'v>(key: &'v str, value: Option<&'v [u8]>) -> Values<'v> {
        Values::from([(key, value)])
    }

    fn journal() -> Journal {
        Journal {
            id: "k3j5".to_owned(),
            run: "r1".to_owned(),
            stage: Stage::Written,
            kind: Kind::DeployToken,
            place: "projects/12".to_owned(),
            old_token: Some(3),
            new_token: Some(4),
            old_fingerprint: fingerprint("k3j5", &one("token", Some(b"MARKER-old"))),
            new_fingerprint: Some(fingerprint("k3j5", &one("token", Some(b"MARKER-new")))),
            old_mark: None,
            new_mark: None,
            pods: Vec::new(),
            no_return: false,
            keeps_old: false,
            by_hand: false,
            family: None,
            renewing: None,
            renewing_at: None,
            hold: false,
            host: Some("gitlab.example.com".to_owned()),
            uid: "u-1".to_owned(),
            owners: None,
            started_at: Timestamp::UNIX_EPOCH,
            who: "ada@console".to_owned(),
        }
    }

    #[test]
    fn a_journal_of_elsewhere_is_not_believed() {
        let here =
            Here { host: "gitlab.example.com", kind: Kind::DeployToken, place: "projects/12", uid: "u-1" };
        assert_eq!(journal().stray(&here), None);
        for (what, stray) in [
            ("another GitLab", Journal { host: Some("staging.example.com".to_owned()), ..journal() }),
            ("another port", Journal { host: Some("gitlab.example.com:8443".to_owned()), ..journal() }),
            ("no GitLab", Journal { host: None, ..journal() }),
            ("another project", Journal { place: "projects/13".to_owned(), ..journal() }),
            ("a group", Journal { place: "groups/12".to_owned(), ..journal() }),
            ("no place", Journal { place: String::new(), ..journal() }),
            ("a Secret made again", Journal { uid: "u-2".to_owned(), ..journal() }),
            ("no Secret", Journal { uid: String::new(), ..journal() }),
            ("another kind", Journal { kind: Kind::AccessToken, ..journal() }),
            ("a family that its kind has not", Journal { family: Some("first".to_owned()), ..journal() }),
            ("a person's token without a family", Journal { kind: Kind::PersonalToken, ..journal() }),
        ] {
            let why = stray.stray(&here).unwrap_or_default();
            assert!(why.contains("deploy token 3") || why.contains("token 3 as"), "{what}: {why}");
        }
    }

    #[test]
    fn an_id_that_could_name_another_object_is_none() {
        for id in ["", "A", "a.b", "a/b", "a-b", &"a".repeat(LONGEST_ID + 1)] {
            let text = Journal { id: id.to_owned(), ..journal() }.write();
            assert!(Journal::read(&text).is_err(), "{id}");
        }
    }

    #[test]
    fn it_reads_what_it_writes_and_holds_no_value() {
        let text = journal().write();
        assert!(!text.contains("MARKER"), "{text}");
        assert_eq!(Journal::read(&text), Ok(journal()));
    }

    #[test]
    fn what_is_no_journal_is_refused_without_quoting_it() {
        let error = Journal::read("MARKER").expect_err("no journal");
        assert!(error.contains(ANNOTATION) && !error.contains("MARKER"), "{error}");
    }

    #[test]
    fn fingerprints_of_one_value_differ_between_rotations() {
        let x = one("k", Some(b"x"));
        assert_ne!(fingerprint("a", &x), fingerprint("b", &x));
        for other in [one("k", Some(b"y")), one("l", Some(b"x")), one("k", None), one("k", Some(b""))] {
            assert_ne!(fingerprint("a", &x), fingerprint("a", &other));
        }
        assert_ne!(fingerprint("a", &one("k", None)), fingerprint("a", &one("k", Some(b""))));
    }

    #[test]
    fn the_name_of_the_backup_fits() {
        assert_eq!(journal().backup_name("token"), "token-prev-k3j5");
        assert_eq!(journal().backup_name(&"s".repeat(253)).len(), 253);
    }

    #[test]
    fn the_way_back_is_marked_otherwise() {
        let forward = journal();
        let back = Journal { stage: Stage::Undo, ..journal() };
        let again = Journal { uid: "v-1".to_owned(), ..journal() };
        assert_ne!(forward.mark(), back.mark());
        assert_ne!(forward.mark(), again.mark());
    }

    #[test]
    fn a_journal_that_the_names_in_gitlab_contradict_is_not_believed() {
        let token = |id: u64, name: &str| Token { id, name: name.to_owned() };
        let ours = format!("kubectl-gitlab-agent-{}", journal().id);
        let of = |old: Option<u64>, new: Option<u64>, no_return: bool, family: Option<&str>| Journal {
            old_token: old,
            new_token: new,
            no_return,
            family: family.map(str::to_owned),
            ..journal()
        };
        let tokens = [token(1, "first"), token(2, &ours), token(3, "another")];
        for (journal, fine) in [
            (of(Some(1), Some(2), false, None), true),
            (of(Some(1), None, false, None), true),
            (of(None, Some(2), false, None), true),
            (of(Some(9), Some(8), false, None), true),
            (of(Some(2), None, true, None), true),
            (of(Some(2), Some(1), false, None), false),
            (of(Some(2), None, false, None), false),
            (of(Some(1), Some(3), false, None), false),
            (of(None, Some(1), false, None), false),
            (of(Some(1), Some(2), false, Some("flux")), true),
            (of(Some(2), Some(3), true, None), false),
        ] {
            let why = journal.contradiction(&tokens);
            assert_eq!(why.is_none(), fine, "{journal:?}: {why:?}");
        }
    }
}

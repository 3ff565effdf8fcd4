//! The one door through which a Secret comes in: key names, lengths, fingerprints, kinds by shape, faults of
//! format. Never a value: what was never stored cannot leak.

use std::collections::BTreeMap;

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::kinds::Meta;

/// What is kept of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretShape {
    /// Metadata.
    pub metadata: Meta,
    /// For example `Opaque`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Whether it can no longer be changed.
    #[serde(default)]
    pub immutable: bool,
    /// Its keys.
    pub keys: BTreeMap<String, KeyShape>,
}

/// What is kept of one key's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyShape {
    /// Length of the value in bytes.
    pub bytes: usize,
    /// First 12 hexadecimal digits of SHA-256 over the snapshot's random salt and the value: equal within one
    /// snapshot means equal values; useless outside it.
    pub fingerprint: String,
    /// What it is, by its shape.
    pub kind: ValueKind,
    /// What is wrong with its form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// When a manager that owns the key last changed it, from `metadata.managedFields`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
}

/// What a value is, by its shape (GitLab, "Token overview": prefixes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueKind {
    /// No byte, or nothing but white space.
    Empty,
    /// `glagent-…`
    AgentToken,
    /// `glpat-…`: personal, project or group access token.
    AccessToken,
    /// `gldt-…`
    DeployToken,
    /// Another GitLab token: runner, job, trigger, feed, …
    OtherGitLabToken,
    /// A text that stands in the documents where the token belongs.
    Placeholder,
    /// A PEM private key.
    PrivateKey,
    /// A PEM certificate.
    Certificate,
    /// The name of a deploy token, `gitlab+deploy-token-N`.
    DeployTokenUser,
    /// What SOPS encrypted, as it lies in Git: `ENC[AES256_GCM,data:…]`.
    Encrypted,
    /// None of these: an old token without prefix, a user name, a password.
    Other,
}

/// What can be wrong with the form of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// Space or tab before the token.
    LeadingSpace,
    /// Space or tab behind the token.
    TrailingSpace,
    /// CR LF at the end.
    CarriageReturn,
    /// One line feed at the end. agentk removes it, Flux does not.
    LineFeed,
    /// More than one line.
    ManyLines,
    /// Not UTF-8.
    NotText,
    /// A byte order mark before the token.
    ByteOrderMark,
    /// Quotation marks around the token.
    Quoted,
    /// Base64 of something that is itself a token.
    EncodedTwice,
    /// The checksum at the end of a routable token does not fit: truncated or mistyped.
    Checksum,
    /// It ends before a token of its kind can end.
    TooShort,
}

impl SecretShape {
    /// Reads the shape of a Secret from the API server's JSON.
    ///
    /// # Errors
    /// JSON that is no Secret. The message says where it broke and quotes nothing of it.
    pub fn read(json: &[u8], salt: &[u8]) -> Result<(Self, Vec<Vec<u8>>), String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            metadata: RawMeta,
            #[serde(rename = "type", default)]
            kind: String,
            #[serde(default)]
            immutable: Option<bool>,
            #[serde(default)]
            data: Option<BTreeMap<String, String>>,
        }
        #[derive(Deserialize)]
        struct RawMeta {
            #[serde(flatten)]
            rest: serde_json::Value,
        }
        let position =
            |e: serde_json::Error| format!("not a Secret, at line {} column {}", e.line(), e.column());
        let raw: Raw = serde_json::from_slice(json).map_err(position)?;
        let changed = changed_at(&raw.metadata.rest);
        let metadata: Meta = serde_json::from_value(raw.metadata.rest).map_err(position)?;
        let mut keys = BTreeMap::new();
        let mut values = Vec::new();
        for (key, encoded) in raw.data.unwrap_or_default() {
            let value = base64(&encoded).ok_or_else(|| format!("key {key} is not base64"))?;
            let mut shape = KeyShape::of(&value, salt);
            shape.changed_at = changed.get(&key).copied();
            keys.insert(key, shape);
            values.push(value);
        }
        Ok((Self { metadata, kind: raw.kind, immutable: raw.immutable.unwrap_or_default(), keys }, values))
    }
}

impl KeyShape {
    /// Looks at a value and keeps its shape.
    pub fn of(value: &[u8], salt: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(salt).chain_update(value).finalize();
        let fingerprint = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
        let (kind, faults) = classify(value);
        Self { bytes: value.len(), fingerprint, kind, faults, changed_at: None }
    }
}

fn classify(value: &[u8]) -> (ValueKind, Vec<Fault>) {
    let Ok(text) = std::str::from_utf8(value) else { return (ValueKind::Other, vec![Fault::NotText]) };
    if text.trim().is_empty() {
        return (ValueKind::Empty, Vec::new());
    }
    if text.contains("-----BEGIN") {
        let kind = if text.contains("PRIVATE KEY") { ValueKind::PrivateKey } else { ValueKind::Certificate };
        return (kind, Vec::new());
    }
    let mut faults = form_faults(text);
    let core = text.trim_start_matches('\u{feff}').trim().trim_matches(['"', '\'']);
    let kind = token_kind(core);
    if kind == ValueKind::Other && base64(core).is_some_and(|inner| is_token(&inner)) {
        faults.push(Fault::EncodedTwice);
    }
    faults.extend(match kind {
        ValueKind::AgentToken => length_fault(core, 50),
        ValueKind::AccessToken => length_fault(core, 20),
        _ => None,
    });
    faults.sort_unstable();
    (kind, faults)
}

/// Whether a token ends too early. A classic one has a length that its kind fixes. A routable one, which alone has
/// full stops, ends in a checksum.
fn length_fault(token: &str, classic: usize) -> Option<Fault> {
    let body = token_body(token);
    if body.len() < classic && !body.contains('.') {
        return Some(Fault::TooShort);
    }
    (body.contains('.') && !is_routable(token)).then_some(Fault::Checksum)
}

fn form_faults(text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let without_feed = text.strip_suffix('\n').unwrap_or(text);
    let body = without_feed.trim_start_matches('\u{feff}');
    let checks = [
        (body.len() != without_feed.len(), Fault::ByteOrderMark),
        (body.starts_with([' ', '\t']), Fault::LeadingSpace),
        (body.ends_with([' ', '\t']), Fault::TrailingSpace),
        (body.contains('\r'), Fault::CarriageReturn),
        (body.contains('\n'), Fault::ManyLines),
        (body.trim().starts_with(['"', '\'']), Fault::Quoted),
        (without_feed.len() != text.len() && !body.contains(['\r', '\n']), Fault::LineFeed),
    ];
    faults.extend(checks.into_iter().filter_map(|(wrong, fault)| wrong.then_some(fault)));
    faults
}

/// The part of a GitLab token behind its prefix; an instance may put a prefix of its own before all.
pub(crate) fn token_body(token: &str) -> &str {
    token_split(token).map_or(token, |(_, body)| body)
}

/// Splits a token behind `gl` into the letters of its kind and its body.
fn token_split(token: &str) -> Option<(&str, &str)> {
    let known = |at: usize| {
        let before = &token[..at];
        let own =
            before.len() <= 21 && before.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        let prefixed = before.is_empty() || (before.ends_with('-') && own);
        let (kind, body) = token[at + 2..].split_once('-').filter(|_| prefixed)?;
        KINDS.iter().any(|(name, _)| *name == kind).then_some((kind, body))
    };
    token.match_indices("gl").find_map(|(at, _)| known(at))
}

/// The letters behind `gl` (GitLab, "Token overview": token prefixes).
const KINDS: &[(&str, ValueKind)] = &[
    ("agent", ValueKind::AgentToken),
    ("pat", ValueKind::AccessToken),
    ("dt", ValueKind::DeployToken),
    ("rt", ValueKind::OtherGitLabToken),
    ("rtr", ValueKind::OtherGitLabToken),
    ("cbt", ValueKind::OtherGitLabToken),
    ("ptt", ValueKind::OtherGitLabToken),
    ("ft", ValueKind::OtherGitLabToken),
    ("imt", ValueKind::OtherGitLabToken),
    ("oas", ValueKind::OtherGitLabToken),
    ("soat", ValueKind::OtherGitLabToken),
    ("ffct", ValueKind::OtherGitLabToken),
    ("wt", ValueKind::OtherGitLabToken),
];

/// What stands at the beginning of a runner's registration token of old, and of a session cookie.
const OTHER_PREFIXES: &[&str] = &["GR1348941", "_gitlab_session="];

fn token_kind(text: &str) -> ValueKind {
    const PLACEHOLDERS: &[&str] =
        &["your-token-here", "your-agent-token", "your_token", "changeme", "placeholder", "example-token"];
    let lower = text.to_ascii_lowercase();
    if PLACEHOLDERS.iter().any(|p| lower.contains(p)) || (text.starts_with('<') && text.ends_with('>')) {
        return ValueKind::Placeholder;
    }
    if text.starts_with("gitlab+deploy-token-") {
        return ValueKind::DeployTokenUser;
    }
    if text.starts_with("ENC[AES256_GCM,") {
        return ValueKind::Encrypted;
    }
    if OTHER_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
        return ValueKind::OtherGitLabToken;
    }
    let kind = token_split(text).and_then(|(kind, _)| KINDS.iter().find(|(name, _)| *name == kind));
    kind.map_or(ValueKind::Other, |(_, kind)| *kind)
}

fn is_token(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !matches!(token_kind(text.trim()), ValueKind::Other))
}

/// Whether a token ends as a routable one does, with the length of its payload and a checksum over all before it
/// (`lib/authn/token_field/generator/routable_token.rb`: `<payload>.<vv>.<length, 2><crc32, 7>`, base 36; the first
/// ones had no `.<vv>`).
fn is_routable(token: &str) -> bool {
    let parts: Vec<&str> = token_body(token).split('.').collect();
    let (payload, tail) = match parts[..] {
        [payload, version, tail] if version.len() == 2 => (payload, tail),
        [payload, tail] => (payload, tail),
        _ => return false,
    };
    let Some((length, crc)) = tail.split_at_checked(2).filter(|_| tail.len() == 9) else { return false };
    let number = |text: &str| u32::from_str_radix(text, 36).ok();
    let covered = &token.as_bytes()[..token.len() - crc.len()];
    number(length) == u32::try_from(payload.len()).ok() && number(crc) == Some(crc32fast::hash(covered))
}

/// Decodes standard base64, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD_INDIFFERENT.decode(text).ok()
}

/// Standard alphabet; the API server pads, a person who encoded by hand may not have.
const STANDARD_INDIFFERENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// For each key of `data`, when a manager that owns it last wrote (`metadata.managedFields[].fieldsV1`).
fn changed_at(metadata: &serde_json::Value) -> BTreeMap<String, Timestamp> {
    let mut changed = BTreeMap::new();
    let entries = metadata.get("managedFields").and_then(|v| v.as_array());
    for entry in entries.into_iter().flatten() {
        let time = entry.get("time").and_then(|t| t.as_str()).and_then(|t| t.parse::<Timestamp>().ok());
        let Some(time) = time else { continue };
        let data = entry.pointer("/fieldsV1/f:data").and_then(|d| d.as_object());
        for key in data.into_iter().flat_map(|d| d.keys()).filter_map(|k| k.strip_prefix("f:")) {
            let newest = changed.entry(key.to_owned()).or_insert(time);
            *newest = (*newest).max(time);
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> (ValueKind, Vec<Fault>) {
        classify(value.as_bytes())
    }

    fn agent_token() -> String {
        format!("glagent-{}", "x".repeat(50))
    }

    #[test]
    fn kinds_are_told_by_shape() {
        let token = agent_token();
        assert_eq!(of(&token), (ValueKind::AgentToken, vec![]));
        assert_eq!(of(&format!("acme-{token}")), (ValueKind::AgentToken, vec![]));
        assert_eq!(of(&format!("glpat-{}", "y".repeat(20))), (ValueKind::AccessToken, vec![]));
        assert_eq!(of(&format!("glpat-{}", "y".repeat(19))).1, [Fault::TooShort]);
        assert_eq!(of("gldt-0123456789").0, ValueKind::DeployToken);
        assert_eq!(of("<your-token-here>").0, ValueKind::Placeholder);
        assert_eq!(of("  \n").0, ValueKind::Empty);
        assert_eq!(of("gitlab+deploy-token-7").0, ValueKind::DeployTokenUser);
        assert_eq!(of("ENC[AES256_GCM,data:aaaa,iv:bb==,tag:cc==,type:str]").0, ValueKind::Encrypted);
        assert_eq!(of("ENCRYPTED").0, ValueKind::Other);
        assert_eq!(of("hunter2").0, ValueKind::Other);
    }

    #[test]
    fn faults_of_form_are_named() {
        let token = agent_token();
        for (value, faults) in [
            (format!("{token}\n"), vec![Fault::LineFeed]),
            (format!("{token}\r\n"), vec![Fault::CarriageReturn]),
            (format!("{token}\n\n"), vec![Fault::ManyLines]),
            (format!(" {token}"), vec![Fault::LeadingSpace]),
            (format!("{token} "), vec![Fault::TrailingSpace]),
            (format!("\"{token}\""), vec![Fault::Quoted]),
            (format!("\u{feff}{token}"), vec![Fault::ByteOrderMark]),
            (token[..30].to_owned(), vec![Fault::TooShort]),
        ] {
            assert_eq!(of(&value), (ValueKind::AgentToken, faults), "{value:?}");
        }
        assert_eq!(classify(&[0xff, 0xfe]).1, [Fault::NotText]);
    }

    fn base36(mut number: u32, digits: usize) -> String {
        let mut text = Vec::new();
        for _ in 0..digits {
            text.push(char::from_digit(number % 36, 36).expect("a digit"));
            number /= 36;
        }
        text.iter().rev().collect()
    }

    /// A routable token made by GitLab's algorithm, of a payload that is nobody's.
    fn routable(prefix: &str, version: &str, payload: &str) -> String {
        let length = base36(u32::try_from(payload.len()).expect("short"), 2);
        let covered = format!("{prefix}{payload}{version}.{length}");
        format!("{covered}{}", base36(crc32fast::hash(covered.as_bytes()), 7))
    }

    #[test]
    fn the_checksum_of_a_routable_token_is_checked() {
        let payload = "a".repeat(60);
        let good = routable("glagent-", ".01", &payload);
        for (token, kind) in [
            (good.clone(), ValueKind::AgentToken),
            (routable("acme-glagent-", ".01", &payload), ValueKind::AgentToken),
            (routable("glagent-", ".01", &"b".repeat(27)), ValueKind::AgentToken),
            (routable("glpat-", ".01", &payload), ValueKind::AccessToken),
            (routable("glpat-", "", &payload), ValueKind::AccessToken),
        ] {
            assert_eq!(of(&token), (kind, vec![]), "{token}");
        }
        for broken in [
            good.replace("aaaa.01", "aaab.01"),
            good.replace("aaaa.01", "aaa.01"),
            good.replace(".01.", ".02."),
            good[..good.len() - 1].to_owned(),
            good[..good.len() - 9].to_owned(),
            format!("{good}x"),
        ] {
            assert_eq!(of(&broken), (ValueKind::AgentToken, vec![Fault::Checksum]), "{broken}");
        }
        assert_eq!(of(&good[..40]).1, [Fault::TooShort], "cut within the length of a classic one");
    }

    /// GitLab's documents list these; an instance may put a prefix of its own before each.
    #[test]
    fn every_documented_prefix_is_told() {
        for (prefix, kind) in [
            ("glpat-", ValueKind::AccessToken),
            ("gldt-", ValueKind::DeployToken),
            ("glagent-", ValueKind::AgentToken),
            ("glrt-", ValueKind::OtherGitLabToken),
            ("glrtr-", ValueKind::OtherGitLabToken),
            ("glcbt-", ValueKind::OtherGitLabToken),
            ("glptt-", ValueKind::OtherGitLabToken),
            ("glft-", ValueKind::OtherGitLabToken),
            ("glimt-", ValueKind::OtherGitLabToken),
            ("gloas-", ValueKind::OtherGitLabToken),
            ("glsoat-", ValueKind::OtherGitLabToken),
            ("glffct-", ValueKind::OtherGitLabToken),
            ("glwt-", ValueKind::OtherGitLabToken),
        ] {
            for instance in ["", "acme-", "glob-", "my_gl.x-"] {
                assert_eq!(
                    of(&format!("{instance}{prefix}{}", "x".repeat(50))).0,
                    kind,
                    "{instance}{prefix}"
                );
            }
        }
        assert_eq!(of(&format!("GR1348941{}", "x".repeat(20))).0, ValueKind::OtherGitLabToken);
        assert_eq!(of(&format!("_gitlab_session={}", "0".repeat(32))).0, ValueKind::OtherGitLabToken);
        for other in ["angl-x", "glue-stick", "a-word-longer-than-twenty-one-glpat-", "with space-glpat-x"] {
            assert_eq!(of(other).0, ValueKind::Other, "{other}");
        }
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        assert_eq!(base64("aGVsbG8").as_deref(), Some(&b"hello"[..]));
        assert_eq!(base64("aGVsbG8=").as_deref(), Some(&b"hello"[..]));
        assert_eq!(base64("aGVsbG8h").as_deref(), Some(&b"hello!"[..]));
        assert_eq!(base64("not base64"), None);
    }

    #[test]
    fn the_shape_holds_no_value_and_knows_when_a_key_changed() {
        let json = br#"{"metadata": {"name": "t", "namespace": "n", "managedFields": [
              {"manager": "a", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:data": {"f:token": {}}}},
              {"manager": "b", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:data": {"f:token": {}, "f:x": {}}}},
              {"manager": "c", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:metadata": {}}}]},
            "type": "Opaque", "data": {"token": "TUFSS0VS"}}"#;
        let (shape, values) = SecretShape::read(json, b"salt").expect("reads");
        assert_eq!(values, [b"MARKER".to_vec()]);
        let recorded = serde_json::to_string(&shape).expect("writes");
        assert!(!recorded.contains("MARKER") && !recorded.contains("TUFSS0VS"), "{recorded}");
        let changed = shape.keys["token"].changed_at.expect("known");
        assert_eq!(changed.to_string(), "2026-01-02T00:00:00Z");
        assert_eq!(shape, serde_json::from_str(&recorded).expect("reads its own form"));
    }

    #[test]
    fn an_undecodable_secret_is_not_quoted() {
        let error = SecretShape::read(br#"{"metadata": {}, "data": {"token": 7, "x": "MARKER"}}"#, b"")
            .expect_err("bad");
        assert!(!error.contains("MARKER"), "{error}");
    }
}

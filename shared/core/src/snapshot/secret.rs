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
    match (kind, checksum_fits(core)) {
        (ValueKind::AgentToken | ValueKind::AccessToken, Some(false)) => faults.push(Fault::Checksum),
        (ValueKind::AgentToken, None) if token_body(core).len() < 50 => faults.push(Fault::TooShort),
        (ValueKind::AccessToken, None) if token_body(core).len() < 20 => faults.push(Fault::TooShort),
        _ => {}
    }
    faults.sort_unstable();
    (kind, faults)
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
fn token_body(token: &str) -> &str {
    token_split(token).map_or(token, |(_, body)| body)
}

fn token_split(token: &str) -> Option<(&str, &str)> {
    let start = token.find("gl").filter(|at| {
        let before = &token[..*at];
        before.is_empty() || (before.ends_with('-') && before.len() <= 21)
    })?;
    let (kind, body) = token[start + 2..].split_once('-')?;
    (!kind.is_empty() && kind.chars().all(|c| c.is_ascii_lowercase())).then_some((kind, body))
}

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
    match token_split(text).map(|(kind, _)| kind) {
        Some("agent") => ValueKind::AgentToken,
        Some("pat") => ValueKind::AccessToken,
        Some("dt") => ValueKind::DeployToken,
        Some("rt" | "rtr" | "cbt" | "ptt" | "ft" | "imt" | "oas" | "soat" | "ffct" | "wt") => {
            ValueKind::OtherGitLabToken
        }
        _ => ValueKind::Other,
    }
}

fn is_token(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !matches!(token_kind(text.trim()), ValueKind::Other))
}

/// Whether the checksum of a routable token fits; `None` for a token that has none
/// (`lib/authn/token_field/generator/routable_token.rb`: `<payload>.<vv>.<length, 2><crc32, 7>`, base 36).
fn checksum_fits(token: &str) -> Option<bool> {
    let (covered, crc) = token.split_at_checked(token.len().checked_sub(7)?)?;
    let (_, tail) = token.rsplit_once('.')?;
    if tail.len() != 9 {
        return None;
    }
    let found = u32::from_str_radix(crc, 36).ok()?;
    Some(found == crc32fast::hash(covered.as_bytes()))
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
        assert_eq!(of("gldt-0123456789").0, ValueKind::DeployToken);
        assert_eq!(of("<your-token-here>").0, ValueKind::Placeholder);
        assert_eq!(of("  \n").0, ValueKind::Empty);
        assert_eq!(of("gitlab+deploy-token-7").0, ValueKind::DeployTokenUser);
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

    #[test]
    fn the_checksum_of_a_routable_token_is_checked() {
        let covered = format!("glagent-{}.01.1o", "a".repeat(60));
        let mut crc = crc32fast::hash(covered.as_bytes());
        let mut digits = Vec::new();
        for _ in 0..7 {
            digits.push(char::from_digit(crc % 36, 36).expect("a digit"));
            crc /= 36;
        }
        let good = format!("{covered}{}", digits.iter().rev().collect::<String>());
        assert_eq!(of(&good), (ValueKind::AgentToken, vec![]));
        assert_eq!(
            of(&good.replacen('a', "b", 1).replacen("glbgent", "glagent", 1)).0,
            ValueKind::AgentToken
        );
        assert_eq!(of(&good.replace("aaaa.01", "aaab.01")).1, [Fault::Checksum]);
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

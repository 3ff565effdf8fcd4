//! What of a Secret is secret: its values, and what is inside them.

use std::collections::BTreeSet;

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};

use super::automaton::WHOLE;
use super::tokens;
use crate::snapshot::secret::token_body;

/// Keys whose value is no secret, wherever they stand: in a Secret, in JSON, in YAML, in a file of settings.
const PUBLIC: &[&str] = &[
    "address",
    "apiversion",
    "ca-file",
    "ca.crt",
    "cafile",
    "certfile",
    "certificate-authority-data",
    "client-certificate-data",
    "email",
    "host",
    "hostname",
    "identity.pub",
    "kind",
    "known_hosts",
    "login",
    "machine",
    "name",
    "namespace",
    "port",
    "registry",
    "server",
    "tls.crt",
    "type",
    "url",
    "user",
    "username",
];

/// Parts of key names that tell of a credential: of these also a short value that is one plain word is masked.
const CREDENTIAL: &[&str] = &["auth", "cred", "identity", "key", "pass", "pin", "pwd", "secret", "token"];

/// Words that a password may be and that texts are full of. Masking them would hide the text and not the password.
const ORDINARY: &[&str] = &[
    "access",
    "admin",
    "administrator",
    "agent",
    "agentk",
    "alpine",
    "auth",
    "basic",
    "bearer",
    "branch",
    "bucket",
    "busybox",
    "certificate",
    "changeme",
    "chart",
    "cluster",
    "config",
    "connection",
    "data",
    "debug",
    "default",
    "deploy",
    "deployment",
    "development",
    "disabled",
    "docker",
    "enabled",
    "error",
    "false",
    "flux",
    "flux-system",
    "gitlab",
    "gitlab-agent",
    "gitops",
    "guest",
    "helm",
    "http",
    "https",
    "image",
    "info",
    "infrastructure",
    "kubernetes",
    "kustomization",
    "kustomize",
    "latest",
    "localhost",
    "main",
    "master",
    "monitoring",
    "mysql",
    "name",
    "namespace",
    "nginx",
    "nil",
    "none",
    "null",
    "oauth2",
    "password",
    "path",
    "platform",
    "podinfo",
    "postgres",
    "postgresql",
    "prod",
    "production",
    "public",
    "ready",
    "redis",
    "registry",
    "release",
    "repository",
    "root",
    "secret",
    "server",
    "service",
    "source",
    "stage",
    "staging",
    "status",
    "system",
    "test",
    "testing",
    "token",
    "trace",
    "true",
    "undefined",
    "user",
    "username",
    "value",
    "warning",
];

/// Shorter values are in every text by chance.
const SHORTEST: usize = 4;

/// A token of GitLab has 20 letters and more behind its prefix; a shorter rest may be a word.
const SHORTEST_BODY: usize = 16;

/// How deep JSON, base64 and lines in each other are looked into.
const DEPTH: usize = 5;

const BASE64: [GeneralPurpose; 2] = {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [GeneralPurpose::new(&alphabet::STANDARD, config), GeneralPurpose::new(&alphabet::URL_SAFE, config)]
};

/// Values that are masked wherever they turn up. It cannot be printed.
#[derive(Clone, Default)]
pub struct Values(BTreeSet<Vec<u8>>);

impl Values {
    /// Takes in a value, and what is inside it, under the name of its key.
    pub fn add(&mut self, key: &str, value: &[u8]) {
        self.inside(key, value, 0);
    }

    /// The patterns to look for.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    fn inside(&mut self, key: &str, value: &[u8], depth: usize) {
        if depth > DEPTH {
            return;
        }
        if let Some(text) = from_utf_16(value) {
            return self.inside(key, text.as_bytes(), depth + 1);
        }
        let Ok(text) = std::str::from_utf8(value) else { return self.bytes(key, value) };
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return;
        }
        let public = is_public(key);
        if !public || text.contains("://") {
            self.tokens(key, text, depth);
        }
        if public && (tokens::is_certificate(key) || !looks_secret(text)) {
            return;
        }
        if text.starts_with(['{', '[', '"'])
            && let Ok(json) = serde_json::from_str::<serde_json::Value>(text)
        {
            return self.json(key, &json, depth + 1);
        }
        if text.contains('\n') {
            return self.lines(key, text, depth);
        }
        self.line(key, text, depth, true);
    }

    /// What looks like a credential in a text of any form, and what is encoded in it.
    fn tokens(&mut self, key: &str, text: &str, depth: usize) {
        // The host and path of a URL are as random as a cluster's names are.
        let text = text.split_once("://").filter(|_| is_public(key)).map_or(text, |(_, rest)| rest);
        tokens::each(text, &mut |token| {
            self.keep(token.name.unwrap_or(key), token.text.as_bytes());
            self.decoded(key, token.text, depth);
        });
        if text.contains(char::is_whitespace) {
            let whole: String = text.split_whitespace().collect();
            self.decoded(key, &whole, depth);
        }
    }

    /// What a text says in base64 or hex.
    fn decoded(&mut self, key: &str, text: &str, depth: usize) {
        let printable = |inner: &Vec<u8>| inner.len() >= SHORTEST && is_printable(inner);
        let base64 = BASE64.iter().find_map(|engine| engine.decode(text).ok());
        for inner in [base64, from_hex(text)].into_iter().flatten().filter(printable) {
            self.inside(key, &inner, depth + 1);
        }
    }

    /// What is no text as a whole: itself, and the texts in it.
    fn bytes(&mut self, key: &str, value: &[u8]) {
        self.keep(key, value);
        for part in value.split(|byte| !(b' '..=b'~').contains(byte)) {
            self.keep(key, part);
        }
    }

    fn json(&mut self, key: &str, json: &serde_json::Value, depth: usize) {
        match json {
            serde_json::Value::String(text) => self.inside(key, text.as_bytes(), depth),
            serde_json::Value::Array(items) => items.iter().for_each(|item| self.json(key, item, depth)),
            serde_json::Value::Object(fields) => {
                fields.iter().for_each(|(key, field)| self.json(key, field, depth));
            }
            other => self.keep(key, other.to_string().as_bytes()),
        }
    }

    /// A file: PEM, netrc, settings, YAML. What is public of PEM stays readable.
    fn lines(&mut self, key: &str, text: &str, depth: usize) {
        let mut public = false;
        for line in text.lines().map(str::trim) {
            if let Some(kind) = line.strip_prefix("-----BEGIN ") {
                public = !kind.contains("PRIVATE");
            } else if line.starts_with("-----END ") {
                public = false;
            } else if !public {
                self.line(key, line.strip_prefix("- ").unwrap_or(line), depth, false);
            }
        }
    }

    fn line(&mut self, key: &str, line: &str, depth: usize, whole: bool) {
        let line = if whole { line.trim() } else { line.trim().trim_end_matches([',', ':']) };
        let bare = line.trim_matches(['"', '\'']);
        if let Some(inner) = setting(line) {
            let (name, value) = inner;
            let name = name.trim().trim_matches(['"', '\'']);
            self.inside(name, value.trim().trim_matches(['"', '\'']).as_bytes(), depth + 1);
            if !whole && (is_public(name) || is_ordinary(value.trim())) {
                return;
            }
        }
        self.login(key, bare, depth);
        if !is_open_address(bare) {
            self.keep(key, line.as_bytes());
            self.keep(key, bare.as_bytes());
            // What stands behind the prefix of a token is all that is secret of it.
            let body = token_body(bare);
            if body.len() < bare.len() && body.len() >= SHORTEST_BODY {
                self.keep("token", body.as_bytes());
            }
        }
    }

    /// Passwords in what is more than a password: URLs, netrc, `user:password`, either of them in base64.
    fn login(&mut self, key: &str, text: &str, depth: usize) {
        if let Some((_, rest)) = text.split_once("://") {
            if let Some((user, _)) = rest.rsplit_once('@') {
                let password = user.split_once(':').map_or(user, |(_, password)| password);
                self.keep("password", password.as_bytes());
                self.keep("password", percent_decoded(password).as_bytes());
            }
            return;
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.windows(2).filter(|pair| is_credential(pair[0]) && words.len() > 2) {
            self.keep("password", pair[1].as_bytes());
        }
        if let ([word], Some((_, password))) = (words.as_slice(), text.split_once(':'))
            && !word.contains('/')
        {
            self.keep("password", password.as_bytes());
        }
        self.decoded(key, text, depth);
    }

    fn keep(&mut self, key: &str, value: &[u8]) {
        let value = value.trim_ascii();
        let text = std::str::from_utf8(value).unwrap_or_default();
        let short = value.len() < WHOLE && !is_mixed(text) && !is_credential(key);
        let is_mask = value.iter().all(|byte| *byte == b'*');
        if value.len() >= SHORTEST && !short && !is_mask && !is_ordinary(text) {
            self.0.insert(value.iter().map(|byte| super::folded(*byte)).collect());
        }
    }
}

/// `key: value` and `key=value`, where the key is a name.
fn setting(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = match (line.split_once(": "), line.split_once('=')) {
        (Some(yaml), Some(plain)) => {
            if yaml.0.len() < plain.0.len() {
                yaml
            } else {
                plain
            }
        }
        (yaml, plain) => yaml.or(plain)?,
    };
    let named = |c: char| c.is_ascii_alphanumeric() || "_.-\"' ".contains(c);
    (!name.trim().is_empty()
        && name.len() < 64
        && name.chars().all(named)
        && !value.trim_matches('=').is_empty())
    .then_some((name, value))
}

fn is_public(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    PUBLIC.contains(&key.as_str())
}

pub(super) fn is_credential(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    CREDENTIAL.iter().any(|part| key.contains(part))
}

/// A word, number, version or address that texts hold by themselves.
fn is_ordinary(text: &str) -> bool {
    let lower = text.trim_matches(['"', '\'']).to_ascii_lowercase();
    let number = lower.strip_prefix('v').unwrap_or(&lower);
    let digits = number.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let counted = !digits.is_empty()
        && text.len() < WHOLE
        && number.len() - digits.len() <= 2
        && digits.chars().all(|c| c.is_ascii_digit() || ".:".contains(c));
    counted || ORDINARY.binary_search(&lower.as_str()).is_ok()
}

/// Not one plain word: it has letters and something else.
fn is_mixed(text: &str) -> bool {
    let has = |kind: fn(char) -> bool| text.chars().any(kind);
    let inner_capital = text.chars().skip(1).any(|c| c.is_uppercase()) && has(char::is_lowercase);
    has(char::is_alphabetic)
        && (has(|c| !c.is_alphanumeric() && c != '-') || has(char::is_numeric) || inner_capital)
}

/// A user name that is a token after all, as some registries have it, and a URL that holds a password.
fn looks_secret(text: &str) -> bool {
    let login = text.split_once("://").is_some_and(|(_, rest)| !is_open_address(text) && rest.len() > 3);
    login
        || (super::patterns::is_opaque(text)
            && text.len() >= 20
            && !text.contains(['@', '+', ':', '/', '.', ' ', '\n']))
}

/// A URL that opens nothing by itself.
fn is_open_address(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let opaque = |part: &str| part.len() >= 16 && super::patterns::is_opaque(part);
    !rest.contains(['@', '?', '#'])
        && !rest.split('/').skip(1).any(opaque)
        && !rest.contains(char::is_whitespace)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .bytes()
        .map(|byte| char::from(byte).to_digit(16).and_then(|digit| digit.try_into().ok()))
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// The text of a value in UTF-16, as Windows writes it: with a mark, or with a zero beside each letter.
fn from_utf_16(value: &[u8]) -> Option<String> {
    let (pairs, rest) = value.as_chunks::<2>();
    let zeros = |at: usize| pairs.iter().filter(|pair| pair[at] == 0).count() * 4 > pairs.len() * 3;
    let unit = match value {
        [0xFF, 0xFE, ..] => u16::from_le_bytes,
        [0xFE, 0xFF, ..] => u16::from_be_bytes,
        _ if pairs.len() > 1 && zeros(1) && !zeros(0) => u16::from_le_bytes,
        _ if pairs.len() > 1 && zeros(0) && !zeros(1) => u16::from_be_bytes,
        _ => return None,
    };
    let text: String = char::decode_utf16(pairs.iter().copied().map(unit)).collect::<Result<_, _>>().ok()?;
    rest.is_empty().then(|| text.trim_start_matches('\u{feff}').to_owned())
}

fn is_printable(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()))
}

fn percent_decoded(text: &str) -> String {
    let view = super::views::View::of(text);
    let decoded = super::views::unescaped(&view).next().map(|view| view.bytes);
    decoded.map_or(text.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, value: &str) -> Vec<String> {
        let mut values = Values::default();
        values.add(key, value.as_bytes());
        values.patterns().map(|p| String::from_utf8_lossy(p).into_owned()).collect()
    }

    #[test]
    fn tables_are_in_order() {
        assert!(ORDINARY.is_sorted() && PUBLIC.is_sorted());
    }

    #[test]
    fn what_is_secret_in_a_value_is_found() {
        let both = base64::engine::general_purpose::STANDARD.encode("user:p4ssw0rd");
        let docker = format!(
            r#"{{"auths":{{"registry.example.com":{{"username":"user","password":"hunter22","auth":"{both}","identitytoken":"abc-def-1"}}}}}}"#
        );
        let pem = "-----BEGIN EC PRIVATE KEY-----\nline1line1\nline2line2\n-----END EC PRIVATE KEY-----\n\
            -----BEGIN CERTIFICATE-----\npublicpublic\n-----END CERTIFICATE-----\n";
        for (key, value, wanted) in [
            ("token", "hunter2", vec!["hunter2"]),
            ("password", "with space in it", vec!["with space in it"]),
            ("a", "a+b%c d1234", vec!["a b%c d1234"]),
            (".dockerconfigjson", &docker, vec!["abc-def-1", "hunter22", "p4ssw0rd", &both, "user:p4ssw0rd"]),
            ("identity", pem, vec!["line1line1", "line2line2"]),
            (
                "netrc",
                "machine h login u password p4ssw0rd",
                vec!["machine h login u password p4ssw0rd", "p4ssw0rd"],
            ),
            (".env", "MODE=true\nDB_PASSWORD='dragon'\n", vec!["DB_PASSWORD='dragon'", "dragon"]),
            ("config.yaml", "kind: Config\nuser:\n  token: s3cr3t00\n", vec!["s3cr3t00", "token: s3cr3t00"]),
            ("url", "https://u:p%2Fw12345@h/x", vec!["https://u:p%2Fw12345@h/x", "p%2Fw12345", "p/w12345"]),
            (
                "address",
                "https://hooks.example.com/services/T0123456789ABCDEFG",
                vec!["https://hooks.example.com/services/T0123456789ABCDEFG"],
            ),
            ("json", r#"{"deep":{"list":["s3cr3t00",12345678,true]}}"#, vec!["12345678", "s3cr3t00"]),
        ] {
            let found = of(key, value);
            for one in &wanted {
                assert!(found.iter().any(|f| f == one), "{key}: {one} is not in {found:?}");
            }
            assert!(!found.iter().any(|f| f.contains("public") || f == "user" || f == "Config"), "{found:?}");
        }
    }

    #[test]
    fn what_is_public_or_ordinary_stays_readable() {
        for (key, value) in [
            ("username", "gitlab+deploy-token-1"),
            ("username", "git"),
            ("known_hosts", "gitlab.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"),
            ("ca.crt", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"),
            ("address", "https://gitlab.example.com/platform/fleet"),
            ("enabled", "true"),
            ("branch", "main"),
            ("password", "git"),
            ("token", "gitlab"),
            ("LOG_LEVEL", "info"),
            ("word", "dragon"),
            ("PORT", "8080"),
            ("timeout", "30s"),
            ("version", "v1.2.3"),
            ("size", "100Mi"),
        ] {
            assert!(of(key, value).is_empty(), "{key}: {value}: {:?}", of(key, value));
        }
    }
}

//! One value, recognized wherever it lies in a Secret: by the value itself while it is known, else by a fingerprint of it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Shorter values are no credentials; that two of them are equal says nothing.
const SHORTEST: usize = 8;
/// A value may be encoded, and what comes out once more (`.dockerconfigjson`, `auth`).
const DEEPEST: u32 = 3;

const INDIFFERENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, INDIFFERENT);
const FOR_URLS: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, INDIFFERENT);

/// One value, known by its fingerprint alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    salt: String,
    fingerprint: String,
}

/// What takes a library to open.
#[derive(Clone, Copy)]
pub struct Openers<'a> {
    /// The public half of a private key.
    pub public_half: &'a dyn Fn(&str) -> Option<String>,
    /// What is in a packed file (gzip), where it is one.
    pub unpacked: &'a dyn Fn(&[u8]) -> Option<Vec<u8>>,
}

/// What a private key is known by: its public half, of which several private forms exist.
fn of_pair(public: &str) -> String {
    format!("private half of {public}")
}

impl Mark {
    /// The mark of a token or password.
    pub fn of(salt: &str, value: &[u8]) -> Self {
        Self { salt: salt.to_owned(), fingerprint: digest(salt, value.trim_ascii()) }
    }

    /// The mark of a private key, by its public half.
    pub fn of_key(salt: &str, public: &str) -> Self {
        Self::of(salt, of_pair(public).as_bytes())
    }

    /// One that was written down.
    pub fn known(salt: &str, fingerprint: &str) -> Self {
        Self { salt: salt.to_owned(), fingerprint: fingerprint.to_owned() }
    }

    /// First 12 hexadecimal digits of SHA-256 over the salt and the value.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether the value lies in these bytes: as they are, as a word of a text (a URL, a `.netrc`, a file of variables), as a
    /// string of JSON, or as any of these encoded or packed. Where the value itself is known, anywhere in the bytes.
    pub fn is_in(&self, bytes: &[u8], value: Option<&[u8]>, open: &Openers<'_>) -> bool {
        let value = value.map(<[u8]>::trim_ascii).filter(|value| value.len() >= SHORTEST);
        Search { mark: self, value, open }.is_at(bytes, DEEPEST)
    }

    fn fits(&self, bytes: &[u8]) -> bool {
        bytes.len() >= SHORTEST && digest(&self.salt, bytes) == self.fingerprint
    }
}

struct Search<'a> {
    mark: &'a Mark,
    value: Option<&'a [u8]>,
    open: &'a Openers<'a>,
}

impl Search<'_> {
    fn is_at(&self, bytes: &[u8], depth: u32) -> bool {
        let inside = |value: &[u8]| bytes.windows(value.len()).any(|window| window == value);
        if self.mark.fits(bytes.trim_ascii()) || self.value.is_some_and(inside) {
            return true;
        }
        if depth == 0 {
            return self.is_a_word(&String::from_utf8_lossy(bytes));
        }
        if let Some(unpacked) = (self.open.unpacked)(bytes) {
            return self.is_at(&unpacked, depth - 1);
        }
        // Each second byte of a text in UTF-16 is nothing.
        if bytes.contains(&0) {
            let without: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
            return self.is_at(&without, depth - 1);
        }
        let text = String::from_utf8_lossy(bytes);
        let key = || text.contains("PRIVATE KEY").then(|| (self.open.public_half)(&text)).flatten();
        key().is_some_and(|public| self.mark.fits(of_pair(&public).as_bytes()))
            || self.is_a_word(&text)
            || decoded(&text).iter().any(|inner| self.is_at(inner, depth - 1))
            || self.is_in_json(&text, depth)
    }

    fn is_a_word(&self, text: &str) -> bool {
        let after_user = text.split_once(':').map(|(_, rest)| rest.trim());
        let word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let fits = |text: &str| self.mark.fits(text.as_bytes());
        after_user.is_some_and(fits)
            || text.split(|c| !word(c)).any(|word| fits(word) || fits(word.trim_matches('.')))
    }

    fn is_in_json(&self, text: &str, depth: u32) -> bool {
        if !text.trim_start().starts_with(['{', '[']) {
            return false;
        }
        let Ok(json) = serde_json::from_str::<Value>(text) else { return false };
        let mut left = vec![&json];
        while let Some(value) = left.pop() {
            match value {
                Value::String(text) if self.is_at(text.as_bytes(), depth - 1) => return true,
                Value::Array(items) => left.extend(items),
                Value::Object(fields) => left.extend(fields.values()),
                _ => {}
            }
        }
        false
    }
}

/// What a text says with one encoding less.
fn decoded(text: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let squeezed: String = text.split_ascii_whitespace().collect();
    let wrapped = (squeezed.len() != text.trim_ascii().len()).then_some(squeezed.as_str());
    for text in std::iter::once(text).chain(wrapped) {
        let runs = |more: &'static str| {
            let inside = move |c: char| c.is_ascii_alphanumeric() || more.contains(c);
            text.split(move |c| !inside(c)).filter(|run| run.len() >= SHORTEST)
        };
        found.extend(runs("+/=").filter_map(|run| BASE64.decode(run).ok()));
        let for_urls = runs("-_=").filter(|run| run.contains(['-', '_']));
        found.extend(for_urls.filter_map(|run| FOR_URLS.decode(run).ok()));
        found.extend(runs("").filter_map(hexadecimal));
    }
    found.extend(percent_decoded(text));
    if text.contains('\\') {
        let plain = ["\\n", "\\r", "\\t", "\\\""]
            .iter()
            .fold(text.to_owned(), |text, escape| text.replace(escape, " "));
        found.push(plain.into_bytes());
    }
    found
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn hexadecimal(run: &str) -> Option<Vec<u8>> {
    let pairs = run.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    if !text.contains('%') {
        return None;
    }
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = bytes.get(at + 1).zip(bytes.get(at + 2)).filter(|_| *byte == b'%');
        match pair.and_then(|(high, low)| Some(digit(*high)? << 4 | digit(*low)?)) {
            Some(decoded) => {
                plain.push(decoded);
                at += 3;
            }
            None => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    (plain != bytes).then_some(plain)
}

fn digest(salt: &str, value: &[u8]) -> String {
    let digest = Sha256::new().chain_update("value").chain_update(salt).chain_update(value).finalize();
    digest.iter().take(6).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOTHING: Openers<'static> = Openers { public_half: &|_| None, unpacked: &|_| None };

    /// Made at run time: no scanner trips on it.
    fn token() -> String {
        format!("gl{}-{}", "dt", "Ab3_x-".repeat(4))
    }

    /// Where people put a copy of a token.
    fn copies(token: &str) -> Vec<(&'static str, String)> {
        let auth = STANDARD.encode(format!("deploy:{token}"));
        vec![
            ("as it is", token.to_owned()),
            ("with a line feed", format!("{token}\n")),
            ("with blanks", format!("  {token} \r\n")),
            ("in a URL", format!("https://oauth2:{token}@gitlab.example.com/a/b.git")),
            ("git credentials", format!("https://x:{token}@gitlab.example.com\n")),
            ("netrc", format!("machine gitlab.example.com login x password {token}\n")),
            ("variables", format!("GITLAB_USER=x\nGITLAB_TOKEN={token}\n")),
            ("quoted variables", format!("export TOKEN=\"{token}\"")),
            ("YAML", format!("config:\n  token: {token}\n")),
            ("JSON", json!({"a": [{"token": token}]}).to_string()),
            ("registry password", json!({"auths": {"r": {"username": "x", "password": token}}}).to_string()),
            ("registry auth", json!({"auths": {"r": {"auth": auth}}}).to_string()),
            ("header", format!("Authorization: Bearer {token}")),
            ("encoded", STANDARD.encode(token)),
            ("encoded without padding", STANDARD_NO_PAD.encode(format!("{token}\n"))),
            ("user and password", format!("x:{token}")),
            ("at the end of a sentence", format!("The token is {token}.")),
            ("escaped in front", format!(r#"note: "\t{token}\n""#)),
            ("percent-encoded", format!("https%3A%2F%2Fx%3A{token}%40gitlab.example.com")),
            ("encoded and wrapped", wrapped(&STANDARD.encode(format!("{}{token}\n", "padding ".repeat(12))))),
            ("registry auth, wrapped", json!({"auths": {"r": {"auth": wrapped(&auth)}}}).to_string()),
            ("encoded for URLs", URL_SAFE.encode(format!("???>>>{token}"))),
            ("hexadecimal", token.bytes().map(|b| format!("{b:02x}")).collect()),
        ]
    }

    fn wrapped(text: &str) -> String {
        text.as_bytes().chunks(20).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n")
    }

    /// What only who knows the value finds: it stands in the middle of other bytes.
    #[test]
    fn the_value_is_found_in_bytes_of_any_kind() {
        let token = token();
        let mark = Mark::of("salt", token.as_bytes());
        let utf16: Vec<u8> = token.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let inside = |before: &[u8], after: &[u8]| [before, token.as_bytes(), after].concat();
        let packed = |bytes: &[u8]| (bytes == b"\x1f\x8bPACKED").then(|| inside(b"{\"t\": \"", b"\"}"));
        let open = Openers { unpacked: &packed, ..NOTHING };
        for (form, bytes) in [
            ("binary", inside(&[0xff, 0xfe, 0x00, 0x81], &[0x00, 0xc0])),
            ("Latin-1", inside(b"caf\xe9 ", b"")),
            ("glued to a word", inside(b"prefix", b"suffix")),
            ("underscores around", inside(b"__", b"__")),
            ("UTF-16", utf16),
            ("packed", b"\x1f\x8bPACKED".to_vec()),
            ("packed and encoded", STANDARD.encode(b"\x1f\x8bPACKED").into_bytes()),
            ("binary and encoded", STANDARD.encode(inside(&[0xff, 0x00], &[0xfe])).into_bytes()),
        ] {
            assert!(mark.is_in(&bytes, Some(token.as_bytes()), &open), "{form}");
            assert!(
                !mark.is_in(&bytes, Some(b"another-value"), &open) || mark.is_in(&bytes, None, &open),
                "{form}"
            );
            assert!(
                !Mark::of("salt", b"another-value").is_in(&bytes, Some(b"another-value"), &open),
                "{form}"
            );
        }
    }

    #[test]
    fn a_copy_is_recognized_in_every_form() {
        let (token, mark) = (token(), Mark::of("salt", token().as_bytes()));
        for (form, text) in copies(&token) {
            assert!(mark.is_in(text.as_bytes(), None, &NOTHING), "{form}");
            assert!(!Mark::of("salt", b"another-value").is_in(text.as_bytes(), None, &NOTHING), "{form}");
        }
        assert_eq!(Mark::known("salt", mark.fingerprint()), mark);
        assert!(!format!("{mark:?}").contains(&token));
    }

    #[test]
    fn a_private_key_is_recognized_by_its_public_half() {
        let half = |text: &str| text.contains("MINE").then(|| "ssh-ed25519 AAAA".to_owned());
        let half = Openers { public_half: &half, ..NOTHING };
        let pem = |body: &str| format!("-----BEGIN OPENSSH {} KEY-----\n{body}\n", "PRIVATE");
        let mark = Mark::of_key("salt", "ssh-ed25519 AAAA");
        assert!(mark.is_in(pem("MINE").as_bytes(), None, &half));
        assert!(mark.is_in(STANDARD.encode(pem("MINE, in another form")).as_bytes(), None, &half));
        assert!(!mark.is_in(pem("other").as_bytes(), None, &half));
        assert!(!mark.is_in(b"ssh-ed25519 AAAA", None, &half), "the public half opens nothing");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_credential_is_found_among_others_and_no_other(
            value in "[A-Za-z0-9_-]{8,60}",
            other in "[A-Za-z0-9_-]{8,60}",
            at in 0..23_usize,
        ) {
            prop_assume!(!value.contains(&other) && !other.contains(&value));
            let text = copies(&value)[at].1.clone();
            prop_assert!(Mark::of("s", value.as_bytes()).is_in(text.as_bytes(), None, &NOTHING), "{}", text);
            prop_assert!(!Mark::of("s", other.as_bytes()).is_in(text.as_bytes(), None, &NOTHING), "{}", text);
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Mark::of("s", b"0123456789").is_in(&bytes, None, &NOTHING);
        }
    }
}

//! One value, recognized wherever it lies: by the value itself while it is known, else by a fingerprint of it.

use memchr::memmem;
use sha2::{Digest as _, Sha256};

pub use super::layers::Inside;
use super::layers::{Unpack, layers};

/// Shorter values are no credentials; that two of them are equal says nothing.
const SHORTEST: usize = 8;
/// No longer word is looked at part by part: no credential is as long.
const LONGEST: usize = 400;

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
    pub unpacked: Unpack<'a>,
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

    /// Whether the value lies in these bytes, in any form that decodes. Where the value itself is known, it may stand anywhere;
    /// else it must be a word of what they say.
    pub fn is_in(&self, bytes: &[u8], value: Option<&[u8]>, open: &Openers<'_>) -> Inside {
        let value = value.map(|value| value.trim_ascii()).filter(|value| value.len() >= SHORTEST);
        let shortest = value.map_or(SHORTEST, <[u8]>::len);
        layers(bytes, shortest, open.unpacked, &mut |layer| {
            value.map_or_else(|| self.is_a_word(layer), |value| memmem::find(layer, value).is_some())
                || self.is_a_key(layer, open)
        })
    }

    fn fits(&self, bytes: &[u8]) -> bool {
        bytes.len() >= SHORTEST && digest(&self.salt, bytes) == self.fingerprint
    }

    /// A word, what is behind a sign in it (`TOKEN_…`), or what is behind the first colon (`user:password`).
    fn is_a_word(&self, layer: &[u8]) -> bool {
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
        let after_user = layer.iter().position(|byte| *byte == b':').map(|at| layer[at + 1..].trim_ascii());
        self.fits(layer.trim_ascii())
            || after_user.is_some_and(|rest| self.fits(rest))
            || layer
                .split(|byte| !word(byte))
                .filter(|word| word.len() <= LONGEST)
                .any(|word| self.is_in_word(word))
    }

    fn is_in_word(&self, word: &[u8]) -> bool {
        let sign = |byte: &u8| b"_-.".contains(byte);
        let starts = word.iter().enumerate().filter(|(_, byte)| sign(byte)).map(|(at, _)| at + 1);
        std::iter::once(0).chain(starts).map(|start| &word[start..]).any(|part| {
            let last = part.iter().rposition(|byte| !sign(byte)).map_or(0, |last| last + 1);
            (last..=part.len()).any(|end| self.fits(&part[..end]))
        })
    }

    /// A private key of the same pair: armored as OpenSSH does it, whatever its lines look like.
    fn is_a_key(&self, layer: &[u8], open: &Openers<'_>) -> bool {
        const BEGIN: &[u8] = concat!("-----BEGIN OPENSSH ", "PRIVATE KEY-----").as_bytes();
        const END: &[u8] = concat!("-----END OPENSSH ", "PRIVATE KEY-----").as_bytes();
        let mut rest = layer;
        while let Some(begin) = memmem::find(rest, BEGIN) {
            rest = &rest[begin + BEGIN.len()..];
            let Some(end) = memmem::find(rest, END) else { return false };
            let public = armored(&rest[..end]).and_then(|pem| (open.public_half)(&pem));
            if public.is_some_and(|public| self.fits(of_pair(&public).as_bytes())) {
                return true;
            }
            rest = &rest[end..];
        }
        false
    }
}

/// A key's file with its lines as they should be.
fn armored(body: &[u8]) -> Option<String> {
    const LINE: usize = 70;
    let letters: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let lines: Option<Vec<&str>> = letters.chunks(LINE).map(|line| std::str::from_utf8(line).ok()).collect();
    let kind = "OPENSSH PRIVATE KEY";
    Some(format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines?.join("\n")))
}

fn digest(salt: &str, value: &[u8]) -> String {
    let digest = Sha256::new().chain_update("value").chain_update(salt).chain_update(value).finalize();
    digest.iter().take(6).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOTHING: Openers<'static> = Openers { public_half: &|_| None, unpacked: &|_| None };

    /// Packs by turning each bit around, which nothing but `unpacked` undoes.
    fn packed(bytes: &[u8]) -> Vec<u8> {
        [0x1f, 0x8b, 0x08].into_iter().chain(bytes.iter().map(|byte| !byte)).collect()
    }

    fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.strip_prefix(&[0x1f, 0x8b, 0x08])?.iter().map(|byte| !byte).collect())
    }

    const PACKS: Openers<'static> = Openers { unpacked: &unpacked, ..NOTHING };

    /// Made at run time: no scanner trips on it.
    fn token() -> String {
        format!("gl{}-{}", "dt", "Ab3_x-".repeat(4))
    }

    /// Where people put a copy of a token.
    fn copies(token: &str) -> Vec<(&'static str, String)> {
        let auth = STANDARD.encode(format!("deploy:{token}"));
        let docker = json!({"auths": {"r": {"username": "x", "password": token, "auth": auth}}}).to_string();
        let each = |write: fn(u8) -> String| token.bytes().map(write).collect::<String>();
        vec![
            ("as it is", token.to_owned()),
            ("with a line feed", format!("{token}\n")),
            ("with blanks", format!("  {token} \r\n")),
            ("behind a byte order mark", format!("\u{feff}{token}")),
            ("in a URL", format!("https://oauth2:{token}@gitlab.example.com/a/b.git")),
            ("git credentials", format!("https://x:{token}@gitlab.example.com\n")),
            ("netrc", format!("machine gitlab.example.com login x password {token}\n")),
            ("variables", format!("GITLAB_USER=x\nGITLAB_TOKEN={token}\n")),
            ("quoted variables", format!("export TOKEN=\"{token}\"")),
            ("YAML", format!("config:\n  token: {token}\n")),
            ("YAML with escapes", format!("netrc: \"machine h\\nlogin u\\npassword\\t{token}\\n\"")),
            ("JSON", json!({"a": [{"token": token}]}).to_string()),
            ("JSON in JSON", json!(json!({"a": format!("machine h\n{token}\n")}).to_string()).to_string()),
            ("JSON by the line", format!("{}\n{}", json!({"t": format!("\n{token}")}), json!({"b": 1}))),
            ("JSON in a text", format!("x = {}", json!({"a": format!("\n{token}")}))),
            ("registry password", json!({"auths": {"r": {"username": "x", "password": token}}}).to_string()),
            ("registry auth", json!({"auths": {"r": {"auth": auth}}}).to_string()),
            ("header", format!("Authorization: Bearer {token}")),
            ("login", format!("Authorization: Basic {auth}")),
            ("npm", format!("//h/api/v4/packages/npm/:_authToken={token}\n")),
            ("query", format!("https://h/x?private_token={token}&a=b")),
            ("settings of Helm", format!("config.token={token},config.kasAddress=x")),
            ("XML", format!("<password>{token}</password>")),
            ("encoded", STANDARD.encode(token)),
            ("encoded without padding", STANDARD_NO_PAD.encode(format!("{token}\n"))),
            ("user and password", format!("x:{token}")),
            ("at the end of a sentence", format!("The token is {token}. Keep it.")),
            ("escaped in front", format!(r#"note: "\t{token}\n""#)),
            ("percent-encoded", format!("https%3A%2F%2Fx%3A{token}%40gitlab.example.com")),
            ("form", format!("login%3Dx%26password%3D{token}%26y")),
            (
                "encoded and wrapped",
                wrapped(76, &STANDARD.encode(format!("{}{token}\n", "padding ".repeat(12)))),
            ),
            ("encoded and wrapped short", wrapped(20, &STANDARD.encode(token))),
            ("encoded and wrapped as on Windows", wrapped(40, &STANDARD.encode(token)).replace('\n', "\r\n")),
            (
                "encoded, wrapped and echoed",
                wrapped(76, &STANDARD.encode(format!("{docker}\n"))).replace('\n', " "),
            ),
            ("registry auth, wrapped", wrapped(76, &STANDARD.encode(&docker))),
            (
                "manifest of a Secret",
                format!("kind: Secret\ndata:\n  .dockerconfigjson: {}\n", STANDARD.encode(&docker)),
            ),
            ("encoded for URLs", URL_SAFE.encode(format!("???>>>{token}"))),
            ("encoded four times", (0..4).fold(token.to_owned(), |text, _| STANDARD.encode(text))),
            ("hexadecimal", each(|b| format!("{b:02x}"))),
            ("JSON in ASCII", format!("\"{}\"", each(|b| format!("\\u{b:04x}")))),
            ("YAML in ASCII", format!("t: \"{}\"", each(|b| format!("\\x{b:02x}")))),
            ("percent of all", each(|b| format!("%{b:02X}"))),
            ("HTML", token.replace('-', "&#45;")),
            ("bytes of Go", format!("{:?}", token.as_bytes()).replace(',', "")),
            ("behind a name", format!("TOKEN_{token}")),
            ("behind a dot", format!("x.{token}")),
        ]
    }

    fn wrapped(width: usize, text: &str) -> String {
        text.as_bytes().chunks(width).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n")
    }

    fn utf16(text: &str, write: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(write).collect()
    }

    /// What only who knows the value finds: it stands in the middle of other bytes.
    #[test]
    fn the_value_is_found_in_bytes_of_any_kind() {
        let token = token();
        let mark = Mark::of("salt", token.as_bytes());
        let inside = |before: &[u8], after: &[u8]| [before, token.as_bytes(), after].concat();
        for (form, bytes) in [
            ("binary", inside(&[0xff, 0xfe, 0x00, 0x81], &[0x00, 0xc0])),
            ("Latin-1", inside(b"caf\xe9 ", b"")),
            ("a keystore", inside(&[0xfe, 0xed, 0xfe, 0xed], &[0x9f])),
            ("glued to a word", inside(b"prefix", b"suffix")),
            ("signs around", inside(b"--", b"--")),
            ("UTF-16", utf16(&token, u16::to_le_bytes)),
            ("UTF-16 of the other order", utf16(&format!("x {token}"), u16::to_be_bytes)),
            ("UTF-16 in base64", STANDARD.encode(utf16(&token, u16::to_le_bytes)).into_bytes()),
            ("packed", packed(&inside(b"{\"t\": \"", b"\"}"))),
            ("packed behind a header", [b"header".to_vec(), packed(&inside(b"", b""))].concat()),
            ("packed and encoded", STANDARD.encode(packed(token.as_bytes())).into_bytes()),
            ("a release of Helm", {
                let manifest = format!("data:\n  token: {}\n", STANDARD.encode(&token));
                STANDARD.encode(STANDARD.encode(packed(manifest.as_bytes()))).into_bytes()
            }),
            ("binary and encoded", STANDARD.encode(inside(&[0xff, 0x00], &[0xfe])).into_bytes()),
            ("broken by a line's end", format!("t: \"{}\\\n  {}\"", &token[..9], &token[9..]).into_bytes()),
        ] {
            assert_eq!(mark.is_in(&bytes, Some(token.as_bytes()), &PACKS), Inside::Yes, "{form}");
            let other = Mark::of("salt", b"another-value");
            assert_eq!(other.is_in(&bytes, Some(b"another-value"), &PACKS), Inside::No, "{form}");
        }
    }

    #[test]
    fn a_copy_is_recognized_in_every_form() {
        let (token, mark) = (token(), Mark::of("salt", token().as_bytes()));
        let other = Mark::of("salt", b"another-value");
        for (form, text) in copies(&token) {
            assert_eq!(mark.is_in(text.as_bytes(), Some(token.as_bytes()), &NOTHING), Inside::Yes, "{form}");
            assert_eq!(
                mark.is_in(text.as_bytes(), None, &NOTHING),
                Inside::Yes,
                "{form}, by its fingerprint"
            );
            assert_eq!(other.is_in(text.as_bytes(), None, &NOTHING), Inside::No, "{form}");
        }
        assert_eq!(Mark::known("salt", mark.fingerprint()), mark);
        assert!(!format!("{mark:?}").contains(&token));
    }

    #[test]
    fn a_private_key_is_recognized_by_its_public_half() {
        let half = |text: &str| text.contains("\nMINE").then(|| "ssh-ed25519 AAAA".to_owned());
        let half = Openers { public_half: &half, ..NOTHING };
        let pem = |body: &str| {
            let kind = format!("OPENSSH {} KEY", "PRIVATE");
            format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n")
        };
        let mark = Mark::of_key("salt", "ssh-ed25519 AAAA");
        let mine = pem("MINE");
        for (form, text) in [
            ("as it is", mine.clone()),
            ("behind another", format!("{}{mine}", pem("other"))),
            ("encoded", STANDARD.encode(&mine)),
            ("encoded and wrapped", wrapped(30, &STANDARD.encode(&mine))),
            ("in YAML", format!("key: |\n  {}", mine.replace('\n', "\n  "))),
            ("in JSON", json!({"key": mine}).to_string()),
            ("in one line", mine.replace('\n', " ")),
            ("as on Windows", mine.replace('\n', "\r\n")),
            ("in a variable", format!("KEY='{}'", mine.replace('\n', "\\n"))),
            ("percent-encoded", mine.replace('\n', "%0A").replace(' ', "%20")),
            ("with a comment", format!("my key:\n{mine}and more")),
        ] {
            assert_eq!(mark.is_in(text.as_bytes(), None, &half), Inside::Yes, "{form}");
        }
        for text in [pem("other"), "ssh-ed25519 AAAA".to_owned(), "MINE".to_owned()] {
            assert_eq!(mark.is_in(text.as_bytes(), None, &half), Inside::No, "{text}");
        }
    }

    /// One way to write bytes as others.
    type Encoding = (&'static str, fn(&[u8]) -> Vec<u8>);

    const ENCODINGS: &[Encoding] = &[
        ("base64", |b| STANDARD.encode(b).into_bytes()),
        ("base64 for URLs", |b| URL_SAFE_NO_PAD.encode(b).into_bytes()),
        ("base64 of a login", |b| STANDARD.encode([b"user:", b].concat()).into_bytes()),
        ("base64 in lines", |b| wrapped(76, &STANDARD.encode(b)).into_bytes()),
        ("base64 in short lines, indented", |b| {
            wrapped(24, &STANDARD.encode(b)).replace('\n', "\n    ").into_bytes()
        }),
        ("hex", |b| b.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes()),
        ("percent", |b| b.iter().map(|byte| format!("%{byte:02X}")).collect::<String>().into_bytes()),
        ("escapes", |b| b.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>().into_bytes()),
        ("packed", packed),
        ("numbers", |b| format!("{b:?}").into_bytes()),
        ("binary around", |b| [&[0, 0xff, 0xfe][..], b, &[0x80, 0]].concat()),
        ("a setting", |b| [b"token=", b, b"\n"].concat()),
        ("a line of a file", |b| [b"machine h\nlogin x\npassword ", b, b"\n"].concat()),
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is done to it, one after the other.
        #[test]
        fn a_value_is_found_in_any_encoding_of_any_encoding(
            value in "[A-Za-z0-9_.-]{20,64}",
            other in "[A-Za-z0-9_.-]{20,64}",
            path in prop::collection::vec(0..ENCODINGS.len(), 1..5),
        ) {
            let names: Vec<&str> = path.iter().map(|at| ENCODINGS[*at].0).collect();
            let bytes = path.iter().fold(value.clone().into_bytes(), |bytes, at| ENCODINGS[*at].1(&bytes));
            let find = |value: &str| Mark::of("s", value.as_bytes()).is_in(&bytes, Some(value.as_bytes()), &PACKS);
            prop_assert_eq!(find(&value), Inside::Yes, "{:?}", names);
            prop_assert_eq!(find(&other), Inside::No, "{:?}", names);
        }

        #[test]
        fn any_credential_is_found_among_others_and_no_other(
            value in "[A-Za-z0-9_-]{12,60}",
            other in "[A-Za-z0-9_-]{12,60}",
            at in any::<prop::sample::Index>(),
        ) {
            prop_assume!(!value.contains(&other) && !other.contains(&value));
            let (form, text) = at.get(&copies(&value)).clone();
            let find = |mark: &str, value| Mark::of("s", mark.as_bytes()).is_in(text.as_bytes(), value, &NOTHING);
            prop_assert_eq!(find(&value, Some(value.as_bytes())), Inside::Yes, "{}: {}", form, text);
            prop_assert_eq!(find(&other, Some(other.as_bytes())), Inside::No, "{}: {}", form, text);
            prop_assert_eq!(find(&other, None), Inside::No, "{}: {}", form, text);
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for value in [None, Some(&b"0123456789"[..])] {
                let _ = Mark::of("s", b"0123456789").is_in(&bytes, value, &PACKS);
            }
        }
    }
}

//! What of a text is no word of a language, and stands where a credential stands: how the secrets in a file of any form are
//! found without a parser for each.

use super::values::is_credential;

/// A shorter run of letters is a word by chance.
const SHORTEST: usize = 8;

/// A name behind which a credential stands is no longer than this.
const LONGEST_NAME: usize = 64;

/// Names behind which a credential stands also without a sign between, as netrc, LDAP and shells have it.
const SPACED: &[&str] =
    &["basic", "bearer", "bindpw", "pass", "passphrase", "passwd", "password", "secret", "token"];

/// Names behind which stands what looks random and is public.
const CERTIFICATES: &[&str] = &[
    "ca-file",
    "ca.crt",
    "cafile",
    "certfile",
    "certificate-authority-data",
    "client-certificate-data",
    "identity.pub",
    "known_hosts",
    "tls.crt",
];

/// A part of a text that may be a credential.
pub(super) struct Token<'t> {
    /// The name that it stands behind, where that says so.
    pub(super) name: Option<&'t str>,
    pub(super) text: &'t str,
}

/// Gives each part of a text that looks random or stands behind the name of a credential. What is public in PEM is left
/// out, and so is what stands behind the name of a certificate.
pub(super) fn each<'t>(text: &'t str, found: &mut dyn FnMut(Token<'t>)) {
    let (mut name, mut name_ends, mut in_pem) = ("", 0, false);
    for run in text.split(ends_run).filter(|run| !run.is_empty()) {
        let start = run.as_ptr().addr() - text.as_ptr().addr();
        let between = &text[name_ends..start];
        (in_pem, name_ends) = (is_in_pem(in_pem, run), start + run.len());
        let before = std::mem::replace(&mut name, run);
        if in_pem || is_certificate(before) || is_key_type(before) {
            continue;
        }
        let run = value_of_flag(run);
        let named = is_credential(before) && before.len() < LONGEST_NAME && is_name_of_next(before, between);
        if named || is_random(run) {
            found(Token { name: named.then_some(before), text: run });
        }
        if run.contains(['/', '.', '#', '%']) {
            let parts = run.split(['/', '.', '#', '%']).filter(|part| is_random(part));
            parts.for_each(|text| found(Token { name: None, text }));
        }
    }
}

/// What stands between the words of any file format.
fn ends_run(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "\"'`<>;,|&?=:@{}[]()\\".contains(c)
}

fn is_name_of_next(name: &str, between: &str) -> bool {
    let spaced = || {
        let bare = name.trim_start_matches('-').to_ascii_lowercase();
        name.starts_with('-') || SPACED.binary_search(&bare.as_str()).is_ok()
    };
    between.contains(['=', ':', '>', '(', '\'', '"', ',']) || spaced()
}

/// Between `-----BEGIN …` and `-----END …`: what is secret there is known line by line.
fn is_in_pem(was: bool, run: &str) -> bool {
    match run {
        "-----BEGIN" => true,
        "-----END" => false,
        _ => was,
    }
}

/// Whether this is the name of a certificate or a public key.
pub(super) fn is_certificate(name: &str) -> bool {
    CERTIFICATES.binary_search(&name.to_ascii_lowercase().as_str()).is_ok()
}

/// `ssh-ed25519 AAAA…`: the public half of a pair.
fn is_key_type(run: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|kind| run.starts_with(kind))
}

/// `-pVALUE`: the value stands right behind the letter.
fn value_of_flag(run: &str) -> &str {
    match run.strip_prefix("-p") {
        Some(value) if !run.starts_with("--") && value.len() >= SHORTEST => value,
        _ => run,
    }
}

/// Letters and digits as no language, version, host or time has them: the kinds change within a word.
pub(super) fn is_random(text: &str) -> bool {
    const NO_WORD: usize = 16;
    const CHANGING: usize = 6;
    if text.len() < SHORTEST {
        return false;
    }
    let (mut changes, mut letters, mut digits) = (0, 0, 0);
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        let own = word.as_bytes().windows(2).filter(|pair| kind(pair[0]) != kind(pair[1])).count();
        let own_digits = word.bytes().filter(u8::is_ascii_digit).count();
        let both = own_digits > 0 && own_digits < word.len();
        if both && (word.len() >= NO_WORD || (word.len() >= CHANGING && own > 1)) {
            return true;
        }
        changes += own;
        digits += own_digits;
        letters += word.len() - own_digits;
    }
    // Groups as in a serial number; or capitals within words more often than CamelCase has them.
    (digits > 0 && letters > 0 && changes > 4) || (digits == 0 && changes * 3 > letters)
}

/// Capital, small letter or digit.
fn kind(byte: u8) -> u8 {
    u8::from(byte.is_ascii_digit()) * 2 + u8::from(byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_order() {
        assert!(SPACED.is_sorted() && CERTIFICATES.is_sorted());
    }

    #[test]
    fn what_is_random_is_told_from_names() {
        for random in [
            "a1b2c3d4",
            "p4ssw0rd",
            "550e8400-e29b-41d4-a716-446655440000",
            "XK4D-9F3K-22LM",
            "QwErTyUiOp",
            "0123456789abcdef",
            "zk9ruz7a5q",
        ] {
            assert!(is_random(random), "{random}");
        }
        for plain in [
            "kustomize-controller",
            "GitRepository",
            "serviceAccountName",
            "v18.2.0-alpine3.20",
            "2026-01-01T10:00:00Z",
            "k8s-prod-eu1.example.com",
            "x86_64-unknown-linux-musl",
            "ip-10-0-3-4.ec2.internal",
            "HTTPProxy",
            "oauth2-proxy",
            "sha256",
            "12345678901234567890",
            "INTERNAL_SERVER_ERROR",
        ] {
            assert!(!is_random(plain), "{plain}");
        }
    }
}

//! The public half of a private SSH key in OpenSSH's format, which holds it in the clear, also where a passphrase guards
//! the rest (OpenSSH, `PROTOCOL.key`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const MAGIC: &[u8] = b"openssh-key-v1\0";

/// `ssh-ed25519 AAAA…`; nothing for other formats.
pub(super) fn public_half(private: &str) -> Option<String> {
    let (_, rest) = private.split_once("-----BEGIN OPENSSH PRIVATE KEY-----")?;
    let (body, _) = rest.split_once("-----END OPENSSH PRIVATE KEY-----")?;
    let body: String = body.split_whitespace().collect();
    let bytes = STANDARD.decode(body).ok()?;
    let rest = bytes.strip_prefix(MAGIC)?;
    let (_cipher, rest) = field(rest)?;
    let (_kdf, rest) = field(rest)?;
    let (_kdf_options, rest) = field(rest)?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (blob, _) = field(rest).filter(|_| u32::from_be_bytes(*count) == 1)?;
    let (kind, _) = field(blob)?;
    Some(format!("{} {}", std::str::from_utf8(kind).ok()?, STANDARD.encode(blob)))
}

/// A field with its length before it, and what follows.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_length(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        [&length[..], bytes].concat()
    }

    /// In the format, with bytes that are nobody's key.
    fn made() -> (String, String) {
        let blob = [with_length(b"ssh-ed25519"), with_length(&[7; 32])].concat();
        let whole = [
            MAGIC.to_vec(),
            with_length(b"none"),
            with_length(b"none"),
            with_length(b""),
            1_u32.to_be_bytes().to_vec(),
            with_length(&blob),
            with_length(&[0; 64]),
        ];
        let (begin, end) = ("-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----");
        let body = STANDARD.encode(whole.concat());
        (
            format!("{begin}\n{}\n{}\n{end}\n", &body[..70], &body[70..]),
            format!("ssh-ed25519 {}", STANDARD.encode(blob)),
        )
    }

    #[test]
    fn the_public_half_is_read_out_of_the_private_key() {
        let (private, public) = made();
        assert_eq!(public_half(&private), Some(public));
        for broken in
            ["", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----", &private[..120]]
        {
            assert_eq!(public_half(broken), None, "{broken}");
        }
        let cut = private.replace(&private[60..140], "");
        assert_eq!(public_half(&cut), None);
    }
}

//! SSH keys as OpenSSH writes them: a new pair, and the public half of a private key.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{SecretSlice, SecretString};
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::{LineEnding, PrivateKey};

/// What is shorter is no key.
const SHORTEST: usize = 32;

/// `ssh-ed25519 AAAA…`, which a private key holds in the clear, also where a passphrase guards the rest (OpenSSH,
/// `PROTOCOL.key`); nothing for other formats.
pub(crate) fn public_half(private: &str) -> Option<String> {
    let key = PrivateKey::from_openssh(private.as_bytes()).ok()?;
    let line = key.public_key().to_openssh().ok()?;
    let mut words = line.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
}

/// What is secret of a private key, whatever it is written as: the number of an ed25519 key, a prime of an RSA key, of other formats
/// all that is between the lines of the armor. Nothing where a passphrase guards it.
pub(crate) fn secret_part(private: &str) -> Option<SecretSlice<u8>> {
    let part = match PrivateKey::from_openssh(private.as_bytes()) {
        Ok(key) => match key.key_data() {
            KeypairData::Ed25519(pair) => pair.private.to_bytes().to_vec(),
            KeypairData::Rsa(pair) => pair.private.p.as_positive_bytes()?.to_vec(),
            _ => return None,
        },
        Err(_) => {
            let body = private.lines().filter(|line| !line.contains(['-', ':'])).map(str::trim);
            STANDARD.decode(Zeroizing::new(body.collect::<String>()).as_bytes()).ok()?
        }
    };
    (part.len() >= SHORTEST).then(|| SecretSlice::from(part))
}

/// A new ed25519 pair: the private key as OpenSSH writes it, and the line of the public one.
pub(crate) fn new_pair(comment: &str) -> Result<(SecretString, String)> {
    use ring::signature::KeyPair as _;
    let mut seed = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut seed[..]).map_err(|e| anyhow::anyhow!("the system gives no random numbers: {e}"))?;
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&seed[..])
        .map_err(|_| anyhow::anyhow!("no pair of keys could be made"))?;
    let public = Ed25519PublicKey::try_from(pair.public_key().as_ref())?;
    let private = Ed25519PrivateKey::from_bytes(&seed);
    let key = PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair { public, private }), comment)?;
    let line = key.public_key().to_openssh()?;
    Ok((SecretString::from(key.to_openssh(LineEnding::LF)?.to_string()), line))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_new_pair_is_one() {
        let (private, line) = new_pair("flux").expect("a pair");
        let half = public_half(private.expose_secret()).expect("OpenSSH reads it");
        assert_eq!(format!("{half} flux"), line);
        assert!(line.starts_with("ssh-ed25519 "), "{line}");
        assert_ne!(new_pair("flux").expect("another").1, line);
        assert_eq!(public_half("-----BEGIN RSA PRIVATE KEY-----"), None);
    }

    #[test]
    fn what_is_secret_of_a_key_is_in_every_form_of_it() {
        let (private, _) = new_pair("flux").expect("a pair");
        let secret = secret_part(private.expose_secret()).expect("a number");
        let body: String = private.expose_secret().lines().filter(|line| !line.contains('-')).collect();
        let decoded = STANDARD.decode(body).expect("base64");
        assert!(decoded.windows(32).any(|part| part == secret.expose_secret()));
        // PKCS #8 (RFC 8410) holds the number behind a fixed head.
        let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let der = [&head[..], secret.expose_secret()].concat();
        let kind = format!("{} KEY", "PRIVATE");
        let pem = format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(&der));
        assert_eq!(secret_part(&pem).expect("its bytes").expose_secret(), der);
        assert!(
            secret_part("").is_none() && secret_part("AAAA").is_none() && secret_part("not a key").is_none()
        );
    }
}

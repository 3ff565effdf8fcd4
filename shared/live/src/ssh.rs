//! SSH keys as OpenSSH writes them: a new pair, and the public half of a private key.

use anyhow::Result;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::{LineEnding, PrivateKey};

/// `ssh-ed25519 AAAA…`, which a private key holds in the clear, also where a passphrase guards the rest (OpenSSH,
/// `PROTOCOL.key`); nothing for other formats.
pub(crate) fn public_half(private: &str) -> Option<String> {
    let key = PrivateKey::from_openssh(private.as_bytes()).ok()?;
    let line = key.public_key().to_openssh().ok()?;
    let mut words = line.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
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
}

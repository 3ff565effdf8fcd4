//! Random text for tokens and keys, made at run time so that no secret is ever in the repository.

use anyhow::{Result, anyhow};
use ring::rand::{SecureRandom as _, SystemRandom};

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// As many letters and digits as asked for.
pub(crate) fn alphanumeric(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect())
}

/// What Ruby's `SecureRandom.urlsafe_base64` gives, as long as asked for: letters, digits, `-` and `_`.
pub(crate) fn url_safe(length: usize) -> Result<String> {
    let letters: Vec<u8> = LETTERS.iter().copied().chain(*b"-_").collect();
    let mut bytes = vec![0; length];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(bytes.iter().map(|byte| char::from(letters[usize::from(*byte) % letters.len()])).collect())
}

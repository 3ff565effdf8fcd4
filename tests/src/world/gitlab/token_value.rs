//! The values that tokens have: classic ones, and routable ones with a payload and a checksum.
//!
//! Source: `lib/authn/token_field/generator/routable_token.rb`, `doc/security/tokens/_index.md`.

use anyhow::Result;

use super::settings::Settings;
use crate::world::secret;

impl Settings {
    /// A new value: the instance's prefix, the kind's, and so many random letters; or the routable form.
    pub(super) fn new_value(&self, kind: &str, length: usize) -> Result<String> {
        let start = format!("{}{kind}", self.token_prefix);
        if !self.routable_tokens {
            // A classic one may begin or end with any of its letters.
            return Ok(format!("{start}{}", secret::url_safe(length)?));
        }
        let payload = secret::url_safe(30)?;
        let before = format!("{start}{payload}.01.{}", base36(payload.len() as u64, 2));
        let sum = u64::from(crc32(before.as_bytes()));
        Ok(format!("{before}{}", base36(sum, 7)))
    }
}

fn base36(mut number: u64, width: usize) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = vec![b'0'; width];
    for place in digits.iter_mut().rev() {
        *place = DIGITS[(number % 36) as usize];
        number /= 36;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

/// CRC-32 as zlib computes it, bit by bit: values are short.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_form_of_their_age() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(base36(35 * 36 + 1, 4), "00z1");
        let mut settings = Settings { token_prefix: "acme-".into(), ..Settings::default() };
        assert_eq!(settings.new_value("glpat-", 20).unwrap().len(), "acme-glpat-".len() + 20);
        settings.routable_tokens = true;
        let value = settings.new_value("glpat-", 20).unwrap();
        assert_eq!(value.matches('.').count(), 2, "payload, version, length and checksum");
    }
}

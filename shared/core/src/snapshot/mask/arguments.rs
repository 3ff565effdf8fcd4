//! Arguments of containers: of a flag that is not known to be harmless only the name is kept.

use super::{MASK, url};

/// Flags whose value is kept: those of agentk and of the Flux controllers that a check reads, none a secret.
const KEPT_FLAGS: &[&str] = &[
    "--token-file",
    "--kas-address",
    "--kas-ca-cert-file",
    "--ca-cert-file",
    "--kas-tls-server-name",
    "--kas-insecure-skip-tls-verify",
    "--watch-all-namespaces",
    "--watch-label-selector",
    "--no-cross-namespace-refs",
    "--events-addr",
    "--storage-adv-addr",
    "--concurrent",
    "--log-level",
    "--feature-gates",
];

/// Masks the value of every argument that is not on the list of harmless ones.
pub fn arguments(args: Vec<String>) -> Vec<String> {
    args.into_iter().map(|arg| argument(&arg)).collect()
}

fn argument(arg: &str) -> String {
    match arg.split_once('=') {
        Some((flag, value)) if KEPT_FLAGS.contains(&flag) => format!("{flag}={}", url(value)),
        Some((flag, _)) if is_flag(flag) => format!("{flag}={MASK}"),
        None if is_flag(arg) => arg.to_owned(),
        // `-pSECRET`: the value stands right behind the letter.
        _ if arg.starts_with('-') && !arg.starts_with("--") => {
            arg.chars().take(2).filter(char::is_ascii).chain(MASK.chars()).collect()
        }
        _ => MASK.to_owned(),
    }
}

/// `--long-name` or `-x`.
fn is_flag(text: &str) -> bool {
    let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    match text.strip_prefix("--") {
        Some(long) => {
            long.starts_with(|c: char| c.is_ascii_lowercase()) && long.len() < 64 && long.chars().all(name)
        }
        None => text.len() == 2 && text.starts_with('-') && text.ends_with(|c: char| c.is_ascii_alphabetic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_arguments_keep_their_value() {
        for (arg, kept) in [
            ("--kas-address=wss://kas", "--kas-address=wss://kas"),
            ("--kas-address=wss://u:s3cr3t@kas", "--kas-address=wss://kas"),
            ("--secret=s3cr3t", "--secret=***"),
            ("--kas-header", "--kas-header"),
            ("Cookie: s3cr3t", "***"),
            ("--verbose", "--verbose"),
            ("-v", "-v"),
            ("-ps3cr3t", "-p***"),
            ("-p=s3cr3t", "-p=***"),
            ("-pass=s3cr3t", "-p***"),
            ("-HCookie: s3cr3t", "-H***"),
            ("--password:s3cr3t", "***"),
            ("--password s3cr3t", "***"),
            ("--S3CR3T", "***"),
            ("s3cr3t", "***"),
            ("-", "-***"),
            ("--", "***"),
            ("", "***"),
        ] {
            assert_eq!(arguments(vec![arg.to_owned()]), [kept], "{arg}");
        }
    }
}

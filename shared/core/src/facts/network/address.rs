//! Addresses of pods and Services, and the ranges in which policies allow them (`ipBlock`).

use core::net::IpAddr;

use crate::snapshot::kinds::{IpBlock, Pod, Service, Workload};
use crate::snapshot::{Listing, Why, WhyKind};

/// The addresses of each pod of a workload that has any.
///
/// # Errors
/// No address is known, for example because there is no pod yet.
pub(super) fn addresses(workload: &Workload, pods: &Listing<Pod>) -> Result<Vec<Vec<IpAddr>>, Why> {
    let asked = format!("addresses of the pods of {}", workload.metadata.object("Deployment"));
    let because = |kind, message: &str| Why::new(kind, &asked, message);
    let older = || because(WhyKind::Unreadable, "the recording is older and does not hold them");
    let own = workload.pods(pods).map_err(|why| if why.kind.is_a_choice() { older() } else { why })?;
    let living = || own.iter().filter(|pod| is_living(pod));
    let known: Vec<Vec<IpAddr>> = living().map(|pod| of_pod(pod)).filter(|all| !all.is_empty()).collect();
    match known.is_empty() {
        false => Ok(known),
        true if living().any(|pod| pod.status.phase == "Running") => Err(older()),
        true if workload.spec.replicas == Some(0) => Err(because(WhyKind::Undecided, "it is scaled to 0")),
        true => Err(because(WhyKind::TooEarly, "no pod has an address yet")),
    }
}

fn is_living(pod: &Pod) -> bool {
    !matches!(pod.status.phase.as_str(), "Failed" | "Succeeded") && pod.metadata.deletion_timestamp.is_none()
}

fn of_pod(pod: &Pod) -> Vec<IpAddr> {
    let all = pod.status.pod_ips.iter().map(|of| &of.ip);
    parsed(all.chain([&pod.status.pod_ip]))
}

/// The addresses of a Service; none of a headless one.
pub(super) fn of_service(service: &Service) -> Vec<IpAddr> {
    parsed(service.spec.cluster_ips.iter().chain([&service.spec.cluster_ip]))
}

fn parsed<'t>(texts: impl Iterator<Item = &'t String>) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = texts.filter_map(|text| text.parse().ok()).collect();
    found.sort();
    found.dedup();
    found
}

/// Whether a block allows an address.
///
/// # Errors
/// The range, or an exception that decides, is malformed.
pub(super) fn allows(block: &IpBlock, address: IpAddr) -> Result<bool, Why> {
    if !contains(&block.cidr, address)? {
        return Ok(false);
    }
    for except in &block.except {
        if contains(except, address)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a range contains an address. Bits behind the prefix do not count, and a range of IPv4-mapped addresses is one
/// of IPv4, as in Go.
fn contains(cidr: &str, address: IpAddr) -> Result<bool, Why> {
    let malformed = || Why::new(WhyKind::Undecided, "NetworkPolicies", format!("malformed CIDR {cidr}"));
    let (base, length) = range(cidr).ok_or_else(malformed)?;
    Ok(match (base, address.to_canonical()) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            (u32::from(base) ^ u32::from(address)).checked_shr(32 - length).unwrap_or(0) == 0
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            (u128::from(base) ^ u128::from(address)).checked_shr(128 - length).unwrap_or(0) == 0
        }
        _ => false,
    })
}

fn range(cidr: &str) -> Option<(IpAddr, u32)> {
    let (base, digits) = cidr.split_once('/')?;
    let base: IpAddr = base.parse().ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let length: u32 = digits.parse().ok().filter(|_| is_number)?;
    match (base, base.to_canonical()) {
        (IpAddr::V6(_), mapped @ IpAddr::V4(_)) if (96..=128).contains(&length) => {
            Some((mapped, length - 96))
        }
        (IpAddr::V4(_), _) if length <= 32 => Some((base, length)),
        (IpAddr::V6(_), _) if length <= 128 => Some((base, length)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_go_reads_it() {
        for (cidr, except, address, expected) in [
            ("10.0.0.0/8", "", "10.1.2.3", Some(true)),
            ("10.0.0.0/8", "", "11.1.2.3", Some(false)),
            ("10.0.0.1/8", "", "10.200.2.3", Some(true)),
            ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", Some(false)),
            ("10.0.0.0/8", "10.2.0.0/16", "10.1.2.3", Some(true)),
            ("10.0.0.0/8", "10.2.0.0", "10.1.2.3", None),
            ("10.0.0.0/8", "10.2.0.0", "11.1.2.3", Some(false)),
            ("0.0.0.0/0", "", "203.0.113.7", Some(true)),
            ("0.0.0.0/0", "", "fd00::1", Some(false)),
            ("::/0", "", "fd00::1", Some(true)),
            ("::/0", "", "10.1.2.3", Some(false)),
            ("::/0", "fd00::/8", "fd00::1", Some(false)),
            ("10.1.2.3/32", "", "10.1.2.3", Some(true)),
            ("10.1.2.3/32", "", "10.1.2.4", Some(false)),
            ("fd00::1/128", "", "fd00::1", Some(true)),
            ("fd00::1/128", "", "fd00::2", Some(false)),
            ("fd00:10::/32", "", "fd00:10:1::7", Some(true)),
            ("10.1.2.0/23", "", "10.1.3.255", Some(true)),
            ("::ffff:10.0.0.0/104", "", "10.1.2.3", Some(true)),
            ("10.1.2.3", "", "10.1.2.3", None),
            ("10.0.0.0/33", "", "10.1.2.3", None),
            ("10.0.0.0/+8", "", "10.1.2.3", None),
            ("10.0.0/8", "", "10.1.2.3", None),
            ("fd00::/129", "", "fd00::1", None),
            ("***", "", "10.1.2.3", None),
        ] {
            let except: Vec<String> = (!except.is_empty()).then(|| except.to_owned()).into_iter().collect();
            let block = IpBlock { cidr: cidr.to_owned(), except };
            let found = allows(&block, address.parse().expect("an address"));
            assert_eq!(found.ok(), expected, "{block:?} {address}");
        }
    }
}

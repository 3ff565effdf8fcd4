//! What is reached and who leads: Service, EndpointSlice, Lease.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Meta, StringMap, shape};

/// A port by number or by name, as the API's `IntOrString`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PortRef {
    /// Its number.
    Number(i64),
    /// The name of a container's port.
    Name(String),
}

shape! {
    /// A Lease.
    Lease {
        /// Metadata.
        metadata: Meta,
        /// Who holds it.
        spec: LeaseSpec,
    }

    /// `spec` of a Lease.
    LeaseSpec {
        /// Holder; empty when released.
        holder_identity: String,
        /// Seconds for which it is held without renewal.
        lease_duration_seconds: i64,
        /// When the holder took it.
        acquire_time: Option<Timestamp>,
        /// Last renewal.
        renew_time: Option<Timestamp>,
    }

    /// A Service.
    Service {
        /// Metadata.
        metadata: Meta,
        /// Spec.
        spec: ServiceSpec,
    }

    /// `spec` of a Service.
    ServiceSpec {
        /// Labels of its pods.
        selector: StringMap,
        /// Ports.
        ports: Vec<ServicePort>,
        /// Its address; `None` for a headless Service.
        #[serde(rename = "clusterIP")]
        cluster_ip: String,
        /// All its addresses: one of each IP family.
        #[serde(rename = "clusterIPs")]
        cluster_ips: Vec<String>,
    }

    /// A port of a Service.
    ServicePort {
        /// Name, where it has one.
        name: String,
        /// Number.
        port: i64,
        /// Port of the pods: number or name; the same number where left out.
        target_port: Option<PortRef>,
        /// `TCP` where left out.
        protocol: String,
    }

    /// An EndpointSlice.
    EndpointSlice {
        /// Metadata.
        metadata: Meta,
        /// Endpoints.
        endpoints: Vec<Endpoint>,
    }

    /// One endpoint, without its address.
    Endpoint {
        /// Conditions.
        conditions: EndpointConditions,
    }

    /// Conditions of an endpoint.
    EndpointConditions {
        /// Absent means ready.
        ready: Option<bool>,
    }
}

//! The source kinds: GitRepository, OCIRepository, Bucket, HelmRepository, HelmChart.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Condition, CrossRef, LocalRef, Meta, shape};
use crate::snapshot::mask;

/// A URL without user-info, query or fragment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Url(pub String);

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(mask::url(&String::deserialize(deserializer)?)))
    }
}

impl std::ops::Deref for Url {
    type Target = String;
    fn deref(&self) -> &String {
        &self.0
    }
}

impl std::ops::DerefMut for Url {
    fn deref_mut(&mut self) -> &mut String {
        &mut self.0
    }
}

shape! {
    /// GitRepository, OCIRepository, Bucket, HelmRepository or HelmChart.
    Source {
        /// Metadata.
        metadata: Meta,
        /// What is wanted.
        spec: SourceSpec,
        /// What source-controller says.
        status: SourceStatus,
    }

    /// `spec` of the source kinds.
    SourceSpec {
        /// URL (GitRepository, OCIRepository, HelmRepository).
        url: Url,
        /// Go duration between fetches.
        interval: String,
        /// Go duration of one fetch.
        timeout: String,
        /// What to check out (GitRepository, OCIRepository).
        #[serde(rename = "ref")]
        reference: GitReference,
        /// The credential.
        secret_ref: Option<LocalRef>,
        /// TLS material.
        cert_secret_ref: Option<LocalRef>,
        /// Address and credential of a proxy.
        proxy_secret_ref: Option<LocalRef>,
        /// True stops reconciliation.
        suspend: bool,
        /// `oci` makes a HelmRepository static.
        #[serde(rename = "type")]
        kind: String,
        /// Chart name (HelmChart).
        chart: String,
        /// Chart version or range (HelmChart).
        version: String,
        /// Where the chart is (HelmChart).
        source_ref: Option<CrossRef>,
        /// True allows a connection without TLS (OCIRepository, Bucket, HelmRepository of type `oci`).
        insecure: bool,
        /// True sends the credential also to other hosts that the index names (HelmRepository).
        pass_credentials: bool,
    }

    /// `spec.ref` of a GitRepository or OCIRepository.
    GitReference {
        /// Branch.
        branch: String,
        /// Tag.
        tag: String,
        /// Semantic version range.
        semver: String,
        /// Full reference name.
        name: String,
        /// Commit.
        commit: String,
    }

    /// `status` of the source kinds.
    SourceStatus {
        /// Conditions.
        conditions: Vec<Condition>,
        /// What was fetched last.
        artifact: Option<Artifact>,
        /// Generation that was reconciled.
        observed_generation: i64,
        /// The last request that was taken up.
        last_handled_reconcile_at: String,
    }

    /// `status.artifact`.
    Artifact {
        /// For example `main@sha1:…`.
        revision: String,
        /// When it was stored.
        last_update_time: Option<Timestamp>,
        /// Where source-controller serves it, below its root.
        path: String,
    }
}

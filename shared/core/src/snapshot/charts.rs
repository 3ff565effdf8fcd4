//! The versions of agentk's chart that a repository offers, read from its index.

use std::fmt;

use semver::Version;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Observed;

/// Name of the chart that installs agentk.
pub const CHART: &str = "gitlab-agent";

/// Versions that are kept, newest first: two years of releases.
const KEPT: usize = 60;

/// What a HelmRepository's index says of agentk's chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartIndex {
    /// Namespace of the HelmRepository.
    pub namespace: String,
    /// Name of the HelmRepository.
    pub name: String,
    /// The versions, newest first, without previews and deprecated ones.
    pub versions: Observed<Vec<ChartVersion>>,
}

/// One version of the chart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartVersion {
    /// Chart version, for example `2.29.1`.
    pub version: String,
    /// Version of agentk in it, for example `v19.2.2`.
    #[serde(default)]
    pub app_version: String,
}

/// Reads the index of a repository: JSON, as source-controller stores it, or YAML, as repositories serve it.
///
/// # Errors
/// Text that is no index. The message says where it broke.
pub fn read(index: &[u8]) -> Result<Vec<ChartVersion>, String> {
    let index: Index = match serde_json::from_slice(index) {
        Ok(index) => index,
        Err(json) if index.trim_ascii_start().starts_with(b"{") => {
            return Err(format!("it is no index (line {} column {})", json.line(), json.column()));
        }
        Err(_) => {
            let text = std::str::from_utf8(index).map_err(|_| "it is not text".to_owned())?;
            // The message of a YAML error quotes the text around it.
            serde_saphyr::from_str(text).map_err(|_| "it is neither JSON nor YAML of an index".to_owned())?
        }
    };
    let offered = index.entries.0.into_iter().filter(|entry| !entry.deprecated);
    let mut versions: Vec<(Version, ChartVersion)> = offered
        .filter_map(|entry| {
            let parsed = Version::parse(entry.version.trim_start_matches('v')).ok()?;
            let kept = ChartVersion { version: entry.version, app_version: entry.app_version };
            parsed.pre.is_empty().then_some((parsed, kept))
        })
        .collect();
    versions.sort_by(|(a, _), (b, _)| b.cmp(a));
    Ok(versions.into_iter().take(KEPT).map(|(_, kept)| kept).collect())
}

#[derive(Deserialize)]
struct Index {
    entries: Entries,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    version: String,
    #[serde(default)]
    app_version: String,
    #[serde(default)]
    deprecated: bool,
}

/// The entries of one chart; the others of a large index are passed over.
struct Entries(Vec<Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfChart;
        impl<'de> Visitor<'de> for OfChart {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("charts by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut charts: A) -> Result<Entries, A::Error> {
                let mut found = Vec::new();
                while let Some(name) = charts.next_key::<String>()? {
                    if name == CHART {
                        found = charts.next_value()?;
                    } else {
                        charts.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Entries(found))
            }
        }
        deserializer.deserialize_map(OfChart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(index: &str) -> Vec<String> {
        read(index.as_bytes())
            .expect("an index")
            .into_iter()
            .map(|v| format!("{} {}", v.version, v.app_version))
            .collect()
    }

    #[test]
    fn json_and_yaml_are_read_newest_first() {
        let json = r#"{"apiVersion": "v1", "entries": {"gitlab": [{"version": {"any": "shape"}}], "gitlab-agent": [
            {"version": "2.9.0", "appVersion": "v17.6.0"}, {"version": "2.30.0", "appVersion": "v19.3.0"},
            {"version": "2.31.0-rc1", "appVersion": "v19.4.0-rc1"}, {"version": "2.30.1", "deprecated": true}]}}"#;
        assert_eq!(versions(json), ["2.30.0 v19.3.0", "2.9.0 v17.6.0"]);
        let yaml = "apiVersion: v1\nentries:\n  gitlab-agent:\n  - version: 2.29.1\n    appVersion: v19.2.2\n    urls: [a]\n";
        assert_eq!(versions(yaml), ["2.29.1 v19.2.2"]);
        assert!(versions(r#"{"entries": {"nginx": []}}"#).is_empty());
    }

    #[test]
    fn what_is_no_index_is_an_error_that_quotes_nothing() {
        for text in ["<html>MARKER</html>", "{\"entries\": \"MARKER\"", "MARKER", ""] {
            let error = read(text.as_bytes()).expect_err(text);
            assert!(!error.contains("MARKER"), "{error}");
        }
        assert!(read(&[0xff]).is_err());
    }
}

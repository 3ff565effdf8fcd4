//! Paths of names through JSON, `$.credential.access_token`: all of JSONPath that a kubeconfig's `token-key` and
//! `expiry-key` are (the sign-in `auth-provider: gcp`, which kubectl gave up with 1.26).

use serde_json::Value;

/// The part of jsonpath-rust's interface that kube calls.
pub trait JsonPath {
    /// What lies at the path: one value, or none.
    ///
    /// # Errors
    /// The path is more than `$` and names.
    fn query(&self, path: &str) -> Result<Vec<&Value>, String>;
}

impl JsonPath for Value {
    fn query(&self, path: &str) -> Result<Vec<&Value>, String> {
        let names = path.strip_prefix('$').map(|rest| rest.strip_prefix('.').unwrap_or(rest));
        let names =
            names.filter(|names| names.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)));
        let names = names.filter(|_| !path.contains(".."));
        let names = names.ok_or_else(|| format!("{path} is not $ followed by names"))?;
        let mut names = names.split('.').filter(|name| !name.is_empty());
        Ok(names.try_fold(self, |value, name| value.get(name)).into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_lead_to_one_value_or_none() {
        let value = json!({"credential": {"access_token": "t", "token-expiry": "e"}});
        assert_eq!(value.query("$.credential.access_token"), Ok(vec![&json!("t")]));
        assert_eq!(value.query("$.credential.token-expiry"), Ok(vec![&json!("e")]));
        assert_eq!(value.query("$"), Ok(vec![&value]));
        assert_eq!(value.query("$.credential.nothing"), Ok(vec![]));
        for more in ["$.credential[0]", "$..access_token", "$.*", "$[?(@.a =~ /b/)]", "access_token"] {
            assert!(value.query(more).is_err(), "{more}");
        }
    }
}

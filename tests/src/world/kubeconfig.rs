//! Writes kubeconfig files (as JSON, which is YAML).

use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::pki::Identity;

/// How a user signs in.
pub(crate) enum SignIn<'a> {
    Token(&'a str),
    Certificate(&'a Identity),
}

/// Where the API server is and who vouches for it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) ca: String,
}

/// Writes the file, with one context called `world`.
pub(crate) fn write(path: &Path, server: &Server, user: &str, sign_in: SignIn<'_>) -> Result<()> {
    std::fs::write(path, serde_json::to_string_pretty(&document(server, user, sign_in))?)?;
    Ok(())
}

fn document(server: &Server, user: &str, sign_in: SignIn<'_>) -> Value {
    let credential = match sign_in {
        SignIn::Token(token) => json!({ "token": token }),
        SignIn::Certificate(identity) => json!({
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        }),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "world", "cluster": {
            "server": server.url,
            "certificate-authority-data": STANDARD.encode(&server.ca),
        }}],
        "users": [{ "name": user, "user": credential }],
        "contexts": [{ "name": "world", "context": { "cluster": "world", "user": user }}],
        "current-context": "world",
    })
}

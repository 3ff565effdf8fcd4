//! A password that stands inside a Secret's value, in the forms of the files that Secrets hold, is masked by itself.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use proptest::prelude::*;

use super::*;

/// Key and value of a Secret. `§` is the password.
const FORMS: &[(&str, &str)] = &[
    ("settings.xml", "<server><id>x</id><password>§</password></server>"),
    ("nuget.config", "<add key=\"ClearTextPassword\" value=\"§\" />"),
    (".npmrc", "//registry.npmjs.org/:_authToken=§\n"),
    (".npmrc", "registry=https://r/\n//r/:_password=\"§\"\n"),
    ("a.properties", "db.password §\n"),
    ("a.properties", "db.password:§\n"),
    ("dsn", "user:§@tcp(db:3306)/x"),
    ("dsn", "host=db user=x password=§ dbname=z sslmode=disable"),
    ("url", "jdbc:postgresql://db/x?user=a&password=§&ssl=true"),
    ("jdbc", "jdbc:sqlserver://db:1433;user=a;password=§;encrypt=true"),
    ("connectionString", "Server=db;User Id=x;Password=§;Encrypt=true"),
    ("conn", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=§;EndpointSuffix=core.windows.net"),
    ("address", "https://h.internal.example/x?sig=§&a=b"),
    ("address", "https://h.internal.example/x?§"),
    ("address", "https://chat.internal.example/hooks/§"),
    ("address", "https://n.example.com/webhook/incoming/§/x"),
    ("url", "https://h/x?token=§"),
    ("url", "https://§@github.example.com/x.git"),
    ("redis", "redis://:§@h:6379/0"),
    ("v.yaml", "a: {token: '§', z: 2}\n"),
    ("v.yaml", "tokens:\n- §\n- b\n"),
    ("v.yaml", "tokens: [§, b]\n"),
    ("v.yaml", "token: |\n  §\n"),
    ("v.yaml", "token: § # why\n"),
    ("v.yaml", "token: &a §\n"),
    ("v.yaml", "token: !!str §\n"),
    ("v.yaml", "cfg: '{\"token\":\"§\"}'\n"),
    ("t.tf", "provider \"x\" { token = \"§\" }\n"),
    ("c.toml", "x = { token = \"§\", y = 1 }\n"),
    ("c.toml", "x = [ \"§\" ]\n"),
    ("env", "A=1 TOKEN=§ cmd\n"),
    ("run.sh", "curl -H 'Authorization: Bearer §' https://x\n"),
    ("run.sh", "mysql -u root -p§ db\n"),
    ("run.sh", "tool --secret §\n"),
    ("config.php", "<?php define('DB_PASSWORD', '§');\n"),
    ("settings.py", "DATABASES={'default':{'PASSWORD':'§'}}\n"),
    ("config.js", "module.exports = { secret: `§` }\n"),
    (".pgpass", "db:5432:x:user:§\n"),
    ("tokens.csv", "§,user,uid,\"g1,g2\"\n"),
    (".netrc", "machine h\n  login u\n  password §\n"),
    ("wg0.conf", "[Interface]\nPrivateKey = §=\n"),
    ("nginx.conf", "proxy_set_header Authorization \"Bearer §\";\n"),
    ("ldap.conf", "bindpw §\n"),
    ("jaas.conf", "KafkaClient { PlainLoginModule required username=\"a\" password=\"§\"; };"),
    ("jl", "{\"a\":\"x\"}\n{\"token\":\"§\"}\n"),
    ("j", "// c\n{\"token\":\"§\"}\n"),
    ("j", "{\"§\":true}"),
    (".dockerconfigjson", "{\"auths\":{\"r\":{\"password\":\"§\",}}}"),
    (".dockerconfigjson", "{\"auths\":{\"r\":{\"auth\":\"AUTH\",}}}"),
    ("otp", "otpauth://totp/x?secret=§&issuer=y"),
    ("tokens", "a;§;b"),
    ("tokens", "aaa,§,bbb"),
    ("tokens", "aaa § bbb"),
    ("tokens", "aaa\t§\tbbb"),
    ("tokens", "a:b:§"),
    ("tokens", "a|§|b"),
    ("tokens", "a\0§\0b"),
];

/// Encodings of a whole value.
const WHOLES: &[fn(&str) -> Vec<u8>] = &[
    |p| STANDARD.encode(format!("{{\"token\":\"{p}\"}}")).into_bytes(),
    |p| STANDARD_NO_PAD.encode(p).into_bytes(),
    |p| URL_SAFE.encode(format!("user:{p}")).into_bytes(),
    |p| p.bytes().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect(),
    |p| p.encode_utf16().flat_map(u16::to_le_bytes).collect(),
    |p| [b"\xFE\xFF".to_vec(), p.encode_utf16().flat_map(u16::to_be_bytes).collect()].concat(),
    |p| {
        let long = STANDARD.encode(format!("{{\"token\": \"{p}\"}}{}", "x".repeat(90)));
        long.as_bytes().chunks(64).collect::<Vec<_>>().join(&b'\n')
    },
    |p| format!("{{\"registry\":{{\"auth\":\"{}\",}}}}", STANDARD.encode(format!("u:{p}"))).into_bytes(),
];

fn masker(key: &str, value: &[u8]) -> Masker {
    let mut values = Values::default();
    values.add(key, value);
    Masker::new(&values)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_password_in_any_form_is_known(password in "[a-zA-Z]{6}[0-9][a-zA-Z0-9]{9,24}") {
        let forms = FORMS.iter().map(|(key, form)| {
            let auth = STANDARD.encode(format!("u:{password}"));
            (*key, form.replace('§', &password).replace("AUTH", &auth).into_bytes())
        });
        let wholes = WHOLES.iter().map(|whole| ("data", whole(&password)));
        for (key, value) in forms.chain(wholes) {
            let masker = masker(key, &value);
            for text in [format!("server says ({password}) here"), format!("cannot {password}"), format!("a \"{password}\" b")] {
                let masked = masker.free_text(&text);
                prop_assert!(!masked.contains(&password), "{key}: {:?}: {masked}", String::from_utf8_lossy(&value));
            }
        }
    }

    #[test]
    fn the_beginning_of_a_value_is_masked_whatever_stands_behind_it(
        value in "[a-z]{2}[0-9]{2}[A-Z]{2}[a-zA-Z0-9]{14,34}",
        cut in 40_usize..96,
    ) {
        const TAILS: &[&str] =
            &["", "...", "…", " (truncated)", "\"...", "[truncated]", "\n", "..", "'", " more text", "<", "\\n", "%"];
        type Encoding = fn(&str) -> String;
        const ENCODINGS: &[Encoding] = &[
            str::to_owned,
            |text| STANDARD.encode(text),
            |text| STANDARD.encode(format!("user:{text}")),
            |text| text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            |text| text.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            |text| text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(" "),
        ];
        let masker = masker("password", value.as_bytes());
        for (encoding, encode) in ENCODINGS.iter().enumerate() {
            let written = encode(&value);
            // Of a shorter one than ten bytes nothing tells that it is one.
            let shown = &written[..(written.len() * cut / 100).max(encode(&value[..10]).len())];
            for tail in TAILS {
                let masked = masker.free_text(&format!("msg: {shown}{tail}"));
                prop_assert!(!masked.contains(&shown[..shown.len() - 8]), "{encoding}: {shown}{tail}: {masked}");
            }
        }
    }
}

/// What a Secret of settings holds beside its secrets stays readable in every text.
#[test]
fn names_in_a_file_of_settings_stay_readable() {
    let settings = "apiVersion: v1\nkind: Config\nimage: registry.gitlab.com/gitlab-org/agentk:v18.2.0\n\
        replicas: 2\nurl: https://gitlab2.example.com/platform/fleet\ncreated: 2026-01-01T10:00:00Z\n\
        ssh: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI\ncertificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t\n\
        token: s3cr3t00\n";
    let masker = masker("config.yaml", settings.as_bytes());
    for text in [
        "GitRepository flux-system/fleet: https://gitlab2.example.com/platform/fleet",
        "2026-01-01T10:11:12Z: 2 replicas",
        "image gitlab-org/agentk:v18.2.0 of the kustomize-controller",
        "AAAAC3NzaC1lZDI1NTE5AAAAI",
        "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t",
    ] {
        assert_eq!(masker.free_text(text), text, "without a value: {}", free_text(text));
    }
    assert_eq!(masker.free_text("with s3cr3t00."), "with ***.");
}

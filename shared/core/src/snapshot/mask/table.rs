//! Textual forms in which a credential has been seen, one a line: what must not be left, and what must.
//!
//! The credentials are made when the test runs, so that no scanner takes this file for a leak.

use super::*;

/// Stands for the secret in a form.
const S: &str = "SECRET";

fn check(secret: &str, forms: &[&str]) {
    for form in forms {
        let text = form.replace(S, secret);
        let masked = free_text(&text);
        assert!(masked.contains(MASK) && !masked.contains(secret), "{form}: {masked}");
        for (before, after) in [("", "\n"), ("time=1 level=error msg=\"", "\""), ("x: ", ". End"), ("(", ")")]
        {
            let text = format!("{before}{text}{after}");
            let masked = free_text(&text);
            assert!(!masked.contains(secret), "{text}: {masked}");
            assert_eq!(free_text(&masked), masked, "what is masked stays as it is");
        }
    }
}

fn tokens() -> Vec<String> {
    let body = "aB3dE6gH9kL2nP5rS8uV";
    let kinds = ["pat", "agent", "dt", "rt", "cbt", "ptt", "ft", "soat", "imt", "oas", "ffct", "wt", "rtr"];
    let mut all: Vec<String> = kinds.iter().map(|kind| format!("gl{kind}-{body}")).collect();
    all.push(format!("glpat-{}.01.1a2b3c4d5", "Ab1".repeat(9)));
    all.push(format!("glcbt-64_{body}"));
    all.push(format!("GR1348941{body}"));
    all.push(["gh", "p_", &"Ab1Cd2".repeat(6)].concat());
    all.push(["xo", "xb-", "1234567890-", body].concat());
    all.push(["AK", "IA", "ABCDEFGH12345678"].concat());
    all.push(["ey", "JhbGciOiJI.", "eyJzdWIiOiIx.", body].concat());
    all
}

#[test]
fn tokens_are_told_by_what_they_look_like_behind_whatever_stands_before() {
    for token in tokens() {
        check(
            &token,
            &[
                "token SECRET refused",
                "SECRET",
                "acme-SECRET",
                "acme_SECRET",
                "\\nSECRET",
                "\\u003dSECRET",
                "%3ASECRET",
                "%0aSECRET",
                "=SECRET&x",
                "\"SECRET\"",
                "<SECRET>",
                "/SECRET/",
                "a:SECRET@h",
                "\\tSECRET\\n",
                "&quot;SECRET&quot;",
                "[SECRET]",
                "{\\\"t\\\":\\\"SECRET\\\"}",
                "\u{201c}SECRET\u{201d}",
            ],
        );
    }
}

#[test]
fn headers_settings_and_arguments_are_told_by_their_name() {
    check(
        "hunter2!x",
        &[
            "Private-Token: SECRET",
            "Private-Token: [SECRET]",
            "PRIVATE-TOKEN:SECRET",
            "\"PRIVATE-TOKEN\": \"SECRET\"",
            "{\"Private-Token\":[\"SECRET\"]}",
            "map[Private-Token:[SECRET] Accept:[*/*]]",
            "JOB-TOKEN: SECRET",
            "Authorization: token SECRET",
            "Authorization: Bearer SECRET",
            "authorization: Basic SECRET",
            "map[Authorization:[Bearer SECRET] X:[y]]",
            "\"Authorization\": [\"Bearer SECRET\"]",
            "'Authorization': 'token SECRET'",
            "Authorization: SECRET",
            "Authorization=Bearer SECRET",
            "\\\"Authorization\\\":\\\"Bearer SECRET\\\"",
            "Cookie: a=SECRET",
            "Set-Cookie: a=SECRET; b=SECRET",
            "X-Gitlab-Token: SECRET",
            "Bearer SECRET",
            "bearer SECRET",
            "--password SECRET",
            "--password=SECRET",
            "--token=SECRET",
            "--db-password 'SECRET'",
            "mysql -u root -pSECRET db",
            "curl -u user:SECRET x",
            "password=SECRET",
            "password: SECRET",
            "\"password\":\"SECRET\"",
            "Password:SECRET",
            "{Username:u Password:SECRET}",
            "GITLAB_TOKEN=SECRET",
            "api_key=SECRET",
            "client_secret: 'SECRET'",
            "?private_token=SECRET",
            "a=b&access_token=SECRET&c=d",
            "secretAccessKey=SECRET",
            "password => SECRET",
            "{\\\"password\\\": \\\"SECRET\\\"}",
            "password%3DSECRET",
            "&quot;token&quot;:&quot;SECRET&quot;",
            "https://h/x?token=SECRET",
            "user:SECRET@host.example.com",
            "pwd=SECRET",
        ],
    );
}

#[test]
fn what_looks_random_is_told_by_a_part_of_its_name() {
    check(
        "q7Wz3Kd9Lm2Xp8Rt5Vb1",
        &[
            "-token SECRET",
            "-p SECRET",
            "-p=SECRET",
            "(-pSECRET)",
            "docker login -u a -p SECRET",
            "curl -uuser:SECRET https://h",
            "{Private-Token SECRET}",
            "pass: SECRET",
            "auth=SECRET",
            "authn: SECRET",
            "token_1=SECRET",
            "token[0]=SECRET",
            "token.value=SECRET",
            "tokens: [SECRET]",
            "credentials: SECRET",
            "encryption_key=SECRET",
            "signing-key: SECRET",
            "passkey=SECRET",
            "AccountKey=SECRET==",
            "SharedAccessKey=SECRET=",
            "sig=SECRET",
            "hmac: SECRET",
            "bearer: SECRET",
            "bearer=SECRET",
            "sessionid=SECRET",
            "JSESSIONID=SECRET",
            "PHPSESSID=SECRET",
            "sid=SECRET",
            "\"token\":\n\"SECRET\"",
            "password\tSECRET",
            "PASSWORD SECRET",
            "token \"SECRET\"",
            "password \"SECRET\"",
            "machine h login a password SECRET",
            "//user:SECRET@h/x",
            "user:SECRET@h",
            "https://h/x;jsessionid=SECRET",
            "hvb.SECRET",
            "ya29.SECRET",
            "whsec_SECRET",
            "pypi-SECRET",
            "/hook/SECRET",
            "/hook/x/SECRET",
            "https://events.pagerduty.com/integration/SECRET/enqueue",
        ],
    );
    let digest = "0123456789abcdef".repeat(4);
    check(&digest, &["/hook//SECRET", "/hook/./SECRET", "hook/SECRET", "/hook/\nSECRET", "/Hook/SECRET"]);
}

#[test]
fn addresses_are_told_by_their_form() {
    check(
        "p4sswordX/9",
        &[
            "https://u:SECRET@h/x.git",
            "unable to clone 'https://oauth2:SECRET@gitlab.example.com/a/b.git': no",
            "https:\\/\\/u:SECRET@gitlab.example.com\\/x",
            "postgres://u:SECRET@db.example.com:5432/x",
            "https://SECRET@gitlab.example.com/x",
            "https%3A%2F%2Fu:SECRET@gitlab.example.com",
            "https://h/x?a=SECRET",
            "https://h/x#access_token=SECRET",
            "redis://:SECRET@redis.example.com/0",
            "https\\u003a//u:SECRET@h.example.com/",
            "https://u:12/SECRET@h.example.com/x",
            "\"url\":\"https:\\/\\/u:SECRET@h.example.com\"",
        ],
    );
    check(
        "T01234567/B01234567/aB3dE6gH9kL2nP5rS8uV",
        &[
            "Post \"https://hooks.slack.com/services/SECRET\": EOF",
            "https://discord.com/api/webhooks/SECRET",
            "hooks.slack.com/services/SECRET",
            "https://acme.webhook.office.com/webhookb2/SECRET",
            "https://chat.googleapis.com/v1/spaces/SECRET",
            "https://mattermost.example.com/hooks/SECRET",
            "https://api.telegram.org/bot1:SECRET/sendMessage",
            "https:\\/\\/hooks.slack.com\\/services\\/SECRET",
            "https://rocket.example.com/hooks/SECRET",
            "https://open.feishu.cn/open-apis/bot/v2/hook/SECRET",
        ],
    );
    check(
        &"0123456789abcdef".repeat(4),
        &[
            "Receiver initialized for path: /hook/SECRET",
            "https://flux.example.com/hook/SECRET",
            "path=/hook/SECRET",
            "\\/hook\\/SECRET",
            "%2Fhook%2FSECRET",
            "\"/hook/SECRET\"",
            "POST /hook/SECRET HTTP/1.1",
            "webhookPath:/hook/SECRET",
            "/hook/SECRET\\n",
            "//h/hook/SECRET",
        ],
    );
}

/// `user:password` in base64, whole or cut off: the letters behind those of the user name.
#[test]
fn a_login_in_base64_is_recognized_by_its_form() {
    let letters = ["dXNlcj", "pjb3JyZWN0LWhvcnNl"].concat();
    for length in 9..letters.len() {
        let shown = &letters[..length];
        for form in [
            "Authorization: Basic SECRET...",
            "Proxy-Authorization: Basic SECRET...",
            "> authorization: basic SECRET…",
            "Basic%20SECRET...",
            "\"auth\":\"SECRET...\"",
            "\\\"auth\\\":\\\"SECRET...\\\"",
            "_auth=SECRET...",
            "auths: {r: {auth: SECRET... (truncated)",
            "the header was SECRET...",
            "[SECRET...]",
            "Basic SECRET=E2=80=A6",
            "SECRET\\u2026",
        ] {
            let text = form.replace(S, shown);
            let masked = free_text(&text);
            assert!(masked.contains(MASK) && !masked.contains(&letters[..9]), "{text}: {masked}");
            assert_eq!(free_text(&masked), masked, "what is masked stays as it is");
        }
    }
    for form in ["it says SECRET", "auth SECRET= here", "\"auth\": \"SECRET\"", "(SECRET)"] {
        let masked = free_text(&form.replace(S, &letters));
        assert!(!masked.contains(&letters[..9]), "{form}: {masked}");
    }
}

/// The path of a Receiver's webhook, where none was read.
#[test]
fn a_webhook_path_is_recognized_by_its_field() {
    check(
        &"0123456789abcdef".repeat(4),
        &[
            "webhookPath: /hook/SECRET",
            "webhookPath: SECRET",
            "webhookPath=SECRET",
            "\"webhookPath\":\"/hook/SECRET\"",
            "\"webhookPath\":\"SECRET\"",
            "{\\\"webhookPath\\\":\\\"SECRET\\\"}",
            "webhook_path: \"SECRET\"",
            "webhook-path=SECRET",
            "status.webhookPath is SECRET",
            "WebhookPath:SECRET}",
            "webhookPath%3DSECRET",
            "webhookPath=3DSECRET",
        ],
    );
    for text in
        ["webhookPath: /hook/***", "webhookPath is empty", "no webhookPath yet", "webhookPath: latest"]
    {
        assert_eq!(free_text(text), text);
    }
}

#[test]
fn private_keys_are_masked_and_certificates_are_not() {
    let body = "MIIEpAIBAAKCAQEAx1";
    for kind in ["", "RSA ", "OPENSSH ", "EC ", "ENCRYPTED "] {
        let begin = ["-----BEGIN ", kind, "PRIVATE", " KEY-----"].concat();
        let end = begin.replace("BEGIN", "END");
        for line in ["\n", "\\n", "\r\n", " "] {
            let masked = free_text(&format!("a {begin}{line}{body}{line}{body}{line}{end}{line}b"));
            assert!(!masked.contains(body) && masked.ends_with('b'), "{masked}");
            assert!(!free_text(&format!("{begin}{line}{body}{line}MII")).contains("MII"), "cut off");
        }
    }
    let certificate = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----");
    assert_eq!(free_text(&certificate), certificate);
}

/// Sentences that controllers write, which the checks read: they stay as they are.
#[test]
fn ordinary_texts_stay_as_they_are() {
    for text in [
        "basic understanding of things",
        "a glance",
        "it asks to sign in: Basic realm=\"corp\"",
        "Bearer realm=\"https://gitlab.example.com/jwt/auth\",service=\"container_registry\"",
        "ssh://git@h:22/x",
        "https://***@h/x",
        "clone 'https://h/x.git?***': no",
        "stored artifact for revision 'main@sha1:86fa18f7a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5'",
        "failed to checkout: unable to clone 'https://gitlab.example.com/a/b.git': authentication required: HTTP Basic: Access denied",
        "Secret \"gitlab-agent-token\" not found",
        "secret 'flux-system/x' not found",
        "invalid username or password: access denied",
        "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
        "rpc error: code = Unauthenticated desc = unauthenticated",
        "GetConfiguration.Recv failed: rpc error: code = Unavailable",
        "token: not valid",
        "the token expired",
        "Helm upgrade succeeded for release gitlab/gitlab-agent.v3 with chart gitlab-agent@2.29.1",
        "Fetched revision: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "ghcr.io/fluxcd/source-controller:v1.7.2@sha256:0123456789abcdef0123456789abcdef",
        "https://docs.gitlab.com/user/project/integrations/webhooks/",
        "https://gitlab.example.com/api/v4/projects/1/hooks/3",
        "read tcp 10.0.0.1:443->10.0.0.2:51234: i/o timeout",
        "secrets is forbidden: User \"system:serviceaccount:flux-system:default\" cannot list resource \"secrets\"",
        "Back-off restarting failed container=agentk pod=gitlab-agent-v2-5d79447cbd-7blfr_gitlab(7f0c)",
        "kubectl -n gitlab logs -p pod",
        "https://user.example.com/a@b",
        "npm/@scope/x@1.2.3",
        "lookup gitlab.example.com: no such host",
        "glrt-worker-pool",
        "Secret \"gitlab-agent-token-6b8hg2\" not found",
        "secret gitlab-agent-token-6b8hg2 not found",
        "key: flux-system/podinfo",
        "pod gitlab-agent-v2-5d79447cbd-7blfr passed 3 of 5 keys",
        "session: closed by 10.0.0.1:443",
        "the webhook/v1 path",
        "failed calling webhook \"x.example.com\": Post \"https://x.svc:443/validate\": context deadline exceeded",
    ] {
        assert_eq!(free_text(text), text);
    }
}

/// The prefix is public: what stands behind it is the secret, however a text names it.
#[test]
fn a_known_token_is_masked_without_its_prefix() {
    let body = "Ab1cD2eF3gH4iJ5kL6mN";
    for token in [format!("glpat-{body}"), format!("acme-gldt-{body}"), format!("glagent-{body}")] {
        let mut values = Values::default();
        values.add("token", token.as_bytes());
        let masker = Masker::new(&values);
        for text in [format!("it ends in {body}"), format!("{{\"rest\":\"{body}\"}}"), format!("x-{body}-y")]
        {
            assert!(!masker.free_text(&text).contains(body), "{token}: {text}");
        }
    }
}

//! The played GitLab by itself, over HTTPS: tokens, faults, redirects and the trap. It needs git, and no Go.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_core::text::is_hidden;
use gitlab_agent_tests::lone_api::{LoneApi, with_agent_and_source};
use gitlab_agent_tests::programs::{command, run};
use gitlab_agent_tests::world::gitlab::{ALWAYS, EXAMPLE_PROJECT, Fault, GitLab, Role, ShownToken, in_days};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

struct Played {
    gitlab: GitLab,
    runtime: Runtime,
    dir: tempfile::TempDir,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| self.text.clone())
    }
}

impl Played {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let gitlab = GitLab::start(dir.path(), runtime.handle())?;
        Ok(Self { gitlab, runtime, dir })
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> Result<Answer> {
        self.runtime.block_on(self.send(self.gitlab.port(), method, path, token, body))
    }

    fn get(&self, path: &str, token: &str) -> Result<Answer> {
        self.ask("GET", path, token, "")
    }

    async fn send(&self, port: u16, method: &str, path: &str, token: &str, body: &str) -> Result<Answer> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.gitlab.ca_pem().as_bytes())?)?;
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("127.0.0.1")?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let stream = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let task = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.header("content-type", "application/json");
        let response = sender.send_request(request.body(Full::new(Bytes::from(body.to_owned())))?).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await;
        task.abort();
        let text = String::from_utf8_lossy(&body?.to_bytes()).into_owned();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, text })
    }

    /// A bare repository with one commit; gives the commit's id.
    fn write_repository(&self, project: &str) -> Result<String> {
        let bare = self.dir.path().join(format!("repositories/{project}.git"));
        let work = self.dir.path().join("work");
        for dir in [&bare, &work] {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::create_dir_all(work.join(".gitlab/agents/world"))?;
        std::fs::write(work.join(".gitlab/agents/world/config.yaml"), "observability: {}\n")?;
        let bare = bare.display().to_string();
        git(&["init", "--quiet", "--bare", "--initial-branch=main", &bare])?;
        let work = work.display().to_string();
        git(&["init", "--quiet", "--initial-branch=main", &work])?;
        git(&["-C", &work, "add", "--all"])?;
        let person = ["-c", "user.name=World", "-c", "user.email=world@example.invalid"];
        git(&[&["-C", &work], &person[..], &["commit", "--quiet", "-m", "First"]].concat())?;
        git(&["-C", &work, "push", "--quiet", &bare, "main"])?;
        Ok(git(&["-C", &work, "rev-parse", "HEAD"])?.trim().to_owned())
    }
}

fn git(args: &[&str]) -> Result<String> {
    git_trusting(Path::new("/dev/null"), args)
}

fn git_trusting(authority: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(args)
        // Stronger than the same setting of git.
        .env("GIT_SSL_CAINFO", authority)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()?;
    ensure!(output.status.success(), "git {}: {}", args[0], String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const TOKENS: &str = "/api/v4/projects/platform%2Ffleet/cluster_agents/7/tokens";

#[test]
fn a_lost_answer_leaves_a_token_behind() -> Result<()> {
    let played = Played::new()?;
    let owner = played.gitlab.new_access_token(&["api"])?;
    played.gitlab.fault("POST /api/v4/projects/*/cluster_agents/*/tokens", Fault::LostAnswer, 1);
    let body = json!({ "name": "rotation-1" }).to_string();
    ensure!(played.ask("POST", TOKENS, &owner, &body).is_err(), "no answer comes");
    let list = played.get(TOKENS, &owner)?.json()?;
    ensure!(list[0]["name"] == "rotation-1", "and the token is there: {list}");
    ensure!(played.ask("POST", TOKENS, &owner, &body)?.status == 201, "only once");
    Ok(())
}

#[test]
fn each_fault_looks_as_it_does_in_the_field() -> Result<()> {
    let played = Played::new()?;
    let token = played.gitlab.new_access_token(&["api"])?;
    let path = "/api/v4/metadata";
    let with = |fault: Fault| {
        played.gitlab.fault("GET /api/v4/metadata", fault, 1);
        played.get(path, &token)
    };
    let limited = with(Fault::TooMany(Some(3)))?;
    ensure!(limited.status == 429 && limited.text == "Retry later\n", "{limited:?}");
    ensure!(limited.headers["retry-after"] == "3", "{limited:?}");
    ensure!(with(Fault::Maintenance)?.text.starts_with("<!DOCTYPE html>"), "a page, not JSON");
    let moved = with(Fault::Redirect("https://elsewhere.example/".into()))?;
    ensure!(moved.status == 302 && moved.headers["location"] == "https://elsewhere.example/", "{moved:?}");
    ensure!(
        with(Fault::Status(409, r#"{"message":"409 Conflict"}"#.into()))?.json()?["message"]
            == "409 Conflict"
    );
    ensure!(with(Fault::Reset).is_err() && with(Fault::Truncated).is_err(), "no whole answer");
    ensure!(with(Fault::Garbage)?.json().is_err(), "not JSON");
    ensure!(with(Fault::Oversize(3 << 20))?.text.len() > 3 << 20, "very long");
    ensure!(with(Fault::Delay(Duration::from_millis(1)))?.status == 200, "late, and well");
    played.gitlab.fault("*", Fault::Stall, ALWAYS);
    let stalled = played.runtime.block_on(async {
        let sent = played.send(played.gitlab.port(), "GET", path, &token, "");
        tokio::time::timeout(Duration::from_millis(300), sent).await.is_err()
    });
    ensure!(stalled, "no answer at all");
    let unanswered = played.gitlab.requests().iter().filter(|seen| seen.status == 0).count();
    ensure!(unanswered == 2, "the reset and the stalled one: {unanswered}");
    played.gitlab.clear_faults();
    played.gitlab.limit_requests(Some(1), 9);
    ensure!(played.get(path, &token)?.status == 200 && played.get(path, &token)?.status == 429, "the limit");
    Ok(())
}

#[test]
fn files_commits_and_statuses_come_from_the_repository() -> Result<()> {
    let played = Played::new()?;
    let owner = played.gitlab.new_access_token(&["api"])?;
    let sha = played.write_repository("platform/fleet")?;
    let root = "/api/v4/projects/platform%2Ffleet";
    let path = format!("{root}/repository/files/.gitlab%2Fagents%2Fworld%2Fconfig.yaml");
    let file = played.get(&format!("{path}?ref=main"), &owner)?;
    ensure!(file.json()?["commit_id"] == sha && file.headers["x-gitlab-commit-id"] == sha, "{file:?}");
    ensure!(played.get(&format!("{path}/raw"), &owner)?.text == "observability: {}\n", "raw");
    let head = played.ask("HEAD", &format!("{path}?ref=main"), &owner, "")?;
    ensure!(head.status == 200 && head.text.is_empty() && head.headers["x-gitlab-size"] == "18", "{head:?}");
    ensure!(played.get(&path, &owner)?.json()?["error"] == "ref is missing");
    let missing = played.get(&format!("{root}/repository/files/none?ref=main"), &owner)?.json()?;
    ensure!(missing["message"] == "404 File Not Found", "{missing}");
    let tree = played.get(&format!("{root}/repository/tree?recursive=true"), &owner)?.json()?;
    ensure!(tree.as_array().is_some_and(|all| all.len() == 4), "three folders and a file: {tree}");
    ensure!(played.get(&format!("{root}/repository/branches/main"), &owner)?.json()?["commit"]["id"] == sha);
    ensure!(played.get(&format!("{root}/repository/commits/{}", &sha[..8]), &owner)?.json()?["id"] == sha);
    let query = "query($path: ID!, $file: String!) { project(fullPath: $path) { repository { blobs(paths: [$file]) { nodes { rawTextBlob } } } } }";
    let variables = json!({"path": "platform/fleet", "file": ".gitlab/agents/world/config.yaml"});
    let body = json!({"query": query, "variables": variables}).to_string();
    let blobs = played.ask("POST", "/api/graphql", &owner, &body)?.json()?;
    let blobs = &blobs["data"]["project"]["repository"]["blobs"]["nodes"];
    ensure!(blobs[0]["rawTextBlob"] == "observability: {}\n", "{blobs}");
    statuses(&played, root, &sha, &owner)
}

fn statuses(played: &Played, root: &str, sha: &str, owner: &str) -> Result<()> {
    let path = format!("{root}/statuses/{sha}");
    let body = json!({ "state": "running", "name": "flux" }).to_string();
    let gitlab = &played.gitlab;
    let bot = |scope: &str, role| {
        let made = gitlab.new_resource_token("platform/fleet", "status", &[scope], role, in_days(9));
        made.map(|token| token.value)
    };
    ensure!(played.ask("POST", &path, &bot("api", Role::Developer)?, &body)?.status == 201, "it may");
    ensure!(played.ask("POST", &path, owner, &body)?.status == 201, "another user's is another line");
    let twice = played.ask("POST", &path, owner, &body)?.json()?["message"].to_string();
    ensure!(twice.starts_with("\"Cannot transition status via :run from :running"), "no prefix: {twice}");
    gitlab.protect("platform/fleet", "main", &[40], &[40])?;
    let refused = played.ask("POST", &path, &bot("api", Role::Developer)?, &body)?;
    ensure!(refused.status == 403 && refused.json()?["message"] == "403 Forbidden", "protected: {refused:?}");
    ensure!(played.ask("POST", &path, &bot("api", Role::Maintainer)?, &body)?.status == 201, "who may push");
    let branch = played.get(&format!("{root}/repository/branches/main"), owner)?.json()?;
    ensure!(branch["protected"] == true && branch["developers_can_push"] == false, "{branch}");
    gitlab.protect("platform/fleet", "main", &[40], &[30])?;
    ensure!(played.ask("POST", &path, &bot("api", Role::Reporter)?, &body)?.status == 403, "the role");
    let scope = played.ask("POST", &path, &bot("read_api", Role::Developer)?, &body)?.json()?;
    ensure!(scope["error"] == "insufficient_scope", "{scope}");
    let deploy = gitlab.new_deploy_token("platform/fleet", &["read_repository"])?.1;
    ensure!(played.ask("POST", &path, &deploy, &body)?.status == 401, "a deploy token is unknown to the API");
    let list = played.get(&format!("{root}/repository/commits/{sha}/statuses"), owner)?.json()?;
    ensure!(list.as_array().is_some_and(|all| all.len() == 1) && list[0]["name"] == "flux", "{list}");
    let absent = format!("{root}/statuses/0123456789012345678901234567890123456789");
    ensure!(played.ask("POST", &absent, owner, &body)?.json()?["message"] == "404 Commit Not Found");
    Ok(())
}

#[test]
fn git_takes_exactly_the_tokens_that_are_active_and_may() -> Result<()> {
    let played = Played::new()?;
    let gitlab = &played.gitlab;
    played.write_repository(EXAMPLE_PROJECT)?;
    let ca = played.dir.path().join("ca.crt");
    std::fs::write(&ca, gitlab.ca_pem())?;
    let reads = |user: &str, token: &str| {
        let url = gitlab.project_url(EXAMPLE_PROJECT).replace("://", &format!("://{user}:{token}@"));
        git_trusting(&ca, &["ls-remote", &url]).is_ok_and(|heads| heads.contains("refs/heads/main"))
    };
    let (user, deploy) = gitlab.new_deploy_token(EXAMPLE_PROJECT, &["read_repository"])?;
    ensure!(reads(&user.replace('+', "%2B"), &deploy) && !reads("git", &deploy), "its own user name only");
    let (other, elsewhere) = gitlab.new_deploy_token("platform/fleet", &["read_repository"])?;
    ensure!(!reads(&other.replace('+', "%2B"), &elsewhere), "its own project only");
    let (group, registry) = gitlab.new_deploy_token("example", &["read_registry"])?;
    ensure!(!reads(&group.replace('+', "%2B"), &registry), "not without the scope");
    let made = |scope: &str, role| gitlab.new_resource_token("example", "x", &[scope], role, in_days(3));
    let good = made("read_repository", Role::Reporter)?;
    ensure!(reads("anything", &good.value), "any user name");
    ensure!(!reads("anything", &made("read_api", Role::Owner)?.value), "not without the scope");
    ensure!(!reads("anything", &made("read_repository", Role::Guest)?.value), "not without the role");
    gitlab.change_access_token(good.id, |token| token.expires = in_days(0))?;
    ensure!(!reads("anything", &good.value), "expired");
    ensure!(!reads("anything", &gitlab.new_agent_token()?), "an agent's token opens nothing");
    let seen = gitlab.requests();
    ensure!(seen.iter().any(|seen| seen.token == Some(ShownToken::Access(good.id))), "{seen:?}");
    let log = format!("{seen:?}");
    ensure!(!log.contains(&good.value) && !log.contains(&deploy), "no value in the log");
    Ok(())
}

#[test]
fn below_a_relative_root_nothing_else_answers() -> Result<()> {
    let played = Played::new()?;
    let token = played.gitlab.new_access_token(&["api"])?;
    played.gitlab.configure(|settings| {
        settings.relative_root = "/gitlab".into();
        settings.token_prefix = "acme-".into();
    });
    ensure!(played.gitlab.url().ends_with("/gitlab"), "{}", played.gitlab.url());
    ensure!(played.get("/gitlab/api/v4/metadata", &token)?.status == 200);
    ensure!(played.get("/api/v4/metadata", &token)?.status == 404);
    ensure!(played.gitlab.new_agent_token()?.starts_with("acme-glagent-"), "the instance's prefix");
    Ok(())
}

#[test]
fn a_trap_keeps_what_reaches_it() -> Result<()> {
    let played = Played::new()?;
    let trap = played.gitlab.trap(true)?;
    ensure!(trap.caught().is_empty());
    let sent = played.send(trap.address().port(), "GET", "/here", "not-a-token", "");
    played.runtime.block_on(sent)?;
    let caught = trap.caught();
    ensure!(
        caught.len() == 1 && caught[0].contains("/here") && caught[0].contains("not-a-token"),
        "{caught:?}"
    );
    Ok(())
}

/// What GitLab answers to whom: each row is a token, a request, and the status with the words of the answer.
#[test]
fn each_refusal_has_the_shape_that_gitlab_gives_it() -> Result<()> {
    let played = Played::new()?;
    let gitlab = &played.gitlab;
    let owner = gitlab.new_access_token(&["api"])?;
    let bot = |role| gitlab.new_resource_token("platform/fleet", "bot", &["api"], role, in_days(9));
    let (reporter, developer) = (bot(Role::Reporter)?, bot(Role::Developer)?);
    let oauth = gitlab.new_oauth_token(gitlab.person(), &["api"])?;
    let dead = gitlab.new_access_token(&["api"])?;
    gitlab.revoke(&dead)?;
    let fine = gitlab.new_fine_grained_token(gitlab.person(), "fine", &["Metadata: Read"])?.value;
    let deploy = gitlab.new_deploy_token("platform/fleet", &["read_repository"])?.1;
    let root = "/api/v4/projects/platform%2Ffleet";
    let one: &str = &format!("{root}/access_tokens/{}", reporter.id);
    let own = "/api/v4/personal_access_tokens/self";
    let agents: &str = &format!("{root}/cluster_agents");
    let tokens: &str = &format!("{root}/access_tokens");
    let protected: &str = &format!("{root}/protected_branches");
    let long = json!({"name": "x", "scopes": ["api"], "expires_at": in_days(9).map(|d| d.to_string()),
        "description": "d".repeat(256)});
    for (token, method, path, body, status, words) in [
        (&oauth, "GET", own, json!({}), 400, "requires token type to be a personal access token"),
        (&oauth, "GET", "/oauth/token/info", json!({}), 200, "resource_owner_id"),
        (&owner, "GET", "/oauth/token/info", json!({}), 401, "invalid_token"),
        (&dead, "GET", own, json!({}), 401, "invalid_token"),
        (&deploy, "GET", own, json!({}), 401, "401 Unauthorized"),
        (&fine, "GET", "/api/v4/metadata", json!({}), 200, "version"),
        (&fine, "GET", own, json!({}), 403, "insufficient_granular_scope"),
        (&fine, "GET", root, json!({}), 403, "[Project: Read]"),
        (&reporter.value, "GET", agents, json!({}), 404, "404 ClusterAgents Not Found"),
        (&developer.value, "GET", one, json!({}), 401, "401 Unauthorized"),
        (&developer.value, "DELETE", one, json!({}), 400, "cannot delete"),
        (&developer.value, "GET", protected, json!({}), 403, "403 Forbidden"),
        (&owner, "GET", protected, json!({}), 200, "push_access_levels"),
        (&owner, "POST", tokens, long, 500, "500 Internal Server Error"),
        (&owner, "GET", "/api/v4/users/2", json!({}), 200, "\"bot\":false"),
    ] {
        let answer = played.ask(method, path, token, &body.to_string())?;
        ensure!(answer.status == status && answer.text.contains(words), "{method} {path}: {answer:?}");
        let api = path.starts_with("/api/v4");
        ensure!(
            answer.headers.contains_key("x-gitlab-meta") == api,
            "Rails marks what it answers: {answer:?}"
        );
    }
    ensure!(gitlab.users().iter().any(|u| u.username.ends_with("_bot_left")), "its bot is left behind");
    gitlab.configure(|settings| settings.paid = false);
    ensure!(played.get(tokens, &owner)?.status == 401, "without a paid tier nobody sees any");
    let body = json!({"name": "x", "scopes": ["api"], "expires_at": in_days(9).map(|d| d.to_string())});
    let refused = played.ask("POST", tokens, &owner, &body.to_string())?;
    ensure!(
        refused.status == 400 && refused.text.contains("does not have permission to create"),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn a_use_is_noted_at_once_and_then_every_ten_minutes() -> Result<()> {
    let played = Played::new()?;
    let gitlab = &played.gitlab;
    let token = gitlab.new_resource_token("platform/fleet", "t", &["api"], Role::Developer, in_days(9))?;
    let used = || gitlab.token(&token.value).and_then(|token| token.last_used);
    ensure!(used().is_none(), "not yet");
    played.get("/api/v4/metadata", &token.value)?;
    let first = used().context("at once")?;
    played.get("/api/v4/metadata", &token.value)?;
    ensure!(used() == Some(first), "not again so soon");
    gitlab.change_access_token(token.id, |token| {
        token.last_used = Some(first - jiff::SignedDuration::from_mins(11))
    })?;
    played.get("/api/v4/metadata", &token.value)?;
    ensure!(used() > Some(first), "after ten minutes");
    Ok(())
}

/// Roles, and the status of what each asks for; of connections how many are shown.
#[test]
fn each_role_sees_what_gitlab_shows_it() -> Result<()> {
    let played = Played::new()?;
    played.write_repository("platform/fleet")?;
    let gitlab = &played.gitlab;
    gitlab.connect(7, "gitlab", "pod-1", "v19.2.1");
    let root = "/api/v4/projects/platform%2Ffleet";
    let columns = [
        "",
        "/repository/files/.gitlab%2Fagents%2Fworld%2Fconfig.yaml/raw",
        "/cluster_agents",
        "/cluster_agents/7/tokens",
        "/deploy_tokens",
        "/deploy_keys",
        "/access_tokens",
        "/protected_branches",
    ];
    let query = r#"{ project(fullPath: "platform/fleet") { clusterAgent(name: "world") { connections { nodes { connectedAt } } } } }"#;
    let query = json!({ "query": query }).to_string();
    for (role, statuses, connections) in [
        (None, [404, 404, 404, 404, 404, 404, 404, 404], 0),
        (Some(Role::Guest), [200, 403, 404, 404, 403, 403, 401, 403], 0),
        (Some(Role::Planner), [200, 403, 404, 404, 403, 403, 401, 403], 0),
        (Some(Role::Reporter), [200, 200, 404, 404, 403, 403, 401, 403], 0),
        (Some(Role::SecurityManager), [200, 200, 404, 404, 403, 403, 401, 403], 0),
        (Some(Role::Developer), [200, 200, 200, 200, 403, 403, 401, 403], 0),
        (Some(Role::Maintainer), [200, 200, 200, 200, 200, 200, 200, 200], 1),
        (Some(Role::Owner), [200, 200, 200, 200, 200, 200, 200, 200], 1),
    ] {
        let user = gitlab.new_user(&format!("{role:?}"));
        gitlab.set_role(user, "platform/fleet", role)?;
        let token = gitlab.new_personal_token(user, "t", &["read_api"], in_days(9))?.value;
        for (column, status) in columns.iter().zip(statuses) {
            let answer = played.get(&format!("{root}{column}"), &token)?;
            ensure!(answer.status == status, "{role:?} {column}: {answer:?}");
        }
        let shown = played.ask("POST", "/api/graphql", &token, &query)?.json()?;
        let nodes = &shown["data"]["project"]["clusterAgent"]["connections"]["nodes"];
        ensure!(nodes.as_array().map_or(0, Vec::len) == connections, "{role:?}: {shown}");
        ensure!(shown.get("errors").is_none(), "and no error: {shown}");
    }
    Ok(())
}

/// What GitLab says is somebody else's text, on standard error as on standard output.
#[test]
fn what_gitlab_says_is_escaped_wherever_it_is_shown() -> Result<()> {
    const HOSTILE: &str = "x\u{1b}[31m\u{202e}\u{200b}\u{7}\r\nerror: forged";
    let played = Played::new()?;
    let gitlab = &played.gitlab;
    let cluster = LoneApi::start(with_agent_and_source(&gitlab.project_url(EXAMPLE_PROJECT)))?;
    cluster.vouched(&json!({"token": "of-the-cluster"}))?;
    let ca = played.dir.path().join("ca.pem");
    std::fs::write(&ca, gitlab.ca_pem())?;
    let token = gitlab.new_access_token(&["api"])?;
    let mut quoted = [0; 2];
    let commands = [
        "verify -v",
        "status -v",
        "snapshot",
        "rotate-token --list -v",
        "rotate-token agent --yes -n gitlab",
        "rotate-token source gitrepository/x -n flux-system --yes",
    ];
    for status in [200, 400, 401, 403, 404, 422, 500] {
        for body in [
            json!({"message": HOSTILE, "error": HOSTILE, "error_description": HOSTILE}).to_string(),
            json!({"message": {"base": [HOSTILE]}}).to_string(),
            HOSTILE.to_owned(),
        ] {
            gitlab.clear_faults();
            gitlab.fault("* /*", Fault::Status(status, body.clone()), ALWAYS);
            for words in commands {
                let mut words = words.split(' ');
                let verb = words.next().unwrap_or_default().replace('-', "_");
                let mut command = command(&verb);
                command.args(words).env("KUBECONFIG", cluster.kubeconfig()).env("GITLAB_TOKEN", &token);
                let ran = run(command.args(["--gitlab-host", &gitlab.url(), "--gitlab-ca-file"]).arg(&ca));
                for (shown, seen) in [&ran.out, &ran.err].into_iter().zip(&mut quoted) {
                    let hidden = shown.chars().find(|c| is_hidden(*c) && *c != '\n');
                    ensure!(hidden.is_none(), "{verb} {status}: {hidden:?} in {shown:?}");
                    ensure!(!shown.lines().any(|line| line.starts_with("error: forged")), "{shown}");
                    *seen += usize::from(shown.contains("\\u{1b}[31m"));
                }
            }
        }
    }
    ensure!(quoted.iter().all(|seen| *seen > 20), "it was shown on both: {quoted:?}");
    Ok(())
}

//! The endpoints of access tokens: look at oneself, list, make, rotate, revoke.

use http::StatusCode;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::access_tokens::{AccessToken, RESOURCE_SCOPES, Wanted};
use super::auth::{self, Caller};
use super::call::{Call, allowed, visible_place};
use super::errors::{ApiResult, Refusal, created, no_content, ok};
use super::people::{Place, Role};
use super::state::State;
use super::times::today;
use super::{GitLab, pagination};

const LONGEST_DAYS: i64 = 365;

/// `GET /personal_access_tokens/self`: any scope will do.
pub(super) fn myself(gitlab: &GitLab, call: &Call<'_>) -> ApiResult {
    let caller = call.sign_in(gitlab, &[])?;
    if caller.token == 0 {
        let text = "This endpoint requires token type to be a personal access token";
        return Err(Refusal::BadRequest(text.into()));
    }
    let state = gitlab.state();
    let token = state.access_tokens.iter().find(|token| token.id == caller.token);
    token.map(|token| ok(&personal(token, &state))).ok_or(Refusal::Unauthorized)
}

/// `DELETE /personal_access_tokens/self`.
pub(super) fn revoke_myself(gitlab: &GitLab, call: &Call<'_>) -> ApiResult {
    let caller = call.sign_in(gitlab, &[])?;
    end(&mut gitlab.state(), caller.token)?;
    Ok(no_content())
}

/// `POST /personal_access_tokens/self/rotate`, and the same below a project or group.
pub(super) fn rotate_myself(gitlab: &GitLab, call: &Call<'_>, place: Option<(&str, &str)>) -> ApiResult {
    let caller = rotating(gitlab, call, &["api", "self_rotate"])?;
    let mut state = gitlab.state();
    if let Some((kind, id)) = place {
        let place = visible_place(&state, caller.user, kind, id)?;
        let same = state.access_tokens.iter().any(|t| t.id == caller.token && t.place == Some(place));
        if !same {
            return Err(Refusal::MethodNotAllowed);
        }
    }
    rotated(&mut state, caller.token, call, place.is_none())
}

/// `GET /personal_access_tokens`: one's own; an administrator's is everybody's, but for `user_id`.
pub(super) fn mine(gitlab: &GitLab, call: &Call<'_>) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let state = gitlab.state();
    let wanted = call.text("user_id").and_then(|id| id.parse::<u64>().ok());
    let own = state.access_tokens.iter().filter(|token| match state.is_admin(caller.user) {
        true => wanted.is_none_or(|user| token.user == user),
        false => token.user == caller.user && wanted.is_none_or(|user| user == caller.user),
    });
    let all: Vec<Value> =
        own.filter(|token| asked_for(call, token)).map(|token| personal(token, &state)).collect();
    Ok(pagination::page(call, &all))
}

/// `GET|DELETE /personal_access_tokens/:id`, `POST …/rotate`: one's own, too.
pub(super) fn one_of_mine(gitlab: &GitLab, call: &Call<'_>, id: &str, rotate: bool) -> ApiResult {
    let caller =
        if rotate { rotating(gitlab, call, &["api"])? } else { call.sign_in(gitlab, call.usual_scopes())? };
    let mut state = gitlab.state();
    let own = |token: &&AccessToken| token.user == caller.user && token.id.to_string() == id;
    let token = state.access_tokens.iter().find(own).cloned().ok_or(Refusal::Unauthorized)?;
    match call.method.as_str() {
        "GET" => Ok(ok(&personal(&token, &state))),
        "DELETE" => end(&mut state, token.id).map(|()| no_content()),
        _ => rotated(&mut state, token.id, call, true),
    }
}

/// `GET /projects|groups/:id/access_tokens`.
pub(super) fn list(gitlab: &GitLab, call: &Call<'_>, kind: &str, id: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let state = gitlab.state();
    let place = managed(&state, &caller, kind, id)?;
    let of_place = state.access_tokens.iter().filter(|token| token.place == Some(place));
    let all: Vec<Value> =
        of_place.filter(|token| asked_for(call, token)).map(|token| token.json(&state)).collect();
    Ok(pagination::page(call, &all))
}

/// `GET|DELETE /projects|groups/:id/access_tokens/:token_id`.
pub(super) fn one(gitlab: &GitLab, call: &Call<'_>, kind: &str, id: &str, token: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let mut state = gitlab.state();
    if call.method == http::Method::DELETE {
        let place = visible_place(&state, caller.user, kind, id)?;
        if state.role(caller.user, place) < Some(least(place)) {
            return Err(cannot_delete(&state, caller.user, place, token));
        }
    }
    let place = managed(&state, &caller, kind, id)?;
    let missing = if kind == "projects" { "project Access Token" } else { "group Access Token" };
    let token = of_place(&state, place, token).ok_or(Refusal::NotFound(missing))?;
    if call.method == http::Method::DELETE {
        end(&mut state, token.id)?;
        return Ok(no_content());
    }
    Ok(ok(&token.json(&state)))
}

/// `POST /projects|groups/:id/access_tokens`. Only a person can make one.
pub(super) fn create(gitlab: &GitLab, call: &Call<'_>, kind: &str, id: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let wanted = asked(call)?;
    let mut state = gitlab.state();
    let place = visible_place(&state, caller.user, kind, id)?;
    let word = place.word();
    let bot = state.user(caller.user).is_none_or(|user| user.bot);
    let own = state.role(caller.user, place);
    let closed = !state.settings.paid || state.settings.enforces_fine_grained;
    if bot || closed || own < Some(least(place)) {
        let text = format!("User does not have permission to create {word} access token");
        return Err(Refusal::BadRequest(text));
    }
    let level = call.text("access_level").map_or(Some(40), |level| level.parse().ok());
    let role = level.and_then(Role::of_level);
    let role = role.ok_or_else(|| Refusal::Parameter("access_level does not have a valid value".into()))?;
    if Some(role) > own {
        let text = "Access level of the token contains permissions not held by the creating user";
        return Err(Refusal::BadRequest(text.into()));
    }
    if wanted
        .description
        .as_ref()
        .is_some_and(|text| text.chars().count() > state.settings.longest_description)
    {
        // The bot is there by now, and the database has no room for the token.
        let bot = state.add_user(&format!("{word}_{}_bot_left", place.id()), &wanted.name, true);
        state.set_role(bot, place, Some(role));
        let text = "500 Internal Server Error".to_owned();
        return Err(Refusal::Sentence(StatusCode::INTERNAL_SERVER_ERROR, text));
    }
    let made = state.add_resource_token(place, role, wanted);
    let made = made.map_err(|error| Refusal::BadRequest(error.to_string()))?;
    Ok(created(&with_value(&made, made.json(&state))))
}

/// `POST /projects|groups/:id/access_tokens/:token_id/rotate`.
pub(super) fn rotate(gitlab: &GitLab, call: &Call<'_>, kind: &str, id: &str, token: &str) -> ApiResult {
    let caller = rotating(gitlab, call, &["api"])?;
    let mut state = gitlab.state();
    let place = managed(&state, &caller, kind, id)?;
    let token = of_place(&state, place, token).ok_or(Refusal::Unauthorized)?;
    rotated(&mut state, token.id, call, false)
}

/// Who rotates. A token that was rotated already ends its successors by trying.
fn rotating(gitlab: &GitLab, call: &Call<'_>, scopes: &[&'static str]) -> Result<Caller, Refusal> {
    let caller = call.sign_in(gitlab, scopes);
    if matches!(caller, Err(Refusal::InvalidToken(super::errors::REVOKED)))
        && let Some(value) = auth::presented(call.headers)
    {
        let mut state = gitlab.state();
        let known = state.access_tokens.iter().find(|token| token.value == value).map(|token| token.id);
        if let Some(id) = known {
            state.revoke_family(id);
        }
    }
    caller
}

fn rotated(state: &mut State, id: u64, call: &Call<'_>, personal_shape: bool) -> ApiResult {
    if state.settings.enforces_fine_grained {
        let text = "Legacy tokens cannot be rotated: fine-grained personal access tokens are enforced";
        return Err(Refusal::BadRequest(text.into()));
    }
    let expires = expiry(call)?;
    let token = state.access_tokens.iter().find(|token| token.id == id).ok_or(Refusal::NoRecord)?;
    if token.revoked {
        state.revoke_family(id);
        return Err(Refusal::BadRequest("Token already revoked".into()));
    }
    let made = state.rotate(id, expires).map_err(|error| Refusal::BadRequest(error.to_string()))?;
    let json = if personal_shape { personal(&made, state) } else { made.json(state) };
    Ok(ok(&with_value(&made, json)))
}

fn end(state: &mut State, id: u64) -> Result<(), Refusal> {
    let token = state.access_tokens.iter_mut().find(|token| token.id == id).ok_or(Refusal::NoRecord)?;
    token.revoked = true;
    Ok(())
}

/// What `ResourceAccessTokens::RevokeService` says to who may not.
fn cannot_delete(state: &State, caller: u64, place: Place, id: &str) -> Refusal {
    let name = |user: u64| state.user(user).map_or_else(|| "somebody".to_owned(), |user| user.name.clone());
    let bot = of_place(state, place, id).map_or_else(|| "the token".to_owned(), |token| name(token.user));
    Refusal::BadRequest(format!("{} cannot delete {bot}", name(caller)))
}

fn of_place(state: &State, place: Place, id: &str) -> Option<AccessToken> {
    let fits = |token: &&AccessToken| token.place == Some(place) && token.id.to_string() == id;
    state.access_tokens.iter().find(fits).cloned()
}

/// A project's tokens are its Maintainers' affair, a group's its Owners'.
fn least(place: Place) -> Role {
    match place {
        Place::Project(_) => Role::Maintainer,
        Place::Group(_) => Role::Owner,
    }
}

fn managed(state: &State, caller: &Caller, kind: &str, id: &str) -> Result<Place, Refusal> {
    let place = visible_place(state, caller.user, kind, id)?;
    let custom = match place {
        Place::Project(_) => "manage_project_access_tokens",
        Place::Group(_) => "manage_group_access_tokens",
    };
    let may = state.settings.paid && allowed(state, caller.user, place, least(place), custom).is_ok();
    if may { Ok(place) } else { Err(Refusal::Unauthorized) }
}

fn asked(call: &Call<'_>) -> Result<Wanted, Refusal> {
    let name = call.required("name")?;
    let scopes = call.list("scopes");
    if scopes.is_empty() {
        return Err(Refusal::Parameter("scopes is missing".into()));
    }
    if scopes.iter().any(|scope| !RESOURCE_SCOPES.contains(&scope.as_str())) {
        return Err(Refusal::Parameter("scopes does not have a valid value".into()));
    }
    let expires = expiry(call)?;
    if expires.is_none() {
        return Err(Refusal::BadRequest("Expires at can't be blank".into()));
    }
    Ok(Wanted { name, description: call.text("description"), scopes, expires })
}

fn expiry(call: &Call<'_>) -> Result<Option<Date>, Refusal> {
    let Some(text) = call.text("expires_at") else { return Ok(None) };
    let day: Date = text.parse().map_err(|_| Refusal::Parameter("expires_at is invalid".into()))?;
    let latest = super::access_tokens::in_days(LONGEST_DAYS);
    if day < today() || latest.is_some_and(|latest| day > latest) {
        let fields = json!({ "expires_at": [format!("must be before {}", latest.unwrap_or(day))] });
        return Err(Refusal::Validation(StatusCode::BAD_REQUEST, fields));
    }
    Ok(Some(day))
}

fn asked_for(call: &Call<'_>, token: &AccessToken) -> bool {
    match call.text("state").as_deref() {
        Some("active") => token.is_active(),
        Some("inactive") => !token.is_active(),
        _ => call.switch("revoked").is_none_or(|revoked| revoked == token.revoked),
    }
}

/// The endpoints of personal tokens say nothing of a place.
fn personal(token: &AccessToken, state: &State) -> Value {
    AccessToken { place: None, ..token.clone() }.json(state)
}

fn with_value(token: &AccessToken, mut json: Value) -> Value {
    json["token"] = json!(token.value);
    json
}

#[cfg(test)]
mod tests {
    use super::super::in_days;
    use super::super::testing::Played;
    use super::*;

    const PROJECT: &str = "/projects/platform%2Ffleet/access_tokens";

    #[test]
    fn a_token_says_what_it_is_and_why_it_is_refused() {
        let played = Played::new();
        let gitlab = &played.gitlab;
        let token =
            gitlab.new_resource_token("platform/fleet", "flux", &["read_repository"], Role::Developer, None);
        let token = token.unwrap();
        let known = played.get("/personal_access_tokens/self", &token.value);
        assert_eq!((known.status, &known.body["scopes"]), (200, &json!(["read_repository"])));
        assert!(known.body.get("token").is_none());
        let scope = played.get("/projects/platform%2Ffleet", &token.value);
        assert_eq!((scope.status, &scope.body["scope"]), (403, &json!("api read_api")));
        gitlab.change_access_token(token.id, |token| token.expires = in_days(0)).unwrap();
        let expired = played.get("/personal_access_tokens/self", &token.value);
        assert_eq!((expired.status, &expired.body["error"]), (401, &json!("invalid_token")));
        gitlab.revoke(&token.value).unwrap();
        let revoked = played.get("/personal_access_tokens/self", &token.value).body;
        assert!(revoked["error_description"].as_str().unwrap().starts_with("Token was revoked"));
        let deploy = gitlab.new_deploy_token("platform/fleet", &["read_repository"]).unwrap().1;
        assert_eq!(played.get("/personal_access_tokens/self", &deploy).body["message"], "401 Unauthorized");
    }

    #[test]
    fn a_project_token_has_a_bot_and_only_people_make_one() {
        let played = Played::new();
        let owner = played.owner();
        let expires = in_days(30).unwrap().to_string();
        let body = json!({ "name": "flux", "scopes": ["api"], "access_level": 30, "expires_at": expires });
        let made = played.ask("POST", PROJECT, &owner, &body);
        assert_eq!((made.status, &made.body["access_level"]), (201, &json!(30)));
        let value = made.body["token"].as_str().unwrap();
        let bot = played.get("/user", value).body;
        assert!(bot["bot"] == true && bot["username"].as_str().unwrap().starts_with("project_41_bot_"));
        let again = played.ask("POST", PROJECT, value, &body);
        assert_eq!(
            again.body["message"],
            "400 Bad request - User does not have permission to create project access token"
        );
        let endless = played.ask("POST", PROJECT, &owner, &json!({ "name": "x", "scopes": ["api"] }));
        assert_eq!(endless.status, 400);
        let unknown = played.ask("POST", PROJECT, &owner, &json!({ "name": "x", "scopes": ["root"] }));
        assert_eq!(unknown.body["error"], "scopes does not have a valid value");
        assert_eq!(played.get(PROJECT, value).status, 401, "a Developer does not see them");
        let one = format!("{PROJECT}/{}", made.body["id"]);
        assert_eq!(played.ask("DELETE", &one, &owner, &Value::Null).status, 204);
        assert_eq!(played.get(&format!("{PROJECT}?state=active"), &owner).body, json!([]));
        assert_eq!(
            played.get(&format!("{PROJECT}/1"), &owner).body["message"],
            "404 project Access Token Not Found"
        );
    }

    #[test]
    fn a_rotated_token_that_rotates_again_ends_its_successor() {
        let played = Played::new();
        let token =
            played.gitlab.new_personal_token(played.gitlab.person(), "me", &["self_rotate"], in_days(90));
        let old = token.unwrap().value;
        let rotate =
            |value: &str| played.ask("POST", "/personal_access_tokens/self/rotate", value, &Value::Null);
        let made = rotate(&old);
        assert_eq!((made.status, &made.body["expires_at"]), (200, &json!(in_days(7).unwrap().to_string())));
        let new = made.body["token"].as_str().unwrap();
        assert_eq!(played.get("/personal_access_tokens/self", new).status, 200);
        assert_eq!(rotate(&old).status, 401);
        assert_eq!(played.get("/personal_access_tokens/self", new).status, 401, "the family is revoked");
    }

    #[test]
    fn an_owner_rotates_the_token_of_a_group() {
        let played = Played::new();
        let owner = played.owner();
        let old =
            played.gitlab.new_resource_token("platform", "g", &["api"], Role::Developer, in_days(9)).unwrap();
        let path = format!("/groups/platform/access_tokens/{}/rotate", old.id);
        let made = played.ask("POST", &path, &owner, &Value::Null);
        assert_eq!((made.status, &made.body["resource_type"]), (200, &json!("group")));
        let again = played.ask("POST", &path, &owner, &Value::Null);
        assert_eq!(
            (again.status, &again.body["message"]),
            (400, &json!("400 Bad request - Token already revoked"))
        );
        let far = json!({ "expires_at": "2999-01-01" });
        let path = format!("/groups/platform/access_tokens/{}/rotate", made.body["id"]);
        assert!(played.ask("POST", &path, &owner, &far).body["message"]["expires_at"].is_array());
    }
}

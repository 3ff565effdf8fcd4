//! Lists in pages: by number with totals, or by key where GitLab offers that.

use http::HeaderValue;
use http::header::{HeaderName, LINK};
use serde_json::Value;

use super::call::Call;
use super::errors::ok;
use super::server::WholeResponse;

const DEFAULT: usize = 20;
const MOST: usize = 100;

/// One page of a list, with the headers that lead to the others.
pub(super) fn page(call: &Call<'_>, all: &[Value]) -> WholeResponse {
    if call.text("pagination").as_deref() == Some("keyset") {
        return keyset(call, all);
    }
    let size = size(call);
    let number = number(call, "page").unwrap_or(1).max(1);
    let pages = all.len().div_ceil(size).max(1);
    let shown: Vec<Value> = all.iter().skip((number - 1) * size).take(size).cloned().collect();
    let mut response = ok(&Value::from(shown));
    let or_empty = |at: Option<usize>| at.map_or_else(String::new, |at| at.to_string());
    let next = (number < pages).then_some(number + 1);
    let before = (number > 1).then(|| number - 1);
    let link = |to: usize, rel: &str| {
        let to = call.url_with(&[("page", &to.to_string()), ("per_page", &size.to_string())]);
        format!("<{to}>; rel=\"{rel}\"")
    };
    let mut links: Vec<String> = before.map(|to| link(to, "prev")).into_iter().collect();
    links.extend(next.map(|to| link(to, "next")));
    links.extend([link(1, "first"), link(pages, "last")]);
    for (name, value) in [
        ("x-page", number.to_string()),
        ("x-per-page", size.to_string()),
        ("x-next-page", or_empty(next)),
        ("x-prev-page", or_empty(before)),
        ("x-total", all.len().to_string()),
        ("x-total-pages", pages.to_string()),
        ("link", links.join(", ")),
    ] {
        insert(&mut response, name, &value);
    }
    response
}

/// By the number of the last item seen (`id_after`), with no totals.
fn keyset(call: &Call<'_>, all: &[Value]) -> WholeResponse {
    let after = number(call, "id_after").unwrap_or(0) as u64;
    let mut rest: Vec<Value> = all.iter().filter(|item| item["id"].as_u64() > Some(after)).cloned().collect();
    rest.sort_by_key(|item| item["id"].as_u64());
    let size = size(call);
    let more = rest.len() > size;
    rest.truncate(size);
    let last = rest.last().and_then(|item| item["id"].as_u64());
    let mut response = ok(&Value::from(rest));
    if let (true, Some(last)) = (more, last) {
        let to = call.url_with(&[("id_after", &last.to_string()), ("per_page", &size.to_string())]);
        insert(&mut response, LINK.as_str(), &format!("<{to}>; rel=\"next\""));
    }
    response
}

fn size(call: &Call<'_>) -> usize {
    number(call, "per_page").unwrap_or(DEFAULT).clamp(1, MOST)
}

fn number(call: &Call<'_>, name: &str) -> Option<usize> {
    call.text(name)?.parse().ok()
}

fn insert(response: &mut WholeResponse, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt as _;
    use hyper::body::Bytes;
    use serde_json::json;

    use super::*;

    fn shown(uri: &str, all: &[Value]) -> (WholeResponse, usize) {
        let request = Request::get(uri).body(Bytes::new()).unwrap();
        let response = page(&Call::new(&request, "https://gitlab", uri.split('?').next().unwrap()), all);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(response.body().clone().collect()).unwrap().to_bytes();
        let items: Vec<Value> = serde_json::from_slice(&body).unwrap();
        (response, items.len())
    }

    #[test]
    fn pages_lead_to_each_other() {
        let all: Vec<Value> = (1..=250).map(|id| json!({ "id": id })).collect();
        let (first, count) = shown("/x?per_page=1000", &all);
        assert_eq!((count, &first.headers()["x-next-page"]), (100, &HeaderValue::from_static("2")));
        assert_eq!(first.headers()["x-total-pages"], "3");
        let (last, count) = shown("/x?per_page=100&page=3", &all);
        assert_eq!((count, &last.headers()["x-next-page"]), (50, &HeaderValue::from_static("")));
        assert!(last.headers()[LINK].to_str().unwrap().contains("rel=\"prev\""));
    }

    #[test]
    fn keys_lead_to_the_rest_without_totals() {
        let all: Vec<Value> = (1..=30).map(|id| json!({ "id": id })).collect();
        let (first, count) = shown("/x?pagination=keyset&per_page=20", &all);
        assert_eq!(count, 20);
        assert!(first.headers()[LINK].to_str().unwrap().contains("id_after=20"));
        assert!(!first.headers().contains_key("x-total"));
        let (last, count) = shown("/x?pagination=keyset&per_page=20&id_after=20", &all);
        assert!(count == 10 && !last.headers().contains_key(LINK));
    }
}

//! What credentials look like: tokens by their prefix, JWTs, keys, and what stands where a credential stands.

use std::ops::Range;
use std::sync::LazyLock;

use daachorse::DoubleArrayAhoCorasick;

use super::{keyed, url};

/// The signs of a credential, in lower case, each with what to make of it.
const SIGNS: &[(&str, Rule)] = &[
    // GitLab, "Token overview": token prefixes.
    ("glagent-", Rule::Token),
    ("glcbt-", Rule::Token),
    ("gldt-", Rule::Token),
    ("glffct-", Rule::Token),
    ("glft-", Rule::Token),
    ("glimt-", Rule::Token),
    ("gloas-", Rule::Token),
    ("glpat-", Rule::Token),
    ("glptt-", Rule::Token),
    ("glrt-", Rule::Token),
    ("glrtr-", Rule::Token),
    ("glsoat-", Rule::Token),
    ("glwt-", Rule::Token),
    ("gr1348941", Rule::Token),
    ("_gitlab_session=", Rule::Token),
    // Others, as their documents name them.
    ("github_pat_", Rule::Token),
    ("ghp_", Rule::Token),
    ("gho_", Rule::Token),
    ("ghu_", Rule::Token),
    ("ghs_", Rule::Token),
    ("ghr_", Rule::Token),
    ("xoxb-", Rule::Token),
    ("xoxp-", Rule::Token),
    ("xoxa-", Rule::Token),
    ("xoxr-", Rule::Token),
    ("xapp-", Rule::Token),
    ("sk_live_", Rule::Token),
    ("rk_live_", Rule::Token),
    ("npm_", Rule::Token),
    ("dckr_pat_", Rule::Token),
    ("hvs.", Rule::Token),
    ("hvb.", Rule::Token),
    ("hvr.", Rule::Token),
    ("ya29.", Rule::Token),
    ("whsec_", Rule::Token),
    ("pypi-", Rule::Token),
    ("hf_", Rule::Token),
    ("dop_v1_", Rule::Token),
    ("shpat_", Rule::Token),
    ("age-secret-key-1", Rule::Token),
    ("aiza", Rule::Token),
    ("akia", Rule::AccessKey),
    ("asia", Rule::AccessKey),
    ("eyj", Rule::Jwt),
    ("-----begin ", Rule::Pem),
    ("hook/", Rule::Hook),
    ("webhookpath", Rule::HookPath),
    ("webhook_path", Rule::HookPath),
    ("webhook-path", Rule::HookPath),
    ("://", Rule::Url),
    ("@", Rule::Login),
    // Hosts of chats, whose addresses are credentials, also without a scheme.
    ("hooks.slack.com/", Rule::Chat),
    ("discord.com/api/webhooks/", Rule::Chat),
    ("discordapp.com/api/webhooks/", Rule::Chat),
    ("webhook.office.com/", Rule::Chat),
    ("outlook.office.com/webhook", Rule::Chat),
    ("logic.azure.com", Rule::Chat),
    ("api.powerplatform.com", Rule::Chat),
    ("chat.googleapis.com/", Rule::Chat),
    ("api.telegram.org/bot", Rule::Chat),
    ("open.feishu.cn/open-apis/bot/", Rule::Chat),
    ("open.larksuite.com/open-apis/bot/", Rule::Chat),
    ("oapi.dingtalk.com/robot/", Rule::Chat),
    ("qyapi.weixin.qq.com/", Rule::Chat),
    ("webexapis.com/v1/webhooks/", Rule::Chat),
    ("hooks.zapier.com/", Rule::Chat),
    ("events.pagerduty.com/integration/", Rule::Chat),
    ("maker.ifttt.com/trigger/", Rule::Chat),
    // Headers and settings.
    ("authorization", Rule::Authorization),
    ("bearer ", Rule::Scheme),
    ("basic ", Rule::Scheme),
    ("cookie", Rule::Header),
    ("private-token", Rule::Header),
    ("job-token", Rule::Header),
    ("deploy-token", Rule::Header),
    ("x-gitlab-token", Rule::Header),
    ("x-api-key", Rule::Header),
    ("x-auth-token", Rule::Header),
    ("access_token", Rule::Setting),
    ("access-token", Rule::Setting),
    ("accesstoken", Rule::Setting),
    ("api-key", Rule::Setting),
    ("api_key", Rule::Setting),
    ("apikey", Rule::Setting),
    ("client-secret", Rule::Setting),
    ("client_secret", Rule::Setting),
    ("clientsecret", Rule::Setting),
    ("credential", Rule::Setting),
    ("passphrase", Rule::Setting),
    ("passwd", Rule::Setting),
    ("password", Rule::Setting),
    ("private_key", Rule::Setting),
    ("private_token", Rule::Setting),
    ("privatekey", Rule::Setting),
    ("pwd", Rule::Setting),
    ("secret", Rule::Setting),
    ("secret-access-key", Rule::Setting),
    ("secret_access_key", Rule::Setting),
    ("secret_key", Rule::Setting),
    ("secretaccesskey", Rule::Setting),
    ("secretkey", Rule::Setting),
    ("signature", Rule::Setting),
    ("token", Rule::Setting),
    ("\"auth\"", Rule::Setting),
    // Parts of such names: what stands behind them counts only where it looks random.
    ("auth", Rule::Part),
    ("bearer", Rule::Part),
    ("hmac", Rule::Part),
    ("key", Rule::Part),
    ("pass", Rule::Part),
    ("sessid", Rule::Part),
    ("session", Rule::Part),
    ("sessionid", Rule::Part),
    ("sid", Rule::Part),
    ("sig", Rule::Part),
    ("-p", Rule::Flag),
    ("-u", Rule::User),
    ("--user ", Rule::User),
    ("--user=", Rule::User),
];

#[derive(Clone, Copy)]
enum Rule {
    Token,
    AccessKey,
    Jwt,
    Pem,
    Hook,
    HookPath,
    Url,
    Login,
    Chat,
    Authorization,
    Scheme,
    Header,
    Setting,
    Part,
    Flag,
    User,
}

/// So many hexadecimal digits are taken for the digest of a webhook's path.
const DIGEST: usize = 16;

static AUTOMATON: LazyLock<DoubleArrayAhoCorasick<Rule>> = LazyLock::new(|| {
    DoubleArrayAhoCorasick::with_values(SIGNS.iter().copied()).expect("a table of this file")
});

/// The text that is looked at, and the ends of runs in it, each found once.
pub(super) struct Text<'t> {
    pub(super) bytes: &'t [u8],
    ends: [(usize, usize); 10],
    pub(super) last_at: (usize, Option<usize>),
    work: u64,
}

/// What a run goes on to.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// A space, a quotation mark or what else ends a URL in a text.
    UrlEnd,
    /// `/`, `?`, `#` or the end of a URL.
    Authority,
    /// `?`, `#` or the end of a URL.
    Path,
    /// The end of the line.
    Line,
    /// A space or a quotation mark.
    Word,
    /// `]`
    Bracket,
    /// `"`
    Double,
    /// `'`
    Single,
    /// A space, a quotation mark or `&`.
    Parameter,
    /// What is no letter of base64.
    Letters,
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-".contains(&byte)
}

fn ends_url(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"\"'<>`".contains(&byte)
}

impl Until {
    fn is(self, byte: u8) -> bool {
        match self {
            Self::UrlEnd => ends_url(byte),
            Self::Authority => ends_url(byte) || b"/?#".contains(&byte),
            Self::Path => ends_url(byte) || b"?#".contains(&byte),
            Self::Line => byte == b'\n' || byte == b'\r',
            Self::Word => byte.is_ascii_whitespace() || b"\"'`".contains(&byte),
            Self::Bracket => byte == b']',
            Self::Double => byte == b'"',
            Self::Single => byte == b'\'',
            Self::Parameter => byte == b'&' || Self::Word.is(byte),
            Self::Letters => !is_letter(byte),
        }
    }
}

impl Text<'_> {
    /// Where the run that goes on at `from` ends. Within one run the end is looked for once.
    pub(super) fn end(&mut self, from: usize, until: Until) -> usize {
        let known = &mut self.ends[until as usize];
        if known.0 <= from && from <= known.1 {
            return known.1;
        }
        let rest = self.bytes.get(from..).unwrap_or_default();
        let end = from + rest.iter().position(|byte| until.is(*byte)).unwrap_or(rest.len());
        self.work += (end - from) as u64;
        *known = (from, end);
        end
    }

    fn run(&mut self, from: usize, of: fn(&u8) -> bool) -> usize {
        let length = self.bytes[from..].iter().take_while(|byte| of(byte)).count();
        self.work += length as u64;
        from + length
    }

    /// The beginning of a part, which is enough to tell what it is.
    pub(super) fn beginning(&self, part: Range<usize>) -> &str {
        const ENOUGH: usize = 256;
        let part = self.bytes.get(part).unwrap_or_default();
        let part = &part[..part.len().min(ENOUGH)];
        // Cut within a letter, or no text at all: then it is no word.
        std::str::from_utf8(part).unwrap_or("no word 1")
    }
}

/// Gives each part of a text that looks like a credential; returns how many bytes were looked at.
pub(super) fn each(bytes: &[u8], found: &mut dyn FnMut(Range<usize>)) -> u64 {
    let mut text = Text { bytes, ends: [(1, 0); 10], last_at: (0, None), work: bytes.len() as u64 };
    let mut done = 0;
    let lower = bytes.iter().map(u8::to_ascii_lowercase);
    for found_sign in AUTOMATON.find_overlapping_no_suffix_iter_from_iter(lower) {
        let (sign, rule) = (found_sign.start()..found_sign.end(), found_sign.value());
        // What stands inside a credential is looked at once. A URL keeps its own ends.
        if sign.start < done && !matches!(rule, Rule::Url | Rule::Login | Rule::Chat) {
            continue;
        }
        let mut give = |part: Range<usize>| {
            if !bytes[part.clone()].iter().all(|byte| *byte == b'*') {
                done = done.max(part.end);
                found(part);
            }
        };
        apply(rule, &mut text, sign, &mut give);
    }
    text.work
}

fn apply(rule: Rule, text: &mut Text<'_>, sign: Range<usize>, give: &mut dyn FnMut(Range<usize>)) {
    let part = match rule {
        Rule::Token => token(text, &sign),
        Rule::AccessKey => access_key(text.bytes, &sign),
        Rule::Jwt => jwt(text, &sign),
        Rule::Pem => pem(text, &sign),
        Rule::Hook => hook(text, &sign),
        Rule::HookPath => hook_path(text, &sign),
        Rule::Url => return url::parts(text, sign.end, give),
        Rule::Login => url::login(text, sign.start),
        Rule::Chat => Some(sign.end..text.end(sign.end, Until::UrlEnd)),
        Rule::Authorization => keyed::authorization(text, &sign),
        Rule::Scheme => keyed::scheme(text, &sign),
        Rule::Header => keyed::value(text, &sign, true).or_else(|| keyed::random(text, &sign)),
        Rule::Setting => keyed::value(text, &sign, false).or_else(|| keyed::random(text, &sign)),
        Rule::Part => keyed::random(text, &sign),
        Rule::Flag => keyed::flag(text, &sign),
        Rule::User => keyed::user(text, &sign),
    };
    if let Some(part) = part {
        give(part);
    }
}

/// Letters and something else, so no word of a language.
pub(super) fn is_opaque(text: &str) -> bool {
    let bytes = text.as_bytes();
    let lower = bytes.iter().any(u8::is_ascii_lowercase);
    let upper = bytes.iter().skip(1).any(u8::is_ascii_uppercase);
    let digits = bytes.iter().any(u8::is_ascii_digit);
    let others = bytes.iter().any(|byte| b"!$%^&*~|;{}#@+=".contains(byte));
    let letters = lower || bytes.iter().any(u8::is_ascii_uppercase);
    letters && (digits || others || (lower && upper)) && bytes.len() >= 6
}

fn is_token_letter(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(byte)
}

/// A token with a prefix. An instance may put another one before it. Object names are no tokens.
fn token(text: &mut Text<'_>, sign: &Range<usize>) -> Option<Range<usize>> {
    let mut end = text.run(sign.end, is_token_letter);
    while end > sign.end && text.bytes[end - 1] == b'.' {
        end -= 1;
    }
    let length = end - sign.end;
    let body = text.beginning(sign.end..end);
    let begins = sign.start.checked_sub(1).is_none_or(|before| !text.bytes[before].is_ascii_alphanumeric());
    let opaque = is_opaque(body) || body.bytes().any(|byte| byte.is_ascii_digit());
    let long = if begins { 8 } else { 16 };
    ((length >= long && opaque) || length >= 20).then_some(sign.start..end)
}

/// The id of an access key of AWS: 20 capital letters and digits.
fn access_key(bytes: &[u8], sign: &Range<usize>) -> Option<Range<usize>> {
    const LENGTH: usize = 20;
    let capital = |byte: &&u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let length = bytes[sign.start..].iter().take(LENGTH + 1).take_while(capital).count();
    (length == LENGTH).then_some(sign.start..sign.start + LENGTH)
}

/// A JSON Web Token: two or more parts in base64, of which the first is a JSON object.
fn jwt(text: &mut Text<'_>, sign: &Range<usize>) -> Option<Range<usize>> {
    let first = text.end(sign.start, Until::Letters);
    if !text.bytes[sign.start..].starts_with(b"eyJ") || text.bytes.get(first) != Some(&b'.') {
        return None;
    }
    let second = text.end(first + 1, Until::Letters);
    let end = text.run(first + 1, |byte| is_letter(*byte) || b".=".contains(byte));
    (first - sign.start >= 10 && (second - first > 8 || end - first > 16)).then_some(sign.start..end)
}

/// The body of a private key, to its end line or that of the text.
fn pem(text: &mut Text<'_>, sign: &Range<usize>) -> Option<Range<usize>> {
    const NAME: usize = 40;
    let rest = &text.bytes[sign.end..];
    let dashes = rest.iter().take(NAME).position(|byte| *byte == b'-')?;
    let name = &rest[..dashes];
    name.windows(7).any(|word| word.eq_ignore_ascii_case(b"private")).then_some(())?;
    let begin = text.run(sign.end + dashes, |byte| *byte == b'-');
    let body = text.run(begin, |byte| byte.is_ascii_alphanumeric() || b"+/=\r\n\t \\,:-".contains(byte));
    let end =
        text.bytes[begin..body].windows(8).position(|word| word == b"-----END").map_or(body, |at| begin + at);
    Some(begin..end)
}

/// The digest of a Receiver's webhook path, without the path, behind the name of that field.
fn hook_path(text: &mut Text<'_>, sign: &Range<usize>) -> Option<Range<usize>> {
    const BETWEEN: &[u8] = b" :=\"'\\[(is";
    let gap = text.bytes[sign.end..].iter().take(8).take_while(|byte| BETWEEN.contains(byte)).count();
    let start = sign.end + gap;
    let end = text.run(start, u8::is_ascii_hexdigit);
    (end - start >= DIGEST).then_some(start..end)
}

/// The path of a Flux Receiver: whoever knows it can use it. Without the slash before it, it is only told by its digest.
fn hook(text: &mut Text<'_>, sign: &Range<usize>) -> Option<Range<usize>> {
    let gap = text.bytes[sign.end..].iter().take(4).take_while(|byte| byte.is_ascii_whitespace()).count();
    let digest = text.run(sign.end + gap, u8::is_ascii_hexdigit);
    if digest - sign.end - gap >= DIGEST {
        return Some(sign.end + gap..digest);
    }
    if text.bytes[sign.end..].starts_with(super::MASK.as_bytes()) {
        return None;
    }
    let rooted = sign.start.checked_sub(1).is_some_and(|before| b"/\\".contains(&text.bytes[before]));
    let end = text.end(sign.end, Until::UrlEnd);
    let end = keyed::trimmed(text.bytes, sign.end, end);
    (rooted && end > sign.end).then_some(sign.end..end)
}

//! Any value, in any encoding, in any text: nothing of it is left. And the cost is linear.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;

fn hex(text: &str, write: impl Fn(u8) -> String) -> String {
    text.bytes().map(write).collect()
}

fn json(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("a string");
    quoted[1..quoted.len() - 1].to_owned()
}

fn some(text: &str, plain: impl Fn(char) -> bool, write: impl Fn(u8) -> String) -> String {
    let one = |c: char| if plain(c) { c.to_string() } else { hex(&c.to_string(), &write) };
    text.chars().map(one).collect()
}

/// Quoted-printable (RFC 2045, section 6.7): all that is not a printable ASCII character, and `=`.
fn quoted_printable(text: &str) -> String {
    some(text, |c| c.is_ascii_graphic() && c != '=' || c == ' ', |b| format!("={b:02X}"))
}

/// The text in lines of ten characters, none of which cuts an escape.
fn soft_lines(text: &str, end: &str) -> String {
    let mut out = String::new();
    let mut line = 0;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let unit = if c == '=' { 3 } else { c.len_utf8() };
        if line + unit > 10 {
            out.push_str(end);
            line = 0;
        }
        out.push_str(&rest[..unit]);
        line += unit;
        rest = &rest[unit..];
    }
    out
}

type Encoding = (&'static str, fn(&str) -> String);

/// The encodings that were ever seen in a log, and some that were not.
const ENCODINGS: &[Encoding] = &[
    ("raw", |t| t.to_owned()),
    ("base64", |t| STANDARD.encode(t)),
    ("base64 without padding", |t| STANDARD_NO_PAD.encode(t)),
    ("base64 for URLs", |t| URL_SAFE.encode(t)),
    ("base64 for URLs without padding", |t| URL_SAFE_NO_PAD.encode(t)),
    ("base64 at offset 1", |t| STANDARD.encode(format!(":{t}:"))),
    ("base64 at offset 2", |t| URL_SAFE_NO_PAD.encode(format!("u:{t}:x"))),
    ("base64 in lines", |t| {
        let long = STANDARD.encode(format!("{}{t}", "{".repeat(60)));
        long.as_bytes()
            .chunks(76)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }),
    ("hex", |t| hex(t, |b| format!("{b:02x}"))),
    ("hex in capitals", |t| hex(t, |b| format!("{b:02X}"))),
    ("hex with colons", |t| t.bytes().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")),
    ("Go's bytes", |t| format!("{:?}", t.as_bytes()).replace(',', "")),
    ("a list of numbers", |t| serde_json::to_string(t.as_bytes()).expect("a list")),
    ("a list of numbers, one a line", |t| serde_json::to_string_pretty(t.as_bytes()).expect("a list")),
    ("hex with colons behind a word", |t| {
        format!("tok{}", t.bytes().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":"))
    }),
    ("Go's syntax", |t| t.bytes().map(|b| format!("0x{b:02x}")).collect::<Vec<_>>().join(", ")),
    ("percent of all", |t| hex(t, |b| format!("%{b:02X}"))),
    ("percent", |t| some(t, |c| c.is_ascii_alphanumeric(), |b| format!("%{b:02x}"))),
    ("form", |t| some(t, |c| c.is_ascii_alphanumeric(), |b| format!("%{b:02X}")).replace("%20", "+")),
    ("JSON", json),
    ("JSON with \\/", |t| json(t).replace('/', "\\/")),
    ("JSON for HTML", |t| json(t).replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")),
    ("JSON in ASCII", |t| t.encode_utf16().map(|u| format!("\\u{u:04x}")).collect()),
    ("JSON in JSON", |t| json(&json(t))),
    ("JSON in a URL", |t| some(&json(t), |c| c.is_ascii_alphanumeric(), |b| format!("%{b:02X}"))),
    ("percent twice", |t| some(t, |c| c.is_ascii_alphanumeric(), |b| format!("%25{b:02X}"))),
    ("hex escapes", |t| hex(t, |b| format!("\\x{b:02x}"))),
    ("octal escapes", |t| hex(t, |b| format!("\\{b:03o}"))),
    ("Rust", |t| t.escape_debug().to_string()),
    ("Rust in Unicode", |t| t.escape_unicode().to_string()),
    ("shell", |t| {
        some(t, |c| c.is_ascii_alphanumeric() || !c.is_ascii(), |b| format!("\\{}", char::from(b)))
    }),
    ("XML", |t| {
        t.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
    }),
    ("base64 of JSON", |t| STANDARD.encode(format!("{{\"password\":\"{}\"}}", json(t)))),
    ("base64 of base64", |t| STANDARD.encode(STANDARD.encode(t))),
    ("JSON of base64 of a login", |t| {
        format!("\\\"auth\\\":\\\"{}\\\"", STANDARD.encode(format!("user:{t}")))
    }),
    ("quoted-printable", quoted_printable),
    ("quoted-printable in lines", |t| soft_lines(&quoted_printable(t), "=\r\n")),
    ("quoted-printable in JSON", |t| json(&soft_lines(&quoted_printable(t), "=\n"))),
    ("quoted-printable of base64", |t| quoted_printable(&STANDARD.encode(t))),
    ("base64 in soft lines", |t| soft_lines(&quoted_printable(&STANDARD.encode(t)), "=\n")),
];

/// Nothing of six letters of what was written is left.
fn is_gone(written: &str, masked: &str, around: &str) -> bool {
    let letters: Vec<char> = written.chars().collect();
    // The last letters of base64 hold bits of what stands beside the value.
    let inner = letters.get(4..letters.len().saturating_sub(6)).unwrap_or_default();
    let parts = inner.windows(6).map(|part| part.iter().collect::<String>());
    parts.filter(|part| !around.contains(part.as_str())).all(|part| !masked.contains(&part))
}

/// Values that are in none of the texts.
fn other() -> Values {
    let mut values = Values::default();
    values.add("password", b"another-value-altogether");
    values
}

fn value() -> impl Strategy<Value = String> {
    let letters = "[!-~ äß€😀+/%\\\\\"'&<=:]";
    prop_oneof![
        4 => proptest::string::string_regex(&format!("[!-~]{letters}{{10,60}}[!-~]")).expect("a pattern"),
        2 => "[a-zA-Z0-9]{8,40}",
        1 => "[a-z]{3}[0-9]{2}[a-z]{0,2}",
        1 => "[a-z]{4,6}[0-9] [a-z]{4,6}",
    ]
}

fn surrounding() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[ -~\\n]{0,30}",
        Just("\\n".to_owned()),
        Just("\\u003d".to_owned()),
        Just("%3A".to_owned()),
        "\\PC{0,10}"
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_known_value_is_left_in_no_encoding(value in value(), before in surrounding(), after in surrounding()) {
        let mut values = Values::default();
        values.add("password", value.as_bytes());
        let masker = Masker::new(&values);
        for (name, encode) in ENCODINGS {
            let written = encode(value.trim());
            // A short value counts as a word; letters beside base64 and escapes are part of them.
            let (before, after) = (format!("{before} "), format!(" {after}"));
            let text = format!("{before}{written}{after}");
            let masked = masker.free_text(&text);
            // Quotes around a value are no part of it.
            let quotes = [":", "\"", "'"].map(encode).join("|");
            let around = format!("{before}|{after}|{MASK}|{quotes}");
            prop_assert!(masked.contains(MASK), "{name}: {text:?}");
            prop_assert!(is_gone(&written, &masked, &around) || written.len() < 16, "{name}: {text:?} -> {masked:?}");
            prop_assert!(!masked.contains(&written), "{name}: {text:?} -> {masked:?}");
        }
    }

    #[test]
    fn a_long_value_is_left_beside_no_other_text(value in "[a-zA-Z0-9/$&'\"]{12,40}", before in "[ -~]{0,20}", after in "[ -~]{0,20}") {
        let mut values = Values::default();
        values.add("data", value.as_bytes());
        let masker = Masker::new(&values);
        for text in [format!("{before}{value}{after}"), json(&format!("{before}{value}{after}"))] {
            prop_assert!(!masker.free_text(&text).contains(&value), "{text:?}");
        }
        let text = STANDARD.encode(format!("{before}{value}{after}"));
        let masked = masker.free_text(&text);
        let decoded = STANDARD.decode(masked.replace(MASK, "AAAA")).unwrap_or_default();
        prop_assert!(masked != text && !String::from_utf8_lossy(&decoded).contains(&value), "{text:?}");
    }

    #[test]
    fn a_login_in_base64_that_was_cut_off_shows_nothing_of_the_password(
        user in r"[a-z][a-z0-9._@+$%/\\-]{0,12}",
        password in prop_oneof!["[a-z]{4,9}[ -][a-z]{4,9}-[a-z]{4,9}", "[!-.0-~][!-~]{12,40}", "[a-zß€😀]{8,20}"],
        shown in 1_usize..40,
    ) {
        let login = format!("{user}:{password}");
        let letters = STANDARD_NO_PAD.encode(&login);
        // At least the colon and one letter of the password stand in it.
        let from = (user.len() + 2) * 8 / 6 + 1;
        let cut = &letters[..(from + shown).min(letters.len()).max(8)];
        let long = "time=2026-01-01 level=error msg=failed ".repeat(6);
        for text in [
            format!("Authorization: Basic {cut}..."),
            format!("it says {cut}... and"),
            format!("it says {cut}… and"),
            format!("{{\"auth\":\"{cut}...\"}}"),
            format!("auth%3D{cut}..."),
            format!("{long}{cut}"),
            format!("{long}{cut}\nanother line"),
            format!("a \\\"{cut}...\\\" b"),
        ] {
            for masked in [free_text(&text), Masker::new(&other()).known_values(&text).unwrap_or_default()] {
                let kept = &cut[..(user.len() + 1) * 8 / 6 + 1];
                prop_assert!(!masked.contains(&cut[..kept.len() + 1]), "{text}: {masked}");
                prop_assert!(masked.contains(MASK), "{text}: {masked}");
            }
        }
    }

    #[test]
    fn each_line_of_a_value_is_masked(lines in proptest::collection::vec("[A-Za-z0-9+/]{16,64}", 2..6)) {
        let mut values = Values::default();
        values.add("identity", lines.join("\n").as_bytes());
        let masker = Masker::new(&values);
        for line in &lines {
            let masked = masker.free_text(&format!("bad line {line}"));
            prop_assert!(!masked.contains(line.as_str()));
        }
        for end in ["\n", "\r\n", "\\n", "\\r\\n", " "] {
            prop_assert_eq!(masker.free_text(&format!("key: {}.", lines.join(end))).matches(MASK).count(), 1);
        }
    }
}

/// Twice the values and twice the text are at most so much more work.
#[test]
fn the_cost_is_linear() {
    let work = |size: usize| {
        let mut values = Values::default();
        for number in 0..size {
            values.add("token", format!("v{number:06}-{}", number * 7919).as_bytes());
        }
        let masker = Masker::new(&values);
        let text = "Get \"https://u:p@h.example.com/x?y=z\": token=a1b2c3 \\\"Authorization: [Bearer x] %20 QUJDREVGR0g= v000001-7919 ";
        masker.free_text(&text.repeat(size));
        masker.work()
    };
    for size in [200, 400, 800] {
        let (once, twice) = (work(size), work(2 * size));
        assert!(twice * 10 <= once * 22, "{size}: {once} and {twice}");
    }
}

/// Texts that were written to make a scanner look again and again.
#[test]
fn no_text_makes_it_slow() {
    for part in [
        "://",
        "authorization:[",
        "token=\"",
        "password='",
        "-----BEGIN PRIVATE",
        "eyJ",
        "@",
        "a:b@",
        "token=",
        "token=token",
        "--user=",
        "AKIA",
        "://a#",
        "secret=&",
        "authorization:",
        "\\",
        "%25",
        "&amp;",
        "bearer ",
        "/hook/",
        "glpat-",
        "hooks.slack.com/",
        "https://a/hooks/",
        "secret: ",
        " -p",
        "aaaaaaaa",
        "1 ",
        "0x",
        "QUJD",
        "=3D",
        "=\n",
        "dXNlcjpw ",
        "dXNlcjpw...",
    ] {
        let mut values = Values::default();
        for length in 8..400 {
            values.add("token", "a".repeat(length).as_bytes());
        }
        let masker = Masker::new(&values);
        let start = masker.work();
        let cost = |size: usize| {
            let before = masker.work();
            masker.free_text(&part.repeat(size));
            masker.work() - before
        };
        let (once, twice) = (cost(2_000), cost(4_000));
        assert!(twice * 10 <= once * 22, "{part}: {once} and {twice} (after {start})");
    }
}

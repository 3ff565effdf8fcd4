//! Whether the only active token of an agent is the one that the Secret holds. GitLab does not tell a token's number by its
//! value; so what is revoked must be proven by what is known of both.

use jiff::{SignedDuration, Timestamp};

/// Two clocks may differ by as much.
const CLOCKS: SignedDuration = SignedDuration::from_secs(120);
/// kas asks GitLab of the token of a connected agentk every five minutes at most, and GitLab notes each time
/// (`track_usage_service.rb`); with a margin.
const SHOWN: SignedDuration = SignedDuration::from_mins(7);
/// Where GitLab's cache is empty, it shows the use that its database has, which is written every 40 to 55 minutes; with a
/// margin. Another cluster may have used the token that long ago, so it counts only where the annotation names the token.
const SHOWN_LATE: SignedDuration = SignedDuration::from_mins(75);

/// What is known of the token and of the Secret.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The token's number.
    pub id: u64,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// The annotation `gitlab.com/agent-token-id` on the Secret.
    pub annotation: Option<&'a str>,
    /// When the Secret's value last changed.
    pub changed_at: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// Why the token may be another one than the Secret's, which must not be revoked for it.
pub fn doubt(e: &Evidence<'_>) -> Option<String> {
    let id = e.id;
    if let Some(named) = e.annotation
        && named.trim().parse() != Ok(id)
    {
        return Some(format!("the Secret's annotation says that it holds token {named}"));
    }
    let made_later = |made: Timestamp, changed: Timestamp| made.duration_since(changed) > CLOCKS;
    if let Some((made, changed)) =
        e.created_at.zip(e.changed_at).filter(|(made, changed)| made_later(*made, *changed))
    {
        return Some(format!(
            "token {id} was made at {made:.0}, and what the Secret holds is older: since {changed:.0}"
        ));
    }
    let shown = if e.annotation.is_some() { SHOWN_LATE } else { SHOWN };
    match e.last_used_at {
        None => Some(format!("token {id} was never used, and agentk is connected")),
        Some(at) if e.now.duration_since(at) > shown => {
            Some(format!("token {id} was last used at {at:.0}, and agentk is connected now"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Option<Timestamp> {
        Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_mins(minutes)).ok()
    }

    #[test]
    fn only_the_token_that_is_in_use_is_taken_for_the_secrets() {
        let now = at(10_000).expect("a time");
        let good = Evidence {
            id: 7,
            created_at: at(0),
            last_used_at: at(9_998),
            annotation: Some("7"),
            changed_at: at(1),
            now,
        };
        for (what, evidence, fine) in [
            ("all of it", good, true),
            ("no annotation", Evidence { annotation: None, ..good }, true),
            ("blanks around the number", Evidence { annotation: Some(" 7\n"), ..good }, true),
            ("another number", Evidence { annotation: Some("6"), ..good }, false),
            ("a number that begins the same", Evidence { annotation: Some("70"), ..good }, false),
            ("no number", Evidence { annotation: Some("seven"), ..good }, false),
            ("an empty annotation", Evidence { annotation: Some(""), ..good }, false),
            ("never used", Evidence { last_used_at: None, ..good }, false),
            (
                "never used, whatever the annotation says",
                Evidence { last_used_at: None, annotation: None, ..good },
                false,
            ),
            ("used yesterday", Evidence { last_used_at: at(8_600), ..good }, false),
            ("used as late as the database shows", Evidence { last_used_at: at(9_945), ..good }, true),
            (
                "used as late as the database shows, and not named",
                Evidence { last_used_at: at(9_945), annotation: None, ..good },
                false,
            ),
            (
                "another cluster's, which is down for half an hour",
                Evidence { last_used_at: at(9_970), annotation: None, ..good },
                false,
            ),
            ("not named, used lately", Evidence { last_used_at: at(9_994), annotation: None, ..good }, true),
            ("made after the Secret was written", Evidence { created_at: at(9_000), ..good }, false),
            ("made a moment after, by another clock", Evidence { created_at: at(2), ..good }, true),
            ("nobody knows when the Secret changed", Evidence { changed_at: None, ..good }, true),
            ("nobody knows when it was made", Evidence { created_at: None, ..good }, true),
        ] {
            assert_eq!(doubt(&evidence).is_none(), fine, "{what}: {:?}", doubt(&evidence));
        }
    }
}

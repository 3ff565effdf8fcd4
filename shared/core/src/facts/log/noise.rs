//! Lines that look like faults and are normal.

/// Lines that contain all of one of these are normal, whatever their level
/// (kas recycles connections every two hours; pods race for the Lease at start).
const NOISE: &[&[&str]] = &[
    &["received prior goaway: code: NO_ERROR"],
    &["ErrCode=NO_ERROR"],
    &["transport is closing"],
    &["failed to read frame header: EOF"],
    &["error initially creating leader election record", "already exists"],
    &["the object has been modified; please apply your changes to the latest version"],
    // With the namespace goes the source for which agentk would make a Receiver there.
    &["forbidden: unable to create new content in namespace", "because it is being terminated"],
    // A newer agentk of another replica wrote first, and the Receiver is as it should be.
    &["because there is a newer version of it available"],
];

/// Noise by which kas or something before it ends a connection.
const RECYCLED: &[&str] = &[
    "received prior goaway: code: NO_ERROR",
    "ErrCode=NO_ERROR",
    "transport is closing",
    "failed to read frame header: EOF",
];

/// Whether a line's text is normal.
pub(super) fn is_noise(text: &str) -> bool {
    !is_unanswered(text) && NOISE.iter().any(|texts| texts.iter().all(|t| text.contains(t)))
}

/// Whether it says that a connection was ended in good order.
pub(super) fn is_recycled(text: &str) -> bool {
    !is_unanswered(text) && RECYCLED.iter().any(|t| text.contains(t))
}

/// Whether a connection ended before kas said a word on it: no recycling.
fn is_unanswered(text: &str) -> bool {
    text.contains("error reading server preface")
}

//! `rotate-token agent` where others hold or use the credential, write its Secret, or changed what was written down: nothing that
//! is in use is revoked.

mod holders;
mod journal;

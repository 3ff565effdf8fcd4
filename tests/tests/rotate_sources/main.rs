//! `rotate-token source` and `notification` in the test world: the real source-controller fetches with the new credential or
//! does not, the real notification-controller sets a status or does not.

mod gitlab_rules;
mod in_place;
mod notification;
mod refused;
mod resource;
mod roles;
mod unproven;
mod untold;

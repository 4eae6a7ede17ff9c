//! Adobe Target's rules and the delivery policy of target_profile, as pure functions: no Postgres, no
//! network, no clock, no randomness. Whatever depends on time or chance takes `now` or `jitter` as an argument.
#![forbid(unsafe_code)]

